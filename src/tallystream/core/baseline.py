"""
What is normal for a series at an hour of the week, learnt from the weeks before so that outliers in them do not matter.

The expected value is the median of the values at the same hour of the week; the spread is their median absolute deviation,
scaled so that it is the standard deviation where values are normally distributed. Half of the values may be anything
without either following them.

Source: Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", JASA 1993.
"""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from typing import Final, NamedTuple

from tallystream.core.alarm import Value
from tallystream.core.window import Window

HOUR_MS: Final = 3_600_000
WEEK_MS: Final = 7 * 24 * HOUR_MS

VALUES_MIN: Final = 8
"""With fewer values than this there is no expectation."""

VALUES_ENOUGH: Final = 30
"""With fewer values than this from the very hour, those of the hours next to it are taken, too."""

_MAD_TO_DEVIATION: Final = Decimal("1.4826")
_SPREAD_MIN: Final = Decimal("0.001")  # of the expected value: where all values were alike, any other one is far off
_ROUNDED: Final = Context(prec=20)


class Expectation(NamedTuple):
    """What a datapoint is expected to be, and how far datapoints usually are from that."""

    expected: Decimal
    spread: Decimal  # > 0


def slot_of(window_start_ms: int, window_ms: int) -> Window:
    """Return the span whose windows share an expectation: the hour, UTC, in which a window starts; a longer window alone."""
    slot_ms = max(HOUR_MS, window_ms)
    start_ms = window_start_ms - window_start_ms % slot_ms
    return Window(start_ms, start_ms + slot_ms)


def values_of_a_week(window_ms: int) -> int:
    """Return how many windows an expectation can be learnt from in each week: those of its slot and of the slots next to it."""
    return 3 * max(1, HOUR_MS // window_ms)


def history_spans(slot: Window, weeks: int) -> list[Window]:
    """Return what an expectation is learnt from, oldest first: each week's same slot, with the slots next to it."""
    length_ms = slot.end_ms - slot.start_ms
    starts = [slot.start_ms - week * WEEK_MS for week in range(weeks, 0, -1)]
    return [Window(start_ms - length_ms, start_ms + 2 * length_ms) for start_ms in starts]


def learn(
    history: Mapping[int, Value], begun_ms: int | None, slot: Window, weeks: int, window_ms: int, function: str
) -> Expectation | None:
    """
    Return what the datapoints of a slot are expected to be.

    Args:
        history: window start → value, at least of the windows in `history_spans`; windows without a value are left out.
        begun_ms: start of the series' first window; None: it has none.
        slot: as `slot_of` gives it.
        weeks: how many weeks before are learnt from.
        window_ms: length of the windows.
        function: of the measure. A window without a row is 0 for count and sum, once the series has begun; it is left out
            for others. Counts scatter at least as much as chance alone would have them (Poisson).

    Returns:
        None when less than a week has passed since the series began, or there are fewer than VALUES_MIN values.
    """
    if begun_ms is None or begun_ms > slot.start_ms - WEEK_MS:
        return None
    spans = history_spans(slot, weeks)
    length_ms = slot.end_ms - slot.start_ms
    is_zero_filled = function in ("count", "sum")

    def values(spans: Sequence[Window]) -> list[Value]:
        found = []
        for start_ms, end_ms in spans:
            first_ms = max(start_ms, begun_ms)
            for at_ms in range(first_ms + -first_ms % window_ms, end_ms, window_ms):
                value = history.get(at_ms, 0 if is_zero_filled else None)
                if value is not None:
                    found.append(value)
        return found

    learnt = values([Window(start_ms + length_ms, end_ms - length_ms) for start_ms, end_ms in spans])
    if len(learnt) < VALUES_ENOUGH:
        learnt = values(spans)
    return _expect(learnt, is_count=function == "count") if len(learnt) >= VALUES_MIN else None


def _expect(values: Sequence[Value], *, is_count: bool) -> Expectation:
    expected = _median(values)
    deviation = _median([_ROUNDED.abs(_ROUNDED.subtract(Decimal(value), expected)) for value in values])
    spread = _ROUNDED.multiply(deviation, _MAD_TO_DEVIATION)
    least = _ROUNDED.sqrt(max(expected, Decimal(1))) if is_count else _ROUNDED.abs(_ROUNDED.multiply(expected, _SPREAD_MIN))
    return Expectation(expected, max(spread, least, Decimal("1e-9")))


def _median(values: Sequence[Value]) -> Decimal:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return _ROUNDED.plus(Decimal(ordered[middle]))
    return _ROUNDED.divide(_ROUNDED.add(Decimal(ordered[middle - 1]), Decimal(ordered[middle])), 2)
