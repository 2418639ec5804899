"""
What a series is called in CloudWatch. The publish handler writes under these names; alarms and the dashboard read them.

A metric is one measure of a counter in windows of one size, `donations sum(amount) 15m`; its dimensions are the group. Each
datapoint is the absolute value of a window, stamped with the window's start. While a window fills, it is published again and
again, and CloudWatch keeps them all: of a count, which only grows, the maximum over a period as long as the window is what was
counted, however often it was published. Windows of another size are another metric: the maximum of five one-minute totals is
no five-minute total.
"""

import hashlib
import json
import re
from typing import Final

from tallystream.core.group import GroupValue
from tallystream.core.window import format_duration

OTHER: Final = "(other)"
"""The value of every dimension of the group that holds what is over a counter's cap of groups."""

_NAME_CHARACTERS_MAX: Final = 255
_VALUE_CHARACTERS_MAX: Final = 1_024
_MINUTE_MS: Final = 60_000

# What would read as another value: JSON's own words and numbers, what is written as text of JSON, and what CloudWatch refuses.
_AMBIGUOUS: Final = re.compile(r'(?:null|true|false|-?\d[\d.eE+-]*|[":].*|\s*)', re.DOTALL)
_ESCAPED: Final = re.compile(r"[^\x20-\x7e]|%(?=[0-9A-Fa-f]{2})")


def metric_name(counter: str, measure: str, window_ms: int) -> str:
    """Return the name of a metric: `donations sum(amount) 15m`."""
    return _bounded(f"{counter} {_name(measure)} {format_duration(window_ms)}", _NAME_CHARACTERS_MAX)


def statistic(measure: str) -> str:
    """
    Return the statistic that gives a window's final value out of all that were published of it.

    It does for what only grows (count, max, and sum unless amounts are negative) or only falls (min). A mean does either: the
    average of what was published is near it, and no more.
    """
    function = measure.partition("(")[0]
    return {"min": "Minimum", "mean": "Average"}.get(function, "Maximum")


def dimensions(group_by: tuple[str, ...], group: tuple[GroupValue, ...] | None) -> list[dict[str, str]]:
    """
    Return the dimensions of a group, as CloudWatch takes them.

    Args:
        group_by: the counter's fields.
        group: a value for each of them; None: the group of what is over the cap.
    """
    values = [OTHER] * len(group_by) if group is None else [dimension_value(value) for value in group]
    return [{"Name": dimension_name(field), "Value": value} for field, value in zip(group_by, values, strict=True)]


def dimension_name(field: str) -> str:
    """Return how a field of group_by is called among the dimensions."""
    text = _name(field)
    # CloudWatch takes neither a leading colon nor a name of blanks.
    text = f"%{ord(text[0]):02X}{text[1:]}" if text[0] in ": " else text
    return _bounded(text, _NAME_CHARACTERS_MAX)


def dimension_value(value: GroupValue) -> str:
    """
    Return a group's value as a dimension's: text as it is, anything else as JSON, different values always differently.

    CloudWatch takes ASCII alone, so other characters are percent-encoded as in a URL. Text that reads like JSON is quoted: 12
    is the number, "12" the text. Text over 1,024 characters is cut and ends with a hash of the whole.
    """
    is_plain = isinstance(value, str) and value != OTHER and _AMBIGUOUS.fullmatch(value) is None
    text = str(value) if is_plain else json.dumps(value, ensure_ascii=False)
    return _bounded(_ascii(text), _VALUE_CHARACTERS_MAX)


def storage_resolution(window_ms: int) -> int:
    """Return how finely CloudWatch is to keep a metric, in seconds: 60, or 1 where windows are not whole minutes."""
    return 60 if window_ms % _MINUTE_MS == 0 else 1


def _name(text: str) -> str:
    return _ascii(text).replace("'", "%27")  # the dashboard searches for names in single quotes


def _ascii(text: str) -> str:
    return _ESCAPED.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def _bounded(text: str, characters_max: int) -> str:
    if len(text) <= characters_max:
        return text
    return f"{text[: characters_max - 17]}~{hashlib.sha256(text.encode()).hexdigest()[:16]}"
