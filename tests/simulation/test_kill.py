"""
The promise under SIGKILL: every accepted event is counted once, or shown with the reason why not.

Producers send batches and retry each until it is accepted, as careful producers do; meanwhile the server, or one of its
processes, is killed at random points. `make test` kills 25 times, `make soak N=1000` as often as asked; TALLY_SEED=… draws
the same batches and victims again.
"""

import json
import os
import random
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx

from tallystream.core.definition_text import parse_definition
from tallystream.local.counters import SQLiteCounterStore
from tests.oracle import OracleCounter, recount
from tests.server import TALLY, TallyServer, children_of, tally_environment
from tests.waiting import wait_until

KILLS = int(os.environ.get("TALLY_SOAK_KILLS") or 25)
CHILD_KILLS_MAX = 3  # in a row: a child that crashes over and over rightly ends the supervisor
PRODUCERS = 3
BASE_MS = 1_795_433_580_000
DEFINITION = """
name = "kill"
[stream]
event_time = "t"
shards = 3
[[counter]]
name = "events"
windows = ["1m", "1h"]
group_by = ["event"]
[[counter]]
name = "gifts"
windows = ["15m"]
where = "event == 'gift'"
measures = ["sum(amount)"]
"""
ORACLE = [
    OracleCounter("events", [60_000, 3_600_000], ["event"]),
    OracleCounter("gifts", [900_000], [], ["amount"], lambda event: event.get("event") == "gift"),
]


class Producer(threading.Thread):
    """Sends batches one after another, each until it is accepted, and remembers what was."""

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(name=f"producer-{number}", daemon=True)
        self._random = random.Random(seed * 1_000 + number)
        self._number = number
        self.url = ""  # of the server that runs now
        self.done = threading.Event()
        self.accepted: list[bytes] = []
        self.batches = 0
        self.retries = 0

    def run(self) -> None:
        with httpx.Client(timeout=5.0, trust_env=False) as client:
            while not self.done.is_set():
                lines = list(self._lines())
                while not self._send(client, lines):
                    self.retries += 1
                    self.done.wait(0.02)
                self.accepted.extend(lines)
                self.batches += 1

    def _send(self, client: httpx.Client, lines: list[bytes]) -> bool:
        key = f"{self._number}-{self.batches}"
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        try:
            answer = client.post(f"{self.url}/v1/events", content=b"\n".join(lines), headers=headers)
        except httpx.HTTPError:
            return False
        assert answer.status_code in (202, 429, 503), f"{answer.status_code} {answer.text}"
        return answer.status_code == 202

    def _lines(self) -> Iterator[bytes]:
        # Few windows, as live events have, are tallied by the web worker; many are left to the counter process.
        spread_ms = self._random.choice((60_000, 7_200_000))
        start_ms = BASE_MS + self._random.randrange(7_200_000 // spread_ms) * spread_ms
        for _ in range(self._random.randrange(1, 300)):
            kind = self._random.random()
            event: dict[str, Any] = {
                "t": start_ms + self._random.randrange(spread_ms),
                "event": self._random.choice(("gift", "view", None, 1)),
            }
            if kind < 0.5:
                event["amount"] = self._random.randrange(10_000) / 100
            line = json.dumps(event).encode()
            yield line[:20] if kind > 0.98 else line


def test_events_are_counted_once_though_processes_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("TALLY_SEED") or random.randrange(10**6))
    print(f"TALLY_SEED={seed}")
    random_ = random.Random(seed)
    config = tmp_path / "tally.toml"
    config.write_text(DEFINITION)
    data = tmp_path / "data"
    producers = [Producer(number, seed) for number in range(PRODUCERS)]
    moment = threading.Event()

    with ExitStack() as servers:
        server: TallyServer | None = None
        child_kills = 0
        for _ in range(KILLS):
            if server is None:
                server = servers.enter_context(TallyServer(config, data))
                for producer in producers:
                    producer.url = server.url
                    if not producer.is_alive():
                        producer.start()
            reached = sum(producer.batches for producer in producers) + random_.randrange(1, 15)
            wait_until(lambda: sum(producer.batches for producer in producers) >= reached, "batches to be accepted")  # noqa: B023
            moment.wait(random_.uniform(0, 0.03))  # anywhere between two commits
            if child_kills == CHILD_KILLS_MAX or random_.random() < 0.5:
                server.kill()
                server = None
                child_kills = 0
            else:
                # The supervisor starts it again; the others go on.
                child_kills += 1
                children = children_of(server.process.pid)
                os.kill(random_.choice(children), 9)
                wait_until(lambda: len(children_of(server.process.pid)) >= len(children), "the child to be started again")  # type: ignore[union-attr]  # noqa: B023
        if server is None:
            server = servers.enter_context(TallyServer(config, data))
        for producer in producers:
            producer.url = server.url
            producer.done.set()
        for producer in producers:
            producer.join(30)
            assert not producer.is_alive()
        sent = [line for producer in producers for line in producer.accepted]
        wait_until(lambda: server.get("/v1/ledger")["received"] >= len(sent), "everything to be counted", 30)
        assert server.stop() == 0

    assert_counted_once(data, sent)
    verified = subprocess.run(
        [*TALLY, "verify", "--config", str(config), "--data", str(data)],
        env=tally_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    print(f"{len(sent)} events, {sum(producer.retries for producer in producers)} retries")


def assert_counted_once(data: Path, sent: list[bytes]) -> None:
    expected = recount(sent, "t", ORACLE)
    store = SQLiteCounterStore(data / "counters.db", read_only=True)
    definition = parse_definition(DEFINITION)
    ledger = store.ledger()
    assert ledger.received == sum(ledger[1:]) == len(sent)
    assert (ledger.counted, ledger.unmatched, ledger.rejected) == (expected.counted, expected.unmatched, expected.rejected)
    assert sum(store.rejected_reasons().values()) == expected.rejected
    found = {}
    for counter in definition.counters:
        series = store.series(counter.name)
        for window_ms in counter.windows_ms:
            for cell in store.cells(counter, window_ms, 0, 10**14):
                measured = {
                    path: (field.count, Fraction(field.sum), Fraction(field.min), Fraction(field.max))
                    for path, field in zip(counter.measured_fields, cell.partial.fields, strict=True)
                    if field.min is not None
                    if field.max is not None
                }
                key = (counter.name, window_ms, cell.window_start_ms, json.dumps(list(series[cell.series_id])))
                found[key] = (cell.partial.count, measured)
    store.close()
    assert found == expected.cells
    for name in ("stream.db", "counters.db"):
        with closing(sqlite3.connect(data / name)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with closing(sqlite3.connect(data / "stream.db")) as connection:
        tallied, chunks = connection.execute("SELECT count(tally), count(*) FROM chunk").fetchone()
    assert 0 < tallied < chunks, "both ways of counting are to be tried"
