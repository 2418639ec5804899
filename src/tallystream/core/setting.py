"""What a single value of tally.toml may be: its pattern, its meaning, and the words for a mistake in it."""

import difflib
import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta

from tallystream.core.expression import PATH, TEXT_CHARACTERS_MAX, parse_expression
from tallystream.core.window import DURATION_PATTERN, UNITS_MS, format_duration, parse_duration

DAY_MS: Final = UNITS_MS["d"]
WINDOW_MS_MIN: Final = 10_000
WINDOW_SIZES_MS: Final = tuple(size for size in range(WINDOW_MS_MIN, DAY_MS + 1, 1_000) if DAY_MS % size == 0)

_PATH = rf"^{PATH}$"
_MEASURE = rf"^(count|(sum|min|max|mean)\({PATH}\))$"
_ORIGIN = r"^([Hh][Tt][Tt][Pp][Ss]?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"


DISTINCT: Final = {"uniqueItems": True}
"""Goes into the JSON Schema of a list whose values must differ."""


class Text(NamedTuple):
    """What a text may be, and what it means."""

    pattern: re.Pattern[str]  # matched against the whole text
    allowed: str
    remedy: str  # when `mend` has nothing better
    parse: Callable[[str], Any]  # of a text that matches; raises ValueError(remedy) or DefinitionError
    mend: Callable[[str], str | None]  # of a text that does not match: a remedy of its own


def text_kind(
    pattern: str,
    allowed: str,
    remedy: str,
    parse: Callable[[str], Any] = str,
    mend: Callable[[str], str | None] = lambda _: None,
) -> Meta:
    """Return what says what a text may be; the pattern goes into the JSON Schema, too."""
    compiled = re.compile(pattern.removeprefix("^").removesuffix("$"))
    return Meta(pattern=pattern, extra={"text": Text(compiled, allowed, remedy, parse, mend)})


def name_kind(example: str) -> Meta:
    """Return what says that a text is the name of something, such as the example."""
    return text_kind(r"^[A-Za-z0-9_-]{1,64}$", "1 to 64 letters, digits, _ and -", f'write for example "{example}"')


def duration_kind(minimum_ms: int = 1, maximum_ms: int | None = None) -> Meta:
    """Return what says that a text is a duration, from the one bound to the other; it means milliseconds. 0 may be allowed."""
    minimum = format_duration(minimum_ms) if minimum_ms else "0s"
    bounds = "" if maximum_ms is None else f" from {minimum} to {format_duration(maximum_ms)}"

    def parse(text: str) -> int:
        duration_ms = 0 if minimum_ms == 0 and int(text.rstrip("dhms")) == 0 else parse_duration(text)
        if duration_ms < minimum_ms:
            raise ValueError(f'write "{minimum}" or more')
        if maximum_ms is not None and duration_ms > maximum_ms:
            raise ValueError(f'write "{format_duration(maximum_ms)}" or less')
        return duration_ms

    return text_kind(
        DURATION_PATTERN,
        f"a duration{bounds}: a whole number and a unit, ms, s, m, h or d",
        'write for example "90s", "15m", "24h" or "7d"',
        parse,
        _mend_duration,
    )


def _mend_duration(text: str) -> str | None:
    match = re.fullmatch(r"\s*([0-9]+)\s*(ms|s|m|h|d|w)[a-z]*\s*", text.lower())
    if not match:
        return None
    number, unit = (str(7 * int(match[1])), "d") if match[2] == "w" else (match[1], match[2])
    return f'write "{number}{unit}"'


def _parse_window(text: str) -> int:
    size_ms = parse_duration(text)
    if size_ms not in WINDOW_SIZES_MS:
        unit = format_duration(size_ms).lstrip("0123456789")  # 7m is to become 6m or 8m, not 400s
        sizes = [size for size in WINDOW_SIZES_MS if size % UNITS_MS[unit] == 0]
        nearest = sorted(sorted(sizes, key=lambda size: abs(size - size_ms))[:2])
        raise ValueError("write " + " or ".join(f'"{format_duration(size)}"' for size in nearest))
    return size_ms


def _parse_measure(text: str) -> tuple[str, str | None]:
    function, _, rest = text.partition("(")
    return function, rest.removesuffix(")") or None


_FUNCTIONS: Final = {name: name for name in ("count", "sum", "min", "max", "mean")} | {
    "average": "mean",
    "avg": "mean",
    "total": "sum",
    "median": None,  # close to mean in letters only
}


def _mend_measure(text: str) -> str | None:
    function, _, rest = (part.strip() for part in text.partition("("))
    meant = next((_FUNCTIONS[name] for name in difflib.get_close_matches(function.lower(), _FUNCTIONS, 1)), None)
    if meant is None:
        return None
    return 'write "count"; it takes no field' if meant == "count" else f'write "{meant}({rest.rstrip(") ") or "amount"})"'


def _parse_origin(text: str) -> str:
    """Return the origin as browsers send it: lower case, an address in short form, no port that the scheme implies."""
    match = re.fullmatch(_ORIGIN[1:-1], text.lower())
    assert match is not None
    scheme, host, port = match[1], match[2], int((match[3] or ":0")[1:])
    if match[3] and not 1 <= port <= 65_535:
        raise ValueError("write a port from 1 to 65535, or none")
    if host[0] == "[":
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError('write an IPv6 address in the brackets, for example "http://[::1]"') from None
    return f"{scheme}://{host}" if port in (0, {"http": 80, "https": 443}[scheme]) else f"{scheme}://{host}:{port}"


def _mend_origin(text: str) -> str | None:
    if "*" in text:
        return 'name each site that may send, for example "https://www.example.com"; a wildcard would let any page send events'
    match = re.match(r"[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\s\"]+(?=[/?#])", text)
    return f'write "{match[0]}": the origin alone, without a path' if match else None


DottedPath = Annotated[
    str,
    text_kind(
        _PATH,
        "a dotted path: 1 to 8 field names with dots between, each 1 to 128 characters, no control characters, "
        "double quotes or backslashes",
        'write the name of a field of the event, for example "amount" or "user.country"',
    ),
]
"""A path into an event: "user.country" is the field `country` of the object `user`."""

Expression = Annotated[
    str,
    text_kind(
        rf"^[\s\S]{{1,{TEXT_CHARACTERS_MAX}}}$",
        f"a condition on the fields of an event, at most {TEXT_CHARACTERS_MAX:,} characters",
        "write for example \"event == 'donation' and amount > 0\"",
        parse_expression,
    ),
]
Duration = Annotated[str, duration_kind()]
WindowSize = Annotated[
    str,
    text_kind(
        DURATION_PATTERN,
        "a window from 10s to 1d, in whole seconds, that divides a day evenly",
        'write for example "10s", "1m", "15m", "1h" or "1d"',
        _parse_window,
        _mend_duration,
    ),
]
MeasureName = Annotated[
    str,
    text_kind(
        _MEASURE,
        '"count", "sum(field)", "min(field)", "max(field)" or "mean(field)"',
        'write for example "sum(amount)"',
        _parse_measure,
        _mend_measure,
    ),
]
Origin = Annotated[
    str,
    text_kind(
        _ORIGIN,
        '"https://host" or "http://host", with ":port" if it is not the usual one, and no path',
        'write for example "https://www.example.com"',
        _parse_origin,
        _mend_origin,
    ),
]
