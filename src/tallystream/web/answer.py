"""Answer a query from a counter store: which cells are read, and how many at most."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from tallystream.core.errors import QueryError
from tallystream.core.query import CELLS_MAX, Query
from tallystream.core.series import (
    Answer,
    Group,
    Rows,
    Table,
    Value,
    add_cells,
    add_counts,
    build_answer,
    fold_measure,
    match_groups,
    merge_rows,
    rank,
    total_of,
)
from tallystream.core.window import Window, format_duration
from tallystream.ports.counters import CounterReader

_READ_AT_ONCE = 100_000  # cells asked of the store in one call, so that a query over its bound stops early
# The group of everything, there even when nothing was counted; beside others, of all that have no values of their own.
_ALL = Group((), ())


def answer_query(query: Query, store: CounterReader) -> Answer:
    """
    Return the answer to a query.

    Cost: where more groups match than are shown, their counts are added up inside the store, and only the cells of those
    shown are read. Other measures are merged here: the cells of all groups that match are read.

    Raises:
        QueryError: it would read more than CELLS_MAX cells, or return as many points.
        StorageError: the store cannot be read.
    """
    groups = match_groups(query, store.series(query.counter.name))
    overflow = store.overflow(query.counter.name)
    if overflow is not None and not query.filters:  # whether a filter would keep it, nobody knows
        groups[overflow] = _ALL
    reader = _Reader(query, store)
    if query.measure.function == "count" and len(set(groups.values())) > query.series_max:
        return _answer_by_totals(query, reader, groups)
    read = [reader.read(groups, period) for period in query.periods]
    present = {group for rows in read for group in rows if rows[group]} | (set() if query.by else {_ALL})
    totals = {group: total_of(read[0].get(group, {}), query.period, reader.fold) for group in present}
    shown = _choose(query, totals)
    rest = present.difference(shown) if _needs_rest(query, present) else set()
    tables = [
        Table(
            {group: rows.get(group, {}) for group in shown},
            merge_rows((rows.get(group, {}) for group in rest), reader.fold),
        )
        for rows in read
    ]
    return _build(query, reader, shown, tables, present)


def _answer_by_totals(query: Query, reader: "_Reader", groups: Mapping[int, Group]) -> Answer:
    totals = reader.count_groups(groups, query.from_ms, query.to_ms)
    present = set(totals)
    for start_ms, end_ms in query.periods:
        if query.lead_ms or end_ms != query.to_ms:
            present |= reader.count_groups(groups, start_ms - query.lead_ms, end_ms).keys()
    shown = _choose(query, {group: totals.get(group, 0) for group in present})
    own = set(shown)
    chosen = {series_id: group for series_id, group in groups.items() if group in own}
    rest = [series_id for series_id in groups if series_id not in chosen] if _needs_rest(query, present) else []
    tables = [Table(reader.read(chosen, period), reader.count_windows(rest, period)) for period in query.periods]
    return _build(query, reader, shown, tables, present)


def _build(
    query: Query, reader: "_Reader", shown: Sequence[Group], tables: Sequence[Table], present: Collection[Group]
) -> Answer:
    has_other = (query.other and len(present) > len(shown)) or (query.top is None and _has_overflow(query, present))
    return build_answer(query, reader.fold, shown, tables, len(present) - _has_overflow(query, present), has_other=has_other)


def _choose(query: Query, totals: Mapping[Group, Value]) -> list[Group]:
    shown = rank({group: total for group, total in totals.items() if group != _ALL or not query.by})[: query.series_max]
    points = (query.to_ms - query.from_ms) // query.window_ms * len(query.periods)
    # Sliding and filling make points where there are no cells.
    if (query.lead_ms or query.fill) and points * len(shown) > CELLS_MAX:
        raise QueryError(
            "top",
            f"top: {len(shown):,} groups of {points:,} points each are over {CELLS_MAX:,} points; "
            f"choose top={max(1, CELLS_MAX // points)} or less, a wider window, or a shorter range",
        )
    return shown


def _needs_rest(query: Query, present: Collection[Group]) -> bool:
    return query.other or query.show == "share" or (query.top is None and _has_overflow(query, present))


def _has_overflow(query: Query, present: Collection[Group]) -> bool:
    """Return whether something was counted of groups above a counter's cap, which have no series of their own."""
    return bool(query.by) and _ALL in present


class _Reader:
    """Reads a query's cells, merged into its windows and groups; counts them against the bound."""

    def __init__(self, query: Query, store: CounterReader) -> None:
        self.fold = fold_measure(query)
        self._query = query
        self._store = store
        self._cells_left = CELLS_MAX

    def read(self, groups: Mapping[int, Group], period: Window) -> dict[Group, Rows]:
        """Return the rows of each group, from `lead_ms` before the period on."""
        query = self._query
        merged: dict[Group, Rows] = {group: {} for group in groups.values()}
        by_id = {series_id: merged[group] for series_id, group in groups.items()}
        from_ms = period.start_ms - query.lead_ms
        for ids in self._slices(list(groups), period.end_ms - from_ms):
            asked = (query.counter, query.stored_ms, from_ms, period.end_ms, ids)
            if query.measure.function == "count":
                for series_id, counts in self._store.counts(*asked).items():
                    self._spend(len(counts))
                    add_counts(by_id[series_id], counts, query.window_ms, query.stored_ms)
            else:
                self._spend(add_cells(by_id, self._store.cells(*asked), query.window_ms, self.fold))
        return merged

    def count_groups(self, groups: Mapping[int, Group], from_ms: int, to_ms: int) -> dict[Group, int]:
        """Return how many events each group has in [from_ms, to_ms); a group without a row is left out."""
        query = self._query
        counted = self._store.count_totals(query.counter, query.stored_ms, from_ms, to_ms, list(groups), per="series")
        totals: dict[Group, int] = {}
        for series_id, count in counted.items():
            group = groups[series_id]
            totals[group] = totals.get(group, 0) + count
        return totals

    def count_windows(self, series_ids: Sequence[int], period: Window) -> Rows:
        """Return the rows of all these series together, from `lead_ms` before the period on."""
        query = self._query
        from_ms = period.start_ms - query.lead_ms
        counted = self._store.count_totals(query.counter, query.stored_ms, from_ms, period.end_ms, series_ids, per="window")
        rows: Rows = {}
        add_counts(rows, sorted(counted.items()), query.window_ms, query.stored_ms)
        return rows

    def _slices(self, series_ids: Sequence[int], span_ms: int) -> Iterator[Sequence[int]]:
        size = max(1, _READ_AT_ONCE * self._query.stored_ms // max(1, span_ms))
        for start in range(0, len(series_ids), size):
            yield series_ids[start : start + size]

    def _spend(self, cells: int) -> None:
        self._cells_left -= cells
        if self._cells_left < 0:
            query = self._query
            wider = [format_duration(window_ms) for window_ms in query.counter.windows_ms if window_ms > query.window_ms]
            raise QueryError(
                "window",
                f"window: the query reads more than {CELLS_MAX:,} cells of {format_duration(query.stored_ms)}; choose "
                f"{f'window={wider[0]}, ' if wider else ''}a shorter range, or fewer groups with group.FIELD=…",
            )
