"""Mutes on a schedule: times of the week, on the clock of a place, during which an alarm tells nobody."""

from bisect import bisect_left
from datetime import date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = get_args(Weekday)

_DAY: Final = timedelta(days=1)


class MuteSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """
    A mute that comes back: on each of the days, from one time of day up to, not including, another.

    Times are those of a clock on the wall. Where it is set forward over a bound, the bound is the moment of the change; where
    it is set back, a time that comes twice begins a mute the first time and ends it the second.
    """

    name: str
    alarms: tuple[str, ...]  # empty: all
    days: tuple[Weekday, ...]  # on which it begins; from Monday on
    from_minute: int  # of the day, 0 to 1439
    to_minute: int  # 0 to 1439; not later than from_minute: of the next day
    timezone: str  # an IANA name: "Europe/London"
    note: str

    def covers(self, alarm: str) -> bool:
        """Return whether it is about an alarm."""
        return not self.alarms or alarm in self.alarms

    @property
    def text(self) -> str:
        """When it mutes, in words: `sat and sun from 22:00 to 06:00, Europe/London`."""
        days = "every day" if self.days == WEEKDAYS else _enumerate(self.days)
        is_whole = self.from_minute == self.to_minute == 0
        times = "" if is_whole else f" from {format_clock(self.from_minute)} to {format_clock(self.to_minute)}"
        return f"{days}{times}, {self.timezone}"


def is_muted(schedule: MuteSchedule, at_ms: int) -> bool:
    """Return whether a schedule mutes at a time, UTC milliseconds."""
    return _end(schedule, at_ms) is not None


def muted_until(schedule: MuteSchedule, at_ms: int) -> int | None:
    """
    Return when the mute that is under way at a time ends, UTC milliseconds; None: none is.

    Mutes that follow each other without a gap are one. Of one that never ends, the answer is about a week ahead.
    """
    until_ms = end_ms = _end(schedule, at_ms)
    for _ in WEEKDAYS:
        if end_ms is not None:
            until_ms, end_ms = end_ms, _end(schedule, end_ms)
    return until_ms


def _end(schedule: MuteSchedule, at_ms: int) -> int | None:
    """Return the end of the occurrence that holds a time."""
    zone = ZoneInfo(schedule.timezone)
    today = datetime.fromtimestamp(at_ms // 1_000, zone).date()
    for day in (today - _DAY, today, today + _DAY):  # tomorrow's may have begun: clocks are set back over midnight, too
        if WEEKDAYS[day.weekday()] in schedule.days:
            last_day = day if schedule.from_minute < schedule.to_minute else day + _DAY
            end_ms = _instant(zone, last_day, schedule.to_minute, is_end=True)
            if _instant(zone, day, schedule.from_minute, is_end=False) <= at_ms < end_ms:
                return end_ms
    return None


def _instant(zone: ZoneInfo, day: date, minute: int, *, is_end: bool) -> int:
    """Return when a clock in the zone shows a minute of a day, or is set forward over it, UTC milliseconds."""
    hour, minute = divmod(minute, 60)
    wall = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
    first, second = (int(wall.replace(fold=fold).timestamp()) for fold in (0, 1))
    if first > second:  # there is no such time on that day: PEP 495 reads it by the offset before, and by the one after
        span = range(second, first + 1)  # holds the change; times of one zone compare as a clock shows them
        return 1_000 * span[bisect_left(span, wall, key=lambda at: datetime.fromtimestamp(at, zone))]
    return 1_000 * (second if is_end else first)


def format_clock(minute: int) -> str:
    """Return a minute of the day as a clock shows it: 90 is `01:30`."""
    return "{:02d}:{:02d}".format(*divmod(minute, 60))


def _enumerate(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
