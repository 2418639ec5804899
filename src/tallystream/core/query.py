"""What a query asks for, parsed and checked: parameters in, a Query or one clear QueryError out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal, NoReturn, get_args

import msgspec

from tallystream.core.definition import Counter, Definition, Measure
from tallystream.core.errors import QueryError
from tallystream.core.group import GroupValue
from tallystream.core.relative_time import TIME_MS_MAX, TIME_MS_MIN, format_time, parse_time
from tallystream.core.window import UNITS_MS, Window, format_duration, parse_duration

POINTS_MAX: Final = 11_000  # of a series: a week of minutes, with room
CELLS_MAX: Final = 1_000_000  # read for one answer
SERIES_MAX: Final = 1_000  # in one answer
GROUPS_DEFAULT: Final = 50  # values listed for a field
WINDOW_MS_MAX: Final = 366 * 86_400_000

Show = Literal["value", "rate", "share", "change"]
Format = Literal["json", "csv"]

_WINDOWS_BY_DEFAULT = 60
_PARAMETERS = (
    "counter", "window", "from", "to", "measure", "group.FIELD", "exact.FIELD",
    "by", "top", "other", "over", "show", "compare", "fill", "format",
)  # fmt: skip
_FILTER_PREFIXES = ("group.", "exact.")
_ADDITIVE = ("count", "sum")  # measures of which a share or a rate means something
_USUAL_WINDOWS = ("10s", "30s", "1m", "5m", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "7d", "30d", "365d")


class UnknownCounterError(QueryError):
    """The definition has no counter of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """
    A query that can be answered: every value is within its bounds, and the range is cut to whole windows.

    Windows are half-open, [start, end), aligned to the Unix epoch. The range [from_ms, to_ms) names window starts.
    """

    counter: Counter
    measure: Measure
    window_ms: int
    stored_ms: int  # the coarsest of the counter's windows that divides window_ms: the one to read
    from_ms: int  # a multiple of window_ms
    to_ms: int  # a multiple of window_ms; may lie in the future
    now_ms: int
    filters: Mapping[str, frozenset[tuple[type, GroupValue]]]  # field → the values to keep, as typed_value gives them
    by: tuple[str, ...]  # fields that stay apart, in group_by order
    top: int | None = None
    other: bool = False
    over_ms: int  # each point covers this much, ending with its window; window_ms: nothing slides
    show: Show = "value"
    compare: bool = False
    fill: bool = False
    format: Format = "json"

    @property
    def period(self) -> Window:
        """The range asked for."""
        return Window(self.from_ms, self.to_ms)

    @property
    def periods(self) -> tuple[Window, ...]:
        """The range, and the one of the same length before it where the answer needs that too."""
        if not self.compare and self.show != "change":
            return (self.period,)
        return (self.period, Window(2 * self.from_ms - self.to_ms, self.from_ms))

    @property
    def has_previous(self) -> bool:
        """Whether series hold the points of the period before. A change is that comparison: it has none of its own."""
        return self.compare and self.show != "change"

    @property
    def lead_ms(self) -> int:
        """How far before a period a sliding window begins to read."""
        return self.over_ms - self.window_ms

    @property
    def series_max(self) -> int:
        """How many groups get a series of their own."""
        return SERIES_MAX if self.top is None else self.top


def typed_value(value: GroupValue) -> tuple[type, GroupValue]:
    """Return a group value that can be compared: 1 and true are equal in Python, but two groups."""
    return type(value), value


def parse_query(parameters: Iterable[tuple[str, str]], definition: Definition, now_ms: int) -> Query:
    """
    Return the query that parameters ask for, under a definition.

    Args:
        parameters: names and texts, as in the query string of GET /v1/query; `group.FIELD`, `exact.FIELD` and `by` may be
            repeated.
        definition: whose counters can be asked.
        now_ms: what `now` and relative times refer to, UTC milliseconds since the epoch.

    Raises:
        UnknownCounterError: no such counter.
        QueryError: another parameter is missing, unknown, or not to be had.
    """
    parameters = list(parameters)
    filters = [(name, text) for name, text in parameters if name.startswith(_FILTER_PREFIXES)]
    by = [text for name, text in parameters if name == "by"]
    # The likeliest slip is a forgotten prefix: event=… for group.event=….
    fields = [f"group.{field}" for counter in definition.counters for field in counter.group_by]
    others = [(name, text) for name, text in parameters if name != "by" and not name.startswith(_FILTER_PREFIXES)]
    single = _take_single(others, _PARAMETERS, fields)
    counter = _find_counter(single, definition)
    measure = _parse_measure(single.get("measure", "count"), counter)
    window_ms, stored_ms = _parse_window(single, counter)
    from_ms, to_ms = _parse_range(single, window_ms, now_ms)
    query = Query(
        counter=counter,
        measure=measure,
        window_ms=window_ms,
        stored_ms=stored_ms,
        from_ms=from_ms,
        to_ms=to_ms,
        now_ms=now_ms,
        filters=_parse_filters(filters, counter),
        by=_parse_by(by, counter),
        top=_parse_whole(single, "top", SERIES_MAX, SERIES_MAX) if "top" in single else None,
        other=_parse_choice(single, "other", ("false", "true")) == "true",
        over_ms=_parse_over(single, window_ms),
        show=_parse_choice(single, "show", get_args(Show)),
        compare=_parse_choice(single, "compare", ("none", "previous")) == "previous",
        fill=_parse_choice(single, "fill", ("none", "zero")) == "zero",
        format=_parse_choice(single, "format", get_args(Format)),
    )
    _check_together(query)
    _check_size(query)
    return query


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsQuery:
    """Which values of a field to list."""

    counter: Counter
    field: str
    containing: str = ""
    limit: int = GROUPS_DEFAULT


def parse_groups_query(parameters: Iterable[tuple[str, str]], definition: Definition) -> GroupsQuery:
    """
    Return which values the parameters of GET /v1/groups ask for.

    Raises:
        UnknownCounterError: no such counter.
        QueryError: another parameter is missing, unknown, or not to be had.
    """
    single = _take_single(parameters, ("counter", "field", "q", "limit"))
    counter = _find_counter(single, definition)
    if "field" not in single:
        _refuse("field", f"is missing; name one of {_list(counter.group_by)}")
    _check_field("field", single["field"], counter)
    return GroupsQuery(
        counter=counter,
        field=single["field"],
        containing=single.get("q", ""),
        limit=_parse_whole(single, "limit", GROUPS_DEFAULT, SERIES_MAX),
    )


def _find_counter(single: Mapping[str, str], definition: Definition) -> Counter:
    names = [counter.name for counter in definition.counters]
    if "counter" not in single:
        _refuse("counter", f"is missing; name one of {_list(names)}")
    name = single["counter"]
    if name not in names:
        message = f'counter: there is no "{name[:60]}"; {_suggest(name, names)}the definition has {_list(names)}'
        raise UnknownCounterError("counter", message)
    return definition.counter(name)


def _take_single(parameters: Iterable[tuple[str, str]], known: Sequence[str], likely: Sequence[str] = ()) -> dict[str, str]:
    """Return parameters by name, each of which may be given once."""
    single: dict[str, str] = {}
    for name, text in parameters:
        if name not in known:
            _refuse(name[:60], f"is not a parameter; {_suggest(name, (*likely, *known))}known are {_list(known)}")
        if name in single:
            _refuse(name, "is given twice; give it once")
        single[name] = text
    return single


def _parse_whole(single: Mapping[str, str], parameter: str, default: int, largest: int) -> int:
    text = single.get(parameter, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= number <= largest:
        _refuse(parameter, f'"{text[:60]}" is not a whole number from 1 to {largest:,}')
    return number


def _parse_measure(text: str, counter: Counter) -> Measure:
    measures = {measure.name: measure for measure in counter.measures}
    measure = measures.get(text) or measures.get(text.replace(" ", ""))
    if measure is None:
        _refuse("measure", f'counter "{counter.name}" has no measure "{text[:60]}"; it has {_list(measures)}')
    return measure


def _parse_window(single: Mapping[str, str], counter: Counter) -> tuple[int, int]:
    """Return the window asked for and the stored one to read."""
    stored = _list(map(format_duration, counter.windows_ms))
    allowed = f'counter "{counter.name}" has windows of {stored}; allowed are these and their multiples up to 366d'
    if "window" not in single:
        _refuse("window", f"is missing; {allowed}")
    window_ms = _parse_span(single["window"], "window")
    divisors = [stored_ms for stored_ms in counter.windows_ms if window_ms % stored_ms == 0]
    if not divisors or window_ms > WINDOW_MS_MAX:
        _refuse("window", f'cannot be "{single["window"]}": {allowed}')
    return window_ms, divisors[-1]


def _parse_over(single: Mapping[str, str], window_ms: int) -> int:
    over_ms = _parse_span(single["over"], "over") if "over" in single else window_ms
    if over_ms % window_ms or over_ms > WINDOW_MS_MAX:
        allowed = f"a multiple of the window, {format_duration(window_ms)}, up to 366d"
        _refuse("over", f'"{single["over"]}" is not {allowed}; write for example over={format_duration(15 * window_ms)}')
    return over_ms


def _parse_span(text: str, parameter: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        _refuse(parameter, str(error))


def _parse_range(single: Mapping[str, str], window_ms: int, now_ms: int) -> tuple[int, int]:
    """Return the range rounded up to window starts: exactly those in [from, to) are in it."""
    to_ms = _parse_time(single.get("to", "now"), "to", now_ms)
    first_ms = _round_up(to_ms, window_ms) - _WINDOWS_BY_DEFAULT * window_ms
    from_ms = _parse_time(single["from"], "from", now_ms) if "from" in single else max(first_ms, TIME_MS_MIN)
    if from_ms >= to_ms:
        _refuse("from", f"{format_time(from_ms)} is not before to, {format_time(to_ms)}; ranges are half-open, [from, to)")
    return _round_up(from_ms, window_ms), _round_up(to_ms, window_ms)


def _parse_time(text: str, parameter: str, now_ms: int) -> int:
    try:
        return parse_time(text, now_ms)
    except ValueError as error:
        _refuse(parameter, str(error))


def _round_up(time_ms: int, window_ms: int) -> int:
    return -(-time_ms // window_ms) * window_ms


def _parse_by(texts: Sequence[str], counter: Counter) -> tuple[str, ...]:
    """A text that is a field as it stands, commas and blanks and all, names that field; any other, several."""
    if not texts:
        return counter.group_by
    asked: set[str] = set()
    for text in texts:
        asked |= {text} if text in counter.group_by else {field.strip() for field in text.split(",")} - {""}
    for field in asked:
        _check_field("by", field, counter)
    return tuple(field for field in counter.group_by if field in asked)


def _parse_filters(filters: Iterable[tuple[str, str]], counter: Counter) -> dict[str, frozenset[tuple[type, GroupValue]]]:
    """Several texts of a field are alternatives; so are the readings of one text after `group.`, as text and as a literal."""
    kept: dict[str, frozenset[tuple[type, GroupValue]]] = {}
    for name, text in filters:
        kind, _, field = name.partition(".")
        _check_field(f"{kind}.{field[:60]}", field, counter)
        literal = _parse_literal(text)
        if kind == "exact" and not literal:
            allowed = 'allowed are a JSON string, number, true, false and null; text goes in quotes: "click"'
            _refuse(name[:66], f"{text[:60]} is no such value; {allowed}")
        values = literal if kind == "exact" else {typed_value(text), *literal}
        kept[field] = kept.get(field, frozenset()) | values
    return kept


def _parse_literal(text: str) -> frozenset[tuple[type, GroupValue]]:
    """Return the group value that a JSON literal stands for, none if the text is no literal. 3.0 is 3, as in events."""
    try:
        literal: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return frozenset()
    if isinstance(literal, list | dict):
        return frozenset()
    whole = isinstance(literal, float) and literal.is_integer()
    return frozenset([typed_value(int(literal) if whole else literal)])


def _check_field(parameter: str, field: str, counter: Counter) -> None:
    if field not in counter.group_by:
        fields = f"it is grouped by {_list(counter.group_by)}" if counter.group_by else "it has no group_by"
        close = _suggest(field, counter.group_by)
        _refuse(parameter, f'counter "{counter.name}" is not grouped by "{field[:60]}"; {close}{fields}')


def _parse_choice(single: Mapping[str, str], parameter: str, allowed: tuple[str, ...]) -> Any:
    text = single.get(parameter, allowed[0])
    if text not in allowed:
        _refuse(parameter, f'"{text[:60]}" is not one of {_list(allowed)}')
    return text


def _check_together(query: Query) -> None:
    if query.other and query.top is None:
        _refuse("other", "holds the groups that top leaves out; add top=10, or leave other out")
    if query.show in ("rate", "share") and query.measure.function not in _ADDITIVE:
        _refuse(
            "show",
            f"a {query.show} of {query.measure.name} means nothing; it is for count and sum, others take value or change",
        )


def _check_size(query: Query) -> None:
    first_ms = query.periods[-1].start_ms - query.lead_ms
    if not TIME_MS_MIN <= first_ms <= query.to_ms <= TIME_MS_MAX:
        _refuse(
            "from",
            f"the range reads windows outside {format_time(TIME_MS_MIN)} to {format_time(TIME_MS_MAX)}; choose a later one",
        )
    span_ms = query.to_ms - query.from_ms + query.lead_ms
    if span_ms > POINTS_MAX * query.window_ms or span_ms > CELLS_MAX * query.stored_ms:
        least_ms = span_ms / POINTS_MAX
        usual = [text for text in _USUAL_WINDOWS if _is_wide_enough(parse_duration(text), least_ms, span_ms, query.counter)]
        choose = f"choose window={usual[0]} or wider, or" if usual else "choose"
        longest_ms = min(POINTS_MAX * query.window_ms, CELLS_MAX * query.stored_ms)
        unit_ms = next(unit_ms for unit_ms in UNITS_MS.values() if unit_ms <= longest_ms)
        longest = format_duration(longest_ms // unit_ms * unit_ms)
        holds = "the range and over hold" if query.lead_ms else "the range holds"
        found = f"{span_ms // query.window_ms:,} windows of {format_duration(query.window_ms)} a series"
        _refuse(
            "window",
            f"{holds} {found}, read from {format_duration(query.stored_ms)} ones; "
            f"allowed are {POINTS_MAX:,} a series and {CELLS_MAX:,} read; {choose} a range of at most {longest}",
        )


def _is_wide_enough(window_ms: int, least_ms: float, span_ms: int, counter: Counter) -> bool:
    divisors = [stored_ms for stored_ms in counter.windows_ms if window_ms % stored_ms == 0]
    return window_ms >= least_ms and bool(divisors) and span_ms <= CELLS_MAX * divisors[-1]


def _suggest(text: str, known: Sequence[str]) -> str:
    close = [name for name in known if name.endswith(f".{text}")] or get_close_matches(text, known, n=1)
    return f"did you mean {close[0]}? " if close else ""


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _refuse(parameter: str, message: str) -> NoReturn:
    raise QueryError(parameter, f"{parameter}: {message}")
