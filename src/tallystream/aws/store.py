"""
The counter table as a ports.counters.CounterReader: what the web application and its queries read, wherever they run.

A group's windows of one size are a partition of the table, so what is asked of many groups is as many requests, REQUESTS_MAX at
once. Nothing is written, and what is remembered (which groups there are, how far the ledger stood) is asked for again when
it may have changed.
"""

import heapq
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from threading import Lock
from typing import Final, Literal, NamedTuple, TypeVar

from tallystream.aws.client import DynamoDBError
from tallystream.aws.dynamodb import TableBusyError
from tallystream.aws.reading import TableReader
from tallystream.aws.records import SEQUENCE_DIGITS, pad_sequence
from tallystream.aws.rows import OVERFLOW, Layout, ledger_key, rejected_key
from tallystream.aws.table import Item, Table
from tallystream.aws.watch import LedgerWatch
from tallystream.core.counting import Ledger
from tallystream.core.definition import Counter, Definition
from tallystream.core.errors import StorageError
from tallystream.core.group import GroupValue
from tallystream.ports.counters import Cell, Change, Reasons, RejectedEvent

REQUESTS_MAX: Final = 32
"""Under way at once, of all who ask."""

REASONS_EVENTS_MAX: Final = 2_000
"""Rejected events whose reasons are counted: the newest ones. The table has no index of them."""

_SERIES_AT_ONCE: Final = 256  # whose cells are held while they are handed out
_REJECTED_AT_ONCE: Final = 100
_REJECTED_BYTES_MAX: Final = 8 * 1024 * 1024
_SHARDS_MAX: Final = 10**12  # what Kinesis numbers shards up to
_LINES_MAX: Final = 10**6  # of a record
REJECTED_ID_MAX: Final = 10**SEQUENCE_DIGITS * _SHARDS_MAX * _LINES_MAX

T = TypeVar("T")


class ShardLedger(NamedTuple):
    """How far one shard of the stream is counted."""

    shard: str
    mark: str  # sequence number of the last record that is counted, padded
    ledger: Ledger


class _Catalogue:
    """What is known of a counter's groups: ids are numbers that this process gave them, in the order in which they came."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.entered = 0
        self.ids: dict[str, int] = {}  # by the group as in keys, OVERFLOW among them
        self.groups: dict[int, str] = {}
        self.values: dict[int, tuple[GroupValue, ...]] = {}  # OVERFLOW has none
        self.since_ms: int | None = None  # when the first group came


class TableCounterReader:
    """
    A ports.counters.CounterReader over the counter table of a stack.

    Args:
        definition: what the stack counts. Another one, or another layout, has generations of its own, which are empty.
        layout: how it spreads its rows.
        table: where they are.
        now_ms: the time.
        refresh_ms: how old what `version` says may be.
    """

    def __init__(
        self, definition: Definition, layout: Layout, table: Table, now_ms: Callable[[], int], refresh_ms: int = 2_000
    ) -> None:
        self._definition = definition
        self._reader = TableReader(definition, layout, table)
        self._table = table
        self._now_ms = now_ms
        self._watch = LedgerWatch(lambda: self.ledger().received, now_ms, refresh_ms)
        self._catalogues = {counter.name: _Catalogue() for counter in definition.counters}
        self._pool = ThreadPoolExecutor(REQUESTS_MAX, "table")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)

    # What changed.

    def version(self) -> int:
        """See ports.counters.CounterReader and LedgerWatch. Cost: one request when it is older than refresh_ms."""
        return self._watch.version()

    def changes(self, since_version: int) -> list[Change]:
        """See ports.counters.CounterReader and LedgerWatch: the windows of late, and now and then all. Cost: as `version`."""
        version = self.version()
        span = self._watch.touched(since_version)
        if span is None:
            return []
        return [
            Change(counter.name, window_ms, at_ms - at_ms % window_ms, version)
            for counter in self._definition.counters
            for window_ms in counter.windows_ms
            for at_ms in span
        ]

    def ledger(self) -> Ledger:
        """See ports.counters.CounterReader. Cost: one request."""
        total = Ledger()
        for shard in self.shards():
            total = total.plus(shard.ledger)
        return total

    def shards(self) -> list[ShardLedger]:
        """Return how far each shard is counted, those that are closed by now among them. Cost: one request."""
        with _storage_errors():
            return [
                ShardLedger(item["sk"], item["hwm"], Ledger(*(int(item.get(name, 0)) for name in Ledger._fields)))
                for item in self._table.query(ledger_key("").pk)
            ]

    # Which groups there are.

    def series(self, counter: str, after: int = 0) -> dict[int, tuple[GroupValue, ...]]:
        """See ports.counters.CounterReader. Cost: one request; when there are new groups, one more for each MB of groups."""
        values = self._refreshed(counter).values
        return {series_id: group for series_id, group in values.items() if series_id > after} if after else dict(values)

    def overflow(self, counter: str) -> int | None:
        """See ports.counters.CounterReader. Cost: as `series`."""
        return self._refreshed(counter).ids.get(OVERFLOW)

    def generation(self, counter: str) -> str:
        """Return the name of a counter's present generation."""
        return self._reader.generations[counter]

    def since_ms(self, counter: str) -> int | None:
        """Return when the present generation of a counter first counted something; None if it has not. Cost: as `series`."""
        return self._refreshed(counter).since_ms

    def _refreshed(self, counter: str) -> _Catalogue:
        catalogue = self._catalogues[counter]
        with catalogue.lock, _storage_errors():
            entered = self._reader.entered(counter)
            if entered != catalogue.entered:
                found = [each for each in self._reader.series(counter) if each.group not in catalogue.ids]
                known = dict(catalogue.values)  # others read the present one meanwhile
                for group, values, since_ms in sorted(found, key=lambda each: (each.values is None, each.since_ms, each.group)):
                    series_id = len(catalogue.ids) + 1
                    catalogue.groups[series_id] = group
                    catalogue.ids[group] = series_id
                    if values is not None:
                        known[series_id] = values
                        catalogue.since_ms = min(since_ms, catalogue.since_ms or since_ms)
                catalogue.values, catalogue.entered = known, entered
            return catalogue

    # What was counted.

    def first_windows(self, counter: Counter, window_ms: int, from_ms: int, series_ids: Sequence[int]) -> dict[int, int]:
        """See ports.counters.CounterReader. Cost: one request for each partition of each series."""
        found = self._of_each(counter, series_ids, lambda group: self._reader.first_window(counter, window_ms, group, from_ms))
        return {series_id: start_ms for series_id, start_ms in found if start_ms is not None}

    def cells(
        self, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int] | None = None
    ) -> Iterator[Cell]:
        """See ports.counters.CounterReader. Cost: one request for each partition of each series, and more only past a MB."""
        ids = self._all(counter) if series_ids is None else series_ids
        for start in range(0, len(ids), _SERIES_AT_ONCE):
            some = ids[start : start + _SERIES_AT_ONCE]
            read = self._of_each(counter, some, lambda group: self._reader.cells(counter, window_ms, group, from_ms, to_ms))
            for series_id, cells in read:
                for start_ms, partial in cells.items():
                    yield Cell(series_id, start_ms, partial)

    def counts(
        self, counter: Counter, window_ms: int, from_ms: int, to_ms: int, series_ids: Sequence[int]
    ) -> dict[int, list[tuple[int, int]]]:
        """See ports.counters.CounterReader. Cost: as `cells`."""
        read = self._of_each(counter, series_ids, lambda group: self._reader.counts(counter, window_ms, group, from_ms, to_ms))
        return {series_id: list(counts.items()) for series_id, counts in read if counts}

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
        """See ports.counters.CounterReader. Cost: as `cells`; DynamoDB adds nothing up."""
        ids = self._all(counter) if series_ids is None else series_ids
        totals: Counts[int] = Counts()
        for series_id, counts in self.counts(counter, window_ms, from_ms, to_ms, ids).items():
            for start_ms, count in counts:
                totals[series_id if per == "series" else start_ms] += count
        return dict(totals)

    def _all(self, counter: Counter) -> list[int]:
        return list(self._refreshed(counter.name).groups)

    def _of_each(self, counter: Counter, series_ids: Iterable[int], read: Callable[[str], T]) -> list[tuple[int, T]]:
        """Return what is read of each series, many at once; ids that were never handed out are left out."""
        groups = self._catalogues[counter.name].groups
        known = [series_id for series_id in series_ids if series_id in groups]
        with _storage_errors():
            return list(zip(known, self._pool.map(read, [groups[series_id] for series_id in known]), strict=True))

    # Rejected events.

    def reasons(self) -> Reasons:
        """See ports.counters.CounterReader; of the newest REASONS_EVENTS_MAX, or 8 MB of them. Cost: a request for each MB."""
        with _storage_errors():
            events = self._rejected(None)
            counts = Counts(event.reason for event in _up_to_bytes(islice(events, REASONS_EVENTS_MAX)))
            is_cut = next(events, None) is not None
            return Reasons(dict(sorted(counts.items())), counts.total() if is_cut else None)

    def rejected_events(self, reason: str | None = None, before: int | None = None, limit: int = 50) -> list[RejectedEvent]:
        """
        See ports.counters.CounterReader. An id is made of sequence number, shard and line.

        So pages fit together whatever comes meanwhile; events of different shards are in the order of their sequence numbers,
        which is about that of their arrival. Cost: one request for each shard there ever was, and for each 100 events or MB.
        """
        with _storage_errors():
            wanted = (event for event in self._rejected(before) if reason is None or event.reason == reason)
            return list(_up_to_bytes(islice(wanted, limit)))

    def _rejected(self, before: int | None) -> Iterator[RejectedEvent]:
        """Yield the rejected events of all shards, the highest id first."""
        shards = [self._rejected_of(shard.shard, before) for shard in self.shards()]
        # The first request of each at once; the others, as they are needed.
        heads = list(self._pool.map(lambda events: list(islice(events, 1)), shards))
        return heapq.merge(*map(chain, heads, shards), key=lambda event: event.id, reverse=True)

    def _rejected_of(self, shard: str, before: int | None) -> Iterator[RejectedEvent]:
        now_s = self._now_ms() // 1_000
        to_sk = None if before is None else _rejected_bound(int(shard), before)
        for item in self._table.query(rejected_key(shard), to_sk=to_sk, descending=True, at_once=_REJECTED_AT_ONCE):
            if item["ttl"] > now_s:  # DynamoDB takes up to two days to delete it
                yield _rejected_event(int(shard), item)


def _rejected_event(shard: int, item: Item) -> RejectedEvent:
    sequence, _, line = item["sk"].partition("#")
    cut = item.get("bytes_cut")
    message = f"{item['message']} (of its bytes, the last {cut:,} are not kept)" if cut else item["message"]
    return RejectedEvent(
        (int(sequence) * _SHARDS_MAX + shard) * _LINES_MAX + int(line),
        shard,
        int(sequence),
        item["arrival_ms"],
        item["reason"],
        message,
        item["data"],
    )


def _rejected_bound(shard: int, before: int) -> str:
    """Return the sort key that all those of a shard's rejected events are below whose id is."""
    rest, line = divmod(before, _LINES_MAX)
    sequence, its_shard = divmod(rest, _SHARDS_MAX)
    record = pad_sequence(str(sequence))
    if shard == its_shard:
        return f"{record}#{line:06d}"
    return f"{record}$" if shard < its_shard else f"{record}#"  # all lines of this record, or none


def _up_to_bytes(events: Iterable[RejectedEvent]) -> Iterator[RejectedEvent]:
    """Yield events until they have so many bytes that they would fill the memory."""
    size_bytes = 0
    for event in events:
        yield event
        size_bytes += len(event.data)
        if size_bytes >= _REJECTED_BYTES_MAX:
            return


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn what DynamoDB cannot or will not do into the error that says so to whoever asked."""
    try:
        yield
    except TableBusyError as error:
        raise StorageError(f"DynamoDB does not answer: {error.__cause__ or error}; try again") from error
    except DynamoDBError as error:
        raise StorageError(f"DynamoDB refuses: {error}") from error
