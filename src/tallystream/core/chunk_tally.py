"""
What a chunk of lines amounts to, worked out by whoever read them first, and stored beside them.

A web worker reads every event to answer its sender, and reading is most of what counting costs. So it counts what it has
read, and the counter process merges that instead of reading the lines once more. It is a result that need not be worked out
twice, and nothing else: it follows from the lines, the definition and this program, and names the last two as its meaning.
Whoever wants another meaning, or finds no tally or a damaged one, counts the lines.
"""

import hashlib
from typing import NamedTuple

import msgspec

from tallystream import __version__
from tallystream.core.aggregate import Partial
from tallystream.core.counting import CellKey, Cells, Ledger, RejectedLine, Tallier, Tally
from tallystream.core.definition import Definition
from tallystream.core.event import Batch, Reader

_CELLS_SHARE = 4  # with more cells than one for so many lines, a chunk is as well read again
_REJECTED_BYTES_MAX = 64 * 1024  # of rejected events, which a tally holds once more

_MINUTE_MS = 60_000


class ChunkTally(NamedTuple):
    """The tally of a chunk as it is stored."""

    meaning: bytes
    content: bytes


class StoredTally(NamedTuple):
    """A chunk tally with its place in the stream: lines [first_sequence, next_sequence) of a shard."""

    first_sequence: int
    next_sequence: int
    arrival_ms: int
    content: bytes


class _Content(msgspec.Struct, array_like=True):
    cells: dict[str, list[tuple[int, str, Partial]]]  # by counter name: start of the finest window, group
    ledger: Ledger
    rejected: list[tuple[int, str, str, bytes]]  # index of the line, reason, message, the line


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


class ChunkTallier:
    """
    Makes and reads the tallies of chunks.

    Args:
        definition: by which is counted.
        reader: of the same definition.
    """

    def __init__(self, definition: Definition, reader: Reader) -> None:
        self._tallier = Tallier(definition, reader)
        self._finest_ms = {counter.name: min(counter.windows_ms) for counter in definition.counters}
        self.is_possible = not reader.needs_arrival and reader.event_id is None and definition.stream.partition_key is None
        """Whether lines amount to the same whenever they arrive, whatever came before them, and lie together as they came."""
        described = (__version__, definition.stream, definition.counters)
        self.meaning = hashlib.sha256(msgspec.json.encode(described)).digest()[:16]

    def tally(self, batch: Batch) -> ChunkTally | None:
        """Return the tally of a chunk of just these lines; None if it is not possible, or not worth it."""
        if not self.is_possible:
            return None
        tally = self._tallier.tally(batch)
        cells_max = len(batch.lines) / _CELLS_SHARE
        rejected_bytes = sum(len(line.data) for line in tally.rejected)
        if sum(map(len, tally.cells.values())) > cells_max or rejected_bytes > _REJECTED_BYTES_MAX:
            return None
        cells = {
            name: [(key.window_start_ms, key.group, partial) for key, partial in of_counter.items()]
            for name, of_counter in tally.cells.items()
        }
        rejected = [(line.sequence, line.reason, line.message, line.data) for line in tally.rejected]
        return ChunkTally(self.meaning, _encode(_Content(cells, tally.ledger, rejected)))

    def restore(self, stored: StoredTally, shard: int) -> Tally:
        """
        Return the tally of a chunk that was stored with this meaning, not rolled up.

        Raises:
            msgspec.DecodeError: the content is damaged.
        """
        content = _decode(stored.content)
        cells: dict[str, Cells] = {}
        for name, found in content.cells.items():
            finest_ms = self._finest_ms[name]
            cells[name] = {CellKey(finest_ms, start_ms, group): partial for start_ms, group, partial in found}
        first, arrival_ms = stored.first_sequence, stored.arrival_ms
        return Tally(
            shard=shard,
            first_sequence=first,
            next_sequence=stored.next_sequence,
            cells=cells,
            ledgers={arrival_ms - arrival_ms % _MINUTE_MS: content.ledger},
            rejected=[
                RejectedLine(first + index, arrival_ms, reason, message, line)
                for index, reason, message, line in content.rejected
            ],
            event_ids={},
            repeated_ids=set(),
            first_arrival_ms=arrival_ms,
        )
