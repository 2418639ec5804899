"""`web`: the HTTP side over real SQLite files and real sockets, in this process, counted when the test says so."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.engine.count import CountStep
from tallystream.engine.retry import retry_rejected
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.stream import SQLiteStream
from tallystream.ports.stream import Stream
from tallystream.web.app import App, create_app
from tallystream.web.server import Server
from tallystream.web.services import DiskUsage, Services, Tokens
from tests.waiting import wait_until

DEFINITION = """
name = "web-test"

[stream]
event_time = "utc_timestamp"
event_id = "id"
backlog_events_max = 1000

[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]

[browser]
key = "browser-key-1"
origins = ["https://shop.example"]
"""


@dataclass
class Web:
    """A running server, and what it serves."""

    url: str
    client: httpx.Client
    app: App
    server: Server
    stream: SQLiteStream
    store: SQLiteCounterStore
    alarms: SQLiteAlarmStore
    definition: Definition
    disk: dict[str, int]

    def count(self) -> None:
        """Count all that is stored, as the counter process would."""
        step = CountStep(self.stream, self.store, self.definition)
        while step.step(now_ms()):
            pass

    def lines(self) -> list[bytes]:
        """Return all stored lines, shard by shard."""
        return [
            line for state in self.stream.shards() for chunk in self.stream.read(state.shard, 0, 10**9) for line in chunk.lines
        ]

    def post(self, content: bytes | str, path: str = "/v1/events", **headers: str) -> httpx.Response:
        """POST a body; header names are written with `_`."""
        return self.client.post(path, content=content, headers={name.replace("_", "-"): text for name, text in headers.items()})


class StartWeb(Protocol):
    def __call__(
        self,
        definition: str = DEFINITION,
        tokens: Tokens = ...,
        static_dir: Path | None = None,
        wrap_stream: Callable[[SQLiteStream], Any] | None = None,
    ) -> Web: ...


@pytest.fixture
def start_web(tmp_path: Path) -> Iterator[StartWeb]:
    with contextlib.ExitStack() as running:

        def start(
            definition: str = DEFINITION,
            tokens: Tokens = Tokens(),  # noqa: B008
            static_dir: Path | None = None,
            wrap_stream: Callable[[SQLiteStream], Any] | None = None,
        ) -> Web:
            return running.enter_context(_running(definition, tokens, static_dir or tmp_path, tmp_path, wrap_stream))

        yield start


@pytest.fixture
def web(start_web: StartWeb) -> Web:
    return start_web()


@contextlib.contextmanager
def _running(
    text: str, tokens: Tokens, static_dir: Path, data: Path, wrap_stream: Callable[[SQLiteStream], Any] | None
) -> Iterator[Web]:
    definition = parse_definition(text)
    stream = SQLiteStream(data / "stream.db", definition.stream)
    store = SQLiteCounterStore(data / "counters.db")
    alarms = SQLiteAlarmStore(data / "alarms.db")
    store.declare(definition, {}, now_ms())
    served: Stream = wrap_stream(stream) if wrap_stream else stream
    disk = {"free_bytes": 10**9}
    app = create_app(
        Services(
            definition=definition,
            stream=served,
            store=store,
            alarms=alarms,
            now_ms=now_ms,
            disk_usage=lambda: DiskUsage(10, 20, disk["free_bytes"]),
            retry_rejected=lambda reason, at_ms: retry_rejected(store, definition, reason, at_ms),
            static_dir=static_dir,
            version="1.2.3",
            started_ms=now_ms(),
            tokens=tokens,
        )
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = Server(app)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started, "the server to start")
        with httpx.Client(base_url=url, timeout=30.0, trust_env=False) as client:
            yield Web(url, client, app, server, stream, store, alarms, definition, disk)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        stream.close()
        store.close()
        alarms.close()
    assert not thread.is_alive(), "the server did not stop"
