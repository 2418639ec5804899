"""
From what Lambda hands over to lines: a Kinesis batch, its records' base64 and KPL aggregates taken apart.

A record is what has a sequence number, and is counted whole, however many events it holds: those that a producer wrote into it,
one a line, and those of the user records that the Kinesis Producer Library packed into it.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import md5
from itertools import accumulate, chain
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tallystream.core.event import decode_base64

SEQUENCE_DIGITS = 129
"""Kinesis' sequence numbers have up to so many digits; so many has every mark, so that texts compare as the numbers do."""

_DATA = b'"data"'
_SMALL_RECORD_BYTES_MAX = 4_096  # of the payload, from one record to the next
_SLICE_BYTES = 500_000  # of base64
_KPL_MAGIC = b"\xf3\x89\x9a\xc2"
_MD5_BYTES = 16
_KPL_RECORDS = 3  # field numbers of the KPL's AggregatedRecord and Record
_KPL_DATA = 3


Data = TypeVar("Data", str, bytes)


class StreamRecord(msgspec.Struct, Generic[Data], frozen=True, gc=False, rename="camel"):
    """What Kinesis holds of a record, as it stands in the payload."""

    approximate_arrival_timestamp: float  # seconds
    data: Data  # base64, or decoded on the way


class SourceRecord(msgspec.Struct, Generic[Data], frozen=True, gc=False):
    """A record of the payload, and where it is from."""

    kinesis: StreamRecord[Data]
    event_id: str = msgspec.field(name="eventID")  # shard and sequence number: `shardId-000000000042:4954…`


class KinesisEvent(msgspec.Struct, Generic[Data], frozen=True, gc=False):
    """The payload that an event source mapping of a Kinesis stream hands over."""

    records: list[SourceRecord[Data]] = msgspec.field(name="Records")


_decode_with_texts = msgspec.json.Decoder(KinesisEvent[str]).decode
_decode_with_bytes = msgspec.json.Decoder(KinesisEvent[bytes]).decode


def decode_payload(payload: bytes) -> KinesisEvent[str] | KinesisEvent[bytes]:
    """
    Decode a payload, faster than to a dict.

    Small data is decoded from base64 on the way, which spares a text; large data is left to a decoder that is faster at it. All
    of a payload goes one way, by the size of its first record: producers' records are much alike.

    Raises:
        msgspec.DecodeError: it is not one of Kinesis.
    """
    first = payload.find(_DATA)
    second = payload.find(_DATA, first + 1)
    is_small = first < second < first + _SMALL_RECORD_BYTES_MAX
    return _decode_with_bytes(payload) if is_small else _decode_with_texts(payload)


class Slice:
    """
    Lines of some consecutive records of a batch.

    Blank lines are among them at first: to look for some in each slice costs more than to read a slice again that has some.
    """

    def __init__(
        self, first_record: int, data: list[bytes], lines: list[bytes], text: bytes | None, counts: list[int] | None = None
    ) -> None:
        self.first_record = first_record
        self.lines = lines
        self.text = text
        """The lines joined, as Reader.read takes it, where it is at hand."""
        self._data = data
        self._counts = counts  # of lines, for each of the records

    def place(self, line: int) -> tuple[int, int]:
        """Return which record of the batch a line is of, and its number among that record's lines, from 0."""
        if len(self.lines) == len(self._data):  # a line each, since no record has none
            return self.first_record + line, 0
        record = bisect_right(self._ends, line)
        return self.first_record + record, line - (self._ends[record - 1] if record else 0)

    def has_blank(self, suspects: Iterable[int]) -> bool:
        """
        Return whether one of these lines is blank, and may be passed over: not where each record is a line.

        Args:
            suspects: the lines that were rejected, as every blank one is.
        """
        return len(self.lines) > len(self._data) and any(_is_blank(self.lines[line]) for line in suspects)

    def without_blanks(self) -> "Slice":
        """Return the lines that are not blank."""
        return _take_apart(self.first_record, self._data)

    @cached_property
    def _ends(self) -> list[int]:
        """By record, the index of the line after its last one."""
        counts = [record.count(b"\n") + 1 for record in self._data] if self._counts is None else self._counts
        return list(accumulate(counts))


class Batch(NamedTuple):
    """Consecutive records of one shard: of each its id and its data, and the record itself, as the runtime decoded it."""

    shard: str  # `000000000042` of `shardId-000000000042`
    ids: list[str]  # of each record; ends with its sequence number, as Kinesis writes it; these ascend
    data: list[str] | list[bytes]  # of each record; a str is base64
    records: Sequence[Any]
    arrival_s: Callable[[Any], float]  # of a record; no column, since few arrivals are ever asked for

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
        return _mark_of(self.ids[record])

    def arrival_ms(self, record: int) -> int:
        """Return when a record arrived, in UTC milliseconds."""
        return round(self.arrival_s(self.records[record]) * 1_000)

    def record_after(self, mark: str) -> int:
        """Return the index of the first record above a padded sequence number; the number of records if there is none."""
        return bisect_right(self.ids, mark, key=_mark_of)

    def slices(self, first_record: int = 0, *, of_one_arrival: bool = False) -> Iterator[Slice]:
        """
        Yield the lines of the records from one on, as many at a time as a processor's cache holds with what is made of them.

        Args:
            first_record: index of the first.
            of_one_arrival: each slice holds records that arrived at the same time.

        Raises:
            msgspec.ValidationError, binascii.Error: data is not base64; Kinesis never sends such.
        """
        records = len(self.data)
        records_max = max(1, _SLICE_BYTES * records // (1 + sum(map(len, self.data))))
        start = first_record
        while start < records:
            end = min(start + records_max, records)
            if of_one_arrival:
                arrival_ms = self.arrival_ms(start)
                end = next((record for record in range(start, end) if self.arrival_ms(record) != arrival_ms), end)
            yield _read_slice(start, _as_bytes(self.data[start:end]))
            start = end


def pad_sequence(sequence_number: str) -> str:
    """Return a sequence number as it is stored and compared."""
    return sequence_number.zfill(SEQUENCE_DIGITS)


def read_event(event: KinesisEvent[Any] | Mapping[str, Any]) -> list[Batch]:
    """
    Return the batches of a payload, one for each shard in it: Lambda sends records of one shard, in order.

    Args:
        event: as our own runtime decodes it, or as the stock runtime does.
    """
    data: list[Any]
    if isinstance(event, KinesisEvent):
        records: Sequence[Any] = event.records
        ids = [record.event_id for record in records]
        data = [record.kinesis.data for record in records]
        arrival_s = _arrival_s
    else:
        records = event["Records"]
        ids = [record["eventID"] for record in records]
        data = [record["kinesis"]["data"] for record in records]
        arrival_s = _stock_arrival_s
    batches = []
    start = 0
    while start < len(ids):
        shard = _shard_of(ids[start])
        end = len(ids)
        ordered = sorted(ids[start:])  # quick, since they are already; what stands between two of a shard is of it, too
        if not (_shard_of(ordered[0]) == shard == _shard_of(ordered[-1])):
            end = next(at for at in range(start, end) if _shard_of(ids[at]) != shard)
        batches.append(Batch(shard.removeprefix("shardId-"), ids[start:end], data[start:end], records[start:end], arrival_s))
        start = end
    return batches


_arrival_s: Callable[[Any], float] = attrgetter("kinesis.approximate_arrival_timestamp")


def _stock_arrival_s(record: Mapping[str, Any]) -> float:
    arrival_s: float = record["kinesis"]["approximateArrivalTimestamp"]
    return arrival_s


def _as_bytes(data: list[str] | list[bytes]) -> list[bytes]:
    is_decoded = isinstance(data[0], bytes)  # as all of them are, or none
    return data if is_decoded else decode_base64(data)  # type: ignore[arg-type, return-value]


def _shard_of(event_id: str) -> str:
    return event_id.partition(":")[0]


def _mark_of(event_id: str) -> str:
    return pad_sequence(event_id.rpartition(":")[2])


def _read_slice(first_record: int, data: list[bytes]) -> Slice:
    # Where each record is a line, as a look at the first mostly tells, nothing needs to be split.
    if b"\n" not in data[0] and b"\n" not in (text := b"".join(data)):
        lines, without_ends = data, data
    else:
        without_ends = list(map(_without_end, data))
        text = b"\n".join(without_ends)
        lines = text.split(b"\n")
    is_ascii = text.isascii()  # which no aggregate is
    if not is_ascii and _KPL_MAGIC in text:
        return _take_apart(first_record, data)
    # Joined by nothing, text that is not ASCII may be UTF-8 though its lines are not.
    return Slice(first_record, without_ends, lines, text if is_ascii or lines is not data else None)


def _take_apart(first_record: int, data: list[bytes]) -> Slice:
    """Return the lines of records, each looked at by itself: aggregates undone, blank lines passed over."""
    lines_of = list(map(lines_of_record, data))
    return Slice(first_record, data, list(chain.from_iterable(lines_of)), None, list(map(len, lines_of)))


def lines_of_record(data: bytes) -> list[bytes]:
    """Return the lines of a record: blank ones are passed over; a record that holds nothing else is one line, as it is."""
    user_records = deaggregate(data) if data.startswith(_KPL_MAGIC) else None
    if user_records is None:
        data = _without_end(data)
    parts = [data] if user_records is None else user_records
    lines = [line for part in parts for line in part.split(b"\n")]
    return [line for line in lines if not _is_blank(line)] or [data]


def _without_end(data: bytes) -> bytes:
    """Return data without the line feeds behind it, as most producers write some; whole if it is nothing else."""
    return data.rstrip(b"\n") or data


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace()


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
