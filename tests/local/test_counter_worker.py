"""What the counting process does besides counting."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tallystream.core.definition import Definition, parse_definition
from tallystream.core.errors import StorageError
from tallystream.local import counter_worker
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.stream import SQLiteStream
from tallystream.ports import Append

DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
windows = ["1m"]
""")
BEHIND = "the machine's clock is 3,"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[tuple[SQLiteStream, SQLiteCounterStore]]:
    directory = DataDirectory(tmp_path)
    directory.declare(DEFINITION)
    stream, store = directory.open(DEFINITION)
    with closing(stream), closing(store):
        yield stream, store


def test_a_clock_that_has_been_set_back_is_logged_at_the_start_and_each_minute(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream, store = data
    stream.append([Append([b"{}"])], now_ms())
    stop = threading.Event()
    stop.set()
    counter_worker.run(stream, store, DEFINITION, stop)
    assert BEHIND not in caplog.text
    stream.append([Append([b"{}"])], now_ms() + 3_600_000)
    counter_worker.run(stream, store, DEFINITION, stop)
    assert caplog.text.count(BEHIND) == 1

    stop.clear()
    monkeypatch.setattr(counter_worker, "PRUNE_S", 0.0)
    expire = store.expire

    def expire_and_stop(definition: Definition, at_ms: int) -> int:
        stop.set()
        return expire(definition, at_ms)

    monkeypatch.setattr(store, "expire", expire_and_stop)
    counter_worker.run(stream, store, DEFINITION, stop)
    assert caplog.text.count(BEHIND) == 3
    assert store.ledger().received == 2


def test_counters_expire_after_the_stream_is_pruned_and_by_the_same_time(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data
    calls: list[tuple[str, int]] = []

    def prune(at_ms: int, _counted: Mapping[int, int]) -> int:
        calls.append(("prune", at_ms))
        return 5

    def expire(_definition: Definition, at_ms: int) -> int:
        calls.append(("expire", at_ms))
        return 7

    monkeypatch.setattr(stream, "prune", prune)
    monkeypatch.setattr(store, "expire", expire)
    assert counter_worker.drop_old(stream, store, DEFINITION, 1_000) == 5
    assert calls == [("prune", 1_000), ("expire", 1_000)]


def test_nothing_expires_while_the_stream_cannot_be_pruned(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data

    def fail(*_: object) -> int:
        raise StorageError("the disk is full")

    monkeypatch.setattr(stream, "prune", fail)
    monkeypatch.setattr(store, "expire", lambda *_: pytest.fail("expired"))
    with pytest.raises(StorageError, match="the disk is full"):
        counter_worker.drop_old(stream, store, DEFINITION, 1_000)
