"""What the counting process does besides counting."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from tallystream.core.definition import Definition
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

    def expire_and_stop(definition: Definition, at_ms: int) -> Iterator[int]:
        stop.set()
        return expire(definition, at_ms)

    monkeypatch.setattr(store, "expire", expire_and_stop)
    counter_worker.run(stream, store, DEFINITION, stop)
    assert caplog.text.count(BEHIND) == 3
    assert store.ledger().received == 2


def test_counters_expire_after_the_stream_is_pruned_and_by_the_same_time_step_by_step_between_counting(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data
    calls: list[tuple[str, int]] = []
    stop = threading.Event()

    def prune(at_ms: int, _counted: Mapping[int, int]) -> int:
        calls.append(("prune", at_ms))
        return 5

    def expire(_definition: Definition, at_ms: int) -> Iterator[int]:
        for step in ("expire, step 1", "expire, step 2"):
            calls.append((step, at_ms))
            yield 0
        stop.set()

    class Counting:
        def __init__(self, *_: object) -> None: ...

        def step(self, at_ms: int) -> int:
            calls.append(("count", at_ms))
            return counter_worker.GATHER_EVENTS

    monkeypatch.setattr(counter_worker, "PRUNE_S", 0.0)
    monkeypatch.setattr(counter_worker, "EXPIRE_S", 0.0)
    monkeypatch.setattr(counter_worker, "CountStep", Counting)
    monkeypatch.setattr(counter_worker, "_log_clock", lambda *_: None)
    monkeypatch.setattr(counter_worker, "now_ms", count(1).__next__)
    monkeypatch.setattr(stream, "prune", prune)
    monkeypatch.setattr(store, "expire", expire)
    counter_worker.run(stream, store, DEFINITION, stop)
    # The stream is pruned each time, here; expiry goes on by the time of the pruning that it began with.
    assert calls == [
        ("count", 2), ("prune", 4), ("expire, step 1", 4),
        ("count", 5), ("prune", 7), ("expire, step 2", 4),
        ("count", 8), ("prune", 10),
    ]  # fmt: skip


def test_nothing_expires_while_the_stream_cannot_be_pruned(
    data: tuple[SQLiteStream, SQLiteCounterStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, store = data
    stop = threading.Event()

    def fail(*_: object) -> int:
        stop.set()
        raise StorageError("the disk is full")

    monkeypatch.setattr(counter_worker, "PRUNE_S", 0.0)
    monkeypatch.setattr(stream, "prune", fail)
    monkeypatch.setattr(store, "expire", lambda *_: pytest.fail("expired"))
    counter_worker.run(stream, store, DEFINITION, stop)
    assert stop.is_set()
