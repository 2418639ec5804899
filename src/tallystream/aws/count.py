"""
Exactly-once counting into rows that each say how far they have counted.

Each shard has rows of its own, with a mark `hwm`: the row holds the shard's records up to and including that sequence number,
and none above. A batch is added on the condition that the mark lies below the batch's *first* record. When that fails,
something of the batch is in the row: another delivery of it was counted, with whatever boundaries, or this very update was and
its answer was lost. The failure is answered with the row; only what lies above its mark is added, if anything does, on the
condition that the mark is still that one. So every order and repetition of the updates ends in the same row, as long as each
batch was counted to its end before records behind it are delivered: what an event source mapping does that has one batch of
a shard under way at a time.

A row with measured fields is written as a whole, merged with what it held. The container remembers what that was, so that
takes one write, too; a row that somebody else wrote refuses, by its mark, and is merged again.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from tallystream.aws.records import Batch
from tallystream.aws.rows import (
    OVERFLOW,
    Layout,
    catalogue_head,
    catalogue_item,
    cell_key,
    decode_partial,
    encode_fields,
    generation_of,
    ledger_key,
    rejected_item,
    stored_group,
)
from tallystream.aws.table import Admit, At, Below, Find, Item, Key, PutAll, Steps, Update, item_key
from tallystream.core.aggregate import Partial, merge
from tallystream.core.counting import Cells, Ledger, RejectedLine, Tallier, Tally, merge_tallies
from tallystream.core.definition import Counter, Definition
from tallystream.core.event import Reader

_REMEMBERED_MAX = 20_000  # groups and rows that a container remembers, each


class Held(NamedTuple):
    """What a row was last seen to hold."""

    mark: str
    partial: Partial


class Memory:
    """
    What a container remembers between batches, to ask the table less often. Losing it costs requests, nothing else.

    All of it stays true: a group once admitted, or refused, stays so, and a row that was written meanwhile refuses.
    """

    def __init__(self) -> None:
        self.admitted: dict[tuple[str, str], bool] = {}  # (counter, stored group)
        self.full: set[str] = set()  # counters whose catalogue is full
        self.held: dict[Key, Held] = {}

    def trim(self) -> None:
        """Forget what has grown too large. Not while a delivery is under way, which relies on its groups being known."""
        if len(self.admitted) > _REMEMBERED_MAX:
            self.admitted.clear()
        if len(self.held) > _REMEMBERED_MAX:
            self.held.clear()


class _Contributions(NamedTuple):
    """What a run of records adds to rows."""

    partials: dict[str, dict[Key, Partial]]  # by counter name
    ledger: Ledger

    def added_to(self, counter: str, key: Key) -> Partial | None:
        """Return what is added to a row of a counter; None: nothing."""
        return self.partials.get(counter, {}).get(key)


class Counting:
    """Counts batches as a definition wants. Holds no state between batches."""

    def __init__(self, definition: Definition, layout: Layout) -> None:
        self.layout = layout
        self.counters = {counter.name: counter for counter in definition.counters}
        self.measured = {counter.name for counter in definition.counters if counter.measured_fields}
        self.generations = {counter.name: generation_of(counter, definition.stream, layout) for counter in definition.counters}
        self._reader = Reader(definition)
        self._tallier = Tallier(definition, self._reader)

    def tally(self, batch: Batch, first_record: int = 0) -> "_BatchTally | None":
        """Return what a batch's records from one on amount to; None if there are none."""
        total: Tally | None = None
        rejected: list[_RejectedLine] = []
        for part in batch.slices(first_record, of_one_arrival=self._reader.needs_arrival):
            arrival_ms = batch.arrival_ms(part.first_record)
            read = self._reader.read(part.lines, arrival_ms, part.text)
            if part.has_blank(rejection.index for rejection in read.rejections):
                part = part.without_blanks()
                read = self._reader.read(part.lines, arrival_ms)
            tally = self._tallier.tally(read)
            rejected += [_RejectedLine(*part.place(line.sequence), line) for line in tally.rejected]
            total = tally if total is None else merge_tallies(total, tally)
        return None if total is None else _BatchTally(self._tallier.roll_up(total).cells, total.ledger, rejected)


class _RejectedLine(NamedTuple):
    record: int  # of the batch
    number: int  # of the line in its record, from 0
    line: RejectedLine


class _BatchTally(NamedTuple):
    """What records of a batch amount to."""

    cells: dict[str, Cells]  # by counter name, of all its windows
    ledger: Ledger
    rejected: list[_RejectedLine]


class Delivery:
    """
    One delivery of a batch, to be counted: first `admission`, then all of `writes`, which may be performed in any order.

    It has succeeded when all of them have ended. Cut off anywhere, it may be delivered again.
    """

    def __init__(self, counting: Counting, memory: Memory, batch: Batch, now_ms: int) -> None:
        self._counting = counting
        self._memory = memory
        self._batch = batch
        self._now_ms = now_ms
        self._first, self._last = batch.first, batch.last
        self._below = Below(self._first)
        self._whole = counting.tally(batch)
        self._contributions: dict[int, _Contributions] = {}  # by the record that they begin with

    # Which groups have rows of their own.

    def admission(self) -> Steps:
        """
        Enter the batch's new groups into the catalogues, as far as there is room.

        A decision is final: were a group counted apart that went to the overflow before, a retry would count it in both.
        """
        if self._whole is None:
            return
        for name, cells in self._whole.cells.items():
            yield from self._admit(name, {key.group for key in cells})

    def _admit(self, counter: str, groups: set[str]) -> Steps:
        admitted, full = self._memory.admitted, self._memory.full
        generation = self._counting.generations[counter]
        items = {
            item_key(item): item
            for group in sorted(groups)
            if (counter, stored_group(group)) not in admitted
            for item in [catalogue_item(counter, generation, group, self._now_ms)]
        }
        while items:
            no_room = counter in full
            found: set[Key] = yield Find(list(items))
            for key in found:
                admitted[counter, key.sk] = True
                del items[key]
            if no_room:  # it was full before we asked, so whatever was not found will never be there
                admitted.update(((counter, key.sk), False) for key in items)
                return
            while items and counter not in full:
                key, item = next(iter(items.items()))
                head = catalogue_head(counter, generation)
                if (yield Admit(head, item, self._counting.layout.groups_max)):
                    admitted[counter, key.sk] = True
                    del items[key]
                else:
                    full.add(counter)

    # What is written.

    def writes(self) -> list[Steps]:
        """Return the steps of each row, and of the rejected events; to be called when the admission has ended."""
        if self._whole is None:
            return []
        whole = self._after(0)
        ledger = ledger_key(self._batch.shard)
        steps = [self._add(ledger, _ledger_numbers(whole), _ledger_numbers, {"hwm": self._last}, {})]
        # Rows of a measured counter are written as a whole, the others are added to.
        for name, partials in whole.partials.items():
            counter = self._counting.counters[name]
            if name in self._counting.measured:
                steps += [self._merge_cell(counter, key) for key in partials]
            else:
                steps += self._count_cells(counter, partials)
        if self._whole.rejected:
            steps.append(self._keep_rejected(self._whole))
        return steps

    def _count_cells(self, counter: Counter, partials: Mapping[Key, Partial]) -> Iterator[Steps]:
        assign = {**self._lifetime(counter), "hwm": self._last}
        begin = {"first": self._first}
        for key, added in partials.items():
            numbers = partial(_cell_numbers, counter.name, key)
            yield self._add(key, {"count": added.count}, numbers, assign, begin)

    def _add(
        self,
        key: Key,
        add: dict[str, int],
        numbers: Callable[[_Contributions], dict[str, int]],
        assign: dict[str, Any],
        begin: Mapping[str, Any],
    ) -> Steps:
        """Add to a row what it does not hold yet: `add` if it holds nothing of the batch, otherwise the numbers of the rest."""
        condition: Below | At = self._below
        while add:
            row: Item | None = yield Update(key, condition, add, assign, begin)
            if row is None:
                return
            mark = row.get("hwm")
            condition = At(mark)
            add = numbers(self._after_mark(mark))

    def _merge_cell(self, counter: Counter, key: Key) -> Steps:
        """Write a row merged with what it does not hold yet."""
        held = self._memory.held.get(key)
        while True:
            added = self._after_mark(held.mark if held else None).added_to(counter.name, key)
            if added is None:
                return
            merged = merge(held.partial, added) if held else added
            assign = {
                "count": merged.count,
                "fields": encode_fields(counter, merged),
                **self._lifetime(counter),
                "hwm": self._last,
            }
            begin = {"first": self._first}
            row: Item | None = yield Update(key, At(held.mark if held else None), {}, assign, begin)
            if row is None:
                self._memory.held[key] = Held(self._last, merged)
                return
            held = Held(row["hwm"], decode_partial(counter, row)) if row else None
            if held:
                self._memory.held[key] = held
            else:
                self._memory.held.pop(key, None)

    def _keep_rejected(self, tally: _BatchTally) -> Steps:
        batch = self._batch
        items = []
        for record, number, line in tally.rejected:
            line = line._replace(arrival_ms=batch.arrival_ms(record))
            items.append(rejected_item(batch.shard, batch.mark(record), number, line))
        yield PutAll(items)

    def _lifetime(self, counter: Counter) -> dict[str, Any]:
        """From now on: while a batch can still be delivered again, the mark that would refuse it must be there."""
        return {"ttl": None if counter.keep_ms is None else (self._now_ms + counter.keep_ms) // 1_000}

    def _after_mark(self, mark: str | None) -> _Contributions:
        return self._after(0 if mark is None else self._batch.record_after(mark))

    def _after(self, first_record: int) -> _Contributions:
        """Return what the records from one on add to which rows."""
        found = self._contributions.get(first_record)
        if found is None:
            tally = self._counting.tally(self._batch, first_record) if first_record else self._whole
            found = _Contributions({}, Ledger()) if tally is None else self._contribute(tally)
            self._contributions[first_record] = found
        return found

    def _contribute(self, tally: _BatchTally) -> _Contributions:
        layout, shard, admitted = self._counting.layout, self._batch.shard, self._memory.admitted
        partials: dict[str, dict[Key, Partial]] = {}
        for name, cells in tally.cells.items():
            generation = self._counting.generations[name]
            stored_groups = {group: stored_group(group) for group in {cell.group for cell in cells}}
            row_groups = {group: stored if admitted[name, stored] else OVERFLOW for group, stored in stored_groups.items()}
            rows: dict[Key, Partial] = {}
            for cell, added in cells.items():
                group = row_groups[cell.group]
                cell = cell if group == cell.group else cell._replace(group=group)
                key = cell_key(name, generation, cell, layout, shard)
                rows[key] = merge(rows[key], added) if key in rows else added
            partials[name] = rows
        return _Contributions(partials, tally.ledger)


def _ledger_numbers(contributions: _Contributions) -> dict[str, int]:
    ledger = contributions.ledger
    return ledger._asdict() if ledger.received else {}


def _cell_numbers(counter: str, key: Key, contributions: _Contributions) -> dict[str, int]:
    added = contributions.added_to(counter, key)
    return {"count": added.count} if added else {}
