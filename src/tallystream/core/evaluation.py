"""
How datapoints decide the state of an alarm. Times are arguments: what was true at a time can be asked at any later one.

An alarm reads the newest N + 2 complete windows, where N is its evaluation_periods; M of them must breach. It follows
CloudWatch: where at least N datapoints are there, the newest N of them decide, whatever is missing between. Where there are
fewer, treat_missing_data says what the missing ones are taken for, and as few of them as possible are used.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from operator import ge, gt, le, lt
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from tallystream.core.alarm import (
    Band,
    Comparison,
    Condition,
    CounterSource,
    DecidingDatapoint,
    FixedThreshold,
    MetricAlarm,
    State,
    Transition,
    TreatMissingData,
    Value,
)
from tallystream.core.alarm_text import reason
from tallystream.core.baseline import Expectation
from tallystream.core.window import Window

MORE_WINDOWS: Final = 2
"""How many windows more than evaluation_periods are read, so that a gap need not be filled."""

Reference = Value | Expectation
"""What a datapoint is compared with, where that is not fixed: the value of a window before, or what is expected."""

NO_REFERENCES: Final[Mapping[int, Reference]] = MappingProxyType({})

_EXACT: Final = Context(prec=80)
_COMPARE: Final[Mapping[Comparison, Callable[[Value, Value], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_Judge = Callable[[Sequence[Value | None], Sequence[Reference | None] | None], list[bool | None]]


class Observed(NamedTuple):
    """What is known of one series, by window start. A window without a row, or whose measure has no value, is left out."""

    values: Mapping[int, Value]
    references: Mapping[int, Reference] = NO_REFERENCES


class Bounds(NamedTuple):
    """The bounds that a datapoint breaches outside of; None: unbounded on that side."""

    lower: Decimal | None = None
    upper: Decimal | None = None


Situation = Literal["enough", "none", "contradicted", "old", "recent"]
"""
What the datapoints say, the first that is true:
enough: M of the deciding ones breach, with those filled in by treat_missing_data;
none: there is no real one;
contradicted: a real one does not breach;
old: all real ones breach, but fewer than M, and the oldest of them is at least M windows old: the newest window is 1 old;
recent: the same, but it is younger.
"""

STATES: Final[Mapping[TreatMissingData, Mapping[Situation, State | None]]] = {
    "missing": {"enough": "ALARM", "none": "INSUFFICIENT_DATA", "contradicted": "OK", "old": "ALARM", "recent": None},
    "ignore": {"enough": "ALARM", "none": None, "contradicted": "OK", "old": None, "recent": None},
    "breaching": {"enough": "ALARM", "contradicted": "OK"},  # with each missing one breaching, there are no other cases
    "notBreaching": {"enough": "ALARM", "none": "OK", "contradicted": "OK", "old": "OK", "recent": "OK"},
}
"""The state that follows; None: it stays as it is."""


def decide(judged: Sequence[bool | None], periods: int, to_alarm: int, missing: TreatMissingData, state: State) -> State:
    """
    Return the state that datapoints lead to.

    Args:
        judged: of each window, oldest first, whether its datapoint breaches; None where it is missing.
        periods: N, how many datapoints decide.
        to_alarm: M, how many of them must breach, at most N.
        missing: how missing ones are treated.
        state: the state up to now.
    """
    following = STATES[missing][_situation(judged, periods, to_alarm, missing)]
    return state if following is None else following


def _situation(judged: Sequence[bool | None], periods: int, to_alarm: int, missing: TreatMissingData) -> Situation:
    real = [breaches for breaches in judged if breaches is not None][-periods:]
    breaching = sum(real)
    if breaching + (periods - len(real) if missing == "breaching" else 0) >= to_alarm:
        return "enough"
    if not real:
        return "none"
    if breaching < len(real):
        return "contradicted"
    return "old" if len(judged) - judged.index(True) >= to_alarm else "recent"


def deciding(judged: Sequence[bool | None], periods: int) -> list[int]:
    """Return the positions of the N datapoints that decide, ascending: the newest real ones, then the newest missing ones."""
    real = [at for at, breaches in enumerate(judged) if breaches is not None][-periods:]
    gaps = [at for at, breaches in enumerate(judged) if breaches is None]
    return sorted(real + gaps[len(gaps) - max(0, periods - len(real)) :])


def evaluation_span(alarm: MetricAlarm, as_of_ms: int) -> Window:
    """
    Return the windows that an alarm looks at when everything up to as_of_ms is known: the newest N + 2 complete ones.

    A window [start, end) is complete when end + delay <= as_of_ms.
    """
    window_ms = alarm.source.window_ms
    end_ms = as_of_ms - alarm.delay_ms
    end_ms -= end_ms % window_ms
    return Window(end_ms - (alarm.evaluation_periods + MORE_WINDOWS) * window_ms, end_ms)


def final_side(alarm: MetricAlarm) -> Literal["lower", "upper"] | None:
    """
    Return the bound that a datapoint, once beyond it, stays beyond however its window goes on: a count and a max only grow.

    None where there is none, or the alarm waits for complete windows.
    """
    if alarm.wait == "complete" or not isinstance(alarm.source, CounterSource):
        return None
    function = alarm.source.measure.partition("(")[0]
    comparison = alarm.condition.comparison
    if function in ("count", "max") and comparison in (">", ">=", "outside"):
        return "upper"
    if function == "min" and comparison in ("<", "<=", "outside"):
        return "lower"
    return None


def evaluate(alarm: MetricAlarm, state: State, as_of_ms: int, observed: Observed) -> Transition | None:
    """
    Return the change of state that is due; None if the state stays.

    Args:
        alarm: what is watched.
        state: the state up to now. In ALARM, datapoints are judged by the condition's clear bound.
        as_of_ms: up to when everything is known, UTC milliseconds.
        observed: what is known of at least the windows of `Evaluation(alarm, as_of_ms)`.
    """
    evaluation = Evaluation(alarm, as_of_ms)
    values, references = observed
    return evaluation.transition(
        state,
        [values.get(start_ms) for start_ms in evaluation.windows],
        [references.get(start_ms) for start_ms in evaluation.windows],
    )


class Evaluation:
    """
    An alarm at a time, for any number of series.

    Attributes:
        windows: the starts of the windows that it looks at: the complete ones, then those that are pending, up to the open
            one, where they can bring the alarm forward.
    """

    def __init__(self, alarm: MetricAlarm, as_of_ms: int) -> None:
        self.windows: Final = _windows(alarm, as_of_ms)
        self._alarm = alarm
        self._final_side = final_side(alarm)
        self._rule = (alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.treat_missing_data)
        self._read = alarm.evaluation_periods + MORE_WINDOWS
        self._judges = {state: _judge(alarm.condition, state) for state in ("OK", "ALARM")}

    def transition(
        self, state: State, values: Sequence[Value | None], references: Sequence[Reference | None] | None = None
    ) -> Transition | None:
        """
        Return the change of state that is due for a series; None if its state stays.

        Args:
            state: of the series up to now.
            values: of each of the windows; None where there is none.
            references: of each of the windows, what its datapoint is compared with, None where there is nothing: of a relative
                threshold the value baseline_ms before, of a band what is expected. A fixed threshold needs none.
        """
        judged = self._judges["ALARM" if state == "ALARM" else "OK"](values, references)
        end = self._read
        new_state = decide(judged[:end], *self._rule, state)
        if new_state != "ALARM" and True in judged[end:]:
            # Of what is pending, only a breach that nothing can undo counts, and it can only raise the alarm: as soon as it is
            # certain that it will be raised. A window without one counts as not breaching, the least that it can come to.
            judged[end:] = self._finally_breaching(state, judged, values, references)
            for raised in (at + 1 for at in range(end, len(judged)) if judged[at]):
                if decide(judged[raised - end : raised], *self._rule, state) == "ALARM":
                    new_state, end = "ALARM", raised
                    break
        if new_state == state:
            return None
        return self._explain(state, new_state, judged, values, references, end)

    def _finally_breaching(
        self,
        state: State,
        judged: Sequence[bool | None],
        values: Sequence[Value | None],
        references: Sequence[Reference | None] | None,
    ) -> list[bool]:
        """Return of each pending window whether it breaches in a way that nothing can undo."""
        condition = self._alarm.condition
        final = [breaches is True for breaches in judged[self._read :]]
        if condition.comparison == "outside":  # one of its two sides is not final
            for at, value in enumerate(values[self._read :]):
                limits = bounds(condition, state, references[self._read + at] if references else None)
                if final[at] and value is not None and limits is not None:
                    bound = limits.lower if self._final_side == "lower" else limits.upper
                    final[at] = bound is not None and (value < bound if self._final_side == "lower" else value > bound)
        return final

    def _explain(
        self,
        state: State,
        new_state: State,
        judged: Sequence[bool | None],
        values: Sequence[Value | None],
        references: Sequence[Reference | None] | None,
        end: int,
    ) -> Transition:
        """Return the transition that the windows up to `end` led to."""
        alarm = self._alarm
        first = end - self._read
        datapoints = []
        for at in (first + at for at in deciding(judged[first:end], alarm.evaluation_periods)):
            value, breaches = values[at], judged[at]
            if value is None or breaches is None:
                is_filled = alarm.treat_missing_data in ("breaching", "notBreaching")
                breaches = alarm.treat_missing_data == "breaching"
                datapoints.append(DecidingDatapoint(self.windows[at], None, breaches, is_filled))
            else:
                limits = bounds(alarm.condition, state, references[at] if references else None) or Bounds()
                datapoints.append(DecidingDatapoint(self.windows[at], Decimal(value), breaches, False, *limits))
        incomparable = sum(values[at] is not None and judged[at] is None for at in range(first, end))
        open_ms = self.windows[end - 1] if end > self._read else None
        sentence = reason(alarm, state, new_state, datapoints, incomparable, open_ms)
        return Transition(state, new_state, sentence, tuple(datapoints))


def _windows(alarm: MetricAlarm, as_of_ms: int) -> range:
    span = evaluation_span(alarm, as_of_ms)
    window_ms = alarm.source.window_ms
    end_ms = span.end_ms if final_side(alarm) is None else as_of_ms - as_of_ms % window_ms + window_ms
    return range(span.start_ms, end_ms, window_ms)


# Judging a datapoint.


def bounds(condition: Condition, state: State, reference: Reference | None) -> Bounds | None:
    """
    Return the bounds that a datapoint is judged by; None where there is nothing to compare it with.

    Args:
        condition: of the alarm.
        state: of the alarm: in ALARM, the clear bound holds.
        reference: of the datapoint's window; not used by a fixed threshold. A relative threshold cannot use a 0.
    """
    in_alarm = state == "ALARM"
    if isinstance(condition, FixedThreshold):
        return _one_sided(condition.comparison, condition.clear if in_alarm else condition.value)
    if isinstance(condition, Band):
        if not isinstance(reference, Expectation):
            return None
        deviations = condition.clear_deviations if in_alarm else condition.deviations
        margin = _EXACT.multiply(deviations, reference.spread)
        lower, upper = _EXACT.subtract(reference.expected, margin), _EXACT.add(reference.expected, margin)
        match condition.comparison:
            case "outside":
                return Bounds(lower, upper)
            case "<":
                return Bounds(lower, None)
            case _:
                return Bounds(None, upper)
    if not reference or isinstance(reference, Expectation):
        return None
    percent = condition.clear_percent if in_alarm else condition.percent
    factor = _EXACT.divide(_EXACT.add(percent, 100), 100)
    return _one_sided(condition.comparison, _EXACT.multiply(Decimal(reference), factor))


def is_breaching(value: Value, comparison: Comparison, bounds: Bounds) -> bool:
    """Return whether a datapoint breaches: lies outside of the bounds or, with "<=" and ">=", on them."""
    lower, upper = bounds
    if lower is not None and (value <= lower if comparison == "<=" else value < lower):
        return True
    return upper is not None and (value >= upper if comparison == ">=" else value > upper)


def _one_sided(comparison: Comparison, bound: Decimal) -> Bounds:
    return Bounds(bound, None) if comparison in ("<", "<=") else Bounds(None, bound)


def _judge(condition: Condition, state: State) -> _Judge:
    """Return what says which values breach, given their references; None: missing, or nothing to compare with."""
    if isinstance(condition, FixedThreshold):
        breaches = _COMPARE[condition.comparison]
        exact = condition.clear if state == "ALARM" else condition.value
        bound = int(exact) if exact == exact.to_integral_value() else exact  # integers compare several times as fast

        def judge_fixed(values: Sequence[Value | None], _: Sequence[Reference | None] | None) -> list[bool | None]:
            return [None if value is None else breaches(value, bound) for value in values]

        return judge_fixed

    def judge(values: Sequence[Value | None], references: Sequence[Reference | None] | None) -> list[bool | None]:
        judged: list[bool | None] = []
        for value, reference in zip(values, references or (), strict=True):
            limits = None if value is None else bounds(condition, state, reference)
            judged.append(None if value is None or limits is None else is_breaching(value, condition.comparison, limits))
        return judged

    return judge
