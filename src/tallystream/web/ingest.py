"""
The endpoints through which events come in, as plain ASGI in front of all routing: what a request costs here, every event pays.

202 is sent after the commit that holds the events, never before. Events that are refused one by one are stored as well: they
become rejected events when they are counted. A request that is refused as a whole leaves nothing.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from tallystream.core.errors import StorageError
from tallystream.core.event import Rejection
from tallystream.ports.stream import SourceRange
from tallystream.web import bodies
from tallystream.web.auth import Access, Headers, WritePermit
from tallystream.web.backlog import Backlog
from tallystream.web.errors import RequestRefusedError, error_body
from tallystream.web.formats import (
    BROWSER_BODY_BYTES_MAX,
    CLOUDEVENT,
    CLOUDEVENTS_BATCH,
    SEGMENT_BODY_BYTES_MAX,
    EventForms,
)
from tallystream.web.group_commit import AnswerEncoder, GroupCommit, Outcome, Submission
from tallystream.web.metrics import Metrics
from tallystream.web.paths import EVENTS_PATH as EVENTS_PATH  # noqa: PLC0414  # for protocol.py, too
from tallystream.web.paths import SEGMENT_CALLS
from tallystream.web.services import Services

logger = logging.getLogger(__name__)

PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of all requests that a worker holds at once; past that, the next is asked to come again."""

BODY_SECONDS_MAX: Final = 60
REJECTIONS_LISTED_MAX: Final = 10_000

_RETRY_AFTER: Final = {"Retry-After": "1"}
_IDEMPOTENCY_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")
_SOURCE: Final = re.compile(rb"[\x21-\x7e]{1,1024}")
_SOURCE_MARK: Final = re.compile(rb"[\x21-\x7e]{0,255}")
_SOURCE_RANGE: Final = re.compile(rb"(\d{1,18})-(\d{1,18})")

_ONE_ACCEPTED: Final = b'{"accepted":1,"rejected":[]}'
_SEGMENT_ACCEPTED: Final = b'{"success":true}'

SHORT_BODY_BYTES_MAX: Final = 256 * 1024

_UNUSUAL: Final = frozenset(
    [
        *(b"origin", b"content-encoding", b"transfer-encoding", b"upgrade"),
        *(b"idempotency-key", b"tally-source", b"ce-specversion"),
    ]
)

RawHeaders = list[tuple[bytes, bytes]]
_NO_HEADERS: Final[RawHeaders] = []
ANSWER_HEADERS: Final[RawHeaders] = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]


class _ClientGoneError(Exception):
    """The client went away before its body was whole: nothing is stored, nobody is answered."""


class Ingest:
    """ASGI application for the paths in `paths`."""

    def __init__(self, services: Services, access: Access, metrics: Metrics) -> None:
        self._services = services
        self._access = access
        self._metrics = metrics
        self._forms = EventForms(services.definition)
        self._backlog = Backlog(services.stream, services.store)
        self._backlog_max = services.definition.stream.backlog_events_max
        self._pending_bytes = 0
        self.commits = GroupCommit(services.stream, services.definition, services.now_ms, metrics.commit_seconds.observe)
        self.paths: dict[str, str | None] = {EVENTS_PATH: None, **{f"/v1/{call}": call for call in SEGMENT_CALLS}}
        """Path → Segment call, or None."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        more: RawHeaders = []
        try:
            if method == "POST":
                permit = self._access.permit_write(headers, scope["query_string"])
                status, body = await self._take(path, headers, permit, receive)
            elif method == "OPTIONS":
                status, body, more = 204, b"", self._preflight(headers)
            else:
                allowed = {"Allow": "POST, OPTIONS"}
                raise RequestRefusedError(405, "method_not_allowed", f"{method} {path}; allowed is POST", headers=allowed)
        except _ClientGoneError:
            return
        except Exception as error:
            status, body, more = answer_error(error)
        self._metrics.count_request(path, method, status)
        response_headers = [*ANSWER_HEADERS, (b"content-length", b"%d" % len(body)), *more]
        if b"origin" in headers:
            response_headers += self._cors(headers[b"origin"])
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": body})

    async def _take(self, path: str, headers: Headers, permit: WritePermit, receive: Receive) -> tuple[int, bytes]:
        """Read, check and store one request; return its status and answer."""
        if await self._backlog.events() > self._backlog_max:
            message = f"counting is behind by more than {self._backlog_max:,} events; send this again after Retry-After seconds"
            raise RequestRefusedError(429, "backlog", message, headers=_RETRY_AFTER)
        call = self.paths[path]
        bytes_max = BROWSER_BODY_BYTES_MAX if permit.browser else SEGMENT_BODY_BYTES_MAX if call else bodies.BODY_BYTES_MAX
        held = _Held(self)
        try:
            body = await self._read_body(headers, receive, bytes_max, held)
            encoding = headers.get(b"content-encoding")
            if encoding is not None:
                body = bodies.decompress(body, encoding.decode("latin-1"), bytes_max)
                held.take(len(body))
            submission = self._submission(path, body, headers, permit)
            outcome = await self.commits.submit(submission)
        finally:
            held.release()
        return 200 if call else 202, _answer_of(outcome)

    async def _read_body(self, headers: Headers, receive: Receive, bytes_max: int, held: "_Held") -> bytes:
        length = headers.get(b"content-length")
        if length is not None and int(length) > bytes_max:
            raise bodies.too_large(f"{int(length):,} bytes", bytes_max)
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                body = await self._receive_body(receive, bytes_max, held)
        except TimeoutError:
            message = f"the body was not whole after {BODY_SECONDS_MAX} s; send less at once"
            raise RequestRefusedError(408, "timeout", message) from None
        if len(body) > bytes_max:
            raise bodies.too_large(f"over {bytes_max:,} bytes", bytes_max)
        return body

    async def _receive_body(self, receive: Receive, bytes_max: int, held: "_Held") -> bytes:
        pieces: list[bytes] = []
        size = 0
        more = True
        while more and size <= bytes_max:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            pieces.append(message["body"])
            size += len(pieces[-1])
            held.take(len(pieces[-1]))
            more = message["more_body"]
        return b"".join(pieces)

    def _submission(self, path: str, body: bytes, headers: Headers, permit: WritePermit) -> Submission:
        key, digest = headers.get(b"idempotency-key"), b""
        if key is not None:
            if not _IDEMPOTENCY_KEY.fullmatch(key):
                message = f"Idempotency-Key has {len(key)} characters; allowed are 1 to 255 visible ASCII characters"
                raise RequestRefusedError(400, "invalid_idempotency_key", message)
            digest = hashlib.sha256(path.encode() + b"\0" + body).digest()
        source = _source_range(headers, permit) if b"tally-source" in headers else None
        encode: AnswerEncoder = encode_answer
        call = self.paths[path]
        if call is not None:
            events = bodies.Events(self._forms.segment_events(body, call, self._services.now_ms()))
            encode = _encode_segment_answer
        else:
            # A block of a file that holds blank lines alone moves the source on all the same.
            events = bodies.Events([]) if source is not None and not body.strip() else self._events(body, headers)
        if permit.browser:
            events = bodies.Events(self._forms.browser_events(events.lines, self._services.now_ms()))
        return Submission(*events, len(body), encode, key.decode() if key else None, digest, source)

    def _events(self, body: bytes, headers: Headers) -> bodies.Events:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        kind = bodies.media_type(content_type)
        if b"ce-specversion" in headers or kind in (CLOUDEVENT, CLOUDEVENTS_BATCH):
            return bodies.Events(self._forms.cloud_events(body, content_type, headers))
        return bodies.split_events(body, bodies.form_of(content_type))

    def _preflight(self, headers: Headers) -> RawHeaders:
        origin = headers.get(b"origin", b"")
        if not self._access.is_listed(origin):
            shown = origin.decode("latin-1")[:100]
            message = f'Origin is "{shown}"; allowed are the origins of [browser] in the definition; add it there'
            raise RequestRefusedError(403, "forbidden", message)
        return [
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", b"authorization, content-encoding, content-type, idempotency-key"),
            (b"access-control-max-age", b"86400"),
        ]

    def _cors(self, origin: bytes) -> RawHeaders:
        if not self._access.is_listed(origin):
            return [(b"vary", b"Origin")]
        # sendBeacon counts as a request with credentials. There are none to abuse: writing knows no cookie.
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        ]

    # The short way: what web/protocol.py asks instead of calling this application.

    def admits(self, headers: Headers) -> bool:
        """
        Return whether a `POST /v1/events` with these headers may take the short way: nothing of it is unusual.

        Whatever is not clear yet, or will be refused, goes the long way, which finds out, or says why.
        """
        backlog = self._backlog.events_at_once()
        if backlog is None or backlog > self._backlog_max or not _UNUSUAL.isdisjoint(headers):
            return False
        if _plain_form(headers.get(b"content-type", b"")) is None:
            return False
        length = int(headers.get(b"content-length", b"0"))
        if not 0 < length <= SHORT_BODY_BYTES_MAX or self._pending_bytes + length > PENDING_BYTES_MAX:
            return False
        try:
            self._access.permit_write(headers)
        except RequestRefusedError:
            return False
        return True

    def submit(self, headers: Headers, body: bytes) -> "asyncio.Future[Outcome]":
        """
        Take the events of a request that was admitted.

        Raises:
            RequestRefusedError: see bodies.split_events.
        """
        form = _plain_form(headers.get(b"content-type", b""))
        assert form is not None
        events = bodies.split_events(body, form)
        self.hold(len(body))
        future = self.commits.submit(Submission(*events, len(body), encode_answer))
        future.add_done_callback(lambda _: self.let_go(len(body)))
        return future

    def answer(self, outcome: "asyncio.Future[Outcome] | Exception") -> tuple[int, bytes, RawHeaders]:
        """Return status, body and further headers of the answer to a request that was submitted, or raised an error."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            status, body, more = 202, _answer_of(outcome.result()), _NO_HEADERS
        except Exception as error:
            status, body, more = answer_error(error)
        self._metrics.count_request(EVENTS_PATH, "POST", status)
        return status, body, more

    def hold(self, size_bytes: int) -> None:
        """Make room for bytes of a request's body; refuse the request when there is none."""
        if self._pending_bytes + size_bytes > PENDING_BYTES_MAX:
            message = "too many large requests at once; send this again after Retry-After seconds"
            raise RequestRefusedError(503, "overloaded", message, headers=_RETRY_AFTER)
        self._pending_bytes += size_bytes

    def let_go(self, size_bytes: int) -> None:
        """Give room back."""
        self._pending_bytes -= size_bytes


@lru_cache(maxsize=256)
def _plain_form(content_type: bytes) -> bodies.Form | None:
    """Return the form of a body of plain events; None for a type that is something else, or nothing that we know."""
    try:
        return bodies.form_of(content_type.decode("latin-1"))
    except RequestRefusedError:
        return None


def answer_error(error: Exception) -> tuple[int, bytes, RawHeaders]:
    """Return status, body and further headers of the answer when taking a request has raised an error."""
    if isinstance(error, RequestRefusedError):
        return error.status, error.body, [(name.encode(), value.encode()) for name, value in error.headers.items()]
    if isinstance(error, StorageError):
        body = error_body("storage", f"{error}; nothing of this request was accepted, send it again")
        return 503, body, [(b"Retry-After", b"5")]
    logger.error("taking events failed", exc_info=error)
    return 500, error_body("internal", "the server failed, its log says how; send the request again"), []


def _answer_of(outcome: Outcome) -> bytes:
    appended = outcome.appended
    if appended.source_position is not None:
        message = f"the source stands at byte {appended.source_position:,}; go on from there"
        raise RequestRefusedError(409, "source_position", message, position=appended.source_position)
    if appended.key_reused:
        message = "the Idempotency-Key came before with another body; use a new key for new events"
        raise RequestRefusedError(422, "idempotency_key_reused", message)
    return outcome.answer if appended.repeated is None else appended.repeated


class _Held:
    """The room that one request holds."""

    __slots__ = ("_ingest", "_size_bytes")

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._size_bytes = 0

    def take(self, size_bytes: int) -> None:
        self._ingest.hold(size_bytes)
        self._size_bytes += size_bytes

    def release(self) -> None:
        self._ingest.let_go(self._size_bytes)


def _source_range(headers: Headers, permit: WritePermit) -> SourceRange:
    if permit.browser:
        message = "Tally-Source was sent with a browser key; allowed with the write token alone"
        raise RequestRefusedError(403, "forbidden", message)
    source, text = headers[b"tally-source"], headers.get(b"tally-source-range", b"")
    mark = headers.get(b"tally-source-mark", b"")
    if not _SOURCE_MARK.fullmatch(mark):
        message = f"Tally-Source-Mark has {len(mark)} characters; allowed are 0 to 255 visible ASCII characters"
        raise RequestRefusedError(400, "invalid_source", message)
    match = _SOURCE_RANGE.fullmatch(text)
    if not _SOURCE.fullmatch(source) or match is None or int(match[1]) > int(match[2]):
        found = f'Tally-Source has {len(source)} characters and Tally-Source-Range is "{text.decode("latin-1")[:50]}"'
        allowed = "allowed are 1 to 1,024 visible ASCII characters, and START-END in bytes with START <= END"
        raise RequestRefusedError(400, "invalid_source", f"{found}; {allowed}")
    return SourceRange(source.decode(), int(match[1]), int(match[2]), mark.decode())


def encode_answer(accepted: int, rejections: Sequence[Rejection]) -> bytes:
    """Return the answer of `POST /v1/events`. Past REJECTIONS_LISTED_MAX, `rejected_unlisted` says how many more there are."""
    if not rejections:
        return _ONE_ACCEPTED if accepted == 1 else b'{"accepted":%d,"rejected":[]}' % accepted
    answer: dict[str, Any] = {"accepted": accepted, "rejected": _listed(rejections)}
    if len(rejections) > REJECTIONS_LISTED_MAX:
        answer["rejected_unlisted"] = len(rejections) - REJECTIONS_LISTED_MAX
    return msgspec.json.encode(answer)


def _encode_segment_answer(accepted: int, rejections: Sequence[Rejection]) -> bytes:
    if not rejections:
        return _SEGMENT_ACCEPTED
    return msgspec.json.encode({"success": True, "accepted": accepted, "rejected": _listed(rejections)})


def _listed(rejections: Sequence[Rejection]) -> list[dict[str, Any]]:
    return [rejection._asdict() for rejection in rejections[:REJECTIONS_LISTED_MAX]]
