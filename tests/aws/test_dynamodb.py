"""Counting into DynamoDB over HTTP, while requests are throttled, fail, or take effect with their answers lost."""

import json
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tallystream.aws.client import DynamoDBClient, DynamoDBError
from tallystream.aws.dynamodb import ATTEMPTS_MAX, DynamoDBTable, TableBusyError
from tallystream.aws.handlers import CountFunction
from tallystream.aws.rows import Layout, ledger_key, read_cell_key
from tallystream.aws.table import Admit, At, Find, Item, Key, PutAll, Table, Update
from tallystream.core.definition_text import parse_definition
from tests.aws.proxy import Fault, FaultyProxy

NOW_MS = 1_795_433_640_000
DEFINITION = parse_definition("""
name = "faulty"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
[[counter]]
name = "gifts"
where = "amount > 0"
windows = ["1m"]
measures = ["sum(amount)", "max(amount)"]
""")
FAULTS: tuple[Fault, ...] = ("throttle", "fail", "lose the request", "lose the answer", "answer nonsense")


def payload(first: int, records: list[bytes]) -> dict[str, Any]:
    return {
        "Records": [
            {
                "kinesis": {
                    "sequenceNumber": str(first + at),
                    "approximateArrivalTimestamp": NOW_MS / 1_000,
                    "data": b64encode(data).decode(),
                },
                "eventID": f"shardId-000000000000:{first + at}",
            }
            for at, data in enumerate(records)
        ]
    }


def draw_records(chance: random.Random) -> list[bytes]:
    return [
        json.dumps({"t": NOW_MS + chance.randrange(-99_999, 1), "event": chance.choice("abcdef"), "amount": number}).encode()
        if (number := chance.randrange(-3, 10)) > -3
        else b"oops"
        for _ in range(60)
    ]


def totals(dynamodb: Any, name: str) -> dict[tuple[str, int, str], int]:
    found: Counter[tuple[str, int, str]] = Counter()
    for page in dynamodb.get_paginator("scan").paginate(TableName=name, ConsistentRead=True):
        for item in page["Items"]:
            cell = read_cell_key(Key(item["pk"]["S"], item["sk"]["S"]))
            if cell:
                found[cell.counter, cell.window_ms, cell.group] += int(item["count"]["N"])
    return dict(found)


def items(dynamodb: Any, name: str, pk: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dynamodb.query(
        TableName=name, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": pk}}
    )["Items"]
    return found


Connect = Callable[[], DynamoDBClient]


def new_function(connect: Connect, name: str) -> CountFunction:
    """A function in a new container; its pauses take no time."""
    return CountFunction(DEFINITION, Layout(), DynamoDBTable(connect(), name, sleep=lambda seconds: None), lambda: NOW_MS)


def expected(records: list[bytes]) -> dict[tuple[str, int, str], int]:
    found: Counter[tuple[str, int, str]] = Counter()
    for record in records:
        if record != b"oops":
            event = json.loads(record)
            group = json.dumps([event["event"]])
            found["events", 60_000, group] += 1
            found["events", 3_600_000, group] += 1
            if event["amount"] > 0:
                found["gifts", 60_000, "[]"] += 1
    return dict(found)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_when_requests_and_answers_are(
    dynamodb: Any, table_name: str, proxy: FaultyProxy, connect: Connect, seed: int
) -> None:
    chance = random.Random(seed)
    happened: Counter[str] = Counter()

    def draw_fault(operation: str) -> Fault | None:
        fault = chance.choice(FAULTS) if chance.random() < 0.5 else None
        happened[fault or "none"] += 1
        return fault

    proxy.fault = draw_fault
    records: list[bytes] = []
    function = new_function(connect, table_name)
    for _ in range(3):
        batch = draw_records(chance)
        event = payload(len(records) + 1, batch)
        records += batch
        for _ in range(20):
            try:
                function(event)
                break
            except TableBusyError:
                function = new_function(connect, table_name)
        else:
            pytest.fail("a batch failed 20 times")
    assert min(happened[fault] for fault in FAULTS) > 3
    assert totals(dynamodb, table_name) == expected(records)
    (ledger,) = items(dynamodb, table_name, "ledger")
    assert int(ledger["received"]["N"]) == len(records)
    assert int(ledger["rejected"]["N"]) == records.count(b"oops")
    assert len(items(dynamodb, table_name, "rejected#000000000000")) == records.count(b"oops")


def test_two_invocations_at_once_count_a_batch_once(dynamodb: Any, table_name: str, connect: Connect) -> None:
    chance = random.Random(7)
    records = draw_records(chance)
    small, large = payload(1, records[:40]), payload(1, records)
    functions = [new_function(connect, table_name) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda function, event: function(event), functions, (small, large, small, large)))
    assert totals(dynamodb, table_name) == expected(records)


OPERATIONS = [
    ("UpdateItem", Update(ledger_key("0"), At(None), {"received": 1}, {"hwm": "1"})),
    ("BatchGetItem", Find([ledger_key("0")])),
    ("BatchWriteItem", PutAll([ledger_key("0")._asdict()])),
    ("TransactWriteItems", Admit(Key("catalogue", "#"), Key("catalogue", "a")._asdict(), 1)),
]


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_every_time_is_given_up_after_pauses_that_grow(
    table_name: str, proxy: FaultyProxy, connect: Connect, name: str, operation: Any, fault: Fault
) -> None:
    pauses: list[float] = []
    table = DynamoDBTable(connect(), table_name, sleep=pauses.append)
    proxy.fault = lambda _: fault
    with pytest.raises(TableBusyError, match=f"{table_name} did not do in 8 attempts"):
        table.perform(operation)
    assert proxy.requests == [name] * ATTEMPTS_MAX
    assert len(pauses) == ATTEMPTS_MAX - 1
    assert all(0 <= pause <= 0.05 * 2**attempt for attempt, pause in enumerate(pauses, 1))
    assert len(set(pauses)) > 1


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_what_cannot_be_done_is_an_error_at_once(connect: Connect, name: str, operation: Any) -> None:
    table = DynamoDBTable(connect(), "no-such-table", sleep=lambda seconds: pytest.fail("no retry would help"))
    with pytest.raises(DynamoDBError, match="not found"):
        table.perform(operation)


class Partial:
    """A client that leaves most of what it is asked undone, and says so, as DynamoDB does when it is throttled."""

    def __init__(self, client: DynamoDBClient, undone: bool) -> None:
        self._client = client
        self._undone = undone

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "Query":
            return self._client.call(operation, request)
        ((table, asked),) = request["RequestItems"].items()
        answer: dict[str, Any] = {"Responses": {}}
        if operation == "BatchWriteItem":
            if not self._undone:
                self._client.call(operation, {"RequestItems": {table: asked[:2]}})
                asked = asked[2:]
            return {"UnprocessedItems": {table: asked} if asked else {}}
        keys = asked["Keys"]
        if not self._undone:
            answer = self._client.call(operation, {"RequestItems": {table: {**asked, "Keys": keys[:20]}}})
            keys = keys[20:]
        return {**answer, "UnprocessedKeys": {table: {**asked, "Keys": keys}} if keys else {}}


def partial_table(connect: Connect, name: str, undone: bool) -> Table:
    return DynamoDBTable(Partial(connect(), undone), name, sleep=lambda seconds: None)


def test_what_dynamodb_leaves_undone_is_asked_for_again(table_name: str, connect: Connect) -> None:
    table = partial_table(connect, table_name, undone=False)
    written: list[Item] = [{"pk": "p", "sk": f"{number:02d}"} for number in range(15)]
    table.perform(PutAll(written))
    assert list(table.query("p")) == written
    keys = [Key("p", f"{number:02d}") for number in range(90)]
    assert table.perform(Find(keys)) == set(keys[:15])


@pytest.mark.parametrize("operation", [OPERATIONS[1][1], OPERATIONS[2][1]])
def test_what_dynamodb_leaves_undone_every_time_is_given_up(table_name: str, connect: Connect, operation: Any) -> None:
    with pytest.raises(TableBusyError, match="left part of the request undone"):
        partial_table(connect, table_name, undone=True).perform(operation)
