"""Alarms and datapoints for tests of what alarms decide."""

from decimal import Decimal
from typing import Any

from tallystream.core.alarm import Actions, Comparison, Condition, CounterSource, FixedThreshold, MetricAlarm, Value

MINUTE_MS = 60_000
NOW_MS = 1_795_433_580_000  # 2026-11-23T11:33:00Z


def alarm(
    condition: Condition | None = None, periods: int = 1, to_alarm: int | None = None, measure: str = "count", **more: Any
) -> MetricAlarm:
    source = CounterSource(counter="events", window_ms=MINUTE_MS, measure=measure, group=("a",), groups_max=100)
    settings: dict[str, Any] = {"source": source, "treat_missing_data": "missing", "wait": "early", "delay_ms": 0} | more
    return MetricAlarm(
        name="test",
        description="",
        condition=condition or fixed(">", 5),
        evaluation_periods=periods,
        datapoints_to_alarm=to_alarm or periods,
        actions=Actions(),
        **settings,
    )


def fixed(comparison: Comparison, value: float | str, clear: float | str | None = None) -> FixedThreshold:
    bound = Decimal(value)
    return FixedThreshold(comparison=comparison, value=bound, clear=bound if clear is None else Decimal(clear))


def at(*values: Value | None, end_ms: int = NOW_MS) -> dict[int, Value]:
    """Return the values of the windows before a time, oldest first."""
    starts = range(end_ms - len(values) * MINUTE_MS, end_ms, MINUTE_MS)
    return {start_ms: value for start_ms, value in zip(starts, values, strict=True) if value is not None}
