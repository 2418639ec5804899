"""What goes from the counter store, and when. Rows go in small transactions, so that other writers go on in between."""

from collections.abc import Callable, Sequence
from typing import Any

from tallystream.core.definition import Definition

REJECTED_KEPT_MS = 30 * 86_400_000
"""How long rejected events are kept, after they arrived."""

ROWS_MAX = 10_000
"""Rows that one transaction deletes."""

_CHANGES_KEPT_MS = 3_600_000  # far longer than any follower is behind
_MINUTES_KEPT_MS = 30 * 86_400_000

Fetch = Callable[[str, Sequence[Any]], list[Any]]
"""Returns the rows of a query."""

Execute = Callable[[str, Sequence[Any]], int]
"""Runs a statement in a transaction of its own; returns how many rows it changed."""


class Expiry:
    """Deletes what has outlived its time from the tables of counters.sql."""

    def __init__(self, fetch: Fetch, execute: Execute) -> None:
        self._fetch = fetch
        self._execute = execute

    def expire(self, definition: Definition, now_ms: int) -> int:
        """See ports.CounterStore. Changes go after an hour, minutes of the ledger after 30 days."""
        gone = (
            self._delete("rejected", "id", "arrival_ms < ?", now_ms - REJECTED_KEPT_MS)
            + self._delete("retried", "shard, sequence", "retried_ms < ?", now_ms - REJECTED_KEPT_MS)
            + self._delete("seen", "event_id", "written_ms < ?", now_ms - definition.stream.retention_ms)
            + self._delete("change", "generation_id, window_ms, window_start_ms", "written_ms < ?", now_ms - _CHANGES_KEPT_MS)
            + self._delete("ledger", "minute_ms", "minute_ms >= 0 AND minute_ms < ?", now_ms - _MINUTES_KEPT_MS)
        )
        for counter in definition.counters:
            if counter.keep_ms is not None:
                gone += self._expire_counter(counter.name, now_ms - counter.keep_ms)
        return gone

    def _expire_counter(self, counter: str, before_ms: int) -> int:
        """Delete cells last written before a time, of all generations, and the series of former ones with their last cell."""
        gone = 0
        for generation_id, is_current in self._fetch("SELECT id, is_current FROM generation WHERE counter = ?", (counter,)):
            for (series_id,) in self._fetch("SELECT id FROM series WHERE generation_id = ?", (generation_id,)):
                key = "series_id, window_ms, window_start_ms"
                gone += self._delete("cell", key, "series_id = ? AND written_ms < ?", series_id, before_ms)
            if not is_current:  # a series of the current one also holds a total of all time
                is_empty = "NOT EXISTS (SELECT 1 FROM cell WHERE series_id = series.id)"
                gone += self._delete("series", "id", f"generation_id = ? AND {is_empty}", generation_id)
        return gone

    def _delete(self, table: str, key: str, condition: str, *values: int) -> int:
        some = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {ROWS_MAX}"
        gone = 0
        # Asked by the reader first: mostly there is nothing, and then no writer has to wait.
        while self._fetch(f"SELECT EXISTS ({some})", values)[0][0]:
            gone += self._execute(f"DELETE FROM {table} WHERE ({key}) IN ({some})", values)
        return gone
