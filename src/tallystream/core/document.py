"""The shape of tally.toml: its tables as types, and what each value in them may be, for the reader and for editors alike."""

import difflib
import re
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tallystream.core.expression import PATH, TEXT_CHARACTERS_MAX, parse_expression
from tallystream.core.window import DURATION_PATTERN, UNITS_MS, format_duration, parse_duration

DAY_MS: Final = UNITS_MS["d"]
WINDOW_MS_MIN: Final = 10_000
WINDOW_SIZES_MS: Final = tuple(size for size in range(WINDOW_MS_MIN, DAY_MS + 1, 1_000) if DAY_MS % size == 0)
RETENTION_MS_MIN: Final = UNITS_MS["m"]
RETENTION_MS_MAX: Final = 30 * DAY_MS  # rejected events are kept for 30 days, and `tally verify` compares them with the stream

_NAME = r"^[A-Za-z0-9_-]{1,64}$"
_COUNTER_NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
_PATH = rf"^{PATH}$"
_MEASURE = rf"^(count|(sum|min|max|mean)\({PATH}\))$"
_ORIGIN = r"^([Hh][Tt][Tt][Pp][Ss]?)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$"


class Text(NamedTuple):
    """What a text may be, and what it means."""

    pattern: re.Pattern[str]  # matched against the whole text
    allowed: str
    remedy: str  # when `mend` has nothing better
    parse: Callable[[str], Any]  # of a text that matches; raises ValueError(remedy) or DefinitionError
    mend: Callable[[str], str | None]  # of a text that does not match: a remedy of its own


def _text(
    pattern: str,
    allowed: str,
    remedy: str,
    parse: Callable[[str], Any] = str,
    mend: Callable[[str], str | None] = lambda _: None,
) -> Meta:
    compiled = re.compile(pattern.removeprefix("^").removesuffix("$"))
    return Meta(pattern=pattern, extra={"text": Text(compiled, allowed, remedy, parse, mend)})


def _parse_counter_name(text: str) -> str:
    if text.lower().startswith("tally"):
        raise ValueError('choose a name that does not start with "tally": such names are Tallystream\'s own')
    return text


def _duration(minimum_ms: int = 1, maximum_ms: int | None = None) -> Meta:
    bounds = "" if maximum_ms is None else f" from {format_duration(minimum_ms)} to {format_duration(maximum_ms)}"

    def parse(text: str) -> int:
        duration_ms = parse_duration(text)
        if duration_ms < minimum_ms:
            raise ValueError(f'write "{format_duration(minimum_ms)}" or more')
        if maximum_ms is not None and duration_ms > maximum_ms:
            raise ValueError(f'write "{format_duration(maximum_ms)}" or less')
        return duration_ms

    return _text(
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
    _text(
        _PATH,
        "a dotted path: 1 to 8 field names with dots between, each 1 to 128 characters, no control characters, "
        "double quotes or backslashes",
        'write the name of a field of the event, for example "amount" or "user.country"',
    ),
]
"""A path into an event: "user.country" is the field `country` of the object `user`."""

Expression = Annotated[
    str,
    _text(
        rf"^[\s\S]{{1,{TEXT_CHARACTERS_MAX}}}$",
        f"a condition on the fields of an event, at most {TEXT_CHARACTERS_MAX:,} characters",
        "write for example \"event == 'donation' and amount > 0\"",
        parse_expression,
    ),
]
Duration = Annotated[str, _duration()]
WindowSize = Annotated[
    str,
    _text(
        DURATION_PATTERN,
        "a window from 10s to 1d, in whole seconds, that divides a day evenly",
        'write for example "10s", "1m", "15m", "1h" or "1d"',
        _parse_window,
        _mend_duration,
    ),
]
MeasureName = Annotated[
    str,
    _text(
        _MEASURE,
        '"count", "sum(field)", "min(field)", "max(field)" or "mean(field)"',
        'write for example "sum(amount)"',
        _parse_measure,
        _mend_measure,
    ),
]
Origin = Annotated[
    str,
    _text(
        _ORIGIN,
        '"https://host" or "http://host", with ":port" if it is not the usual one, and no path',
        'write for example "https://www.example.com"',
        _parse_origin,
        _mend_origin,
    ),
]
_DISTINCT: Final = {"uniqueItems": True}


class StreamTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """The stream: where an event's time is, how long raw events stay, and which events come too late or too early."""

    event_time: Annotated[
        DottedPath,
        Meta(
            description="Dotted path of the event's time: ISO 8601 (no offset means UTC), or epoch s, ms, us or ns.",
            examples=["utc_timestamp"],
        ),
    ]
    missing_event_time: Annotated[
        Literal["reject", "arrival"],
        Meta(description='What becomes of an event without a time: "reject" it, or give it the time of its "arrival".'),
    ] = "reject"
    event_id: (
        Annotated[
            DottedPath,
            Meta(description="Dotted path of an id; a second event with the same id is a duplicate and is not counted."),
        ]
        | UnsetType
    ) = UNSET
    partition_key: (
        Annotated[
            DottedPath,
            Meta(description="Dotted path of the value that chooses the shard. Left out: the shards take turns."),
        ]
        | UnsetType
    ) = UNSET
    shards: Annotated[int, Meta(ge=1, le=64, description="How many shards the stream has.")] = 2
    retention: Annotated[
        str,
        _duration(RETENTION_MS_MIN, RETENTION_MS_MAX),
        Meta(description="How long raw events stay readable, 1m to 30d."),
    ] = "24h"
    allowed_lateness: (
        Annotated[
            Duration,
            Meta(description="An event older than this on arrival is late and is not counted. Left out: no bound."),
        ]
        | UnsetType
    ) = UNSET
    allowed_future: (
        Annotated[
            Duration,
            Meta(description="An event further ahead than this on arrival is rejected. Left out: no bound."),
        ]
        | UnsetType
    ) = UNSET
    backlog_events_max: Annotated[
        int,
        Meta(ge=1_000, description="New events are refused (429) while more than this many wait to be counted."),
    ] = 5_000_000


class CounterTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """A counter: which events it counts, in which groups and windows, and what it measures."""

    name: Annotated[
        str,
        _text(
            _COUNTER_NAME,
            '1 to 64 letters, digits, _ and -, beginning with a letter or _, but not with "tally"',
            'write for example "page_views"',
            _parse_counter_name,
        ),
        Meta(
            description='Name of the counter, unique; it does not begin with "tally".',
            extra_json_schema={"not": {"pattern": "^[Tt][Aa][Ll][Ll][Yy]"}},
        ),
    ]
    where: (
        Annotated[
            Expression,
            Meta(
                description="Condition on the event's fields. Left out: every event is counted.",
                examples=["event == 'donation' and amount > 0"],
            ),
        ]
        | UnsetType
    ) = UNSET
    group_by: Annotated[
        tuple[DottedPath, ...],
        Meta(
            max_length=8,
            description="Dotted paths; each combination of their values is counted apart. Empty: one total.",
            extra_json_schema=_DISTINCT,
        ),
    ] = ()
    windows: Annotated[
        tuple[WindowSize, ...],
        Meta(
            min_length=1,
            max_length=8,
            description="Window sizes from 10s to 1d, each a divisor of a day and a multiple of the smallest.",
            examples=[["1m", "1h"]],
            extra_json_schema=_DISTINCT,
        ),
    ]
    measures: Annotated[
        tuple[MeasureName, ...],
        Meta(
            max_length=16,
            description="What is kept for each group and window. The count always is.",
            extra_json_schema=_DISTINCT,
        ),
    ] = ("count",)
    keep: (
        Annotated[
            Duration,
            Meta(description="How long a row lives after its last write; longer than the retention. Left out: for ever."),
        ]
        | UnsetType
    ) = UNSET


class BrowserTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """Events straight from web pages, with tally.js."""

    key: Annotated[
        str,
        _text(_NAME, "1 to 64 letters, digits, _ and -", 'write for example "my-site"'),
        Meta(description="The data-key of the script element. Anyone can read it: it protects nothing."),
    ]
    origins: Annotated[
        tuple[Origin, ...],
        Meta(
            min_length=1,
            description="The sites whose pages may send events.",
            examples=[["https://www.example.com"]],
            extra_json_schema=_DISTINCT,
        ),
    ]


class Document(Struct, forbid_unknown_fields=True, kw_only=True):
    """A tally.toml: what Tallystream counts, and how."""

    name: Annotated[
        str,
        _text(_NAME, "1 to 64 letters, digits, _ and -", 'write for example "web-analytics"'),
        Meta(description="Name of this definition, shown on the dashboard."),
    ]
    stream: StreamTable
    counter: Annotated[tuple[CounterTable, ...], Meta(min_length=1, description="The counters, at least one.")]
    browser: BrowserTable | UnsetType = UNSET


def document_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of tally.toml, made of the types above."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Document)}
