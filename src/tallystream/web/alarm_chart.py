"""`GET /v1/alarms/{name}/chart`: an alarm's datapoints, the bounds that they are judged by, and its changes of state."""

from decimal import Decimal
from typing import Final

from tallystream.core.alarm import Alarm, Band, CompositeAlarm, MetricAlarm
from tallystream.core.alarm_chart import chart_lines
from tallystream.core.definition import Definition
from tallystream.core.query import POINTS_MAX
from tallystream.core.window import UNITS_MS, Window, format_duration
from tallystream.ports.alarms import AlarmStore
from tallystream.ports.counters import CounterReader
from tallystream.web.alarm_answers import find_alarm
from tallystream.web.alarm_series import AlarmSeries
from tallystream.web.alarm_types import ChartAnswer, StateChangeAnswer
from tallystream.web.parameters import invalid, read_time

TRANSITIONS_MAX: Final = 1_000

_WINDOWS_DEFAULT: Final = 60
_COMPOSITE_MS_DEFAULT: Final = UNITS_MS["h"]
_COMPOSITE_MS_MAX: Final = 31 * UNITS_MS["d"]
_LEARNT_MAX: Final = 100_000  # windows times weeks of a band: a second or two of work


def describe_chart(
    name: str,
    key: str,
    from_: str | None,
    to: str | None,
    definition: Definition,
    store: CounterReader,
    alarms: AlarmStore,
    now_ms: int,
) -> ChartAnswer:
    """
    Return what the chart of an alarm, or of one of its groups, shows in [from, to).

    Raises:
        RequestRefusedError: 404; there is no such alarm. 400: a parameter is wrong, or asks for too much.
    """
    alarm = find_alarm(definition, name)
    period = _period(alarm, from_, to, now_ms)
    changes = [
        StateChangeAnswer(item.at_ms, item.transition.old_state, item.transition.new_state)
        for item in alarms.transitions(name, *period, key)
        if item.transition
    ]
    chart = ChartAnswer(name, key, None, *period, [], [], [], [], changes[-TRANSITIONS_MAX:])
    if isinstance(alarm, CompositeAlarm):
        if key:
            raise invalid("key", key, 'nothing, or "": a composite alarm has one state')
        return chart
    observed = AlarmSeries(alarm, period, definition, store, alarms, key)[key]
    chart.window = format_duration(alarm.source.window_ms)
    chart.points = [(at_ms, Decimal(value)) for at_ms, value in sorted(observed.values.items())]
    chart.lower, chart.upper, chart.expected = chart_lines(alarm, period, observed.references)
    return chart


def _period(alarm: Alarm, from_: str | None, to: str | None, now_ms: int) -> Window:
    """Return the range that is asked for, both ends rounded up to starts of windows."""
    window_ms = alarm.source.window_ms if isinstance(alarm, MetricAlarm) else 1
    length_ms = _WINDOWS_DEFAULT * window_ms if isinstance(alarm, MetricAlarm) else _COMPOSITE_MS_DEFAULT
    end_ms = now_ms if to is None else read_time("to", to, now_ms)
    start_ms = end_ms - length_ms if from_ is None else read_time("from", from_, now_ms)
    period = Window(start_ms + -start_ms % window_ms, end_ms + -end_ms % window_ms)
    if period.end_ms <= period.start_ms:
        raise invalid("from", start_ms if from_ is None else from_, "a time before to, a window apart at least")
    if isinstance(alarm, CompositeAlarm):
        if period.end_ms - period.start_ms > _COMPOSITE_MS_MAX:
            raise invalid("from", from_ or start_ms, f"at most {format_duration(_COMPOSITE_MS_MAX)} before to")
        return period
    windows_max = POINTS_MAX
    if isinstance(alarm.condition, Band):
        windows_max = min(windows_max, _LEARNT_MAX // alarm.condition.weeks)
    if period.end_ms - period.start_ms > windows_max * window_ms:
        found = start_ms if from_ is None else from_
        raise invalid("from", found, f"at most {windows_max:,} windows of {format_duration(window_ms)} before to")
    return period
