"""The count step: lines of the stream become cells, ledger and position, in one commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from tallystream.core.chunk_tally import ChunkTallier
from tallystream.core.counting import NONE_SEEN, Delivery, Tallier, Tally, merge_tallies
from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.core.event import Reader
from tallystream.ports.counters import CounterStore
from tallystream.ports.stream import Chunk, Stream

EVENTS_MAX = 50_000
"""Lines of one step: enough to make a commit's cost small, few enough to stay small in memory."""

REJECTED_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of rejected events after which a step ends: unlike what is counted, they are held until the commit."""

# Lines in hand at a time: enough for the fixed cost of a batch to be small, few enough for a processor's cache.
_BATCH_LINES = 2_000
_TALLIED_LINES = 10_000  # whose stored tallies are in hand at a time
_MINUTE_MS = 60_000


class CountStep:
    """Counts a stream's shards, each in order, from the position that the store holds."""

    def __init__(self, stream: Stream, store: CounterStore, definition: Definition) -> None:
        self._stream = stream
        self._store = store
        self._run_tallier = RunTallier(definition, store.seen)
        self._chunk_tallier = ChunkTallier(definition, self._run_tallier.reader)

    def step(self, now_ms: int) -> int:
        """
        Count up to EVENTS_MAX waiting lines of every shard, one commit a shard; return how many were counted, 0 if none waited.

        Cut off at any point, it leaves each shard counted up to its last commit. Raises StorageError.
        """
        positions = self._store.positions()
        counted = 0
        for state in self._stream.shards():
            position = positions.get(state.shard, 0)
            if state.next_sequence > position:
                counted += self._count_shard(state.shard, position, now_ms)
        return counted

    def _count_shard(self, shard: int, position: int, now_ms: int) -> int:
        total: Tally | None = None
        end = position
        rejected_bytes = 0
        while end < position + EVENTS_MAX and rejected_bytes < REJECTED_BYTES_MAX:
            tally = self._stored_tally(shard, end) or self._read_tally(shard, end, total)
            if tally is None:
                break
            rejected_bytes += sum(len(line.data) for line in tally.rejected)
            total = tally if total is None else merge_tallies(total, tally)
            end = total.next_sequence
        # The store refuses what it does not fit any more: these lines, or their event ids, were counted meanwhile.
        if total is None or not self._store.commit(self._run_tallier.roll_up(total), now_ms):
            return 0
        return total.next_sequence - total.first_sequence

    def _stored_tally(self, shard: int, sequence: int) -> Tally | None:
        """Return the tally of the next chunks as it was stored with them; None if the first of them has none."""
        total: Tally | None = None
        if self._chunk_tallier.is_possible:
            for stored in self._stream.tallies(shard, sequence, self._chunk_tallier.meaning, _TALLIED_LINES):
                try:
                    tally = self._chunk_tallier.restore(stored, shard)
                except msgspec.DecodeError:
                    break
                total = tally if total is None else merge_tallies(total, tally)
        return total

    def _read_tally(self, shard: int, sequence: int, before: Tally | None) -> Tally | None:
        """Return the tally of the next lines, of which `before` was counted in this step; None if there are none."""
        chunks = self._stream.read(shard, sequence, _BATCH_LINES)
        first = chunks[0].first_sequence if chunks else None
        if first != sequence and (chunks or before is None):
            raise StorageError(
                f"shard {shard} of the stream goes on at line {first}, but counting stands at {sequence}: lines that were"
                " accepted are gone from the stream; restore a backup of both databases (`tally restore`)"
            )
        return self._run_tallier.tally_finest(chunks, before.event_ids if before else NONE_SEEN)


class RunTallier:
    """Tallies consecutive chunks of a shard, in as few batches as their arrival times allow."""

    def __init__(self, definition: Definition, seen: Callable[[list[str]], dict[str, Delivery]]) -> None:
        self.reader = Reader(definition)
        self._tallier = Tallier(definition, self.reader)
        self._seen = seen
        self.roll_up = self._tallier.roll_up

    def tally(self, chunks: Sequence[Chunk], seen_meanwhile: Mapping[str, Delivery] = NONE_SEEN) -> Tally | None:
        """Return the tally of consecutive chunks; None if there are none. Ids in seen_meanwhile count as seen too."""
        tally = self.tally_finest(chunks, seen_meanwhile)
        return tally and self.roll_up(tally)

    def tally_finest(self, chunks: Sequence[Chunk], seen_meanwhile: Mapping[str, Delivery] = NONE_SEEN) -> Tally | None:
        """Return what `tally` does, yet to be rolled up: it may be merged with what follows first."""
        total: Tally | None = None
        for run in self._runs(chunks):
            lines, text = run[0].lines, run[0].text
            if len(run) > 1:
                lines, text = [line for chunk in run for line in chunk.lines], None
            batch = self.reader.read(lines, run[0].arrival_ms, text)
            event_ids = self._tallier.event_ids(batch)
            seen = {**self._seen(event_ids), **seen_meanwhile} if event_ids else {}
            if total is not None:
                seen.update(total.event_ids)
            tally = self._tallier.tally(batch, seen, run[0].shard, run[0].first_sequence)
            total = tally if total is None else merge_tallies(total, tally)
        return total

    def _runs(self, chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
        """Cut chunks to runs to be read as one batch: of one arrival time where that decides outcomes, else of a minute."""
        unit_ms = 1 if self.reader.needs_arrival else _MINUTE_MS
        run: list[Chunk] = []
        lines = 0
        for chunk in chunks:
            if run and (lines >= _BATCH_LINES or chunk.arrival_ms // unit_ms != run[0].arrival_ms // unit_ms):
                yield run
                run, lines = [], 0
            run.append(chunk)
            lines += len(chunk.lines)
        if run:
            yield run
