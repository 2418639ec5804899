"""The dashboard's files, tally.js, and the security headers of every answer."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    # Group values are untrusted text. Should a page ever put one into its markup by mistake, no script of it would run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}

TALLY_SCRIPT: Final = "/tally.js"


class Pages:
    """ASGI application: the files of a directory; index.html where the path is one of the dashboard's own."""

    def __init__(self, static_dir: Path) -> None:
        self._built = (static_dir / "index.html").is_file()
        self._files = StaticFiles(directory=static_dir, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if not self._built and path == "/":
            raise HTTPException(404, "the pages are not built; run `make setup`, or install the package")
        # The dashboard keeps its state in the address bar: /explore?… must lead to it from a bookmark, too.
        is_page = not path.startswith("/v1/") and not PurePosixPath(path).suffix
        response = await self._files.get_response("index.html" if is_page else self._files.get_path(scope), scope)
        response.headers["cache-control"] = cache_control(path)
        if path == TALLY_SCRIPT:
            response.headers["cross-origin-resource-policy"] = "cross-origin"
        await response(scope, receive, send)


def cache_control(path: str) -> str:
    """Return how long browsers may keep a file: for ever where its name holds a hash of it."""
    if path.startswith("/assets/"):
        return "public, max-age=31536000, immutable"
    return "public, max-age=3600" if path == TALLY_SCRIPT else "no-cache"


def secured(send: Send) -> Send:
    """Return a `send` that adds the security headers where an answer does not set its own."""

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_secured
