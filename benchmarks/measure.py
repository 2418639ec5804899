"""Timing on a noisy machine: contestants take turns, medians are quoted, and ratios are of one run."""

import statistics
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

RUNS = 7


class Row(NamedTuple):
    """One line of docs/benchmarks.md."""

    what: str
    measured: str
    target: str
    met: bool


def run_benchmark(name: str) -> list[Row]:
    """Run a benchmark, the module of that name, and return what it measured."""
    rows: list[Row] = import_module(f"benchmarks.{name}").run()
    return rows


def alternate(contestants: Sequence[Callable[[], object]], runs: int = RUNS) -> list[list[float]]:
    """
    Return each contestant's seconds, run by run: after a warm-up, all take a turn in each run.

    Seconds of the processor, so that what else the machine does meanwhile does not count; each contestant is one thread.
    """
    for contestant in contestants:
        contestant()
    times: list[list[float]] = [[] for _ in contestants]
    for _ in range(runs):
        for contestant, taken in zip(contestants, times, strict=True):
            start = time.process_time()
            contestant()
            taken.append(time.process_time() - start)
    return times


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return the median of the ratios of runs that stood next to each other."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least this percentage of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
