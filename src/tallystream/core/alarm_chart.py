"""What a chart draws around an alarm's datapoints: the bounds outside of which they breach, and what was expected."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from tallystream.core.alarm import MetricAlarm
from tallystream.core.baseline import Expectation
from tallystream.core.evaluation import NO_REFERENCES, Bounds, Reference, bounds
from tallystream.core.window import Window

Steps = list[tuple[int, Decimal | None]]
"""A line of steps: each value holds from its time to the next one's, None where there is nothing to draw. The last ends it."""


class Lines(NamedTuple):
    """The lines around an alarm's datapoints; one that it does not have at all is empty."""

    lower: Steps
    upper: Steps
    expected: Steps


def chart_lines(alarm: MetricAlarm, period: Window, references: Mapping[int, Reference] = NO_REFERENCES) -> Lines:
    """
    Return the bounds by which an alarm goes into ALARM, for each window that starts in [start_ms, end_ms).

    Args:
        alarm: whose bounds are drawn.
        period: of the chart.
        references: as `evaluate` takes them.
    """
    window_ms = alarm.source.window_ms
    starts = range(period.start_ms + -period.start_ms % window_ms, period.end_ms, window_ms)
    limits = [bounds(alarm.condition, "OK", references.get(start_ms)) or Bounds() for start_ms in starts]
    expectations = [references.get(start_ms) for start_ms in starts]
    return Lines(
        lower=_steps(starts, [each.lower for each in limits]),
        upper=_steps(starts, [each.upper for each in limits]),
        expected=_steps(starts, [each.expected if isinstance(each, Expectation) else None for each in expectations]),
    )


def _steps(starts: range, values: list[Decimal | None]) -> Steps:
    if all(value is None for value in values):
        return []
    steps: Steps = []
    for start_ms, value in zip(starts, values, strict=True):
        if not steps or steps[-1][1] != value:
            steps.append((start_ms, value))
    return [*steps, (starts.stop + -(starts.stop - starts.start) % starts.step, values[-1])]
