"""Untrusted names and exact numbers as a terminal shows them."""

from collections.abc import Mapping
from datetime import UTC, datetime

from rich.text import Text

from tallystream.core.group import GroupValue
from tallystream.core.printable import printable
from tallystream.core.query import Show
from tallystream.core.series import Series, Value

_DAY_MS = 86_400_000


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
