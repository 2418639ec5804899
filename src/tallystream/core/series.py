"""
From cells to datapoints: merge windows and groups, slide, fill, compare, and cut to the largest groups.

All that is merged is merged as partials, never as finished values: a mean over an hour is the hour's sum by the hour's
count, not the mean of sixty means.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from operator import add, attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tallystream.core.aggregate import Partial, finish, merge
from tallystream.core.group import GroupValue
from tallystream.core.query import GroupsQuery, Query, typed_value
from tallystream.core.window import Window, format_duration

Value = int | Decimal | None
Rows = dict[int, Any]  # window start → state of a measure; a window without a row is left out

_RATIO = Context(prec=20)  # of rates, shares and changes, rounded half-even like means
_EXACT = Context(prec=80)


class Group(NamedTuple):
    """What tells one series of an answer from another. Types are part of it: 1 and true are two groups."""

    values: tuple[GroupValue, ...]
    types: tuple[type, ...]


class Series(Struct, omit_defaults=True):
    """One group's datapoints, ascending by window start. `total` is the measure over the whole range, whatever is shown."""

    group: dict[str, GroupValue]
    total: Value
    points: list[tuple[int, Value]]
    other: bool = False  # all groups that have no series of their own
    previous_total: Value | UnsetType = UNSET
    previous: list[tuple[int, Value]] | UnsetType = UNSET  # of the period before, shifted onto this one


class Answer(Struct, rename={"from_ms": "from", "to_ms": "to"}):
    """The answer to a query, as GET /v1/query gives it."""

    counter: str
    window: str
    measure: str
    from_ms: int
    to_ms: int
    series: list[Series]
    groups: int  # that matched and have a row
    truncated: bool  # some were left out though no `top` asked for it


class Fold(NamedTuple):
    """How a measure is computed: partials are read into states, states merged, a state finished into a value."""

    read: Callable[[Partial], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Value] | None  # None: states are values
    zero: Value  # of a window without a row


class Table(NamedTuple):
    """One period's rows: of the groups that get a series, and of all other groups merged."""

    rows: Mapping[Group, Rows]
    rest: Rows


def fold_measure(query: Query) -> Fold:
    """Return how the query's measure is computed; the state of a count is the plain integer."""
    measure = query.measure
    if measure.function == "count":
        return Fold(attrgetter("count"), add, None, 0)
    # Only the one field that is asked for is merged.
    at = query.counter.measured_fields.index(str(measure.field))
    alone = msgspec.structs.replace(query.counter, measures=(measure,))
    return Fold(
        read=lambda partial: Partial(partial.count, (partial.fields[at],)),
        merge=merge,
        finish=lambda partial: finish(partial, alone, measure),
        zero=0 if measure.function == "sum" else None,
    )


def match_groups(query: Query, series: Mapping[int, tuple[GroupValue, ...]]) -> dict[int, Group]:
    """Return series id → the group that it belongs to in the answer, for the series that pass the query's filters."""
    group_by = query.counter.group_by
    kept = [group_by.index(field) for field in query.by]
    wanted = [(group_by.index(field), values) for field, values in query.filters.items()]
    matched = {}
    for series_id, values in series.items():
        if all(typed_value(values[at]) in allowed for at, allowed in wanted):
            some = values if len(kept) == len(group_by) else tuple(values[at] for at in kept)
            matched[series_id] = Group(some, tuple(map(type, some)))
    return matched


def find_values(groups: Iterable[tuple[GroupValue, ...]], asked: GroupsQuery) -> list[GroupValue]:
    """Return the values of a field that hold the text asked for, in any case: those that begin with it first, NULL last."""
    at = asked.counter.group_by.index(asked.field)
    containing = asked.containing.casefold()
    found = []
    for kind, value in {typed_value(values[at]) for values in groups}:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if containing in text.casefold():
            found.append(
                (value is None, not text.casefold().startswith(containing), text.casefold(), text, kind.__name__, value)
            )
    return [value for *_, value in sorted(found, key=lambda each: each[:5])[: asked.limit]]


def add_cells(rows: Mapping[int, Rows], cells: Iterable[tuple[int, int, Partial]], window_ms: int, fold: Fold) -> int:
    """
    Merge stored cells (series id, window start, partial) into windows of window_ms; return how many there were.

    `rows` holds the rows to merge into by series id; series of one group share theirs.
    """
    count = 0
    for series_id, start_ms, partial in cells:
        into = rows[series_id]
        start_ms -= start_ms % window_ms
        state = fold.read(partial)
        into[start_ms] = fold.merge(into[start_ms], state) if start_ms in into else state
        count += 1
    return count


def add_counts(into: Rows, counts: Sequence[tuple[int, int]], window_ms: int, stored_ms: int) -> None:
    """Add counts by stored window, (window start, count), to windows of window_ms: what `add_cells` does, for counts alone."""
    if not into and window_ms == stored_ms:
        into.update(counts)
        return
    for start_ms, count in counts:
        start_ms -= start_ms % window_ms
        into[start_ms] = into.get(start_ms, 0) + count


def merge_rows(tables: Iterable[Rows], fold: Fold) -> Rows:
    """Return the rows of several groups as those of one."""
    merged: Rows = {}
    for rows in tables:
        for start_ms, state in rows.items():
            merged[start_ms] = fold.merge(merged[start_ms], state) if start_ms in merged else state
    return merged


def slide(rows: Rows, period: Window, window_ms: int, over_ms: int, fold: Fold) -> Rows:
    """
    Return, for each window that starts in the period, the merge of the rows in the span of over_ms that ends with it.

    Windows whose span holds no row are left out. Any associative merge will do, and each row is merged three times at most
    however long the span: a span of k windows is the end of one block of k and the beginning of the next.

    Source: van Herk (1992); Gil and Werman (1993), running minimum filters.
    """
    size = over_ms // window_ms
    starts = range(period.start_ms - (size - 1) * window_ms, period.end_ms, window_ms)
    states = [rows.get(start_ms) for start_ms in starts]

    def join(a: Any, b: Any) -> Any:
        return b if a is None else a if b is None else fold.merge(a, b)

    to_block_end = states[:]
    for at in range(len(states) - 2, -1, -1):
        if (at + 1) % size:
            to_block_end[at] = join(states[at], to_block_end[at + 1])
    from_block_start = states[:]
    for at in range(1, len(states)):
        if at % size:
            from_block_start[at] = join(from_block_start[at - 1], states[at])
    slid: Rows = {}
    for last in range(size - 1, len(states)):
        first = last - size + 1
        state = from_block_start[last] if first % size == 0 else join(to_block_end[first], from_block_start[last])
        if state is not None:
            slid[starts[last]] = state
    return slid


def total_of(rows: Rows, period: Window, fold: Fold) -> Value:
    """Return the measure over a whole period."""
    states: Iterable[Any] = rows.values()
    if rows and (min(rows) < period.start_ms or max(rows) >= period.end_ms):
        states = (state for start_ms, state in rows.items() if period.start_ms <= start_ms < period.end_ms)
    if fold.finish is None:
        count: int = sum(states)
        return count
    total = reduce(lambda a, b: b if a is None else fold.merge(a, b), states, None)
    return fold.zero if total is None else fold.finish(total)


def rank(totals: Mapping[Group, Value]) -> list[Group]:
    """Return the groups, largest total first, those without one last; equal ones in the order of their values' text."""

    def place(group: Group) -> tuple[Any, ...]:
        total = totals[group]
        text = [(str(value), kind.__name__) for value, kind in zip(group.values, group.types, strict=True)]
        return (total is None, _EXACT.minus(_number(total)), text)

    return sorted(totals, key=place)


def build_answer(
    query: Query, fold: Fold, shown: Sequence[Group], tables: Sequence[Table], groups: int, *, has_other: bool
) -> Answer:
    """
    Return the answer from the rows of each of the query's periods.

    Args:
        query: what was asked.
        fold: of its measure.
        shown: the groups that get a series, largest first.
        tables: one for each of query.periods; rows from `lead_ms` before the period on, and of all groups where a share or
            `other` needs them.
        groups: how many groups matched, shown or not.
        has_other: the rest is to be a series, too.
    """
    wholes = [
        _values(query, fold, merge_rows([*table.rows.values(), table.rest], fold), period) if query.show == "share" else {}
        for table, period in zip(tables, query.periods, strict=True)
    ]
    series = []
    for group in shown:
        rows = [table.rows.get(group, {}) for table in tables]
        series.append(_series(query, fold, dict(zip(query.by, group.values, strict=True)), rows, wholes))
    if has_other:
        rest = _series(query, fold, {}, [table.rest for table in tables], wholes)
        rest.other = True
        series.append(rest)
    return Answer(
        counter=query.counter.name,
        window=format_duration(query.window_ms),
        measure=query.measure.name,
        from_ms=query.from_ms,
        to_ms=query.to_ms,
        series=series,
        groups=groups,
        truncated=query.top is None and groups > len(shown),
    )


def _series(
    query: Query, fold: Fold, group: dict[str, GroupValue], rows: Sequence[Rows], wholes: Sequence[Mapping[int, Value]]
) -> Series:
    periods = query.periods
    values = [_values(query, fold, some, period) for some, period in zip(rows, periods, strict=True)]
    if query.show == "change":
        shown = [_changes(query, fold, values[0], values[1])]
    else:
        shown = [_show(query, some, whole) for some, whole in zip(values, wholes, strict=True)]
    series = Series(group, total_of(rows[0], periods[0], fold), sorted(shown[0].items()))
    if query.compare:
        series.previous_total = total_of(rows[1], periods[1], fold)
    if query.has_previous:
        shift_ms = query.to_ms - query.from_ms
        series.previous = [(start_ms + shift_ms, value) for start_ms, value in sorted(shown[1].items())]
    return series


def _values(query: Query, fold: Fold, rows: Rows, period: Window) -> dict[int, Value]:
    """Return window start → value, slid and filled as asked. A window that has not begun holds nothing yet, not even 0."""
    if query.lead_ms:
        slid = slide(rows, period, query.window_ms, query.over_ms, fold)
        rows = {start_ms: state for start_ms, state in slid.items() if start_ms <= query.now_ms or start_ms in rows}
    values = rows if fold.finish is None else {start_ms: fold.finish(state) for start_ms, state in rows.items()}
    if query.fill:
        begun = range(period.start_ms, min(period.end_ms, query.now_ms + 1), query.window_ms)
        values = dict.fromkeys(begun, fold.zero) | values
    return values


def _show(query: Query, values: dict[int, Value], whole: Mapping[int, Value]) -> dict[int, Value]:
    if query.show == "rate":
        return {start_ms: _ratio(_EXACT.multiply(_number(value), 1_000), query.over_ms) for start_ms, value in values.items()}
    if query.show == "share":
        return {start_ms: _ratio(value, whole.get(start_ms)) for start_ms, value in values.items()}
    return values


def _changes(query: Query, fold: Fold, values: Mapping[int, Value], previous: Mapping[int, Value]) -> dict[int, Value]:
    """Return (value - previous) / |previous| for each window that has a row in either period and has begun."""
    shift_ms = query.to_ms - query.from_ms
    shifted = {start_ms + shift_ms: value for start_ms, value in previous.items() if start_ms + shift_ms <= query.now_ms}
    changes: dict[int, Value] = {}
    for start_ms in values.keys() | shifted.keys():
        value, before = values.get(start_ms, fold.zero), shifted.get(start_ms, fold.zero)
        difference = None if value is None or before is None else _EXACT.subtract(_number(value), _number(before))
        changes[start_ms] = _ratio(difference, None if before is None else _EXACT.abs(_number(before)))
    return changes


def _number(value: Value) -> Decimal:
    return Decimal(0 if value is None else value)


def _ratio(numerator: Value, denominator: Value) -> Value:
    """Return a quotient of 20 significant digits; None where there is nothing to divide by."""
    if numerator is None or not denominator:
        return None
    quotient = _RATIO.divide(_number(numerator), _number(denominator))
    return int(quotient) if quotient == quotient.to_integral_value() else quotient.normalize(_RATIO)
