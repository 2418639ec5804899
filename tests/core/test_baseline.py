"""What is normal at an hour of the week, whatever happened in some of the weeks before."""

import math
import statistics
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.alarm import Value
from tallystream.core.baseline import HOUR_MS, WEEK_MS, Expectation, history_spans, learn, slot_of
from tallystream.core.window import Window

MINUTE_MS = 60_000
SLOT = Window(1_795_431_600_000, 1_795_435_200_000)  # an hour, 2026-11-23T11:00Z
LONG_AGO = 0
PRECISE = Context(prec=20)


def history_of(values: list[Any], window_ms: int = MINUTE_MS, weeks: int = 1) -> dict[int, Value]:
    """Return values of the windows of the slot, week by week from the oldest; None is left out."""
    starts = [
        start_ms - week * WEEK_MS for week in range(weeks, 0, -1) for start_ms in range(SLOT.start_ms, SLOT.end_ms, window_ms)
    ]
    return {start_ms: value for start_ms, value in zip(starts, values, strict=False) if value is not None}


def test_windows_of_an_hour_share_what_is_expected() -> None:
    assert slot_of(SLOT.start_ms, MINUTE_MS) == slot_of(SLOT.end_ms - 1, MINUTE_MS) == SLOT
    assert slot_of(SLOT.end_ms, MINUTE_MS) == Window(SLOT.end_ms, SLOT.end_ms + HOUR_MS)
    day_ms = 24 * HOUR_MS
    day = SLOT.start_ms - SLOT.start_ms % day_ms
    assert slot_of(day, day_ms) == Window(day, day + day_ms)


def test_the_same_hours_of_the_weeks_before_are_learnt_from() -> None:
    assert history_spans(SLOT, 2) == [
        Window(SLOT.start_ms - 2 * WEEK_MS - HOUR_MS, SLOT.end_ms - 2 * WEEK_MS + HOUR_MS),
        Window(SLOT.start_ms - WEEK_MS - HOUR_MS, SLOT.end_ms - WEEK_MS + HOUR_MS),
    ]


def test_expected_is_the_median_and_spread_the_scaled_deviation_from_it() -> None:
    values = [*range(100, 130), *range(200, 230)]
    learnt = learn(history_of(values), LONG_AGO, SLOT, 1, MINUTE_MS, "sum")
    deviations = [abs(value - 164.5) for value in values]
    assert learnt == Expectation(Decimal("164.5"), Decimal(str(statistics.median(deviations))) * Decimal("1.4826"))


def test_of_an_odd_number_of_values_the_median_is_one_of_them() -> None:
    values = [1, 2, 3, 5, 8, 13, 21, 34, 55]
    learnt = learn(history_of([*values, *[None] * 51]), LONG_AGO, SLOT, 1, MINUTE_MS, "mean")
    assert learnt == Expectation(Decimal(8), Decimal("1.4826") * 6)


def test_counts_scatter_at_least_as_chance_has_them() -> None:
    assert learn(history_of([100] * 60), LONG_AGO, SLOT, 1, MINUTE_MS, "count") == Expectation(Decimal(100), Decimal(10))
    assert learn({}, LONG_AGO, SLOT, 1, MINUTE_MS, "count") == Expectation(Decimal(0), Decimal(1))
    flat = learn(history_of([-100] * 60), LONG_AGO, SLOT, 1, MINUTE_MS, "mean")
    assert flat == Expectation(Decimal(-100), Decimal("0.1"))
    assert learn({}, LONG_AGO, SLOT, 1, MINUTE_MS, "sum") == Expectation(Decimal(0), Decimal("1e-9"))


def test_windows_without_a_row_are_zero_for_counts_and_sums_alone() -> None:
    every_third = [9, None, None] * 20
    for function, expected in [("count", 0), ("sum", 0), ("mean", 9), ("max", 9), ("min", 9)]:
        learnt = learn(history_of(every_third), LONG_AGO, SLOT, 1, MINUTE_MS, function)
        assert learnt is not None and learnt.expected == expected, function


def test_before_the_series_began_nothing_is_zero() -> None:
    begun_ms = SLOT.start_ms - WEEK_MS + 30 * MINUTE_MS
    history = history_of([None] * 30 + [7] * 30)
    assert learn(history, begun_ms, SLOT, 1, MINUTE_MS, "count") is None  # less than a week ago
    late = Window(SLOT.start_ms + HOUR_MS, SLOT.end_ms + HOUR_MS)
    learnt = learn(history, begun_ms, late, 1, MINUTE_MS, "count")
    # The hour itself has nothing, and all of its windows are zero: they suffice.
    assert learnt == Expectation(Decimal(0), Decimal(1))
    learnt = learn(history, begun_ms, SLOT, 4, MINUTE_MS, "count")
    assert learnt is None
    # Of the oldest week only what followed the beginning is taken.
    long_enough = learn(history_of([None] * 30 + [7] * 30 + [7] * 60, weeks=2), begun_ms - WEEK_MS, SLOT, 4, MINUTE_MS, "count")
    assert long_enough == Expectation(Decimal(7), Decimal(7).sqrt(PRECISE))


def test_with_little_history_there_is_no_expectation() -> None:
    seven, eight = ([5] * count + [None] * (60 - count) for count in (7, 8))
    assert learn(history_of(seven), LONG_AGO, SLOT, 1, MINUTE_MS, "mean") is None
    assert learn(history_of(eight), LONG_AGO, SLOT, 1, MINUTE_MS, "mean") == Expectation(Decimal(5), Decimal("0.005"))
    assert learn(history_of([5] * 60), None, SLOT, 1, MINUTE_MS, "count") is None
    assert learn(history_of([5] * 60), SLOT.start_ms - WEEK_MS + 1, SLOT, 1, MINUTE_MS, "count") is None


def test_where_an_hour_has_few_values_those_next_to_it_are_taken_too() -> None:
    hour = dict(history_of([10] * 12, 5 * MINUTE_MS))
    around = dict.fromkeys(range(SLOT.start_ms - WEEK_MS - HOUR_MS, SLOT.start_ms - WEEK_MS, 5 * MINUTE_MS), 40)
    around |= {start_ms + 2 * HOUR_MS: 40 for start_ms in around}
    learnt = learn(hour | around, LONG_AGO, SLOT, 1, 5 * MINUTE_MS, "count")
    assert learnt is not None and learnt.expected == 40
    weekly = {start_ms - week * WEEK_MS: value for start_ms, value in hour.items() for week in range(3)}
    learnt = learn(weekly | around, LONG_AGO, SLOT, 3, 5 * MINUTE_MS, "count")
    assert learnt is not None and learnt.expected == 10


@pytest.mark.parametrize("hours", [6, 24])
def test_long_windows_are_compared_with_themselves(hours: int) -> None:
    window_ms = hours * HOUR_MS
    slot = slot_of(SLOT.start_ms, window_ms)
    history = {slot.start_ms + neighbour * window_ms - week * WEEK_MS: 50 for week in range(1, 5) for neighbour in (-1, 0, 1)}
    assert learn(history, LONG_AGO, slot, 4, window_ms, "count") == Expectation(Decimal(50), Decimal(50).sqrt(PRECISE))
    assert learn(history, LONG_AGO, slot, 2, window_ms, "count") is None  # six values


usual = st.lists(st.integers(900, 1_100), min_size=60, max_size=60)


@given(usual, st.lists(st.integers(-(10**9), 10**9), max_size=29), st.randoms(use_true_random=False))
def test_outliers_do_not_move_the_band_out_of_what_is_usual(values: list[int], outliers: list[int], chance: Any) -> None:
    clean = learn(history_of(values), LONG_AGO, SLOT, 1, MINUTE_MS, "sum")
    spoilt = values[:]
    for at, outlier in zip(chance.sample(range(60), len(outliers)), outliers, strict=True):
        spoilt[at] = outlier
    learnt = learn(history_of(spoilt), LONG_AGO, SLOT, 1, MINUTE_MS, "sum")
    assert clean is not None and learnt is not None
    # Fewer than half of the values say nothing: the median stays among the others, and so does the deviation.
    assert 900 <= learnt.expected <= 1_100
    assert learnt.spread <= Decimal("1.4826") * 200


@given(usual, st.integers(0, 59), st.integers(-(10**9), 10**9))
def test_one_outlier_moves_what_is_expected_by_no_more_than_one_rank(values: list[int], at: int, outlier: int) -> None:
    ordered = sorted(values)
    learnt = learn(history_of([*values[:at], outlier, *values[at + 1 :]]), LONG_AGO, SLOT, 1, MINUTE_MS, "sum")
    assert learnt is not None
    assert ordered[28] <= learnt.expected <= ordered[31]


@given(st.lists(st.integers(0, 10**6), min_size=60, max_size=60), st.randoms(use_true_random=False))
def test_the_order_of_the_past_does_not_matter(values: list[int], chance: Any) -> None:
    shuffled = values[:]
    chance.shuffle(shuffled)
    learnt = [learn(history_of(some), LONG_AGO, SLOT, 1, MINUTE_MS, "count") for some in (values, shuffled)]
    assert learnt[0] == learnt[1]
    assert learnt[0] is not None
    assert learnt[0].expected == Decimal(str(statistics.median(values)))
    assert learnt[0].spread >= Decimal(math.isqrt(max(1, int(learnt[0].expected))))
