"""From `tally up` to ready: every process runs, and events can be taken and counted."""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.events import DEFINITION
from benchmarks.measure import Row
from tests.server import TallyServer

RUNS = 5


def run() -> list[Row]:
    """Start on an empty data directory the first time, then on one that is there."""
    seconds = []
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "tally.toml"
        config.write_text(DEFINITION)
        for _ in range(RUNS):
            started_s = time.perf_counter()
            with TallyServer(config, Path(directory) / "data"):
                seconds.append(time.perf_counter() - started_s)
    ready_s = statistics.median(seconds)
    return [Row("`tally up` until ready", f"{ready_s:.2f} s", "3 s", ready_s < 3)]


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
