"""The rejected events: listed, downloaded, and judged again."""

import json
from collections.abc import Iterator
from typing import Final

import msgspec
import pybase64
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tallystream.core.event import REASONS
from tallystream.ports.counters import CounterReader, RejectedEvent
from tallystream.web.answer_types import RejectedAnswer, RejectedEventAnswer, RetryAnswer
from tallystream.web.errors import RequestRefusedError
from tallystream.web.parameters import ID_MAX, read_integer, read_json
from tallystream.web.paths import RETRY_PATH
from tallystream.web.services import ReadServices, Services
from tallystream.web.status import answer

_PAGE_EVENTS: Final = 50
_PAGE_EVENTS_MAX: Final = 500
_EXPORT_BYTES: Final = 256 * 1024
_EXACT_MAX: Final = 2**53 - 1


class RetryRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Which rejected events to judge again; without a reason, all."""

    reason: str | None = None


def rejected_routes(services: ReadServices, id_max: int = ID_MAX) -> list[Route]:
    """Return the routes of what is shown; ids are at most id_max."""
    store = services.store

    def rejected(request: Request) -> Response:
        reason = _reason(request.query_params.get("reason"))
        before = read_integer(request, "before", 0, id_max)
        limit = read_integer(request, "limit", 1, _PAGE_EVENTS_MAX) or _PAGE_EVENTS
        return answer(list_events(store, reason, before, limit))

    def export(request: Request) -> Response:
        reason = _reason(request.query_params.get("reason"))
        form = request.query_params.get("format", "ndjson")
        if form not in ("ndjson", "raw"):
            raise RequestRefusedError(400, "invalid_parameter", f'format is "{form[:50]}"; allowed are ndjson and raw')
        media_type = "application/x-ndjson" if form == "ndjson" else "application/octet-stream"
        disposition = f'attachment; filename="rejected.{"ndjson" if form == "ndjson" else "txt"}"'
        headers = {"content-disposition": disposition, "cache-control": "no-store"}
        return StreamingResponse(export_events(store, reason, raw=form == "raw"), headers=headers, media_type=media_type)

    return [Route("/v1/rejected", rejected), Route("/v1/rejected/export", export)]


def retry_route(services: Services) -> Route:
    """Return the route of what judges again."""

    async def retry(request: Request) -> Response:
        wanted = await read_json(request, RetryRequest)
        reason = _reason(wanted.reason)
        ledger = await run_in_threadpool(services.retry_rejected, reason, services.now_ms())
        return answer(
            RetryAnswer(ledger.received, ledger.counted, ledger.unmatched, ledger.late, ledger.duplicate, ledger.rejected)
        )

    return Route(RETRY_PATH, retry, methods=["POST"])


def list_events(store: CounterReader, reason: str | None, before: int | None, limit: int) -> RejectedAnswer:
    """Return a page of the rejected events, newest first: the same over HTTP and from `tally rejected list --data`."""
    reasons, newest = store.reasons()
    events = store.rejected_events(reason, before, limit)
    has_more = bool(events) and bool(store.rejected_events(reason, events[-1].id, 1))
    return RejectedAnswer(
        total=sum(reasons.values()) if reason is None else reasons.get(reason, 0),
        reasons=reasons,
        next=_shown(events[-1].id) if has_more else None,
        events=[describe_event(event) for event in events],
        newest=newest,
    )


def describe_event(event: RejectedEvent) -> RejectedEventAnswer:
    """Return a rejected event with its bytes as text, or as base64 where they are none."""
    try:
        data, encoding = event.data.decode(), "utf-8"
    except UnicodeDecodeError:
        data, encoding = pybase64.b64encode(event.data).decode(), "base64"
    return RejectedEventAnswer(
        _shown(event.id),
        event.shard,
        _shown(event.sequence),
        event.arrival_ms,
        event.reason,
        event.message,
        data,
        encoding,  # type: ignore[arg-type]
    )


def _shown(number: int) -> int | str:
    """Return a number as JSON's readers can hold it: as text where it has more digits than a double."""
    return number if number <= _EXACT_MAX else str(number)


def export_events(store: CounterReader, reason: str | None, *, raw: bool) -> Iterator[bytes]:
    """Yield all rejected events, newest first, a line each, in pieces of about 256 KiB."""
    before: int | None = None
    while events := store.rejected_events(reason, before, _PAGE_EVENTS_MAX):
        before = events[-1].id
        lines: list[bytes] = []
        size_bytes = 0
        for event in events:
            lines.append((event.data if raw else msgspec.json.encode(describe_event(event))) + b"\n")
            size_bytes += len(lines[-1])
            if size_bytes >= _EXPORT_BYTES:
                yield b"".join(lines)
                lines, size_bytes = [], 0
        yield b"".join(lines)


def _reason(reason: str | None) -> str | None:
    if reason is not None and reason not in REASONS:
        shown = json.dumps(reason[:50])
        raise RequestRefusedError(400, "invalid_parameter", f"reason is {shown}; allowed are {', '.join(sorted(REASONS))}")
    return reason
