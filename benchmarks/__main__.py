"""Run all benchmarks and write docs/benchmarks.md, or run those named: `python -m benchmarks hot_path query`."""

import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measure import Row, run_benchmark

ALL = ("start", "hot_path", "aws_count", "ingest", "http", "query", "alarms", "memory")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
INTRODUCTION = """\
# Benchmarks

Written by `make bench`, which anyone can run. Ratios are of one run, contestants taking turns; figures are medians of at least
five runs, except memory and the time until an event is visible, which are of one long run. The events have about 187 bytes
and 12 types, 0.1 % of them are malformed, and one counter has windows of 1m, 15m and 1h.
Absolute figures say as much about the machine as about Tallystream: compare them with your own. Their targets were set on a
core on which uvicorn with an application that does nothing answers 18,800 requests/s, and the hot path counts 1.5 to 2.5 M
events/s. Where a slower machine may miss such a target, the row below it holds the figure against what this one made of that,
in the same run.
Rows of AWS are the count function without the network, from a payload's bytes on. The blog's is the function of the pattern's
post, which takes a payload to its counters and knows one event a record: "the blog's with 1" has as many events, each in a
record of its own.

"""


def main(names: list[str]) -> None:
    """Print each row as it is measured; write the page if all were run. A target that is missed is said, no error."""
    rows: list[Row] = []
    # Each in a process of its own: what one leaves in memory slows the next.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for of_one in pool.map(run_benchmark, names or ALL):
            for row in of_one:
                print(*row, sep=" | ", flush=True)
                rows.append(row)
    if not names:
        table = "".join(f"| {row.what} | {row.measured} | {row.target} | {'yes' if row.met else 'no'} |\n" for row in rows)
        machine = f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}, Python {platform.python_version()}"
        PAGE.write_text(
            f"{INTRODUCTION}Measured on: {machine}.\n\n| what | measured | target | met |\n|---|---|---|---|\n{table}"
        )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:])
