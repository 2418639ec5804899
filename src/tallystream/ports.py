"""What the planes implement: the stream, the counter store, and where alarms are kept. Every adapter passes tests/contracts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

from tallystream.core.aggregate import Partial
from tallystream.core.alarm import State, Transition
from tallystream.core.chunk_tally import ChunkTally, StoredTally
from tallystream.core.counting import Delivery, Ledger, Tally
from tallystream.core.definition import Counter, Definition
from tallystream.core.group import GroupValue


class Chunk(NamedTuple):
    """A run of consecutive lines of one shard that reached the stream together."""

    shard: int
    first_sequence: int  # of the first line
    arrival_ms: int  # UTC; never decreases within a shard
    lines: list[bytes]  # no line holds a newline; line i has sequence number first_sequence + i


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


class AlarmKey(NamedTuple):
    """One state that is kept: of an alarm or, where it watches each group, of one of its groups."""

    alarm: str
    group: str = ""  # core.counting.group_key of the group's values; "" for an alarm without `group_by = "each"`


class AlarmStatus(NamedTuple):
    """Where an alarm stands."""

    state: State
    since_ms: int
    version: int  # grows with every change of this row
    announced: State  # what its channels were last told, or would have been told if it had any
    transition_id: int | None  # that led to the state; None for a new alarm
    acknowledgement: "Acknowledgement | None" = None  # of the present ALARM


class Acknowledgement(NamedTuple):
    at_ms: int
    by: str
    note: str


class AlarmChange(NamedTuple):
    """What one evaluation changes of one alarm. Committed only if the row still has the version it was decided on."""

    key: AlarmKey
    version: int  # 0: there is no row yet
    transition: Transition | None  # None: the end of a mute, which announces the newest transition
    announced: State
    channels: tuple[str, ...]  # that are told of the transition


class HistoryItem(NamedTuple):
    """Something that happened to an alarm."""

    id: int
    key: AlarmKey
    at_ms: int
    kind: Literal["ConfigurationUpdate", "StateUpdate", "Action", "Acknowledgement", "Mute"]
    summary: str
    transition: Transition | None  # of a StateUpdate


class Mute(NamedTuple):
    """A mute that somebody set; those on a schedule are in the definition."""

    id: int
    alarms: tuple[str, ...]  # empty: all
    from_ms: int
    until_ms: int
    by: str
    note: str


class Message(NamedTuple):
    """What is sent at once through one channel. A message that is sent again has the same id and holds the same items."""

    id: str
    channel: str
    items: list[HistoryItem]  # StateUpdates, oldest first
    attempts: int  # that failed before
    created_ms: int


class ChannelTiming(NamedTuple):
    """How a channel's notifications are put together."""

    group_wait_ms: int  # how long the first waits for others; 0: each is a message of its own
    group_max: int  # items of a message


class Undelivered(NamedTuple):
    """A message that was not delivered yet, or at all."""

    id: str
    channel: str
    created_ms: int
    attempts: int
    error: str
    given_up: bool


RETRY_PAUSE_MS_MAX: Final = 3_600_000
"""The longest pause between two attempts to deliver a message."""


class AlarmStore(Protocol):
    """States, transitions, mutes and the outbox. Every commit is on disk when it returns."""

    def declare(self, fingerprints: Mapping[str, str], now_ms: int) -> None:
        """
        Make the alarms the present ones: name → fingerprint of the configuration.

        A new or edited one gets a ConfigurationUpdate in its history; an edited one keeps its states; the states of one that
        is gone go, its history stays. Idempotent.
        """
        ...

    def statuses(self) -> dict[AlarmKey, AlarmStatus]: ...

    def commit(self, changes: Sequence[AlarmChange], now_ms: int) -> bool:
        """
        Store transitions, states and the notifications that they cause, all or nothing.

        Returns False when a row has another version than its change was decided on: somebody else evaluated meanwhile.
        """
        ...

    def forget(self, keys: Sequence[AlarmKey], now_ms: int) -> None:
        """Remove the states of groups that are no longer watched."""
        ...

    def acknowledge(self, key: AlarmKey, acknowledgement: Acknowledgement) -> bool:
        """Note that somebody takes care; False unless it is in ALARM. Ends with the ALARM."""
        ...

    def history(self, alarm: str | None = None, before: int | None = None, limit: int = 50) -> list[HistoryItem]:
        """Return what happened, newest (highest id) first, with id < before; to one alarm, or to any. What muted all, too."""
        ...

    def transitions(self, alarm: str, from_ms: int, to_ms: int, group: str | None = None) -> list[HistoryItem]:
        """Return an alarm's StateUpdates in [from_ms, to_ms), oldest first; of one group (as in AlarmKey), or of all."""
        ...

    def add_mute(self, alarms: Sequence[str], from_ms: int, until_ms: int, by: str, note: str) -> Mute:
        """Mute alarms, none given: all, in [from_ms, until_ms). In the history of each; of all, as one item of the alarm ""."""
        ...

    def end_mute(self, mute_id: int, now_ms: int) -> bool:
        """End a mute now; False if there is none that is under way or to come."""
        ...

    def mutes(self, now_ms: int) -> list[Mute]:
        """Return the mutes that are under way or to come."""
        ...

    def add_samples(self, samples: Mapping[str, Decimal], at_ms: int) -> None:
        """Store what Tallystream measured of itself: SystemMetric → value."""
        ...

    def samples(self, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, Decimal]]:
        """Return (time, value) in [from_ms, to_ms), ascending. Kept for eight days."""
        ...

    # The outbox.

    def open_session(self, now_ms: int) -> int:
        """
        Return a new number to lease with. From now on earlier sessions are leased nothing: whoever had them is gone.

        By number, not by time: a clock that is set makes nobody believe that a lease has ended.
        """
        ...

    def lease(self, session: int, channels: Mapping[str, ChannelTiming], now_ms: int, limit: int) -> list[Message]:
        """
        Return messages of these channels that are due, those first that were made first; at most `limit`.

        A session sends one channel's messages one after another and marks each, so a message that it has not marked is
        handed to it again: what became of it is not known. Returns [] for a session that is not the newest.
        Waiting notifications of a channel are put together into a message here, once and for all: those of at least
        group_wait_ms, or from a time that is yet to come, and with them all that wait, oldest first. A time to try again that
        lies further ahead than RETRY_PAUSE_MS_MAX is due: the clock was set. When a message is put together, those of the same
        alarms that failed before become due, and go first, so that nobody hears of an ALARM after its OK.
        Cost: a read when nothing is due.
        """
        ...

    def mark_sent(self, session: int, message_id: str, now_ms: int) -> None:
        """
        Note that a message was delivered; an Action in the history of its alarms. Idempotent.

        A fact, so an earlier session may still note it.
        """
        ...

    def mark_failed(self, session: int, message_id: str, error: str, retry_ms: int | None, now_ms: int) -> None:
        """
        Note that a message was not delivered, and when it is tried again; None: never, which the history says.

        Does nothing for a session that is not the newest, or a message that was delivered or given up.
        """
        ...

    def undelivered(self, now_ms: int, limit: int = 50) -> list[Undelivered]:
        """Return messages with a failed attempt: those still tried, and those given up within 24 hours, newest first."""
        ...

    def version(self) -> int:
        """Return a number that grows with every change that a dashboard shows: states, acknowledgements, mutes."""
        ...

    def expire(self, now_ms: int) -> int:
        """
        Delete history and messages older than 90 days, and samples older than eight; return how many rows went.

        What waits to be delivered stays, whatever the clock says.
        """
        ...
