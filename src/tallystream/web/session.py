"""Signing in on the dashboard: the read token once, a cookie from then on."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystream.web.auth import SESSION_COOKIE, SESSION_SECONDS, Access
from tallystream.web.parameters import read_json


class SignIn(msgspec.Struct):
    """Who signs in: whoever knows the read token."""

    token: str

    def __repr__(self) -> str:
        return "SignIn(token=…)"


def session_routes(access: Access) -> list[Route]:
    """Return the routes."""

    async def sign_in(request: Request) -> Response:
        wanted = await read_json(request, SignIn)
        cookie = access.sign_in(dict(request.scope["headers"]), wanted.token)
        response = Response(status_code=204)
        if cookie is not None:
            response.set_cookie(
                SESSION_COOKIE, cookie, SESSION_SECONDS, httponly=True, samesite="strict", secure=is_https(request)
            )
        return response

    async def sign_out(request: Request) -> Response:
        response = Response(status_code=204)
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=is_https(request))
        return response

    return [Route("/v1/session", sign_in, methods=["POST"]), Route("/v1/session", sign_out, methods=["DELETE"])]


def is_https(request: Request) -> bool:
    """Return whether the browser speaks TLS, with us or with a proxy before us. Who lies about it harms only itself."""
    return request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
