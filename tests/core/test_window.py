"""Tumbling windows and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.window import DURATION_MS_MAX, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "duration_ms"),
    [
        ("1ms", 1),
        ("500ms", 500),
        ("90s", 90_000),
        ("15m", 900_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("007d", 604_800_000),
        ("36500d", DURATION_MS_MAX),
    ],
)
def test_durations_are_read(text: str, duration_ms: int) -> None:
    assert parse_duration(text) == duration_ms


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "0s", "-5m", "+5m", "1.5h", "5 m", " 5m", "5m\n", "5M", "1w", "1h30m", "٣m", "36501d", "9" * 5_000 + "s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a duration is a whole number from 1 up and a unit .*; write for example"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (1, "1ms"),
        (1_500, "1500ms"),
        (60_000, "1m"),
        (90_000, "90s"),
        (7_200_000, "2h"),
        (86_400_000, "1d"),
        (604_800_000, "7d"),
    ],
)
def test_durations_are_written_in_the_largest_unit_that_divides_them(duration_ms: int, text: str) -> None:
    assert format_duration(duration_ms) == text


@given(st.integers(1, DURATION_MS_MAX))
def test_a_written_duration_reads_as_itself(duration_ms: int) -> None:
    assert parse_duration(format_duration(duration_ms)) == duration_ms
