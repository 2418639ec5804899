"""Shards that split and merge on an emulator of Kinesis: nothing is lost, doubled, or counted out of order on the way."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from random import Random
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tallystream.aws import verify
from tallystream.aws.client import DynamoDBClient
from tallystream.aws.deployed import Deployed
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.handlers import CountFunction
from tallystream.aws.producer import Limits, Producer
from tallystream.aws.records import lines_of_record
from tallystream.aws.refusals import DeployError, refusals
from tallystream.aws.retained import RetainedStream
from tallystream.aws.rows import Layout, read_cell_key
from tallystream.aws.table import Key
from tallystream.aws.verify import DynamoDBRows, Verification, Verifier
from tallystream.core.definition_text import parse_definition
from tests.aws.proxy import Fault, FaultyProxy
from tests.aws.reshard import Poller, Stream
from tests.kpl import aggregate
from tests.oracle import OracleCounter, recount

_numbers = count()
START_S = 1_795_433_580
DEFINITION = parse_definition("""
name = "resharded"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
[[counter]]
name = "gifts"
where = "event == 'a'"
windows = ["1m", "1h"]
measures = ["sum(amount)", "min(amount)"]
""")
ORACLE = [
    OracleCounter("events", [60_000], ["event"]),
    OracleCounter("gifts", [60_000, 3_600_000], [], ["amount"], lambda event: bool(event["event"] == "a")),
]


@pytest.fixture
def kinesis(kinesalite: str, aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of kinesalite, as all clients of Kinesis are that are made from now on."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesalite)
    return boto3.client("kinesis")


@pytest.fixture
def stream(kinesis: Any) -> Iterator[Stream]:
    stream = Stream(kinesis, f"resharded-{next(_numbers)}", 2)
    yield stream
    kinesis.delete_stream(StreamName=stream.name)


def draw_lines(random: Random, number: int) -> list[bytes]:
    lines = []
    for _ in range(number):
        event = {"t": START_S + random.randrange(120), "event": random.choice("abc"), "amount": random.randrange(100) / 10}
        lines.append(b"no event" if random.random() < 0.05 else json.dumps(event).encode())
    return lines


def draw_records(random: Random, number: int) -> tuple[list[bytes], list[bytes]]:
    """Return so many records, and the lines in them."""
    lines_of = [draw_lines(random, random.choice((1, 1, 3))) for _ in range(number)]
    data = [aggregate(lines) if random.random() < 0.2 else b"\n".join(lines) for lines in lines_of]
    return data, [line for lines in lines_of for line in lines]


def retained(stream: Stream) -> dict[str, list[bytes]]:
    """Return the lines of each shard, as `tally verify --aws` reads them."""
    reader = RetainedStream(stream.kinesis, stream.name, pause=lambda s: None)
    return {
        shard: [line for page in reader.pages(shard) for record in page.records for line in lines_of_record(record.data)]
        for shard in reader.shards()
    }


def test_a_backfill_goes_on_while_shards_split_and_merge(stream: Stream) -> None:
    lines = [json.dumps({"event": number, "padding": "x" * 200}).encode() for number in range(20_000)]
    producer = Producer(stream.name, None, Limits(1e9, 1e6), lambda why: None)
    has_begun, may_end = threading.Event(), threading.Event()

    def send() -> None:
        for start in range(0, len(lines), 500):
            if start == len(lines) // 2:
                has_begun.set()
                may_end.wait(30)
            producer.send(lines[start : start + 500])

    sending = threading.Thread(target=send)
    sending.start()
    stream.split()
    assert has_begun.wait(30)
    stream.merge()
    may_end.set()
    stream.split()
    sending.join()

    found = retained(stream)
    assert Counter(line for of_shard in found.values() for line in of_shard) == Counter(lines)
    assert producer.doubtful == 0
    assert len(found) == 2 + 2 + 1 + 2
    assert sum(bool(of_shard) for of_shard in found.values()) > 3


def test_what_was_read_before_is_not_read_again(stream: Stream) -> None:
    random = Random(1)
    data, _ = draw_records(random, 40)
    stream.put(data, random)
    stream.split()
    data, _ = draw_records(random, 40)
    stream.put(data, random)
    reader = RetainedStream(stream.kinesis, stream.name, pause=lambda s: None)
    for shard in reader.shards():
        records = [record for page in reader.pages(shard) for record in page.records]
        assert len(records) > 2
        assert {len(record.sequence) for record in records} == {56}
        again = [record for page in reader.pages(shard, records[1].sequence) for record in page.records]
        assert again == records[2:]
        assert [record for page in reader.pages(shard, records[-1].sequence) for record in page.records] == []


def totals(items: dict[Key, dict[str, Any]]) -> dict[tuple[str, int, int, str], tuple[int, Fraction, Fraction]]:
    """Return what the rows of all shards hold together, as count, and sum and least amount where there is one."""
    found: dict[tuple[str, int, int, str], tuple[int, Fraction, Fraction]] = {}
    for key, item in items.items():
        cell = read_cell_key(key)
        if cell is not None:
            where = (cell.counter, cell.window_ms, cell.window_start_ms, cell.group)
            field = item.get("fields", {}).get("amount", {"sum": 0, "min": 1_000})
            number, total, least = found.get(where, (0, Fraction(0), Fraction(1_000)))
            found[where] = number + item["count"], total + Fraction(field["sum"]), min(least, Fraction(field["min"]))
    return found


def expected(lines: list[bytes]) -> dict[tuple[str, int, int, str], tuple[int, Fraction, Fraction]]:
    found = {}
    for where, (number, fields) in recount(lines, "t", ORACLE).cells.items():
        _, total, least, _ = fields.get("amount", (0, Fraction(0), Fraction(1_000), None))
        found[where] = number, total, least
    return found


class Site:
    """A table on the emulator of DynamoDB, counted into by the function, and verified."""

    def __init__(self, stream: Stream, client: DynamoDBClient, table: str) -> None:
        self.stream = stream
        self.name = table
        self.table = DynamoDBTable(client, table)
        self.function = CountFunction(DEFINITION, Layout(), self.table, lambda: START_S * 1_000)
        self.rows = DynamoDBRows(boto3.client("dynamodb"), table)
        self._deployed = Deployed(stream.name, table, DEFINITION, Layout(), None, None)

    def verify(self) -> Verification:
        reader = RetainedStream(self.stream.kinesis, self.stream.name, pause=lambda s: None)
        return Verifier(self._deployed, reader, self.rows, lambda reading: None).verify()

    def items(self) -> dict[Key, dict[str, Any]]:
        client = boto3.client("dynamodb")
        keys = [(item["pk"]["S"], item["sk"]["S"]) for item in client.scan(TableName=self.name)["Items"]]
        return {Key(pk, sk): next(self.rows.query(pk, sk, f"{sk} ")) for pk, sk in keys}


@pytest.fixture
def site(stream: Stream, connect: Callable[[], DynamoDBClient], table_name: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(verify, "UNDER_WAY_S", 1.0)
    monkeypatch.setattr(verify, "_AGAIN_S", 0.2)
    return Site(stream, connect(), table_name)


def test_shards_that_split_and_merge_are_counted_exactly_and_verified(site: Site) -> None:
    random, stream = Random(7), site.stream
    poller = Poller(stream, random)
    lines: list[bytes] = []
    delivered: list[dict[str, Any]] = []

    def poll() -> bool:
        payloads = list(poller.poll())
        for payload in payloads:
            site.function(payload)
            if random.random() < 0.3:  # Lambda delivers it again
                site.function(payload)
            delivered.append(payload)
        return bool(payloads)

    for step in range(12):
        data, more = draw_records(random, 20)
        stream.put(data, random)
        lines += more
        if step in (2, 7):
            stream.split()
        if step in (4, 9):
            stream.merge()
        poll()
        if step % 4 == 3:
            assert site.verify().differences == []  # with records that are not counted yet
    while poll():
        pass

    result = site.verify()
    assert (result.differences, result.events, result.gone) == ([], len(lines), 0)
    items = site.items()
    assert totals(items) == expected(lines)
    assert result.rows == sum(read_cell_key(key) is not None for key in items)
    assert sum(item["received"] for key, item in items.items() if key.pk == "ledger") == len(lines)
    assert len(set(poller.order)) > 5
    for shard in stream.shards():
        for parent in (shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if key in shard):
            if shard["ShardId"] in poller.order and parent in poller.order:
                last = len(poller.order) - 1 - poller.order[::-1].index(parent)
                assert last < poller.order.index(shard["ShardId"])

    # A mapping that was made anew delivers all of it again.
    for payload in delivered:
        site.function(payload)
    assert site.items() == items

    # And what is changed is found, in parents and in children.
    rows = boto3.resource("dynamodb").Table(site.name)
    for name in (poller.order[0], poller.order[-1]):
        key = next(key for key in items if key.sk.endswith(f"#{name.removeprefix('shardId-')}") and "rejected" not in key.pk)
        rows.delete_item(Key=key._asdict())
        assert [difference.stored for difference in site.verify().differences] == ["nothing"]
        rows.put_item(Item=items[key])
    assert site.verify().differences == []


@pytest.fixture
def faulty(kinesalite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before kinesalite, through which the clients go that are made from now on."""
    with FaultyProxy(kinesalite) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", proxy.url)
        yield proxy


@pytest.mark.parametrize("fault", ["throttle", "expire the iterator", "lose the answer", "fail"])
def test_reading_goes_on_after_a_fault(stream: Stream, faulty: FaultyProxy, fault: Fault) -> None:
    random = Random(3)
    data, lines = draw_records(random, 60)
    stream.put(data, random)
    stream.kinesis = boto3.client("kinesis", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))
    faults: Iterator[Fault | None] = iter([None, fault, fault])
    faulty.fault = lambda operation: next(faults, None) if operation == "GetRecords" else None
    assert Counter(line for of_shard in retained(stream).values() for line in of_shard) == Counter(lines)
    assert next(faults, None) is None


def test_a_missing_permission_is_named(site: Site, faulty: FaultyProxy) -> None:
    random = Random(5)
    site.stream.put([b"{}"], random)
    for payload in Poller(site.stream, random).poll():
        site.function(payload)
    site.stream.kinesis = boto3.client("kinesis")
    faulty.fault = lambda operation: "deny" if operation == "GetRecords" else None
    with pytest.raises(DeployError, match="the permission kinesis:GetRecords on arn:aws:a is missing"), refusals():
        site.verify()
