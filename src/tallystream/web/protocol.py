"""
A short way through uvicorn for the commonest request, one small `POST /v1/events`.

Through ASGI every request costs a task, two events and two writes, which together is most of what taking a single event costs.
A request that is complete in one read of its connection, and about which nothing is unusual, is handed to `Ingest` straight
from the parser, and answered in one write. Everything else goes the long way, through ASGI: see `Ingest.admits`.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from tallystream.web.auth import Headers
from tallystream.web.group_commit import Outcome
from tallystream.web.ingest import ANSWER_HEADERS, EVENTS_PATH, Ingest, RawHeaders

_URL = EVENTS_PATH.encode()


class IngestProtocol(HttpToolsProtocol):
    """One connection. The short way needs uvicorn's application to have an `ingest`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        ingest = config.app.ingest  # type: ignore[union-attr]
        assert isinstance(ingest, Ingest)
        self.ingest = ingest
        self._short: _ShortRequest | None = None  # the newest request, if it goes the short way

    def data_received(self, data: bytes) -> None:
        """Parse what was read, and send a short request that is not complete with it the long way."""
        super().data_received(data)
        request = self._short
        if request is not None and request.more_body:
            self._short = self.cycle = None  # type: ignore[assignment]
            super().on_headers_complete()
            if request.body:
                super().on_body(request.body)

    def on_headers_complete(self) -> None:
        """Choose the way."""
        if self.url == _URL and self._is_plain():
            headers = dict(self.headers)
            if self.ingest.admits(headers):
                self._short = self.cycle = _ShortRequest(self, headers)  # type: ignore[assignment]
                return
        self._short = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Hand over a short request."""
        super().on_message_complete()
        if self._short is not None:
            self._short.submit()

    def _is_plain(self) -> bool:
        before: Any = self.cycle
        parser = self.parser
        return (
            (before is None or before.response_complete)  # else it must wait for its turn
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )


class _ShortRequest:
    """Stands in the place of uvicorn's RequestResponseCycle, with those of its attributes that the protocol uses."""

    __slots__ = (
        "_headers",
        "_protocol",
        "body",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
    )

    def __init__(self, protocol: IngestProtocol, headers: Headers) -> None:
        self._protocol = protocol
        self._headers = headers
        self.body = b""  # adding the only piece to it copies nothing
        self.more_body = True
        self.message_event = _NOBODY_WAITS
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True

    def submit(self) -> None:
        """Have the events stored; answer when they are on disk."""
        try:
            future = self._protocol.ingest.submit(self._headers, self.body)
        except Exception as error:
            self._answer(*self._protocol.ingest.answer(error))
        else:
            future.add_done_callback(self._answer_outcome)

    def _answer_outcome(self, outcome: "asyncio.Future[Outcome]") -> None:
        self._answer(*self._protocol.ingest.answer(outcome))

    def _answer(self, status: int, body: bytes, more: RawHeaders) -> None:
        if self.disconnected:
            return
        protocol = self._protocol
        head = [STATUS_LINE[status]]
        if not self.keep_alive:
            more = [*more, (b"connection", b"close")]
        for name, value in (*protocol.server_state.default_headers, *ANSWER_HEADERS, *more):
            head += [name, b": ", value, b"\r\n"]
        head.append(b"content-length: %d\r\n\r\n" % len(body))
        protocol.transport.write(b"".join([*head, body]))
        self.response_complete = True
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()


class _NobodyWaits:
    """The event by which an ASGI application would be told that there is more to receive."""

    def set(self) -> None: ...


_NOBODY_WAITS = _NobodyWaits()
