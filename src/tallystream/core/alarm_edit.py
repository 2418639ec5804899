"""An alarm with other values of some of its keys, to be tried out before anybody writes them into tally.toml."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from tallystream.core.alarm import Alarm, CompositeAlarm, Condition, CounterSource, FixedThreshold, RelativeThreshold
from tallystream.core.alarm_definition import read_alarms
from tallystream.core.alarm_relations import check_alarm_relations
from tallystream.core.definition import Counter, Definition
from tallystream.core.errors import DefinitionError, Problem
from tallystream.core.group import GroupValue
from tallystream.core.reading import read_tables, show
from tallystream.core.window import format_duration


def edit_alarm(definition: Definition, name: str, changes: Mapping[str, Any]) -> Alarm:
    """
    Return an alarm of a definition as it would be with other values. Whom it tells stays as it is.

    Args:
        definition: that has the alarm.
        name: of the alarm.
        changes: keys of [[alarm]] → values as TOML has them, numbers with a point as Decimal; None takes a key away.

    Raises:
        DefinitionError: with every mistake that the alarm would have.
        KeyError: there is no alarm of this name.
    """
    present = {alarm.name: alarm for alarm in definition.alarms}
    alarm = present[name]
    if changes.get("name", name) != name:
        key = f"alarm {show(name)}.name"
        raise DefinitionError([Problem(key, show(changes["name"]), f"its name, {show(name)}", "leave it out")])
    tables = {each.name: alarm_table(each, definition) for each in definition.alarms}
    edited = {**tables[name], **changes, "notify": None}
    tables[name] = {key: value for key, value in edited.items() if value is not None}
    # The rest of the document is only what an alarm is checked against.
    document, problems = read_tables(
        {
            "name": definition.name,
            "stream": {"event_time": definition.stream.event_time},
            "counter": [_counter_table(counter) for counter in definition.counters],
            "alarm": list(tables.values()),
        }
    )
    problems += check_alarm_relations(document)
    if problems:
        raise DefinitionError(problems)
    found = next(each for each in read_alarms(document) if each.name == name)
    return replace(found, actions=alarm.actions)


def alarm_table(alarm: Alarm, definition: Definition) -> dict[str, Any]:
    """Return an alarm as its table in tally.toml, without `notify`; keys with their usual values are left out."""
    table: dict[str, Any] = {"name": alarm.name, "description": alarm.description}
    if isinstance(alarm, CompositeAlarm):
        return table | {"when": alarm.when}
    source = alarm.source
    if isinstance(source, CounterSource):
        table |= {"counter": source.counter, "measure": source.measure}
        if source.group is None:
            table |= {"group_by": "each", "groups_max": source.groups_max}
        elif source.group:
            fields = definition.counter(source.counter).group_by
            table["group"] = dict(zip(fields, map(_as_toml, source.group), strict=True))
    else:
        table["system"] = source.metric
    table |= {
        "window": format_duration(source.window_ms),
        **_condition_table(alarm.condition),
        "evaluation_periods": alarm.evaluation_periods,
        "treat_missing_data": alarm.treat_missing_data,
        "wait": alarm.wait,
    }
    if alarm.datapoints_to_alarm != alarm.evaluation_periods:
        table["datapoints_to_alarm"] = alarm.datapoints_to_alarm
    if alarm.delay_ms:
        table["delay"] = format_duration(alarm.delay_ms)
    return table


def _condition_table(condition: Condition) -> dict[str, Any]:
    table: dict[str, Any] = {"comparison": condition.comparison}
    match condition:
        case FixedThreshold():
            return table | _bounds("threshold", condition.value, condition.clear)
        case RelativeThreshold():
            table["baseline"] = format_duration(condition.baseline_ms)
            return table | _bounds("threshold_percent", condition.percent, condition.clear_percent)
        case _:
            table["weeks"] = condition.weeks
            return table | _bounds("band", condition.deviations, condition.clear_deviations)


def _bounds(name: str, bound: Decimal, clear: Decimal) -> dict[str, Decimal]:
    """Return a bound, and that by which it clears where it has one of its own."""
    return {name: bound} if clear == bound else {name: bound, f"clear_{name}": clear}


def _counter_table(counter: Counter) -> dict[str, Any]:
    return {
        "name": counter.name,
        "group_by": list(counter.group_by),
        "windows": [format_duration(window_ms) for window_ms in counter.windows_ms],
        "measures": [measure.name for measure in counter.measures],
    }


def _as_toml(value: GroupValue) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value
