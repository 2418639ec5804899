"""
What everybody who shows counts may rely on (ports.counters.CounterReader), wherever they are: in SQLite, in the AWS plane's
table in memory, in DynamoDB on an emulator, and in DynamoDB on AWS where TALLY_TEST_AWS is set.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest

from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.rows import Layout
from tallystream.aws.site import session_client
from tallystream.aws.table import Table
from tallystream.core.counting import Ledger
from tallystream.core.definition import Definition
from tallystream.core.query import parse_query
from tallystream.core.series import Answer
from tallystream.ports.counters import Reasons
from tallystream.testing import MemoryTable
from tallystream.web.answer import answer_query
from tests.contracts.plane import (
    DEFINITION,
    GIFTS,
    NOW_MS,
    LocalPlane,
    MakePlane,
    Plane,
    Sequences,
    TablePlane,
    definition,
    values,
)
from tests.emulator import create_table

HOUR_MS = NOW_MS // 3_600_000 * 3_600_000
STORES = ["sqlite", "memory", "memory, several partitions", "dynamodb", *(["aws"] if os.environ.get("TALLY_TEST_AWS") else [])]


@pytest.fixture
def aws_table() -> Iterator[Table]:
    """A table in the account that AWS's own settings name; it is gone afterwards."""
    session = boto3.Session()
    name = f"tallystream-test-{uuid.uuid4()}"
    with closing(session.client("dynamodb")) as dynamodb, closing(session_client(session)) as client:
        create_table(dynamodb, name)
        try:
            dynamodb.get_waiter("table_exists").wait(TableName=name)
            yield DynamoDBTable(client, name)
        finally:
            dynamodb.delete_table(TableName=name)


@pytest.fixture(params=STORES)
def make_plane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakePlane]:
    planes: list[Plane] = []
    table: Table | None = None
    layout = Layout(write_shards=3) if request.param == "memory, several partitions" else Layout()
    match request.param:
        case "dynamodb":
            table = DynamoDBTable(request.getfixturevalue("connect")(), request.getfixturevalue("table_name"))
        case "aws":
            table = request.getfixturevalue("aws_table")
        case "sqlite":
            pass
        case _:
            table = MemoryTable()
    sequences = Sequences()

    def make(definition: Definition = DEFINITION) -> Plane:
        planes.append(LocalPlane(tmp_path, definition) if table is None else TablePlane(table, sequences, definition, layout))
        return planes[-1]

    yield make
    for plane in planes:
        plane.close()


def ask(plane: Plane, counter: str = "events", **parameters: Any) -> Answer:
    pairs = [("counter", counter), ("window", "1m"), *((name.rstrip("_"), str(value)) for name, value in parameters.items())]
    return answer_query(parse_query(pairs, plane.definition, NOW_MS + 60_000), plane.store)


def test_events_become_cells_of_each_window(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"event": "a"}, {"event": "a"}, {"event": None}, {"event": "b", "t": NOW_MS + 60_000})
    assert values(plane) == {("a",): {NOW_MS: 2}, (None,): {NOW_MS: 1}, ("b",): {NOW_MS + 60_000: 1}}
    assert values(plane, 3_600_000) == {("a",): {HOUR_MS: 2}, (None,): {HOUR_MS: 1}, ("b",): {HOUR_MS: 1}}
    assert plane.store.ledger() == Ledger(received=4, counted=4)


def test_counts_add_up_over_commits_and_openings(make_plane: MakePlane) -> None:
    for _ in range(3):
        make_plane().count({"event": "a"}, {"event": "b"}, {"event": "a"}, {"event": "a"})
    assert values(make_plane()) == {("a",): {NOW_MS: 9}, ("b",): {NOW_MS: 3}}


def test_measures_merge_exactly(make_plane: MakePlane) -> None:
    plane = make_plane(GIFTS)
    plane.count({"amount": 0.1}, {"amount": 0.2})
    plane.count({"amount": None}, {"amount": 5})
    (cell,) = plane.store.cells(GIFTS.counter("events"), 60_000, NOW_MS, NOW_MS + 1)
    (field,) = cell.partial.fields
    assert (cell.partial.count, field.count, str(field.sum), str(field.min), str(field.max)) == (4, 3, "5.3", "0.1", "5")


def test_every_outcome_is_in_the_ledger(make_plane: MakePlane) -> None:
    plane = make_plane(definition('allowed_lateness = "1h"', "where = \"event == 'a'\""))
    plane.count({"event": "a"}, {"event": "b"}, {"event": "a"}, b"{", {"event": "a", "t": 0})
    assert plane.store.ledger() == Ledger(received=5, counted=2, unmatched=1, late=1, rejected=1)


def test_nothing_is_there_before_the_first_event(make_plane: MakePlane) -> None:
    plane = make_plane()
    assert plane.store.ledger() == Ledger()
    assert plane.store.series("events") == {}
    assert plane.store.overflow("events") is None
    assert plane.store.rejected_events() == []
    assert plane.store.reasons() == Reasons({}, None)
    assert values(plane) == {}


def test_changes_cover_the_windows_that_were_touched_since(make_plane: MakePlane) -> None:
    plane = make_plane()
    before = plane.store.version()
    assert plane.store.changes(before) == []
    for times in ([NOW_MS, NOW_MS + 60_000], [NOW_MS - 60_000]):
        plane.count(*[{"event": "a", "t": time_ms} for time_ms in times])
        version = plane.store.version()
        assert version > before
        changes = plane.store.changes(before)
        assert {change.counter for change in changes} == {"events"}
        for window_ms in (60_000, 3_600_000):
            starts = [change.window_start_ms for change in changes if change.window_ms == window_ms]
            assert all(start_ms % window_ms == 0 for start_ms in starts)
            assert min(starts) <= min(times) - min(times) % window_ms
            assert max(starts) >= max(times) - max(times) % window_ms
        assert plane.store.changes(version) == []
        before = version


def test_series_are_numbered_as_they_come_and_know_where_they_begin(make_plane: MakePlane) -> None:
    plane = make_plane()
    counter = DEFINITION.counter("events")
    plane.count({"event": "b", "t": NOW_MS + 60_000}, {"event": "a", "t": NOW_MS})
    assert set(plane.store.series("events").values()) == {("a",), ("b",)}
    plane.count({"event": "c"}, {"event": "b", "t": NOW_MS - 60_000})
    series = plane.store.series("events")
    assert list(series.values())[2] == ("c",)
    assert list(series) == sorted(series)
    assert min(series) > 0
    for after in (0, *series):
        assert plane.store.series("events", after) == {id_: group for id_, group in series.items() if id_ > after}
    first = plane.store.first_windows(counter, 60_000, NOW_MS - 60_000, [*series, max(series) + 1])
    assert {series[id_]: start_ms for id_, start_ms in first.items()} == {
        ("a",): NOW_MS,
        ("b",): NOW_MS - 60_000,
        ("c",): NOW_MS,
    }
    later = plane.store.first_windows(counter, 60_000, NOW_MS - 59_999, list(series))
    assert {series[id_]: start_ms for id_, start_ms in later.items()} == {
        ("a",): NOW_MS,
        ("c",): NOW_MS,
        ("b",): NOW_MS + 60_000,
    }
    assert set(plane.store.first_windows(counter, 3_600_000, 0, list(series)).values()) == {HOUR_MS}


def test_reading_bounds_are_half_open(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[{"event": "a", "t": NOW_MS + minute * 60_000} for minute in range(5)], {"event": "b"})
    counter = DEFINITION.counter("events")
    ids = {values: series_id for series_id, values in plane.store.series("events").items()}
    bounds = (60_000, NOW_MS + 60_000, NOW_MS + 180_000)
    assert [cell.window_start_ms for cell in plane.store.cells(counter, *bounds)] == [NOW_MS + 60_000, NOW_MS + 120_000]
    assert plane.store.counts(counter, *bounds, [ids["a",], ids["b",]]) == {
        ids["a",]: [(NOW_MS + 60_000, 1), (NOW_MS + 120_000, 1)]
    }
    assert plane.store.count_totals(counter, 60_000, NOW_MS, NOW_MS + 60_000, per="series") == {ids["a",]: 1, ids["b",]: 1}
    assert plane.store.count_totals(counter, 60_000, NOW_MS, NOW_MS + 120_000, [ids["a",]], per="window") == {
        NOW_MS: 1,
        NOW_MS + 60_000: 1,
    }


def test_windows_before_1970_are_read_in_their_order(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[{"event": "a", "t": f"{year}-01-01T00:00:00Z"} for year in ("1969", "2001", "1931")])
    series = list(plane.store.series("events"))
    ((_, rows),) = plane.store.counts(DEFINITION.counter("events"), 60_000, -(10**14), 10**14, series).items()
    assert [start_ms for start_ms, _ in rows] == [-1_230_768_000_000, -31_536_000_000, 978_307_200_000]


def test_many_series_are_read_together(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[{"event": f"e{i}"} for i in range(150)])
    assert values(plane) == {(f"e{i}",): {NOW_MS: 1} for i in range(150)}
    totals = plane.store.count_totals(DEFINITION.counter("events"), 60_000, NOW_MS, NOW_MS + 1, per="window")
    assert totals == {NOW_MS: 150}


def test_groups_are_told_apart_by_type_and_may_be_long(make_plane: MakePlane) -> None:
    plane = make_plane()
    groups: list[Any] = [1, True, "1", "true", None, "null", "", "a#b", "[]", "ü" * 500, "(other)", "overflow"]
    for count, group in enumerate(groups, 1):
        plane.count(*[{"event": group}] * count)
    counts = plane.store.counts(DEFINITION.counter("events"), 60_000, NOW_MS, NOW_MS + 1, list(plane.store.series("events")))
    found = {repr(group): dict(counts[series_id]) for series_id, (group,) in plane.store.series("events").items()}
    assert found == {repr(group): {NOW_MS: count} for count, group in enumerate(groups, 1)}


def test_a_counter_that_changed_starts_anew_and_one_with_other_measures_does_not(make_plane: MakePlane) -> None:
    make_plane(definition(events='measures = ["sum(b)", "max(a)"]')).count({"a": 3, "b": 10}, {"a": 5, "b": 11})
    more = make_plane(definition(events='measures = ["mean(a)", "min(a)", "min(b)"]'))
    assert values(more) == {(): {NOW_MS: 2}}
    assert [series.total for series in ask(more, measure="mean(a)", from_=NOW_MS).series] == [4]
    assert values(make_plane(definition(events='group_by = ["a"]'))) == {}


def test_queries_are_answered(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[{"event": name, "t": NOW_MS - minute * 60_000} for minute in range(3) for name in "aab"], {"event": "c"})
    answer = ask(plane, from_=NOW_MS - 120_000, to=NOW_MS + 60_000, top=2, other="true", compare="previous")
    assert [(series.group, series.total, series.other) for series in answer.series] == [
        ({"event": "a"}, 6, False),
        ({"event": "b"}, 3, False),
        ({}, 1, True),
    ]
    assert answer.series[0].points == [(NOW_MS - 120_000, 2), (NOW_MS - 60_000, 2), (NOW_MS, 2)]
    assert ask(plane, from_=NOW_MS, to=NOW_MS + 60_000, by="").series[0].points == [(NOW_MS, 4)]


# Rejected events.


def test_rejected_events_are_kept_with_bytes_and_reason(make_plane: MakePlane) -> None:
    plane = make_plane()
    for event in (b"\xff\x00", b"[]", b"{}"):
        plane.count(event, now_ms=NOW_MS)
    events = plane.store.rejected_events()
    assert [(event.reason, event.data, event.arrival_ms) for event in events] == [
        ("missing_event_time", b"{}", NOW_MS),
        ("not_an_object", b"[]", NOW_MS),
        ("invalid_utf8", b"\xff\x00", NOW_MS),
    ]
    assert plane.store.reasons() == Reasons({"invalid_utf8": 1, "missing_event_time": 1, "not_an_object": 1}, None)
    assert plane.store.rejected_events("not_an_object", limit=1) == events[1:2]
    assert plane.store.rejected_events(before=events[0].id) == events[1:]


def test_pages_of_rejected_events_hold_each_once_whatever_comes_meanwhile(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[b"%d" % number for number in range(25)])
    found = plane.store.rejected_events(limit=7)
    while page := plane.store.rejected_events(before=found[-1].id, limit=7):
        plane.count(b"meanwhile", b"meanwhile")
        found += page
    assert sorted(int(event.data) for event in found) == list(range(25))
    ids = [event.id for event in found]
    assert ids == sorted(set(ids), reverse=True)
