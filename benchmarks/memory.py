"""Resident memory of the whole of `tally up` while ten million events come in over HTTP."""

import tempfile
from pathlib import Path

from benchmarks.events import DEFINITION
from benchmarks.http import counted, load
from benchmarks.measure import Row
from tests.server import TallyServer, children_of
from tests.waiting import wait_until

ROUNDS = 10
EVENTS_A_ROUND = 1_000_000


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children; what they share is counted for each of them."""
    total_kb = 0
    for process in [pid, *children_of(pid)]:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        total_kb += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))
    return total_kb / 1024


def run() -> list[Row]:
    """Send a million events ten times; measure after each."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "tally.toml"
        config.write_text(DEFINITION)
        with TallyServer(config, Path(directory) / "data") as server:
            measured = []
            for number in range(1, ROUNDS + 1):
                load(server.url, 4, EVENTS_A_ROUND // 500, 500)
                wait_until(lambda: counted(server) == number * EVENTS_A_ROUND, "all events to be counted", 120)  # noqa: B023
                measured.append(resident_mb(server.process.pid))
    peak, growth = max(measured), measured[-1] - measured[len(measured) // 2]
    return [
        Row("Resident memory of `tally up`, 10,000,000 events", f"{peak:.0f} MB at most", "250 MB", peak < 250),
        Row("… growth over the last 5,000,000", f"{growth:+.0f} MB", "flat (< 10 MB)", growth < 10),
    ]


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
