"""The counter store in SQLite: cells, ledger, rejected events, changes and positions, which commit together."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from tallystream.core.counting import Delivery, Ledger, Tally, group_values
from tallystream.core.definition import Counter, Definition, Stream, fingerprint
from tallystream.core.group import GroupValue
from tallystream.local.expiry import Expiry
from tallystream.local.sqlite import connect_both, snapshot, storage_errors, transaction
from tallystream.local.tally_writer import ALL_TIME, OutdatedError, TallyWriter, read_partial
from tallystream.ports.counters import Cell, Change, Generation, Reasons, RejectedEvent

_VARIABLES_MAX = 500  # bound values in one statement

_REJECTED_BYTES_MAX = 8 * 1024 * 1024  # of rejected events that one read hands out, and what the last of them is over it

_FORMAT = 2  # of the file: one more with each change of counters.sql


class SQLiteCounterStore:
    """
    A ports.counters.CounterStore in one SQLite file, with the rejected events and the ledger by minute.

    One object may be used by several threads, and several processes may open the same file: each commit is a transaction that
    begins by checking the position it continues.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        # What a loss of power takes is counted again from the stream, whose commits are durable; see `sync`.
        self._writer, self._reader = connect_both(path, "counters.sql", _FORMAT, read_only=read_only, is_durable=False)
        self._writer_lock = threading.Lock()
        self._reader_lock = threading.RLock()
        self._tallies = TallyWriter(self._writer)

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._reader.close()
        self._writer.close()  # last: whoever closes a database last moves its log into it, which a reader cannot

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads of the body, by this thread, see one state of the store."""
        with self._reader_lock, snapshot(self._reader, self.path):
            yield

    # Generations.

    def declare(self, definition: Definition, positions: Mapping[int, int], now_ms: int) -> list[Generation]:
        """See ports.counters.CounterStore. `positions`: what counting has reached, from where a new generation counts."""
        generations = []
        with self._writer_lock, transaction(self._writer, self.path):
            known = {
                row[0]: row[1:]
                for row in self._writer.execute(
                    "SELECT counter, id, generation, fingerprint, since_ms, is_current FROM generation ORDER BY generation"
                )
            }
            self._writer.execute("UPDATE generation SET is_current = 0")
            # What was retried before a generation is not in it, also when the clock was set back since then.
            (retried_ms,) = self._writer.execute("SELECT coalesce(max(retried_ms), -1) FROM retried").fetchone()
            for counter in definition.counters:
                meaning = fingerprint(counter, definition.stream)
                generation_id, number, was_meaning, since_ms, was_current = known.get(counter.name, (0, 0, None, 0, 0))
                started = was_meaning != meaning or not was_current
                if started:
                    number, since_ms = number + 1, max(now_ms, retried_ms + 1)
                    generation_id = self._writer.execute(
                        "INSERT INTO generation (counter, generation, fingerprint, since_ms, is_current)"
                        " VALUES (?, ?, ?, ?, 1) RETURNING id",
                        (counter.name, number, meaning, since_ms),
                    ).fetchone()[0]
                    self._writer.executemany(
                        "INSERT INTO generation_start VALUES (?, ?, ?)",
                        [(generation_id, shard, sequence) for shard, sequence in positions.items()],
                    )
                else:
                    self._writer.execute("UPDATE generation SET is_current = 1 WHERE id = ?", (generation_id,))
                generations.append(Generation(counter.name, number, since_ms, started))
        return generations

    def generations(self) -> list[Generation]:
        """See ports.counters.CounterStore."""
        rows = self._fetch("SELECT counter, generation, since_ms FROM generation WHERE is_current ORDER BY id")
        return [Generation(counter, generation, since_ms, started=False) for counter, generation, since_ms in rows]

    def generation_starts(self, counter: str) -> dict[int, int]:
        """Return shard → sequence number from which the counter's current generation counts; a shard left out: from 0."""
        return dict(
            self._fetch(
                "SELECT shard, sequence FROM generation_start JOIN generation ON generation.id = generation_id"
                " WHERE counter = ? AND is_current",
                (counter,),
            )
        )

    def is_declared(self, counter: Counter, stream: Stream) -> bool:
        """Return whether the counter's current rows are those of this very definition of it."""
        rows = self._fetch("SELECT fingerprint FROM generation WHERE counter = ? AND is_current", (counter.name,))
        return rows == [(fingerprint(counter, stream),)]

    # Counting.

    def position(self, shard: int) -> int:
        """See ports.counters.CounterStore."""
        return self.positions().get(shard, 0)

    def positions(self) -> dict[int, int]:
        """See ports.counters.CounterStore."""
        return dict(self._fetch("SELECT shard, next_sequence FROM position"))

    def seen(self, event_ids: Iterable[str]) -> dict[str, Delivery]:
        """See ports.counters.CounterStore."""
        found: dict[str, Delivery] = {}
        for some in _slices(list(event_ids)):
            marks = ", ".join("?" * len(some))
            rows = self._fetch(f"SELECT event_id, shard, sequence FROM seen WHERE event_id IN ({marks})", some)
            found.update((event_id, Delivery(shard, sequence)) for event_id, shard, sequence in rows)
        return found

    def commit(self, tally: Tally, now_ms: int) -> bool:
        """See ports.counters.CounterStore."""
        try:
            self._append(tally, now_ms)
        except OutdatedError:
            return False
        return True

    def _append(self, tally: Tally, now_ms: int) -> None:
        with self._counting():
            row = self._writer.execute("SELECT next_sequence FROM position WHERE shard = ?", (tally.shard,)).fetchone()
            if (row[0] if row else 0) != tally.first_sequence:
                raise OutdatedError
            self._tallies.add(tally, now_ms)
            self._writer.executemany(
                "INSERT INTO rejected (shard, sequence, arrival_ms, reason, message, data) VALUES (?, ?, ?, ?, ?, ?)",
                [(tally.shard, *line) for line in tally.rejected],
            )
            self._writer.execute(
                "INSERT INTO position VALUES (?, ?) ON CONFLICT DO UPDATE SET next_sequence = excluded.next_sequence",
                (tally.shard, tally.next_sequence),
            )

    def commit_retry(self, tallies: Sequence[Tally], rejected_ids: Sequence[int], now_ms: int) -> bool:
        """See ports.counters.CounterStore."""
        try:
            self._move_rejected(tallies, rejected_ids, now_ms)
        except OutdatedError:
            return False
        return True

    def _move_rejected(self, tallies: Sequence[Tally], rejected_ids: Sequence[int], now_ms: int) -> None:
        with self._counting():
            rows: list[tuple[int, int]] = []
            for some in _slices(rejected_ids):
                marks = ", ".join("?" * len(some))
                rows += self._writer.execute(f"DELETE FROM rejected WHERE id IN ({marks}) RETURNING shard, sequence", some)
            if len(rows) != len(rejected_ids):
                raise OutdatedError
            # Not before the start of any generation that it counts in, also when the clock was set back since then.
            (since_ms,) = self._writer.execute("SELECT coalesce(max(since_ms), 0) FROM generation").fetchone()
            retried_ms = max(now_ms, since_ms)
            self._writer.executemany("INSERT INTO retried VALUES (?, ?, ?)", [(*row, retried_ms) for row in rows])
            for tally in tallies:
                self._tallies.add(tally, now_ms)

    def sync(self) -> None:
        """Return when all commits up to now have reached the disk: before anything is pruned that they were counted from."""
        with self._writer_lock, storage_errors(self.path):
            # A durable commit takes with it what stands before it in the write-ahead log.
            self._writer.execute("PRAGMA synchronous = FULL")
            try:
                with transaction(self._writer, self.path):
                    self._writer.execute("UPDATE version SET version = version")
            finally:
                self._writer.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _counting(self) -> Iterator[None]:
        with self._writer_lock:
            try:
                with transaction(self._writer, self.path):
                    yield
            except BaseException:
                self._tallies.forget()
                raise

    # Reading.

    def version(self) -> int:
        """See ports.counters.CounterStore."""
        version: int = self._fetch("SELECT version FROM version")[0][0]
        return version

    def changes(self, since_version: int) -> list[Change]:
        """See ports.counters.CounterStore. Changes are kept for an hour."""
        rows = self._fetch(
            "SELECT counter, window_ms, window_start_ms, version FROM change JOIN generation ON generation.id = generation_id"
            " WHERE version > ? AND is_current ORDER BY version, counter, window_ms, window_start_ms",
            (since_version,),
        )
        return [Change(*row) for row in rows]

    def ledger(self) -> Ledger:
        """See ports.counters.CounterStore."""
        rows = self._fetch(f"SELECT {', '.join(Ledger._fields)} FROM ledger WHERE minute_ms = ?", (ALL_TIME,))
        return Ledger(*rows[0]) if rows else Ledger()

    def throughput(self, since_ms: int) -> list[tuple[int, Ledger]]:
        """See ports.counters.CounterStore. Minutes in which nothing arrived are left out."""
        rows = self._fetch(
            f"SELECT minute_ms, {', '.join(Ledger._fields)} FROM ledger WHERE minute_ms >= max(?, 0) ORDER BY minute_ms",
            (since_ms,),
        )
        return [(minute_ms, Ledger(*outcomes)) for minute_ms, *outcomes in rows]

    def series(self, counter: str, after: int = 0) -> dict[int, tuple[GroupValue, ...]]:
        """See ports.counters.CounterStore."""
        return {series_id: group_values(key) for series_id, key, _ in self._series_rows(counter, after)}

    def overflow(self, counter: str) -> None:
        """See ports.counters.CounterReader: here no counter has a cap."""

    def first_windows(
        self,
        counter: Counter,  # noqa: ARG002  (series ids say which; the AWS plane needs it)
        window_ms: int,
        from_ms: int,
        series_ids: Sequence[int],
    ) -> dict[int, int]:
        """See ports.counters.CounterStore."""
        statement = "SELECT min(window_start_ms) FROM cell WHERE series_id = ? AND window_ms = ? AND window_start_ms >= ?"
        found = {series_id: self._fetch(statement, (series_id, window_ms, from_ms))[0][0] for series_id in series_ids}
        return {series_id: start_ms for series_id, start_ms in found.items() if start_ms is not None}

    def totals(self, counter: str) -> dict[int, int]:
        """See ports.counters.CounterStore."""
        return {series_id: total for series_id, _, total in self._series_rows(counter)}

    def cells(
        self, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[Cell]:
        """See ports.counters.CounterStore."""
        for series_id, start_ms, count, fields in self._cell_rows(
            "window_start_ms, count, fields", counter, window_ms, from_ms, to_ms, series_ids
        ):
            yield Cell(series_id, start_ms, read_partial(count, fields))

    def counts(
        self,
        counter: Counter,  # noqa: ARG002  (series ids say which; the AWS plane needs it)
        window_ms: int,
        from_ms: int,
        to_ms: int,
        series_ids: Sequence[int],
    ) -> dict[int, list[tuple[int, int]]]:
        """See ports.counters.CounterStore."""
        found = {}
        for series_id in series_ids:
            rows = self._fetch(
                "SELECT window_start_ms, count FROM cell WHERE series_id = ? AND window_ms = ?"
                " AND window_start_ms >= ? AND window_start_ms < ? ORDER BY window_start_ms",
                (series_id, window_ms, from_ms, to_ms),
            )
            if rows:
                found[series_id] = rows
        return found

    def count_totals(
        self,
        counter: Counter,
        window_ms: int,
        from_ms: int,
        to_ms: int,
        series_ids: Sequence[int] | None = None,
        *,
        per: Literal["series", "window"],
    ) -> dict[int, int]:
        """See ports.counters.CounterStore."""
        column = "series_id" if per == "series" else "window_start_ms"
        totals: dict[int, int] = {}
        for some in _slices(self._ids(counter, series_ids)):
            rows = self._fetch(
                f"SELECT {column}, sum(count) FROM cell WHERE series_id IN ({', '.join('?' * len(some))})"
                f" AND window_ms = ? AND window_start_ms >= ? AND window_start_ms < ? GROUP BY {column}",
                (*some, window_ms, from_ms, to_ms),
            )
            for key, total in rows:
                totals[key] = totals.get(key, 0) + total
        return totals

    def first_arrivals(self, counter: Counter, window_ms: int) -> dict[tuple[int, int], int]:
        """Return (series id, window start) → arrival_ms of the earliest chunk that may have touched the cell."""
        rows = self._cell_rows("window_start_ms, first_arrival_ms", counter, window_ms, -(2**62), 2**62, None)
        return {(series_id, start_ms): arrival_ms for series_id, start_ms, arrival_ms in rows}

    # Rejected events.

    def rejected_events(self, reason: str | None = None, before: int | None = None, limit: int = 50) -> list[RejectedEvent]:
        """See ports.counters.CounterStore."""
        statement = (
            "SELECT id, shard, sequence, arrival_ms, reason, message, data FROM rejected"
            f" WHERE id < ? {'AND reason = ?' if reason is not None else ''} ORDER BY id DESC LIMIT ?"
        )
        values = (2**62 if before is None else before, *([reason] if reason is not None else []), limit)
        events: list[RejectedEvent] = []
        size_bytes = 0
        with self._reader_lock, storage_errors(self.path), closing(self._reader.execute(statement, values)) as rows:
            for row in rows:
                events.append(RejectedEvent(*row))
                size_bytes += len(events[-1].data)
                if size_bytes >= _REJECTED_BYTES_MAX:
                    break
        return events

    def reasons(self) -> Reasons:
        """See ports.counters.CounterReader."""
        return Reasons(self.rejected_reasons(), None)

    def rejected_reasons(self) -> dict[str, int]:
        """See ports.counters.CounterStore."""
        return dict(self._fetch("SELECT reason, count(*) FROM rejected GROUP BY reason ORDER BY reason"))

    def rejected_sequences(self, shard: int) -> set[int]:
        """Return the sequence numbers of a shard's rejected events that are kept."""
        return {row[0] for row in self._fetch("SELECT sequence FROM rejected WHERE shard = ?", (shard,))}

    def retried_sequences(self, counter: str, shard: int) -> set[int]:
        """Return the sequence numbers of a shard's events that the counter's current generation got by a retry."""
        rows = self._fetch(
            "SELECT sequence FROM retried JOIN generation ON retried_ms >= since_ms"
            " WHERE counter = ? AND is_current AND shard = ?",
            (counter, shard),
        )
        return {row[0] for row in rows}

    # Expiry.

    def expire(self, definition: Definition, now_ms: int) -> Iterator[int]:
        """See ports.counters.CounterStore."""
        return Expiry(self._fetch, self._execute).expire(definition, now_ms)

    def _execute(self, statement: str, values: Sequence[Any]) -> int:
        with self._writer_lock, transaction(self._writer, self.path):
            return self._writer.execute(statement, values).rowcount

    # Rows.

    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reader_lock, storage_errors(self.path):
            return self._reader.execute(statement, values).fetchall()

    def _series_rows(self, counter: str, after: int = 0) -> list[tuple[int, str, int]]:
        # What is new is at the end: looked for by id it costs what it finds, by the index of the generation all groups.
        how = "NOT INDEXED" if after else ""
        return self._fetch(
            f"SELECT series.id, key, total FROM generation CROSS JOIN series {how} ON generation.id = generation_id"
            " WHERE counter = ? AND is_current AND series.id > ? ORDER BY series.id",
            (counter, after),
        )

    def _ids(self, counter: Counter, series_ids: Sequence[int] | None) -> Sequence[int]:
        return [row[0] for row in self._series_rows(counter.name)] if series_ids is None else series_ids

    def _cell_rows(
        self, columns: str, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int] | None
    ) -> Iterator[tuple[Any, ...]]:
        for some in _slices(sorted(self._ids(counter, series_ids))):
            yield from self._fetch(
                f"SELECT series_id, {columns} FROM cell WHERE series_id IN ({', '.join('?' * len(some))})"
                " AND window_ms = ? AND window_start_ms >= ? AND window_start_ms < ? ORDER BY series_id, window_start_ms",
                (*some, window_ms, from_ms, to_ms),
            )


def _slices(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _VARIABLES_MAX):
        yield values[start : start + _VARIABLES_MAX]
