"""The process that counts: `python -m tallystream.local.counter_worker`, started by `tally up` or `tally ingest`."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from tallystream.core.clock import clock_warning
from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.engine.count import CountStep
from tallystream.local.child import WorkerSettings, announce_ready, end_with_parent, read_settings
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.logs import set_up_logs
from tallystream.local.stream import SQLiteStream

GATHER_S = 0.02  # after a small step: a commit for every few events would keep the disk from taking new ones
GATHER_EVENTS = 5_000  # a step of fewer is small
POLL_S = 0.01
IDLE_S = 1.0  # a step is made at least so often, whatever the stream's version says
PRUNE_S = 60.0
EXPIRE_S = 0.2  # from one step of expiry to the next: a step takes about 5 ms, so a fortieth of the time
RETRY_S = 1.0  # after an error of the disk

_log = logging.getLogger(__name__)


def main() -> None:
    """Count until told to stop; everything up to the last commit is safe whenever and however the process ends."""
    settings = read_settings(WorkerSettings)
    set_up_logs(settings.log_format, settings.name)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    end_with_parent()
    definition = settings.definition
    stream, store = DataDirectory(Path(settings.data)).open(definition)
    with closing(stream), closing(store):
        announce_ready()
        run(stream, store, definition, stop)


def run(stream: SQLiteStream, store: SQLiteCounterStore, definition: Definition, stop: threading.Event) -> None:
    """
    Count until `stop` is set; prune and look at the clock each minute, and expire in between, step by step.

    Errors of the disk are logged and tried again.
    """
    counting = CountStep(stream, store, definition)
    expiring: Iterator[int] | None = None
    with suppress(StorageError):  # which counting will meet, too
        _log_clock(stream, now_ms())
    prune_at_s = time.monotonic() + PRUNE_S
    expire_at_s = 0.0
    while not stop.is_set():
        try:
            version = stream.data_version()
            events = counting.step(now_ms())
            if time.monotonic() >= prune_at_s:
                prune_at_s = time.monotonic() + PRUNE_S
                _log_clock(stream, now_ms())
                at_ms = now_ms()
                prune(stream, store, at_ms)
                expiring = expiring or store.expire(definition, at_ms)
            if expiring and time.monotonic() >= expire_at_s:
                expire_at_s = time.monotonic() + EXPIRE_S
                expiring = expiring if next(expiring, None) is not None else None
        except StorageError as error:
            _log.warning("counting waits, nothing that was accepted is lost: %s", error)
            stop.wait(RETRY_S)
            continue
        if not events:
            _wait_for_events(stream, version, stop, EXPIRE_S if expiring else IDLE_S)
        elif events < GATHER_EVENTS:
            stop.wait(GATHER_S)


def _log_clock(stream: SQLiteStream, at_ms: int) -> None:
    warning = clock_warning(at_ms, {state.shard: state.last_arrival_ms for state in stream.shards()})
    if warning:
        _log.warning("%s", warning)


def prune(stream: SQLiteStream, store: SQLiteCounterStore, at_ms: int) -> int:
    """Drop events that are old and counted from the stream; return how many."""
    positions = store.positions()
    store.sync()  # what is pruned can no longer be counted again
    return stream.prune(at_ms, positions)


def _wait_for_events(stream: SQLiteStream, version: int, stop: threading.Event, at_most_s: float) -> None:
    deadline = time.monotonic() + at_most_s
    while not stop.wait(POLL_S) and stream.data_version() == version and time.monotonic() < deadline:
        pass


if __name__ == "__main__":
    main()
