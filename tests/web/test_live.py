"""Live updates over real HTTP, and the hub's own promises."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from tallystream.core.counting import Ledger
from tallystream.ports.alarms import AlarmKey, AlarmStatus
from tallystream.ports.counters import Change
from tallystream.web import live
from tallystream.web.live import LiveHub, merge_changes
from tests.waiting import wait_until
from tests.web.conftest import Web
from tests.web.test_ingest import event

TIME_MS = 1_795_424_700_000  # of the events of test_ingest


@contextlib.contextmanager
def listening(web: Web, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the messages as they come: each its fields, with `data` decoded."""
    with web.client.stream(
        "GET", "/v1/live", headers={name.replace("_", "-"): text for name, text in headers.items()}
    ) as answer:
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/event-stream"
        yield messages(answer)


def messages(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    fields: dict[str, Any] = {}
    for line in answer.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = json.loads(value) if name == "data" else value
        elif fields:
            yield fields
            fields = {}


def test_the_first_message_comes_at_once_and_the_next_with_a_commit(web: Web) -> None:
    with listening(web) as received:
        first = next(received)
        assert (first["event"], first["data"]["changed"]) == ("change", [])
        web.post(event())
        web.count()
        second = next(received)
    assert int(second["id"]) == second["data"]["version"] > first["data"]["version"]
    assert second["data"]["ledger"]["counted"] == 1
    assert second["data"]["changed"] == [
        {"counter": "events", "window": "1m", "from": TIME_MS, "to": TIME_MS + 60_000},
        {"counter": "events", "window": "1h", "from": TIME_MS - 300_000, "to": TIME_MS + 3_300_000},
    ]


def test_who_comes_back_is_told_what_it_missed(web: Web) -> None:
    with listening(web) as received:
        seen = next(received)["id"]
    web.post(event())
    web.count()
    with listening(web, Last_Event_ID=seen) as received:
        assert [change["window"] for change in next(received)["data"]["changed"]] == ["1m", "1h"]
    with listening(web, Last_Event_ID="nonsense") as received:
        assert next(received)["data"]["changed"] == []


def test_commits_in_quick_succession_share_a_message(web: Web) -> None:
    with listening(web) as received:
        next(received)
        started = time.monotonic()
        versions: list[int] = []
        while time.monotonic() - started < 2.0:
            web.post(event())
            web.count()
            if web.store.version() % 20 == 0:
                versions.append(next(received)["data"]["version"])
        assert versions == sorted(set(versions))
        assert len(versions) <= 4 * (time.monotonic() - started) + 1


def test_nobody_polls_when_nobody_listens(web: Web) -> None:
    with listening(web) as received:
        next(received)
        assert web.app.live.listeners == 1
    wait_until(lambda: web.app.live.listeners == 0, "the listener to be forgotten")
    wait_until(lambda: web.app.live._poller is None or web.app.live._poller.done(), "the poller to end")


def test_a_server_stops_quickly_with_listeners(web: Web) -> None:
    with listening(web) as received:
        next(received)
        started = time.monotonic()
        web.server.should_exit = True
        assert list(received) == []
        assert time.monotonic() - started < 3.0


class GrowingStore:
    """A counter store whose version grows each time that it is asked."""

    def __init__(self) -> None:
        self._version = 0

    def version(self) -> int:
        self._version += 1
        return self._version

    def changes(self, since_version: int) -> list[Change]:
        return [Change("c", 60_000, since_version * 60_000, self._version)]

    def ledger(self) -> Any:
        return Ledger()


class QuietAlarms:
    """An alarm store in which nothing happens."""

    def version(self) -> int:
        return 0

    def statuses(self) -> dict[AlarmKey, AlarmStatus]:
        return {}


def test_a_client_that_stops_reading_is_let_go_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.0)
    monkeypatch.setattr(live, "MESSAGE_EVERY_S", 0.0)

    async def scenario() -> tuple[int, bool, int]:
        hub = LiveHub(GrowingStore(), QuietAlarms(), lambda: 0)  # type: ignore[arg-type]
        never = asyncio.Event()
        got = taken = 0

        async def receive() -> Message:
            await never.wait()
            return {"type": "http.disconnect"}

        async def stuck(message: Message) -> None:
            nonlocal taken
            taken += message["type"] == "http.response.body"
            if taken > 2:
                await never.wait()

        async def reading(message: Message) -> None:
            nonlocal got
            got += message["type"] == "http.response.body"

        scope = {"type": "http", "method": "GET", "path": "/v1/live", "headers": [], "query_string": b""}
        good = asyncio.create_task(hub(scope, receive, reading))
        await asyncio.sleep(0)
        await asyncio.wait_for(hub(scope, receive, stuck), 10)
        left, is_served = hub.listeners, not good.done()
        hub.close()
        await asyncio.wait_for(good, 10)
        return left, is_served, got

    left, is_served, got = asyncio.run(scenario())
    assert (left, is_served) == (1, True) and got > live.MESSAGES_QUEUED_MAX


def test_ranges_cover_all_changed_windows() -> None:
    changes = [
        Change("a", 60_000, 120_000, 1),
        Change("b", 1_000, 0, 2),
        Change("a", 60_000, 0, 3),
        Change("a", 60_000, 60_000, 4),
    ]
    assert [(found.counter, found.window, found.from_, found.to) for found in merge_changes(changes)] == [
        ("a", "1m", 0, 180_000),
        ("b", "1s", 0, 1_000),
    ]
