"""The JSON of the alarm endpoints as types: answers, and the bodies that change something."""

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tallystream.core.alarm import State
from tallystream.web.answer_types import TimeMs

Number = Annotated[Decimal, Meta(description="Exact.")]
Group = Annotated[dict[str, Any], Meta(description="Field → value, in the order of the counter's group_by.")]
Point = tuple[TimeMs, Number]
Step = tuple[TimeMs, Number | None]
"""A value that holds from a time on until the next; null: none."""

ShortText = Annotated[str, Meta(max_length=200)]
LongText = Annotated[str, Meta(max_length=2_000)]


class NotifyAnswer(msgspec.Struct):
    """Names of the channels that are told of each state."""

    alarm: list[str]
    ok: list[str]
    insufficient_data: list[str]


class AcknowledgementAnswer(msgspec.Struct):
    """Somebody takes care of the present ALARM."""

    at: TimeMs
    by: str
    note: str


class AlarmStateAnswer(msgspec.Struct):
    """Where an alarm, or one of its groups, stands."""

    group: Group | None
    key: Annotated[str, Meta(description='Names the group in other requests; "" where the alarm has one state.')]
    state: State
    since: TimeMs
    acknowledged: AcknowledgementAnswer | None


class MutedAnswer(msgspec.Struct):
    """Why an alarm tells nobody at present. Of several mutes, the one that lasts longest."""

    until: TimeMs
    note: str
    by: str
    schedule: Annotated[str | None, Meta(description="Name of the [[mute]] in the definition.")]
    id: Annotated[int | None, Meta(description="Of the mute that somebody set.")]


class AlarmAnswer(msgspec.Struct):
    """An alarm: what it watches, as in the definition, and where it stands. What its kind does not have is null."""

    name: str
    description: str
    kind: Literal["counter", "system", "composite"]
    counter: str | None
    system: str | None
    window: str | None
    measure: str | None
    group: Group | None
    each: Annotated[bool, Meta(description="Each group has a state of its own.")]
    groups: Annotated[int, Meta(description="States that are kept: of groups, with `each`.")]
    groups_left_out: Annotated[int, Meta(description="Groups over `groups_max`, which are not watched.")]
    condition: Annotated[str, Meta(description="In words: count < 5 for 2 of 3 windows of 1m.")]
    comparison: str | None
    threshold: Number | None
    clear_threshold: Number | None
    threshold_percent: Number | None
    clear_threshold_percent: Number | None
    baseline: str | None
    band: Number | None
    clear_band: Number | None
    weeks: int | None
    evaluation_periods: int | None
    datapoints_to_alarm: int | None
    treat_missing_data: str | None
    wait: str | None
    delay: str | None
    when: str | None
    notify: NotifyAnswer
    state: Annotated[State, Meta(description="With `each`: ALARM if any group is, INSUFFICIENT_DATA if all are, otherwise OK.")]
    since: Annotated[TimeMs | None, Meta(description="null: not evaluated yet.")]
    muted: MutedAnswer | None
    states: Annotated[list[AlarmStateAnswer], Meta(description="Those in ALARM first; at most 200.")]
    states_truncated: bool


class AlarmsAnswer(msgspec.Struct):
    """All alarms, in the order of the definition."""

    in_alarm: Annotated[int, Meta(description="How many alarms are in ALARM, muted ones too.")]
    alarms: list[AlarmAnswer]


class StateChangeAnswer(msgspec.Struct):
    """A change of state on a chart."""

    at: TimeMs
    old_state: State
    new_state: State


class ChartAnswer(msgspec.Struct, rename={"from_": "from"}):
    """What an alarm's chart shows. A composite alarm has no points."""

    alarm: str
    key: str
    window: str | None
    from_: TimeMs
    to: TimeMs
    points: list[Point]
    lower: Annotated[list[Step], Meta(description="Steps. A datapoint below breaches; empty: none can.")]
    upper: Annotated[list[Step], Meta(description="Steps. A datapoint above breaches; empty: none can.")]
    expected: Annotated[list[Step], Meta(description="Steps. Only with `band`.")]
    transitions: Annotated[list[StateChangeAnswer], Meta(description="Oldest first; the newest 1,000.")]


class DatapointAnswer(msgspec.Struct):
    """A datapoint that a change of state was decided on, and the bounds that applied, both inclusive."""

    at: TimeMs
    value: Number | None
    breaching: bool
    filled: Annotated[bool, Meta(description="There was none: it is what treat_missing_data takes it for.")]
    lower: Number | None
    upper: Number | None


class HistoryItemAnswer(msgspec.Struct):
    """Something that happened to an alarm. The last four are of a StateUpdate."""

    id: int
    alarm: str
    group: Group | None
    key: str
    at: TimeMs
    kind: Literal["ConfigurationUpdate", "StateUpdate", "Action", "Acknowledgement", "Mute"]
    summary: str
    old_state: State | None
    new_state: State | None
    reason: str | None
    datapoints: list[DatapointAnswer]


class HistoryAnswer(msgspec.Struct):
    """A page of what happened, newest first."""

    next: Annotated[int | None, Meta(description="`before` of the next page.")]
    items: list[HistoryItemAnswer]


class EpisodeAnswer(msgspec.Struct, rename={"from_": "from"}):
    """One time in ALARM."""

    from_: TimeMs
    to: Annotated[TimeMs | None, Meta(description="null: still in ALARM at the end.")]
    reason: str
    group: Group | None
    key: str


class BacktestAnswer(msgspec.Struct, rename={"from_": "from"}):
    """When an alarm would have fired over stored history."""

    from_: TimeMs
    to: TimeMs
    windows: int
    groups: int
    fired: Annotated[int, Meta(description="How often it would have gone to ALARM.")]
    alarm_ms: Annotated[int, Meta(description="How long it would have been in ALARM, over all groups.")]
    longest_ms: int
    flaps: Annotated[int, Meta(description="How often it would have left ALARM and come back soon.")]
    per_day: float
    episodes: Annotated[list[EpisodeAnswer], Meta(description="Newest first; at most 500.")]
    episodes_left_out: int


class MuteAnswer(msgspec.Struct, rename={"from_": "from"}):
    """A mute that somebody set."""

    id: int
    alarms: Annotated[list[str], Meta(description="Empty: all.")]
    from_: TimeMs
    until: TimeMs
    by: str
    note: str


class MuteScheduleAnswer(msgspec.Struct):
    """A [[mute]] of the definition."""

    name: str
    alarms: Annotated[list[str], Meta(description="Empty: all.")]
    note: str
    active: bool
    text: Annotated[str, Meta(description="In words: sat, sun, 22:00 to 06:00 Europe/Berlin.")]


class MutesAnswer(msgspec.Struct):
    """Mutes that are under way or to come, and the schedules."""

    mutes: list[MuteAnswer]
    schedules: list[MuteScheduleAnswer]


class ChannelAnswer(msgspec.Struct):
    """A [[notify]] of the definition."""

    name: str
    type: str
    waiting: Annotated[int, Meta(description="Messages that failed and will be tried again.")]


class UndeliveredAnswer(msgspec.Struct):
    """A message that was not delivered."""

    id: str
    channel: str
    created: TimeMs
    attempts: int
    error: str
    given_up: bool


class NotificationsAnswer(msgspec.Struct):
    """How notifications fare."""

    channels: list[ChannelAnswer]
    undelivered: Annotated[list[UndeliveredAnswer], Meta(description="Newest first; given up ones for a day. At most 50.")]


# Bodies of requests.

Moment = Annotated[int | str, Meta(description="As the time parameters: -7d, now, ISO 8601, or epoch milliseconds.")]


class BacktestRequest(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """What to test an alarm on."""

    from_: Moment = "-7d"
    to: Moment = "now"
    key: Annotated[str | None, Meta(description="Only this group.")] = None
    changes: Annotated[dict[str, Any], Meta(description="Keys of [[alarm]] with other values; null: left out.")] = {}


class AcknowledgeRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Who takes care of an ALARM."""

    key: str = ""
    by: ShortText = ""
    note: LongText = ""


class MuteRequest(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from", "for_": "for"}):
    """What is to be muted, and for how long: until or for."""

    alarms: Annotated[list[str], Meta(description="Empty: all.")]
    from_: Moment = "now"
    until: Moment | None = None
    for_: Annotated[str | None, Meta(description="A duration, such as 2h.")] = None
    by: ShortText = ""
    note: LongText = ""
