"""Untrusted names and exact numbers as a terminal shows them."""

from collections.abc import Mapping
from datetime import UTC, datetime

from rich.text import Text

from tallystream.core.group import GroupValue
from tallystream.core.query import Show
from tallystream.core.series import Series, Value

_DAY_MS = 86_400_000


def printable(text: str) -> str:
    r"""
    Return text that cannot steer a terminal: what is not printable becomes an escape such as \x1b or \u202e.

    Event names come from outside. A name must neither send escape sequences nor turn the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    # Written out, since repr differs from what JSON and other languages can read back.
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
    code = ord(character)
    return named.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def value_label(value: GroupValue) -> Text:
    """Return a group value for a terminal; NULL, numbers and true or false look different from text of the same letters."""
    if value is None:
        return Text("NULL", style="dim italic")
    if isinstance(value, str):
        return Text(printable(value) if value else '""', style="" if value else "dim")
    return Text(str(value).lower() if isinstance(value, bool) else str(value), style="italic")


def group_label(series: Series) -> Text:
    """Return the name of a series: its group's values, `other`, or `all` where nothing is kept apart."""
    if series.other:
        return Text("other", style="dim italic")
    return Text(" · ").join(map(value_label, series.group.values())) if series.group else Text("all")


def exact(value: Value, show: Show) -> str:
    """Return a value as tables show it: measures in full, shares and changes as a percentage, rates to 3 decimals."""
    if value is None:
        return "–"
    if show in ("share", "change"):
        return f"{value * 100:{'+' if show == 'change' else ''},.1f} %"
    if show == "rate":
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,f}"


_SUFFIXES: Mapping[int, str] = {12: "T", 9: "G", 6: "M", 3: "k"}


def short(value: float, show: Show) -> str:
    """Return a value of a few characters, as on an axis: 1.2k, 3M, 25 %."""
    if show in ("share", "change"):
        return f"{value * 100:.4g} %"
    exponent = next((exponent for exponent in _SUFFIXES if abs(value) >= 10**exponent), 0)
    return f"{value / 10**exponent:.4g}{_SUFFIXES.get(exponent, '')}"


def clock(time_ms: int, step_ms: int) -> str:
    """Return a UTC time as precise as windows of step_ms need it: a date, minutes, seconds or milliseconds."""
    at = datetime.fromtimestamp(time_ms // 1_000, UTC)
    if step_ms % _DAY_MS == 0:
        return f"{at:%Y-%m-%d}"
    if step_ms % 60_000 == 0:
        return f"{at:%Y-%m-%d %H:%M}"
    if step_ms % 1_000 == 0:
        return f"{at:%Y-%m-%d %H:%M:%S}"
    return f"{at:%Y-%m-%d %H:%M:%S}.{time_ms % 1_000:03d}"
