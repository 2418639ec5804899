"""
From what Lambda hands over to lines: a Kinesis batch, its records' base64 and KPL aggregates taken apart.

A record is what has a sequence number, and is counted whole, however many events it holds: those that a producer wrote into it,
one a line, and those of the user records that the Kinesis Producer Library packed into it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from hashlib import md5
from itertools import chain, repeat
from typing import Any, NamedTuple

import msgspec

from tallystream.core.event import decode_base64

SEQUENCE_DIGITS = 129
"""Kinesis' sequence numbers have up to so many digits; so many has every mark, so that texts compare as the numbers do."""

_KPL_MAGIC = b"\xf3\x89\x9a\xc2"
_MD5_BYTES = 16
_KPL_RECORDS = 3  # field numbers of the KPL's AggregatedRecord and Record
_KPL_DATA = 3


class StreamRecord(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What Kinesis holds of a record, as it stands in the payload."""

    approximate_arrival_timestamp: float  # seconds
    data: bytes


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of the payload, and where it is from."""

    kinesis: StreamRecord
    event_id: str = msgspec.field(name="eventID")  # shard and sequence number: `shardId-000000000042:4954…`


class KinesisEvent(msgspec.Struct, frozen=True, gc=False):
    """The payload that an event source mapping of a Kinesis stream hands over, with data that is decoded already."""

    records: list[SourceRecord] = msgspec.field(name="Records")


class Batch(NamedTuple):
    """Consecutive records of one shard, in columns."""

    shard: str  # `000000000042` of `shardId-000000000042`
    sequences: list[str]  # of each record, as Kinesis writes it; ascending
    arrivals_s: list[float]  # of each record
    lines: list[bytes]  # of all records
    record_of: Sequence[int]  # which record each line is of, ascending

    @property
    def first(self) -> str:
        """The first record's sequence number, padded."""
        return self.mark(0)

    @property
    def last(self) -> str:
        """The last record's sequence number, padded."""
        return self.mark(-1)

    def mark(self, record: int) -> str:
        """Return a record's sequence number, padded."""
        return pad_sequence(self.sequences[record])

    def arrival_ms(self, line: int) -> int:
        """Return when the record of a line arrived, in UTC milliseconds."""
        return round(self.arrivals_s[self.record_of[line]] * 1_000)

    def line_after(self, mark: str) -> int:
        """Return the index of the first line of the records above a padded sequence number; the number of lines if none."""
        return self.first_line(bisect_right(self.sequences, mark, key=pad_sequence))

    def first_line(self, record: int) -> int:
        """Return the index of a record's first line."""
        return bisect_left(self.record_of, record)


def pad_sequence(sequence_number: str) -> str:
    """Return a sequence number as it is stored and compared."""
    return sequence_number.zfill(SEQUENCE_DIGITS)


def read_event(event: KinesisEvent | Mapping[str, Any]) -> list[Batch]:
    """
    Return the batches of a payload, one for each shard in it: Lambda sends records of one shard, in order.

    Args:
        event: as our own runtime decodes it, or as the stock runtime does, with base64 text.
    """
    if isinstance(event, KinesisEvent):
        records = [record.kinesis for record in event.records]
        ids = [record.event_id for record in event.records]
        arrivals_s = [record.approximate_arrival_timestamp for record in records]
        data = [record.data for record in records]
    else:
        stock_records = [record["kinesis"] for record in event["Records"]]
        ids = [record["eventID"] for record in event["Records"]]
        arrivals_s = [record["approximateArrivalTimestamp"] for record in stock_records]
        data = decode_base64([record["data"] for record in stock_records])
    batches = []
    start = 0
    while start < len(ids):
        prefix = ids[start].partition(":")[0] + ":"
        length = len(prefix)
        end = len(ids)
        if "\n".join(ids[start:]).count(f"\n{prefix}") != end - start - 1:  # one pass tells that all are of one shard
            end = next(at for at in range(start, end) if not ids[at].startswith(prefix))
        sequences = [event_id[length:] for event_id in ids[start:end]]
        batches.append(make_batch(prefix[:-1].removeprefix("shardId-"), sequences, arrivals_s[start:end], data[start:end]))
        start = end
    return batches


def make_batch(shard: str, sequences: list[str], arrivals_s: list[float], data: list[bytes]) -> Batch:
    """Return the batch of a shard's records, given in columns."""
    everything = b"".join(data)
    record_of: Sequence[int] = range(len(data))
    if b"\n" in everything or _KPL_MAGIC in everything:  # in many streams never: then no record needs a look at it
        lines_of = list(map(lines_of_record, data))
        data = list(chain.from_iterable(lines_of))
        record_of = list(chain.from_iterable(map(repeat, range(len(lines_of)), map(len, lines_of))))
    return Batch(shard, sequences, arrivals_s, data, record_of)


def lines_of_record(data: bytes) -> list[bytes]:
    """Return the lines of a record: blank ones are passed over, but for a record that holds nothing else."""
    user_records = deaggregate(data) if data.startswith(_KPL_MAGIC) else None
    parts = [data] if user_records is None else user_records
    lines = [line for part in parts for line in part.split(b"\n")]
    if b"" in lines or any(map(bytes.isspace, lines)):
        lines = [line for line in lines if line and not line.isspace()]
    return lines or [data]


def deaggregate(data: bytes) -> list[bytes] | None:
    """
    Return the data of the user records of a KPL aggregate, or None: it is not one, by its magic, its MD5 or its fields.

    Source: awslabs, "KPL Aggregated Record Format".
    """
    body, digest = data[len(_KPL_MAGIC) : -_MD5_BYTES], data[-_MD5_BYTES:]
    if not data.startswith(_KPL_MAGIC) or md5(body, usedforsecurity=False).digest() != digest:
        return None
    try:
        return [
            next(value for field, value in _fields(record) if field == _KPL_DATA)
            for number, record in _fields(body)
            if number == _KPL_RECORDS
        ]
    except (IndexError, StopIteration, ValueError):
        return None


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a Protocol Buffers message that hold bytes: (number, value)."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("the message ends within a field")
                yield tag >> 3, message[at : at + length]
                at += length
            case 5:
                at += 4
            case kind:
                raise ValueError(f"a field of the unknown wire type {kind}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
