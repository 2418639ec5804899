"""The events that a data directory's stream still holds, read as a source is, shard by shard."""

import hashlib
from collections.abc import Iterator

from tallystream.local.blocks import Block
from tallystream.local.source import SourceError
from tallystream.local.stream import SQLiteStream

_EVENTS_MAX = 2_000  # of a block, which is what is sent again after a crash


class RetainedSource:
    """One shard, as far as it goes now. Positions are sequence numbers, and a block's mark is its last line's hash."""

    def __init__(self, stream: SQLiteStream, shard: int) -> None:
        self.name = f"shard {shard} of {stream.path}"
        self._stream = stream
        self._shard = shard
        self._end = {state.shard: state.next_sequence for state in stream.shards()}[shard]
        self._first = stream.pruned()[shard][0]
        self.size_bytes: int | None = self._end - self._first  # events here: a display shows only how much of it is read
        self.read_bytes = 0
        self.missing = 0  # events that were to be read, and are no longer kept

    def identity(self) -> str:
        """Return the shard's name among sources."""
        return hashlib.sha256(f"{self._stream.path.absolute()}\0{self._shard}".encode()).hexdigest()

    def blocks(self, position: int = 0, mark: str = "") -> Iterator[Block]:
        """
        Yield the blocks from a position on.

        Raises:
            SourceError: the events before the position are others than were read there.
        """
        if position > self._first:
            before = self._stream.read(self._shard, position - 1, 1)
            if not before or _mark(before[0].lines[0]) != mark:
                raise SourceError(
                    f"{self.name} was read up to event {position:,} before, and it holds other events now. Nothing of it was "
                    "taken. To send it from its beginning, as new events, add --again"
                )
        while position < self._end:
            chunks = self._stream.read(self._shard, position, _EVENTS_MAX)
            if not chunks:
                self.missing += self._end - position
                return
            for chunk in chunks:
                self.missing += chunk.first_sequence - position
                position = chunk.first_sequence + len(chunk.lines)
                self.read_bytes = position - self._first
                yield Block(chunk.lines, position, _mark(chunk.lines[-1]))


def _mark(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]
