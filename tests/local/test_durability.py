"""What a 202 says has reached the disk, and what is pruned has been counted on the disk."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.local import counter_worker
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.stream import SQLiteStream
from tallystream.ports.stream import Append

DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
shards = 1
retention = "1h"
[[counter]]
name = "events"
windows = ["1m"]
""")
HOUR_MS = 3_600_000
FULL, NORMAL = 2, 1


@pytest.fixture
def data(tmp_path: Path) -> Iterator[tuple[SQLiteStream, SQLiteCounterStore]]:
    """A stream and a store as the counter process opens them."""
    directory = DataDirectory(tmp_path)
    directory.declare(DEFINITION)
    stream, store = directory.open(DEFINITION)
    with closing(stream), closing(store):
        yield stream, store


def append(stream: SQLiteStream, arrival_ms: int) -> None:
    stream.append([Append([b'{"t": %d}' % arrival_ms])], arrival_ms)


def test_the_stream_s_commits_reach_the_disk_and_the_counter_store_s_are_cheap(
    data: tuple[SQLiteStream, SQLiteCounterStore],
) -> None:
    stream, store = data
    append(stream, now_ms())  # and an append does not change it
    for database, synchronous in ((stream, FULL), (store, NORMAL)):
        assert database._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database._writer.execute("PRAGMA synchronous").fetchone() == (synchronous,)
    kept = stream.path.with_name("stream.db-wal")
    assert kept.stat().st_size > 0, "the append is in the write-ahead log"


def test_the_store_is_synced_before_the_stream_is_pruned(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data
    append(stream, now_ms() - 2 * HOUR_MS)
    stop = threading.Event()
    order: list[str] = []
    sync, prune = store.sync, stream.prune

    def watch_store(statement: str) -> None:
        if statement.startswith(("PRAGMA synchronous", "COMMIT")):
            order.append(statement)

    def synced() -> None:
        store._writer.set_trace_callback(watch_store)
        sync()
        store._writer.set_trace_callback(None)

    def pruned(now_ms: int, counted: Mapping[int, int]) -> int:
        # Nothing may be pruned that the synced store has not counted.
        assert counted == store.positions() == {0: 1}
        lines = prune(now_ms, counted)
        order.append(f"pruned {lines}")
        stop.set()
        return lines

    monkeypatch.setattr(store, "sync", synced)
    monkeypatch.setattr(stream, "prune", pruned)
    monkeypatch.setattr(counter_worker, "PRUNE_S", 0.0)
    counter_worker.run(stream, store, DEFINITION, stop)
    assert order == ["PRAGMA synchronous = FULL", "COMMIT", "PRAGMA synchronous = NORMAL", "pruned 1"]


def test_nothing_is_pruned_while_the_store_cannot_be_synced(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data
    append(stream, now_ms() - 2 * HOUR_MS)
    stop = threading.Event()

    def fail() -> None:
        stop.set()
        raise StorageError("the disk is full")

    def pruned(_now_ms: int, _counted: Mapping[int, int]) -> int:
        raise AssertionError("pruned without a sync")

    monkeypatch.setattr(store, "sync", fail)
    monkeypatch.setattr(stream, "prune", pruned)
    monkeypatch.setattr(counter_worker, "PRUNE_S", 0.0)
    counter_worker.run(stream, store, DEFINITION, stop)
    assert store.positions() == {0: 1}
    assert len(stream.read(0, 0, 10)) == 1
