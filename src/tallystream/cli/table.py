"""An answer as a table: windows down, groups across where they fit."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import UNSET
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tallystream.cli.display import clock, exact, group_label, value_label
from tallystream.core.printable import printable
from tallystream.core.query import Show
from tallystream.core.series import Answer, Series, Value
from tallystream.core.window import parse_duration

_GROUPS_ACROSS_MAX = 12


class _Column(NamedTuple):
    label: Text
    values: dict[int, Value]
    total: Value


def answer_table(answer: Answer, show: Show, console: Console) -> Table:
    """Return the table: a column for each group if that fits the console, otherwise a row for each window and group."""
    if len(answer.series) <= _GROUPS_ACROSS_MAX:
        table = _across(answer, show)
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            return table
    return _down(answer, show)


def _across(answer: Answer, show: Show) -> Table:
    step_ms = parse_duration(answer.window)
    columns = [column for series in answer.series for column in _columns(group_label(series), series)]
    table = _new_table()
    table.show_footer = True
    table.add_column("window (UTC)", Text("total", style="bold"), no_wrap=True)
    for column in columns:
        # A total is the measure of the whole range, whatever the points show.
        footer = Text(exact(column.total, "value"), style="bold")
        table.add_column(column.label, footer, justify="right", no_wrap=True)
    for start_ms in sorted({start_ms for column in columns for start_ms in column.values}):
        cells = (exact(column.values[start_ms], show) if start_ms in column.values else "" for column in columns)
        table.add_row(clock(start_ms, step_ms), *cells)
    return table


def _down(answer: Answer, show: Show) -> Table:
    step_ms = parse_duration(answer.window)
    fields = list(answer.series[0].group)
    columns = [column for series in answer.series for column in _columns(Text(answer.measure), series)]
    table = _new_table()
    table.add_column("window (UTC)", no_wrap=True)
    for field in fields:
        table.add_column(Text(printable(field)), overflow="fold")
    per_series = len(columns) // len(answer.series)
    for column in columns[:per_series]:
        table.add_column(column.label, justify="right", no_wrap=True)
    for at, series in enumerate(answer.series):
        some = columns[at * per_series : (at + 1) * per_series]
        group = (
            [value_label(value) for value in series.group.values()] if not series.other else [group_label(series)] * len(fields)
        )
        for start_ms in sorted({start_ms for column in some for start_ms in column.values}):
            cells = (exact(column.values[start_ms], show) if start_ms in column.values else "" for column in some)
            table.add_row(clock(start_ms, step_ms), *group, *cells)
    return table


def _columns(label: Text, series: Series) -> Iterator[_Column]:
    """Yield the columns of a series: its own, and that of the period before where the answer has one."""
    yield _Column(label, dict(series.points), series.total)
    if series.previous_total is not UNSET:
        before = {} if series.previous is UNSET else dict(series.previous)
        yield _Column(Text("before", style="dim italic"), before, series.previous_total)


def _new_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
