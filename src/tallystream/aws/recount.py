"""
One shard's retained records, counted once more for `tally verify --aws`.

It shares with the count function how a record is taken apart (records.py) and what its lines amount to (the core's Reader and
Tallier), and nothing else: no deliveries, no conditions, no marks of rows. A row may have counted to any record, so of each
cell the very record is found that touched it last.
"""

from collections.abc import Collection, Iterator, Sequence
from hashlib import sha256
from itertools import groupby
from typing import NamedTuple

from tallystream.aws.records import lines_of_record, pad_sequence
from tallystream.aws.rows import rejected_item
from tallystream.core.aggregate import Partial, merge
from tallystream.core.counting import CellKey, Ledger, Tallier, Tally
from tallystream.core.definition import Definition
from tallystream.core.event import Reader

_RUN_RECORDS = 500  # tallied together


class Record(NamedTuple):
    """A record as Kinesis holds it."""

    sequence: str
    arrival_ms: int
    data: bytes


class Recounted(NamedTuple):
    """What a cell holds by the recount, and of which record it was touched last."""

    partial: Partial
    mark: str  # padded sequence number
    arrival_ms: int


class RejectedRecord(NamedTuple):
    """A rejected line: when it arrived, and what of its item in the table must be so."""

    arrival_ms: int
    reason: str
    data_sha256: bytes


class _Packed(NamedTuple):
    """A record taken apart."""

    mark: str  # padded sequence number
    arrival_ms: int
    lines: list[bytes]


Cell = tuple[str, CellKey]
"""A counter and which of its cells; the group is its canonical text."""


class ShardRecount:
    """
    What a shard's records amount to: up to `mark`, which is the ledger's, in all; above it, record by record.

    Records before the first that arrived at `from_ms` or later are not judged, only numbered: an earlier function may have
    judged them otherwise. Behind that one all are: they were counted after it, though arrival times need not be in order.
    """

    def __init__(self, definition: Definition, shard: str, from_ms: int | None = None) -> None:
        self.shard = shard
        self.mark: str | None = None
        self.received = 0  # lines up to the mark, whether judged or not
        self.ledger = Ledger()  # of those that were judged
        self.cells: dict[Cell, Recounted] = {}
        self.rejected: dict[str, RejectedRecord] = {}  # by the sort key of its item
        self.later: dict[Cell, list[Recounted]] = {}  # above the mark
        self.first: _Packed | None = None  # from which on all were judged, without its lines
        self.last_sequence: str | None = None  # that was read
        self.from_ms = from_ms
        self._reader = Reader(definition)
        self._tallier = Tallier(definition, self._reader)

    @property
    def is_cut(self) -> bool:
        """Whether some of what was read was not judged."""
        return self.received > self.ledger.received

    @property
    def end(self) -> str | None:
        """The mark of the newest record that was read; None: there was none."""
        return None if self.last_sequence is None else pad_sequence(self.last_sequence)

    def advance(self, mark: str) -> None:
        """Set the mark to what the ledger has by now. No records above the earlier one may have been counted yet."""
        assert not self.later
        self.mark = mark

    def count(self, records: Sequence[Record]) -> int:
        """Count the next records, all of them up to the mark or all above it; return how many lines they have."""
        if not records:
            return 0
        self.last_sequence = records[-1].sequence
        packed = [_Packed(pad_sequence(sequence), arrival_ms, lines_of_record(data)) for sequence, arrival_ms, data in records]
        judged = packed[self._first_judged(packed) :]
        lines = sum(len(record.lines) for record in packed)
        if judged:
            self.first = self.first or judged[0]._replace(lines=[])
        if self.mark is not None and packed[-1].mark <= self.mark:
            self.received += lines
            for run in self._runs(judged):
                self._add(run)
        else:
            for record in judged:
                for cell, partial in _cells(self._tally([record])).items():
                    self.later.setdefault(cell, []).append(Recounted(partial, record.mark, record.arrival_ms))
        return lines

    def up_to(self, cell: Cell, mark: str) -> Recounted | None:
        """Return what a cell holds of the records up to a mark that is not below its newest record of those below `mark`."""
        found = self.cells.get(cell)
        for more in self.later.get(cell, ()):
            if more.mark <= mark:
                found = more if found is None else merged(found, more)
        return found

    def _first_judged(self, records: Sequence[_Packed]) -> int:
        """Return the index of the first of the next records that is judged; their number if none is."""
        if self.from_ms is None or self.first is not None:
            return 0
        return next((at for at, record in enumerate(records) if record.arrival_ms >= self.from_ms), len(records))

    def _runs(self, records: list[_Packed]) -> Iterator[list[_Packed]]:
        """Cut records into what can be tallied together: of one arrival time, where an outcome depends on it."""
        for _, several in groupby(records, lambda record: record.arrival_ms if self._reader.needs_arrival else None):
            run = list(several)
            for start in range(0, len(run), _RUN_RECORDS):
                yield run[start : start + _RUN_RECORDS]

    def _tally(self, run: Sequence[_Packed]) -> Tally:
        lines = [line for record in run for line in record.lines]
        return self._tallier.roll_up(self._tallier.tally(self._reader.read(lines, run[0].arrival_ms)))

    def _add(self, run: list[_Packed]) -> None:
        tally = self._tally(run)
        self.ledger = self.ledger.plus(tally.ledger)
        cells = _cells(tally)
        newest = self._newest(run, cells)
        for cell, partial in cells.items():
            new, held = Recounted(partial, newest[cell].mark, newest[cell].arrival_ms), self.cells.get(cell)
            self.cells[cell] = new if held is None else merged(held, new)
        if tally.rejected:
            places = [(record, index) for record in run for index in range(len(record.lines))]
            for line in tally.rejected:
                record, index = places[line.sequence]
                item = rejected_item(self.shard, record.mark, index, line)
                self.rejected[item["sk"]] = RejectedRecord(record.arrival_ms, line.reason, sha256(item["data"]).digest())

    def _newest(self, run: list[_Packed], cells: Collection[Cell]) -> dict[Cell, _Packed]:
        """Return the newest record of a run that touches each of some cells, all of which it touches; by halving it."""
        if len(run) == 1 or not cells:
            return dict.fromkeys(cells, run[0])
        older, newer = run[: len(run) // 2], run[len(run) // 2 :]
        in_newer = _cells(self._tally(newer)).keys() & set(cells)
        return self._newest(older, set(cells) - in_newer) | self._newest(newer, in_newer)


def merged(a: Recounted, b: Recounted) -> Recounted:
    """Return both together."""
    return Recounted(merge(a.partial, b.partial), max(a.mark, b.mark), max(a.arrival_ms, b.arrival_ms))


def _cells(tally: Tally) -> dict[Cell, Partial]:
    return {(counter, key): partial for counter, cells in tally.cells.items() for key, partial in cells.items()}
