"""Fixtures of the tests that look at the pages in a real browser, over a real server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Dialog, Page

from tests.conftest import StartServer
from tests.server import TallyServer

DEFINITION = """
name = "web-analytics"

[stream]
event_time = "utc_timestamp"
event_id = "id"
shards = 2
allowed_lateness = "30d"

[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]

[[counter]]
name = "donations"
where = "event == 'donation'"
group_by = ["country", "channel"]
windows = ["1m"]
measures = ["count", "sum(amount)", "mean(amount)"]
"""


@pytest.fixture
def server(tally_server: StartServer) -> TallyServer:
    """A running server of DEFINITION, without events."""
    return tally_server(DEFINITION)


@pytest.fixture
def dashboard(page: Page) -> Iterator[Page]:
    """The fixture `page`, whose test also fails when anything was written to the console as an error or a warning."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type}: {message.text}")

    def on_dialog(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", on_console)
    page.on("dialog", on_dialog)
    yield page
    assert complaints == []


def now_text() -> str:
    """Return the present time as events say it."""
    return datetime.now(UTC).isoformat()


def at(event_time_ms: int) -> str:
    """Return a time as events say it."""
    return datetime.fromtimestamp(event_time_ms / 1000, UTC).isoformat()


def events(name: Any, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Return events of now."""
    return [{"event": name, "utc_timestamp": now_text(), **fields} for _ in range(count)]


def is_live(page: Page) -> None:
    """Wait until the page says that it is live."""
    page.locator("header .live.live").wait_for()
