"""
`GET /v1/live`: server-sent events that say which windows changed, and whether something changed of the alarms.

One poller for a process, and only while somebody listens: it asks the stores for their versions, which costs microseconds,
and tells every listener when one has grown. A listener that does not keep up is disconnected: its browser comes back by
itself, with the version that it saw last, and is told all that it missed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from tallystream.core.errors import StorageError
from tallystream.core.window import format_duration
from tallystream.ports.alarms import AlarmStore
from tallystream.ports.counters import Change, CounterReader
from tallystream.web.alarm_answers import count_in_alarm
from tallystream.web.answer_types import AlarmsVersion, ChangedWindows, ChangeMessage, LedgerAnswer

logger = logging.getLogger(__name__)

POLL_S: Final = 0.1
MESSAGE_EVERY_S: Final = 0.25
COMMENT_EVERY_S: Final = 15.0
MESSAGES_QUEUED_MAX: Final = 16
LISTENERS_MAX: Final = 1_000

_COMMENT: Final = b": keep-alive\n\n"
_FULL: Final = b'{"error":"overloaded","message":"too many live connections; close some, or try again later"}'


class LiveHub:
    """Knows who listens, and tells them. Also the ASGI application of the endpoint."""

    def __init__(self, store: CounterReader, alarms: AlarmStore | None, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._alarms = alarms
        self._now_ms = now_ms
        self._listeners: set[_Listener] = set()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def close(self) -> None:
        """End all streams, and those that still come, so that a server can stop."""
        self._closed = True
        for listener in self._listeners:
            listener.end()
        if self._poller is not None:
            self._poller.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if len(self._listeners) >= LISTENERS_MAX:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-type", b"application/json")]})
            await send({"type": "http.response.body", "body": _FULL})
            return
        last_seen = Request(scope).headers.get("last-event-id", "")
        # The listener is known before the first message is made: a commit between the two is told twice, not lost.
        listener = _Listener()
        self._listeners.add(listener)
        try:
            seen, first = await asyncio.to_thread(self._message, int(last_seen) if last_seen.isdecimal() else None)
            if self._poller is None or self._poller.done():
                self._poller = asyncio.create_task(self._poll(seen))
            if self._closed:
                listener.end()
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await _send_some(send, first)
            await self._stream(listener, receive, send)
        finally:
            self._listeners.discard(listener)

    async def _stream(self, listener: "_Listener", receive: Receive, send: Send) -> None:
        """Pass on messages until the client goes, falls behind, or the hub closes."""
        gone = asyncio.create_task(_disconnect(receive))
        passing = asyncio.create_task(listener.pass_on(send))
        try:
            # A client that has stopped reading blocks `send`: then `ended` is what gets us out of it.
            ends: list[asyncio.Future[Any]] = [gone, passing, listener.ended]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            listener.end()
        finally:
            gone.cancel()
            passing.cancel()
        await asyncio.wait([gone, passing])
        if not listener.overflowed:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _poll(self, seen: "_Versions") -> None:
        while self._listeners and not self._closed:
            await asyncio.sleep(POLL_S)
            try:
                if await asyncio.to_thread(self._versions) == seen:
                    continue
                seen, message = await asyncio.to_thread(self._message, seen.counters)
            except StorageError as error:
                logger.warning("live updates wait: %s", error)
                await asyncio.sleep(1.0)
                continue
            for listener in list(self._listeners):
                listener.offer(message)
            await asyncio.sleep(MESSAGE_EVERY_S - POLL_S)

    async def answer_once(self, scope: Scope, receive: Receive, send: Send, poll_ms: int) -> None:  # noqa: ARG002  # ASGI's
        """
        Answer with one message, after which the stream ends and the browser comes back by itself.

        For where a connection cannot stay open.
        """
        last_seen = Request(scope).headers.get("last-event-id", "")
        since = int(last_seen) if last_seen.isdecimal() else None
        _, message = await asyncio.to_thread(self._message, since, poll_ms)
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"retry: %d\n%s" % (poll_ms, message)})

    def _versions(self) -> "_Versions":
        return _Versions(self._store.version(), self._alarms.version() if self._alarms else 0)

    def _message(self, since_version: int | None, poll_ms: int | None = None) -> "tuple[_Versions, bytes]":
        """Return the newest versions, and a message of what changed since one of the counters (None: of nothing yet)."""
        # The versions first: a commit in between is told again with the next message, not lost.
        versions = self._versions()
        changes = () if since_version is None else self._store.changes(since_version)
        data = ChangeMessage(
            versions.counters,
            self._now_ms(),
            merge_changes(changes),
            LedgerAnswer.of(self._store.ledger()),
            AlarmsVersion(versions.alarms, count_in_alarm(self._alarms.statuses()) if self._alarms else 0),
            poll_ms,
        )
        return versions, b"id: %d\nevent: change\ndata: %s\n\n" % (versions.counters, msgspec.json.encode(data))


class _Versions(NamedTuple):
    counters: int
    alarms: int


_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the messages back
]


class _Listener:
    """One client: the messages that it is still to get."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(MESSAGES_QUEUED_MAX)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.overflowed = False

    def offer(self, message: bytes) -> None:
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self.overflowed = True
            self.end()

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    async def pass_on(self, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(COMMENT_EVERY_S):
                    message = await self._queue.get()
            except TimeoutError:
                message = _COMMENT
            await _send_some(send, message)


def merge_changes(changes: Iterable[Change]) -> list[ChangedWindows]:
    """Return one range [from, to) for each counter and window that covers all its changed windows."""
    ranges: dict[tuple[str, int], tuple[int, int]] = {}
    for change in changes:
        key = (change.counter, change.window_ms)
        start_ms, end_ms = change.window_start_ms, change.window_start_ms + change.window_ms
        known_start_ms, known_end_ms = ranges.get(key, (start_ms, end_ms))
        ranges[key] = (min(start_ms, known_start_ms), max(end_ms, known_end_ms))
    return [
        ChangedWindows(counter, format_duration(window_ms), start_ms, end_ms)
        for (counter, window_ms), (start_ms, end_ms) in ranges.items()
    ]


async def _send_some(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _disconnect(receive: Receive) -> Message:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message
