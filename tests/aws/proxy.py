"""A proxy between a client of AWS and the emulator, which does to requests what AWS and the network do at times."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import httpx

Fault = Literal[
    "throttle",
    "throttle some records",
    "expire the iterator",
    "deny",
    "fail",
    "lose the request",
    "lose the answer",
    "answer nonsense",
]


class FaultyProxy:
    """Forwards requests; `fault` says for each, by its operation (`UpdateItem`), what becomes of it. A context manager."""

    def __init__(self, upstream: str) -> None:
        self.fault: Callable[[str], Fault | None] = lambda operation: None
        self.requests: list[str] = []  # operations, in the order in which they came
        upstream_client = httpx.Client(base_url=upstream)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                operation = self.headers.get("X-Amz-Target", self.path).rpartition(".")[2]
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fault = proxy.fault(operation)
                proxy.requests.append(operation)
                if fault == "lose the request":
                    self._hang_up()
                elif fault == "throttle":
                    kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"
                    self._answer(400, b'{"__type": "%s", "message": "throttled"}' % kind.encode())
                elif fault == "expire the iterator":
                    self._answer(400, b'{"__type": "ExpiredIteratorException", "message": "expired"}')
                elif fault == "deny":
                    said = f"User: a is not authorized to perform: kinesis:{operation} on resource: arn:aws:a because of this"
                    self._answer(400, json.dumps({"__type": "AccessDeniedException", "message": said}).encode())
                elif fault == "answer nonsense":
                    self._answer(502, b"<html>Bad Gateway</html>")
                elif fault == "fail":
                    self._answer(500, b'{"__type": "InternalServerError", "message": "failed"}')
                elif fault == "throttle some records":
                    self._answer(200, json.dumps(put_half(json.loads(body), self._forward)).encode())
                else:
                    answer = self._forward(body)
                    if fault == "lose the answer":
                        self._hang_up()
                    else:
                        self._answer(answer.status_code, answer.content)

            def _forward(self, body: bytes) -> httpx.Response:
                kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
                return upstream_client.post(self.path, content=body, headers=kept)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _hang_up(self) -> None:
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._client = upstream_client
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


def put_half(request: dict[str, Any], forward: Callable[[bytes], httpx.Response]) -> dict[str, Any]:
    """Put every second record of a PutRecords request, from the second on; answer that the others were throttled."""
    refused = {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded for shard"}
    taken = request["Records"][1::2]
    outcomes = iter(forward(json.dumps({**request, "Records": taken}).encode()).json()["Records"] if taken else [])
    answers = [next(outcomes) if index % 2 else refused for index in range(len(request["Records"]))]
    return {"FailedRecordCount": len(request["Records"]) - len(taken), "Records": answers}
