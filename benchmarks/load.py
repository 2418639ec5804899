"""
An HTTP load generator that costs little: it runs beside the server that it measures.

    python -m benchmarks.load HOST PORT CONNECTIONS REQUESTS EVENTS_A_REQUEST

Each connection sends its next request when the answer to the last has come. Prints JSON: seconds, and each request's
latency in milliseconds, sorted.
"""

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

from benchmarks.events import make_events

BODIES = 40  # different ones, sent in turn


class Connection(asyncio.Protocol):
    """Sends requests one after another, until the shared number of them is used up."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._received = b""
        self._sent_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one, without saying so
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        if b'"rejected":' not in body or not body.endswith(b"}"):
            return  # more is to come
        assert head.startswith(b"HTTP/1.1 202"), self._received
        self._load.latencies_ms.append((time.perf_counter() - self._sent_s) * 1e3)
        self._received = b""
        self._send()

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            self._transport.close()
            return
        self._sent_s = time.perf_counter()
        self._transport.write(request)

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None, exc
        self._load.ended()


class Load:
    """The requests that all connections share."""

    def __init__(self, connections: int, requests: int, events: int) -> None:
        self.latencies_ms: list[float] = []
        self.done = asyncio.Event()
        self._connections = connections
        self._left = requests
        lines = make_events(BODIES * events, malformed_every=0 if events == 1 else 1_000)
        bodies = [b"\n".join(lines[start : start + events]) for start in range(0, len(lines), events)]
        head = (
            b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n"
        )
        self._requests = [head % len(body) + body for body in bodies]

    def next_request(self) -> bytes | None:
        """Return the next request; None when there are no more."""
        self._left -= 1
        return self._requests[self._left % BODIES] if self._left >= 0 else None

    def ended(self) -> None:
        """Note that one connection has nothing more to send."""
        self._connections -= 1
        if not self._connections:
            self.done.set()


async def main(host: str, port: int, connections: int, requests: int, events: int) -> None:
    """Send the requests and print how long it took."""
    load = Load(connections, requests, events)
    started_s = time.perf_counter()
    for _ in range(connections):
        await asyncio.get_running_loop().create_connection(lambda: Connection(load), host, port)
    await load.done.wait()
    print(json.dumps({"seconds": time.perf_counter() - started_s, "latencies_ms": sorted(load.latencies_ms)}))


if __name__ == "__main__":
    host_, *numbers = sys.argv[1:]
    uvloop.run(main(host_, *map(int, numbers)))
