"""What is told of alarms, mutes and notifications: the same over HTTP and from `tally alarms --data`."""

import heapq
from collections.abc import Iterable, Mapping
from typing import Final

from tallystream.core.alarm import (
    NEW,
    Alarm,
    Band,
    CompositeAlarm,
    CounterSource,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    State,
)
from tallystream.core.alarm_text import condition_text
from tallystream.core.counting import group_values
from tallystream.core.definition import Definition
from tallystream.core.group import GroupValue
from tallystream.core.mute import is_muted, muted_until
from tallystream.core.window import format_duration
from tallystream.ports.alarms import AlarmKey, AlarmStatus, AlarmStore, HistoryItem, Mute
from tallystream.ports.counters import CounterReader
from tallystream.web.alarm_types import (
    AcknowledgementAnswer,
    AlarmAnswer,
    AlarmsAnswer,
    AlarmStateAnswer,
    ChannelAnswer,
    DatapointAnswer,
    HistoryAnswer,
    HistoryItemAnswer,
    MuteAnswer,
    MutedAnswer,
    MutesAnswer,
    MuteScheduleAnswer,
    NotificationsAnswer,
    NotifyAnswer,
    UndeliveredAnswer,
)
from tallystream.web.errors import RequestRefusedError

STATES_MAX: Final = 200
"""Of one alarm, in a list of alarms."""

_UNDELIVERED_SHOWN: Final = 50
_UNDELIVERED_COUNTED: Final = 1_000

Statuses = Mapping[str, Mapping[str, AlarmStatus]]  # alarm → group key → where it stands


def find_alarm(definition: Definition, name: str) -> Alarm:
    """
    Return the alarm of a name.

    Raises:
        RequestRefusedError: 404; there is none.
    """
    for alarm in definition.alarms:
        if alarm.name == name:
            return alarm
    names = ", ".join(alarm.name for alarm in definition.alarms)[:2_000] or "none; add an [[alarm]] to the definition"
    raise RequestRefusedError(404, "unknown_alarm", f"there is no alarm {name[:100]!r}; there are {names}")


def count_in_alarm(statuses: Mapping[AlarmKey, AlarmStatus]) -> int:
    """Return how many alarms are in ALARM, one of whose groups is included."""
    return len({key.alarm for key, status in statuses.items() if status.state == "ALARM"})


def describe_alarms(definition: Definition, store: CounterReader, alarms: AlarmStore, now_ms: int) -> AlarmsAnswer:
    """Return all alarms of a definition, and where they stand."""
    described = _describe(definition.alarms, definition, store, alarms, now_ms)
    return AlarmsAnswer(sum(alarm.state == "ALARM" for alarm in described), described)


def describe_alarm(name: str, definition: Definition, store: CounterReader, alarms: AlarmStore, now_ms: int) -> AlarmAnswer:
    """
    Return one alarm of a definition, and where it stands.

    Raises:
        RequestRefusedError: 404; there is none of this name.
    """
    return _describe([find_alarm(definition, name)], definition, store, alarms, now_ms)[0]


def _describe(
    wanted: Iterable[Alarm], definition: Definition, store: CounterReader, alarms: AlarmStore, now_ms: int
) -> list[AlarmAnswer]:
    statuses: dict[str, dict[str, AlarmStatus]] = {}
    for key, status in alarms.statuses().items():
        statuses.setdefault(key.alarm, {})[key.group] = status
    mutes = alarms.mutes(now_ms)
    counted: dict[str, int] = {}  # of counters, how many groups
    described = []
    for alarm in wanted:
        answer = _describe_one(alarm, definition, statuses.get(alarm.name, {}))
        answer.muted = _describe_muted(alarm.name, definition, mutes, now_ms)
        if isinstance(alarm, MetricAlarm) and isinstance(alarm.source, CounterSource) and answer.each:
            counter = alarm.source.counter
            if counter not in counted:
                counted[counter] = len(store.series(counter))
            answer.groups_left_out = max(0, counted[counter] - alarm.source.groups_max)
        described.append(answer)
    return described


def _describe_one(alarm: Alarm, definition: Definition, statuses: Mapping[str, AlarmStatus]) -> AlarmAnswer:
    state, since_ms = _overall(statuses)
    # Only as many as are shown are put in order: an alarm may have 10,000 groups.
    first = heapq.nsmallest(STATES_MAX, statuses.items(), key=lambda item: (_URGENCY[item[1].state], item[1].since_ms, item[0]))
    actions = alarm.actions
    answer = AlarmAnswer(
        name=alarm.name,
        description=alarm.description,
        kind="composite",
        counter=None,
        system=None,
        window=None,
        measure=None,
        group=None,
        each=False,
        groups=len(statuses),
        groups_left_out=0,
        condition=condition_text(alarm),
        comparison=None,
        threshold=None,
        clear_threshold=None,
        threshold_percent=None,
        clear_threshold_percent=None,
        baseline=None,
        band=None,
        clear_band=None,
        weeks=None,
        evaluation_periods=None,
        datapoints_to_alarm=None,
        treat_missing_data=None,
        wait=None,
        delay=None,
        when=None,
        notify=NotifyAnswer(list(actions.alarm), list(actions.ok), list(actions.insufficient_data)),
        state=state,
        since=since_ms,
        muted=None,
        states=[_describe_state(alarm, definition, key, status) for key, status in first],
        states_truncated=len(statuses) > STATES_MAX,
    )
    if isinstance(alarm, CompositeAlarm):
        answer.when = alarm.when
    else:
        _add_source(answer, alarm, definition)
        _add_condition(answer, alarm)
    return answer


def _add_source(answer: AlarmAnswer, alarm: MetricAlarm, definition: Definition) -> None:
    source = alarm.source
    answer.window = format_duration(source.window_ms)
    if isinstance(source, CounterSource):
        answer.kind = "counter"
        answer.counter, answer.measure = source.counter, source.measure
        answer.each = source.group is None
        answer.group = describe_group(alarm, definition, "")
    else:
        answer.kind = "system"
        answer.system = source.metric


def _add_condition(answer: AlarmAnswer, alarm: MetricAlarm) -> None:
    answer.evaluation_periods = alarm.evaluation_periods
    answer.datapoints_to_alarm = alarm.datapoints_to_alarm
    answer.treat_missing_data = alarm.treat_missing_data
    answer.wait = alarm.wait
    answer.delay = format_duration(alarm.delay_ms) if alarm.delay_ms else None
    condition = alarm.condition
    answer.comparison = condition.comparison
    match condition:
        case FixedThreshold():
            answer.threshold = condition.value
            answer.clear_threshold = condition.clear if condition.clear != condition.value else None
        case RelativeThreshold():
            answer.threshold_percent = condition.percent
            answer.clear_threshold_percent = condition.clear_percent if condition.clear_percent != condition.percent else None
            answer.baseline = format_duration(condition.baseline_ms)
        case Band():
            answer.band = condition.deviations
            answer.clear_band = condition.clear_deviations if condition.clear_deviations != condition.deviations else None
            answer.weeks = condition.weeks


_URGENCY: Final[Mapping[State, int]] = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}


def _overall(statuses: Mapping[str, AlarmStatus]) -> tuple[State, int | None]:
    """Return the state of an alarm with these states, and since when: the longest in ALARM, otherwise the last change."""
    alarming = [status.since_ms for status in statuses.values() if status.state == "ALARM"]
    if alarming:
        return "ALARM", min(alarming)
    state: State = "OK" if any(status.state == "OK" for status in statuses.values()) else NEW
    return state, max((status.since_ms for status in statuses.values()), default=None)


def _describe_state(alarm: Alarm, definition: Definition, key: str, status: AlarmStatus) -> AlarmStateAnswer:
    acknowledged = status.acknowledgement
    return AlarmStateAnswer(
        describe_group(alarm, definition, key),
        key,
        status.state,
        status.since_ms,
        AcknowledgementAnswer(acknowledged.at_ms, acknowledged.by, acknowledged.note) if acknowledged else None,
    )


def describe_group(alarm: Alarm | None, definition: Definition, key: str) -> dict[str, GroupValue] | None:
    """Return the group that an alarm watches, or that a key names; None where there is none, or the alarm is another now."""
    if not isinstance(alarm, MetricAlarm) or not isinstance(alarm.source, CounterSource):
        return None
    values = group_values(key) if key else alarm.source.group
    group_by = definition.counter(alarm.source.counter).group_by
    return dict(zip(group_by, values, strict=True)) if values and len(values) == len(group_by) else None


def _describe_muted(name: str, definition: Definition, mutes: Iterable[Mute], now_ms: int) -> MutedAnswer | None:
    under_way = [mute for mute in mutes if mute.from_ms <= now_ms < mute.until_ms and name in (mute.alarms or (name,))]
    found = [MutedAnswer(mute.until_ms, mute.note, mute.by, None, mute.id) for mute in under_way]
    found += [
        MutedAnswer(until_ms, schedule.note, "", schedule.name, None)
        for schedule in definition.mutes
        if schedule.covers(name) and (until_ms := muted_until(schedule, now_ms)) is not None
    ]
    return max(found, key=lambda muted: muted.until, default=None)


def describe_history(
    definition: Definition, alarms: AlarmStore, alarm: str | None, before: int | None, limit: int
) -> HistoryAnswer:
    """Return a page of what happened to one alarm or to all, newest first; also of alarms that are no longer defined."""
    items = alarms.history(alarm, before, limit + 1)
    present = {each.name: each for each in definition.alarms}
    described = [_describe_item(item, present.get(item.key.alarm), definition) for item in items[:limit]]
    return HistoryAnswer(described[-1].id if len(items) > limit else None, described)


def _describe_item(item: HistoryItem, alarm: Alarm | None, definition: Definition) -> HistoryItemAnswer:
    transition = item.transition
    return HistoryItemAnswer(
        id=item.id,
        alarm=item.key.alarm,
        group=describe_group(alarm, definition, item.key.group),
        key=item.key.group,
        at=item.at_ms,
        kind=item.kind,
        summary=item.summary,
        old_state=transition.old_state if transition else None,
        new_state=transition.new_state if transition else None,
        reason=transition.reason if transition else None,
        datapoints=[DatapointAnswer(*datapoint) for datapoint in transition.datapoints] if transition else [],
    )


def describe_mutes(definition: Definition, alarms: AlarmStore, now_ms: int) -> MutesAnswer:
    """Return the mutes that are under way or to come, and the schedules."""
    schedules = [
        MuteScheduleAnswer(schedule.name, list(schedule.alarms), schedule.note, is_muted(schedule, now_ms), schedule.text)
        for schedule in definition.mutes
    ]
    return MutesAnswer([describe_mute(mute) for mute in alarms.mutes(now_ms)], schedules)


def describe_mute(mute: Mute) -> MuteAnswer:
    """Return a mute that somebody set."""
    return MuteAnswer(mute.id, list(mute.alarms), mute.from_ms, mute.until_ms, mute.by, mute.note)


def describe_notifications(definition: Definition, alarms: AlarmStore, now_ms: int) -> NotificationsAnswer:
    """Return how the channels fare, without a word of where they lead."""
    undelivered = alarms.undelivered(now_ms, _UNDELIVERED_COUNTED)
    waiting = [message.channel for message in undelivered if not message.given_up]
    return NotificationsAnswer(
        [
            ChannelAnswer(channel.name, str(channel.__struct_config__.tag), waiting.count(channel.name))
            for channel in definition.channels
        ],
        [
            UndeliveredAnswer(each.id, each.channel, each.created_ms, each.attempts, each.error, each.given_up)
            for each in undelivered[:_UNDELIVERED_SHOWN]
        ],
    )
