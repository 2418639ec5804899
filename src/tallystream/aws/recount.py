"""
One shard's retained records, counted once more for `tally verify --aws`.

It shares with the count function how a record is taken apart (records.py) and what its lines amount to (the core's Reader and
Tallier), and nothing else: no batches, no conditions, no marks of rows. Records are tallied one by one, since a row may have
counted to any of them: some 20,000 a second, while Kinesis hands over 2 MB a second of a shard.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from tallystream.aws.records import lines_of_record, pad_sequence
from tallystream.aws.rows import rejected_item
from tallystream.core.aggregate import Partial, merge
from tallystream.core.counting import CellKey, Ledger, Tallier, Tally
from tallystream.core.definition import Definition
from tallystream.core.event import Reader


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


Cell = tuple[str, CellKey]
"""A counter and which of its cells; the group is its canonical text."""


class ShardRecount:
    """
    What a shard's records amount to: up to `mark`, which is the ledger's, in all; above it, record by record.

    Records that arrived before `from_ms` are not judged, only numbered: an earlier function may have judged them otherwise.
    """

    def __init__(self, definition: Definition, shard: str, from_ms: int | None = None) -> None:
        self.shard = shard
        self.mark: str | None = None
        self.received = 0  # lines up to the mark, whether judged or not
        self.ledger = Ledger()  # of those that were judged
        self.cells: dict[Cell, Recounted] = {}
        self.rejected: dict[str, RejectedRecord] = {}  # by the sort key of its item
        self.later: dict[Cell, list[Recounted]] = {}  # above the mark
        self.first: Record | None = None  # the oldest that was judged, without its data
        self.last_sequence: str | None = None  # that was read
        self._from_ms = from_ms
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

    def count(self, record: Record) -> int:
        """Count the next record; return how many lines it has."""
        mark = pad_sequence(record.sequence)
        self.last_sequence = record.sequence
        lines = lines_of_record(record.data)
        is_counted = self.mark is not None and mark <= self.mark
        self.received += len(lines) * is_counted
        if self._from_ms is not None and record.arrival_ms < self._from_ms:
            return len(lines)
        self.first = self.first or record._replace(data=b"")
        tally = self._tallier.tally(self._reader.read(lines, record.arrival_ms))
        if is_counted:
            self._add(tally, mark, record.arrival_ms)
        else:
            for cell, partial in _cells(tally):
                self.later.setdefault(cell, []).append(Recounted(partial, mark, record.arrival_ms))
        return len(lines)

    def up_to(self, cell: Cell, mark: str) -> Recounted | None:
        """Return what a cell holds of the records up to a mark that is not below its newest record of those below `mark`."""
        found = self.cells.get(cell)
        for more in self.later.get(cell, ()):
            if more.mark <= mark:
                found = more if found is None else merged(found, more)
        return found

    def _add(self, tally: Tally, mark: str, arrival_ms: int) -> None:
        self.ledger = self.ledger.plus(tally.ledger)
        for cell, partial in _cells(tally):
            new, held = Recounted(partial, mark, arrival_ms), self.cells.get(cell)
            self.cells[cell] = new if held is None else merged(held, new)
        for line in tally.rejected:
            item = rejected_item(self.shard, mark, line.sequence, line)
            self.rejected[item["sk"]] = RejectedRecord(line.arrival_ms, line.reason, sha256(item["data"]).digest())


def merged(a: Recounted, b: Recounted) -> Recounted:
    """Return both together."""
    return Recounted(merge(a.partial, b.partial), max(a.mark, b.mark), max(a.arrival_ms, b.arrival_ms))


def _cells(tally: Tally) -> Iterator[tuple[Cell, Partial]]:
    for counter, cells in tally.cells.items():
        for key, partial in cells.items():
            yield (counter, key), partial
