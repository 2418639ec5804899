"""`tally ingest` straight into a data directory, with or without a `tally up` beside it."""

import subprocess
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait

from tallystream.core.chunk_tally import ChunkTallier
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.core.event import Reader
from tallystream.local.child import WorkerSettings, spawn
from tallystream.local.clock import now_ms
from tallystream.local.data import DataDirectory
from tallystream.local.ingest import PositionError
from tallystream.local.lock import DirectoryInUseError, DirectoryLock
from tallystream.ports.stream import Append, Appended, SourcePosition, SourceRange

POLL_S = 0.01

AHEAD_EVENTS_MAX = 60_000
"""
How far storing runs ahead of counting before it tallies its blocks itself, so that both processors have as much to do: a little
more than a count step takes, which commits as a whole.
"""

_COMMITS_MAX = 4  # that are under way, so that a slow one holds up nobody
_STARTS_MAX = 3  # of a counter worker
_STOP_S = 5.0


class DirectSink:
    """
    An ingest.Sink that appends to the stream itself.

    Counting is the work of one process: of a running `tally up`, or else of a counter worker that this sink starts and
    ends. Storing waits while counting is behind by more than the definition's `backlog_events_max`.
    """

    def __init__(self, data: DataDirectory, definition_text: str) -> None:
        definition = parse_definition(definition_text)
        self._counting = _Counting(data, definition)
        self._counting.ensure()
        self._stream, self._store = data.open(definition)
        self._reader = Reader(definition)
        self._tallier = ChunkTallier(definition, self._reader)
        self._backlog_events_max = definition.stream.backlog_events_max
        self._rejected_before = self._store.rejected_reasons()
        self._duplicate_before = self._store.ledger().duplicate
        self._unmeasured_events = 0
        # Blocks are committed while the next ones are read.
        self._thread = ThreadPoolExecutor(1, "tally-commit")
        self._storing: deque[Future[Appended | None]] = deque()
        self._has_failed = False

    @property
    def is_shared(self) -> bool:
        """Whether another process has the directory's lock, so that others may send events at the same time."""
        return not self._counting.is_ours

    @property
    def rejected(self) -> dict[str, int]:
        """Reason code → events rejected since this sink was made, by whomever they were sent."""
        before = self._rejected_before
        now = self._store.rejected_reasons()
        return {reason: count - before.get(reason, 0) for reason, count in now.items() if count > before.get(reason, 0)}

    @property
    def duplicate(self) -> int:
        """Events counted before (by their event id) since this sink was made, by whomever they were sent."""
        return self._store.ledger().duplicate - self._duplicate_before

    def position(self, source: str) -> SourcePosition:
        """See ingest.Sink."""
        self._settle()
        return self._stream.source_position(source)

    def store(self, lines: list[bytes], source: SourceRange | None, text: bytes | None = None) -> None:
        """See ingest.Sink."""
        arrival_ms = now_ms()
        keys = self._reader.partition_keys(lines)
        packed = None
        if keys is None:
            is_ahead = self._tallier.is_possible and self._backlog() > AHEAD_EVENTS_MAX
            tally = self._tallier.tally(self._reader.read(lines, arrival_ms, text)) if is_ahead else None
            packed = self._stream.pack(lines, tally, text)
        self._settle(_COMMITS_MAX - 1)
        append = Append(lines, keys, source=source, packed=packed)
        self._storing.append(self._thread.submit(self._commit, append, arrival_ms))
        self._unmeasured_events += len(lines)
        if self._unmeasured_events > self._backlog_events_max // 16:
            self._unmeasured_events = 0
            if self._backlog() + _COMMITS_MAX * len(lines) > self._backlog_events_max:
                self._settle()  # or what is under way would come on top
            while self._backlog() > self._backlog_events_max:
                self._counting.ensure()
                time.sleep(POLL_S)

    def _commit(self, append: Append, arrival_ms: int) -> Appended | None:
        """
        Store a block, in the thread. None: it is not stored, since one before it was not; its sender is told of that one.

        So a source's lines are stored without a gap, however many blocks were handed over before the failure was known.
        """
        if self._has_failed:
            return None
        self._has_failed = True  # unless this goes well
        [fate] = self._stream.append([append], arrival_ms)
        self._has_failed = fate.source_position is not None
        return fate

    def _settle(self, under_way_max: int = 0) -> None:
        """Wait until so many commits at most are under way. Raises as `store`; then none is."""
        while len(self._storing) > under_way_max:
            wait([self._storing[0]])  # where a Ctrl-C leaves all of them to `close`, which tells of one that fails
            try:
                fate = self._storing.popleft().result()
                if fate is not None and fate.source_position is not None:
                    raise PositionError(
                        f"the file stands at byte {fate.source_position:,} already: another `tally ingest` reads it, too; "
                        "wait until that one has ended"
                    )
            except BaseException:
                wait(self._storing)
                self._storing.clear()
                self._has_failed = False
                raise

    def finish(self) -> None:
        """Wait until everything that was stored is counted."""
        self._settle()
        ends = {state.shard: state.next_sequence for state in self._stream.shards()}
        while True:
            positions = self._store.positions()
            if all(positions.get(shard, 0) >= end for shard, end in ends.items()):
                return
            self._counting.ensure()
            time.sleep(POLL_S)

    def close(self) -> None:
        """
        Wait for the commits that are under way, end the counter worker, if there is one, and let go of the directory.

        Raises as `store`, if one of them failed and nobody was told: whatever ended the reading may say that all is taken.
        """
        self._thread.shutdown()
        self._counting.stop()
        self._stream.close()
        self._store.close()
        self._settle()

    def _backlog(self) -> int:
        positions = self._store.positions()
        return sum(state.next_sequence - positions.get(state.shard, 0) for state in self._stream.shards())


class _Counting:
    """Sees to it that one process counts, while the one that did may end at any time."""

    def __init__(self, data: DataDirectory, definition: Definition) -> None:
        self._data = data
        self._definition = definition
        self._settings = WorkerSettings(name="counter", definition=definition, data=str(data.path), log_format="text")
        self._lock: DirectoryLock | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._starts = 0

    @property
    def is_ours(self) -> bool:
        """Whether counting is our worker's work."""
        return self._lock is not None

    def ensure(self) -> None:
        """Start a counter worker unless one runs, here or under whoever holds the directory's lock."""
        if self._worker is not None and self._worker.poll() is None:
            return
        if self._lock is None:
            try:
                self._lock = self._data.lock("tally ingest", wait_s=0)
            except DirectoryInUseError:
                return
            self._data.declare(self._definition)
        if self._starts == _STARTS_MAX:
            raise StorageError(
                f"the counter process ended {_STARTS_MAX} times; its messages above say why. "
                "What was ingested is on disk and is counted by the next `tally up` or `tally ingest`"
            )
        self._starts += 1
        self._close_pipes()
        self._worker = spawn("tallystream.local.counter_worker", self._settings, [self._lock.fd])

    def stop(self) -> None:
        """End the worker, if it is ours, and let go of the lock."""
        if self._worker is not None:
            self._worker.terminate()
            try:
                self._worker.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()
            self._close_pipes()
            self._worker = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _close_pipes(self) -> None:
        if self._worker is not None:
            for pipe in (self._worker.stdin, self._worker.stdout):
                assert pipe is not None
                pipe.close()
