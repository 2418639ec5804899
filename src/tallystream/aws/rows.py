"""
The table's rows: which keys they have, and what they hold. docs/aws.md shows them with what they cost.

Everything that decides where an event is counted is in the key: a retry must find the rows that it wrote. So what could move an
event to another row, the layout included, is part of the generation, and changing it starts new rows.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zlib import crc32

from tallystream.aws.table import Item, Key
from tallystream.core.aggregate import FieldPartial, Partial
from tallystream.core.counting import CellKey, RejectedLine
from tallystream.core.definition import Counter, Stream, fingerprint
from tallystream.core.window import format_duration, parse_duration

OVERFLOW: Final = "overflow"
"""Stands in place of a group for all those above a counter's cap. (A group's own text begins with a bracket.)"""

REJECTED_KEPT_S: Final = 30 * 86_400

_GROUP_BYTES_MAX = 900  # of a sort key's 1,024 and a partition key's 2,048 bytes
_HASHED = "sha256:"
_ITEM_BYTES_MAX = 390_000  # DynamoDB takes 400 KB, names and numbers included
_TIME_OFFSET_MS = 10**15  # makes every time positive: event times lie within 10^14 ms of the epoch
_LEDGER = "ledger"


class Layout(NamedTuple):
    """How counters are spread over rows."""

    groups_max: int = 10_000  # of a counter; the events of any further group are counted together
    write_shards: int = 1  # partitions of a series, which take 1,000 writes a second each


class CellRow(NamedTuple):
    """What a cell's key says. The group is its canonical text, its hash where that is long, or OVERFLOW."""

    counter: str
    generation: str
    window_ms: int
    group: str
    window_start_ms: int
    shard: str


def generation_of(counter: Counter, stream: Stream, layout: Layout) -> str:
    """Return what tells a counter's rows from those that it wrote when it meant something else."""
    meaning = f"{fingerprint(counter, stream)}/{layout.groups_max}/{layout.write_shards}"
    return hashlib.sha256(meaning.encode()).hexdigest()[:12]


@lru_cache(maxsize=16_384)
def stored_group(group: str) -> str:
    """Return what stands for a group's canonical text in keys: itself, or its hash if it is too long for a key."""
    encoded = group.encode()
    return group if len(encoded) <= _GROUP_BYTES_MAX else _HASHED + hashlib.sha256(encoded).hexdigest()


# Cells.


@lru_cache(maxsize=1_024)
def series_prefix(counter: str, generation: str, window_ms: int) -> str:
    """Return what the partition keys of all series of a counter's windows of one size begin with; the group follows."""
    return f"{counter}#{generation}#{format_duration(window_ms)}#"


def spreads(layout: Layout) -> list[str]:
    """Return what the partition keys of one series end with, one for each of its partitions."""
    return [f"#{number}" for number in range(layout.write_shards)] if layout.write_shards > 1 else [""]


@lru_cache(maxsize=1_024)
def spread_of(layout: Layout, shard: str) -> str:
    """Return what the partition keys end with that a shard writes to."""
    return spreads(layout)[crc32(shard.encode()) % layout.write_shards]


def cell_key(counter: str, generation: str, cell: CellKey, layout: Layout, shard: str) -> Key:
    """Return where a shard's row of a cell lies; the cell's group is as stored."""
    return Key(
        series_prefix(counter, generation, cell.window_ms) + cell.group + spread_of(layout, shard),
        f"{window_key(cell.window_start_ms)}#{shard}",
    )


@lru_cache(maxsize=4_096)
def window_key(window_start_ms: int) -> str:
    """Return a text that sorts as the window starts do, those before 1970 too; all rows of the window begin with it."""
    return f"{window_start_ms + _TIME_OFFSET_MS:016d}"


def read_cell_key(key: Key) -> CellRow | None:
    """Return what a cell's key says; None for the key of another kind of item."""
    counter, *rest = key.pk.split("#", 3)
    if len(rest) != 3:
        return None
    generation, window, group = rest
    if not group.endswith("]") and "#" in group:
        group = group[: group.rindex("#")]
    start, _, shard = key.sk.partition("#")
    return CellRow(counter, generation, parse_duration(window), group, int(start) - _TIME_OFFSET_MS, shard)


def encode_fields(counter: Counter, partial: Partial) -> dict[str, Any]:
    """
    Return the partials of a counter's measured fields as an attribute: field → count, and sum, min and max as texts.

    As texts, because a sum of decimals may have more than the 38 digits of a DynamoDB number, and every digit counts.
    """
    return {
        path: {"count": field.count, "sum": _text(field.sum), "min": _text(field.min), "max": _text(field.max)}
        for path, field in zip(counter.measured_fields, partial.fields, strict=True)
        if field.min is not None and field.max is not None
    }


def decode_partial(counter: Counter, item: Mapping[str, Any]) -> Partial:
    """Return what a cell's row holds."""
    fields = item.get("fields", {})
    return Partial(int(item["count"]), tuple(_field(fields.get(path)) for path in counter.measured_fields))


def _field(stored: Mapping[str, Any] | None) -> FieldPartial:
    if stored is None:
        return FieldPartial(0, Decimal(0), None, None)
    return FieldPartial(int(stored["count"]), Decimal(stored["sum"]), Decimal(stored["min"]), Decimal(stored["max"]))


def _text(number: Decimal) -> str:
    return format(number, "f")


# The others. A generation and a window follow a counter's name in the key of a cell, so no cell's key is like these.


def ledger_key(shard: str) -> Key:
    """Return where a shard's ledger lies; all of them are one partition."""
    return Key(_LEDGER, shard)


def catalogue_key(counter: str, generation: str) -> str:
    """Return the partition key of the catalogue of a counter's groups."""
    return f"catalogue#{counter}#{generation}"


def catalogue_head(counter: str, generation: str) -> Key:
    """Return where the number of groups in a catalogue lies; it sorts before all of them."""
    return Key(catalogue_key(counter, generation), "#")


def catalogue_item(counter: str, generation: str, group: str, now_ms: int) -> Item:
    """Return a group's item in the catalogue, which holds its text in full; groups are as in the CellKey."""
    return {
        "pk": catalogue_key(counter, generation),
        "sk": stored_group(group),
        "group": group,
        "since_ms": now_ms,
    }


def rejected_key(shard: str) -> str:
    """Return the partition key of a shard's rejected events."""
    return f"rejected#{shard}"


def rejected_item(shard: str, sequence: str, index: int, line: RejectedLine) -> Item:
    """
    Return a rejected event's item: the same whenever its record is read again, and so written over, not again.

    Args:
        shard: of its record.
        sequence: of its record, padded.
        index: of the line in its record.
        line: with its bytes, of which as many are kept as an item holds; `bytes_cut` says how many are not.
    """
    item: Item = {
        "pk": rejected_key(shard),
        "sk": f"{sequence}#{index:06d}",
        "arrival_ms": line.arrival_ms,
        "reason": line.reason,
        "message": line.message,
        "data": line.data[:_ITEM_BYTES_MAX],
        "ttl": line.arrival_ms // 1_000 + REJECTED_KEPT_S,
    }
    if len(line.data) > _ITEM_BYTES_MAX:
        item["bytes_cut"] = len(line.data) - _ITEM_BYTES_MAX
    return item
