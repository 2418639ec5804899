"""Times as people write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.relative_time import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time

NOW_MS = 1_790_000_000_123


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("now", NOW_MS),
        (" now ", NOW_MS),
        ("-3h", NOW_MS - 3 * 3_600_000),
        ("now-3h", NOW_MS - 3 * 3_600_000),
        ("-90s", NOW_MS - 90_000),
        ("-7d", NOW_MS - 7 * 86_400_000),
        ("1790000000000", 1_790_000_000_000),
        ("0", 0),
        ("-86400000", -86_400_000),  # no unit: epoch milliseconds, before 1970
        ("2026-09-21", 1_789_948_800_000),
        ("2026-09-21T10:00:00Z", 1_789_984_800_000),
        ("2026-09-21t10:00:00z", 1_789_984_800_000),
        ("2026-09-21 10:00", 1_789_984_800_000),
        ("2026-09-21T12:00:00+02:00", 1_789_984_800_000),
        ("2026-09-21T10:00:00.1239999Z", 1_789_984_800_123),
        ("1969-12-31T23:59:59.9999Z", -1),
    ],
)
def test_times_are_read(text: str, time_ms: int) -> None:
    assert parse_time(text, NOW_MS) == time_ms


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "-3x", "3h", "-0h", "2026-13-01", "2026-W39-1", "10:00", "9" * 18, "-999999d", "١٢"],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time; allowed are now, -3h .* epoch milliseconds$"):
        parse_time(text, NOW_MS)


def test_a_plus_that_a_url_turned_into_a_space_is_pointed_out() -> None:
    with pytest.raises(ValueError, match="%2B"):
        parse_time("2026-09-21T12:00:00 02:00", NOW_MS)


@given(st.integers(TIME_MS_MIN, TIME_MS_MAX))
def test_what_is_formatted_is_read_again(time_ms: int) -> None:
    text = format_time(time_ms)
    assert parse_time(text, NOW_MS) == time_ms
    assert datetime.fromisoformat(text).tzinfo == UTC


def test_milliseconds_are_shown_where_there_are_any() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(-1) == "1969-12-31T23:59:59.999Z"
