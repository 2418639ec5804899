"""
The ASGI application: sending events straight to the ingest endpoints, everything else through the guard to Starlette.

`create_app` is what a composition root calls; `web/server.py` runs the result.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from tallystream.core.errors import StorageError
from tallystream.web.alarms import ALARMS_PATH, alarm_routes
from tallystream.web.auth import Access
from tallystream.web.errors import RequestRefusedError, error_body
from tallystream.web.ingest import Ingest
from tallystream.web.live import LiveHub
from tallystream.web.metrics import Metrics
from tallystream.web.openapi import openapi_route
from tallystream.web.pages import Pages, secured
from tallystream.web.query import query_routes
from tallystream.web.rejected import rejected_routes
from tallystream.web.services import Services
from tallystream.web.session import session_routes
from tallystream.web.status import status_routes

RETRY_PATH: Final = "/v1/rejected/retry"
SOURCES_PATH: Final = "/v1/sources/"
OPEN_PATHS: Final = frozenset({"/v1/openapi.json", "/v1/session"})
"""Of those below /v1: whoever asks may have them. Session checks for itself."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


class App:
    """The whole HTTP side as one ASGI application."""

    def __init__(self, services: Services) -> None:
        self._access = Access(services.tokens, services.definition.browser)
        self._metrics = Metrics(services)
        self.ingest = Ingest(services, self._access, self._metrics)
        self.live = LiveHub(services.store, services.alarms, services.now_ms)
        routes: list[BaseRoute] = [
            *query_routes(services),
            *status_routes(services, self._metrics, lambda: self.ingest.commits.failed_at_ms),
            *rejected_routes(services),
            *alarm_routes(services),
            *session_routes(self._access),
            Route("/v1/live", self.live, methods=["GET"]),
            openapi_route(services),
            Mount("/", Pages(services.static_dir), name="pages"),
        ]
        self.routes = routes
        self._route_names = {id(route.endpoint): route.path for route in routes if isinstance(route, Route)}
        self._site = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={
                RequestRefusedError: _answer_refusal,
                StorageError: _answer_storage_error,
                HTTPException: _answer_http_error,
                Exception: _answer_failure,
            },
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._site(scope, receive, send)
        elif scope["path"] in self.ingest.paths:
            await self.ingest(scope, receive, send)
        else:
            await self._guard(scope, receive, send)

    def close_streams(self) -> None:
        """End the live streams, which would otherwise keep a server from stopping."""
        self.live.close()

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through who may; count what is answered; add the security headers."""

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = self._route_names.get(id(scope.get("endpoint")), "other")
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.count_request(route, method, message["status"])
            await send(message)

        guarded_send = secured(send_counted)
        try:
            self._permit(scope)
        except RequestRefusedError as refusal:
            await _refused(refusal)(scope, receive, guarded_send)
            return
        await self._site(scope, receive, guarded_send)

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
        elif (path.startswith("/v1/") or path == "/metrics") and path not in OPEN_PATHS:
            self._access.permit_read(headers)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.close_streams()
            await self.ingest.commits.close()


def create_app(services: Services) -> App:
    """Return the application that serves the ports."""
    return App(services)


def _refused(refusal: RequestRefusedError) -> Response:
    return Response(refusal.body, refusal.status, refusal.headers, "application/json")


async def _answer_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefusedError)
    return _refused(error)


async def _answer_storage_error(_: Request, error: Exception) -> Response:
    return Response(error_body("storage", str(error)), 503, media_type="application/json")


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    messages = {
        404: f"{request.url.path[:200]} is not here; /v1/openapi.json lists what is",
        405: f"{request.method} is not allowed here; allowed are {(error.headers or {}).get('Allow', 'others')}",
    }
    default = error.detail in ("Not Found", "Method Not Allowed")
    message = messages.get(error.status_code, error.detail) if default else error.detail
    body = error_body(codes.get(error.status_code, "http_error"), message)
    return Response(body, error.status_code, error.headers, "application/json")


async def _answer_failure(_: Request, __: Exception) -> Response:
    # Starlette raises the error once more when this is sent, and uvicorn logs it.
    return Response(error_body("internal", "the server failed; its log says how"), 500, media_type="application/json")
