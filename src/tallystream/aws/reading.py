"""What the table holds, read: shards' rows merged into cells, groups as a counter's catalogue has them. Strongly consistent."""

from collections.abc import Iterator
from typing import NamedTuple

from tallystream.aws.rows import (
    OVERFLOW,
    Layout,
    catalogue_head,
    catalogue_key,
    decode_partial,
    generation_of,
    read_cell_key,
    series_prefix,
    spreads,
    window_key,
)
from tallystream.aws.table import Table, item_key
from tallystream.core.aggregate import Partial, merge
from tallystream.core.counting import group_values
from tallystream.core.definition import Counter, Definition
from tallystream.core.group import GroupValue


class Series(NamedTuple):
    """One group of a counter."""

    group: str  # as in the keys of its rows
    values: tuple[GroupValue, ...] | None  # None: of all groups above the cap together


class TableReader:
    """Reads the current generations of a definition's counters."""

    def __init__(self, definition: Definition, layout: Layout, table: Table) -> None:
        self.generations = {counter.name: generation_of(counter, definition.stream, layout) for counter in definition.counters}
        self._layout = layout
        self._table = table
        self._texts: dict[tuple[str, str], str] = {}  # of groups whose keys hold a hash

    def series(self, counter: str) -> Iterator[Series]:
        """Yield a counter's groups, and the one for all others if its catalogue is full. Cost: one request a MB of them."""
        generation = self.generations[counter]
        head = catalogue_head(counter, generation)
        is_full = False
        for item in self._table.query(head.pk):
            if item_key(item) == head:
                is_full = item["entered"] >= self._layout.groups_max
            else:
                yield Series(item["sk"], group_values(item["group"]))
        if is_full:
            yield Series(OVERFLOW, None)

    def values(self, counter: str, group: str) -> tuple[GroupValue, ...] | None:
        """Return the values of a group as it stands in keys; None for OVERFLOW. Cost: a request for a long group, once."""
        if group == OVERFLOW:
            return None
        if group.startswith("["):
            return group_values(group)
        text = self._texts.get((counter, group))
        if text is None:
            (item,) = self._table.query(catalogue_key(counter, self.generations[counter]), group, f"{group} ")
            text = self._texts[counter, group] = str(item["group"])
        return group_values(text)

    def cells(self, counter: Counter, window_ms: int, group: str, from_ms: int, to_ms: int) -> dict[int, Partial]:
        """
        Return window start → what a group holds in the windows that start in [from_ms, to_ms), ascending.

        Cost: a request for each partition of the series, and more only past a MB.
        """
        prefix = series_prefix(counter.name, self.generations[counter.name], window_ms)
        cells: dict[int, Partial] = {}
        for spread in spreads(self._layout):
            for item in self._table.query(prefix + group + spread, window_key(from_ms), window_key(to_ms)):
                cell = read_cell_key(item_key(item))
                assert cell is not None
                partial = decode_partial(counter, item)
                held = cells.get(cell.window_start_ms)
                cells[cell.window_start_ms] = partial if held is None else merge(held, partial)
        return dict(sorted(cells.items()))
