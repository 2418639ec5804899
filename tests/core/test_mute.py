"""Mutes on a schedule: when they hold, on clocks that are set forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.mute import WEEKDAYS, MuteSchedule, Weekday, is_muted, muted_until

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def schedule(days: str = "", times: str = "00:00-00:00", timezone: str = "UTC", alarms: tuple[str, ...] = ()) -> MuteSchedule:
    start, end = (60 * int(hour) + int(minute) for hour, _, minute in (text.partition(":") for text in times.split("-")))
    named: tuple[Weekday, ...] = tuple(day for day in WEEKDAYS if day in days) or WEEKDAYS
    return MuteSchedule(name="m", alarms=alarms, days=named, from_minute=start, to_minute=end, timezone=timezone, note="")


def at(text: str) -> int:
    """Return a time with an offset (none: UTC) in milliseconds."""
    time = datetime.fromisoformat(text)
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("muting", "first", "end"),
    [
        (schedule("sat sun"), "2026-11-28T00:00", "2026-11-30T00:00"),
        (schedule("mon", "09:00-17:30"), "2026-11-23T09:00", "2026-11-23T17:30"),
        (schedule("fri", "22:00-06:00"), "2026-11-27T22:00", "2026-11-28T06:00"),
        (schedule("fri", "22:00-00:00"), "2026-11-27T22:00", "2026-11-28T00:00"),
        (schedule("sun", "22:00-06:00"), "2026-11-29T22:00", "2026-11-30T06:00"),  # from one week into the next
        (schedule("mon", "09:00-17:00", "America/New_York"), "2026-11-23T14:00", "2026-11-23T22:00"),
        (schedule("mon", "09:00-17:00", "Asia/Kolkata"), "2026-11-23T03:30", "2026-11-23T11:30"),
        (schedule("mon", "09:00-17:00", "Pacific/Kiritimati"), "2026-11-22T19:00", "2026-11-23T03:00"),
    ],
)
def test_a_mute_is_half_open(muting: MuteSchedule, first: str, end: str) -> None:
    assert not is_muted(muting, at(first) - 1)
    assert is_muted(muting, at(first))
    assert is_muted(muting, at(end) - 1)
    assert not is_muted(muting, at(end))
    assert muted_until(muting, at(first) - 1) is None
    assert muted_until(muting, at(first)) == muted_until(muting, at(end) - 1) == at(end)


def test_one_that_never_ends_says_about_a_week() -> None:
    now_ms = at("2026-11-23T12:34")
    until_ms = muted_until(schedule(), now_ms)
    assert until_ms is not None
    assert 6 * DAY_MS < until_ms - now_ms <= 7 * DAY_MS


@pytest.mark.parametrize(
    ("times", "day", "first", "end"),
    [
        # Europe/London, 29 March 2026: at 01:00 clocks are set to 02:00.
        ("00:30-01:30", "sun", "2026-03-29T00:30+00:00", "2026-03-29T02:00+01:00"),
        ("01:30-03:00", "sun", "2026-03-29T02:00+01:00", "2026-03-29T03:00+01:00"),
        ("23:00-01:30", "sat", "2026-03-28T23:00+00:00", "2026-03-29T02:00+01:00"),
        # 25 October 2026: at 02:00 they are set to 01:00.
        ("01:30-03:00", "sun", "2026-10-25T01:30+01:00", "2026-10-25T03:00+00:00"),
        ("00:30-01:30", "sun", "2026-10-25T00:30+01:00", "2026-10-25T01:30+00:00"),
        ("01:15-01:45", "sun", "2026-10-25T01:15+01:00", "2026-10-25T01:45+00:00"),
        ("00:00-00:00", "sun", "2026-10-25T00:00+01:00", "2026-10-26T00:00+00:00"),  # a day of 25 hours
    ],
)
def test_when_clocks_are_changed_a_mute_has_no_gap(times: str, day: str, first: str, end: str) -> None:
    muting = schedule(day, times, "Europe/London")
    muted = [t for t in range(at(first) - 6 * HOUR_MS, at(end) + 6 * HOUR_MS, 5 * MINUTE_MS) if is_muted(muting, t)]
    assert muted == list(range(at(first), at(end), 5 * MINUTE_MS))


def test_a_time_that_does_not_come_mutes_nothing() -> None:
    muting = schedule("sun", "01:15-01:45", "Europe/London")
    around = range(at("2026-03-28T12:00"), at("2026-03-29T12:00"), MINUTE_MS)
    assert [t for t in around if is_muted(muting, t)] == []


def test_a_day_that_does_not_come_mutes_nothing() -> None:
    # Samoa went from 29 to 31 December 2011.
    muting = schedule("fri", "09:00-17:00", "Pacific/Apia")
    around = range(at("2011-12-29T00:00"), at("2012-01-02T00:00"), 10 * MINUTE_MS)
    assert [t for t in around if is_muted(muting, t)] == []


def test_clocks_that_are_set_back_over_midnight() -> None:
    # St. John's, 7 November 2010: at 00:01 on Sunday it became 23:01 on Saturday again.
    muting = schedule("sun", "00:00-02:00", "America/St_Johns")
    assert not is_muted(muting, at("2010-11-06T23:59-02:30"))
    assert is_muted(muting, at("2010-11-07T00:00-02:30"))
    assert is_muted(muting, at("2010-11-06T23:30-03:30"))  # the second time
    assert is_muted(muting, at("2010-11-07T01:59-03:30"))
    assert not is_muted(muting, at("2010-11-07T02:00-03:30"))


ZONES = [
    "UTC",
    "Europe/London",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Casablanca",
]
MINUTES = st.integers(0, 95).map(lambda quarter: 15 * quarter)


@given(
    days=st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    start=MINUTES,
    end=MINUTES,
    timezone=st.sampled_from(ZONES),
    now_ms=st.integers(at("2026-01-01T00:00"), at("2027-01-01T00:00")),
)
def test_away_from_changes_of_the_clock_it_is_what_the_clock_says(
    days: set[Weekday], start: int, end: int, timezone: str, now_ms: int
) -> None:
    muting = MuteSchedule(
        name="m",
        alarms=(),
        days=tuple(day for day in WEEKDAYS if day in days),
        from_minute=start,
        to_minute=end,
        timezone=timezone,
        note="",
    )
    local = datetime.fromtimestamp(now_ms / 1_000, ZoneInfo(timezone))
    offsets = {(local + timedelta(hours=hours)).utcoffset() for hours in range(-49, 50)}
    minute, today, yesterday = 60 * local.hour + local.minute, WEEKDAYS[local.weekday()], WEEKDAYS[local.weekday() - 1]
    if start < end:
        expected = today in days and start <= minute < end
    else:
        expected = (today in days and minute >= start) or (yesterday in days and minute < end)
    if len(offsets) == 1:
        assert is_muted(muting, now_ms) is expected
    until_ms = muted_until(muting, now_ms)
    assert (until_ms is not None) is is_muted(muting, now_ms)
    if until_ms is not None:
        assert is_muted(muting, (now_ms + until_ms) // 2)
        assert is_muted(muting, until_ms - 1)
        assert not is_muted(muting, until_ms) or until_ms > now_ms + 6 * DAY_MS


def test_which_alarms_it_covers() -> None:
    assert schedule().covers("a")
    assert schedule(alarms=("a",)).covers("a")
    assert not schedule(alarms=("a",)).covers("b")


@pytest.mark.parametrize(
    ("muting", "text"),
    [
        (schedule(), "every day, UTC"),
        (schedule("sun", "22:00-06:05", "Europe/London"), "sun from 22:00 to 06:05, Europe/London"),
        (schedule("sat sun"), "sat and sun, UTC"),
        (schedule("mon wed fri", "00:00-08:00"), "mon, wed and fri from 00:00 to 08:00, UTC"),
    ],
)
def test_a_schedule_in_words(muting: MuteSchedule, text: str) -> None:
    assert muting.text == text
