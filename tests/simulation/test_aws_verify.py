"""
`tally verify --aws` on the schedules of test_aws_counting: silent on each, at its end and at any moment before, and loud about
whatever is changed behind its back.
"""

import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from tallystream.aws import verify
from tallystream.aws.deployed import Deployed
from tallystream.aws.records import SEQUENCE_DIGITS, lines_of_record, pad_sequence
from tallystream.aws.recount import Record
from tallystream.aws.retained import Page
from tallystream.aws.rows import Layout, read_cell_key
from tallystream.aws.table import Item, Key, Operation
from tallystream.aws.verify import Clock, Verification, Verifier
from tallystream.core.definition_text import parse_definition
from tallystream.testing import Containers, EventSourceMapping, MemoryStream, MemoryTable
from tests.simulation.test_aws_counting import COUNTING, FAULTS_MAX, GROUPS_MAX, START_MS, draw_stream

SCHEDULES = 300
SEED = int(os.environ.get("TALLY_SEED") or 0)
HOUR_MS = 3_600_000
NOW_MS = START_MS + HOUR_MS
DEFINITION = parse_definition("""
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
""")
LAYOUT = Layout(groups_max=GROUPS_MAX, write_shards=2)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread reads, so that a seed is all that decides."""
    monkeypatch.setattr(verify, "_THREADS_MAX", 1)


class Retained:
    """What Kinesis retains of a stream in memory, handed over in pages of any size."""

    def __init__(self, stream: MemoryStream, random: Random, trimmed: int = 0) -> None:
        self.created_ms = START_MS - 100 * HOUR_MS if trimmed else START_MS - 1
        # A record's number is its arrival.
        self.retention_ms = NOW_MS - START_MS - trimmed if trimmed else 24 * HOUR_MS
        everything = sorted(pad_sequence(record.sequence) for shard in stream.shards for record in shard.records)
        gone = set(everything[:trimmed])
        self.records = {
            f"shardId-{shard.name}": [record for record in shard.records if pad_sequence(record.sequence) not in gone]
            for shard in stream.shards
        }
        self._random = random

    def shards(self) -> list[str]:
        return list(self.records)

    def pages(self, shard: str, after: str | None = None) -> Iterator[Page]:
        left = [Record(*record) for record in self.records[shard] if after is None or int(record.sequence) > int(after)]
        while left:
            size = self._random.randrange(9)
            yield Page(left[:size], 1_000)
            left = left[size:]
        yield Page([], 0)


class History(MemoryTable):
    """A table that remembers every state that it was in."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[Key, Item]] = [{}]

    def perform(self, operation: Operation) -> object:
        answer = super().perform(operation)
        self.states.append(dict(self.items))
        return answer


class Passing(MemoryTable):
    """A table that is counted on into between any two questions, from a state of its history to its last."""

    def __init__(self, history: History, random: Random) -> None:
        super().__init__()
        self._states = history.states
        self._random = random
        self._at = random.randrange(len(self._states))
        self.pass_by(0)

    def pass_by(self, most: int) -> None:
        self._at = min(self._at + self._random.randint(0, most), len(self._states) - 1)
        self.items = self._states[self._at]

    def wait(self) -> None:
        self.pass_by(len(self._states) // 10 + 1)

    def query(self, pk: str, from_sk: str = "", to_sk: str | None = None, **how: Any) -> Iterator[Item]:
        self.pass_by(2)
        return super().query(pk, from_sk, to_sk, **how)


def counted(random: Random, table: MemoryTable) -> MemoryStream:
    """Return a stream, counted into a table with faults."""
    stream, _ = draw_stream(random)
    EventSourceMapping(stream, Containers(COUNTING, table, random).invoke, random, START_MS).run(FAULTS_MAX)
    return stream


def verified(retained: Retained, table: MemoryTable, wait: Callable[[], None] = lambda: None) -> Verification:
    elapsed_s = 0.0

    def pause(duration_s: float) -> None:
        nonlocal elapsed_s
        elapsed_s += duration_s
        wait()

    clock = Clock(lambda: NOW_MS, lambda: elapsed_s, pause)
    deployed = Deployed("stream", "table", DEFINITION, LAYOUT, None, None)
    return Verifier(deployed, retained, table, lambda reading: None, clock).verify()  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(SEED, SEED + SCHEDULES))
def test_no_schedule_makes_a_difference(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    monkeypatch.setattr(verify, "_CLOCK_SLACK_MS", 0)  # a schedule has some milliseconds
    monkeypatch.setattr(verify, "_CATCH_UP_S", -1.0)
    monkeypatch.setattr(verify, "_PASSES_MAX", random.randint(1, 3))  # over the stream
    table = History()
    stream = counted(random, table)
    lines = sum(len(lines_of_record(record.data)) for shard in stream.shards for record in shard.records)
    result = verified(Retained(stream, random), table)
    assert (result.differences, result.events, result.gone) == ([], lines, 0)
    assert result.rows == sum(read_cell_key(key) is not None for key in table.items)

    # Some records that were counted are gone from the stream; and it is counted on while we look.
    trimmed = random.randint(1, 5)
    assert verified(Retained(stream, random, trimmed), table).differences == []
    for gone in (0, trimmed):
        passing = Passing(table, random)
        assert verified(Retained(stream, random, gone), passing, passing.wait).differences == []


Tamper = Callable[[Random, MemoryTable], bool]
"""Changes something of a table; False: there is no such thing in it."""

ABOVE_ALL = "9" * SEQUENCE_DIGITS


def change(random: Random, table: MemoryTable, kind: Callable[[Key], bool], change: Callable[[Item], object]) -> bool:
    keys = [key for key in table.items if kind(key)]
    if not keys:
        return False
    key = random.choice(keys)
    item = {name: dict(value) if isinstance(value, dict) else value for name, value in table.items[key].items()}
    change(item)
    if item:
        table.items[key] = item
    else:
        del table.items[key]
    return True


def is_cell(key: Key) -> bool:
    return read_cell_key(key) is not None


def is_rejected(key: Key) -> bool:
    return key.pk.startswith("rejected#")


def is_ledger(key: Key) -> bool:
    return key.pk == "ledger"


def is_group(key: Key) -> bool:
    return key.pk.startswith("catalogue#") and key.sk != "#"


def add(*names: str, number: int = 1) -> Callable[[Item], None]:
    def change(item: Item) -> None:
        for name in names:
            item[name] += number

    return change


def put(**values: object) -> Callable[[Item], None]:
    return lambda item: item.update(values)


def move_outcome(item: Item) -> None:
    item["late"] += 1
    item["counted"] -= 1


def change_sum(random: Random, table: MemoryTable) -> bool:
    def one_more(item: Item) -> None:
        item["fields"]["amount"] = {**item["fields"]["amount"], "sum": "12345.678"}

    return change(random, table, lambda key: is_cell(key) and bool(table.items[key].get("fields")), one_more)


def copy_row(random: Random, table: MemoryTable) -> bool:
    key = random.choice([key for key in table.items if is_cell(key)])
    window, _, shard = key.sk.partition("#")
    other = Key(key.pk, f"{int(window) + 600_000:016d}#{shard}")
    table.items[other] = {**table.items[key], "sk": other.sk}
    return True


def reject_more(random: Random, table: MemoryTable) -> bool:
    keys = [key for key in table.items if is_rejected(key)]
    if not keys:
        return False
    key = random.choice(keys)
    other = Key(key.pk, key.sk[:-1] + "9")
    table.items[other] = {**table.items[key], "sk": other.sk}
    return True


TAMPERINGS: dict[str, Tamper] = {
    "a count is one more": lambda random, table: change(random, table, is_cell, add("count")),
    "a count is one less": lambda random, table: change(random, table, is_cell, add("count", number=-1)),
    "a sum is another": change_sum,
    "a row is gone": lambda random, table: change(random, table, is_cell, dict.clear),
    "a row is there twice": copy_row,
    "a mark is too low": lambda random, table: change(random, table, is_cell, put(hwm=pad_sequence("1"))),
    "a mark is too high": lambda random, table: change(random, table, is_cell, put(hwm=ABOVE_ALL)),
    "a row has no mark": lambda random, table: change(random, table, is_cell, lambda item: item.pop("hwm")),
    "a row has no count": lambda random, table: change(random, table, is_cell, lambda item: item.pop("count")),
    "a ledger has no mark": lambda random, table: change(random, table, is_ledger, lambda item: item.pop("hwm")),
    "a rejected event is gone": lambda random, table: change(random, table, is_rejected, dict.clear),
    "a rejected event has another reason": lambda random, table: change(random, table, is_rejected, put(reason="too_large")),
    "a rejected event has other bytes": lambda random, table: change(random, table, is_rejected, put(data=b"other")),
    "a rejected event was not rejected": reject_more,
    "an outcome is one more": lambda random, table: change(random, table, is_ledger, add("counted")),
    "a ledger has one more": lambda random, table: change(random, table, is_ledger, add("received", "counted")),
    "a ledger has one less": lambda random, table: change(random, table, is_ledger, add("received", "late", number=-1)),
    "an event ended otherwise": lambda random, table: change(random, table, is_ledger, move_outcome),
    "a ledger's mark is too low": lambda random, table: change(random, table, is_ledger, put(hwm=pad_sequence("1"))),
    "a ledger's mark is too high": lambda random, table: change(random, table, is_ledger, put(hwm=ABOVE_ALL)),
    "a ledger is gone": lambda random, table: change(random, table, is_ledger, dict.clear),
    "a group is not in the catalogue": lambda random, table: change(random, table, is_group, dict.clear),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERINGS)
def test_whatever_is_changed_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "UNDER_WAY_S", 5.0)
    changed = 0
    for seed in range(SEED, SEED + 60):
        random = Random(seed)
        table = MemoryTable()
        stream = counted(random, table)
        if TAMPERINGS[what](random, table):
            changed += 1
            assert verified(Retained(stream, random), table).differences, f"TALLY_SEED={seed}"
    assert changed > 20


def test_what_is_counted_twice_is_found_where_older_events_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows that were begun by what is still there."""
    monkeypatch.setattr(verify, "_CLOCK_SLACK_MS", 0)
    changed = 0
    for seed in range(SEED, SEED + 200):
        random = Random(seed)
        table = MemoryTable()
        retained = Retained(counted(random, table), random, trimmed=2)
        oldest = {shard: pad_sequence(records[0].sequence) for shard, records in retained.records.items() if records}

        def is_begun_since(key: Key, table: MemoryTable = table, oldest: dict[str, str] = oldest) -> bool:
            cell = read_cell_key(key)
            since = None if cell is None else oldest.get(f"shardId-{cell.shard}")
            return since is not None and table.items[key]["first"] >= since

        if change(random, table, is_begun_since, add("count")):
            changed += 1
            assert verified(retained, table).differences, f"TALLY_SEED={seed}"
    assert changed > 50
