"""`POST /v1/alarms/{name}/test`: when an alarm would have fired over stored history."""

from typing import Final

from tallystream.core.alarm import Alarm, Band, FixedThreshold, MetricAlarm
from tallystream.core.alarm_edit import edit_alarm
from tallystream.core.backtest import backtest, backtest_span, evaluation_times
from tallystream.core.definition import Definition
from tallystream.core.errors import DefinitionError
from tallystream.core.evaluation import MORE_WINDOWS
from tallystream.core.window import UNITS_MS, Window, format_duration
from tallystream.ports.alarms import AlarmStore
from tallystream.ports.counters import CounterReader
from tallystream.web.alarm_answers import describe_group, find_alarm
from tallystream.web.alarm_series import AlarmSeries
from tallystream.web.alarm_types import BacktestAnswer, BacktestRequest, EpisodeAnswer
from tallystream.web.errors import RequestRefusedError
from tallystream.web.parameters import invalid, read_time

EPISODES_MAX: Final = 500

WORK_MAX: Final = 5_500_000
"""Of one backtest, in datapoints judged: a hundred groups over a week of minutes, some twenty seconds."""

WINDOWS_MAX: Final = 600_000
"""Of one group, which are in memory at once: a year of minutes, with room."""


def describe_backtest(
    name: str, wanted: BacktestRequest, definition: Definition, store: CounterReader, alarms: AlarmStore, now_ms: int
) -> BacktestAnswer:
    """
    Return when an alarm of a definition, with the changes that are wanted, would have fired; see `run_backtest`.

    Raises:
        RequestRefusedError: 404; there is no such alarm. 400: it would have mistakes, which the message lists.
    """
    alarm = find_alarm(definition, name)
    if wanted.changes:
        try:
            alarm = edit_alarm(definition, name, wanted.changes)
        except DefinitionError as error:
            problems = error.problems
            listed = "; ".join(f"{each.key} is {each.found}; allowed is {each.allowed}; {each.remedy}" for each in problems)
            message = f"the changed alarm has {len(problems)} {'mistake' if len(problems) == 1 else 'mistakes'}: {listed}"
            shown = [each._asdict() for each in problems]
            raise RequestRefusedError(400, "invalid_alarm", message, problems=shown) from None
    return run_backtest(alarm, wanted, definition, store, alarms, now_ms)


def run_backtest(
    alarm: Alarm, wanted: BacktestRequest, definition: Definition, store: CounterReader, alarms: AlarmStore, now_ms: int
) -> BacktestAnswer:
    """
    Return when an alarm would have fired.

    Cost: reads one group after another, and judges each window of each as often as its datapoint is looked at.

    Args:
        alarm: of the definition, or edited.
        wanted: range and group; `changes` are in the alarm already.
        definition: with the counter that the alarm watches.
        store: with the cells.
        alarms: with the samples.
        now_ms: of which `now` and `-7d` are told.

    Raises:
        RequestRefusedError: 400; a parameter is wrong, or asks for too much.
    """
    if not isinstance(alarm, MetricAlarm):
        message = f"{alarm.name} is a composite alarm, which has no datapoints; test the alarms that its rule names"
        raise RequestRefusedError(400, "invalid_parameter", message)
    to_ms = min(now_ms, read_time("to", wanted.to, now_ms))
    period = Window(read_time("from", wanted.from_, now_ms), to_ms)
    if not evaluation_times(alarm, period):
        raise invalid("from", wanted.from_, f"a time in the past, at least {format_duration(alarm.source.window_ms)} before to")
    groups = AlarmSeries(alarm, backtest_span(alarm, period), definition, store, alarms, wanted.key)
    _check_work(alarm, period, len(groups))
    result = backtest(alarm, groups, period)
    newest = result.episodes[-EPISODES_MAX:][::-1]
    return BacktestAnswer(
        from_=result.from_ms,
        to=result.to_ms,
        windows=result.windows,
        groups=result.groups,
        fired=result.fired,
        alarm_ms=result.alarm_ms,
        longest_ms=result.longest_ms,
        flaps=result.flaps,
        per_day=result.per_day,
        episodes=[
            EpisodeAnswer(
                episode.from_ms,
                episode.until_ms,
                episode.reason,
                describe_group(alarm, definition, episode.group),
                episode.group,
            )
            for episode in newest
        ],
        episodes_left_out=len(result.episodes) - len(newest),
    )


def _check_work(alarm: MetricAlarm, period: Window, groups: int) -> None:
    window_ms = alarm.source.window_ms
    windows = len(evaluation_times(alarm, period))
    windows_max = min(WORK_MAX // (max(1, groups) * _work_of_window(alarm)), WINDOWS_MAX)
    if windows <= windows_max:
        return
    remedies = []
    if windows_max:
        remedies.append(f"choose a range of at most {_round_down(windows_max * window_ms)}")
    if groups > 1:
        remedies.append("test a single group with key")
    message = (
        f"from: {windows:,} windows of {format_duration(window_ms)}, each of {groups:,} "
        f"{'group' if groups == 1 else 'groups'}, are too many to test at once; {', or '.join(remedies) or 'use fewer periods'}"
    )
    raise RequestRefusedError(400, "invalid_parameter", message)


def _work_of_window(alarm: MetricAlarm) -> int:
    """Return what a window costs, as measured: a decision costs about as much as judging five datapoints by a fixed bound."""
    condition = alarm.condition
    judged = max(5, alarm.evaluation_periods + MORE_WINDOWS) * (1 if isinstance(condition, FixedThreshold) else 4)
    return judged + (12 * condition.weeks if isinstance(condition, Band) else 0)


def _round_down(duration_ms: int) -> str:
    unit_ms = next(unit_ms for unit_ms in UNITS_MS.values() if unit_ms <= duration_ms)
    return format_duration(duration_ms - duration_ms % unit_ms)
