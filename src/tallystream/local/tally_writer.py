"""How a tally becomes rows of counters.sql: cells, series totals, ledger, event ids and changes."""

import sqlite3
from typing import Final

import msgspec

from tallystream.core.aggregate import FieldPartial, Partial, merge
from tallystream.core.counting import CellKey, Cells, Tally

ALL_TIME: Final = -1
"""The minute of the ledger that is the total of all time."""

_SERIES_CACHED_MAX = 100_000

_encode_fields = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(tuple[FieldPartial, ...]).decode


class OutdatedError(Exception):
    """The store is no longer as it was when a tally was made of it: roll the transaction back."""


class TallyWriter:
    """
    Adds tallies to the store, each within a write transaction of the caller.

    One for each writing connection: it remembers the ids of series.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._series_ids: dict[tuple[int, str], int] = {}  # ids never change

    def forget(self) -> None:
        """Call it when a transaction was rolled back: series may have been new in it, and their ids are free again."""
        self._series_ids.clear()

    def add(self, tally: Tally, now_ms: int) -> None:
        """
        Add cells, ledger, seen ids and changes, as one new version.

        Raises:
            OutdatedError: an event id is no longer new, or no longer known, as it was to the tally.
        """
        version = self._connection.execute("UPDATE version SET version = version + 1 RETURNING version").fetchone()[0]
        # Never earlier than the arrivals, which a clock that was ahead may have set: what is counted must outlive its events.
        written_ms = max(now_ms, tally.arrived_before_ms)
        for name, cells in tally.cells.items():
            if cells:
                self._add_cells(name, cells, tally.first_arrival_ms, version, written_ms)
        for minute_ms, ledger in (*tally.ledgers.items(), (ALL_TIME, tally.ledger)):
            self._connection.execute(
                "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " received = received + excluded.received, counted = counted + excluded.counted,"
                " unmatched = unmatched + excluded.unmatched, late = late + excluded.late,"
                " rejected = rejected + excluded.rejected, duplicate = duplicate + excluded.duplicate",
                (minute_ms, *ledger),
            )
        self._remember_ids(tally, written_ms)

    def _remember_ids(self, tally: Tally, written_ms: int) -> None:
        rows = [(event_id, *delivery, written_ms) for event_id, delivery in tally.event_ids.items()]
        stored = self._connection.executemany("INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows).rowcount
        if rows and stored != len(rows):
            raise OutdatedError  # counting and a retry came upon the same id at the same time
        repeated = [(written_ms, event_id) for event_id in tally.repeated_ids]
        known = self._connection.executemany(
            "UPDATE seen SET written_ms = max(written_ms, ?) WHERE event_id = ?", repeated
        ).rowcount
        if repeated and known != len(repeated):
            raise OutdatedError

    def _add_cells(self, counter: str, cells: Cells, first_arrival_ms: int, version: int, written_ms: int) -> None:
        generation_id = self._generation_id(counter)
        finest_ms = min(key.window_ms for key in cells)
        ids: dict[str, int] = {}
        totals: dict[int, int] = {}
        rows = []
        for key, partial in cells.items():
            series_id = ids.get(key.group)
            if series_id is None:
                series_id = ids[key.group] = self._series_id(generation_id, key.group)
            if key.window_ms == finest_ms:
                totals[series_id] = totals.get(series_id, 0) + partial.count
            fields = None
            if partial.fields:
                partial = self._merge_stored(series_id, key, partial)
                fields = _encode_fields(partial.fields).decode()
            rows.append((series_id, key.window_ms, key.window_start_ms, partial.count, fields, first_arrival_ms, written_ms))
        # A cell with measured fields was merged above and is replaced; a plain count is added by SQLite itself.
        self._connection.executemany(
            "INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " count = CASE WHEN excluded.fields IS NULL THEN count ELSE 0 END + excluded.count,"
            " fields = excluded.fields, first_arrival_ms = min(first_arrival_ms, excluded.first_arrival_ms),"
            " written_ms = excluded.written_ms",
            rows,
        )
        self._connection.executemany(
            "UPDATE series SET total = total + ? WHERE id = ?", [(n, id_) for id_, n in totals.items()]
        )
        windows = {(key.window_ms, key.window_start_ms) for key in cells}
        self._connection.executemany(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET version = excluded.version, written_ms = excluded.written_ms",
            [(generation_id, window_ms, start_ms, version, written_ms) for window_ms, start_ms in windows],
        )

    def _merge_stored(self, series_id: int, key: CellKey, partial: Partial) -> Partial:
        row = self._connection.execute(
            "SELECT count, fields FROM cell WHERE series_id = ? AND window_ms = ? AND window_start_ms = ?",
            (series_id, key.window_ms, key.window_start_ms),
        ).fetchone()
        return partial if row is None else merge(read_partial(*row), partial)

    def _generation_id(self, counter: str) -> int:
        # Another process may have declared a new definition since: ask again in every transaction.
        row = self._connection.execute("SELECT id FROM generation WHERE counter = ? AND is_current", (counter,)).fetchone()
        if row is None:
            raise LookupError(f"counter {counter!r} was not declared")
        generation_id: int = row[0]
        return generation_id

    def _series_id(self, generation_id: int, key: str) -> int:
        series_id = self._series_ids.get((generation_id, key))
        if series_id is None:
            row = self._connection.execute(
                "SELECT id FROM series WHERE generation_id = ? AND key = ?", (generation_id, key)
            ).fetchone()
            if row is None:
                # Not cached: this transaction may still be rolled back, and the id with it.
                found: int = self._connection.execute(
                    "INSERT INTO series (generation_id, key, total) VALUES (?, ?, 0) RETURNING id", (generation_id, key)
                ).fetchone()[0]
                return found
            if len(self._series_ids) >= _SERIES_CACHED_MAX:
                self._series_ids.clear()
            series_id = self._series_ids[generation_id, key] = row[0]
        return series_id


def read_partial(count: int, fields: str | None) -> Partial:
    """Return what a cell's columns hold."""
    return Partial(count) if fields is None else Partial(count, _decode_fields(fields))
