"""The hot path: a batch of events in, partial aggregates and a ledger out."""

import json
from bisect import bisect_right
from collections import Counter as Multiset
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import add, attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from tallystream.core.aggregate import Partial, aggregate_field, merge
from tallystream.core.definition import Counter, Definition
from tallystream.core.event import Batch, Reader
from tallystream.core.event_time import Slot
from tallystream.core.expression import parse_expression
from tallystream.core.group import GroupValue, canonical_value


class Ledger(NamedTuple):
    """How records ended: each in exactly one outcome, so received = counted + unmatched + late + rejected + duplicate."""

    received: int = 0
    counted: int = 0
    unmatched: int = 0
    late: int = 0
    rejected: int = 0
    duplicate: int = 0

    def plus(self, other: "Ledger") -> "Ledger":
        """Return the sum of both, outcome by outcome."""
        return Ledger(*map(add, self, other))


class CellKey(NamedTuple):
    """Which window of which group. `group` is the canonical JSON array of the group's values, in group_by order."""

    window_ms: int
    window_start_ms: int
    group: str


Cells = dict[CellKey, Partial]

_MINUTE_MS = 60_000


class RejectedLine(NamedTuple):
    """A rejected record as it goes to the store, at `sequence` of its shard."""

    sequence: int
    arrival_ms: int
    reason: str
    message: str
    data: bytes


class Delivery(NamedTuple):
    """Where in the stream a line lies. Of the deliveries of one event id, one is judged; the others are duplicates of it."""

    shard: int
    sequence: int


NONE_SEEN: Mapping[str, Delivery] = MappingProxyType({})


class Tally(NamedTuple):
    """What a run of consecutive lines of one shard, [first_sequence, next_sequence), amounts to."""

    shard: int
    first_sequence: int
    next_sequence: int
    cells: dict[str, Cells]  # by counter name, of the counter's finest window; of all its windows once rolled up
    ledgers: dict[int, Ledger]  # by minute of arrival (its start, UTC milliseconds)
    rejected: list[RejectedLine]
    event_ids: dict[str, Delivery]  # of the events seen for the first time, and where those lie
    repeated_ids: set[str]  # of the duplicates
    first_arrival_ms: int

    @property
    def ledger(self) -> Ledger:
        """The outcomes of all its minutes."""
        total = Ledger()
        for ledger in self.ledgers.values():
            total = total.plus(ledger)
        return total

    @property
    def arrived_before_ms(self) -> int:
        """A time by which all of it had arrived: the end of its newest minute."""
        return max(self.ledgers) + _MINUTE_MS


def merge_tallies(a: Tally, b: Tally) -> Tally:
    """
    Return the tally of two runs, of which b follows a in the same shard. b was tallied with a's event_ids as seen.

    Changes and returns a's collections.
    """
    for name, cells in b.cells.items():
        merge_cells(a.cells.setdefault(name, {}), cells)
    for minute_ms, ledger in b.ledgers.items():
        a.ledgers[minute_ms] = a.ledgers.get(minute_ms, Ledger()).plus(ledger)
    a.rejected.extend(b.rejected)
    a.event_ids.update(b.event_ids)
    a.repeated_ids.update(b.repeated_ids)
    return a._replace(next_sequence=b.next_sequence, first_arrival_ms=min(a.first_arrival_ms, b.first_arrival_ms))


@lru_cache(maxsize=16_384, typed=True)
def group_key(*values: GroupValue) -> str:
    """Return the canonical text of group values: equal texts are equal groups; 1, "1" and true are three, 1 and 1.0 one."""
    return json.dumps([canonical_value(value) for value in values], ensure_ascii=False, separators=(",", ":"))


def group_values(key: str) -> tuple[GroupValue, ...]:
    """Return the group values of a canonical text."""
    return tuple(json.loads(key))


def event_id_text(value: str | int) -> str:
    """Return an event id as stored: the number 7 and the text "7" are the same id."""
    return str(value)


class Tallier:
    """Counts batches as a definition wants. Holds no state between batches."""

    def __init__(self, definition: Definition, reader: Reader) -> None:
        self._event_id = reader.event_id
        self._counters = [_CounterTallier(counter, reader) for counter in definition.counters]

    def event_ids(self, batch: Batch) -> list[str]:
        """Return the ids of the batch's events, for the question which of them were seen before; [] without `event_id`."""
        if self._event_id is None:
            return []
        return [event_id_text(value) for value in map(self._event_id, batch.events) if value is not None]

    def tally(self, batch: Batch, seen: Mapping[str, Delivery] = NONE_SEEN, shard: int = 0, first_sequence: int = 0) -> Tally:
        """
        Count a batch, in each counter's finest window.

        Args:
            batch: as read by the Reader of the same definition.
            seen: event ids that were judged before, and in which delivery. Any other delivery of theirs is a duplicate, and so
                is every event of the batch but the first with the same id. (The very delivery is not: so a recount that is
                handed the ids as stored judges every event as the count did, in whatever order it meets them.)
            shard: that the batch is of.
            first_sequence: of the batch's first line.
        """
        events, slots = batch.events, batch.slots
        new_ids: dict[str, Delivery] = {}
        repeated_ids: set[str] = set()
        if self._event_id is not None:
            fresh = []
            for value, index in zip(map(self._event_id, events), _event_indices(batch), strict=True):
                is_fresh = True
                if value is not None:
                    text, delivery = event_id_text(value), Delivery(shard, first_sequence + index)
                    is_fresh = (seen.get(text) or new_ids.setdefault(text, delivery)) == delivery
                    if not is_fresh:
                        repeated_ids.add(text)
                fresh.append(is_fresh)
            events, slots = list(compress(events, fresh)), list(compress(slots, fresh))
        duplicate = len(batch.events) - len(events)

        matched: set[int] | None = set()  # indices of events; None: all of them
        cells: dict[str, Cells] = {}
        for counter in self._counters:
            if counter.matches is None:
                matched = None
                cells[counter.name] = counter.count(events, slots, batch.slot_start_ms)
                continue
            wanted = [index for index, event in enumerate(events) if counter.matches(event)]
            if matched is not None:
                matched.update(wanted)
            cells[counter.name] = counter.count(
                [events[index] for index in wanted], [slots[index] for index in wanted], batch.slot_start_ms
            )
        counted = len(events) if matched is None else len(matched)
        ledger = Ledger(
            received=len(batch.lines),
            counted=counted,
            unmatched=len(events) - counted,
            late=len(batch.late),
            rejected=len(batch.rejections),
            duplicate=duplicate,
        )
        return Tally(
            shard=shard,
            first_sequence=first_sequence,
            next_sequence=first_sequence + len(batch.lines),
            cells=cells,
            ledgers={batch.arrival_ms - batch.arrival_ms % _MINUTE_MS: ledger},
            rejected=[
                RejectedLine(first_sequence + index, batch.arrival_ms, reason, message, batch.lines[index])
                for index, reason, message in batch.rejections
            ],
            event_ids=new_ids,
            repeated_ids=repeated_ids,
            first_arrival_ms=batch.arrival_ms,
        )

    def roll_up(self, tally: Tally) -> Tally:
        """
        Add to a tally the cells of the coarser windows, and return it. Once, when it is whole.

        Those are added up from the few cells of the finest, and tallies that are merged first have fewer to merge.
        """
        for counter in self._counters:
            if cells := tally.cells.get(counter.name):
                counter.roll_up(cells)
        return tally


def _event_indices(batch: Batch) -> Sequence[int]:
    """Return the index among the batch's lines of each of its events."""
    indices = range(len(batch.lines))
    others = {rejection.index for rejection in batch.rejections}.union(batch.late)
    return [index for index in indices if index not in others] if others else indices


class _CounterTallier:
    """Counts events for one counter: its finest window by key; the coarser ones are rolled up from the few cells there are."""

    def __init__(self, counter: Counter, reader: Reader) -> None:
        self.name = counter.name
        self.matches: Callable[[Any], bool] | None = None
        if counter.where is not None:
            self.matches = parse_expression(counter.where).compile(reader.attribute)
        self._group = [attrgetter(reader.attribute[path]) for path in counter.group_by]
        self._fields = [attrgetter(reader.attribute[path]) for path in counter.measured_fields]
        self._finest_ms, *self._coarser_ms = counter.windows_ms

    def count(self, events: list[Any], slots: list[Slot], slot_start_ms: Mapping[Slot, int]) -> Cells:
        if not events:
            return {}
        if self._fields:
            by_slot = self._measure(events, slots)
        else:
            by_slot = self._count_texts(events, slots, slot_start_ms) or self._count_keys(events, slots)
        cells: Cells = {}
        finest_ms = self._finest_ms
        for (slot, *values), partial in by_slot:
            start = slot_start_ms[slot]
            key = CellKey(finest_ms, start - start % finest_ms, group_key(*map(_unwrap, values)))
            held = cells.get(key)
            cells[key] = partial if held is None else merge(held, partial)
        return cells

    def roll_up(self, cells: Cells) -> None:
        finest = list(cells.items())
        for window_ms in self._coarser_ms:
            for (_, start, group), partial in finest:
                key = CellKey(window_ms, start - start % window_ms, group)
                held = cells.get(key)
                cells[key] = partial if held is None else merge(held, partial)

    def _count_texts(
        self, events: list[Any], slots: list[Slot], distinct_slots: Collection[Slot]
    ) -> list[tuple[tuple[Any, ...], Partial]] | None:
        """
        Count a group of one text by that text, slot by slot, or by one string of slot and text: both cost less than a tuple.

        None: this is not a counter by one field, or a group value is no text; or, of events out of order, a slot is no text, or
        slots differ in length.
        """
        if len(self._group) != 1:
            return None
        texts = list(map(self._group[0], events))
        runs = _runs(slots, distinct_slots)
        if runs is None:
            return _count_joined(texts, slots, distinct_slots)
        found = []
        start = 0
        for slot, end in runs:
            counts = Multiset(texts[start:end])
            if set(map(type, counts)) != {str}:
                return None
            found += [((slot, text), Partial(count)) for text, count in counts.items()]
            start = end
        return found

    def _count_keys(self, events: list[Any], slots: list[Slot]) -> list[tuple[tuple[Any, ...], Partial]]:
        return [(key, Partial(count)) for key, count in Multiset(self._keys(events, slots)).items()]

    def _measure(self, events: list[Any], slots: list[Slot]) -> list[tuple[tuple[Any, ...], Partial]]:
        by_key: dict[tuple[Any, ...], list[Any]] = {}
        for key, event in zip(self._keys(events, slots), events, strict=True):
            by_key.setdefault(key, []).append(event)
        return [
            (key, Partial(len(grouped), tuple(aggregate_field(list(map(field, grouped))) for field in self._fields)))
            for key, grouped in by_key.items()
        ]

    def _keys(self, events: list[Any], slots: list[Slot]) -> Iterable[tuple[Any, ...]]:
        columns = (_wrap_bools(list(map(field, events))) for field in self._group)
        return zip(slots, *columns, strict=True)


def merge_cells(into: Cells, other: Cells) -> None:
    """Merge other's cells into `into`."""
    for key, partial in other.items():
        held = into.get(key)
        into[key] = partial if held is None else merge(held, partial)


def _count_joined(
    texts: list[Any], slots: list[Slot], distinct_slots: Collection[Slot]
) -> list[tuple[tuple[Any, ...], Partial]] | None:
    """Count texts by one string of slot and text. None: a slot or a value is no text, or slots differ in length."""
    length, *others = {len(slot) if type(slot) is str else 0 for slot in distinct_slots}
    if others or not length:
        return None
    try:
        counts = Multiset(map(add, slots, texts))
    except TypeError:
        return None
    return [((key[:length], key[length:]), Partial(count)) for key, count in counts.items()]


def _runs(slots: list[Slot], distinct_slots: Collection[Slot]) -> list[tuple[Slot, int]] | None:
    """Return the slots of an ascending column, and the index at which each ends; None: it does not ascend, or mixes types."""
    if len(distinct_slots) == 1:
        return [(slots[0], len(slots))]
    if len(set(map(type, distinct_slots))) > 1:
        return None
    runs: list[tuple[Slot, int]] = []
    start = 0
    while start < len(slots):
        slot = slots[start]
        end = bisect_right(slots, slot, start)
        # Out of order, the search ends anywhere: behind another slot, or before more of the same, which make a run too many.
        if slots[start:end].count(slot) < end - start or len(runs) == len(distinct_slots):
            return None
        runs.append((slot, end))
        start = end
    return runs


# To Python, True == 1 and hash alike: as dict keys they would be one group. A bool travels in a tuple of its own.


def _wrap_bools(column: list[Any]) -> list[Any]:
    return column if bool not in set(map(type, column)) else [(value,) if type(value) is bool else value for value in column]


def _unwrap(value: Any) -> GroupValue:
    found: GroupValue = value[0] if type(value) is tuple else value
    return found
