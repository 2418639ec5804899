"""The counter store: what was counted, and what became of the rest."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from tallystream.core.aggregate import Partial
from tallystream.core.counting import Delivery, Ledger, Tally
from tallystream.core.definition import Counter, Definition
from tallystream.core.group import GroupValue


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


class Reasons(NamedTuple):
    """Why events were rejected."""

    counts: dict[str, int]  # by reason code
    newest: int | None  # how many of the newest rejected events these are; None: all that are kept


class CounterReader(Protocol):
    """
    What was counted, for those who show it. Any thread may call it; all is as of the call.

    Raises StorageError when it cannot be read.
    """

    def version(self) -> int:
        """Return the version of the newest commit; it grows with each."""
        ...

    def changes(self, since_version: int) -> list[Change]:
        """
        Return changes whose windows, those between a counter's first and last included, cover all that changed since a version.

        None for the present version. A store that knows which windows changed names those alone.
        """
        ...

    def ledger(self) -> Ledger: ...

    def series(self, counter: str, after: int = 0) -> dict[int, tuple[GroupValue, ...]]:
        """
        Return series id → group values (in group_by order) of the counter's current generation, ascending, with ids > after.

        Ids are above 0, and grow with the order in which the groups were first counted.
        """
        ...

    def overflow(self, counter: str) -> int | None:
        """
        Return the id of the series of all groups above the counter's cap together; None where there are none.

        `series` leaves it out, for it has no values: which groups are in it, nobody knows.
        """
        ...

    def first_windows(self, counter: Counter, window_ms: int, from_ms: int, series_ids: Sequence[int]) -> dict[int, int]:
        """Return series id → start of the first window from from_ms on that has a row; a series without one is left out."""
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

    def reasons(self) -> Reasons:
        """Return how many events were rejected for which reason, of all that are kept or of the newest."""
        ...

    def rejected_events(self, reason: str | None = None, before: int | None = None, limit: int = 50) -> list[RejectedEvent]:
        """
        Return kept rejected events, newest (highest id) first, with id < before; at least one if there are any.

        Fewer than `limit` does not mean that there are no more: so many would fill the memory where they are large.
        """
        ...


class CounterStore(CounterReader, Protocol):
    """Cells, ledger, rejected events, changes and positions, which commit together."""

    def declare(self, definition: Definition, positions: Mapping[int, int], now_ms: int) -> list[Generation]:
        """Make the definition's counters the current ones; start a generation for each new or changed one. Idempotent."""
        ...

    def position(self, shard: int) -> int:
        """Return the sequence number of the next line to count; 0 for an unknown shard."""
        ...

    def positions(self) -> dict[int, int]: ...

    def seen(self, event_ids: Iterable[str]) -> dict[str, Delivery]:
        """
        Return those of the ids that are stored as seen, each with the delivery that was judged.

        An id is known for at least `retention` after the latest delivery of it was counted, so for as long as one of them,
        duplicates included, is in the stream.
        """
        ...

    def commit(self, tally: Tally, now_ms: int) -> bool:
        """
        Store a tally in one transaction, on the condition that the shard stands at tally.first_sequence.

        Returns False, and stores nothing, when it stands elsewhere (the tally was counted already, or is not due yet), or
        when an event id is no longer new, or no longer known, as it was to the tally: judge the lines again.
        Cost: one transaction, an upsert for each cell touched.
        """
        ...

    def generations(self) -> list[Generation]: ...

    def rejected_reasons(self) -> dict[str, int]:
        """Return reason code → how many rejected events are kept."""
        ...

    def totals(self, counter: str) -> dict[int, int]:
        """
        Return series id → events counted since the counter's current generation began.

        Never decreases while the generation lasts, also when rows end by `keep`: Prometheus reads it as a counter.
        """
        ...

    def throughput(self, since_ms: int) -> list[tuple[int, Ledger]]:
        """Return (start of a minute of arrival, what became of what arrived in it), ascending, from since_ms on."""
        ...

    def commit_retry(self, tallies: Sequence[Tally], rejected_ids: Sequence[int], now_ms: int) -> bool:
        """
        Move rejected events to the outcomes that they have now, in one transaction: their rows go, the tallies come.

        The tallies' ledgers are added as they are: no event is new, so they hold 0 received, and one rejected less for each
        event that another outcome gains. Returns False, and stores nothing, when a row of rejected_ids is gone, or an event id
        is no longer new, or no longer known, as it was to a tally.
        """
        ...

    def expire(self, definition: Definition, now_ms: int) -> Iterator[int]:
        """
        Delete what has outlived its time: cells by `keep`, event ids by `retention`, rejected events after 30 days.

        Nothing is done until it is asked for: each `next` is a step of milliseconds, which yields how many rows went, so that
        counting goes on between two steps. A counter's `keep` holds for its former generations, too. What is left of a counter
        without `keep`, or of one that the definition no longer has, stays. Call it after `Stream.prune` with the same time:
        what is counted outlives its events.
        """
        ...


# Alarms. On AWS, CloudWatch holds all of this.
