"""
What a message says, for people: which alarms changed, and why, as a subject and as text.

Names, reasons and descriptions come from outside: what is returned here holds no character that is not printable.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from tallystream.core.alarm import Alarm, CounterSource, DecidingDatapoint, MetricAlarm, State
from tallystream.core.alarm_text import condition_text
from tallystream.core.counting import group_values
from tallystream.core.definition import Definition
from tallystream.core.group import GroupValue
from tallystream.core.printable import printable
from tallystream.core.window import format_duration
from tallystream.ports.alarms import AlarmKey, HistoryItem, Message

DETAILS_MAX: Final = 10
"""Changes of a message that are told in full, the first; Gmail cuts a mail off after 102 KB."""

LINES_MAX: Final = 50
"""Changes of a message that are listed, the first."""

DATAPOINTS_MAX: Final = 30
"""Datapoints of a message, the newest of each change, which has at least DATAPOINTS_MIN of them."""

DATAPOINTS_MIN: Final = 6

STATE_WORDS: Final[Mapping[State, str]] = {"ALARM": "ALARM", "OK": "OK", "INSUFFICIENT_DATA": "INSUFFICIENT DATA"}

_URGENCY: Final[Mapping[State, int]] = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}
_VALUE_CHARACTERS_MAX: Final = 60
_REASON_CHARACTERS_MAX: Final = 1_000
_SUBJECT_CHARACTERS_MAX: Final = 140
_DAY_MS: Final = 86_400_000


class Change(NamedTuple):
    """Where one alarm, or one of its groups, stands now, and how it came there. All text is printable."""

    name: str
    group: tuple[tuple[str, str], ...]  # (field, value)
    state: State
    old_state: State
    at_ms: int
    reason: str
    description: tuple[str, ...]  # lines
    condition: str  # "" where the definition has the alarm no more
    measure: str  # "" likewise
    window_ms: int | None
    datapoints: tuple[DecidingDatapoint, ...]  # the newest, ascending
    earlier: tuple[tuple[State, int], ...]  # states that it was in meanwhile, each with the time, oldest first

    @property
    def label(self) -> str:
        """The alarm's name and the group's values: `pageview-low (page view)`."""
        return f"{self.name} ({' · '.join(value for _, value in self.group)})" if self.group else self.name

    @property
    def group_text(self) -> str:
        """`event = page view, country = NULL`."""
        return ", ".join(f"{field} = {value}" for field, value in self.group)


class Row(NamedTuple):
    """A datapoint as it is shown."""

    at: str
    value: str
    is_breaching: bool


def describe(message: Message, definition: Definition) -> list[Change]:
    """
    Return what has changed, the most urgent first.

    An alarm that changed several times while the message waited is one Change, about where it stands now.
    """
    alarms = {alarm.name: alarm for alarm in definition.alarms}
    items: dict[AlarmKey, list[HistoryItem]] = {}
    for item in message.items:
        items.setdefault(item.key, []).append(item)
    points_max = max(DATAPOINTS_MIN, DATAPOINTS_MAX // max(1, len(items)))
    changes = [_change(updates, alarms.get(key.alarm), definition, points_max) for key, updates in items.items()]
    return sorted(changes, key=lambda change: (_URGENCY[change.state], change.at_ms))


def _change(updates: Sequence[HistoryItem], alarm: Alarm | None, definition: Definition, points_max: int) -> Change:
    *before, newest = updates
    transition = newest.transition
    assert transition is not None  # a message holds StateUpdates alone
    measure, window_ms = "", None
    if isinstance(alarm, MetricAlarm):
        source = alarm.source
        measure = source.measure if isinstance(source, CounterSource) else source.metric
        window_ms = source.window_ms
    return Change(
        name=printable(newest.key.alarm),
        group=tuple(
            (_cut(printable(field), _VALUE_CHARACTERS_MAX), _cut(printable(value_text(value)), _VALUE_CHARACTERS_MAX))
            for field, value in group_fields(newest.key, alarm, definition)
        ),
        state=transition.new_state,
        old_state=transition.old_state,
        at_ms=newest.at_ms,
        reason=_cut(printable(transition.reason), _REASON_CHARACTERS_MAX),
        description=tuple(printable(line) for line in alarm.description.splitlines()) if alarm else (),
        condition=printable(condition_text(alarm)) if alarm else "",
        measure=printable(measure),
        window_ms=window_ms,
        datapoints=transition.datapoints[-points_max:],
        earlier=tuple((item.transition.new_state, item.at_ms) for item in before if item.transition is not None),
    )


def group_fields(key: AlarmKey, alarm: Alarm | None, definition: Definition) -> list[tuple[str, GroupValue]]:
    """Return the fields and values of the group that a change is about; [] if it is about no group."""
    source = alarm.source if isinstance(alarm, MetricAlarm) else None
    values: tuple[GroupValue, ...] = ()
    if key.group:
        values = group_values(key.group)
    elif isinstance(source, CounterSource) and source.group is not None:
        values = source.group
    fields: tuple[str, ...] = definition.counter(source.counter).group_by if isinstance(source, CounterSource) else ()
    if len(fields) != len(values):  # the definition has changed since
        fields = tuple(f"group {number}" for number in range(1, len(values) + 1))
    return list(zip(fields, values, strict=True))


def value_text(value: GroupValue) -> str:
    """Return a value of a group as text; NULL for a missing one."""
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)


def subject(changes: Sequence[Change], definition: Definition) -> str:
    """Return the message in one line: `ALARM: pageview-low (page view) in web-analytics`."""
    place = printable(definition.name)
    if len(changes) == 1:
        return _cut(f"{STATE_WORDS[changes[0].state]}: {changes[0].label} in {place}", _SUBJECT_CHARACTERS_MAX)
    states = [change.state for change in changes]
    counts = ", ".join(f"{states.count(state)} {STATE_WORDS[state]}" for state in _URGENCY if state in states)
    names = ", ".join(dict.fromkeys(change.name for change in changes))
    return _cut(f"{counts} in {place}: {names}", _SUBJECT_CHARACTERS_MAX)


def text(changes: Sequence[Change], definition: Definition) -> str:
    """Return the message as plain text, lines apart by newlines."""
    parts = [_paragraphs(change) for change in changes[:DETAILS_MAX]]
    if len(changes) > 1:
        parts.insert(0, "\n".join([subject(changes, definition), "", *overview(changes)]))
    parts.append("\n".join(["-- ", *footer(changes, definition)]))
    return "\n\n\n".join(parts) + "\n"


def overview(changes: Sequence[Change]) -> list[str]:
    """Return a line for each of several changes."""
    lines = [f"{STATE_WORDS[change.state]}: {change.label}" for change in changes[:LINES_MAX]]
    return [*lines, *unlisted(changes)]


def unlisted(changes: Sequence[Change]) -> list[str]:
    """Return the lines below a list of several changes: how much of them is not in the message."""
    lines = []
    if len(changes) > LINES_MAX:
        lines.append(f"… and {len(changes) - LINES_MAX:,} more")
    if len(changes) > DETAILS_MAX:
        lines.append(f"The first {DETAILS_MAX} follow in full.")
    return lines


def _paragraphs(change: Change) -> str:
    title = f"{STATE_WORDS[change.state]}: {change.label}"
    parts = [f"{title}\n{'=' * len(title)}", change.reason]
    if change.description:
        parts.append("\n".join(change.description))
    shown = rows(change)
    if shown:
        at_width, value_width = max(len(row.at) for row in shown), max(len(row.value) for row in shown)
        lines = [
            f"  {row.at:{at_width}}  {row.value:>{value_width}}{'  breaches' if row.is_breaching else ''}" for row in shown
        ]
        parts.append(f"{chart_title(change)}\n" + "\n".join(lines))
    known = facts(change)
    width = max(len(name) for name, _ in known)
    parts.append("\n".join(f"{name:{width}}  {value}" for name, value in known))
    return "\n\n".join(parts)


def facts(change: Change) -> list[tuple[str, str]]:
    """Return what is known of a change besides its reason, as names and values."""
    found = [("Changed", f"{utc(change.at_ms)}, from {STATE_WORDS[change.old_state]} to {STATE_WORDS[change.state]}")]
    if change.earlier:
        found.append(("Before", ", ".join(f"{STATE_WORDS[state]} {utc(at_ms)}" for state, at_ms in change.earlier[-5:])))
    if change.group:
        found.append(("Group", change.group_text))
    if change.condition:
        found.append(("Condition", change.condition))
    return found


def footer(changes: Sequence[Change], definition: Definition) -> list[str]:
    """Return the lines below a message: who sends it, and how to have peace."""
    lines = [f"Tallystream watches {printable(definition.name)}."]
    alarming = list(dict.fromkeys(change.name for change in changes if change.state == "ALARM"))
    if alarming:
        lines.append(f"To hear nothing of it for two hours: tally alarms mute {' '.join(alarming[:5])} --for 2h")
    return lines


def chart_title(change: Change) -> str:
    """Return what the datapoints of a change are: `count, windows of 1m, 2026-11-23 UTC`."""
    windows = f", windows of {format_duration(change.window_ms)}" if change.window_ms else ""
    day = datetime.fromtimestamp(change.datapoints[-1].window_start_ms / 1_000, UTC)
    return f"{change.measure or 'Datapoints'}{windows}, {day:%Y-%m-%d} UTC"


def rows(change: Change) -> list[Row]:
    """Return the datapoints of a change as they are shown, oldest first."""
    if not change.datapoints:
        return []
    step_ms = change.window_ms or 1_000
    days = {datapoint.window_start_ms // _DAY_MS for datapoint in change.datapoints}
    pattern = "%H:%M" if step_ms % 60_000 == 0 else "%H:%M:%S"
    if step_ms % _DAY_MS == 0:
        pattern = "%m-%d"
    elif len(days) > 1:
        pattern = f"%m-%d {pattern}"
    return [
        Row(
            f"{datetime.fromtimestamp(datapoint.window_start_ms / 1_000, UTC):{pattern}}",
            "no data" if datapoint.value is None else number(datapoint.value),
            datapoint.breaching,
        )
        for datapoint in change.datapoints
    ]


def number(value: Decimal) -> str:
    """Return a number that is not too long to read: 1,234, 0.3333, 0.00001234, 1.00000E+18."""
    if value != 0 and abs(value) < Decimal("0.001"):
        return f"{value:.4g}"
    if abs(value) >= 10**12:
        return f"{value:.6g}"
    shown = f"{value:,.4f}"
    return shown.rstrip("0").rstrip(".")


def utc(at_ms: int) -> str:
    """Return a time to the second: `2026-11-23 10:05:00 UTC`."""
    return f"{datetime.fromtimestamp(at_ms // 1_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _cut(line: str, characters: int) -> str:
    return line if len(line) <= characters else line[: characters - 1] + "…"
