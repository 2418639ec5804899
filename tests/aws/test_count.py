"""What a delivery asks of the table: how much, when nothing is amiss; and exactly what is left, when something is."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.records import Batch, lines_of_record, pad_sequence
from tallystream.aws.rows import OVERFLOW, Layout, ledger_key, read_cell_key
from tallystream.aws.table import Admit, Below, Find, Item, Operation, PutAll, Update, perform_all
from tallystream.core.counting import Cells, Ledger, Tallier, merge_cells
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader
from tallystream.testing import MemoryTable, Record, batch_of
from tests.kpl import aggregate

NOW_MS = 1_795_433_640_000
EVENTS = """
name = "counted"
[stream]
event_time = "t"
{stream}
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
{counter}
"""


class WatchedTable(MemoryTable):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Operation] = []

    def perform(self, operation: Operation) -> Any:
        self.asked.append(operation)
        return super().perform(operation)

    def cells(self) -> dict[tuple[str, str], Item]:
        """Return the rows by group and shard."""
        return {
            (cell.group, cell.shard): item
            for key, item in self.items.items()
            for cell in [read_cell_key(key)]
            if cell is not None
        }

    def counts(self) -> dict[str, int]:
        return {group: item["count"] for (group, _), item in self.cells().items()}


def counting(stream: str = "", counter: str = "", layout: Layout | None = None) -> Counting:
    return Counting(parse_definition(EVENTS.format(stream=stream, counter=counter)), layout or Layout())


def events(*names: str, **more: Any) -> bytes:
    return b"\n".join(json.dumps({"t": 1_795_433_580, "event": name, **more}).encode() for name in names)


def batch(*data: bytes, first: int = 1, shard: str = "0", arrival_ms: int = NOW_MS) -> Batch:
    return batch_of(shard, [Record(str(first + at), arrival_ms + at, record) for at, record in enumerate(data)])


def deliver(
    counting: Counting, table: MemoryTable, delivered: Batch, memory: Memory | None = None, now_ms: int = NOW_MS
) -> None:
    delivery = Delivery(counting, memory or Memory(), delivered, now_ms)
    perform_all(delivery.admission(), table)
    for steps in delivery.writes():
        perform_all(steps, table)


def test_in_the_steady_state_each_row_is_one_write() -> None:
    table, memory, measured = WatchedTable(), Memory(), counting(counter='measures = ["sum(amount)"]')
    deliver(measured, table, batch(events("a", "b", amount=0.1)), memory)
    table.asked.clear()
    deliver(measured, table, batch(events("a", "b", amount=0.2), first=2), memory)
    assert [type(operation) for operation in table.asked] == [Update] * 3  # the ledger's and the two groups'
    assert table.cells()['["a"]', "0"]["fields"] == {"amount": {"count": 2, "sum": "0.3", "min": "0.1", "max": "0.2"}}


def test_a_new_container_finds_measured_rows_as_they_are() -> None:
    table, measured = WatchedTable(), counting(counter='measures = ["max(amount)"]')
    deliver(measured, table, batch(events("a", amount=7)))
    deliver(measured, table, batch(events("a", amount=3), first=2))
    assert table.cells()['["a"]', "0"]["fields"]["amount"] == {"count": 2, "sum": "10", "min": "3", "max": "7"}
    assert table.cells()['["a"]', "0"]["hwm"] == pad_sequence("2")


def test_of_a_larger_batch_only_what_is_new_is_added() -> None:
    table, plain = WatchedTable(), counting()
    deliver(plain, table, batch(events("a", "a"), events("a")))
    deliver(plain, table, batch(events("a", "a"), events("a"), events("b"), events("a")))
    assert table.counts() == {'["a"]': 4, '["b"]': 1}
    assert table.items[ledger_key("0")]["received"] == 5


def test_the_shards_of_a_window_are_rows_apart() -> None:
    table, plain = WatchedTable(), counting()
    deliver(plain, table, batch(events("a")))
    deliver(plain, table, batch(events("a"), shard="1"))
    assert {key: item["count"] for key, item in table.cells().items()} == {('["a"]', "0"): 1, ('["a"]', "1"): 1}


def test_a_row_lives_from_its_last_write() -> None:
    table = WatchedTable()
    kept, unkept = counting(counter='keep = "2d"'), counting()
    deliver(kept, table, batch(events("a")))
    deliver(kept, table, batch(events("a"), first=2), now_ms=NOW_MS + 5_000)
    row = table.cells()['["a"]', "0"]
    assert row["ttl"] == (NOW_MS + 5_000) // 1_000 + 2 * 86_400
    # Without `keep`, a row that had an end has none any more: it would take the mark of what is still counted into it.
    deliver(unkept, table, batch(events("a"), first=3))
    assert "ttl" not in table.cells()['["a"]', "0"]


def test_a_row_that_was_deleted_is_begun_again() -> None:
    table, memory, measured = WatchedTable(), Memory(), counting(counter='measures = ["sum(amount)"]')
    deliver(measured, table, batch(events("a", amount=1)), memory)
    table.items.clear()
    deliver(measured, table, batch(events("a", amount=2), first=2), memory)
    assert table.cells()['["a"]', "0"]["fields"]["amount"]["sum"] == "2"


def test_an_added_row_that_was_deleted_meanwhile_is_begun_again() -> None:
    table, plain = WatchedTable(), counting()
    deliver(plain, table, batch(events("a"), events("a")))
    delivery = Delivery(plain, Memory(), batch(events("a"), events("a"), events("a")), NOW_MS)
    perform_all(delivery.admission(), table)
    steps = delivery.writes()[1]
    refused = table.perform(next(steps))
    again = steps.send(refused)
    table.items.clear()
    perform_all(steps, table, table.perform(again))
    assert table.counts() == {'["a"]': 3}


def test_rejected_events_lie_where_their_record_says_however_they_were_packed() -> None:
    table, plain = WatchedTable(), counting()
    delivered = batch(events("a"), aggregate([b"{", events("a") + b"\n[]"]), b"oops")
    for _ in range(2):
        deliver(plain, table, delivered)
    rejected = {key.sk: item for key, item in table.items.items() if key.pk == "rejected#0"}
    assert list(rejected) == [f"{pad_sequence('2')}#000000", f"{pad_sequence('2')}#000002", f"{pad_sequence('3')}#000000"]
    assert [item["data"] for item in rejected.values()] == [b"{", b"[]", b"oops"]
    assert [item["arrival_ms"] - NOW_MS for item in rejected.values()] == [1, 1, 2]
    assert table.items[ledger_key("0")]["rejected"] == 3


def test_lateness_is_judged_by_the_arrival_of_each_record() -> None:
    table, bounded = WatchedTable(), counting(stream='allowed_lateness = "10m"')
    early = batch_of("0", [Record("1", 1_795_433_600_000, events("a", "a")), Record("2", 1_795_440_000_000, events("a"))])
    deliver(bounded, table, early)
    assert table.counts() == {'["a"]': 2}
    assert table.items[ledger_key("0")] | {"hwm": ""} == {
        "pk": "ledger",
        "sk": "0",
        "received": 3,
        "counted": 2,
        "unmatched": 0,
        "late": 1,
        "rejected": 0,
        "duplicate": 0,
        "hwm": "",
    }


def test_groups_above_the_cap_are_counted_together_and_stay_so() -> None:
    table, capped = WatchedTable(), counting(layout=Layout(groups_max=2))
    memory = Memory()
    deliver(capped, table, batch(events("a")), memory)
    deliver(capped, table, batch(events("c", "b", "d", "a"), first=2), memory)
    assert table.counts() == {'["a"]': 2, '["b"]': 1, OVERFLOW: 2}
    table.asked.clear()
    deliver(capped, table, batch(events("d", "c", "a"), first=3), memory)
    assert {type(operation) for operation in table.asked} == {Update}  # all of it is remembered
    deliver(capped, table, batch(events("d", "a", "b"), first=4))
    assert table.counts() == {'["a"]': 4, '["b"]': 2, OVERFLOW: 5}


def test_a_container_that_knows_of_no_room_enters_nothing() -> None:
    table, capped, memory = WatchedTable(), counting(layout=Layout(groups_max=1)), Memory()
    deliver(capped, table, batch(events("a", "b")), memory)
    table.asked.clear()
    deliver(capped, table, batch(events("x", "y", "z"), first=2), memory)
    assert [type(operation) for operation in table.asked] == [Find, Update, Update]


def test_a_group_that_another_shard_entered_meanwhile_has_its_row() -> None:
    table, capped = WatchedTable(), counting(layout=Layout(groups_max=1))
    admission = Delivery(capped, memory := Memory(), batch(events("a", "b")), NOW_MS).admission()
    not_there = table.perform(next(admission))
    operation = admission.send(not_there)
    assert isinstance(operation, Admit)
    deliver(capped, table, batch(events("b"), shard="1"))
    perform_all(admission, table, table.perform(operation))
    assert memory.admitted == {("events", '["a"]'): False, ("events", '["b"]'): True}


def test_a_batch_without_a_readable_event_writes_its_ledger_and_what_was_rejected() -> None:
    table = WatchedTable()
    deliver(counting(), table, batch(b"oops"))
    assert [type(operation) for operation in table.asked] == [Update, PutAll]


def test_what_is_forgotten_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystream.aws.count._REMEMBERED_MAX", 1)
    table, memory, measured = WatchedTable(), Memory(), counting(counter='measures = ["sum(amount)"]')
    for first in (1, 2):
        deliver(measured, table, batch(events("a", "b", amount=first), first=first), memory)
        memory.trim()
        assert not memory.admitted and not memory.held
    assert table.counts() == {'["a"]': 2, '["b"]': 2}


def test_the_condition_is_on_the_first_record_and_the_mark_is_the_last() -> None:
    table = WatchedTable()
    deliver(counting(), table, batch(b"oops", b"oops", first=7))
    ledger = table.asked[0]
    assert isinstance(ledger, Update)
    assert (ledger.condition, ledger.assign) == (Below(pad_sequence("7")), {"hwm": pad_sequence("8")})


# What is blank, what is UTF-8 or the beginning of an aggregate only together with the next record, and events.
fragments = st.sampled_from(
    [b"", b" ", b"\r", b"{", b'{"event":"\xc3', b'\xa9"}', b"\xff", b"\xf3\x89", b"\x9a\xc2"]
) | st.sampled_from([b"\xf3\x89\x9a\xc2", events(), events("a"), events("b", "a"), '{"t":1795433580,"event":"é"}'.encode()])
texts = st.lists(fragments, min_size=1, max_size=4).map(b"\n".join)


@given(st.lists(texts | st.lists(texts, max_size=3).map(aggregate), min_size=1, max_size=8), st.sampled_from([1, 150, 10**6]))
@example([b'{"event":"\xc3', b'\xa9"}'], 10**6)
def test_a_batch_amounts_to_the_lines_of_its_records_one_by_one(data: list[bytes], slice_bytes: int) -> None:
    definition = parse_definition(EVENTS.format(stream="", counter=""))
    reader = Reader(definition)
    tallier = Tallier(definition, reader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystream.aws.records._SLICE_BYTES", slice_bytes)
        found = counting().tally(batch(*data))
    assert found is not None
    cells: Cells = {}
    ledger, rejected = Ledger(), []
    for record, of_record in enumerate(data):
        for number, line in enumerate(lines_of_record(of_record)):
            alone = tallier.roll_up(tallier.tally(reader.read([line], NOW_MS)))
            merge_cells(cells, alone.cells["events"])
            ledger = ledger.plus(alone.ledger)
            rejected += [(record, number, each.reason, each.data) for each in alone.rejected]
    assert (found.cells["events"], found.ledger) == (cells, ledger)
    assert [(record, number, line.reason, line.data) for record, number, line in found.rejected] == rejected
