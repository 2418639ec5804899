"""
`tally verify`: counts the retained stream once more and compares the result with what is stored.

The recount shares `core` with the counting process, and nothing else: not the positions, not the commits, not the batches. So
it finds what was counted twice, left out, or changed on the disk. It may run beside a `tally up`.

Which of several deliveries of one event id counts depends on which shard was counted first. That alone is taken from the store,
which names one delivery for each id.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec

from tallystream.core.aggregate import Partial
from tallystream.core.comparison import Difference, holds, shown
from tallystream.core.counting import CellKey, Cells, group_key, merge_cells
from tallystream.core.definition import Counter, Definition
from tallystream.core.window import format_duration
from tallystream.engine.count import RunTallier
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.sqlite import connect, storage_errors
from tallystream.local.stream import SQLiteStream
from tallystream.ports.stream import Chunk

_EVENTS_MAX = 50_000  # read at a time
_EVER = 2**62


class Verification(NamedTuple):
    """What was compared, and what came of it."""

    events: int  # read again
    cells: int  # compared
    pruned: int  # events that are no longer in the stream
    differences: list[Difference]


def verify(data: DataDirectory, definition: Definition) -> Verification:
    """
    Compare counters, ledger and positions with the stream.

    A cell whose first event arrived after everything that was pruned is recounted whole and must be equal. An older one must
    hold at least its recount. What was rejected counts as rejected; lines before a counter's generation do not count for it.

    Raises:
        StorageError: a file cannot be read or is damaged.
    """
    differences = [
        Difference(f"{path.name}: integrity", problem, "ok")
        for path in (data.stream_path, data.counters_path, data.alarms_path)
        if path != data.alarms_path or path.exists()  # where no server has run, there are no alarms
        for problem in _integrity_problems(path)
    ]
    if data.alarms_path.exists():
        differences += _check_alarms(data)
    stream, store = data.open(definition, read_only=True)
    # The counters first: the stream is at least as new as they are, whatever is going on.
    with closing(stream), closing(store), store.snapshot():
        positions = store.positions()
        differences += _check_ledger(stream, store, positions)
        recount = _Recount(stream, store, definition)
        for shard, position in sorted(positions.items()):
            differences += recount.count_shard(shard, position)
        # Asked last, for the stream may have been pruned meanwhile.
        pruned = stream.pruned()
        pruned_arrival_ms = max((arrival_ms for _, arrival_ms in pruned.values()), default=-1)
        cells = 0
        for counter in definition.counters:
            comparison = _Comparison(store, counter, recount.cells.get(counter.name, {}), pruned_arrival_ms)
            differences += comparison.differences()
            cells += comparison.compared
    return Verification(recount.events, cells, sum(sequence for sequence, _ in pruned.values()), differences)


def _integrity_problems(path: Path) -> list[str]:
    with closing(connect(path, read_only=True)) as connection, storage_errors(path):
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            return [str(error)]
    return [problem for problem in found if problem != "ok"]


def _check_alarms(data: DataDirectory) -> Iterator[Difference]:
    with closing(data.open_alarms(read_only=True)) as alarms:
        for key, state, new_state in alarms.unexplained():
            of_group = f" of {key.group}" if key.group else ""
            yield Difference(f"alarm {key.alarm}: state{of_group}", state, f"{new_state}, by its newest transition")


def _check_ledger(stream: SQLiteStream, store: SQLiteCounterStore, positions: dict[int, int]) -> Iterator[Difference]:
    ledger = store.ledger()
    outcomes = sum(ledger) - ledger.received
    if outcomes != ledger.received:
        yield Difference("ledger: received", f"{ledger.received:,}", f"{outcomes:,}, the sum of its outcomes")
    if sum(positions.values()) != ledger.received:
        yield Difference("ledger: received", f"{ledger.received:,}", f"{sum(positions.values()):,}, the sum of the positions")
    kept = sum(store.rejected_reasons().values())
    if kept > ledger.rejected:
        yield Difference("ledger: rejected", f"{ledger.rejected:,}", f"at least {kept:,}, which are kept")
    ends = {state.shard: state.next_sequence for state in stream.shards()}
    for shard, position in positions.items():
        if position > ends.get(shard, 0):
            yield Difference(
                f"shard {shard}: position", f"{position:,}", f"at most {ends.get(shard, 0):,}, the end of the stream"
            )


class _Recount:
    """Counts the retained lines, each for the counters that had begun when it was counted."""

    def __init__(self, stream: SQLiteStream, store: SQLiteCounterStore, definition: Definition) -> None:
        self.cells: dict[str, Cells] = {}
        self.events = 0
        self._stream = stream
        self._store = store
        self._definition = definition
        self._starts = {counter.name: store.generation_starts(counter.name) for counter in definition.counters}
        self._talliers: dict[frozenset[str], RunTallier] = {}

    def count_shard(self, shard: int, end: int) -> Iterator[Difference]:
        """Count a shard's retained lines below `end`; yield what the stream itself lacks."""
        rejected = self._store.rejected_sequences(shard)
        retried = {name: self._store.retried_sequences(name, shard) for name in self._starts}
        starts = {name: of_shard.get(shard, 0) for name, of_shard in self._starts.items()}
        special = rejected.union(*retried.values())
        expected = self._stream.pruned().get(shard, (0, 0))[0]
        while expected < end:
            chunks = self._stream.read(shard, expected, _EVENTS_MAX)
            if not chunks:
                yield Difference(f"shard {shard}: lines {expected:,} to {end - 1:,}", "absent", "in the stream")
                return
            for chunk in chunks:
                pruned = self._stream.pruned().get(shard, (0, 0))[0]  # asked again: it may grow while we count
                if chunk.first_sequence > max(expected, pruned):
                    absent = f"shard {shard}: lines {expected:,} to {chunk.first_sequence - 1:,}"
                    yield Difference(absent, "absent", "in the stream")
                expected = chunk.first_sequence + len(chunk.lines)
                chunk = chunk._replace(lines=chunk.lines[: max(0, end - chunk.first_sequence)])
                self.events += len(chunk.lines)
                for part in _parts(chunk, special, sorted(set(starts.values()))):
                    sequence = part.first_sequence
                    if sequence not in rejected:
                        self._count(part, frozenset(n for n in starts if starts[n] <= sequence or sequence in retried[n]))

    def _count(self, part: Chunk, names: frozenset[str]) -> None:
        tallier = self._talliers.get(names)
        if tallier is None:
            counters = tuple(counter for counter in self._definition.counters if counter.name in names)
            tallier = RunTallier(msgspec.structs.replace(self._definition, counters=counters), self._store.seen)
            self._talliers[names] = tallier
        tally = tallier.tally([part])
        if tally is not None:
            for name, cells in tally.cells.items():
                merge_cells(self.cells.setdefault(name, {}), cells)


def _parts(chunk: Chunk, special: set[int], boundaries: Sequence[int]) -> Iterator[Chunk]:
    """Cut a chunk so that special lines are alone and no part goes over a boundary."""
    first, end = chunk.first_sequence, chunk.first_sequence + len(chunk.lines)
    cuts = {first, end, *(boundary for boundary in boundaries if first < boundary < end)}
    for sequence in special.intersection(range(first, end)):
        cuts |= {sequence, sequence + 1}
    ordered = sorted(cuts)
    for start, stop in pairwise(ordered):
        yield chunk._replace(first_sequence=start, lines=chunk.lines[start - first : stop - first])


class _Comparison:
    """Compares the cells of one counter."""

    def __init__(self, store: SQLiteCounterStore, counter: Counter, recount: Cells, pruned_arrival_ms: int) -> None:
        self.compared = 0
        self._store = store
        self._counter = counter
        self._recount = recount
        self._pruned_arrival_ms = pruned_arrival_ms
        self._groups = {series_id: group_key(*values) for series_id, values in store.series(counter.name).items()}

    def differences(self) -> Iterator[Difference]:
        for window_ms in self._counter.windows_ms:
            yield from self._of_window(window_ms)

    def _of_window(self, window_ms: int) -> Iterator[Difference]:
        rest = {key: partial for key, partial in self._recount.items() if key.window_ms == window_ms}
        first_arrivals = self._store.first_arrivals(self._counter, window_ms)
        for cell in self._store.cells(self._counter, window_ms, -_EVER, _EVER):
            self.compared += 1
            key = CellKey(window_ms, cell.window_start_ms, self._groups[cell.series_id])
            recounted = rest.pop(key, None)
            is_whole = first_arrivals[cell.series_id, cell.window_start_ms] > self._pruned_arrival_ms
            if not self._agree(cell.partial, recounted, is_whole):
                expected = "nothing" if recounted is None else shown(recounted)
                yield Difference(self._name(key), shown(cell.partial), expected if is_whole else f"at least {expected}")
        for key, recounted in rest.items():
            self.compared += 1
            yield Difference(self._name(key), "nothing", shown(recounted))

    def _agree(self, stored: Partial, recounted: Partial | None, is_whole: bool) -> bool:
        if is_whole:
            return stored == recounted
        return recounted is None or holds(stored, recounted)

    def _name(self, key: CellKey) -> str:
        return f"{self._counter.name} {key.group} {format_duration(key.window_ms)} from {key.window_start_ms}"
