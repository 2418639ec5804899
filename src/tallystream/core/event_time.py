"""Event times: what producers write as a time, read singly or a whole column at once."""

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import NamedTuple

# A slot names the stretch of time that an event falls into: the leading characters of its ISO text, or its start in ms.
Slot = str | int

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|z|[+-]\d\d(?::?[0-5]\d)?)?", re.ASCII)
_EPOCH = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?", re.ASCII)
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)

# An epoch number's unit is told by its size: 10^11 s is the year 5138, 10^11 ms is 1973, and so on up.
_EPOCH_UNITS = ((10**11, 1_000, 1), (10**14, 1, 1), (10**17, 1, 1_000), (10**20, 1, 1_000_000))

_EXACT = Context(prec=60)  # of the 40 digits that _EPOCH lets through, none is lost

# How many characters of `2026-11-23T11:33:07` name a slot of this many milliseconds.
_PREFIX_LENGTHS = {60_000: 16, 10_000: 18, 1_000: 19}

_RUN_LENGTH_MIN = 32  # of times in the same slot, for which to look for the end of a run costs less than to cut each of them


class Slots(NamedTuple):
    """A column of times, cut to a resolution."""

    slots: list[Slot | None]  # one for each time; None: the time is missing or cannot be read
    start_ms: dict[Slot, int]  # UTC milliseconds at which each slot starts
    readable: bool  # no slot is None


def slot_resolution(window_sizes_ms: Sequence[int]) -> int:
    """Return the coarsest slot length in ms (a minute, 10 s or a second) of which every window size is a multiple."""
    return next(size for size in _PREFIX_LENGTHS if all(window % size == 0 for window in window_sizes_ms))


def parse_event_time(value: object) -> int | None:
    """
    Return an event time in UTC milliseconds (rounded down), or None if the value is no event time.

    Taken are ISO 8601 date-times with seconds, any number of fraction digits and any offset (none means UTC), and epoch
    seconds, milliseconds, microseconds or nanoseconds as a number or a numeric string; the unit is told by the size.
    """
    if isinstance(value, str):
        if match := _ISO.fullmatch(value):
            return _iso_ms(match)
        if _EPOCH.fullmatch(value):
            return _epoch_ms(Decimal(value) if "." in value else int(value))
        return None
    if type(value) is float:
        return _epoch_ms(Decimal(repr(value)))  # the decimal that was written, not the double next to it
    return _epoch_ms(value) if type(value) is int else None


def _iso_ms(match: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        at = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except ValueError:
        return None
    milliseconds = int(fraction[:3].ljust(3, "0")) if fraction else 0
    return int(at.timestamp()) * 1_000 + milliseconds - _offset_ms(offset)


def _offset_ms(offset: str | None) -> int:
    if offset is None or offset in "Zz":
        return 0
    minutes = int(offset[1:3]) * 60 + int(offset[3:].lstrip(":") or 0)
    return (-minutes if offset[0] == "-" else minutes) * 60_000


def _epoch_ms(value: int | Decimal) -> int | None:
    for limit, multiplier, divisor in _EPOCH_UNITS:
        if -limit < value < limit:
            if isinstance(value, int):
                return value * multiplier // divisor
            return int(_EXACT.divide(_EXACT.multiply(value, multiplier), divisor).to_integral_value(ROUND_FLOOR))
    return None


def assign_slots(values: Sequence[object], resolution_ms: int) -> Slots:
    """
    Cut a column of event times to slots of resolution_ms (60,000, 10,000 or 1,000).

    Says the same of each value as `parse_event_time` (a test holds this), but a producer writes all its times in one
    layout, so a column of equal layout is checked by character position, for all values in one pass each, and
    only its few distinct prefixes are parsed.
    """
    column = _read_layout(values, resolution_ms)
    if column is not None:
        return column
    by_length: dict[int, list[int]] = {}  # what is no text, such as a time that is missing, has the length -1
    for index, value in enumerate(values):
        by_length.setdefault(len(value) if type(value) is str else -1, []).append(index)
    if not 1 < len(by_length) <= 8:
        return _read_each(values, resolution_ms)
    slots: list[Slot | None] = [None] * len(values)
    start_ms: dict[Slot, int] = {}
    readable = True
    for indices in by_length.values():
        part_values = [values[index] for index in indices]
        part = _read_layout(part_values, resolution_ms) or _read_each(part_values, resolution_ms)
        for index, slot in zip(indices, part.slots, strict=True):
            slots[index] = slot
        readable = readable and part.readable
        # Prefixes of different layouts (other offsets) may be equal text for different instants: keep those apart as numbers.
        if any(start_ms.get(slot, start) != start for slot, start in part.start_ms.items()):
            return _read_each(values, resolution_ms)
        start_ms |= part.start_ms
    return Slots(slots, start_ms, readable)


def _read_each(values: Sequence[object], resolution_ms: int) -> Slots:
    slots: list[Slot | None] = []
    starts: set[int] = set()
    readable = True
    for value in values:
        time_ms = parse_event_time(value)
        if time_ms is None:
            slots.append(None)
            readable = False
        else:
            start = time_ms - time_ms % resolution_ms
            slots.append(start)
            starts.add(start)
    return Slots(slots, {start: start for start in starts}, readable)


def _read_layout(values: Sequence[object], resolution_ms: int) -> Slots | None:
    """Read a column whose texts share one ISO layout, lengths and offset included; None if they do not, or one is wrong."""
    try:
        text = "\n" + "\n".join(values)  # type: ignore[arg-type]
        column = text.encode("ascii")
    except (TypeError, UnicodeEncodeError):
        return None
    layout = _ISO.fullmatch(values[0]) if values else None  # type: ignore[call-overload]
    if layout is None:
        return None
    rows, stride = len(values), layout.end() + 1
    # With all digits alike, a column of one layout is the same row again and again.
    shape = column.translate(_DIGITS_TO_ZERO)
    if shape != shape[:stride] * rows:
        return None
    for position in range(*layout.span(8)):  # whose digits must not differ
        if column[1 + position :: stride].strip(column[1 + position : 2 + position]):
            return None
    if column[18::stride].translate(None, b"012345"):  # tens of seconds, which the prefix of a minute leaves out
        return None
    slots, distinct = _cut(values, text, stride, _PREFIX_LENGTHS[resolution_ms])  # type: ignore[arg-type]
    start_ms: dict[Slot, int] = {}
    for slot in distinct:
        start = _prefix_ms(slot, layout[8])
        if start is None:
            return None
        start_ms[slot] = start
    return Slots(slots, start_ms, readable=True)  # type: ignore[arg-type]


def _cut(values: Sequence[str], text: str, stride: int, length: int) -> tuple[list[str], Collection[str]]:
    """
    Return the first characters of each value, and the distinct ones.

    Times in order, of which many begin alike, take a step for each run of such; all others are cut one by one.

    Args:
        values: texts of one length.
        text: all of them, each after a line feed.
        stride: their length, and one.
        length: how many characters.
    """
    slots: list[str] = []
    distinct: set[str] = set()
    while (row := len(slots)) < len(values):
        slot = values[row][:length]
        end = bisect_right(values, slot, row, key=lambda value: value[:length])
        is_short = end - row < _RUN_LENGTH_MIN and end < len(values)
        # Where values are not in order, the search ends anywhere, and not all before it begin so.
        if is_short or text.count("\n" + slot, row * stride, end * stride) < end - row:
            slots = [value[:length] for value in values]
            return slots, set(slots)
        slots += [slot] * (end - row)
        distinct.add(slot)
    return slots, distinct


@lru_cache(maxsize=4_096)
def _prefix_ms(prefix: str, offset: str | None) -> int | None:
    match = _ISO.fullmatch(prefix + "0000-00-00T00:00:00"[len(prefix) :] + (offset or ""))
    return _iso_ms(match) if match else None
