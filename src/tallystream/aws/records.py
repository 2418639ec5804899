"""
From what Lambda hands over to lines: a Kinesis batch, its records' base64 and KPL aggregates taken apart.

A record is what has a sequence number, and is counted whole, however many events it holds: those that a producer wrote into it,
one a line, and those of the user records that the Kinesis Producer Library packed into it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from hashlib import md5
from itertools import accumulate, chain
from typing import Any, NamedTuple

import msgspec

from tallystream.core.event import decode_base64

SEQUENCE_DIGITS = 129
"""Kinesis' sequence numbers have up to so many digits; so many has every mark, so that texts compare as the numbers do."""

_SLICE_BYTES = 500_000  # of base64
_BELOW_TEXT = b"!"  # a line that is blank, or begins with a blank, is less
_KPL_MAGIC = b"\xf3\x89\x9a\xc2"
_MD5_BYTES = 16
_KPL_RECORDS = 3  # field numbers of the KPL's AggregatedRecord and Record
_KPL_DATA = 3


class StreamRecord(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What Kinesis holds of a record, as it stands in the payload."""

    approximate_arrival_timestamp: float  # seconds
    data: str  # base64


class SourceRecord(msgspec.Struct, frozen=True, gc=False):
    """A record of the payload, and where it is from."""

    kinesis: StreamRecord
    event_id: str = msgspec.field(name="eventID")  # shard and sequence number: `shardId-000000000042:4954…`


class KinesisEvent(msgspec.Struct, frozen=True, gc=False):
    """The payload that an event source mapping of a Kinesis stream hands over."""

    records: list[SourceRecord] = msgspec.field(name="Records")


class Slice(NamedTuple):
    """Lines of some consecutive records of a batch."""

    lines: list[bytes]
    text: bytes | None  # the lines joined by line feeds, where it is at hand
    first_record: int
    counts: list[int] | None  # of lines, for each of the records; None: one each

    def place(self, line: int) -> tuple[int, int]:
        """Return which record of the batch a line is of, and its number among that record's lines, from 0."""
        if self.counts is None:
            return self.first_record + line, 0
        ends = list(accumulate(self.counts))
        record = bisect_right(ends, line)
        return self.first_record + record, line - ends[record] + self.counts[record]


class Batch(NamedTuple):
    """Consecutive records of one shard, in columns."""

    shard: str  # `000000000042` of `shardId-000000000042`
    sequences: list[str]  # of each record, as Kinesis writes it; ascending
    arrivals_s: list[float]  # of each record
    texts: list[str]  # each record's data, in base64

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

    def arrival_ms(self, record: int) -> int:
        """Return when a record arrived, in UTC milliseconds."""
        return round(self.arrivals_s[record] * 1_000)

    def record_after(self, mark: str) -> int:
        """Return the index of the first record above a padded sequence number; the number of records if there is none."""
        return bisect_right(self.sequences, mark, key=pad_sequence)

    def slices(self, first_record: int = 0, *, of_one_arrival: bool = False) -> Iterator[Slice]:
        """
        Yield the lines of the records from one on, as many at a time as a processor's cache holds with what is made of them.

        Args:
            first_record: index of the first.
            of_one_arrival: each slice holds records that arrived at the same time.

        Raises:
            binascii.Error: data is not base64; Kinesis never sends such.
        """
        records = len(self.texts)
        records_max = max(1, _SLICE_BYTES * records // (1 + sum(map(len, self.texts))))
        start = first_record
        while start < records:
            end = min(start + records_max, records)
            if of_one_arrival:
                arrival_ms = self.arrival_ms(start)
                end = next((record for record in range(start, end) if self.arrival_ms(record) != arrival_ms), end)
            yield _read_slice(start, decode_base64(self.texts[start:end]))
            start = end


def pad_sequence(sequence_number: str) -> str:
    """Return a sequence number as it is stored and compared."""
    return sequence_number.zfill(SEQUENCE_DIGITS)


def read_event(event: KinesisEvent | Mapping[str, Any]) -> list[Batch]:
    """
    Return the batches of a payload, one for each shard in it: Lambda sends records of one shard, in order.

    Args:
        event: as our own runtime decodes it, or as the stock runtime does.
    """
    if isinstance(event, KinesisEvent):
        records = [record.kinesis for record in event.records]
        ids = [record.event_id for record in event.records]
        arrivals_s = [record.approximate_arrival_timestamp for record in records]
        texts = [record.data for record in records]
    else:
        stock_records = [record["kinesis"] for record in event["Records"]]
        ids = [record["eventID"] for record in event["Records"]]
        arrivals_s = [record["approximateArrivalTimestamp"] for record in stock_records]
        texts = [record["data"] for record in stock_records]
    batches = []
    start = 0
    while start < len(ids):
        prefix = ids[start].partition(":")[0] + ":"
        end = len(ids)
        nothing, *sequences = ("\n" + "\n".join(ids[start:])).split(f"\n{prefix}")
        if nothing or len(sequences) != end - start:  # not all are of one shard
            end = next(at for at in range(start, end) if not ids[at].startswith(prefix))
            sequences = [event_id[len(prefix) :] for event_id in ids[start:end]]
        batches.append(Batch(prefix[:-1].removeprefix("shardId-"), sequences, arrivals_s[start:end], texts[start:end]))
        start = end
    return batches


def _read_slice(first_record: int, data: list[bytes]) -> Slice:
    text = b"\n".join(data)
    lines = text.split(b"\n")
    if _KPL_MAGIC in text or min(lines) <= _BELOW_TEXT:  # seldom; otherwise no record needs a look at it
        lines_of = list(map(lines_of_record, data))
        return Slice(list(chain.from_iterable(lines_of)), None, first_record, list(map(len, lines_of)))
    if len(lines) == len(data):
        return Slice(lines, text, first_record, None)
    return Slice(lines, text, first_record, [record.count(b"\n") + 1 for record in data])


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
