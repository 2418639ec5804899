"""What a counter store promises beyond being read (ports.counters.CounterStore), with the count step that feeds it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystream.core import chunk_tally
from tallystream.core.aggregate import finish
from tallystream.core.chunk_tally import ChunkTallier, ChunkTally
from tallystream.core.counting import Ledger, Tally
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.core.event import Batch, Reader
from tallystream.engine.count import RunTallier
from tallystream.engine.retry import retry_rejected
from tallystream.local import expiry
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.expiry import REJECTED_KEPT_MS
from tallystream.ports.counters import RejectedEvent
from tallystream.ports.stream import Chunk
from tests.contracts.plane import DEFINITION, NOW_MS, LocalPlane, definition

DAY_MS = 86_400_000
MINUTE_MS = 60_000  # times are kept to the minute of arrival


WITH_IDS = definition('event_id = "id"')


def _as_chunk(event: RejectedEvent) -> Chunk:
    return Chunk(event.shard, event.sequence, event.arrival_ms, [event.data])


def retried(tally: Tally) -> Tally:
    """Return a tally of one rejected event as a retry hands it to the store."""
    return tally._replace(ledgers={at: ledger._replace(received=0, rejected=-1) for at, ledger in tally.ledgers.items()})


MakePlane = Callable[..., LocalPlane]


@pytest.fixture(params=[False, True], ids=["lines", "tallies"])
def make_plane(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlane]:
    """Make planes whose counting reads all lines, or merges the tallies that are stored with them where it can."""
    planes: list[LocalPlane] = []
    monkeypatch.setattr(chunk_tally, "_CELLS_SHARE", 1 / 100)

    def make(definition: Definition = DEFINITION, directory: Path = tmp_path) -> LocalPlane:
        planes.append(LocalPlane(directory, definition, stores_tallies=request.param))
        return planes[-1]

    yield make
    for plane in planes:
        plane.close()


def test_what_is_stored_with_lines_is_counted_and_not_worked_out_again(make_plane: MakePlane) -> None:
    plane = make_plane()
    if plane.stores_tallies:
        plane.chunk_tallier = Misleading(plane.definition, plane.reader)
    plane.count({"event": "a"})
    assert plane.values() == {("misled" if plane.stores_tallies else "a",): {NOW_MS: 1}}


def test_a_tally_of_another_definition_is_not_counted(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.send({"event": "a"}, {"event": "b"})
    plane.declare(definition(events='group_by = ["event"]\nwhere = "event == \'a\'"'))
    plane.count()
    assert plane.values() == {("a",): {NOW_MS: 1}}
    assert plane.store.ledger() == Ledger(received=2, counted=1, unmatched=1)


def test_tallies_and_lines_are_counted_in_turn(make_plane: MakePlane) -> None:
    plane = make_plane()
    for number in range(8):
        plane.stores_tallies = not plane.stores_tallies
        plane.send({"event": "a"}, {"event": f"b{number % 3}"}, b"{")
    plane.count()
    assert plane.values() == {("a",): {NOW_MS: 8}, ("b0",): {NOW_MS: 3}, ("b1",): {NOW_MS: 3}, ("b2",): {NOW_MS: 2}}
    assert plane.store.ledger() == Ledger(received=24, counted=16, rejected=8)
    assert [event.data for event in plane.store.rejected_events()] == [b"{"] * 8
    assert sorted((event.shard, event.sequence) for event in plane.store.rejected_events()) == [
        (shard, sequence) for shard in (0, 1) for sequence in (2, 5, 8, 11)
    ]


class Misleading(ChunkTallier):
    """Says of all lines what it would say of one event of the group `misled`."""

    def tally(self, batch: Batch) -> ChunkTally | None:
        reader = Reader(DEFINITION)
        return ChunkTallier(DEFINITION, reader).tally(reader.read([b'{"t": %d, "event": "misled"}' % NOW_MS], NOW_MS))


def test_events_become_cells_of_each_window(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"event": "a"}, {"event": "a"}, {"event": None}, {"event": "b", "t": NOW_MS + 60_000})
    assert plane.values() == {("a",): {NOW_MS: 2}, (None,): {NOW_MS: 1}, ("b",): {NOW_MS + 60_000: 1}}
    hour = NOW_MS // 3_600_000 * 3_600_000
    assert plane.values(3_600_000) == {("a",): {hour: 2}, (None,): {hour: 1}, ("b",): {hour: 1}}
    assert plane.store.ledger() == Ledger(received=4, counted=4)
    assert sum(plane.store.positions().values()) == 4


def test_measures_of_fields_that_are_measured_already_know_what_was_counted_before(make_plane: MakePlane) -> None:
    plane = make_plane(definition(events='measures = ["sum(b)", "max(a)"]'))
    plane.count({"a": 3, "b": 10}, {"a": 5, "b": 11})
    plane.declare(definition(events='measures = ["mean(a)", "min(a)", "min(b)"]'), NOW_MS + 1)
    assert [(generation.generation, generation.started) for generation in plane.generations] == [(1, False)]
    plane.count({"a": 7, "b": -1})
    counter = plane.definition.counter("events")
    (cell,) = plane.store.cells(counter, 60_000, NOW_MS, NOW_MS + 1)
    values = {measure.name: finish(cell.partial, counter, measure) for measure in counter.measures}
    assert values == {"count": 3, "mean(a)": 5, "min(a)": 3, "min(b)": -1}
    plane.declare(definition(events='measures = ["mean(a)", "min(c)"]'), NOW_MS + 2)
    assert [(generation.generation, generation.started) for generation in plane.generations] == [(2, True)]


def test_a_tally_is_stored_once_and_only_in_its_turn(make_plane: MakePlane) -> None:
    plane = make_plane()
    tallier = RunTallier(DEFINITION, plane.store.seen)
    line = b'{"t":1795433580,"event":"a"}'
    first = tallier.tally([Chunk(0, 0, NOW_MS, [line, line])])
    second = tallier.tally([Chunk(0, 2, NOW_MS, [line])])
    assert first is not None
    assert second is not None
    assert not plane.store.commit(second, NOW_MS)  # not due yet
    assert plane.store.commit(first, NOW_MS)
    assert not plane.store.commit(first, NOW_MS)  # counted already
    larger = tallier.tally([Chunk(0, 0, NOW_MS, [line, line, line])])
    assert larger is not None
    assert not plane.store.commit(larger, NOW_MS)  # a retry with other boundaries
    assert plane.store.commit(second, NOW_MS)
    assert plane.values() == {("a",): {NOW_MS: 3}}
    assert plane.store.ledger() == Ledger(received=3, counted=3)


def test_two_counting_processes_count_once(make_plane: MakePlane) -> None:
    one, other = make_plane(), make_plane()
    one.send(*[{"event": "a"}] * 10)
    (state,) = one.stream.shards()
    other.count()
    assert one.step._count_shard(state.shard, 0, NOW_MS) == 0  # as if it had read its position before the other committed
    one.count()
    assert one.values() == {("a",): {NOW_MS: 10}}


def test_every_outcome_is_in_the_ledger_by_minute(make_plane: MakePlane) -> None:
    plane = make_plane(definition('event_id = "id"\nallowed_lateness = "1h"', "where = \"event == 'a'\""))
    plane.count({"event": "a", "id": 1}, {"event": "b"}, {"event": "a", "id": "1"}, b"{", {"event": "a", "t": 0})
    plane.count({"event": "a", "id": 1}, now_ms=NOW_MS + 60_000)
    assert plane.store.ledger() == Ledger(received=6, counted=1, unmatched=1, late=1, rejected=1, duplicate=2)
    assert plane.store.throughput(NOW_MS + 1) == [(NOW_MS + 60_000, Ledger(received=1, duplicate=1))]
    assert len(plane.store.throughput(0)) == 2


def test_more_series_than_one_statement_takes(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(*[{"event": f"e{i}"} for i in range(1_201)])
    assert len(plane.values()) == 1_201
    totals = plane.store.count_totals(DEFINITION.counter("events"), 60_000, NOW_MS, NOW_MS + 1, per="window")
    assert totals == {NOW_MS: 1_201}


# Generations.


def test_an_unchanged_counter_keeps_its_counts_and_a_changed_one_starts_anew(make_plane: MakePlane) -> None:
    plane = make_plane(definition(more='[[counter]]\nname = "kept"\nwindows = ["1m"]\n'))
    assert [(g.counter, g.generation, g.started) for g in plane.generations] == [("events", 1, True), ("kept", 1, True)]
    plane.count({"event": "a"})
    changed = definition(events='group_by = ["country"]', more='[[counter]]\nname = "kept"\nwindows = ["1m"]\nkeep = "90d"\n')
    generations = plane.declare(changed, NOW_MS + 5)
    assert [(g.counter, g.generation, g.since_ms, g.started) for g in generations] == [
        ("events", 2, NOW_MS + 5, True),
        ("kept", 1, NOW_MS, False),
    ]
    assert plane.values() == {}
    plane.count({"event": "a", "country": "GB"})
    assert plane.values() == {("GB",): {NOW_MS: 1}}
    assert plane.values(counter="kept") == {(): {NOW_MS: 2}}
    assert [g.generation for g in plane.store.generations()] == [1, 2]
    assert sum(plane.store.generation_starts("events").values()) == 1
    assert plane.store.generation_starts("kept") == {}


def test_a_counter_that_went_and_came_back_starts_anew(make_plane: MakePlane) -> None:
    two = definition(more='[[counter]]\nname = "kept"\nwindows = ["1m"]\n')
    plane = make_plane(two)
    plane.declare(DEFINITION)
    plane.count({"event": "a"})
    generations = plane.declare(two)
    assert [(g.counter, g.generation) for g in generations] == [("events", 1), ("kept", 2)]
    assert plane.values(counter="kept") == {}


def test_declaring_twice_changes_nothing(make_plane: MakePlane) -> None:
    make_plane().count({"event": "a"})
    plane = make_plane()
    assert not any(generation.started for generation in plane.generations)
    assert plane.values() == {("a",): {NOW_MS: 1}}


# Rejected events.


def test_rejected_events_are_kept_with_bytes_and_reason(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count(b"\xff\x00", b"[]", b"[]", {"event": "a"})
    events = plane.store.rejected_events()
    assert [(event.sequence, event.reason, event.data) for event in events] == [
        (2, "not_an_object", b"[]"),
        (1, "not_an_object", b"[]"),
        (0, "invalid_utf8", b"\xff\x00"),
    ]
    assert plane.store.rejected_reasons() == {"invalid_utf8": 1, "not_an_object": 2}
    assert plane.store.rejected_events("not_an_object", limit=1) == events[:1]
    assert plane.store.rejected_events(before=events[0].id) == events[1:]
    assert plane.store.rejected_sequences(events[0].shard) == {0, 1, 2}


def test_large_rejected_events_come_a_few_at_a_time(make_plane: MakePlane) -> None:
    plane = make_plane()
    for _ in range(5):
        plane.count(b"x" * 3_000_000)
    found: list[int] = []
    while events := plane.store.rejected_events(before=found[-1] if found else None):
        assert len(events) <= 3
        found += [event.id for event in events]
    assert found == [5, 4, 3, 2, 1]


def test_a_step_holds_only_so_many_bytes_of_rejected_events(make_plane: MakePlane) -> None:
    plane = make_plane()
    for _ in range(80):
        plane.send(b"x" * 1_000_000)
    assert 0 < plane.step.step(NOW_MS) < 80
    plane.count()
    assert plane.store.ledger() == Ledger(received=80, rejected=80)


def test_a_retry_moves_events_to_the_outcome_that_they_have_now(make_plane: MakePlane) -> None:
    plane = make_plane(definition('event_id = "id"'))
    events = [{"t": None, "time": NOW_MS, "event": "a", "id": 1}, {"t": None, "time": NOW_MS, "event": "b", "id": 1}]
    plane.count(*events, b"{", {"event": "kept"})
    assert plane.store.ledger() == Ledger(received=4, counted=1, rejected=3)
    plane.declare(definition('event_id = "id"', event_time="time"), NOW_MS + 1)
    result = retry_rejected(plane.store, plane.definition, None, NOW_MS + 2)
    assert result == Ledger(received=3, counted=1, duplicate=1, rejected=1)
    assert plane.store.ledger() == Ledger(received=4, counted=2, duplicate=1, rejected=1)
    assert plane.store.throughput(0) == [(NOW_MS, plane.store.ledger())]
    assert plane.values() == {("a",): {NOW_MS: 1}}
    assert plane.store.rejected_reasons() == {"invalid_json": 1}
    shard = plane.store.rejected_events()[0].shard
    assert plane.store.retried_sequences("events", shard) == {0, 1}
    assert retry_rejected(plane.store, plane.definition, None, NOW_MS + 3) == Ledger(received=1, rejected=1)
    assert plane.values() == {("a",): {NOW_MS: 1}}


def test_a_retry_of_one_reason_leaves_the_others(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"t": None, "time": NOW_MS, "event": "a"}, b"{")
    plane.declare(definition(event_time="time"))
    assert retry_rejected(plane.store, plane.definition, "invalid_json", NOW_MS) == Ledger(received=1, rejected=1)
    assert plane.store.rejected_reasons() == {"invalid_json": 1, "missing_event_time": 1}


def test_a_retry_whose_events_another_took_stores_nothing(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"t": None, "time": NOW_MS, "event": "a"})
    (event,) = plane.store.rejected_events()
    plane.declare(definition(event_time="time"))
    tally = RunTallier(plane.definition, plane.store.seen).tally([Chunk(event.shard, event.sequence, NOW_MS, [event.data])])
    assert tally is not None
    assert plane.store.commit_retry([tally], [event.id], NOW_MS)
    assert not plane.store.commit_retry([tally], [event.id], NOW_MS)
    assert plane.values() == {("a",): {NOW_MS: 1}}


def test_a_retry_counts_what_another_one_at_the_same_time_leaves(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = make_plane()
    plane.count({"t": None, "time": NOW_MS, "event": "a"}, {"t": [], "time": NOW_MS, "event": "b"})
    plane.declare(definition(event_time="time"))
    commit = plane.store.commit_retry

    def commit_behind_another(*arguments: Any) -> bool:
        monkeypatch.setattr(plane.store, "commit_retry", commit)
        assert retry_rejected(plane.store, plane.definition, "invalid_event_time", NOW_MS).counted == 1
        return plane.store.commit_retry(*arguments)

    monkeypatch.setattr(plane.store, "commit_retry", commit_behind_another)
    assert retry_rejected(plane.store, plane.definition, None, NOW_MS).counted == 1
    assert plane.values() == {("a",): {NOW_MS: 1}, ("b",): {NOW_MS: 1}}
    assert plane.store.ledger() == Ledger(received=2, counted=2)


def test_a_retry_and_counting_that_meet_the_same_new_id_count_it_once(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = make_plane(WITH_IDS)
    plane.count({"id": 7, "t": None, "time": NOW_MS, "event": "a"})
    plane.declare(definition('event_id = "id"', event_time="time"))
    commit = plane.store.commit_retry

    def commit_behind_the_count(*arguments: Any) -> bool:
        monkeypatch.setattr(plane.store, "commit_retry", commit)
        plane.count({"id": 7, "time": NOW_MS, "event": "a"})
        return plane.store.commit_retry(*arguments)

    monkeypatch.setattr(plane.store, "commit_retry", commit_behind_the_count)
    assert retry_rejected(plane.store, plane.definition, None, NOW_MS) == Ledger(received=1, duplicate=1)
    assert plane.values() == {("a",): {NOW_MS: 1}}
    assert plane.store.ledger() == Ledger(received=2, counted=1, duplicate=1)


def test_counting_that_meets_an_id_behind_a_retry_judges_it_again(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = make_plane(WITH_IDS)
    plane.count({"id": 7, "t": None, "time": NOW_MS, "event": "a"})
    plane.declare(definition('event_id = "id"', event_time="time"))
    plane.send({"id": 7, "time": NOW_MS, "event": "a"}, {"id": 8, "time": NOW_MS, "event": "b"})
    commit = plane.store.commit

    def commit_behind_the_retry(*arguments: Any) -> bool:
        monkeypatch.setattr(plane.store, "commit", commit)
        assert retry_rejected(plane.store, plane.definition, None, NOW_MS).counted == 1
        return plane.store.commit(*arguments)

    monkeypatch.setattr(plane.store, "commit", commit_behind_the_retry)
    assert plane.step.step(NOW_MS) == 0
    plane.count()
    assert plane.values() == {("a",): {NOW_MS: 1}, ("b",): {NOW_MS: 1}}
    assert plane.store.ledger() == Ledger(received=3, counted=2, duplicate=1)


def test_a_refused_retry_leaves_no_trace_of_its_new_groups(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make_plane(WITH_IDS)
    rejected = [{"id": number, "t": None, "time": NOW_MS, "event": "a"} for number in (5, 6, 7)]
    plane.count(*rejected)
    plane.declare(definition('event_id = "id"', event_time="time"))
    commit = plane.store.commit_retry

    def commit_behind_the_count(*arguments: Any) -> bool:
        monkeypatch.setattr(plane.store, "commit_retry", commit)
        plane.count({"id": 7, "time": NOW_MS, "event": "b"})
        refused = plane.store.commit_retry(*arguments)
        plane.count({"time": NOW_MS, "event": "c"})  # takes the place that was meant for "a"
        return refused

    monkeypatch.setattr(plane.store, "commit_retry", commit_behind_the_count)
    assert retry_rejected(plane.store, plane.definition, None, NOW_MS) == Ledger(received=3, counted=2, duplicate=1)
    assert plane.values() == {("a",): {NOW_MS: 2}, ("b",): {NOW_MS: 1}, ("c",): {NOW_MS: 1}}


# Event ids.


def test_an_id_is_known_for_the_retention_after_its_latest_delivery(make_plane: MakePlane) -> None:
    plane = make_plane(WITH_IDS)
    for hours in (0, 20, 40):
        now_ms = NOW_MS + hours * 60 * MINUTE_MS
        plane.count({"id": 7, "event": "a"}, now_ms=now_ms)
        sum(plane.store.expire(WITH_IDS, now_ms))
    assert plane.store.ledger() == Ledger(received=3, counted=1, duplicate=2)
    first = plane.store.seen(["7"])["7"]
    assert first.sequence == 0
    sum(plane.store.expire(WITH_IDS, NOW_MS + 64 * 60 * MINUTE_MS + MINUTE_MS + 1))
    assert plane.store.seen(["7"]) == {}


def test_an_id_that_was_counted_late_is_known_for_the_retention_from_then_on(make_plane: MakePlane) -> None:
    plane = make_plane(WITH_IDS)
    plane.send({"id": 7, "event": "a"})
    plane.send({"id": 8, "event": "a"}, now_ms=NOW_MS + DAY_MS)
    plane.count(now_ms=NOW_MS + DAY_MS)  # counting was behind: both in one step, or in two
    sum(plane.store.expire(WITH_IDS, NOW_MS + 2 * DAY_MS))
    plane.count({"id": 7, "event": "a"}, {"id": 8, "event": "a"}, now_ms=NOW_MS + 2 * DAY_MS)
    assert plane.store.ledger() == Ledger(received=4, counted=2, duplicate=2)


def test_ids_of_old_rejected_events_are_known_from_their_retry_on(make_plane: MakePlane) -> None:
    plane = make_plane(WITH_IDS)
    plane.count(*[{"id": 7, "t": None, "time": NOW_MS, "event": "a"}] * 2)
    mended = definition('event_id = "id"', event_time="time")
    plane.declare(mended)
    retry_ms = NOW_MS + 20 * DAY_MS
    tally = RunTallier(mended, plane.store.seen).tally([_as_chunk(plane.store.rejected_events()[1])])
    assert tally is not None
    assert plane.store.commit_retry([retried(tally)], [plane.store.rejected_events()[1].id], retry_ms)  # cut off after one
    sum(plane.store.expire(mended, retry_ms))
    assert retry_rejected(plane.store, mended, None, retry_ms) == Ledger(received=1, duplicate=1)
    assert plane.store.ledger() == Ledger(received=2, counted=1, duplicate=1)


def test_a_tally_that_took_an_id_for_known_is_refused_once_it_is_forgotten(make_plane: MakePlane) -> None:
    plane = make_plane(WITH_IDS)
    plane.count({"id": 7, "event": "a"})
    shard = next(iter(plane.store.positions()))
    tallier = RunTallier(WITH_IDS, plane.store.seen)
    tally = tallier.tally([Chunk(shard, 1, NOW_MS, [json.dumps({"id": 7, "t": NOW_MS}).encode()])])
    assert tally is not None
    sum(plane.store.expire(WITH_IDS, NOW_MS + 2 * DAY_MS))
    assert not plane.store.commit(tally, NOW_MS + 2 * DAY_MS)
    assert plane.store.ledger() == Ledger(received=1, counted=1)


def test_what_is_counted_outlives_its_events_when_the_clock_is_set_back(make_plane: MakePlane) -> None:
    kept = definition('event_id = "id"', 'group_by = ["event"]\nkeep = "2d"')
    plane = make_plane(kept)
    plane.send({"id": 7, "event": "a"}, now_ms=NOW_MS + 30 * DAY_MS)  # the clock was a month ahead
    plane.count(now_ms=NOW_MS)
    sum(plane.store.expire(kept, NOW_MS + 30 * DAY_MS))
    assert plane.stream.prune(NOW_MS + 30 * DAY_MS, plane.store.positions()) == 0
    assert plane.values() == {("a",): {NOW_MS: 1}}
    assert set(plane.store.seen(["7"])) == {"7"}


# Expiry and failure.


def test_what_has_outlived_its_time_goes(make_plane: MakePlane) -> None:
    kept = definition('event_id = "id"', 'group_by = ["event"]\nkeep = "2d"')
    plane = make_plane(kept)
    plane.count({"event": "old", "id": 1}, b"{", now_ms=NOW_MS)
    plane.count({"event": "new", "id": 2}, now_ms=NOW_MS + 2 * DAY_MS)
    assert sum(plane.store.expire(kept, NOW_MS + 2 * DAY_MS + MINUTE_MS)) > 0
    assert set(plane.values()) == {("old",), ("new",)}  # just as old as allowed
    assert set(plane.store.seen(["1", "2"])) == {"2"}
    sum(plane.store.expire(kept, NOW_MS + 2 * DAY_MS + MINUTE_MS + 1))
    assert set(plane.values()) == {("new",)}
    assert sum(plane.store.totals("events").values()) == 2  # what was counted stays counted
    assert plane.store.rejected_reasons() == {"invalid_json": 1}
    sum(plane.store.expire(kept, NOW_MS + REJECTED_KEPT_MS + 1))
    assert plane.store.rejected_reasons() == {}
    assert plane.store.changes(0) == []
    assert plane.store.ledger().received == 3
    assert sum(plane.store.expire(kept, NOW_MS + REJECTED_KEPT_MS + 1)) == 0


def test_former_generations_expire_by_the_keep_of_the_present_one(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"event": "a"}, {"event": "b"})
    plane.declare(definition(events='group_by = []\nkeep = "3d"'), NOW_MS)
    plane.count({"event": "c"}, now_ms=NOW_MS + 2 * DAY_MS)

    def stored() -> tuple[int, ...]:
        (row,) = plane.store._fetch("SELECT (SELECT count(*) FROM series), (SELECT count(*) FROM cell)")
        return tuple(row)

    assert stored() == (3, 6)  # two groups of the first generation, one of the second; two windows each
    sum(plane.store.expire(plane.definition, NOW_MS + 3 * DAY_MS + MINUTE_MS))
    assert stored() == (3, 6)
    sum(plane.store.expire(plane.definition, NOW_MS + 3 * DAY_MS + MINUTE_MS + 1))
    assert stored() == (1, 2)
    assert plane.values() == {(): {NOW_MS: 1}}
    sum(plane.store.expire(plane.definition, NOW_MS + 6 * DAY_MS))
    assert stored() == (1, 0)
    assert plane.store.totals("events") == dict.fromkeys(plane.store.totals("events"), 1)  # stays with the current one


@pytest.mark.parametrize(
    "present",
    [
        'name = "events"\nwindows = ["1m"]',  # changed, and without a keep
        'name = "others"\nwindows = ["1m"]\nkeep = "2d"',  # the counter is gone
    ],
)
def test_former_generations_stay_where_no_present_keep_tells_their_end(make_plane: MakePlane, present: str) -> None:
    plane = make_plane(definition(events='keep = "2d"'))
    plane.count({"event": "a"})
    plane.declare(parse_definition(f'name = "test"\n[stream]\nevent_time = "t"\n[[counter]]\n{present}'))
    sum(plane.store.expire(plane.definition, NOW_MS + 100 * DAY_MS))
    assert plane.store._fetch("SELECT count(*) FROM cell") == [(2,)]


def test_rows_expire_in_transactions_of_a_bounded_size(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = definition('event_id = "id"', 'group_by = ["event"]\nkeep = "2d"')
    plane = make_plane(kept)
    plane.count(*[{"event": "a", "id": i, "t": NOW_MS + i * MINUTE_MS} for i in range(7)], *[b"{"] * 5)
    monkeypatch.setattr(expiry, "ROWS_MAX", 3)
    sizes: list[int] = []
    before = [plane.store._writer.total_changes]

    def note(statement: str) -> None:
        if statement == "COMMIT":
            sizes.append(plane.store._writer.total_changes - before[0])
            before[0] = plane.store._writer.total_changes

    plane.store._writer.set_trace_callback(note)
    gone = sum(plane.store.expire(kept, NOW_MS + 40 * DAY_MS))
    plane.store._writer.set_trace_callback(None)
    assert (sum(sizes), max(sizes)) == (gone, 3)
    assert plane.values() == plane.values(3_600_000) == {}
    assert plane.store.rejected_reasons() == {} and plane.store.seen(map(str, range(7))) == {}


def test_expiry_goes_on_where_it_stands_while_others_count(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = definition(events='group_by = ["event"]\nkeep = "2d"')
    plane = make_plane(kept)
    monkeypatch.setattr(expiry, "ROWS_MAX", 3)
    events = [{"event": f"event {i}"} for i in range(20)]
    plane.count(*events)
    later_ms = NOW_MS + 3 * DAY_MS
    steps = 0
    for gone in plane.store.expire(kept, later_ms):
        steps += 1
        assert gone <= 3
        # One that was there, so that its rows live on, and one that is new, wherever expiry stands.
        plane.count(events[19], {"event": "new"}, now_ms=later_ms)
    assert steps > len(events) * 2 // 3
    assert plane.values() == {("event 19",): {NOW_MS: 1 + steps}, ("new",): {NOW_MS: steps}}


def test_a_full_disk_stores_nothing_of_a_commit_and_later_all(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"event": "before"})
    pages = plane.store._writer.execute("PRAGMA page_count").fetchone()[0]
    plane.store._writer.execute(f"PRAGMA max_page_count = {pages}")
    plane.send(*[{"event": f"event {i} {'x' * 200}"} for i in range(500)])
    with pytest.raises(StorageError, match="disk is full"):
        plane.count()
    assert plane.store.ledger() == Ledger(received=1, counted=1)
    assert list(plane.values()) == [("before",)]
    plane.store._writer.execute("PRAGMA max_page_count = 1000000")
    plane.count()
    assert plane.store.ledger() == Ledger(received=501, counted=501)
    assert len(plane.values()) == 501


def test_a_sync_makes_one_commit_durable_and_the_next_ones_cheap_again(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.count({"event": "a"})
    statements: list[str] = []
    plane.store._writer.set_trace_callback(statements.append)
    plane.store.sync()
    plane.store._writer.set_trace_callback(None)
    synchronous, commit, back = (
        statements.index(f) for f in ("PRAGMA synchronous = FULL", "COMMIT", "PRAGMA synchronous = NORMAL")
    )
    assert synchronous < commit < back
    assert plane.store._writer.execute("PRAGMA synchronous").fetchone() == (1,)
    assert plane.values() == {("a",): {NOW_MS: 1}}


def test_lines_gone_from_the_stream_are_an_error_not_a_gap(make_plane: MakePlane) -> None:
    plane = make_plane(definition('retention = "1m"'))
    plane.send({"event": "a"})
    (state,) = plane.stream.shards()
    plane.stream.prune(NOW_MS + DAY_MS, {state.shard: 1})  # as no caller does: it is not counted yet
    with pytest.raises(StorageError, match="goes on at line None, but counting stands at 0"):
        plane.count()
    plane.send({"event": "b"})
    plane.send({"event": "b"})
    with pytest.raises(StorageError, match="lines that were accepted are gone"):
        plane.count()


def test_a_database_of_another_version_is_refused(make_plane: MakePlane) -> None:
    make_plane().store._writer.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="format 99, this Tallystream reads format 2"):
        make_plane()


def test_a_database_of_another_version_is_not_read_either(make_plane: MakePlane) -> None:
    store = make_plane().store
    store._writer.execute("PRAGMA user_version = 1")
    with pytest.raises(StorageError, match=r"counters\.db has format 1, this Tallystream reads format 2; run the version that"):
        SQLiteCounterStore(store.path, read_only=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from([None, "a", "b", 1, True]), st.integers(-3, 3), st.integers(-50, 50)), max_size=6),
        max_size=6,
    )
)
def test_commits_of_any_size_give_the_counts_of_one(
    make_plane: MakePlane, tmp_path_factory: pytest.TempPathFactory, commits: list[list[tuple[Any, int, int]]]
) -> None:
    grouped = definition(events='group_by = ["event"]\nmeasures = ["sum(amount)", "min(amount)"]')
    events = [
        [{"event": event, "t": NOW_MS + minute * 60_000, "amount": amount / 10} for event, minute, amount in commit]
        for commit in commits
    ]
    piecewise = make_plane(grouped, tmp_path_factory.mktemp("piecewise"))
    for commit in events:
        piecewise.count(*commit)
    whole = make_plane(grouped, tmp_path_factory.mktemp("whole"))
    whole.count(*[event for commit in events for event in commit])

    def contents(plane: LocalPlane) -> set[Any]:
        series = plane.store.series("events")
        cells = plane.store.cells(grouped.counter("events"), 60_000, 0, 10**14)
        return {(repr(series[cell.series_id]), cell.window_start_ms, cell.partial) for cell in cells}

    assert contents(piecewise) == contents(whole)
    assert piecewise.store.ledger() == whole.store.ledger()
