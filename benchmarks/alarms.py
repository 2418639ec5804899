"""A round of alarms: 1,000 of them in one evaluation, while 10,000 groups are counted."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.engine.alarms import AlarmStep
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.stream import SQLiteStream
from tests.counted import count_events

ROUNDS = 7
GROUPS = 10_000
START_MS = 1_795_392_000_000  # 2026-11-23T00:00:00Z
MINUTE_MS, WEEK_MS = 60_000, 7 * 86_400_000
TARGET_MS = 200

COUNTER = """
name = "alarms"
[stream]
event_time = "utc_timestamp"
[[counter]]
name = "pages"
group_by = ["page"]
windows = ["1m"]
"""
# Of a thousand: most hold a threshold, some compare with the past, one in a hundred each combines others.
CONDITIONS = (
    *['comparison = "<"\nthreshold = 1\nevaluation_periods = 3\ndatapoints_to_alarm = 2'] * 4,
    *['comparison = ">="\nthreshold = 50\nclear_threshold = 40'] * 4,
    'comparison = "<"\nthreshold_percent = -50\nbaseline = "7d"\nevaluation_periods = 3',
    'comparison = "outside"\nband = 3\nweeks = 2\nevaluation_periods = 2',
)


def thousand_alarms() -> str:
    """990 alarms, each of a group of its own, and 10 that combine them."""
    alarms = [
        f'[[alarm]]\nname = "a{at}"\ncounter = "pages"\nwindow = "1m"\ngroup = {{ page = "/p/{at * 10}" }}\n'
        + CONDITIONS[at % len(CONDITIONS)]
        for at in range(990)
    ]
    alarms += [f'[[alarm]]\nname = "c{at}"\nwhen = "a{at} and not (a{at + 1} or a{at + 2})"' for at in range(10)]
    return "\n".join(alarms)


EACH = f"""
[[alarm]]
name = "each"
counter = "pages"
window = "1m"
group_by = "each"
groups_max = {GROUPS}
comparison = ">="
threshold = 50
evaluation_periods = 3
datapoints_to_alarm = 2
"""


def minute_of_pages(minute: int) -> Iterator[dict[str, Any]]:
    """Every group once in a minute."""
    return ({"page": f"/p/{page}", "utc_timestamp": START_MS + minute * MINUTE_MS} for page in range(GROUPS))


def rounds_ms(definition: Definition, directory: Path, store: SQLiteCounterStore, first_minute: int) -> tuple[float, float]:
    """Return the median processor times of a round that ends a window, and of one within it. Before each, all groups count."""
    stream, alarms = SQLiteStream(directory / "stream.db", definition.stream), SQLiteAlarmStore(directory / "alarms.db")
    step = AlarmStep(definition, store, stream, alarms)
    times_ms: dict[bool, list[float]] = {True: [], False: []}
    for minute in range(first_minute, first_minute + ROUNDS + 2):
        for is_end in (False, True):
            count_events(store, definition, minute_of_pages(minute))
            started_s = time.process_time()
            step.step(START_MS + (minute + is_end) * MINUTE_MS + 1_000)
            times_ms[is_end].append((time.process_time() - started_s) * 1e3)
    is_settled = len(alarms.statuses()) in (len(definition.alarms), GROUPS)
    stream.close()
    alarms.close()
    assert is_settled, "an alarm has no state"
    # The first two read everything, and store the first states.
    return statistics.median(times_ms[True][2:]), statistics.median(times_ms[False][2:])


def run() -> list[Row]:
    """Measure both: a thousand alarms, and one with a state for each of 10,000 groups."""
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        definition = parse_definition(COUNTER)
        store = SQLiteCounterStore(data / "counters.db")
        store.declare(definition, {}, START_MS)
        for week in (1, 2):
            for minute in range(-week * WEEK_MS // MINUTE_MS, -week * WEEK_MS // MINUTE_MS + 15):
                count_events(store, definition, minute_of_pages(minute))
        for minute in range(5):
            count_events(store, definition, minute_of_pages(minute))
        for at, (what, alarms) in enumerate(
            [
                ("A round of 1,000 alarms, 10,000 groups counted since the last", thousand_alarms()),
                ("… of one alarm with a state for each of the 10,000 groups", EACH),
            ]
        ):
            own = data / str(at)
            own.mkdir()
            end_ms, within_ms = rounds_ms(parse_definition(COUNTER + alarms), own, store, 5 + at * (ROUNDS + 2))
            measured = f"{end_ms:.0f} ms of one core when a window ends, {within_ms:.0f} ms within it"
            rows.append(Row(what, measured, f"{TARGET_MS} ms", max(end_ms, within_ms) < TARGET_MS))
        store.close()
    return rows


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
