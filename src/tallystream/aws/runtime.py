"""
A Lambda runtime of our own: asks for invocations and answers them, as the stock one does, but decodes the payload with msgspec.

The stock runtime's json.loads makes a dict of each record, with its data as base64 text, which takes longer than counting it.
Here a handler's module may say how its payload is decoded, `DECODERS: {"count_handler": decode_payload}`. Lambda starts this
through AWS_LAMBDA_EXEC_WRAPPER with the command line of the stock runtime, which takes over if the handler cannot be loaded
here. The stock runtime hands handlers a dict; they take both.

Source: AWS, "Using the Lambda runtime API for custom runtimes".
"""

import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple

import msgspec

_API: Final = "/2018-06-01/runtime"
_log: Final = logging.getLogger("tallystream.runtime")


class Context:
    """What a handler is told of its invocation, under the names that AWS gives it."""

    def __init__(self, request_id: str, deadline_ms: int, function_arn: str) -> None:
        self.aws_request_id = request_id
        self.invoked_function_arn = function_arn
        self.function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self._deadline_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Return how much time is left until Lambda ends the invocation."""
        return max(0, self._deadline_ms - time.time_ns() // 1_000_000)


class Invocation(NamedTuple):
    """An event that a handler is to handle."""

    payload: bytes
    context: Context
    trace_id: str | None


class Handler(NamedTuple):
    """A handler, and how its payload is decoded."""

    handle: Callable[[Any, Context], Any]
    decode: Callable[[bytes], Any]


class RuntimeAPI:
    """Lambda's side, at an address like 127.0.0.1:9001: a connection that stays open."""

    def __init__(self, address: str) -> None:
        # Without a timeout: the next invocation may be hours away, and meanwhile Lambda freezes this process.
        self._connection = HTTPConnection(address)

    def next(self) -> Invocation:
        """Wait for an invocation."""
        headers, payload = self._request("GET", "/invocation/next")
        context = Context(
            headers["Lambda-Runtime-Aws-Request-Id"],
            int(headers.get("Lambda-Runtime-Deadline-Ms") or 0),
            headers.get("Lambda-Runtime-Invoked-Function-Arn") or "",
        )
        return Invocation(payload, context, headers.get("Lambda-Runtime-Trace-Id"))

    def respond(self, context: Context, answer: bytes) -> None:
        """Say that an invocation has succeeded."""
        self._request("POST", f"/invocation/{context.aws_request_id}/response", answer)

    def fail(self, context: Context, error: BaseException) -> None:
        """Say that an invocation has failed; Lambda delivers a stream's batch again."""
        self._request("POST", f"/invocation/{context.aws_request_id}/error", _error_document(error), type(error).__name__)

    def fail_to_start(self, error: BaseException) -> None:
        """Say that there can be no invocations."""
        self._request("POST", "/init/error", _error_document(error), f"Runtime.{type(error).__name__}")

    def _request(self, method: str, path: str, body: bytes | None = None, error_type: str | None = None) -> tuple[Any, bytes]:
        headers = {} if error_type is None else {"Lambda-Runtime-Function-Error-Type": error_type}
        self._connection.request(method, _API + path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 300:
            raise RuntimeError(f"Lambda's runtime API answered {method} {path} with {response.status}: {content[:500]!r}")
        return response.headers, content


def load_handler(name: str) -> Handler:
    """
    Return the handler of a name like `tallystream.aws.handlers.count_handler`.

    Raises:
        ImportError, AttributeError: there is none, or its module cannot be imported.
    """
    module_name, _, function_name = name.rpartition(".")
    module = importlib.import_module(module_name)
    decode = getattr(module, "DECODERS", {}).get(function_name, msgspec.json.decode)
    return Handler(getattr(module, function_name), decode)


def serve(api: RuntimeAPI, handler: Handler) -> None:
    """Handle invocations, one after the other, for ever."""
    while True:
        invocation = api.next()
        if invocation.trace_id is not None:
            os.environ["_X_AMZN_TRACE_ID"] = invocation.trace_id
        handle(api, handler, invocation)


def handle(api: RuntimeAPI, handler: Handler, invocation: Invocation) -> None:
    """Handle one invocation, and say how it went."""
    try:
        answer = msgspec.json.encode(handler.handle(handler.decode(invocation.payload), invocation.context))
    except Exception as error:
        _log.exception("the invocation failed", extra={"request_id": invocation.context.aws_request_id})
        api.fail(invocation.context, error)
    else:
        api.respond(invocation.context, answer)


class JSONFormatter(logging.Formatter):
    """A log record as a line of JSON, with the names that CloudWatch Logs knows of Lambda."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", None):
            line["requestId"] = request_id
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line |= {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": _stack(error)}
        return json.dumps(line, default=str)


def main(stock: Sequence[str]) -> None:
    """
    Be the runtime of the handler that the environment names.

    Args:
        stock: the command line of the stock runtime, which takes over if the handler cannot be loaded; empty: there is none.
    """
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(JSONFormatter())
    logging.basicConfig(level=os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO"), handlers=[output])
    # Where the stock runtime looks too, for boto3.
    sys.path += [path for path in ("/opt/python", os.environ.get("LAMBDA_RUNTIME_DIR", "")) if path]
    api = RuntimeAPI(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as error:
        _log.exception("the handler cannot be loaded")
        if stock:
            output.flush()
            os.execv(stock[0], list(stock))  # noqa: S606  # the command line that Lambda itself would have run
        api.fail_to_start(error)
        raise SystemExit(1) from error
    serve(api, handler)


def _error_document(error: BaseException) -> bytes:
    document = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": _stack(error)}
    return json.dumps(document, default=str).encode()


def _stack(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


if __name__ == "__main__":
    main(sys.argv[1:])
