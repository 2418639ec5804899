"""`tally verify`: silent when all is right, loud about anything that is not."""

import json
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tallystream.core.alarm import Transition
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.engine.count import CountStep
from tallystream.engine.retry import retry_rejected
from tallystream.local import counter_worker
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.stream import SQLiteStream
from tallystream.local.verify import verify
from tallystream.ports.alarms import AlarmChange, AlarmKey
from tallystream.ports.stream import Append

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000

DEFINITION = """
name = "test"
[stream]
event_time = "time"
retention = "1h"
shards = 3
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
"""
AMOUNTS = """
[[counter]]
name = "amounts"
where = "amount > 0"
windows = ["1m"]
measures = ["count", "sum(amount)", "min(amount)"]
"""


class Site:
    """A data directory that a test fills and counts step by step, at times of its choice."""

    def __init__(self, path: Path, text: str = DEFINITION) -> None:
        path.mkdir()
        self.data = DataDirectory(path)
        self.define(text)

    def define(self, text: str, now_ms: int = NOW_MS) -> None:
        self.definition: Definition = parse_definition(text)
        with self.open() as (_, store):
            store.declare(self.definition, store.positions(), now_ms)

    @contextmanager
    def open(self) -> Iterator[tuple[SQLiteStream, SQLiteCounterStore]]:
        stream, store = self.data.open(self.definition)
        with closing(stream), closing(store):
            yield stream, store

    def add(self, lines: Sequence[bytes], now_ms: int = NOW_MS, *, count: bool = True) -> None:
        with self.open() as (stream, store):
            for line in lines:
                stream.append([Append([line])], now_ms)
            step = CountStep(stream, store, self.definition)
            while count and step.step(now_ms):
                pass

    def prune(self, now_ms: int) -> int:
        with self.open() as (stream, store):
            return stream.prune(now_ms, store.positions())

    def drop_old(self, now_ms: int) -> int:
        """Do what the counter process does each minute."""
        with self.open() as (stream, store):
            pruned = counter_worker.prune(stream, store, now_ms)
            deque(store.expire(self.definition, now_ms), maxlen=0)
            return pruned

    def spoil(self, statement: str, file: str = "counters.db") -> None:
        with closing(sqlite3.connect(self.data.path / file)) as connection, connection:
            assert connection.execute(statement).rowcount > 0

    def differences(self) -> list[str]:
        return [difference.what for difference in verify(self.data, self.definition).differences]


def line(event: str, second: int = 0, **fields: object) -> bytes:
    return json.dumps({"event": event, "time": NOW_MS // 1_000 + second, **fields}).encode()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")


MIXED = [line("a"), line("b", 61), line("a", 4_000, amount=1.5), b"nonsense", line("é\n", amount=-3), line("a", amount=2)]


def test_all_is_right(site: Site) -> None:
    site.define(DEFINITION + AMOUNTS)
    site.add(MIXED)
    result = verify(site.data, site.definition)
    assert result.differences == []
    assert (result.events, result.pruned) == (6, 0)
    assert result.cells == 4 + 4 + 2  # events by minute and by hour, amounts by minute


def test_events_that_are_not_counted_yet_are_no_difference(site: Site) -> None:
    site.add(MIXED)
    site.add(MIXED, count=False)
    assert verify(site.data, site.definition).events == 6
    assert site.differences() == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE cell SET count = count + 1 WHERE window_ms = 60000", "events "),
        ("UPDATE cell SET count = count - 1 WHERE window_ms = 3600000", "events "),
        ("DELETE FROM cell WHERE window_ms = 60000", "events "),
        ("UPDATE ledger SET received = received + 1", "ledger: received"),
        ("UPDATE ledger SET counted = counted + 1, received = received + 1", "ledger: received"),
        ("UPDATE ledger SET counted = counted + 1, rejected = 0", "ledger: rejected"),
        ("UPDATE position SET next_sequence = next_sequence + 1000", "shard 0: position"),
        ("DELETE FROM rejected", "…nothing"),
    ],
)
def test_whatever_is_changed_in_the_counters_is_found(site: Site, statement: str, what: str) -> None:
    site.add(MIXED)
    site.spoil(statement)
    found = site.differences()
    # A rejected event that has expired is judged again, and rejected again.
    assert found == [] if what == "…nothing" else any(each.startswith(what) for each in found)


def test_measures_are_compared_too(site: Site) -> None:
    site.define(DEFINITION + AMOUNTS)
    site.add(MIXED)
    site.spoil("UPDATE cell SET fields = replace(fields, '1.5', '1.6') WHERE fields IS NOT NULL")
    assert [what.split(" ")[0] for what in site.differences()] == ["amounts"]


def test_lines_that_are_gone_are_found(site: Site) -> None:
    site.add([line("a")] * 12)
    site.spoil("DELETE FROM chunk WHERE first_sequence = 1", "stream.db")
    assert "shard 0: lines 1 to 1" in site.differences()


def test_a_damaged_chunk_is_an_error(site: Site) -> None:
    site.add([line("a")] * 12)
    site.spoil("UPDATE chunk SET payload = x'00' WHERE first_sequence = 1", "stream.db")
    with pytest.raises(StorageError, match=r"stream\.db: lines 1 to 1 of shard \d are damaged"):
        verify(site.data, site.definition)


def test_a_state_that_no_transition_led_to_is_found(site: Site) -> None:
    key = AlarmKey("each", '["red"]')
    with closing(site.data.open_alarms()) as alarms:
        transition = Transition("OK", "ALARM", "because", ())
        assert alarms.commit([AlarmChange(key, 0, transition, "ALARM", ())], NOW_MS)
    assert site.differences() == []
    with closing(sqlite3.connect(site.data.alarms_path)) as connection, connection:
        connection.execute("UPDATE status SET state = 'OK'")
    (difference,) = verify(site.data, site.definition).differences
    assert difference == ('alarm each: state of ["red"]', "OK", "ALARM, by its newest transition")


def test_a_damaged_page_is_found(site: Site) -> None:
    site.add([line(f"event {number}") for number in range(400)])
    with closing(sqlite3.connect(site.data.counters_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    with site.data.counters_path.open("r+b") as file:
        for number in range(2, page):
            file.seek(number * size + 8)
            file.write(b"\xff" * 64)
    with pytest.raises(StorageError, match=r"counters\.db.*the file is damaged: restore a backup"):
        verify(site.data, site.definition)


def test_after_pruning_old_counts_must_hold_at_least_the_recount(site: Site) -> None:
    site.add([line("a")] * 10, NOW_MS)
    site.add([line("a")] * 10, NOW_MS + 2 * HOUR_MS)
    site.add([line("b")] * 10, NOW_MS + 2 * HOUR_MS)
    assert site.prune(NOW_MS + 2 * HOUR_MS) == 10
    result = verify(site.data, site.definition)
    assert (result.events, result.pruned, result.differences) == (20, 10, [])
    site.spoil("UPDATE cell SET count = 9 WHERE series_id = 1")
    assert len(site.differences()) == 2  # a minute and an hour of "a"


def test_after_pruning_new_counts_must_be_equal(site: Site) -> None:
    site.add([line("a")] * 10, NOW_MS)
    site.add([line("b")] * 10, NOW_MS + 2 * HOUR_MS)
    site.prune(NOW_MS + 2 * HOUR_MS)
    site.spoil("UPDATE cell SET count = 11 WHERE series_id = 2")
    assert len(site.differences()) == 2


def test_a_new_counter_counts_from_its_beginning_and_old_events_are_not_judged_by_it(site: Site) -> None:
    # Right when it came; under the new counter alone its amount would be a mistake.
    site.add([line("a", amount="much"), *MIXED])
    site.define(DEFINITION + AMOUNTS)
    site.add([line("a", amount="much"), *MIXED])
    assert site.differences() == []


def test_a_changed_counter_counts_from_its_new_generation(site: Site) -> None:
    site.add(MIXED)
    site.define(DEFINITION.replace('windows = ["1m", "1h"]', 'windows = ["1m"]'))
    site.add(MIXED)
    assert site.differences() == []


def test_events_that_were_retried_count(site: Site) -> None:
    other_time = DEFINITION.replace('"time"', '"at"')
    site.define(other_time)
    site.add(MIXED)
    site.define(DEFINITION, NOW_MS + 1)
    with site.open() as (_, store):
        assert retry_rejected(store, site.definition, None, NOW_MS + 2).counted == 5
    site.add(MIXED)
    assert site.differences() == []


def test_a_clock_that_is_set_back_does_not_move_a_retry_across_generations(site: Site) -> None:
    site.define(DEFINITION.replace('"time"', '"at"'))
    site.add(MIXED)
    site.define(DEFINITION, NOW_MS + HOUR_MS)
    with site.open() as (_, store):
        assert retry_rejected(store, site.definition, None, NOW_MS).counted == 5  # after the generation began, by its order
    assert site.differences() == []
    site.define(DEFINITION.replace('windows = ["1m", "1h"]', 'windows = ["1m"]'), NOW_MS)  # and this one, after the retry
    assert site.differences() == []


def test_events_that_are_delivered_twice_count_once(site: Site) -> None:
    site.define(DEFINITION.replace("[stream]", '[stream]\nevent_id = "id"'))
    site.add([line("a", id=1), line("a", id=2), line("a", id=1), line("a")] * 2)
    assert site.differences() == []
    site.add([line("a", id=2), line("a", id=3)], NOW_MS + HOUR_MS // 2)
    assert site.prune(NOW_MS + HOUR_MS + 1) == 8
    assert site.differences() == []


WITH_IDS = DEFINITION.replace("[stream]", '[stream]\nevent_id = "id"')


def test_deliveries_of_one_id_that_differ_are_judged_as_they_were_counted(site: Site) -> None:
    site.define(WITH_IDS)
    # In three shards, which are read again in another order than they were counted.
    for second in (0, 100, 200, 300):
        site.add([line("a", second, id=1), line("b", second + 1, id=2), line("c", second + 2, id=3)])
        site.add([line("d", second, id=3), line("e", second + 1, id=2), line("f", second + 2, id=1)])
    assert site.differences() == []
    site.spoil("UPDATE cell SET count = count + 1 WHERE series_id = 1")
    assert site.differences() != []


def test_ids_are_judged_right_after_pruning(site: Site) -> None:
    site.define(WITH_IDS)
    site.add([line("a", id=1), line("b", id=2), line("c")])
    site.add([line("other", 60, id=1), line("b", 60, id=2), line("new", id=3)], NOW_MS + HOUR_MS // 2)
    # The duplicates are in the stream still, when what they are duplicates of is gone.
    later_ms = NOW_MS + HOUR_MS + 60_001
    assert site.drop_old(later_ms) == 3
    assert verify(site.data, site.definition).events == 3
    assert site.differences() == []
    site.spoil("UPDATE cell SET count = 0 WHERE series_id = (SELECT id FROM series WHERE key LIKE '%new%')")
    assert len(site.differences()) == 2
    assert site.drop_old(NOW_MS + 2 * HOUR_MS) == 3


def test_a_count_of_an_id_in_two_deliveries_is_found(site: Site) -> None:
    site.define(WITH_IDS)
    site.add([line("a", id=1), line("b", id=1)])
    site.spoil("DELETE FROM seen")
    assert site.differences() == ['events ["b"] 1m from 1789999980000', 'events ["b"] 1h from 1789999200000']


def test_a_directory_without_data_is_an_error(tmp_path: Path, site: Site) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        verify(DataDirectory(tmp_path / "nothing"), site.definition)
    shutil.rmtree(site.data.path)
