"""Fixtures that any test may use: `tally_server`, a real server, and `browser` and `page`, a real Chromium."""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import hypothesis
import pytest
from playwright.sync_api import Browser, Page, Playwright, Request, sync_playwright

from tests.emulator import aws_environment, connect, dynamodb, kinesalite, ministack, proxy, table_name  # noqa: F401  # fixtures
from tests.server import TallyServer

# How long an example takes says something of the machine, not of the code.
hypothesis.settings.register_profile("tallystream", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tallystream")

# Without these, Chromium asks hosts of its maker at every start.
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class StartServer(Protocol):
    """What the fixture `tally_server` is: see there."""

    def __call__(
        self,
        definition: str,
        *arguments: str,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> TallyServer: ...


@pytest.fixture
def tally_server(tmp_path: Path) -> Iterator[StartServer]:
    """
    Start real `tally up` servers; they are stopped when the test ends, and must then end well.

        def test_counts(tally_server: StartServer) -> None:
            server = tally_server(DEFINITION, "--workers", "2")
            server.send([{"event": "click", "utc_timestamp": "2026-01-01T00:00:00Z"}])
            wait_until(lambda: server.get("/v1/ledger")["counted"] == 1, "the event to be counted")

    Args: definition, the text of a tally.toml; more arguments of `tally up`; data, the data directory of an earlier server
    of the test (`server.data`), otherwise a new one; environment, such as {"TALLY_READ_TOKEN": "…"}. See tests/server.py for
    what the server offers: url, client, send, get, stop, kill, log.
    """
    numbers = itertools.count(1)
    with contextlib.ExitStack() as servers:

        def start(
            definition: str, *arguments: str, data: Path | None = None, environment: Mapping[str, str] | None = None
        ) -> TallyServer:
            number = next(numbers)
            config = tmp_path / f"tally-{number}.toml"
            config.write_text(definition)
            # One web worker is sooner ready than two; the tests of the commands, and those that kill servers, take the default.
            one = () if "--workers" in arguments else ("--workers", "1")
            server = TallyServer(config, data or tmp_path / f"data-{number}", [*arguments, *one], environment)
            return servers.enter_context(server)

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    A headless Chromium: Debian's if it is there, otherwise Playwright's own. Fails when there is none.

    One for each module, not for the session: Playwright keeps an event loop running in this thread, in which other modules
    could not run theirs.
    """
    with launched_browser() as launched:
        yield launched


@contextlib.contextmanager
def launched_browser(*flags: str) -> Iterator[Browser]:
    """Launch Chromium, with more flags."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=_chromium(playwright), args=[*_flags(), *flags], headless=True)
        yield launched
        launched.close()


@pytest.fixture
def own_hosts() -> set[str]:
    """The hosts that a page may ask: this machine."""
    return {"127.0.0.1", "localhost", "::1"}


@pytest.fixture
def page(browser: Browser, own_hosts: set[str]) -> Iterator[Page]:
    """
    A fresh page of `browser`, in UTC and English, that has seen nothing before.

    At its end the test fails if a script of the page raised an error that nothing caught, if the content security policy
    refused something, or if the page asked any host but its own.
    """
    context = browser.new_context(locale="en-GB", timezone_id="UTC", viewport={"width": 1280, "height": 900})
    problems: list[str] = []

    def on_request(request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme in {"http", "https", "ws", "wss"} and url.hostname not in own_hosts:
            problems.append(f"the page asked another host: {request.url}")

    context.on("request", on_request)
    context.on("weberror", lambda error: problems.append(f"uncaught: {error.error}"))
    context.on(
        "console",
        lambda message: (
            problems.append(message.text) if message.type == "error" and "Content Security Policy" in message.text else None
        ),
    )
    opened = context.new_page()
    yield opened
    context.close()
    assert problems == []


def _chromium(playwright: Playwright) -> str:
    own = playwright.chromium.executable_path
    for found in (shutil.which("chromium"), shutil.which("chromium-browser"), own):
        if found and Path(found).is_file():
            return found
    pytest.fail("no browser to test the pages with; install one with `make setup`, or: sudo apt-get install chromium")


def _flags() -> Sequence[str]:
    # Chromium's sandbox refuses to work for root, which CI often is.
    return [*CHROMIUM_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else CHROMIUM_FLAGS
