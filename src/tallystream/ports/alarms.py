"""The alarm store: where alarms stand, what happened to them, and who is still to be told."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Protocol

from tallystream.core.alarm import State, Transition


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
