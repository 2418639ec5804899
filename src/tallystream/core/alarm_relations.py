"""What alarms, channels and mutes say about each other and about the counters: relations between values of tally.toml."""

import difflib
from collections.abc import Iterator
from typing import Any, Final

from tallystream.core.alarm_definition import GROUPS_MAX_DEFAULT, write_measure
from tallystream.core.baseline import VALUES_MIN, values_of_a_week
from tallystream.core.composite import find_cycle
from tallystream.core.errors import Problem
from tallystream.core.reading import Table, join_key, show
from tallystream.core.relation import Names, check_distinct, check_names, items, tables
from tallystream.core.window import UNITS_MS, format_duration

DAY_MS: Final = UNITS_MS["d"]
WEEK_MS: Final = 7 * DAY_MS

DATAPOINTS_MAX: Final = 250_000
"""Of all the groups of an alarm, over its periods and delay: they are held in memory, so that each is read once."""

_SHARED: Final = ("name", "description", "notify")
_METRIC: Final = (
    *("window", "comparison", "threshold", "clear_threshold"),
    *("evaluation_periods", "datapoints_to_alarm", "treat_missing_data", "wait", "delay"),
)
_LEARNT: Final = ("threshold_percent", "clear_threshold_percent", "baseline", "band", "clear_band", "weeks")
_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "counter": (*_SHARED, "counter", "measure", "group", "group_by", "groups_max", *_METRIC, *_LEARNT),
    "system": (*_SHARED, "system", *_METRIC),
    "when": (*_SHARED, "when"),
}
_COMPANIONS: Final = {
    "threshold": ("clear_threshold",),
    "threshold_percent": ("clear_threshold_percent", "baseline"),
    "band": ("clear_band", "weeks"),
}


def check_alarm_relations(document: Table) -> Iterator[Problem]:
    """Find what does not fit together in the alarms, channels and mutes of a document."""
    alarms, channels, mutes = (tables(document, name) for name in ("alarm", "notify", "mute"))
    counters = {counter.values["name"]: counter for counter in tables(document, "counter")}
    alarm_names, counter_names, channel_names = (Names(document, name) for name in ("alarm", "counter", "notify"))
    yield from check_names(alarms, "alarm")
    yield from check_names(channels, "channel")
    yield from check_names(mutes, "mute")
    for alarm in alarms:
        yield from _check_kind(alarm)
        if "when" in alarm.given:
            yield from _check_names_read(alarm, alarm_names)
        elif alarm.given.intersection(("counter", "system")):
            yield from _check_condition(alarm)
            yield from _check_periods(alarm)
        if alarm.values["counter"] is not None:
            yield from counter_names.check(alarm.at("counter"), alarm.values["counter"])
            if counter := counters.get(alarm.values["counter"]):
                yield from _check_counter(alarm, counter)
        yield from _check_notify(alarm, channel_names)
    yield from _check_cycles(alarms)
    for channel in channels:
        yield from _check_channel(channel)
    for mute in mutes:
        yield from _check_mute(mute, alarm_names)


# Alarms.


def _check_kind(alarm: Table) -> Iterator[Problem]:
    kinds = [kind for kind in _KINDS if kind in alarm.given]
    if len(kinds) != 1:
        remedy = "keep one of them, and use several alarms" if kinds else 'add for example counter = "events"'
        yield Problem(alarm.key, " and ".join(kinds) or "none of them", "exactly one of counter, system and when", remedy)
        return
    (kind,) = kinds
    for key in alarm.values:
        if key in alarm.given and key not in _KINDS[kind]:
            allowed = f"beside {kind}, the keys {', '.join(_KINDS[kind])}"
            yield Problem(alarm.at(key), f"{key} beside {kind}", allowed, "remove it")


def _check_condition(alarm: Table) -> Iterator[Problem]:
    if "comparison" not in alarm.given:
        yield Problem(alarm.at("comparison"), "nothing", '"<", "<=", ">" or ">="', 'add it; write for example "<"')
    known = ("threshold",) if "system" in alarm.given else tuple(_COMPANIONS)
    conditions = [key for key in known if key in alarm.given]
    if len(conditions) != 1:
        key, found = (alarm.key, " and ".join(conditions)) if conditions else (alarm.at("threshold"), "nothing")
        allowed = f"exactly one of {', '.join(known)}" if len(known) > 1 else "a number"
        yield Problem(key, found, allowed, "keep one of them" if conditions else "add it; write for example threshold = 5")
        return
    (condition,) = conditions
    for leader in known:
        for companion in _COMPANIONS[leader]:
            if companion in alarm.given and leader != condition:
                found, allowed = f"{companion} without {leader}", f"{companion} together with {leader} alone"
                yield Problem(alarm.at(companion), found, allowed, f"remove it, or write {leader} instead of {condition}")
    if condition == "threshold_percent" and "baseline" not in alarm.given:
        allowed = "how long ago the window is that is compared with: a duration"
        yield Problem(alarm.at("baseline"), "nothing", allowed, 'add it; write for example "7d"')
    yield from _check_comparison(alarm, condition)
    yield from _check_clear(alarm, condition)


def _check_comparison(alarm: Table, condition: str) -> Iterator[Problem]:
    comparison = alarm.values["comparison"]
    if condition == "band" and comparison in ("<=", ">="):
        yield Problem(
            alarm.at("comparison"), show(comparison), 'with a band, "<", ">" or "outside"', f'write "{comparison[0]}"'
        )
    if condition != "band" and comparison == "outside":
        allowed = f'with {condition}, "<", "<=", ">" or ">="'
        yield Problem(alarm.at("comparison"), '"outside"', allowed, "write one of them, or use band")


def _check_clear(alarm: Table, condition: str) -> Iterator[Problem]:
    clear_key = _COMPANIONS[condition][0]
    clear, bound, comparison = alarm.values[clear_key], alarm.values[condition], alarm.values["comparison"]
    if clear is None or bound is None or comparison is None:
        return
    if condition != "band" and comparison[0] == "<":
        if clear < bound:
            allowed = f"at least {condition}, {bound}: an alarm of {comparison} clears higher than it fires"
            yield Problem(alarm.at(clear_key), str(clear), allowed, "write a larger number")
    elif clear > bound:
        reason = (
            "a band that clears is narrower" if condition == "band" else f"an alarm of {comparison} clears lower than it fires"
        )
        yield Problem(alarm.at(clear_key), str(clear), f"at most {condition}, {bound}: {reason}", "write a smaller number")


def _check_periods(alarm: Table) -> Iterator[Problem]:
    values = alarm.values
    window_ms, periods, datapoints = values["window"], values["evaluation_periods"] or 1, values["datapoints_to_alarm"]
    if datapoints is not None and datapoints > periods:
        allowed = f"at most evaluation_periods, {periods}"
        remedy = "write a smaller number, or add more evaluation_periods"
        yield Problem(alarm.at("datapoints_to_alarm"), str(datapoints), allowed, remedy)
    if window_ms is None:
        if "window" not in alarm.given and "counter" in alarm.given:
            yield Problem(alarm.at("window"), "nothing", "one of the counter's windows", 'add it; write for example "1m"')
        return
    if window_ms not in (10_000, 20_000, 30_000) and window_ms % UNITS_MS["m"]:
        allowed = "for an alarm, 10s, 20s, 30s or whole minutes"
        yield Problem(alarm.at("window"), show(format_duration(window_ms)), allowed, "use another of the counter's windows")
    span_ms = DAY_MS if window_ms < UNITS_MS["h"] else WEEK_MS
    if window_ms * periods > span_ms:
        found = f"{periods} windows of {format_duration(window_ms)}, together {format_duration(window_ms * periods)}"
        longest = "1d, or 7d with windows of 1h and more" if span_ms == DAY_MS else "7d"
        remedy = f"write {span_ms // window_ms} or less, or use a larger window"
        yield Problem(alarm.at("evaluation_periods"), found, f"together at most {longest}", remedy)
    groups = (values["groups_max"] or GROUPS_MAX_DEFAULT) if "group_by" in alarm.given else 1
    windows = periods + (values["delay"] or 0) // window_ms
    if groups * windows > DATAPOINTS_MAX:
        found, allowed = f"{groups} groups of {windows} windows", f"together at most {DATAPOINTS_MAX} datapoints"
        remedy = f"write {max(1, DATAPOINTS_MAX // windows)} or less, or use larger windows"
        yield Problem(alarm.at("groups_max"), found, allowed, remedy)
    if values["baseline"] is not None and values["baseline"] % window_ms:
        found, allowed = show(format_duration(values["baseline"])), f"a multiple of window, {format_duration(window_ms)}"
        yield Problem(alarm.at("baseline"), found, allowed, 'write for example "7d"')
    weeks = values["weeks"] or 0
    weeks_min = -(-VALUES_MIN // values_of_a_week(window_ms))
    if values["band"] is not None and 0 < weeks < weeks_min:
        allowed = f"from {weeks_min} up: a band is learnt from at least {VALUES_MIN} windows, and windows are few"
        yield Problem(
            alarm.at("weeks"), f"{weeks}, with windows of {format_duration(window_ms)}", allowed, f"write {weeks_min}"
        )


def _check_counter(alarm: Table, counter: Table) -> Iterator[Problem]:
    values, of = alarm.values, f"of {counter.key}"
    windows = [size_ms for _, size_ms in items(counter, "windows")]
    if values["window"] is not None and windows and values["window"] not in windows:
        allowed = f"a window {of}: {', '.join(map(format_duration, sorted(windows)))}"
        found = format_duration(values["window"])
        yield Problem(alarm.at("window"), show(found), allowed, f"write one of them, or add {found} to the windows {of}")
    measures = [*dict.fromkeys(["count", *(write_measure(measure) for _, measure in items(counter, "measures"))])]
    measure = write_measure(values["measure"])
    if None not in (counter.values["measures"] or [None]) and measure not in measures:
        allowed, remedy = (
            f"a measure {of}: {', '.join(measures)}",
            f"write one of them, or add {show(measure)} to the measures {of}",
        )
        yield Problem(alarm.at("measure"), show(measure), allowed, remedy)
    yield from _check_group(alarm, counter)
    yield from _check_kept(alarm, counter)


def _check_group(alarm: Table, counter: Table) -> Iterator[Problem]:
    fields = counter.values["group_by"]
    if "groups_max" in alarm.given and "group_by" not in alarm.given:
        allowed = 'groups_max together with group_by = "each" alone'
        yield Problem(alarm.at("groups_max"), "groups_max without group_by", allowed, "remove it, or add group_by")
    if fields is None or None in fields:
        return
    given = [key for key in ("group", "group_by") if key in alarm.given]
    if not fields:
        for key in given:
            allowed = f"neither group nor group_by: {counter.key} has no group_by"
            yield Problem(alarm.at(key), f"{key}, where there are no groups", allowed, "remove it")
    elif len(given) != 1:
        example = ", ".join(f'{show(field) if "." in field else field} = "…"' for field in fields)
        remedy = f'add group_by = "each", or group = {{ {example} }}' if not given else "remove one of them"
        allowed = f'group with a value for {", ".join(fields)}, or group_by = "each"'
        yield Problem(alarm.at("group"), "group and group_by" if given else "nothing", allowed, remedy)
    elif alarm.values["group"] is not None:
        yield from _check_group_fields(alarm, alarm.values["group"], fields, f"{counter.key} is grouped by")


def _check_group_fields(alarm: Table, group: dict[str, Any], fields: list[str], grouped: str) -> Iterator[Problem]:
    allowed = f"a value for each of {', '.join(fields)}: {grouped} them"
    missing = [field for field in fields if field not in group]
    for field in group:
        if field not in fields:
            close = difflib.get_close_matches(field, missing, 1)
            missing = [each for each in missing if each not in close]
            remedy = f"did you mean {close[0]}?" if close else "remove it"
            yield Problem(join_key(alarm.at("group"), field), "an unknown field", allowed, remedy)
    if missing:
        remedy = f'add {" and ".join(missing)}, or write group_by = "each" instead of group'
        yield Problem(alarm.at("group"), f"no {' and no '.join(missing)}", allowed, remedy)


def _check_kept(alarm: Table, counter: Table) -> Iterator[Problem]:
    keep_ms, baseline_ms, band = counter.values["keep"], alarm.values["baseline"], alarm.values["band"]
    needs = {"baseline": baseline_ms, "weeks": None if band is None else WEEK_MS * (alarm.values["weeks"] or 4)}
    for key, past_ms in needs.items():
        if keep_ms is not None and past_ms is not None and past_ms >= keep_ms:
            allowed = f"less than {counter.at('keep')}, {format_duration(keep_ms)}: what is compared with must still be there"
            yield Problem(
                alarm.at(key), f"a look back by {format_duration(past_ms)}", allowed, "shorten it, or keep rows longer"
            )


def _check_notify(alarm: Table, names: Names) -> Iterator[Problem]:
    notify = alarm.values["notify"]
    lists = [(notify, state) for state in notify.values] if isinstance(notify, Table) else [(alarm, "notify")]
    for table, name in lists:
        yield from check_distinct(table, name)
        for key, channel in items(table, name):
            yield from names.check(key, channel)


def _check_names_read(alarm: Table, names: Names) -> Iterator[Problem]:
    rule = alarm.values["when"]
    for name in sorted(rule.names) if rule is not None else ():
        yield from names.check(alarm.at("when"), name)


def _check_cycles(alarms: list[Table]) -> Iterator[Problem]:
    rules = {alarm.values["name"]: alarm for alarm in alarms if alarm.values["name"] and alarm.values["when"]}
    while cycle := find_cycle({name: alarm.values["when"] for name, alarm in rules.items()}):
        found = f"a circle: {' reads '.join(cycle)}"
        allowed = "alarms that do not, by way of others, read themselves"
        yield Problem(rules[cycle[0]].at("when"), found, allowed, "take one of these names out of a rule")
        for name in cycle[1:]:
            del rules[name]


# Channels and mutes.


def _check_channel(channel: Table) -> Iterator[Problem]:
    match channel.values["type"]:
        case "email":
            yield from check_distinct(channel, "to")
            username, password = ("username" in channel.given), ("password_env" in channel.given)
            if username != password:
                there, missing = ("username", "password_env") if username else ("password_env", "username")
                allowed = "username and password_env together, or neither"
                yield Problem(channel.at(missing), f"{there} alone", allowed, f"add {missing}, or remove {there}")
        case "webhook" | "slack":
            given = [key for key in ("url", "url_env") if key in channel.given]
            if len(given) != 1:
                remedy = "remove one of them" if given else 'add for example url_env = "ALARM_URL"'
                yield Problem(
                    channel.at("url"), "url and url_env" if given else "nothing", "exactly one of url and url_env", remedy
                )


def _check_mute(mute: Table, names: Names) -> Iterator[Problem]:
    yield from check_distinct(mute, "alarms")
    yield from check_distinct(mute, "days")
    for key, alarm in items(mute, "alarms"):
        yield from names.check(key, alarm)
    given = [key for key in ("from", "to") if key in mute.given]
    if len(given) == 1:
        (missing,) = {"from", "to"}.difference(given)
        yield Problem(
            mute.at(missing), f"{given[0]} alone", "from and to together, or neither for whole days", f"add {missing}"
        )
    elif given and mute.values["from"] is not None and mute.values["from"] == mute.values["to"]:
        allowed = "a from and a to that differ, or neither for whole days"
        yield Problem(mute.at("to"), "the same time as from", allowed, "change one of them, or remove both")
