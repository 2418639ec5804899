"""The lines around an alarm's datapoints."""

from decimal import Decimal

import msgspec

from tallystream.core.alarm import Band, RelativeThreshold
from tallystream.core.alarm_chart import Lines, Steps, chart_lines
from tallystream.core.baseline import Expectation
from tallystream.core.window import Window
from tests.alarms import MINUTE_MS, NOW_MS, alarm, fixed

FIVE = Window(NOW_MS, NOW_MS + 5 * MINUTE_MS)
MINUTES = [NOW_MS + at * MINUTE_MS for at in range(6)]


def test_a_fixed_threshold_is_one_line_on_its_side() -> None:
    ends: Steps = [(MINUTES[0], Decimal(5)), (MINUTES[5], Decimal(5))]
    assert chart_lines(alarm(fixed("<", 5, 8)), FIVE) == Lines(ends, [], [])
    assert chart_lines(alarm(fixed(">=", 5)), FIVE) == Lines([], ends, [])


def test_lines_begin_and_end_with_windows() -> None:
    odd = Window(NOW_MS - 1, NOW_MS + MINUTE_MS + 1)
    assert chart_lines(alarm(fixed(">", 5)), odd).upper == [(MINUTES[0], Decimal(5)), (MINUTES[2], Decimal(5))]
    assert chart_lines(alarm(fixed(">", 5)), Window(NOW_MS, NOW_MS)) == Lines([], [], [])


def test_a_band_is_drawn_in_steps_with_gaps() -> None:
    band = Band(comparison="outside", deviations=Decimal(2), clear_deviations=Decimal(1), weeks=4)
    calm, busy = Expectation(Decimal(10), Decimal(1)), Expectation(Decimal(20), Decimal(3))
    references = {MINUTES[0]: calm, MINUTES[1]: calm, MINUTES[3]: busy, MINUTES[4]: busy}
    assert chart_lines(alarm(band), FIVE, references) == Lines(
        lower=[(MINUTES[0], Decimal(8)), (MINUTES[2], None), (MINUTES[3], Decimal(14)), (MINUTES[5], Decimal(14))],
        upper=[(MINUTES[0], Decimal(12)), (MINUTES[2], None), (MINUTES[3], Decimal(26)), (MINUTES[5], Decimal(26))],
        expected=[(MINUTES[0], Decimal(10)), (MINUTES[2], None), (MINUTES[3], Decimal(20)), (MINUTES[5], Decimal(20))],
    )
    below = alarm(msgspec.structs.replace(band, comparison="<"))
    assert chart_lines(below, FIVE, references).upper == []
    assert chart_lines(below, FIVE) == Lines([], [], [])


def test_a_relative_threshold_follows_the_past() -> None:
    half = RelativeThreshold(comparison="<", percent=Decimal(-50), clear_percent=Decimal(-50), baseline_ms=3_600_000)
    lines = chart_lines(alarm(half), FIVE, {MINUTES[0]: 10, MINUTES[1]: 20, MINUTES[2]: 20, MINUTES[4]: 8})
    assert lines.lower == [
        (MINUTES[0], Decimal(5)),
        (MINUTES[1], Decimal(10)),
        (MINUTES[3], None),
        (MINUTES[4], Decimal(4)),
        (MINUTES[5], Decimal(4)),
    ]
    assert (lines.upper, lines.expected) == ([], [])
