"""
The ASGI application where counting happens elsewhere, on AWS: the same pages and queries, and nothing that writes.

What is not here says where it is.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from tallystream.core.errors import StorageError
from tallystream.ports.counters import CounterReader
from tallystream.web.alarm_types import AlarmsAnswer
from tallystream.web.answer_types import CloudAlarmsAnswer, HealthAnswer, LedgerAnswer
from tallystream.web.auth import Access
from tallystream.web.errors import RequestRefusedError, error_body
from tallystream.web.live import LiveHub
from tallystream.web.metrics import CONTENT_TYPE, Metrics, collect_ledger
from tallystream.web.openapi import OPENAPI_PATH, OPERATIONS, openapi_route
from tallystream.web.operation import Operation
from tallystream.web.pages import Pages
from tallystream.web.paths import ALARMS_PATH, EVENTS_PATH, RETRY_PATH, SEGMENT_CALLS, SOURCES_PATH
from tallystream.web.query import query_routes
from tallystream.web.rejected import rejected_routes
from tallystream.web.services import RemoteServices
from tallystream.web.session import session_routes
from tallystream.web.site import Site
from tallystream.web.status import answer, describe_definition

CLOUD_ALARMS_PATH: Final = "/v1/aws/alarms"

_OPERATIONS: Final = [Operation(CLOUD_ALARMS_PATH, "get", "The stack's alarms in CloudWatch.", CloudAlarmsAnswer)]
_ANY: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_SENDING: Final = (
    "events are not taken here: put them into the Kinesis stream of the stack, which `tally aws status` names, or send files"
    " with `tally aws backfill`"
)
_ALARMS: Final = "alarms are in CloudWatch, which mutes and notifies; /v1/aws/alarms says how they stand"
_RETRYING: Final = (
    "rejected events are not judged again on AWS: download them, mend them, and send them again with `tally aws backfill`"
)
_SOURCES: Final = "files are not read here; `tally aws backfill` keeps its own account of how far it has sent them"


class RemoteApp(Site):
    """Shows what a stack on AWS counts."""

    def __init__(self, services: RemoteServices) -> None:
        access = Access(services.tokens, None)
        metrics = Metrics(_LedgerMetrics(services.store))
        live = LiveHub(services.store, None, services.now_ms)
        elsewhere = {
            **dict.fromkeys([EVENTS_PATH, *(f"/v1/{call}" for call in SEGMENT_CALLS)], _SENDING),
            RETRY_PATH: _RETRYING,
            f"{SOURCES_PATH}{{source:path}}": _SOURCES,
            f"{ALARMS_PATH}/{{rest:path}}": _ALARMS,
            "/v1/notifications": _ALARMS,
        }
        self._elsewhere = [Route(path, _refuse(message), methods=_ANY) for path, message in elsewhere.items()]
        here = [
            *query_routes(services),
            *_status_routes(services, metrics),
            *rejected_routes(services, services.rejected_id_max),
            *session_routes(access),
            _live_route(live, services.poll_ms),
        ]
        served = {(route.path, method.lower()) for route in here for method in route.methods or ()} | {(OPENAPI_PATH, "get")}
        described = [each for each in [*OPERATIONS, *_OPERATIONS] if (each.path, each.method) in served]
        pages: list[BaseRoute] = [Mount("/", Pages(services.static_dir), name="pages")]
        super().__init__([*here, openapi_route(services.version, described), *self._elsewhere, *pages], access, metrics, live)

    def _permit(self, scope: Scope) -> None:
        """Let whoever sends events know that they go elsewhere: there is nothing to guard."""
        if not any(route.path_regex.match(scope["path"]) for route in self._elsewhere):
            super()._permit(scope)


def _status_routes(services: RemoteServices, metrics: Metrics) -> list[Route]:
    def definition(_: Request) -> Response:
        return answer(describe_definition(services.definition, services.generations(), services.aws))

    def ledger(_: Request) -> Response:
        return answer(LedgerAnswer.of(services.store.ledger()))

    def health(_: Request) -> Response:
        shards, warnings = services.shards()
        return answer(
            HealthAnswer(
                version=services.version,
                name=services.definition.name,
                now=services.now_ms(),
                started=services.started_ms,
                ledger=LedgerAnswer.of(services.store.ledger()),
                shards=shards,
                disk=None,
                throughput=None,
                backlog_events_max=None,
                warnings=warnings,
            )
        )

    def alarms(_: Request) -> Response:
        return answer(AlarmsAnswer(in_alarm=0, alarms=[]))

    def cloud_alarms(_: Request) -> Response:
        return answer(CloudAlarmsAnswer(services.alarms() if services.alarms else None))

    def metrics_page(_: Request) -> Response:
        return Response(metrics.page(), headers={"content-type": CONTENT_TYPE})

    def readiness(_: Request) -> Response:
        try:
            services.store.version()
        except StorageError:  # whose message names the account, and whoever asks may have this answer
            return _ready(error_body("not_ready", "the table cannot be read; GET /v1/ledger says why"), 503)
        return _ready(b'{"ready":true}')

    async def liveness(_: Request) -> Response:
        return Response(b'{"alive":true}', headers={"cache-control": "no-store"}, media_type="application/json")

    return [
        Route("/v1/definition", definition),
        Route("/v1/ledger", ledger),
        Route("/v1/health", health),
        Route(ALARMS_PATH, alarms),
        Route(CLOUD_ALARMS_PATH, cloud_alarms),
        Route("/metrics", metrics_page),
        Route("/readyz", readiness),
        Route("/healthz", liveness),
    ]


def _ready(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


class _Polled:
    """The ASGI application of live changes where a page has to come back for each message."""

    def __init__(self, live: LiveHub, poll_ms: int) -> None:
        self._live = live
        self._poll_ms = poll_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._live.answer_once(scope, receive, send, self._poll_ms)


def _live_route(live: LiveHub, poll_ms: int | None) -> Route:
    return Route("/v1/live", live if poll_ms is None else _Polled(live, poll_ms), methods=["GET"])


class _LedgerMetrics(Collector):
    """The ledger as metric families. CloudWatch has the counters."""

    def __init__(self, store: CounterReader) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        return []  # or else registering would collect

    def collect(self) -> Iterator[Metric]:
        yield from collect_ledger(self._store.ledger())


def _refuse(message: str) -> Callable[[Request], Awaitable[Response]]:
    async def refuse(request: Request) -> Response:  # noqa: ARG001  # Starlette's signature
        raise RequestRefusedError(501, "elsewhere", message)

    return refuse
