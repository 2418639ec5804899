"""Rows: keys that sort, tell everything apart and fit; numbers to the last digit; items within the limit."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.aws.rows import (
    OVERFLOW,
    CellRow,
    Layout,
    cell_key,
    decode_partial,
    encode_fields,
    generation_of,
    read_cell_key,
    rejected_item,
    spreads,
    stored_group,
    window_key,
)
from tallystream.aws.table import PutAll, item_key
from tallystream.core.aggregate import FieldPartial, Partial
from tallystream.core.counting import CellKey, RejectedLine, group_key
from tallystream.core.definition_text import parse_definition
from tallystream.testing import MemoryTable

DEFINITION = parse_definition("""
name = "rows"
[stream]
event_time = "t"
[[counter]]
name = "gifts"
group_by = ["country", "page"]
windows = ["1m", "1h"]
measures = ["sum(amount)", "max(size.width)"]
""")
GIFTS = DEFINITION.counters[0]

group_values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=1_024))


@given(
    st.lists(group_values, min_size=1, max_size=3),
    st.integers(-(10**14), 10**14),
    st.integers(1, 9),
    st.sampled_from([60_000, 3_600_000, 90_000]),
)
def test_a_key_says_what_it_was_made_of(values: list[bool | int | str | None], start: int, shards: int, window: int) -> None:
    group = stored_group(group_key(*values))
    key = cell_key("gifts", "0123456789ab", CellKey(window, start, group), Layout(write_shards=shards), "000000000042")
    assert read_cell_key(key) == CellRow("gifts", "0123456789ab", window, group, start, "000000000042")
    assert len(key.pk.encode()) <= 1_100
    overflow = cell_key("gifts", "0123456789ab", CellKey(window, start, OVERFLOW), Layout(write_shards=shards), "7")
    assert read_cell_key(overflow) == CellRow("gifts", "0123456789ab", window, OVERFLOW, start, "7")


@given(st.text(max_size=1_024), st.text(max_size=1_024))
def test_different_groups_are_stored_differently(a: str, b: str) -> None:
    assert (stored_group(group_key(a, b)) == stored_group(group_key(b, a))) == (a == b)
    assert stored_group(group_key(a)) != OVERFLOW


@given(st.lists(st.integers(-(10**14), 10**14), min_size=2))
def test_windows_sort_by_their_start(starts: list[int]) -> None:
    assert sorted(map(window_key, starts)) == list(map(window_key, sorted(starts)))


def test_shards_write_to_all_of_a_series_partitions() -> None:
    layout = Layout(write_shards=4)
    cell = CellKey(60_000, 0, '["a","b"]')
    pks = {cell_key("gifts", "0", cell, layout, f"{shard:012d}").pk for shard in range(64)}
    assert pks == {f'gifts#0#1m#["a","b"]{spread}' for spread in spreads(layout)}


def test_what_could_move_events_to_other_rows_is_another_generation() -> None:
    stream = DEFINITION.stream
    layouts = [Layout(), Layout(groups_max=9), Layout(write_shards=2)]
    assert len({generation_of(GIFTS, stream, layout) for layout in layouts}) == 3
    assert generation_of(GIFTS, stream, Layout()) == generation_of(GIFTS, stream, Layout())


numbers = st.decimals(-(10**40), 10**40, places=18)


@given(st.integers(0), st.lists(st.tuples(st.integers(1), numbers, numbers, numbers) | st.none(), min_size=2, max_size=2))
def test_measured_fields_keep_every_digit(count: int, fields: list[tuple[int, Decimal, Decimal, Decimal] | None]) -> None:
    partial = Partial(
        count, tuple(FieldPartial(*field) if field else FieldPartial(0, Decimal(0), None, None) for field in fields)
    )
    assert decode_partial(GIFTS, {"count": count, "fields": encode_fields(GIFTS, partial)}) == partial


@pytest.mark.parametrize(("size", "cut"), [(10, None), (390_000, None), (1024 * 1024, 1024 * 1024 - 390_000)])
def test_a_rejected_event_fits_into_an_item(size: int, cut: int | None) -> None:
    line = RejectedLine(3, 1_795_433_580_000, "too_large", "the event has many bytes", b"x" * size)
    item = rejected_item("000000000042", "0" * 129, 12, line)
    assert item.get("bytes_cut") == cut
    assert len(item["data"]) + (cut or 0) == size
    assert item["ttl"] == 1_795_433_580 + 30 * 86_400
    assert MemoryTable().perform(PutAll([item])) is None  # it refuses what DynamoDB would
    assert read_cell_key(item_key(item)) is None
