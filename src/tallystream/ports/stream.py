"""The stream: where events are until they are counted, and a while longer."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from tallystream.core.chunk_tally import ChunkTally, StoredTally


class Chunk(NamedTuple):
    """A run of consecutive lines of one shard that reached the stream together."""

    shard: int
    first_sequence: int  # of the first line
    arrival_ms: int  # UTC; never decreases within a shard
    lines: list[bytes]  # no line holds a newline; line i has sequence number first_sequence + i
    text: bytes | None = None  # the lines joined by line feeds, where it is at hand


class SourceRange(NamedTuple):
    """Bytes [start, end) of a named file; end becomes the source's position with the events, and mark what it is known by."""

    source: str
    start: int
    end: int
    mark: str = ""  # the sender's own, of what stands before `end`: by it, it knows the file again


class SourcePosition(NamedTuple):
    """How far a source is stored."""

    position: int = 0
    mark: str = ""  # as it came with the position


class Packed(NamedTuple):
    """Lines as the stream will store them, in one chunk; made by `Stream.pack`."""

    lines: int
    payload: bytes
    tally_meaning: bytes | None
    tally: bytes | None


class Append(NamedTuple):
    """What one request, or one block of a file, adds to the stream, whole or not at all."""

    lines: list[bytes]
    partition_keys: list[str] | None = None  # one for each line; None: round robin
    idempotency_key: str | None = None
    digest: bytes = b""  # of the request, kept with the idempotency key
    answer: bytes = b""  # what a repeated request is to be answered
    source: SourceRange | None = None
    packed: Packed | None = None  # the lines, if they were packed before; goes without partition keys


class Appended(NamedTuple):
    """The fate of one Append: exactly one of the four."""

    stored: bool = False  # the lines are on disk
    repeated: bytes | None = None  # the key and digest are known: nothing was stored; the first answer
    key_reused: bool = False  # the key is known with another digest: nothing was stored
    source_position: int | None = None  # the source stands elsewhere than `start`: nothing was stored


class ShardState(NamedTuple):
    shard: int
    next_sequence: int  # of the next line to arrive
    last_arrival_ms: int  # 0 when nothing has arrived


class Stream(Protocol):
    """Lines in shards: ordered, durable, readable again from any position that is retained."""

    def pack(self, lines: list[bytes], tally: ChunkTally | None = None, text: bytes | None = None) -> Packed:
        """
        Make lines ready to be stored, with their tally if there is one, and spare `append` the compression.

        `text` is the lines joined by line feeds, where it is at hand. Raises ValueError if a line holds a line feed.
        """
        ...

    def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
        """
        Store the appends durably in one commit; return the fate of each, in order.

        Cost: one fsync for all of them. Raises StorageError: nothing of the call is stored; ValueError as `pack`.
        """
        ...

    def read(self, shard: int, sequence: int, events_max: int) -> list[Chunk]:
        """
        Return retained lines of a shard from `sequence` on, in order, about events_max at most (at least one chunk if any).

        Fewer, where lines are so long that so many would fill the memory. The first chunk is cut so that it begins at
        `sequence`. When that was pruned, it begins at the oldest retained line.
        """
        ...

    def tallies(self, shard: int, sequence: int, meaning: bytes, events_max: int) -> list[StoredTally]:
        """
        Return the tallies of this meaning that were stored with the chunks from `sequence` on, as far as there is no gap.

        In order, of about events_max lines at most. None, where no chunk begins at `sequence`, or it has no such tally; `read`
        has its lines. Cost: the lines are not touched.
        """
        ...

    def shards(self) -> list[ShardState]: ...

    def source_position(self, source: str) -> SourcePosition:
        """Return how many bytes of a source are stored, 0 when it is unknown, and the mark that came with them."""
        ...

    def prune(self, now_ms: int, counted: Mapping[int, int]) -> int:
        """Delete chunks older than the retention and below counted[shard]; return how many lines went."""
        ...
