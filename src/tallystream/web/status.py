"""What the server says about itself: definition, ledger, health, readiness, sources, metrics."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystream.core.clock import clock_warning
from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.core.window import format_duration
from tallystream.ports.stream import ShardState
from tallystream.web.answer_types import (
    AwsAnswer,
    CounterAnswer,
    DefinitionAnswer,
    DiskAnswer,
    HealthAnswer,
    LedgerAnswer,
    ShardAnswer,
    SourceAnswer,
    StreamAnswer,
)
from tallystream.web.backlog import backlog_events
from tallystream.web.errors import error_body
from tallystream.web.metrics import CONTENT_TYPE, Metrics
from tallystream.web.services import Begun, Services

_THROUGHPUT_MS: Final = 60 * 60_000
_FAILURE_FRESH_MS: Final = 5_000
_FREE_BYTES_MIN: Final = 1024 * 1024


def status_routes(services: Services, metrics: Metrics, storage_failed_at_ms: Callable[[], int | None]) -> list[Route]:
    """Return the routes. `storage_failed_at_ms` tells when storing events failed, if it failed the last time."""

    def definition(_: Request) -> Response:
        generations = {each.counter: Begun(each.generation, each.since_ms) for each in services.store.generations()}
        return answer(describe_definition(services.definition, generations))

    def ledger(_: Request) -> Response:
        return answer(LedgerAnswer.of(services.store.ledger()))

    def health(_: Request) -> Response:
        return answer(describe_health(services))

    def source(request: Request) -> Response:
        name = request.path_params["source"]
        return answer(SourceAnswer(name, *services.stream.source_position(name)))

    def metrics_page(_: Request) -> Response:
        return Response(metrics.page(), headers={"content-type": CONTENT_TYPE})

    def readiness(_: Request) -> Response:
        reason = why_not_ready(services, storage_failed_at_ms())
        if reason is None:
            return _json(b'{"ready":true}')
        return _json(error_body("not_ready", reason), status=503)

    async def liveness(_: Request) -> Response:
        return _json(b'{"alive":true}')

    return [
        Route("/v1/definition", definition),
        Route("/v1/ledger", ledger),
        Route("/v1/health", health),
        Route("/v1/sources/{source:path}", source),
        Route("/metrics", metrics_page),
        Route("/readyz", readiness),
        Route("/healthz", liveness),
    ]


def describe_definition(
    definition: Definition, generations: Mapping[str, Begun], aws: AwsAnswer | None = None
) -> DefinitionAnswer:
    """Return the definition as in force."""
    counters = [
        CounterAnswer(
            counter.name,
            counter.where,
            list(counter.group_by),
            [format_duration(window_ms) for window_ms in counter.windows_ms],
            [measure.name for measure in counter.measures],
            None if counter.keep_ms is None else format_duration(counter.keep_ms),
            *generations[counter.name],
        )
        for counter in definition.counters
    ]
    stream = definition.stream
    described = StreamAnswer(stream.event_time, stream.shards, format_duration(stream.retention_ms))
    return DefinitionAnswer(definition.name, described, counters, aws)


def describe_health(services: Services) -> HealthAnswer:
    """Return how the server fares."""
    now_ms = services.now_ms()
    positions = services.store.positions()
    states = {state.shard: state for state in services.stream.shards()}
    clock = clock_warning(now_ms, {shard: state.last_arrival_ms for shard, state in states.items()})
    # All that events may go to, and those of a former definition.
    shards = sorted({*range(services.definition.stream.shards), *states})
    return HealthAnswer(
        version=services.version,
        name=services.definition.name,
        now=now_ms,
        started=services.started_ms,
        ledger=LedgerAnswer.of(services.store.ledger()),
        shards=[
            _describe_shard(services, states.get(shard, ShardState(shard, 0, 0)), positions.get(shard, 0), now_ms)
            for shard in shards
        ],
        disk=DiskAnswer(*services.disk_usage()),
        throughput=[(minute_ms, *ledger) for minute_ms, ledger in services.store.throughput(now_ms - _THROUGHPUT_MS)],
        backlog_events_max=services.definition.stream.backlog_events_max,
        warnings=[clock] if clock else [],
    )


def _describe_shard(services: Services, state: ShardState, position: int, now_ms: int) -> ShardAnswer:
    lag_events = max(0, state.next_sequence - position)
    lag_ms = 0
    if lag_events:
        oldest = services.stream.read(state.shard, position, 1)
        lag_ms = max(0, now_ms - oldest[0].arrival_ms) if oldest else 0
    clock_behind_ms = max(0, state.last_arrival_ms - now_ms)
    return ShardAnswer(state.shard, state.next_sequence, position, lag_events, lag_ms, clock_behind_ms)


def why_not_ready(services: Services, storage_failed_at_ms: int | None) -> str | None:
    """Return why events cannot be taken and counted at present; None when they can."""
    try:
        behind = backlog_events(services.stream, services.store)
    except StorageError as error:
        return str(error)
    if behind > services.definition.stream.backlog_events_max:
        return f"counting is behind by {behind:,} events; wait until it has caught up"
    free_bytes = services.disk_usage().free_bytes
    if free_bytes < _FREE_BYTES_MIN:
        return f"the disk has {free_bytes:,} bytes free; free some space"
    # Only a while: whoever waits for readiness before sending would otherwise wait for ever for the next try.
    if storage_failed_at_ms is not None and services.now_ms() - storage_failed_at_ms < _FAILURE_FRESH_MS:
        return "events could not be stored a moment ago; the log says why"
    return None


encode = msgspec.json.Encoder(decimal_format="number").encode
"""Decimals leave as JSON numbers with every digit they have: neither text nor the nearest double."""


def answer(value: msgspec.Struct, status: int = 200) -> Response:
    """Return an answer with a JSON body."""
    return _json(encode(value), status)


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "application/json")
