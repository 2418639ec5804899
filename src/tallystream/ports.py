"""What the planes implement: the stream, and the counter store. Every adapter passes tests/contracts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from tallystream.core.aggregate import Partial
from tallystream.core.counting import Ledger, Tally
from tallystream.core.definition import Counter, Definition
from tallystream.core.event import GroupValue


class Chunk(NamedTuple):
    """A run of consecutive lines of one shard that reached the stream together."""

    shard: int
    first_sequence: int  # of the first line
    arrival_ms: int  # UTC; never decreases within a shard
    lines: list[bytes]  # no line holds a newline; line i has sequence number first_sequence + i


class SourceRange(NamedTuple):
    """Bytes [start, end) of a named file; end becomes the source's position with the events."""

    source: str
    start: int
    end: int


class Append(NamedTuple):
    """What one request, or one block of a file, adds to the stream, whole or not at all."""

    lines: list[bytes]
    partition_keys: list[str] | None = None  # one for each line; None: round robin
    idempotency_key: str | None = None
    digest: bytes = b""  # of the request, kept with the idempotency key
    answer: bytes = b""  # what a repeated request is to be answered
    source: SourceRange | None = None


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

    def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
        """
        Store the appends durably in one commit; return the fate of each, in order.

        Cost: one fsync for all of them. Raises StorageError: nothing of the call is stored.
        """
        ...

    def read(self, shard: int, sequence: int, events_max: int) -> list[Chunk]:
        """
        Return retained lines of a shard from `sequence` on, in order, about events_max at most (at least one chunk if any).

        Fewer, where lines are so long that so many would fill the memory. The first chunk is cut so that it begins at
        `sequence`. When that was pruned, it begins at the oldest retained line.
        """
        ...

    def shards(self) -> list[ShardState]: ...

    def source_position(self, source: str) -> int:
        """Return how many bytes of a source are stored; 0 when it is unknown."""
        ...

    def prune(self, now_ms: int, counted: Mapping[int, int]) -> int:
        """Delete chunks older than the retention and below counted[shard]; return how many lines went."""
        ...


class Cell(NamedTuple):
    """One stored row: what one group holds in one window."""

    series_id: int
    window_start_ms: int
    partial: Partial


class Change(NamedTuple):
    counter: str
    window_ms: int
    window_start_ms: int
    version: int  # of the commit that last touched this window; grows


class RejectedEvent(NamedTuple):
    id: int
    shard: int
    sequence: int
    arrival_ms: int
    reason: str
    message: str
    data: bytes


class Generation(NamedTuple):
    counter: str
    generation: int  # 1, 2, … for each counter name
    since_ms: int
    started: bool  # True on the call of `declare` that started it


class CounterStore(Protocol):
    """Cells, ledger, rejected events, changes and positions, which commit together."""

    def declare(self, definition: Definition, positions: Mapping[int, int], now_ms: int) -> list[Generation]:
        """Make the definition's counters the current ones; start a generation for each new or changed one. Idempotent."""
        ...

    def position(self, shard: int) -> int:
        """Return the sequence number of the next line to count; 0 for an unknown shard."""
        ...

    def positions(self) -> dict[int, int]: ...

    def seen(self, event_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are stored as seen."""
        ...

    def commit(self, tally: Tally, now_ms: int) -> bool:
        """
        Store a tally in one transaction, on the condition that the shard stands at tally.first_sequence.

        Returns False, and stores nothing, when it stands elsewhere: the tally was counted already, or is not due yet.
        Cost: one transaction, an upsert for each cell touched.
        """
        ...

    def version(self) -> int:
        """Return the version of the newest commit; it grows with each."""
        ...

    def changes(self, since_version: int) -> list[Change]: ...

    def ledger(self) -> Ledger: ...

    def generations(self) -> list[Generation]: ...

    def series(self, counter: str) -> dict[int, tuple[GroupValue, ...]]:
        """Return series id → group values (in group_by order) of the counter's current generation."""
        ...

    def cells(
        self, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[Cell]:
        """Yield cells with window_start in [from_ms, to_ms), series by series, ascending by window."""
        ...

    def counts(
        self, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int]
    ) -> dict[int, list[tuple[int, int]]]:
        """
        Return series id → [(window_start, count), …], ascending, of the cells with window_start in [from_ms, to_ms).

        What `cells` yields, without the measured fields. Most queries ask for no more, so a store hands out its rows as they
        are, with no object built for each cell. A series without a row may be left out.
        """
        ...

    def count_totals(
        self,
        counter: Counter,
        window_ms: int,
        from_ms: int,
        to_ms: int,
        series_ids: Sequence[int] | None = None,
        *,
        per: Literal["series", "window"],
    ) -> dict[int, int]:
        """
        Return the counts of the cells in [from_ms, to_ms) added up: by series id, or by window start over all the series.

        Cost: one pass over the rows inside the store; "the largest 5 of 10,000 groups" then reads the cells of 5.
        """
        ...

    def totals(self, counter: str) -> dict[int, int]:
        """
        Return series id → events counted since the counter's current generation began.

        Never decreases while the generation lasts, also when rows end by `keep`: Prometheus reads it as a counter.
        """
        ...

    def rejected_reasons(self) -> dict[str, int]:
        """Return reason code → how many rejected events are kept."""
        ...

    def rejected_events(self, reason: str | None = None, before: int | None = None, limit: int = 50) -> list[RejectedEvent]:
        """
        Return kept rejected events, newest (highest id) first, with id < before; at least one if there are any.

        Fewer than `limit` does not mean that there are no more: so many would fill the memory where they are large.
        """
        ...

    def throughput(self, since_ms: int) -> list[tuple[int, Ledger]]:
        """Return (start of a minute of arrival, what became of what arrived in it), ascending, from since_ms on."""
        ...

    def commit_retry(self, tallies: Sequence[Tally], rejected_ids: Sequence[int], now_ms: int) -> bool:
        """
        Move rejected events to the outcomes that they have now, in one transaction: their rows go, the tallies come.

        The tallies' ledgers are added as they are: no event is new, so they hold 0 received, and one rejected less for each
        event that another outcome gains. Returns False, and stores nothing, when a row of rejected_ids is gone.
        """
        ...

    def expire(self, definition: Definition, now_ms: int) -> int:
        """Delete what has outlived its time: cells by `keep`, rejected events after 30 days; return how many rows went."""
        ...
