"""Ingest over HTTP: many events a request, one event a request, and from accepted to visible."""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.events import DEFINITION, make_events
from benchmarks.measure import Row, percentile
from tests.server import TallyServer
from tests.waiting import wait_until

RUNS = 5

BARE = """
import sys, uvicorn

ANSWER = b'{"accepted":1,"rejected":[]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]

async def app(scope, receive, send):
    await receive()
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})

config = uvicorn.Config(app, port=0, loop="uvloop", http="httptools", lifespan="off", log_level="error", access_log=False)
server = uvicorn.Server(config)
socket = server.config.bind_socket()
print(socket.getsockname()[1], flush=True)
server.run([socket])
"""
"""An application that answers and does nothing else: what the same library makes of this machine."""


def load(at: str, connections: int, requests: int, events: int) -> tuple[float, list[float]]:
    """Send to a URL from a process of its own; return seconds until all were accepted, and the latencies in ms."""
    url = urlsplit(at)
    command = [sys.executable, "-m", "benchmarks.load", str(url.hostname), str(url.port)]
    numbers = map(str, (connections, requests, events))
    result = json.loads(subprocess.run([*command, *numbers], stdout=subprocess.PIPE, check=True, timeout=120).stdout)
    return result["seconds"], result["latencies_ms"]


def counted(server: TallyServer) -> int:
    """Return how many events are durable and counted."""
    received: int = server.get("/v1/ledger")["received"]
    return received


def batches(server: TallyServer) -> Row:
    """500 events a request, until all are durable and counted."""
    rates = []
    for _ in range(RUNS):
        before = counted(server)
        sending_s, _ = load(server.url, 16, 2_000, 500)
        all_sent_s = time.perf_counter()
        wait_until(lambda: counted(server) == before + 1_000_000, "all events to be counted")  # noqa: B023
        # From the first request on: the generator's start-up is not the server's work, what is counted after it is.
        rates.append(1_000_000 / (sending_s + time.perf_counter() - all_sent_s))
    rate = statistics.median(rates)
    return Row("HTTP, 500 events a request, durable and counted", f"{rate:,.0f} events/s", "400,000", rate >= 400_000)


def singles(server: TallyServer) -> list[Row]:
    """One event a request: as many as it takes, and one connection alone."""
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, text=True) as bare:
        assert bare.stdout is not None
        bare_url = f"http://127.0.0.1:{int(bare.stdout.readline())}"
        runs = []
        ratios = []
        for _ in range(RUNS):
            runs.append(load(server.url, 256, 40_000, 1))
            ratios.append(load(bare_url, 256, 40_000, 1)[0] / runs[-1][0])
        bare.terminate()
    rate = statistics.median(40_000 / seconds for seconds, _ in runs)
    ratio = statistics.median(ratios)
    p99_ms = statistics.median(percentile(latencies, 99) for _, latencies in runs)
    alone_ms = statistics.median(percentile(load(server.url, 1, 2_000, 1)[1], 50) for _ in range(RUNS))
    return [
        Row("HTTP, one event a request, 256 connections", f"{rate:,.0f} requests/s", "12,000", rate >= 12_000),
        Row("… against uvicorn with an application that does nothing", f"{ratio:.2f}×", "0.64×", ratio >= 0.64),
        Row("… p99 latency", f"{p99_ms:.1f} ms", "150 ms", p99_ms < 150),
        Row("HTTP, one event a request, one connection, p50", f"{alone_ms:.2f} ms", "2 ms", alone_ms < 2),
    ]


def visible(server: TallyServer) -> Row:
    """5,000 events/s come in; from the 202 of an event until the query API shows it."""
    lines = make_events(5_000, malformed_every=0)
    stop = threading.Event()

    def background() -> None:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            next_s = time.perf_counter()
            while not stop.is_set():
                client.post("/v1/events", content=b"\n".join(lines[:250])).raise_for_status()
                next_s += 0.05
                stop.wait(max(0.0, next_s - time.perf_counter()))

    query = {"counter": "events", "window": "1m", "from": "2027-01-01T00:00:00Z", "to": "2027-01-01T00:01:00Z"}
    sender = threading.Thread(target=background)
    sender.start()
    delays_ms = []
    try:
        for number in range(200):
            event = {"event": f"probe {number}", "utc_timestamp": "2027-01-01T00:00:00Z"}
            server.send([event])
            accepted_s = time.perf_counter()
            asked = query | {"group.event": event["event"]}
            while not server.get("/v1/query", **asked)["series"]:
                pass
            delays_ms.append((time.perf_counter() - accepted_s) * 1e3)
    finally:
        stop.set()
        sender.join()
    p99_ms = percentile(delays_ms, 99)
    median_ms = statistics.median(delays_ms)
    return Row(
        "Accepted → visible in the query API, at 5,000 events/s",
        f"p50 {median_ms:.0f} ms, p99 {p99_ms:.0f} ms",
        "p99 1 s",
        p99_ms < 1_000,
    )


def run() -> list[Row]:
    """Measure against one server, on a data directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "tally.toml"
        config.write_text(DEFINITION)
        with TallyServer(config, Path(directory) / "data") as server:
            return [batches(server), *singles(server), visible(server)]


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
