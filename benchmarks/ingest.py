"""`tally ingest` of a file: from the first byte read until every event is durable and counted."""

import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.events import DEFINITION, make_events
from benchmarks.measure import Row
from tallystream.core.counting import Tallier
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader
from tests.server import TALLY, tally_environment

EVENTS = 2_000_000
RUNS = 5


def run() -> list[Row]:
    """Ingest the same file into an empty data directory each time; the command's own figure is taken."""
    rates, ratios = [], []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "tally.toml").write_text(DEFINITION)
        with (root / "events.ndjson").open("wb") as file:
            lines = make_events(EVENTS // 10, events_per_s=2_000)
            for _ in range(10):
                file.writelines(line + b"\n" for line in lines)
        for number in range(RUNS):
            data = root / f"data-{number}"
            command = [*TALLY, "ingest", "events.ndjson", "--config", "tally.toml", "--data", str(data)]
            done = subprocess.run(command, cwd=root, env=tally_environment(), capture_output=True, text=True, check=True)
            found = re.search(rf"{EVENTS:,} events in [\d.]+ s \(([\d,]+)/s\)", done.stdout + done.stderr)
            assert found, done.stdout + done.stderr
            rates.append(float(found[1].replace(",", "")))
            ratios.append(rates[-1] / hot_path(lines))
    rate, ratio = statistics.median(rates), statistics.median(ratios)
    return [
        Row(
            f"tally ingest, {EVENTS:,} NDJSON events, durable and counted", f"{rate:,.0f} events/s", "700,000", rate >= 700_000
        ),
        Row("… against the hot path alone, on one core", f"{ratio:.2f}×", "0.35×", ratio >= 0.35),
    ]


def hot_path(lines: list[bytes]) -> float:
    """Return how many events a second one core of this machine, at this moment, counts in memory."""
    definition = parse_definition(DEFINITION)
    reader = Reader(definition)
    tallier = Tallier(definition, reader)
    start_s = time.process_time()
    for start in range(0, len(lines), 1_000):
        tallier.tally(reader.read(lines[start : start + 1_000], 0))
    return len(lines) / (time.process_time() - start_s)


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
