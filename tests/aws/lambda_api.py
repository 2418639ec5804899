"""A server that speaks Lambda's runtime API: hands invocations to a runtime in a process of its own, and takes the answers."""

import os
import queue
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

PREFIX = "/2018-06-01/runtime"
ANSWER_S_MAX = 30.0


class Answer(NamedTuple):
    """What a runtime said of an invocation, or, as `init/error`, of its start."""

    kind: str  # response, error or init/error
    body: bytes
    error_type: str | None = None


class LambdaAPI:
    """The server's side of one function."""

    def __init__(self) -> None:
        self._payloads: queue.Queue[bytes | None] = queue.Queue()
        self._answers: queue.Queue[Answer] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.deadline_ms = 4_102_444_800_000
        Thread(target=self._server.serve_forever, daemon=True).start()

    def invoke(self, payload: bytes) -> Answer:
        """Hand over a payload and wait for the answer."""
        self._payloads.put(payload)
        return self.answer()

    def answer(self) -> Answer:
        return self._answers.get(timeout=ANSWER_S_MAX)

    def close(self) -> None:
        self._payloads.put(None)  # to whoever still asks for an invocation
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                payload = api._payloads.get() if self.path == f"{PREFIX}/invocation/next" else None
                self._send(
                    200 if payload is not None else 410,
                    payload or b"",
                    {
                        "Content-Type": "application/json",
                        "Lambda-Runtime-Aws-Request-Id": "request-1",
                        "Lambda-Runtime-Deadline-Ms": str(api.deadline_ms),
                        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-2:1:function:f",
                        "Lambda-Runtime-Trace-Id": "Root=1",
                    },
                )

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.path.removeprefix(f"{PREFIX}/").removeprefix("invocation/request-1/")
                self._send(202, b"{}", {})
                api._answers.put(Answer(kind, body, self.headers.get("Lambda-Runtime-Function-Error-Type")))

            def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base class's name
                pass

        return Handler


class Function(NamedTuple):
    """A runtime in a process of its own, and the server that it asks."""

    api: LambdaAPI
    process: subprocess.Popen[str]

    def stop(self) -> str:
        """End the process; return what it has logged."""
        self.api.close()
        try:
            logged, _ = self.process.communicate(timeout=ANSWER_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return logged


@contextmanager
def start(command: Sequence[str], handler: str, task_root: Path, **environment: str) -> Iterator[Function]:
    """Start a runtime as Lambda does: by its command line, in the directory of the package, with an environment of its own."""
    api = LambdaAPI()
    process = subprocess.Popen(
        list(command),
        cwd=task_root,
        env={
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(task_root),
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "1",
            "AWS_REGION": "eu-west-2",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    function = Function(api, process)
    try:
        yield function
    finally:
        if process.poll() is None:
            process.kill()
            function.stop()
        else:
            process.communicate()
            api.close()
