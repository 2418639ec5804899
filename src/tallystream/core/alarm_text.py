"""What people read of alarms: a condition as a phrase, and why a state changed as a sentence."""

from collections.abc import Collection, Container, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from typing import Final

from tallystream.core.alarm import (
    Alarm,
    Band,
    CompositeAlarm,
    CounterSource,
    DecidingDatapoint,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    State,
    Value,
)
from tallystream.core.window import format_duration

_LISTED_MAX: Final = 5
_SHORT: Final = Context(prec=6)
_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000


def condition_text(alarm: Alarm) -> str:
    """Return when an alarm is in ALARM: `count < 5 for 2 of 3 windows of 1m`; of a composite alarm, its rule."""
    if isinstance(alarm, CompositeAlarm):
        return alarm.when
    source = alarm.source
    measure = source.measure if isinstance(source, CounterSource) else source.metric
    limit, clear = _limit(alarm, "OK"), _limit(alarm, "ALARM")
    until = f" (in ALARM: {clear})" if clear != limit else ""
    periods, to_alarm = alarm.evaluation_periods, alarm.datapoints_to_alarm
    window = format_duration(source.window_ms)
    if periods == 1:
        return f"{measure} {limit}{until} for a window of {window}"
    of = f"{periods}" if to_alarm == periods else f"{to_alarm} of {periods}"
    return f"{measure} {limit}{until} for {of} windows of {window}"


def reason(
    alarm: MetricAlarm,
    state: State,
    new_state: State,
    datapoints: Sequence[DecidingDatapoint],
    incomparable: int,
    open_ms: int | None,
) -> str:
    """
    Return why an alarm changes its state, as a sentence with the numbers that decided it.

    Args:
        alarm: that changes.
        state: up to now, by whose bound the datapoints were judged.
        new_state: that it changes to.
        datapoints: that decided it, ascending.
        incomparable: how many windows had a value, but nothing to compare it with, which makes them missing.
        open_ms: start of a window among them that is not over; None: all are.
    """
    window_ms = alarm.source.window_ms
    real = [each for each in datapoints if each.value is not None]
    breaching = [each for each in real if each.breaching]
    shown = breaching or real
    total = len(datapoints)
    notes = []
    if shown:
        listed = [_describe(each, window_ms, alarm) for each in shown[-_LISTED_MAX:]]
        more = f"{len(shown) - _LISTED_MAX} more, " if len(shown) > _LISTED_MAX else ""
        notes.append(f"{more}{', '.join(listed)} UTC")
    notes += _notes(alarm, new_state, len(breaching), total - len(real), incomparable)
    if open_ms is not None:
        notes.append(f"the window of {format_time(open_ms, window_ms)} is not over yet")
    if not real:
        first, last = (format_time(datapoints[at].window_start_ms, window_ms) for at in (0, -1))
        when = f"at {first}" if first == last else f"from {first} to {last}"
        said = f"there was no datapoint {when} UTC"
    else:
        count = str(len(breaching)) if breaching else "none"
        verb = "was" if len(breaching) <= 1 else "were"
        of = "the last datapoint" if total == 1 else f"the last {total} datapoints"
        said = f"{count} of {of} {verb} {_limit(alarm, state)}"
        if total == 1:
            said = f"the last datapoint was {'' if breaching else 'not '}{_limit(alarm, state)}"
    return f"{said} ({'; '.join(notes)})" if notes else said


def composite_reason(rule: str, new_state: State, names: Collection[str], in_alarm: Container[str]) -> str:
    """
    Return why a composite alarm changes its state: `a and not b holds: a is in ALARM; b is not`.

    Args:
        rule: as it is written.
        new_state: that it changes to.
        names: of the alarms that the rule reads.
        in_alarm: names of the alarms that are in ALARM.
    """
    inside = [name for name in sorted(names) if name in in_alarm]
    outside = [name for name in sorted(names) if name not in in_alarm]
    both = ((inside, "in ALARM"), (outside, "not" if inside else "not in ALARM"))
    facts = [f"{' and '.join(some)} {'is' if len(some) == 1 else 'are'} {fact}" for some, fact in both if some]
    return f"{rule} {'holds' if new_state == 'ALARM' else 'does not hold'}: {'; '.join(facts)}"


def format_time(at_ms: int, window_ms: int) -> str:
    """Return a time, UTC, as exactly as windows of a length need it: 10:04, 10:04:30 or 2026-11-23."""
    form = "%H:%M:%S" if window_ms < _MINUTE_MS else "%H:%M" if window_ms < _DAY_MS else "%Y-%m-%d"
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime(form)


def format_number(value: Value) -> str:
    """Return a number for a sentence: every digit before the point, and six significant ones in all where that is more."""
    number = Decimal(value)
    number = number.to_integral_value() if number.adjusted() >= _SHORT.prec else _SHORT.plus(number)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _notes(alarm: MetricAlarm, new_state: State, breaching: int, missing: int, incomparable: int) -> list[str]:
    notes = []
    if new_state == "OK" and breaching:
        notes.append(f"it takes {alarm.datapoints_to_alarm}")
    if missing:
        treated = {"breaching": " taken as breaching", "notBreaching": " taken as not breaching"}
        notes.append(f"{missing} missing {'one' if missing == 1 else 'ones'}{treated.get(alarm.treat_missing_data, '')}")
    if new_state == "ALARM" and breaching < alarm.datapoints_to_alarm and alarm.treat_missing_data == "missing":
        notes.append("no datapoint since says otherwise")
    if incomparable:
        notes.append(f"{incomparable} had nothing to compare with")
    return notes


def _describe(datapoint: DecidingDatapoint, window_ms: int, alarm: MetricAlarm) -> str:
    assert datapoint.value is not None
    text = format_number(datapoint.value)
    if not isinstance(alarm.condition, FixedThreshold):
        limits = [format_number(bound) for bound in (datapoint.lower, datapoint.upper) if bound is not None]
        text += f" against {' to '.join(limits)}"
    return f"{text} at {format_time(datapoint.window_start_ms, window_ms)}"


def _limit(alarm: MetricAlarm, state: State) -> str:
    """Return what datapoints are held against in a state: `< 5`, `< 50 % of 7d before`, `above the band of 3 deviations`."""
    condition = alarm.condition
    in_alarm = state == "ALARM"
    if isinstance(condition, FixedThreshold):
        return f"{condition.comparison} {format_number(condition.clear if in_alarm else condition.value)}"
    if isinstance(condition, RelativeThreshold):
        percent = format_number(100 + (condition.clear_percent if in_alarm else condition.percent))
        return f"{condition.comparison} {percent} % of {format_duration(condition.baseline_ms)} before"
    return _band_limit(condition, in_alarm=in_alarm)


def _band_limit(band: Band, *, in_alarm: bool) -> str:
    side = {"outside": "outside of", "<": "below"}.get(band.comparison, "above")
    deviations = band.clear_deviations if in_alarm else band.deviations
    return f"{side} the band of {format_number(deviations)} deviation{'' if deviations == 1 else 's'}"
