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
from tallystream.aws.table import Item, Table, item_key
from tallystream.core.aggregate import Partial, merge
from tallystream.core.counting import group_values
from tallystream.core.definition import Counter, Definition
from tallystream.core.group import GroupValue


class Series(NamedTuple):
    """One group of a counter."""

    group: str  # as in the keys of its rows
    values: tuple[GroupValue, ...] | None  # None: of all groups above the cap together
    since_ms: int = 0  # when it was entered


class TableReader:
    """Reads the current generations of a definition's counters."""

    def __init__(self, definition: Definition, layout: Layout, table: Table) -> None:
        self.generations = {counter.name: generation_of(counter, definition.stream, layout) for counter in definition.counters}
        self._layout = layout
        self._table = table
        self._texts: dict[tuple[str, str], str] = {}  # of groups whose keys hold a hash

    def entered(self, counter: str) -> int:
        """Return how many groups a counter's catalogue has. Cost: one request."""
        head = catalogue_head(counter, self.generations[counter])
        return next((int(item["entered"]) for item in self._table.query(head.pk, head.sk, f"{head.sk} ")), 0)

    def is_full(self, entered: int) -> bool:
        """Return whether a catalogue with so many groups takes no more, so that others are counted as the OVERFLOW."""
        return entered >= self._layout.groups_max

    def series(self, counter: str) -> Iterator[Series]:
        """Yield a counter's groups, and the one for all others if its catalogue is full. Cost: one request a MB of them."""
        generation = self.generations[counter]
        head = catalogue_head(counter, generation)
        is_full = False
        for item in self._table.query(head.pk):
            if item_key(item) == head:
                is_full = self.is_full(item["entered"])
            else:
                yield Series(item["sk"], group_values(item["group"]), item["since_ms"])
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
        cells: dict[int, Partial] = {}
        for start_ms, item in self._rows(counter, window_ms, group, from_ms, to_ms):
            partial = decode_partial(counter, item)
            held = cells.get(start_ms)
            cells[start_ms] = partial if held is None else merge(held, partial)
        return dict(sorted(cells.items()))

    def counts(self, counter: Counter, window_ms: int, group: str, from_ms: int, to_ms: int) -> dict[int, int]:
        """Return the counts of `cells` alone, at the same cost."""
        counts: dict[int, int] = {}
        for start_ms, item in self._rows(counter, window_ms, group, from_ms, to_ms):
            counts[start_ms] = counts.get(start_ms, 0) + int(item["count"])
        return dict(sorted(counts.items()))

    def first_window(self, counter: Counter, window_ms: int, group: str, from_ms: int) -> int | None:
        """Return the start of a group's first window from from_ms on; None if it has none. Cost: a request a partition."""
        firsts = (
            next((_window_start_ms(item) for item in self._table.query(pk, window_key(from_ms), at_once=1)), None)
            for pk in self._partitions(counter, window_ms, group)
        )
        return min((first for first in firsts if first is not None), default=None)

    def _rows(self, counter: Counter, window_ms: int, group: str, from_ms: int, to_ms: int) -> Iterator[tuple[int, Item]]:
        for pk in self._partitions(counter, window_ms, group):
            for item in self._table.query(pk, window_key(from_ms), window_key(to_ms)):
                yield _window_start_ms(item), item

    def _partitions(self, counter: Counter, window_ms: int, group: str) -> Iterator[str]:
        prefix = series_prefix(counter.name, self.generations[counter.name], window_ms)
        return (prefix + group + spread for spread in spreads(self._layout))


def _window_start_ms(item: Item) -> int:
    cell = read_cell_key(item_key(item))
    assert cell is not None
    return cell.window_start_ms
