"""What the table may hold and what not, where not everything that was counted is still in the stream."""

import json
from typing import Any

import pytest

from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.differences import Catalogue, Comparison, Shard
from tallystream.aws.records import pad_sequence
from tallystream.aws.recount import Record as Retained
from tallystream.aws.recount import ShardRecount
from tallystream.aws.rows import Layout, ledger_key, read_cell_key
from tallystream.aws.table import Item, Key, perform_all
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.testing import MemoryTable, Record, batch_of

MINUTE_MS = 60_000
DAY_MS = 86_400_000
START_MS = 1_795_433_580_000  # a full minute
TRIMMED_MS = START_MS + 30 * MINUTE_MS
NOW_MS = TRIMMED_MS + DAY_MS
DEFINITION = """
name = "compared"
[stream]
event_time = "t"
{stream}
[[counter]]
name = "events"
windows = ["1m"]
keep = "2d"
"""


def define(stream: str = "") -> Definition:
    return parse_definition(DEFINITION.format(stream=stream))


def record(sequence: int, arrival_minute: float, *event_minutes: float) -> Record:
    """Return a record of events, and of no event where there are none."""
    lines = [json.dumps({"t": START_MS // 1_000 + round(minute * 60)}).encode() for minute in event_minutes]
    return Record(str(sequence), START_MS + round(arrival_minute * MINUTE_MS), b"\n".join(lines or [b"no event"]))


class Site:
    """A shard, counted into a table, of which the stream has lost its oldest records or not."""

    def __init__(self, definition: Definition, *batches: list[Record], retained_from: int = 0) -> None:
        self.definition = definition
        self.records = [record for batch in batches for record in batch]
        self.retained = [each for each in self.records if int(each.sequence) >= retained_from]
        self.table = MemoryTable()
        for batch in batches:
            delivery = Delivery(Counting(definition, Layout()), Memory(), batch_of("0", batch), START_MS)
            perform_all(delivery.admission(), self.table)
            for steps in delivery.writes():
                perform_all(steps, self.table)

    def row(self, minute: int = 0) -> Item:
        start_ms = START_MS + minute * MINUTE_MS
        cells = ((read_cell_key(key), item) for key, item in self.table.items.items())
        return next(item for cell, item in cells if cell is not None and cell.window_start_ms == start_ms)

    @property
    def ledger(self) -> Item:
        return self.table.items[ledger_key("0")]

    def differences(self, from_ms: int | None = None, now_ms: int = NOW_MS) -> list[str]:
        ledger = self.ledger
        recount = ShardRecount(self.definition, "0", from_ms)
        recount.advance(ledger["hwm"])
        recount.count([Retained(*each) for each in self.retained])
        is_untrimmed = self.retained == self.records
        shard = Shard(recount, ledger, ledger["hwm"], is_untrimmed, TRIMMED_MS)
        catalogues = {"events": Catalogue(frozenset(["[]"]), 1)}
        comparison = Comparison(self.definition, Layout(), [shard], catalogues, self.table.items, now_ms)
        return [" | ".join(finding.difference) for finding in comparison.findings()]


OLD = [record(1, 0, 0, 40), record(2, 10), record(3, 20, 20)]
NEW = [record(4, 35, 40, 40), record(5, 36), record(6, 50, 40, 0, 50)]


def test_where_nothing_is_gone_all_must_be_equal() -> None:
    site = Site(define(), [*OLD, *NEW])
    assert site.differences() == []
    site.row()["count"] += 1
    assert site.differences() == [f"events [] 1m from {START_MS}, shard 0 | 3 | 2"]


@pytest.mark.parametrize(("more", "is_right"), [(5, True), (0, True), (-1, True), (-2, False)])
def test_a_row_may_hold_what_is_gone(more: int, is_right: bool) -> None:
    site = Site(define(), [*OLD, *NEW], retained_from=4)
    site.row(40)["count"] += more
    expected = [] if is_right else [f"events [] 1m from {START_MS + 40 * MINUTE_MS}, shard 0 | 2 | at least 3"]
    assert site.differences() == expected


@pytest.mark.parametrize(("retained_from", "is_known"), [(4, True), (5, False)])
def test_a_row_that_was_begun_by_what_is_there_must_be_equal(retained_from: int, is_known: bool) -> None:
    site = Site(define(), OLD, NEW, retained_from=retained_from)
    assert site.differences() == []
    site.row(50)["count"] += 1
    assert site.differences() == ([f"events [] 1m from {START_MS + 50 * MINUTE_MS}, shard 0 | 2 | 1"] if is_known else [])


def test_an_idle_shard_has_lost_everything() -> None:
    assert Site(define(), OLD, retained_from=4).differences() == []


def test_arrival_times_that_are_out_of_order_after_a_change_are_no_difference() -> None:
    """Kinesis promises no order of them."""
    site = Site(define(), OLD, [record(4, 35, 50), record(5, 34.999, 50), record(6, 36, 50)])
    assert site.differences(START_MS + 35 * MINUTE_MS) == []


def test_what_an_earlier_function_has_counted_is_not_judged() -> None:
    """Its rows may be of another generation; and it may have rejected something else."""
    site = Site(define(), [*OLD, *NEW])
    from_ms = START_MS + 35 * MINUTE_MS
    assert site.differences(from_ms) == []
    site.row(40)["count"] = 3
    site.ledger.update(counted=6, rejected=4)
    for key in [key for key in site.table.items if key.pk == "rejected#0" and "2#" in key.sk]:
        del site.table.items[key]
    assert site.differences(from_ms) == []
    site.row(40)["count"] = 2
    site.ledger["received"] = 11
    assert site.differences(from_ms) == [
        "shard 0: ledger: received | 11 | 10, the sum of its outcomes",
        "shard 0: ledger: received | 11 | 10",
        f"events [] 1m from {START_MS + 40 * MINUTE_MS}, shard 0 | 2 | at least 3",
    ]


def test_where_all_came_before_the_change_nothing_is_judged() -> None:
    site = Site(define(), [*OLD, *NEW])
    site.row(40)["count"] = 99
    assert site.differences(NOW_MS) == []


def test_a_ledger_has_at_least_what_is_there() -> None:
    site = Site(define(), [*OLD, *NEW], retained_from=4)
    site.ledger.update(received=7, counted=4, rejected=3)
    assert site.differences() == ["shard 0: ledger: counted | 4 | at least 5"]


def test_what_has_outlived_its_time_may_be_gone() -> None:
    site = Site(define(), NEW)
    site.table.items = {ledger_key("0"): site.ledger}
    nothing = f"events [] 1m from {START_MS}, shard 0 | nothing | 1"
    rejected = "rejected event: shard 0, record 5, line 1 | nothing | invalid_json"
    assert nothing in site.differences()
    assert rejected in site.differences()
    assert site.differences(now_ms=START_MS + 3 * DAY_MS) == [rejected]
    assert site.differences(now_ms=START_MS + 31 * DAY_MS) == []


def test_marks_are_part_of_what_is_compared() -> None:
    site = Site(define(), [*OLD, *NEW])
    site.row()["hwm"] = pad_sequence("5")
    assert site.differences() == [f"events [] 1m from {START_MS}, shard 0: mark | 5 | at least 6"]
    site.row()["hwm"] = pad_sequence("7")
    assert site.differences() == [
        f"events [] 1m from {START_MS}, shard 0: mark | 7 | no higher: the ledger is at 6 of the shard"
    ]
    site.row()["hwm"] = pad_sequence("6")
    site.ledger["hwm"] = pad_sequence("8")
    assert site.differences() == ["shard 0: ledger: mark | 8 | at most 6, the end of the shard"]


def test_rows_of_an_earlier_generation_are_passed_over() -> None:
    site = Site(define(), NEW)
    row: dict[str, Any] = {**site.row(), "count": 99}
    counter, generation, rest = row["pk"].split("#", 2)
    key = Key(f"{counter}#{'0' * len(generation)}#{rest}", row["sk"])
    site.table.items[key] = {**row, "pk": key.pk}
    assert site.differences() == []
