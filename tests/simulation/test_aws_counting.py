"""
Counting on AWS through anything that Lambda, Kinesis and DynamoDB do to it: every total is that of an independent recount.

Each schedule is drawn from a seed: records of several lines, KPL aggregates and rejected events among them, in shards that
split and merge, delivered with every fault of testing.EventSourceMapping, into rows whose updates interleave in any order.
`make test` runs 10,000 schedules, `make soak` 100,000; TALLY_SEED=… begins with another one. The same schedules go wrong
with the two simpler ways to write a row, so this would see it if ours were wrong.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import cache, partial
from multiprocessing import get_context
from random import Random
from typing import Any, NamedTuple

import pytest

from tallystream.aws.count import Counting
from tallystream.aws.records import pad_sequence
from tallystream.aws.rows import OVERFLOW, Layout, read_cell_key
from tallystream.aws.table import At, Below
from tallystream.core.definition_text import parse_definition
from tallystream.testing import Containers, EventSourceMapping, MemoryStream, MemoryTable
from tests.kpl import aggregate
from tests.oracle import OracleCounter, recount

SCHEDULES = int(os.environ.get("TALLY_SOAK_DELIVERIES") or 10_000)
SEED = int(os.environ.get("TALLY_SEED") or 0)
WEAKENED_SCHEDULES = 500
FAULTS_MAX = 6
START_MS = 1_795_433_580_000
GROUPS_MAX = 3

COUNTING = Counting(
    parse_definition("""
name = "simulated"
[stream]
event_time = "t"
shards = 2
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
keep = "7d"
[[counter]]
name = "gifts"
where = "event == 'a'"
group_by = ["page"]
windows = ["1m"]
measures = ["sum(amount)", "min(amount)", "max(amount)"]
"""),
    Layout(groups_max=GROUPS_MAX, write_shards=2),
)
ORACLE = [
    OracleCounter("events", [60_000], ["event"]),
    OracleCounter("gifts", [60_000], ["page"], ["amount"], lambda event: bool(event["event"] == "a")),
]

# (counter, window_ms, window_start_ms, group) → count, and of each measured field count, sum, min and max
Cells = dict[tuple[str, int, int, str], tuple[int, dict[str, tuple[int, Fraction, Fraction, Fraction]]]]


class Outcome(NamedTuple):
    cells: Cells
    ledger: dict[str, int]
    rejected: list[tuple[str, str, int, bytes]]  # shard, sequence, index, data


class PlainAdd(MemoryTable):
    """What the blog post's function does: no condition."""

    def holds(self, condition: Below | At, mark: str | None, assign: dict[str, Any]) -> bool:
        return True


class BelowLast(MemoryTable):
    """The condition that seems right: not yet counted to the batch's end."""

    def holds(self, condition: Below | At, mark: str | None, assign: dict[str, Any]) -> bool:
        return super().holds(Below(assign["hwm"]) if isinstance(condition, Below) else condition, mark, assign)


def draw_line(random: Random) -> bytes:
    if random.random() < 0.08:
        return random.choice((b"{", b"[1]", b'{"event":"a"}', b'{"t":"soon","event":"a"}', b"\xff"))
    event: dict[str, Any] = {
        "t": START_MS // 1_000 + random.randrange(120),
        "event": random.choice("aaab"),
        "page": random.choice("uvwxyz"),
        "amount": random.choice((1, -7, 0.1, 2.25, 10**18, 1e-18, None)),
    }
    return json.dumps(event).encode()


def draw_stream(random: Random) -> tuple[MemoryStream, list[list[bytes]]]:
    """Return a stream, and the lines of each of its records in the order of their sequence numbers."""
    stream = MemoryStream(random, random.randint(1, 2))
    records = []
    for number in range(random.randint(3, 10)):
        lines = [draw_line(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        records.append(lines)
        data = aggregate(lines) if random.random() < 0.2 else b"\n".join(lines)
        stream.put(data, START_MS + number)
        match random.random():
            case chance if chance < 0.04:
                stream.split()
            case chance if chance < 0.08:
                stream.merge()
    return stream, records


def simulate(seed: int, table: MemoryTable) -> tuple[Outcome, Outcome, int]:
    """Return what was counted, what is right, and how many faults there were."""
    random = Random(seed)
    stream, records = draw_stream(random)
    containers = Containers(COUNTING, table, random)
    mapping = EventSourceMapping(stream, containers.invoke, random, START_MS)
    mapping.run(FAULTS_MAX)
    counted = read_table(table)
    return counted, recounted(stream, records, admitted(table)), mapping.faults


def admitted(table: MemoryTable) -> dict[str, set[str]]:
    groups = defaultdict(set)
    for item in table.items.values():
        if item["pk"].startswith("catalogue#") and "group" in item:
            groups[item["pk"].split("#")[1]].add(item["group"])
    return groups


def read_table(table: MemoryTable) -> Outcome:
    cells: Cells = {}
    ledger: defaultdict[str, int] = defaultdict(int)
    rejected = []
    for key, item in table.items.items():
        cell = read_cell_key(key)
        if key.pk == "ledger":
            for name in ("received", "counted", "unmatched", "late", "rejected", "duplicate"):
                ledger[name] += item[name]
        elif key.pk.startswith("rejected#"):
            sequence, index = key.sk.split("#")
            rejected.append((key.pk.removeprefix("rejected#"), sequence, int(index), item["data"]))
        elif cell is not None:
            fields = {
                path: (field["count"], Fraction(field["sum"]), Fraction(field["min"]), Fraction(field["max"]))
                for path, field in item.get("fields", {}).items()
            }
            add_cell(cells, (cell.counter, cell.window_ms, cell.window_start_ms, cell.group), (item["count"], fields))
    return Outcome(cells, dict(ledger), sorted(rejected))


def recounted(stream: MemoryStream, records: list[list[bytes]], groups: dict[str, set[str]]) -> Outcome:
    """Return the oracle's recount, groups that are not in the catalogue put together as the overflow."""
    right = recount((line for lines in records for line in lines), "t", ORACLE)
    cells: Cells = {}
    for (counter, window_ms, start_ms, group), value in right.cells.items():
        add_cell(cells, (counter, window_ms, start_ms, group if group in groups[counter] else OVERFLOW), value)
    ordered = sorted((pad_sequence(record.sequence), shard.name) for shard in stream.shards for record in shard.records)
    rejected = [
        (shard, sequence, index, line)
        for (sequence, shard), lines in zip(ordered, records, strict=True)
        for index, line in enumerate(lines)
        if is_rejected(line)
    ]
    return Outcome(
        cells,
        {
            "received": right.received,
            "counted": right.counted,
            "unmatched": right.unmatched,
            "late": 0,
            "rejected": right.rejected,
            "duplicate": 0,
        },
        sorted(rejected),
    )


@cache
def is_rejected(line: bytes) -> bool:
    return recount([line], "t", ORACLE).rejected == 1


def add_cell(
    cells: Cells,
    key: tuple[str, int, int, str],
    value: tuple[int, dict[str, tuple[int, Fraction, Fraction, Fraction]]],
) -> None:
    count, fields = value
    held_count, held = cells.get(key, (0, {}))
    merged = dict(held)
    for path, (numbers, total, low, high) in fields.items():
        was = merged.get(path)
        merged[path] = (
            (numbers, total, low, high)
            if was is None
            else (was[0] + numbers, was[1] + total, min(was[2], low), max(was[3], high))
        )
    cells[key] = (held_count + count, merged)


class Summary(NamedTuple):
    wrong: int  # schedules
    faults: int
    overflowed: int  # schedules


def run_schedules(table: type[MemoryTable], seeds: range) -> Summary:
    wrong = faults = overflowed = 0
    for seed in seeds:
        counted, right, happened = simulate(seed, table())
        if table is MemoryTable:
            assert counted == right, f"TALLY_SEED={seed} shows it in its first schedule"
        wrong += counted != right
        faults += happened
        overflowed += any(group == OVERFLOW for *_, group in counted.cells)
    return Summary(wrong, faults, overflowed)


@pytest.fixture(scope="module")
def processors() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield pool


def run_all(processors: ProcessPoolExecutor, table: type[MemoryTable], schedules: int) -> Summary:
    seeds = range(SEED, SEED + schedules)
    cut = [seeds[start : start + 250] for start in range(0, schedules, 250)]
    return Summary(*map(sum, zip(*processors.map(partial(run_schedules, table), cut), strict=True)))


def test_every_schedule_counts_exactly(processors: ProcessPoolExecutor) -> None:
    summary = run_all(processors, MemoryTable, SCHEDULES)
    assert summary.wrong == 0
    assert summary.faults > SCHEDULES  # they are as rough as they are meant to be
    assert summary.overflowed > SCHEDULES // 10


def test_the_same_schedules_go_wrong_without_a_condition(processors: ProcessPoolExecutor) -> None:
    assert run_all(processors, PlainAdd, WEAKENED_SCHEDULES).wrong > WEAKENED_SCHEDULES // 2


def test_the_same_schedules_go_wrong_with_a_condition_on_the_last_record(processors: ProcessPoolExecutor) -> None:
    assert run_all(processors, BelowLast, WEAKENED_SCHEDULES).wrong > WEAKENED_SCHEDULES // 10
