"""The JSON answers as types: what handlers fill in, and what the OpenAPI document is made from."""

from typing import Annotated, Any, Literal

import msgspec

from tallystream.core.counting import Ledger

TimeMs = Annotated[int, msgspec.Meta(description="UTC milliseconds since the Unix epoch.")]


class ErrorAnswer(msgspec.Struct):
    """Of every endpoint, whenever something is wrong."""

    error: Annotated[str, msgspec.Meta(description="A stable code.")]
    message: Annotated[str, msgspec.Meta(description="What was wrong, what was found, what is allowed, how to mend it.")]


class RefusedEvent(msgspec.Struct):
    """An event that was not accepted. It is kept with the rejected events."""

    index: Annotated[int, msgspec.Meta(description="Of the event in the request, from 0.", ge=0)]
    reason: str
    message: str


class EventsAnswer(msgspec.Struct, omit_defaults=True):
    """What became of a request's events. All of them are on disk."""

    accepted: int
    rejected: list[RefusedEvent]
    rejected_unlisted: Annotated[int, msgspec.Meta(description="Refused events past the first 10,000.")] = 0


class SegmentAnswer(msgspec.Struct, omit_defaults=True):
    """What Segment's libraries look for, and the refused events if there are any."""

    success: bool
    accepted: int | msgspec.UnsetType = msgspec.UNSET
    rejected: list[RefusedEvent] | msgspec.UnsetType = msgspec.UNSET


class SourceAnswer(msgspec.Struct):
    """How far a source has been read."""

    source: str
    position: Annotated[int, msgspec.Meta(description="Bytes; 0 when the source is unknown.")]
    mark: Annotated[str, msgspec.Meta(description="The Tally-Source-Mark that came with the position.")]


class StreamAnswer(msgspec.Struct):
    """The stream of the definition."""

    event_time: str
    shards: int
    retention: str


class CounterAnswer(msgspec.Struct):
    """A counter of the definition, and since when its present generation counts."""

    name: str
    where: str | None
    group_by: list[str]
    windows: list[str]
    measures: list[str]
    keep: str | None
    generation: Annotated[int | str, msgspec.Meta(description="1, 2, …; on AWS a name, for none knows those before.")]
    since: Annotated[TimeMs | None, msgspec.Meta(description="null: nothing was counted yet.")]


class AwsAnswer(msgspec.Struct):
    """The stack that counts."""

    stack: str
    region: str
    stream: Annotated[str, msgspec.Meta(description="The Kinesis stream that takes events.")]
    console: Annotated[str, msgspec.Meta(description="The address of AWS's console there.")]


class CloudAlarmAnswer(msgspec.Struct):
    """An alarm of the stack, as CloudWatch has it."""

    name: str
    state: str
    since: Annotated[TimeMs, msgspec.Meta(description="Of the state.")]
    reason: Annotated[str, msgspec.Meta(description="Why it is in this state, in CloudWatch's words.")]


class CloudAlarmsAnswer(msgspec.Struct):
    """The stack's alarms."""

    alarms: Annotated[list[CloudAlarmAnswer] | None, msgspec.Meta(description="null: this server may not ask CloudWatch.")]


class DefinitionAnswer(msgspec.Struct):
    """What is counted."""

    name: str
    stream: StreamAnswer
    counters: list[CounterAnswer]
    aws: Annotated[AwsAnswer | None, msgspec.Meta(description="null: counted by this server itself.")] = None


class LedgerAnswer(msgspec.Struct):
    """How events ended: received is the sum of the others."""

    received: int
    counted: int
    unmatched: int
    late: int
    rejected: int
    duplicate: int

    @classmethod
    def of(cls, ledger: Ledger) -> "LedgerAnswer":
        return cls(*ledger)


class ShardAnswer(msgspec.Struct):
    """How far one shard is counted."""

    shard: int
    next_sequence: Annotated[int | None, msgspec.Meta(description="Of the next event to arrive; null on AWS.")]
    counted_sequence: Annotated[int, msgspec.Meta(description="How many events of it are counted.")]
    lag_events: Annotated[int | None, msgspec.Meta(description="How many wait; null: nobody knows how many.")]
    lag_ms: Annotated[
        int | None, msgspec.Meta(description="Age of the oldest event that is not counted yet; 0 when all are; null: unknown.")
    ]
    clock_behind_ms: Annotated[int, msgspec.Meta(description="How far the clock is behind the newest arrival; mostly 0.")]


class DiskAnswer(msgspec.Struct):
    """Bytes on disk."""

    stream_bytes: int
    counters_bytes: int
    free_bytes: int


Minute = tuple[TimeMs, int, int, int, int, int, int]
"""Start of the minute, then the outcomes in the ledger's order."""


class HealthAnswer(msgspec.Struct):
    """How the server fares."""

    version: str
    name: str
    now: TimeMs
    started: TimeMs
    ledger: LedgerAnswer
    shards: list[ShardAnswer]
    disk: Annotated[DiskAnswer | None, msgspec.Meta(description="null on AWS.")]
    throughput: Annotated[list[Minute] | None, msgspec.Meta(description="Of the last hour; null on AWS.")]
    backlog_events_max: Annotated[int | None, msgspec.Meta(description="null on AWS.")]
    warnings: Annotated[list[str], msgspec.Meta(description="What a person should look at, in words.")]


Number = Annotated[int | str, msgspec.Meta(description="A whole number; as text where it is above 2^53 - 1.")]


class RejectedEventAnswer(msgspec.Struct):
    """An event that was refused, with its bytes."""

    id: Number
    shard: int
    sequence: Number
    arrival: TimeMs
    reason: str
    message: str
    data: str
    encoding: Literal["utf-8", "base64"]


class RejectedAnswer(msgspec.Struct):
    """A page of rejected events, newest first."""

    total: int
    reasons: dict[str, int]
    next: Annotated[int | str | None, msgspec.Meta(description="`before` of the next page.")]
    events: list[RejectedEventAnswer]
    newest: Annotated[int | None, msgspec.Meta(description="`total` and `reasons` are of so many; null: of all.")] = None


class RetryAnswer(msgspec.Struct):
    """What became of rejected events that were judged again."""

    retried: int
    counted: int
    unmatched: int
    late: int
    duplicate: int
    rejected: int


class Series(msgspec.Struct):
    """One group's points. Numbers are exact."""

    group: dict[str, Any]
    total: float | None
    points: list[tuple[TimeMs, float | None]]
    other: bool | msgspec.UnsetType = msgspec.UNSET
    previous: list[tuple[TimeMs, float | None]] | msgspec.UnsetType = msgspec.UNSET
    previous_total: float | msgspec.UnsetType | None = msgspec.UNSET


class QueryAnswer(msgspec.Struct, rename={"from_": "from"}):
    """Series, the largest total first."""

    counter: str
    window: str
    measure: str
    from_: TimeMs
    to: TimeMs
    series: list[Series]
    groups: Annotated[int, msgspec.Meta(description="How many groups matched.")]
    truncated: bool


class GroupsAnswer(msgspec.Struct):
    """Values that a field of `group_by` has."""

    counter: str
    field: str
    values: list[str | int | float | bool | None]


class ChangedWindows(msgspec.Struct, rename={"from_": "from"}):
    """Window starts that were touched, [from, to)."""

    counter: str
    window: str
    from_: TimeMs
    to: TimeMs


class AlarmsVersion(msgspec.Struct):
    """Grows with every change of a state, an acknowledgement or a mute."""

    version: int
    in_alarm: Annotated[int, msgspec.Meta(description="How many alarms are in ALARM.")]


class ChangeMessage(msgspec.Struct):
    """The data of one server-sent event."""

    version: int
    now: TimeMs
    changed: list[ChangedWindows]
    ledger: LedgerAnswer
    alarms: AlarmsVersion
    poll_ms: Annotated[int | None, msgspec.Meta(description="The stream ends here; come back after so long.")] = None
