"""Lines into a Kinesis stream over HTTP, whatever is refused or lost on the way, and a run that goes on where one stopped."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from tallystream.aws.backfill import Checkpoint, CheckpointError, StreamSink
from tallystream.aws.producer import LINE_BYTES_MAX, RECORD_BYTES, Limits, Pace, Producer, ProducerError, Record, pack
from tallystream.aws.records import lines_of_record
from tallystream.aws.refusals import DeployError
from tallystream.ports.stream import SourcePosition, SourceRange
from tests.aws.proxy import Fault, FaultyProxy
from tests.waiting import wait_until

_numbers = count()
FAST = Limits(1e9, 1e6)
Make = Callable[..., Producer]


@pytest.fixture
def stream(aws_environment: str) -> Iterator[str]:
    """The name of a new stream of two shards. It goes afterwards: other tests hold that theirs leave the account empty."""
    kinesis, name = boto3.client("kinesis"), f"backfill-{next(_numbers)}"
    kinesis.create_stream(StreamName=name, ShardCount=2)
    wait_until(
        lambda: kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE",
        "the stream",
    )
    yield name
    kinesis.delete_stream(StreamName=name)
    wait_until(lambda: name not in kinesis.list_streams()["StreamNames"], "the stream to go")


@pytest.fixture
def retries() -> list[str]:
    return []


@pytest.fixture
def make(stream: str, proxy: FaultyProxy, retries: list[str]) -> Make:
    """Make a producer for the stream; its requests go through the proxy, and its delays take no time."""

    def make(limits: Limits = FAST, **more: Any) -> Producer:
        more.setdefault("pause", lambda s: None)
        return Producer(stream, None, limits, retries.append, **more)

    return make


def shards_of(stream: str) -> list[list[bytes]]:
    """Return the records of each shard of a stream."""
    kinesis = boto3.client("kinesis")
    found = []
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        where = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        records, iterator = [], where["ShardIterator"]
        while page := kinesis.get_records(ShardIterator=iterator):
            records += [record["Data"] for record in page["Records"]]
            iterator = page["NextShardIterator"]
            if not page["Records"]:
                break
        found.append(records)
    return found


def sent_to(stream: str) -> Counter[bytes]:
    return Counter(line for records in shards_of(stream) for record in records for line in lines_of_record(record))


def events(number: int, padding: int = 0) -> list[bytes]:
    return [json.dumps({"event": index, "padding": "x" * padding}).encode() for index in range(number)]


def test_many_lines_are_packed_into_a_record() -> None:
    lines = events(5_000, 100)
    records = list(pack(lines))
    assert [line for record in records for line in lines_of_record(record.data)] == lines
    assert sum(record.lines for record in records) == 5_000
    assert all(RECORD_BYTES * 0.99 < len(record.data) <= RECORD_BYTES for record in records[:-1])
    assert list(pack([])) == []


def test_a_long_line_is_a_record_of_its_own() -> None:
    long = b"x" * LINE_BYTES_MAX
    assert list(pack([b"{}", long, b"1", b"2"])) == [Record(b"{}", 1), Record(long, 1), Record(b"1\n2", 2)]


@pytest.mark.parametrize(("limits", "size"), [(Limits(1_000, 1_000), 100), (Limits(1e9, 10), 1)])
def test_each_shard_is_paced(limits: Limits, size: int) -> None:
    pace = Pace(2, limits)
    now_s = 50.0
    for _ in range(40):
        shard, free_at_s = pace.next_shard()
        now_s = max(now_s, free_at_s)
        pace.take(shard, size, now_s)
    assert now_s == pytest.approx(50 + 19 * 0.1)  # twenty for each shard, a tenth of a second apart


def test_lines_arrive_once_and_in_all_shards(make: Make, stream: str) -> None:
    lines = events(4_000, 200)
    make().send(lines)
    assert sent_to(stream) == Counter(lines)
    assert all(shards_of(stream))


def test_a_request_stays_within_the_limits_of_kinesis(make: Make, stream: str, proxy: FaultyProxy) -> None:
    lines = [b"%d" % index + b"x" * (RECORD_BYTES - 10) for index in range(20)]  # a record each
    make().send(lines)
    assert proxy.requests.count("PutRecords") == 2  # 4 MiB and the rest
    assert sent_to(stream) == Counter(lines)


def test_sending_waits_for_the_shards(make: Make) -> None:
    pauses: list[float] = []
    make(Limits(1_000_000, 1_000), pause=pauses.append).send(events(8_000, 250))  # 2.2 MB, at 2 MB/s
    assert pauses
    assert all(0 < pause < 2 for pause in pauses)


@pytest.mark.parametrize("fault", ["throttle some records", "throttle", "lose the request", "fail", "answer nonsense"])
def test_what_was_not_taken_is_sent_again(
    make: Make, stream: str, proxy: FaultyProxy, retries: list[str], fault: Fault
) -> None:
    faults: Iterator[Fault] = iter([fault] * 3)
    producer = make()
    proxy.fault = lambda operation: next(faults, None)
    lines = events(4_000, 200)
    producer.send(lines)
    assert sent_to(stream) == Counter(lines)
    assert len(retries) == 3
    # Of what was throttled it is known that it was not taken.
    assert (producer.doubtful > 0) == ("throttle" not in fault)


def test_only_refused_records_are_sent_again(make: Make, proxy: FaultyProxy, retries: list[str]) -> None:
    faults: Iterator[Fault] = iter(["throttle some records"])
    producer = make()
    proxy.fault = lambda operation: next(faults, None)
    producer.send([b"%d" % index + b"x" * (RECORD_BYTES - 10) for index in range(8)])
    assert [retry.split(" are")[0] for retry in retries] == ["4 of 8 records"]


def test_a_lost_answer_doubles_and_is_said(make: Make, stream: str, proxy: FaultyProxy) -> None:
    faults: Iterator[Fault] = iter(["lose the answer"])
    producer = make()
    proxy.fault = lambda operation: next(faults, None)
    lines = events(10)
    producer.send(lines)
    assert sent_to(stream) == Counter(lines * 2)
    assert producer.doubtful == 10


def test_a_stream_that_takes_nothing_ends_the_patience(make: Make, stream: str, proxy: FaultyProxy) -> None:
    producer = make(patience_s=0.05)
    proxy.fault = lambda operation: "throttle"
    with pytest.raises(ProducerError, match=r"took nothing for 0 s \(ProvisionedThroughputExceededException\); run again"):
        producer.send(events(10))


def test_an_unknown_stream_is_an_error(aws_environment: str) -> None:
    with pytest.raises(DeployError, match="DescribeStreamSummary"):
        Producer("nowhere", None, FAST, print)


def test_a_checkpoint_outlives_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with Checkpoint(path) as checkpoint:
        checkpoint.note("s", "a", SourcePosition(10, "m"))
        checkpoint.note("s", "a", SourcePosition(20, "n"))
        with pytest.raises(CheckpointError, match="another backfill is at work"):
            Checkpoint(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"stream":"s","source":"a","posi')
    with Checkpoint(path) as checkpoint:
        assert checkpoint.position("s", "a") == (20, "n")
        assert checkpoint.position("s", "b") == (0, "")
        assert checkpoint.position("t", "a") == (0, "")
        checkpoint.note("s", "b", SourcePosition(5, "o"))
    with Checkpoint(path) as checkpoint:
        assert checkpoint.position("s", "b") == (5, "o")
        assert checkpoint.position("s", "a") == (20, "n")


@pytest.mark.parametrize("text", ['{"event": 1}\n', '[{"event": 1}]', '{"event": 1}\n{"ev'])
def test_another_file_is_no_checkpoint_and_stays_as_it_is(text: str, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="not the checkpoint file"):
        Checkpoint(path)
    assert path.read_text(encoding="utf-8") == text


def test_a_checkpoint_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        Checkpoint(tmp_path / "absent" / "checkpoint")


def test_a_block_is_noted_when_it_is_acknowledged(make: Make, stream: str, proxy: FaultyProxy, tmp_path: Path) -> None:
    producer = make(patience_s=0.05)
    with Checkpoint(tmp_path / "checkpoint") as checkpoint:
        sink = StreamSink(producer, checkpoint, stream)
        sink.store([b"1", b"x" * (LINE_BYTES_MAX + 1)], SourceRange("file", 0, 2, "m"))
        assert (sink.position("file"), sink.rejected) == ((2, "m"), {"too_large": 1})
        proxy.fault = lambda operation: "throttle"
        with pytest.raises(ProducerError):
            sink.store([b"2"], SourceRange("file", 2, 4, "n"))
        assert sink.position("file") == (2, "m")
        sink.stop()
        with pytest.raises(KeyboardInterrupt):
            sink.store([b"2"], SourceRange("file", 2, 4, "n"))
    proxy.fault = lambda operation: None
    assert sent_to(stream) == {b"1": 1}
