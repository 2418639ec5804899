"""Answers as CSV that a spreadsheet can open without running anything."""

from collections.abc import Iterator
from decimal import Decimal

from tallystream.core.group import GroupValue
from tallystream.core.query import Query
from tallystream.core.relative_time import format_time
from tallystream.core.series import Answer, Series, Value

# What makes a spreadsheet read a cell as a formula, full-width forms included, or skip to such a character.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def render_csv(query: Query, answer: Answer) -> bytes:
    """
    Return an answer as UTF-8 CSV by RFC 4180: a header, then a row for each point, series by series.

    Columns: window_start (ISO 8601, UTC), the fields of `by`, `other` where asked for or needed, the value, and `previous`
    where compared. Text is always quoted, and begins with an apostrophe where a spreadsheet would take it for a formula;
    numbers are bare. A missing field is NULL, a missing value is empty.
    """
    return "".join(",".join(cells) + "\r\n" for cells in _rows(query, answer)).encode()


def _rows(query: Query, answer: Answer) -> Iterator[list[str]]:
    value = answer.measure if query.show == "value" else f"{query.show} of {answer.measure}"
    has_other = query.other or any(series.other for series in answer.series)
    columns = [
        "window_start",
        *query.by,
        *(["other"] if has_other else []),
        value,
        *(["previous"] if query.has_previous else []),
    ]
    yield [_text(column) for column in columns]
    for series in answer.series:
        group = [_cell(series.group.get(field)) for field in query.by]
        if has_other:
            group = [*([_text("")] * len(query.by) if series.other else group), _cell(series.other)]
        for start_ms, cells in _points(series):
            yield [format_time(start_ms), *group, *cells]


def _points(series: Series) -> Iterator[tuple[int, list[str]]]:
    if not isinstance(series.previous, list):
        yield from ((start_ms, [_number(value)]) for start_ms, value in series.points)
        return
    values, previous = dict(series.points), dict(series.previous)
    for start_ms in sorted(values.keys() | previous.keys()):
        yield start_ms, [_number(values.get(start_ms)), _number(previous.get(start_ms))]


def _cell(value: GroupValue) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _text(value) if isinstance(value, str) else repr(value)


def _number(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _text(text: str) -> str:
    safe = f"'{text}" if text.startswith(_FORMULA_STARTS) else text
    return '"' + safe.replace('"', '""') + '"'
