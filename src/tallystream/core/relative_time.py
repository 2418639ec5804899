"""Points in time as people ask for them: `now`, `-3h`, ISO 8601, epoch milliseconds."""

import re
from datetime import UTC, datetime
from typing import Final

from tallystream.core.window import parse_duration

TIME_MS_MIN: Final = -62_135_596_800_000  # 0001-01-01T00:00:00Z
TIME_MS_MAX: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z

_EPOCH_MS = re.compile(r"-?[0-9]{1,18}")
_AGO = re.compile(r"(?:now)?-([0-9]+[a-z]+)")
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ].+)?", re.IGNORECASE)
_LOST_PLUS = re.compile(r".+ [0-9]{2}:?[0-9]{2}")


def parse_time(text: str, now_ms: int) -> int:
    """
    Return the UTC milliseconds of a point in time.

    Taken are `now`, a duration before it (`-3h`, `now-3h`), ISO 8601 dates and date-times (no offset means UTC, what is finer
    than a millisecond is cut off), and epoch milliseconds.

    Args:
        text: as a person or a program wrote it.
        now_ms: what `now` stands for, UTC milliseconds since the epoch.

    Raises:
        ValueError: the text is none of these, or outside the years 1 to 9999.
    """
    time_ms = _parse(text.strip(), now_ms)
    if time_ms is None or not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        # An offset's + that is not escaped in a URL arrives as a space.
        plus = "; write the + of an offset as %2B in a URL" if _LOST_PLUS.fullmatch(text) else ""
        raise ValueError(
            f'"{text[:60]}" is not a time; allowed are now, -3h (s, m, h or d ago), ISO 8601 such as 2026-09-21T10:00:00Z, '
            f"and epoch milliseconds{plus}"
        )
    return time_ms


def _parse(text: str, now_ms: int) -> int | None:
    if text == "now":
        return now_ms
    if _EPOCH_MS.fullmatch(text):
        return int(text)
    try:
        if ago := _AGO.fullmatch(text):
            return now_ms - parse_duration(ago[1])
        if _ISO.fullmatch(text):
            return _epoch_ms(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        return None
    return None


def _epoch_ms(at: datetime) -> int:
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def format_time(time_ms: int) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds only where there are any: 2026-09-21T10:00:00Z."""
    seconds, milliseconds = divmod(time_ms, 1_000)
    text = datetime.fromtimestamp(seconds, UTC).isoformat()[:19]
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"
