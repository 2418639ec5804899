"""
A client of DynamoDB that costs little to start and to ask.

boto3 takes longer to import than a container may take to start, and its processor time for a request is several times ours; a
batch makes dozens of requests and little else. Requests are JSON in the form that AWS documents for the low-level API, binary
values as bytes; signed with Signature Version 4. In a function, the credentials are those that Lambda puts into the
environment, which are good for a container's whole life.
"""

import hmac
import os
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

TIMEOUT_S: Final = 5.0
"""A request takes some milliseconds, and a function that waits for a lost one is paid for."""

_TARGET: Final = "DynamoDB_20120810."
_CONTENT_TYPE: Final = "application/x-amz-json-1.0"


class DynamoDBError(Exception):
    """DynamoDB answered that it did not do what it was asked; `code` says why, `answer` is all that it said."""

    def __init__(self, code: str, message: str, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.status = status
        self.answer = answer


class NoAnswerError(Exception):
    """DynamoDB was not reached, or its answer was lost: the request took effect or did not."""


class Credentials(NamedTuple):
    """Who asks."""

    key_id: str
    secret: str
    token: str | None


class DynamoDBClient:
    """
    Calls operations in one region, from any threads. It keeps as many connections open as were in use at once.

    The credentials are asked for with each request: elsewhere than in a function they expire.
    """

    def __init__(
        self,
        region: str,
        credentials: Callable[[], Credentials],
        endpoint: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        address = urlsplit(endpoint or f"https://dynamodb.{region}.{suffix}")
        self._host = address.netloc
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._region = region
        self._credentials = credentials
        self._now = now
        self._idle: list[HTTPConnection] = []

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what an operation answers.

        Raises:
            DynamoDBError: it was refused.
            NoAnswerError: it is not known whether it took effect.
        """
        body = msgspec.json.encode(request)
        status, content = self._post(body, self.sign(operation, body))
        answer: dict[str, Any]
        try:
            answer = msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise NoAnswerError(f"{operation} was answered with status {status} and no JSON: {content[:200]!r}") from error
        if status != 200:
            message = answer.get("message") or answer.get("Message") or "no message"
            raise DynamoDBError(str(answer.get("__type", "")).rpartition("#")[2], str(message), status, answer)
        return answer

    def sign(self, operation: str, body: bytes) -> dict[str, str]:
        """
        Return the headers of a request, its signature among them.

        Source: AWS, "Create a signed AWS API request" (Signature Version 4).
        """
        credentials = self._credentials()
        time = self._now().strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "content-type": _CONTENT_TYPE,
            "host": self._host,
            "x-amz-date": time,
            "x-amz-target": _TARGET + operation,
        }
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = f"POST\n/\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{time[:8]}/{self._region}/dynamodb/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{credentials.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            raise NoAnswerError(f"no answer of {self._host}: {type(error).__name__}: {error}") from error
        self._idle.append(connection)
        return response.status, content

    def _connect(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._host, timeout=TIMEOUT_S)
        return HTTPSConnection(self._host, timeout=TIMEOUT_S, context=self._tls)


def make_client(environment: Mapping[str, str] = os.environ) -> DynamoDBClient:
    """Return a client by the environment of a function: region, credentials, and an endpoint where AWS's is not meant."""
    credentials = Credentials(
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"], environment.get("AWS_SESSION_TOKEN")
    )
    return DynamoDBClient(
        environment["AWS_REGION"],
        lambda: credentials,
        environment.get("AWS_ENDPOINT_URL_DYNAMODB") or environment.get("AWS_ENDPOINT_URL"),
    )
