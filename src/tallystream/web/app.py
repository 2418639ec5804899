"""
The ASGI application where events are counted: sending them straight to the ingest endpoints, everything else through the guard.

`create_app` is what a composition root calls; `web/server.py` runs the result.
"""

from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from tallystream.web.alarms import alarm_routes
from tallystream.web.auth import Access
from tallystream.web.errors import RequestRefusedError
from tallystream.web.ingest import Ingest
from tallystream.web.live import LiveHub
from tallystream.web.metrics import Metrics, StoredMetrics
from tallystream.web.openapi import openapi_route
from tallystream.web.pages import Pages
from tallystream.web.paths import ALARMS_PATH, RETRY_PATH, SOURCES_PATH
from tallystream.web.query import query_routes
from tallystream.web.rejected import rejected_routes, retry_route
from tallystream.web.services import Services
from tallystream.web.session import session_routes
from tallystream.web.site import Site
from tallystream.web.status import status_routes


class App(Site):
    """The whole HTTP side as one ASGI application."""

    def __init__(self, services: Services) -> None:
        access = Access(services.tokens, services.definition.browser)
        metrics = Metrics(StoredMetrics(services))
        self.ingest = Ingest(services, access, metrics)
        live = LiveHub(services.store, services.alarms, services.now_ms)
        routes = [
            *query_routes(services),
            *status_routes(services, metrics, lambda: self.ingest.commits.failed_at_ms),
            *rejected_routes(services),
            retry_route(services),
            *alarm_routes(services),
            *session_routes(access),
            Route("/v1/live", live, methods=["GET"]),
            openapi_route(services.version),
            Mount("/", Pages(services.static_dir), name="pages"),
        ]
        super().__init__(routes, access, metrics, live)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in self.ingest.paths:
            await self.ingest(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def close(self) -> None:
        await self.ingest.commits.close()

    def _permit(self, scope: Scope) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        if path == RETRY_PATH or (path.startswith(ALARMS_PATH) and scope["method"] not in ("GET", "HEAD")):
            if self._access.permit_write(headers).browser:
                raise RequestRefusedError(403, "forbidden", "a browser key may only send events; use the write token")
        elif path.startswith(SOURCES_PATH):
            # Who sends a file asks where to go on, and has no other reason to hold the read token.
            try:
                self._access.permit_read(headers)
            except RequestRefusedError:
                self._access.permit_write(headers)
        else:
            super()._permit(scope)


def create_app(services: Services) -> App:
    """Return the application that serves the ports."""
    return App(services)
