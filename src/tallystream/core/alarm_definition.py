"""Alarms, channels and mutes as tally.toml defines them: from its tables, free of mistakes, to what the rest works with."""

from decimal import Decimal
from typing import Any, Final

from tallystream.core.alarm import (
    Actions,
    Alarm,
    Band,
    CompositeAlarm,
    Condition,
    CounterSource,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    Source,
    SystemSource,
)
from tallystream.core.channel import Channel, CommandChannel, EmailChannel, SlackChannel, WebhookChannel
from tallystream.core.mute import WEEKDAYS, MuteSchedule
from tallystream.core.reading import Table
from tallystream.core.window import UNITS_MS

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}

_SYSTEM_WINDOW_MS: Final = UNITS_MS["m"]
GROUPS_MAX_DEFAULT: Final = 100
_WEEKS: Final = 4


def read_alarms(document: Table) -> tuple[Alarm, ...]:
    """Return the alarms of a whole document, in its order."""
    fields = {counter.values["name"]: counter.values["group_by"] for counter in document.values["counter"]}
    return tuple(_alarm(table.values, fields) for table in document.values["alarm"])


def read_channel(table: Table) -> Channel:
    """Return the channel of a [[notify]] table."""
    values = table.values
    name, group_wait_ms = values["name"], values["group_wait"]
    match values["type"]:
        case "email":
            return EmailChannel(
                name=name,
                group_wait_ms=group_wait_ms,
                to=tuple(values["to"]),
                sender=values["from"],
                host=values["host"],
                port=values["port"] or PORTS[values["tls"]],
                tls=values["tls"],
                username=values["username"],
                password_env=values["password_env"],
            )
        case "webhook":
            return WebhookChannel(
                name=name,
                group_wait_ms=group_wait_ms,
                url=values["url"],
                url_env=values["url_env"],
                secret_env=values["secret_env"],
                allow_private=values["allow_private"],
            )
        case "slack":
            return SlackChannel(
                name=name,
                group_wait_ms=group_wait_ms,
                url=values["url"],
                url_env=values["url_env"],
                allow_private=values["allow_private"],
            )
        case _:
            return CommandChannel(name=name, group_wait_ms=group_wait_ms, command=tuple(values["command"]))


def read_mute(table: Table) -> MuteSchedule:
    """Return the schedule of a [[mute]] table."""
    values = table.values
    days = values["days"] or WEEKDAYS
    return MuteSchedule(
        name=values["name"],
        alarms=tuple(values["alarms"] or ()),
        days=tuple(day for day in WEEKDAYS if day in days),
        from_minute=values["from"] or 0,
        to_minute=values["to"] or 0,
        timezone=values["timezone"],
        note=values["note"],
    )


def _alarm(values: dict[str, Any], fields: dict[str, list[str]]) -> Alarm:
    name, description, actions = values["name"], values["description"], _actions(values["notify"])
    if values["when"] is not None:
        return CompositeAlarm(name=name, description=description, when=values["when"].text.strip(), actions=actions)
    periods = values["evaluation_periods"] or 1
    return MetricAlarm(
        name=name,
        description=description,
        source=_source(values, fields),
        condition=_condition(values),
        evaluation_periods=periods,
        datapoints_to_alarm=values["datapoints_to_alarm"] or periods,
        treat_missing_data=values["treat_missing_data"] or "missing",
        wait=values["wait"] or "early",
        delay_ms=values["delay"] or 0,
        actions=actions,
    )


def _source(values: dict[str, Any], fields: dict[str, list[str]]) -> Source:
    if values["system"] is not None:
        return SystemSource(metric=values["system"], window_ms=values["window"] or _SYSTEM_WINDOW_MS)
    group = values["group"] or {}
    return CounterSource(
        counter=values["counter"],
        window_ms=values["window"],
        measure=write_measure(values["measure"]),
        group=None if values["group_by"] else tuple(group[field] for field in fields[values["counter"]]),
        groups_max=values["groups_max"] or GROUPS_MAX_DEFAULT,
    )


def write_measure(measure: tuple[str, str | None] | None) -> str:
    """Return a measure as it is written: `sum(amount)`; None is what an alarm watches by default, `count`."""
    function, field = measure or ("count", None)
    return function if field is None else f"{function}({field})"


def _condition(values: dict[str, Any]) -> Condition:
    comparison = values["comparison"]
    if values["band"] is not None:
        clear = _or(values["clear_band"], values["band"])
        return Band(comparison=comparison, deviations=values["band"], clear_deviations=clear, weeks=values["weeks"] or _WEEKS)
    if values["threshold_percent"] is not None:
        percent = values["threshold_percent"]
        clear = _or(values["clear_threshold_percent"], percent)
        return RelativeThreshold(comparison=comparison, percent=percent, clear_percent=clear, baseline_ms=values["baseline"])
    threshold = values["threshold"]
    return FixedThreshold(comparison=comparison, value=threshold, clear=_or(values["clear_threshold"], threshold))


def _or(number: Decimal | None, default: Decimal) -> Decimal:
    return default if number is None else number


def _actions(notify: list[str] | Table | None) -> Actions:
    if isinstance(notify, Table):
        return Actions(**{state: tuple(channels) for state, channels in notify.values.items()})
    return Actions(alarm=tuple(notify or ()), ok=tuple(notify or ()))
