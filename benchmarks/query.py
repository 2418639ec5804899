"""Queries over HTTP: a day of minutes for 12 groups, and the largest few of 10,000 groups."""

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from benchmarks.events import DEFINITION, EVENT_TYPES
from benchmarks.measure import Row, percentile
from tests.server import TallyServer
from tests.waiting import wait_until

RUNS = 5
START_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z
MINUTE_MS = 60_000
SENT_AT_ONCE = 5_000

DAY = {"counter": "events", "window": "1m", "from": str(START_MS), "to": str(START_MS + 1_440 * MINUTE_MS)}
HOUR = {
    "counter": "pages",
    "window": "1m",
    "from": str(START_MS),
    "to": str(START_MS + 60 * MINUTE_MS),
    "top": "5",
    "other": "true",
}
MORE = """
[[counter]]
name = "pages"
where = "page != ''"
group_by = ["page"]
windows = ["1m"]
"""


def day_of_events() -> Iterator[dict[str, Any]]:
    """Every type in every minute: 17,280 cells."""
    for minute in range(1_440):
        for event in EVENT_TYPES:
            yield {"event": event, "utc_timestamp": START_MS + minute * MINUTE_MS}


def hour_of_pages() -> Iterator[dict[str, Any]]:
    """10,000 pages, each in every minute of an hour: 600,000 cells."""
    for minute in range(60):
        for page in range(10_000):
            yield {"event": EVENT_TYPES[0], "page": f"/p/{page}", "utc_timestamp": START_MS + minute * MINUTE_MS}


def fill(server: TallyServer, events: Iterator[dict[str, Any]]) -> None:
    """Send the events and wait until they are counted."""
    waiting: list[dict[str, Any]] = []
    before = sent = server.get("/v1/ledger")["counted"]
    for event in events:
        waiting.append(event)
        if len(waiting) == SENT_AT_ONCE:
            sent += server.send(waiting)["accepted"]
            waiting = []
    sent += server.send(waiting)["accepted"] if waiting else 0
    assert sent > before
    wait_until(lambda: server.get("/v1/ledger")["counted"] == sent, "the events to be counted", timeout_s=120)


def latencies_ms(server: TallyServer, query: dict[str, str], times: int) -> tuple[list[float], Any]:
    """Ask a query again and again on one connection; return the times from request to last byte, and an answer."""
    url = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(url.hostname), url.port)
    path = f"/v1/query?{urlencode(query)}"
    found = []
    body = b""
    for _ in range(times):
        started_s = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        found.append((time.perf_counter() - started_s) * 1e3)
        assert response.status == 200, body
    connection.close()
    return found, json.loads(body)


def measure(server: TallyServer, query: dict[str, str], times: int) -> tuple[float, float]:
    """Return p50 and p95 in ms: the medians of RUNS runs."""
    runs = [latencies_ms(server, query, times)[0] for _ in range(RUNS)]
    return tuple(statistics.median(percentile(run, percent) for run in runs) for percent in (50, 95))  # type: ignore[return-value]


def run() -> list[Row]:
    """Measure against one server, on a data directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "tally.toml"
        config.write_text(DEFINITION + MORE)
        with TallyServer(config, Path(directory) / "data") as server:
            fill(server, day_of_events())
            _, answer = latencies_ms(server, DAY, 3)
            assert [series["total"] for series in answer["series"]] == [1_440] * 12
            p50_ms, p95_ms = measure(server, DAY, 60)
            day = Row(
                "Query over HTTP: 24 h of 1-minute windows, 12 groups",
                f"p50 {p50_ms:.0f} ms, p95 {p95_ms:.0f} ms",
                "p95 50 ms",
                p95_ms < 50,
            )
            fill(server, hour_of_pages())
            _, answer = latencies_ms(server, HOUR, 1)
            assert (answer["groups"], [len(series["points"]) for series in answer["series"]]) == (10_000, [60] * 6)
            p50_ms, p95_ms = measure(server, HOUR, 5)
            # No target was set for it: this is ours.
            top = Row(
                "… the largest 5 of 10,000 groups in an hour, and the rest",
                f"p50 {p50_ms:.0f} ms, p95 {p95_ms:.0f} ms",
                "p95 1 s",
                p95_ms < 1_000,
            )
            return [day, top]


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
