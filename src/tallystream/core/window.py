"""Spans of event time, and the durations that people write."""

import re
from typing import Final, NamedTuple

UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # largest first
DURATION_PATTERN: Final = r"^[0-9]+(ms|s|m|h|d)$"
DURATION_MS_MAX: Final = 36_500 * UNITS_MS["d"]  # a century: any longer is a slip of the finger

_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d)")


class Window(NamedTuple):
    """A half-open span of event time, [start_ms, end_ms), UTC milliseconds since the epoch."""

    start_ms: int
    end_ms: int


def parse_duration(text: str) -> int:
    """
    Return the milliseconds of a duration: a whole number > 0 and a unit (ms, s, m, h, d), such as "90s" or "7d".

    Raises:
        ValueError: the text is anything else, or longer than 36,500 days.
    """
    match = _DURATION.fullmatch(text)
    duration_ms = int(match[1]) * UNITS_MS[match[2]] if match else 0
    if not 0 < duration_ms <= DURATION_MS_MAX:
        raise ValueError(
            f"a duration is a whole number from 1 up and a unit (ms, s, m, h or d), at most 36500d; got {text[:40]!r}; "
            'write for example "90s", "15m", "24h" or "7d"'
        )
    return duration_ms


def format_duration(duration_ms: int) -> str:
    """Return a duration in the largest unit that divides it: 60000 is "1m", 90000 is "90s"."""
    unit = next(unit for unit, unit_ms in UNITS_MS.items() if duration_ms % unit_ms == 0)
    return f"{duration_ms // UNITS_MS[unit]}{unit}"
