"""What goes from the counter store, and when: in small transactions and bounded steps, so that counting goes on in between."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tallystream.core.definition import Definition

REJECTED_KEPT_MS = 30 * 86_400_000
"""How long rejected events are kept, after they arrived."""

ROWS_MAX = 10_000
"""Rows that one step deletes, in one transaction; of cells, how many it looks at."""

_CHANGES_KEPT_MS = 3_600_000  # far longer than any follower is behind
_MINUTES_KEPT_MS = 30 * 86_400_000

_CELL_KEY = "series_id, window_ms, window_start_ms"
_BEFORE_ALL = (-1, 0, 0)
_AFTER_ALL = (2**62, 0, 0)

Fetch = Callable[[str, Sequence[Any]], list[Any]]
"""Returns the rows of a query."""

Execute = Callable[[str, Sequence[Any]], int]
"""Runs a statement in a transaction of its own; returns how many rows it changed."""


class Expiry:
    """Deletes what has outlived its time from the tables of counters.sql."""

    def __init__(self, fetch: Fetch, execute: Execute) -> None:
        self._fetch = fetch
        self._execute = execute

    def expire(self, definition: Definition, now_ms: int) -> Iterator[int]:
        """See ports.counters.CounterStore. Changes go after an hour, minutes of the ledger after 30 days."""
        yield from self._delete("rejected", "id", "arrival_ms < ?", now_ms - REJECTED_KEPT_MS)
        yield from self._delete("retried", "shard, sequence", "retried_ms < ?", now_ms - REJECTED_KEPT_MS)
        yield from self._delete("seen", "event_id", "written_ms < ?", now_ms - definition.stream.retention_ms)
        yield from self._delete(
            "change", "generation_id, window_ms, window_start_ms", "written_ms < ?", now_ms - _CHANGES_KEPT_MS
        )
        yield from self._delete("ledger", "minute_ms", "minute_ms >= 0 AND minute_ms < ?", now_ms - _MINUTES_KEPT_MS)
        before_ms = {counter.name: now_ms - counter.keep_ms for counter in definition.counters if counter.keep_ms is not None}
        generations = [row for row in self._fetch("SELECT id, counter, is_current FROM generation", ()) if row[1] in before_ms]
        if generations:
            yield from self._expire_cells({generation_id: before_ms[counter] for generation_id, counter, _ in generations})
        for generation_id, _, is_current in generations:
            if not is_current:  # a series of the current one also holds a total of all time
                is_empty = "NOT EXISTS (SELECT 1 FROM cell WHERE series_id = series.id)"
                yield from self._delete("series", "id", f"generation_id = ? AND {is_empty}", generation_id)

    def _expire_cells(self, before_ms: dict[int, int]) -> Iterator[int]:
        """
        Delete cells last written before the time of their generation.

        An index of those times would be one more thing to write with each cell of each commit. So all cells are looked at, in
        the order of their keys, a slice at a step: that costs about 5 ms a step, however many there are.
        """
        due = ", ".join("(?, ?)" for _ in before_ms)
        expired = (
            f"WITH due (generation_id, before_ms) AS (VALUES {due}) SELECT {_CELL_KEY} FROM cell"
            " CROSS JOIN series ON series.id = series_id CROSS JOIN due USING (generation_id)"  # in this order
            f" WHERE ({_CELL_KEY}) > (?, ?, ?) AND ({_CELL_KEY}) <= (?, ?, ?)"
            " AND written_ms < ? AND written_ms < before_ms"  # the first alone spares most cells the joins
        )
        deadlines = [value for deadline in before_ms.items() for value in deadline]
        end = _BEFORE_ALL
        while end != _AFTER_ALL:
            start, end = end, self._slice_end(end)
            values = (*deadlines, *start, *end, max(before_ms.values()))
            # Asked by the reader first: mostly there is nothing, and then no writer has to wait.
            is_due = self._fetch(f"SELECT EXISTS ({expired})", values)[0][0]
            yield self._execute(f"DELETE FROM cell WHERE ({_CELL_KEY}) IN ({expired})", values) if is_due else 0

    def _slice_end(self, start: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the key of the last of the ROWS_MAX cells behind a key."""
        rows = self._fetch(
            f"SELECT {_CELL_KEY} FROM cell WHERE ({_CELL_KEY}) > (?, ?, ?) ORDER BY {_CELL_KEY} LIMIT 1 OFFSET ?",
            (*start, ROWS_MAX - 1),
        )
        return rows[0] if rows else _AFTER_ALL

    def _delete(self, table: str, key: str, condition: str, *values: int) -> Iterator[int]:
        some = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {ROWS_MAX}"
        while self._fetch(f"SELECT EXISTS ({some})", values)[0][0]:
            yield self._execute(f"DELETE FROM {table} WHERE ({key}) IN ({some})", values)
