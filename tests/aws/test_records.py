"""From Lambda's payload to lines: both ways of decoding it, records of many lines, aggregates of the KPL."""

import json
from base64 import b64decode, b64encode
from hashlib import md5
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.aws.records import Batch, deaggregate, decode_payload, lines_of_record, pad_sequence, read_event
from tallystream.testing import Record, batch_of
from tests.kpl import aggregate

# Made by aws_kinesis_agg 1.2.3 of three user records, two keys and a hash key.
AGGREGATE = b64decode(
    "84mawgoEa2V5MAoEa2V5MRIKMTIzNDU2Nzg5MBoNCAAQABoHeyJuIjoxfRoTCAEaD3sibiI6Mn0KeyJuIjozfRrNAQgAGsgB"
    + "eHh4" * 66
    + "eHj/NVtHBmG1rjw5g7NAALZn"
)


def payload(*records: tuple[str, str, float, bytes]) -> dict[str, Any]:
    """As Lambda sends it, with fields that nobody reads."""
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "1",
                    "sequenceNumber": sequence,
                    "data": b64encode(data).decode(),
                    "approximateArrivalTimestamp": arrival_s,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{shard}:{sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": "arn:aws:iam::123456789012:role/count",
                "awsRegion": "eu-west-1",
                "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/events",
            }
            for shard, sequence, arrival_s, data in records
        ]
    }


@pytest.mark.parametrize("more", [b"", b" " * 5_000])
def test_both_runtimes_payloads_are_the_same_batch(more: bytes) -> None:
    event = payload(
        ("shardId-000000000042", "49590338271490256608559692538361571095921575989136588898", 1545084650.987, b'{"a":1}' + more),
        ("shardId-000000000042", "49590338271490256608559692540925702759324208523137515618", 1545084651, b'{"a":2}\n{"a":3}\n'),
    )
    (batch,) = read_event(event)
    decoded = decode_payload(json.dumps(event).encode())
    assert isinstance(decoded.records[0].kinesis.data, str if more else bytes)  # which of them is the faster
    (own_batch,) = read_event(decoded)
    assert (own_batch.shard, own_batch.ids) == (batch.shard, batch.ids)
    assert own_batch.arrival_ms(0) == batch.arrival_ms(0)
    assert lines_of(own_batch) == lines_of(batch)
    assert batch.shard == "000000000042"
    assert batch.first.lstrip("0") == "49590338271490256608559692538361571095921575989136588898"
    assert batch.last.lstrip("0") == "49590338271490256608559692540925702759324208523137515618"
    assert len(batch.first) == 129
    assert [batch.arrival_ms(record) for record in range(2)] == [1545084650987, 1545084651000]
    (part,) = own_batch.slices()
    assert part.lines == [b'{"a":1}' + more, b'{"a":2}', b'{"a":3}']
    assert [part.place(line) for line in range(3)] == [(0, 0), (1, 0), (1, 1)]


def test_records_of_two_shards_are_two_batches() -> None:
    batches = read_event(payload(("shardId-1", "7", 1.0, b"a"), ("shardId-1", "8", 1.0, b"b"), ("shardId-2", "5", 1.0, b"c")))
    assert [(batch.shard, lines_of(batch)) for batch in batches] == [("1", [b"a", b"b"]), ("2", [b"c"])]


def test_data_that_is_not_base64_is_an_error() -> None:
    event = payload(("shardId-1", "7", 1.0, b"abc"))
    event["Records"][0]["kinesis"]["data"] = "not base64!"
    (batch,) = read_event(event)
    with pytest.raises(msgspec.ValidationError, match="base64"):
        lines_of(batch)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"a":1}', [b'{"a":1}']),
        (b'{"a":1}\n{"a":2}', [b'{"a":1}', b'{"a":2}']),
        (b'\n{"a":1}\r\n\r\n \n{"a":2}\n', [b'{"a":1}\r', b'{"a":2}']),
        (b"", [b""]),  # every record has an outcome: this one is rejected
        (b" \n\n", [b" "]),
        (b"\n\n", [b"\n\n"]),
        (aggregate([]), [aggregate([])]),
    ],
)
def test_lines_of_a_record(data: bytes, lines: list[bytes]) -> None:
    assert lines_of_record(data) == lines


def test_what_the_kpl_packed_is_taken_apart() -> None:
    assert deaggregate(AGGREGATE) == [b'{"n":1}', b'{"n":2}\n{"n":3}', b"x" * 200]
    assert lines_of_record(AGGREGATE) == [b'{"n":1}', b'{"n":2}', b'{"n":3}', b"x" * 200]


@given(st.lists(st.binary(max_size=300)))
def test_any_aggregate_is_taken_apart(user_records: list[bytes]) -> None:
    assert deaggregate(aggregate(user_records)) == user_records


@given(st.integers(0, len(AGGREGATE) - 1), st.integers(1, 255))
def test_an_aggregate_with_a_wrong_byte_is_data_like_any_other(at: int, change: int) -> None:
    broken = bytearray(AGGREGATE)
    broken[at] ^= change
    assert deaggregate(bytes(broken)) is None


@given(st.binary(max_size=80))
def test_bytes_that_only_look_like_an_aggregate_are_data(body: bytes) -> None:
    found = deaggregate(b"\xf3\x89\x9a\xc2" + body + md5(body).digest())
    assert found is None or isinstance(found, list)


def test_sequence_numbers_compare_as_numbers() -> None:
    numbers = [9, 10, 10**55, 10**56 - 1, 10**56, 10**128]
    assert sorted(map(pad_sequence, map(str, reversed(numbers)))) == [pad_sequence(str(number)) for number in numbers]


record_data = st.one_of(
    st.lists(st.sampled_from([b"{}", b'{"a": 1}', b"", b" ", b"\r"]), max_size=4).map(b"\n".join),
    st.just(AGGREGATE),
    st.lists(st.just(b"x" * 50), min_size=1, max_size=3).map(b"\n".join),
)


@given(st.lists(record_data, min_size=1, max_size=8), st.integers(0, 90), st.sampled_from([1, 150, 10**6]))
def test_the_slices_after_a_mark_hold_the_lines_of_the_records_above_it(data: list[bytes], mark: int, size: int) -> None:
    records = [Record(str(number * 10), number // 3, of_record) for number, of_record in enumerate(data, 1)]
    batch = batch_of("1", records)
    for of_one_arrival in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tallystream.aws.records._SLICE_BYTES", size)
            slices = list(batch.slices(batch.record_after(pad_sequence(str(mark))), of_one_arrival=of_one_arrival))
        slices = [part.without_blanks() if part.has_blank(range(len(part.lines))) else part for part in slices]
        found = [(*part.place(index), line) for part in slices for index, line in enumerate(part.lines)]
        assert found == [
            (record, number, line)
            for record, (sequence, _, of_record) in enumerate(records)
            if int(sequence) > mark
            for number, line in enumerate(lines_of_record(of_record))
        ]
        for part in slices:
            assert part.text in (None, b"\n".join(part.lines), b"".join(part.lines))
            assert part.text is None or part.text.isascii() or part.text == b"\n".join(part.lines)
        if of_one_arrival:
            for part in slices:
                assert len({batch.arrival_ms(part.place(index)[0]) for index in range(len(part.lines))}) == 1


def lines_of(batch: Batch) -> list[bytes]:
    return [line for part in batch.slices() for line in part.without_blanks().lines]
