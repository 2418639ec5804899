"""
A site as an ASGI application: its routes behind the guard, which asks for tokens, counts answers and secures them.

Every error is answered in one form. What the routes are is the business of app.py, where events are counted, and of remote.py,
where that happens elsewhere.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from tallystream.core.errors import StorageError
from tallystream.web.auth import Access
from tallystream.web.errors import RequestRefusedError, error_body
from tallystream.web.live import LiveHub
from tallystream.web.metrics import Metrics
from tallystream.web.pages import secured

OPEN_PATHS: Final = frozenset({"/v1/openapi.json", "/v1/session"})
"""Of those below /v1: whoever asks may have them. Session checks for itself."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH"})


class Site:
    """Serves routes to those who may read."""

    def __init__(self, routes: Sequence[BaseRoute], access: Access, metrics: Metrics, live: LiveHub) -> None:
        self.live = live
        self.routes = routes
        self._access = access
        self._metrics = metrics
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
        if scope["type"] == "http":
            await self._guard(scope, receive, send)
        else:
            await self._site(scope, receive, send)

    def close_streams(self) -> None:
        """End the live streams, which would otherwise keep a server from stopping."""
        self.live.close()

    async def close(self) -> None:
        """Let go of what is held when the server has stopped."""

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
            _check_path(scope["path"])
            self._permit(scope)
        except RequestRefusedError as refusal:
            await _refused(refusal)(scope, receive, guarded_send)
            return
        await self._site(scope, receive, guarded_send)

    def _permit(self, scope: Scope) -> None:
        path = scope["path"]
        if (path.startswith("/v1/") or path == "/metrics") and path not in OPEN_PATHS:
            self._access.permit_read(dict(scope["headers"]))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.close_streams()
            await self.close()


def _check_path(path: str) -> None:
    # A route's pattern ends with `$`, which matches before a line feed at the end, too: what was not guarded would be served.
    if "\n" in path:
        raise RequestRefusedError(404, "not_found", "the path holds a line feed (%0A); /v1/openapi.json lists what is here")


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
