"""`tally ingest --url`: the blocks of a source as HTTP requests to a running server."""

import contextlib
import http.client
import secrets
import time
from collections import Counter as Multiset
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import zstandard

from tallystream.core.errors import TallystreamError
from tallystream.local.ingest import PositionError
from tallystream.ports.stream import SourcePosition, SourceRange

TIMEOUT_S = 60.0
_RATIO_MAX = 50  # a body that compresses better is sent as it is: the server takes the other for a bomb
_DELAY_S_MIN = 0.1
_DELAY_S_MAX = 5.0


class UploadError(TallystreamError):
    """The server cannot be reached, or does not take the events."""


class UploadSink:
    """
    An ingest.Sink that posts to /v1/events, and tries again what may work later.

    A request whose answer was lost is sent again, and is counted once.

    Args:
        url: of the server, http or https, such as http://127.0.0.1:8080.
        token: the write token, or None.
        patience_s: how long to try one request again before giving up.
        on_retry: told why each time, before it is tried again.
    """

    def __init__(self, url: str, token: str | None, patience_s: float, on_retry: Callable[[str], None]) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = connect(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._base = parts.path.rstrip("/")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s
        self._on_retry = on_retry
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._rejected: Multiset[str] = Multiset()

    @property
    def rejected(self) -> dict[str, int]:
        """Reason code → events of ours that the server refused; "unlisted" for those of which it does not say why."""
        return dict(self._rejected)

    def position(self, source: str) -> SourcePosition:
        """See ingest.Sink."""
        status, answer = self._request("GET", f"/v1/sources/{quote(source, safe='')}")
        if status != http.HTTPStatus.OK:
            raise self._refused(status, answer)
        return SourcePosition(answer["position"], answer.get("mark", ""))

    def store(self, lines: list[bytes], source: SourceRange | None, text: bytes | None = None) -> None:
        """See ingest.Sink."""
        body = b"\n".join(lines) if text is None else text
        # A key of its own: sent again after its answer was lost, the request gets the first answer.
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": secrets.token_hex(16)}
        if source is not None:
            headers["Tally-Source"] = source.source
            headers["Tally-Source-Range"] = f"{source.start}-{source.end}"
            headers["Tally-Source-Mark"] = source.mark
        packed = self._compress(body)
        if len(packed) * _RATIO_MAX > len(body):
            headers["Content-Encoding"] = "zstd"
            body = packed
        status, answer = self._request("POST", "/v1/events", body, headers)
        if status == http.HTTPStatus.CONFLICT:
            raise PositionError(
                f"the server has the file up to byte {answer['position']:,} already: another `tally ingest` sends it, too; "
                "wait until that one has ended"
            )
        if status != http.HTTPStatus.ACCEPTED:
            raise self._refused(status, answer)
        self._rejected.update(rejection["reason"] for rejection in answer["rejected"])
        if "rejected_unlisted" in answer:
            self._rejected["unlisted"] += answer["rejected_unlisted"]

    def finish(self) -> None:
        """See ingest.Sink: what the server has taken, it counts by itself."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the JSON of the answer; try again what may work later."""
        deadline_s = time.monotonic() + self._patience_s
        delay_s = _DELAY_S_MIN
        while True:
            wait_s = delay_s
            try:
                self._connection.request(method, self._base + path, body, {**self._headers, **(headers or {})})
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                why = f"{self._url} cannot be reached ({str(error) or type(error).__name__})"
            else:
                if response.status not in {429, 502, 503, 504}:
                    return response.status, _decode(text)
                why = self._said(response.status, _decode(text))
                with contextlib.suppress(ValueError):
                    wait_s = float(response.headers.get("Retry-After", ""))
            if time.monotonic() + wait_s > deadline_s:
                raise UploadError(f"{why}; gave up after {self._patience_s:.0f} s. Run again: it goes on where it stopped")
            self._on_retry(f"{why}; trying again in {wait_s:.1f} s")
            time.sleep(wait_s)
            delay_s = min(delay_s * 2, _DELAY_S_MAX)

    def _said(self, status: int, answer: Any) -> str:
        message = answer.get("message") if isinstance(answer, dict) else None
        return f"{self._url} answered {status}: {message or http.HTTPStatus(status).phrase}"

    def _refused(self, status: int, answer: Any) -> UploadError:
        remedy = ""
        if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            remedy = "; put the server's write token into an environment variable and name it with --token-env"
        elif not isinstance(answer, dict):
            remedy = "; is it Tallystream that listens there?"
        return UploadError(self._said(status, answer) + remedy)


def _decode(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
