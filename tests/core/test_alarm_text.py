"""What people read of alarms."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tallystream.core.alarm import Actions, Alarm, Band, CompositeAlarm, RelativeThreshold, State, SystemSource
from tallystream.core.alarm_text import composite_reason, condition_text, format_number, format_time
from tallystream.core.baseline import Expectation
from tallystream.core.evaluation import Observed, evaluate
from tests.alarms import MINUTE_MS, NOW_MS, alarm, at, fixed

DAY_MS = 86_400_000
RELATIVE = RelativeThreshold(comparison="<", percent=Decimal(-50), clear_percent=Decimal(-50), baseline_ms=7 * DAY_MS)
BAND = Band(comparison="outside", deviations=Decimal(3), clear_deviations=Decimal(3), weeks=4)


@pytest.mark.parametrize(
    ("watched", "text"),
    [
        (alarm(fixed("<", 5), 3, 2), "count < 5 for 2 of 3 windows of 1m"),
        (alarm(fixed("<", 5), 3), "count < 5 for 3 windows of 1m"),
        (alarm(fixed(">=", "0.50"), measure="mean(amount)"), "mean(amount) >= 0.5 for a window of 1m"),
        (alarm(fixed(">", 10, 5)), "count > 10 (in ALARM: > 5) for a window of 1m"),
        (alarm(RELATIVE, 2), "count < 50 % of 7d before for 2 windows of 1m"),
        (
            alarm(msgspec.structs.replace(RELATIVE, clear_percent=Decimal("-12.5"))),
            "count < 50 % of 7d before (in ALARM: < 87.5 % of 7d before) for a window of 1m",
        ),
        (alarm(BAND), "count outside of the band of 3 deviations for a window of 1m"),
        (
            alarm(msgspec.structs.replace(BAND, comparison="<", clear_deviations=Decimal(1))),
            "count below the band of 3 deviations (in ALARM: below the band of 1 deviation) for a window of 1m",
        ),
        (
            alarm(msgspec.structs.replace(BAND, comparison=">", deviations=Decimal("2.5"), clear_deviations=Decimal("2.5"))),
            "count above the band of 2.5 deviations for a window of 1m",
        ),
        (
            alarm(fixed(">", 300), 10, source=SystemSource(metric="seconds_without_events", window_ms=10_000)),
            "seconds_without_events > 300 for 10 windows of 10s",
        ),
        (CompositeAlarm(name="c", description="", when="a and not b", actions=Actions()), "a and not b"),
    ],
)
def test_a_condition_is_a_phrase(watched: Alarm, text: str) -> None:
    assert condition_text(watched) == text


LOW = alarm(fixed("<", 5), 3, 2)


def reason_of(watched: Any, state: State, *values: Any, reference: Any = None, as_of_ms: int = NOW_MS) -> str:
    rows = at(*values)
    transition = evaluate(watched, state, as_of_ms, Observed(rows, {} if reference is None else dict.fromkeys(rows, reference)))
    assert transition is not None
    return transition.reason


def treating(treatment: str, watched: Any = LOW) -> Any:
    return msgspec.structs.replace(watched, treat_missing_data=treatment)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (reason_of(LOW, "OK", 9, 3, 1), "2 of the last 3 datapoints were < 5 (3 at 11:31, 1 at 11:32 UTC)"),
        (
            reason_of(treating("breaching"), "OK", None, None, None, 3, 9),
            "1 of the last 3 datapoints was < 5 (3 at 11:31 UTC; 1 missing one taken as breaching)",
        ),
        (
            reason_of(LOW, "OK", None, None, None, 3, None),
            "1 of the last 3 datapoints was < 5 (3 at 11:31 UTC; 2 missing ones; no datapoint since says otherwise)",
        ),
        (reason_of(LOW, "ALARM", 9, 3, 7), "1 of the last 3 datapoints was < 5 (3 at 11:31 UTC; it takes 2)"),
        (reason_of(LOW, "ALARM", 9, 8, 7), "none of the last 3 datapoints was < 5 (9 at 11:30, 8 at 11:31, 7 at 11:32 UTC)"),
        (
            reason_of(treating("notBreaching"), "ALARM", 9),
            "none of the last 3 datapoints was < 5 (9 at 11:32 UTC; 2 missing ones taken as not breaching)",
        ),
        (reason_of(LOW, "OK"), "there was no datapoint from 11:30 to 11:32 UTC (3 missing ones)"),
        (
            reason_of(treating("breaching", alarm()), "OK"),
            "there was no datapoint at 11:32 UTC (1 missing one taken as breaching)",
        ),
        (reason_of(alarm(), "OK", Decimal("6.123456789")), "the last datapoint was > 5 (6.12346 at 11:32 UTC)"),
        (reason_of(alarm(), "ALARM", 5), "the last datapoint was not > 5 (5 at 11:32 UTC)"),
        (
            reason_of(alarm(fixed(">", 10, 5)), "ALARM", 5),
            "the last datapoint was not > 5 (5 at 11:32 UTC)",
        ),
        (
            reason_of(alarm(), "OK", 1, 6, as_of_ms=NOW_MS - 30_000),
            "the last datapoint was > 5 (6 at 11:32 UTC; the window of 11:32 is not over yet)",
        ),
        (
            reason_of(alarm(fixed(">", 5), 8), "OK", *range(10, 20)),
            "8 of the last 8 datapoints were > 5 (3 more, 15 at 11:28, 16 at 11:29, 17 at 11:30, 18 at 11:31, 19 at 11:32 UTC)",
        ),
        (
            reason_of(alarm(RELATIVE), "OK", 30, reference=81),
            "the last datapoint was < 50 % of 7d before (30 against 40.5 at 11:32 UTC)",
        ),
        (
            reason_of(alarm(RELATIVE), "OK", 30),
            "there was no datapoint at 11:32 UTC (1 missing one; 1 had nothing to compare with)",
        ),
        (
            reason_of(alarm(BAND), "OK", 30, reference=Expectation(Decimal(100), Decimal(10))),
            "the last datapoint was outside of the band of 3 deviations (30 against 70 to 130 at 11:32 UTC)",
        ),
    ],
)
def test_a_reason_is_a_sentence_with_numbers(found: str, reason: str) -> None:
    assert found == reason


def test_a_composite_alarm_says_which_alarms_decided() -> None:
    assert composite_reason("a and not b", "ALARM", {"a", "b"}, {"a"}) == "a and not b holds: a is in ALARM; b is not"
    assert composite_reason("a or b", "OK", {"b", "a"}, {"c"}) == "a or b does not hold: a and b are not in ALARM"
    assert composite_reason("a", "ALARM", {"a"}, {"a"}) == "a holds: a is in ALARM"
    assert composite_reason("not a", "ALARM", {"a"}, ()) == "not a holds: a is not in ALARM"


def test_times_are_as_exact_as_the_window() -> None:
    assert format_time(NOW_MS, 10_000) == "11:33:00"
    assert format_time(NOW_MS, MINUTE_MS) == "11:33"
    assert format_time(NOW_MS, DAY_MS) == "2026-11-23"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (5, "5"),
        (10**18, "1000000000000000000"),
        (Decimal("5.00"), "5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0.1234567"), "0.123457"),
        (Decimal("12345678.9"), "12345679"),
        (Decimal("123456.78"), "123457"),
        (123_456_789, "123456789"),
        (Decimal("-2.5"), "-2.5"),
        (Decimal(0), "0"),
    ],
)
def test_numbers_are_short(number: Any, text: str) -> None:
    assert format_number(number) == text
