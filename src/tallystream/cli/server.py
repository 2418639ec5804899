"""A running server as the commands ask it over HTTP."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from tallystream.core.errors import TallystreamError

TIMEOUT_S = 60.0
_PIECE_BYTES = 256 * 1024


class ServerError(TallystreamError):
    """A server cannot be reached, or does not do what was asked."""


class Server:
    """
    A server at a URL.

    Args:
        url: http or https, such as http://127.0.0.1:8080.
        token_env: the environment variable that holds the token; one that is not set means no token.
    """

    def __init__(self, url: str, token_env: str) -> None:
        self._url = url.rstrip("/")
        self._token_env = token_env
        token = os.environ.get(token_env)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """Return the JSON that a path answers; parameters that are None are left out."""
        return msgspec.json.decode(b"".join(self.pieces(path, parameters)))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that a path answers to a JSON body."""
        return msgspec.json.decode(self.send("POST", path, body))

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """Return the bytes that a path answers to a method, with a JSON body unless it is None."""
        return b"".join(self._answer(path, None if body is None else json.dumps(body).encode(), method))

    def pieces(self, path: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the bytes that a path answers, as they come; parameters that are None are left out."""
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        return self._answer(f"{path}?{query}" if query else path, None, "GET")

    def _answer(self, path: str, body: bytes | None, method: str) -> Iterator[bytes]:
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310  # http and https only, see options.server_options
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                while piece := response.read(_PIECE_BYTES):
                    yield piece
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise ServerError(f"{self._url} cannot be reached: {why}; is `tally up` running there?") from error

    def _refused(self, error: urllib.error.HTTPError) -> ServerError:
        try:
            message = msgspec.json.decode(error.read())["message"]
        except (msgspec.DecodeError, KeyError, TypeError):
            return ServerError(f"{self._url} answered {error.code} {error.reason}; is it Tallystream that listens there?")
        remedy = (
            f"; put the token into {self._token_env}, or name another variable with --token-env" if error.code == 401 else ""
        )
        return ServerError(f"{self._url} answered {error.code}: {message}{remedy}")
