"""What the counter table shows beyond the contract: groups above the cap, live changes without a change stream, errors."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tallystream.aws.client import DynamoDBClient
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.rows import Layout
from tallystream.aws.store import REASONS_EVENTS_MAX, TableCounterReader
from tallystream.aws.watch import ALL_EVERY_MS, RECENT_MS, LedgerWatch, Span
from tallystream.core.errors import StorageError
from tallystream.core.query import parse_query
from tallystream.core.series import Answer
from tallystream.testing import MemoryTable
from tallystream.web.answer import answer_query
from tallystream.web.csv_export import render_csv
from tests.aws.proxy import FaultyProxy
from tests.contracts.plane import DEFINITION, NOW_MS, Sequences, TablePlane

MAX = 3
ALL = [("counter", "events"), ("window", "1m"), ("from", str(NOW_MS)), ("to", str(NOW_MS + 60_000))]


@pytest.fixture
def full() -> Iterator[TablePlane]:
    """A counter with more groups than are kept apart: "(other)" is one that is, 9 events are of others."""
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout(groups_max=MAX))
    for group, count in {"a": 5, "b": 4, "(other)": 3, "c": 7, "d": 2}.items():
        plane.count(*[{"event": group}] * count)
    yield plane
    plane.close()


def ask(plane: TablePlane, *more: tuple[str, str]) -> Answer:
    return answer_query(parse_query([*ALL, *more], DEFINITION, NOW_MS), plane.store)


def totals(answer: Answer) -> list[tuple[Any, Any, bool]]:
    return [(series.group.get("event"), series.total, series.other) for series in answer.series]


# Groups above the cap.


def test_groups_above_the_cap_are_the_rest_and_no_group_of_that_name(full: TablePlane) -> None:
    answer = ask(full)
    assert totals(answer) == [("a", 5, False), ("b", 4, False), ("(other)", 3, False), (None, 9, True)]
    assert answer.series[-1].group == {}
    assert (answer.groups, answer.truncated) == (3, False)
    assert set(full.store.series("events").values()) == {("a",), ("b",), ("(other)",)}
    assert full.store.overflow("events") not in full.store.series("events")


def test_the_rest_is_of_all_that_have_no_series_of_their_own(full: TablePlane) -> None:
    assert totals(ask(full, ("top", "1"), ("other", "true"))) == [("a", 5, False), (None, 16, True)]
    assert totals(ask(full, ("top", "3"), ("other", "true")))[-1] == (None, 9, True)
    assert totals(ask(full, ("top", "2"))) == [("a", 5, False), ("b", 4, False)]
    assert totals(ask(full, ("by", ""))) == [(None, 21, False)]


def test_shares_are_of_all_events(full: TablePlane) -> None:
    shares = [series.points[0][1] for series in ask(full, ("show", "share")).series]
    assert [round(float(share or 0) * 21) for share in shares] == [5, 4, 3, 9]


def test_whether_a_filter_would_keep_groups_above_the_cap_is_not_known(full: TablePlane) -> None:
    assert totals(ask(full, ("group.event", "a"))) == [("a", 5, False)]
    assert totals(ask(full, ("group.event", "c"))) == []


def test_a_spreadsheet_tells_the_rest_from_a_group_of_that_name(full: TablePlane) -> None:
    rows = render_csv(parse_query(ALL, DEFINITION, NOW_MS), ask(full)).decode().splitlines()
    assert rows[0] == '"window_start","event","other","count"'
    assert [row.partition(",")[2] for row in rows[1:]] == ['"a",false,5', '"b",false,4', '"(other)",false,3', '"",true,9']


def test_a_counter_that_has_just_as_many_groups_as_it_may_has_no_rest() -> None:
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout(groups_max=MAX))
    plane.count(*[{"event": group} for group in "abc"])
    assert totals(ask(plane)) == [("a", 1, False), ("b", 1, False), ("c", 1, False)]
    plane.count({"event": "d"})
    assert totals(ask(plane))[-1] == (None, 1, True)
    plane.close()


# Live changes.


class Ledger:
    """A ledger and a clock, and how often the first was asked."""

    def __init__(self) -> None:
        self.received = 0
        self.now_ms = NOW_MS
        self.asked = 0
        self.watch = LedgerWatch(self.ask, lambda: self.now_ms, refresh_ms=2_000)

    def ask(self) -> int:
        self.asked += 1
        return self.received


def test_a_ledger_is_asked_every_few_seconds_however_many_look() -> None:
    ledger = Ledger()
    for _ in range(100):
        ledger.watch.version()
        ledger.now_ms += 100
    assert ledger.asked == 5


def test_what_was_counted_is_told_at_once_and_again_when_its_rows_are_surely_written() -> None:
    ledger = Ledger()
    ledger.watch.version()
    ledger.now_ms += 300_000
    seen = ledger.watch.version()
    told = []
    ledger.received = 5
    for _ in range(2_000):
        ledger.now_ms += 100
        if (version := ledger.watch.version()) != seen:
            assert version > seen
            assert ledger.watch.touched(seen) is not None
            told.append(ledger.now_ms - NOW_MS - 300_000)
            seen = version
    assert told == [2_000, 7_000, 152_000]
    assert ledger.watch.touched(seen) is None


def test_windows_of_late_are_named_each_time_and_all_once_a_minute() -> None:
    ledger = Ledger()
    ledger.now_ms -= ledger.now_ms % ALL_EVERY_MS
    spans = []
    seen = ledger.watch.version()
    for _ in range(60):
        ledger.received += 1
        ledger.now_ms += 3_000
        spans.append((ledger.now_ms, ledger.watch.touched(seen)))
        seen = ledger.watch.version()
    recent = [at_ms for at_ms, span in spans if span == Span(at_ms - RECENT_MS, at_ms + RECENT_MS)]
    assert len(recent) == 57
    assert len([span for _, span in spans if span and span.from_ms < 0]) == 3


def test_whoever_saw_a_version_that_is_not_known_is_told_of_all_windows() -> None:
    ledger = Ledger()
    ledger.received = 9
    span = ledger.watch.touched(3)
    assert span is not None
    assert span.from_ms < 0 < NOW_MS < span.to_ms


def test_live_changes_are_those_of_each_counter_and_window() -> None:
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout())
    seen = plane.store.version()
    plane.count({"event": "a"})
    changes = plane.store.changes(seen)
    assert {(change.counter, change.window_ms) for change in changes} == {("events", 60_000), ("events", 3_600_000)}
    assert len(changes) == 4
    plane.close()


# Rejected events.


def test_only_the_newest_are_counted_by_reason() -> None:
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout())
    plane.count(*[b"["] * 10)
    plane.count(*[b"{}"] * REASONS_EVENTS_MAX)
    assert plane.store.reasons() == ({"missing_event_time": REASONS_EVENTS_MAX}, REASONS_EVENTS_MAX)
    plane.close()


def test_an_event_that_was_too_large_to_keep_whole_says_so() -> None:
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout())
    plane.count(b"x" * 400_000)
    (event,) = plane.store.rejected_events()
    assert event.message.endswith("(of its bytes, the last 10,000 are not kept)")
    plane.close()


def test_rejected_events_that_have_outlived_their_time_are_gone() -> None:
    plane = TablePlane(MemoryTable(), Sequences(), DEFINITION, Layout())
    plane.count(b"[", now_ms=NOW_MS)
    plane.count(b"{", now_ms=NOW_MS + 30 * 86_400_000)
    assert [event.data for event in plane.store.rejected_events()] == [b"{"]
    plane.close()


# DynamoDB.

Connect = Callable[[], DynamoDBClient]


def new_reader(connect: Connect, table: str) -> TableCounterReader:
    return TableCounterReader(
        DEFINITION, Layout(), DynamoDBTable(connect(), table, sleep=lambda seconds: None), lambda: NOW_MS, refresh_ms=0
    )


def test_a_query_costs_a_request_for_each_group_and_two_to_know_them(
    proxy: FaultyProxy, connect: Connect, table_name: str
) -> None:
    table = DynamoDBTable(connect(), table_name)
    plane = TablePlane(table, Sequences(), DEFINITION, Layout())
    plane.count(*[{"event": f"e{number}"} for number in range(20)])
    ask(plane)
    del proxy.requests[:]
    ask(plane)
    assert proxy.requests == ["Query"] * 22
    plane.close()


def test_what_dynamodb_does_not_answer_or_refuses_is_an_error_of_storage(
    proxy: FaultyProxy, connect: Connect, table_name: str
) -> None:
    reader = new_reader(connect, "no-such-table")
    for read in (reader.ledger, reader.version, lambda: reader.series("events"), reader.rejected_events, reader.reasons):
        with pytest.raises(StorageError, match="DynamoDB refuses: ResourceNotFoundException"):
            read()
    proxy.fault = lambda operation: "throttle"
    reader = new_reader(connect, table_name)
    with pytest.raises(StorageError, match="DynamoDB does not answer: ProvisionedThroughputExceededException"):
        reader.ledger()
    proxy.fault = lambda operation: "lose the request"
    with pytest.raises(StorageError, match="DynamoDB does not answer: no answer of"):
        reader.overflow("events")
