"""
What the table holds against a recount of the stream, as a function of both.

A row says how far it has counted its shard, so what it must hold is the recount up to its own mark, whatever else is counted
meanwhile. And the ledger says how far the shard was counted, so a row whose mark lies below its newest event up to there lacks
it. A batch's rows are written in any order, though, along with the ledger: what is lacking, and a mark that lies above the
ledger's, may be right in a moment: when the row is read again, or when the ledger has come as far.

**Whole, or at least.** A row says by which batch it was begun: `first`, the first record of that. If all from there on is
retained, it must be equal to the recount. An older one may hold events that are gone, and must hold at least the recount;
except where nothing can be gone: in a shard whose ledger has received exactly what is retained, or in a stream that is
younger than anything that Kinesis can have dropped.

**Another function before.** The rows are those of the present generation. What an earlier function has counted may be in
rows of another generation, and may have been judged by other bounds. Neither the catalogue (`since_ms` is when a group was
counted first, not whether all was) nor a row tells that. So where the count function was changed since it was made, what
arrived before is not judged: rows must then hold at least what came after. That is over when the retention has passed.

**Groups above the cap** are those that a full catalogue lacks: whether a group is in it is decided before its first event is
counted, for ever.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from hashlib import sha256
from typing import Final, NamedTuple

from tallystream.aws.metric import OTHER
from tallystream.aws.recount import Cell, Recounted, ShardRecount, merged
from tallystream.aws.rows import (
    OVERFLOW,
    REJECTED_KEPT_S,
    Layout,
    cell_key,
    decode_partial,
    generation_of,
    read_cell_key,
    rejected_key,
    stored_group,
)
from tallystream.aws.table import Item, Key
from tallystream.core.comparison import Difference, holds, shown
from tallystream.core.counting import Ledger
from tallystream.core.definition import Definition
from tallystream.core.window import format_duration

_ALWAYS: Final = -(2**62)  # before every arrival
_ARRIVAL_SLACK_MS: Final = 60_000  # Kinesis calls its arrival times approximate
_REJECTED_SLACK_S: Final = 3_600  # an item may go a little early by our clock


class Shard(NamedTuple):
    """A shard's recount, and what the table says of the shard."""

    recount: ShardRecount
    ledger: Item | None  # as it was when the recount's mark was taken from it
    newest_mark: str | None  # of the ledger, read after all rows
    is_untrimmed: bool  # Kinesis cannot have dropped any of its records
    trimmed_ms: int  # whatever Kinesis may have dropped by the end of reading had arrived before

    @property
    def whole_from_ms(self) -> int:
        """Everything that arrived from then on is in the recount."""
        recount = self.recount
        is_whole = self.is_untrimmed or (self.ledger is not None and self.ledger.get("received") == recount.received)
        if is_whole and not recount.is_cut:
            return _ALWAYS
        first_ms = recount.from_ms if recount.first is None else recount.first.arrival_ms
        return max(self.trimmed_ms, first_ms or self.trimmed_ms) + _ARRIVAL_SLACK_MS

    def has_all_from(self, mark: str) -> bool:
        """Return whether everything that a row has counted is in the recount, if a batch that began at a mark has begun it."""
        first = self.recount.first
        return self.whole_from_ms == _ALWAYS or (first is not None and mark >= first.mark)


class Catalogue(NamedTuple):
    """The groups of a counter that have rows of their own, as in keys, and how many the table says that there are."""

    groups: frozenset[str]
    entered: int


class Finding(NamedTuple):
    """A difference, and how it may pass: if an item is another when it is read again, or if the ledger comes further."""

    difference: Difference
    again: Key | None = None
    is_ahead: bool = False  # of the ledger


class Comparison:
    """Compares what the table holds with the recount of each shard."""

    def __init__(
        self,
        definition: Definition,
        layout: Layout,
        shards: Iterable[Shard],
        catalogues: Mapping[str, Catalogue],
        items: Mapping[Key, Item],
        now_ms: int,
    ) -> None:
        """
        Take what is to be compared.

        Args:
            definition: that the shards were recounted by.
            layout: of the rows.
            shards: of the stream.
            catalogues: of each counter, read after the rows.
            items: cells and rejected events, strongly consistent; at least those that the recount has.
            now_ms: no later than the items were read.
        """
        self.rows = 0  # compared
        self._definition = definition
        self._layout = layout
        self._shards = {shard.recount.shard: shard for shard in shards}
        self._catalogues = catalogues
        self._items = items
        self._now_ms = now_ms
        self._counters = {counter.name: counter for counter in definition.counters}
        self._generations = {counter.name: generation_of(counter, definition.stream, layout) for counter in definition.counters}

    def findings(self) -> Iterator[Finding]:
        """Yield what differs."""
        for counter, catalogue in self._catalogues.items():
            if catalogue.entered > len(catalogue.groups):
                what = f"{counter}: groups in the catalogue"
                yield Finding(Difference(what, f"{len(catalogue.groups):,}", f"{catalogue.entered:,}, as many were entered"))
        rows: dict[str, list[Key]] = {name: [] for name in self._shards}
        rejected: dict[str, dict[str, Item]] = {rejected_key(name): {} for name in self._shards}
        for key, item in self._items.items():
            cell = read_cell_key(key)
            if key.pk in rejected:
                rejected[key.pk][key.sk] = item
            elif cell is not None and cell.shard in rows and self._generations.get(cell.counter) == cell.generation:
                rows[cell.shard].append(key)
        for name, shard in self._shards.items():
            yield from map(Finding, _ledger_differences(shard))
            yield from self._of_rows(shard, rows[name])
            yield from self._of_rejected(shard, rejected[rejected_key(name)])

    def _of_rows(self, shard: Shard, stored: list[Key]) -> Iterator[Finding]:
        parts: dict[Key, list[Cell]] = {}
        recount = shard.recount
        for cell in {**recount.cells, **recount.later}:
            parts.setdefault(self._key(cell, recount.shard), []).append(cell)
        for key in stored:
            yield from self._of_row(shard, key, parts.pop(key, []))
        for key, cells in parts.items():
            expected = _together(recount.cells.get(cell) for cell in cells)
            keep_ms = self._counters[cells[0][0]].keep_ms
            if expected is None or (keep_ms is not None and expected.arrival_ms + keep_ms <= self._now_ms):
                continue
            self.rows += 1
            yield Finding(Difference(_name(key), "nothing", shown(expected.partial)), key)

    def _key(self, cell: Cell, shard: str) -> Key:
        """Return where a cell's row lies."""
        counter, key = cell
        group, catalogue = stored_group(key.group), self._catalogues[counter]
        if group not in catalogue.groups and catalogue.entered >= self._layout.groups_max:
            group = OVERFLOW
        return cell_key(counter, self._generations[counter], key._replace(group=group), self._layout, shard)

    def _of_row(self, shard: Shard, key: Key, cells: list[Cell]) -> Iterator[Finding]:
        self.rows += 1
        recount, item, name = shard.recount, self._items[key], _name(key)
        row = read_cell_key(key)
        assert row is not None
        mark = item.get("hwm", "")
        try:
            partial = decode_partial(self._counters[row.counter], item)
        except (ArithmeticError, KeyError, TypeError, ValueError):
            yield Finding(
                Difference(name, "something else than counting writes", "a count, and numbers of the measured fields")
            )
            return
        is_whole = shard.has_all_from(item.get("first", ""))
        due = _together(recount.cells.get(cell) for cell in cells)
        if due is not None and mark < due.mark:
            if partial == due.partial:
                yield Finding(Difference(f"{name}: mark", _number(mark), f"at least {_number(due.mark)}"), key)
            else:
                least = "" if is_whole else "at least "
                yield Finding(Difference(name, shown(partial), least + shown(due.partial)), key)
            return
        if shard.newest_mark is None or mark > shard.newest_mark:
            yield Finding(Difference(f"{name}: mark", _number(mark), f"no higher: {_counted_to(shard)}"), is_ahead=True)
        expected = _together(recount.up_to(cell, mark) for cell in cells)
        if is_whole and (expected is None or partial != expected.partial):
            yield Finding(Difference(name, shown(partial), "nothing" if expected is None else shown(expected.partial)))
        elif expected is not None and not holds(partial, expected.partial):
            yield Finding(Difference(name, shown(partial), f"at least {shown(expected.partial)}"))

    def _of_rejected(self, shard: Shard, stored: Mapping[str, Item]) -> Iterator[Finding]:
        recount = shard.recount
        for sk, expected in recount.rejected.items():
            item = stored.get(sk)
            is_gone = expected.arrival_ms // 1_000 + REJECTED_KEPT_S - _REJECTED_SLACK_S <= self._now_ms // 1_000
            name = _rejected_name(recount.shard, sk)
            if item is None:
                if not is_gone:
                    yield Finding(Difference(name, "nothing", expected.reason), Key(rejected_key(recount.shard), sk))
            elif item.get("reason") != expected.reason:
                yield Finding(Difference(name, str(item.get("reason")), expected.reason))
            elif sha256(item.get("data", b"")).digest() != expected.data_sha256:
                yield Finding(Difference(f"{name}: its bytes", "others", "those of the record"))
        for sk in stored.keys() - recount.rejected.keys():
            item = stored[sk]
            mark, name, reason = sk.partition("#")[0], _rejected_name(recount.shard, sk), str(item.get("reason"))
            if recount.mark is not None and mark <= recount.mark:
                if item.get("arrival_ms", 0) >= shard.whole_from_ms:
                    yield Finding(Difference(name, reason, "nothing"))
            elif shard.newest_mark is None or mark > shard.newest_mark:
                yield Finding(Difference(name, reason, f"nothing: {_counted_to(shard)}"), is_ahead=True)


def _ledger_differences(shard: Shard) -> Iterator[Difference]:
    """Compare a ledger with the recount up to its own mark. It is one item, so it is right at all times."""
    if shard.ledger is None:
        return
    name, recount = f"shard {shard.recount.shard}: ledger", shard.recount
    ledger = Ledger(*(shard.ledger.get(field, 0) for field in Ledger._fields))
    outcomes = sum(ledger) - ledger.received
    if outcomes != ledger.received:
        yield Difference(f"{name}: received", f"{ledger.received:,}", f"{outcomes:,}, the sum of its outcomes")
    if recount.end is not None and recount.mark is not None and recount.end < recount.mark:
        yield Difference(f"{name}: mark", _number(recount.mark), f"at most {_number(recount.end)}, the end of the shard")
    expected = recount.ledger._replace(received=recount.received)
    is_whole = shard.whole_from_ms == _ALWAYS
    for field, stored, again in zip(Ledger._fields, ledger, expected, strict=True):
        is_equal = is_whole or (field == "received" and shard.is_untrimmed)
        if stored < again or (is_equal and stored > again):
            yield Difference(f"{name}: {field}", f"{stored:,}", f"{'' if is_equal else 'at least '}{again:,}")


def _counted_to(shard: Shard) -> str:
    at = "there is no ledger" if shard.newest_mark is None else f"the ledger is at {_number(shard.newest_mark)}"
    return f"{at} of the shard"


def _together(several: Iterable[Recounted | None]) -> Recounted | None:
    present = [each for each in several if each is not None]
    return reduce(merged, present) if present else None


def _name(key: Key) -> str:
    row = read_cell_key(key)
    assert row is not None
    group = OTHER if row.group == OVERFLOW else row.group
    return f"{row.counter} {group} {format_duration(row.window_ms)} from {row.window_start_ms}, shard {row.shard}"


def _rejected_name(shard: str, sk: str) -> str:
    sequence, _, index = sk.partition("#")
    return f"rejected event: shard {shard}, record {_number(sequence)}, line {int(index) + 1}"


def _number(mark: str) -> str:
    return mark.lstrip("0") or "0"
