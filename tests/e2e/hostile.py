"""Names of events that a producer may send to do harm, and what the pages must show for them."""

from typing import Any

from tests.e2e.conftest import events
from tests.server import TallyServer
from tests.waiting import wait_until

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "\"double\" 'single' `back` &amp;",
    "javascript:alert(3)",
    "__proto__",
    "constructor",
    "=HYPERLINK(1)",
    "long " + "x" * 1000,
]

# What is shown for values that are not plain text, or would pass for something else.
SHOWN = {
    "NULL": '"NULL"',
    "null": '"null"',
    "": '""',
    "3": '"3"',
    3: "3",
    True: "true",
    "a\u202eb": "a\\u{202e}b",
    "tab\tnul\x00": "tab\\tnul\\u{0}",
    "🎉 日本語": "🎉 日本語",
}

NAMES: list[Any] = [*HOSTILE, *SHOWN, None]

COUNTS = {name: len(NAMES) - at for at, name in enumerate(NAMES)}
"""How many events of each name `send_hostile_events` sends: a number for each, so that none passes for another. 1 of None."""


def send_hostile_events(server: TallyServer) -> None:
    """Send events of now with all the names, and wait until they are counted; those of None lack theirs."""
    sent = [event for name, count in COUNTS.items() for event in events(name, count)]
    server.send([{field: value for field, value in event.items() if value is not None} for event in sent])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == len(sent), "the events to be counted")


def shown(name: Any) -> str:
    """Return the text that stands for a name on the pages: cut after 120 characters."""
    if name is None:
        return "NULL"
    text = SHOWN.get(name, name)
    return text if len(text) <= 120 else f"{text[:119]}…"
