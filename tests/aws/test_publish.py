"""From changes of the table to metrics: absolute totals over all shards, once each, within what CloudWatch takes."""

import json
import logging
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest

from tallystream.aws import handlers as functions
from tallystream.aws.client import DynamoDBClient
from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.metric import OTHER
from tallystream.aws.publish import METRICS_MAX, Datum, Publisher, cut_requests
from tallystream.aws.reading import TableReader
from tallystream.aws.rows import OVERFLOW, Layout
from tallystream.aws.table import Key, perform_all
from tallystream.core.definition_text import parse_definition
from tallystream.testing import MemoryTable, Record, batch_of
from tests.aws.proxy import FaultyProxy

NOW_MS = 1_795_433_640_000
MINUTE_MS = 60_000
DEFINITION = parse_definition("""
name = "published"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
[[counter]]
name = "gifts"
where = "amount > -1"
windows = ["1m"]
measures = ["sum(amount)", "mean(amount)"]
""")
LAYOUT = Layout(groups_max=3, write_shards=2)


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


def count(table: MemoryTable, shard: str, first: int, *events: dict[str, Any], layout: Layout = LAYOUT) -> None:
    data = b"\n".join(json.dumps({"t": NOW_MS, **event}).encode() for event in events)
    delivery = Delivery(Counting(DEFINITION, layout), Memory(), batch_of(shard, [Record(str(first), NOW_MS, data)]), NOW_MS)
    perform_all(delivery.admission(), table)
    for steps in delivery.writes():
        perform_all(steps, table)


def changes(*keys: Key) -> dict[str, Any]:
    """The payload of an event source mapping of the table's stream; the images in it are never read."""
    return {
        "Records": [
            {
                "eventName": "MODIFY",
                "dynamodb": {"Keys": {"pk": {"S": key.pk}, "sk": {"S": key.sk}}, "NewImage": {"count": {"N": "99"}}},
            }
            for key in keys
        ]
    }


def publish(
    table: MemoryTable, event: dict[str, Any] | None = None, now_ms: int = NOW_MS, layout: Layout = LAYOUT
) -> list[Datum]:
    published: list[Datum] = []
    Publisher(DEFINITION, layout, table, published.extend, lambda: now_ms)(event or changes(*table.items))
    return published


def values(published: list[Datum]) -> dict[tuple[str, ...], float]:
    return {(each["MetricName"], *(named["Value"] for named in each["Dimensions"])): each["Value"] for each in published}


def test_totals_are_of_all_shards(table: MemoryTable) -> None:
    for shard in range(5):
        count(table, f"{shard:012d}", 1, {"event": "a", "amount": 0.1}, {"event": "b", "amount": None})
    published = publish(table)
    assert values(published) == {
        ("events count 1m", "a"): 5,
        ("events count 1m", "b"): 5,
        ("events count 1h", "a"): 5,
        ("events count 1h", "b"): 5,
        ("gifts count 1m",): 5,
        ("gifts sum(amount) 1m",): 0.5,
        ("gifts mean(amount) 1m",): 0.1,
    }
    assert len(published) == 7  # each once, though every shard's row changed
    assert {(each["MetricName"][-2:], each["Timestamp"]) for each in published} == {
        ("1m", NOW_MS / 1_000),
        ("1h", (NOW_MS - NOW_MS % 3_600_000) / 1_000),
    }
    assert {each["StorageResolution"] for each in published} == {60}


def test_only_what_was_touched_is_published(table: MemoryTable) -> None:
    count(table, "0", 1, {"event": "a"}, {"event": "b"}, {"event": "b", "t": NOW_MS - MINUTE_MS})
    key = next(key for key in table.items if key.pk.startswith("events#") and "#1m#" in key.pk and '"b"' in key.pk)
    assert values(publish(table, changes(key))) == {("events count 1m", "b"): 1}


def test_groups_above_the_cap_are_one_metric_that_says_so(table: MemoryTable) -> None:
    count(table, "0", 1, *({"event": name} for name in "abcdeff"))
    assert values(publish(table))["events count 1m", OTHER] == 4


def test_groups_too_long_for_a_key_are_published_under_their_own_name(table: MemoryTable) -> None:
    long = "é" * 900
    count(table, "0", 1, {"event": long})
    (found,) = {each["Dimensions"][0]["Value"] for each in publish(table)}
    assert found.startswith("%C3%A9%C3%A9")


def test_windows_that_cloudwatch_does_not_take_are_counted_and_logged(
    table: MemoryTable, caplog: pytest.LogCaptureFixture
) -> None:
    day_ms = 86_400_000
    count(table, "0", 1, {"event": "a"}, {"event": "a", "t": NOW_MS - 15 * day_ms}, {"event": "a", "t": NOW_MS + day_ms})
    with caplog.at_level(logging.WARNING, "tallystream"):
        published = publish(table)
    assert values(published) == {("events count 1m", "a"): 1, ("events count 1h", "a"): 1}
    assert "4 windows changed that begin more than two weeks ago or two hours ahead" in caplog.text
    edges = [NOW_MS + 14 * day_ms, NOW_MS + 14 * day_ms + 1, NOW_MS - 2 * 3_600_000, NOW_MS - 2 * 3_600_000 - 1]
    key = next(key for key in table.items if "#1m#" in key.pk and key.sk.startswith(f"{10**15 + NOW_MS}"))
    assert [len(publish(table, changes(key), now_ms)) for now_ms in edges] == [1, 0, 1, 0]


def test_what_another_generation_wrote_is_not_published(table: MemoryTable) -> None:
    count(table, "0", 1, {"event": "a"}, layout=Layout(groups_max=9))
    assert publish(table) == []


def datum(number: int, dimensions: int = 1, characters: int = 10) -> Datum:
    named = [{"Name": f"d{at}", "Value": "x" * characters} for at in range(dimensions)]
    return {"MetricName": f"m{number}", "Dimensions": named, "Timestamp": 0, "Value": 1.0, "StorageResolution": 60}


def test_requests_are_as_few_as_the_limits_allow() -> None:
    small = [datum(number) for number in range(2_500)]
    assert [len(request) for request in cut_requests(small)] == [METRICS_MAX, METRICS_MAX, 500]
    large = [datum(number, dimensions=30, characters=1_024) for number in range(60)]
    requests = list(cut_requests(large))
    assert [each for request in requests for each in request] == large
    assert max(len(request) for request in requests) * 30 * 1_024 < 1_000_000
    assert len(requests) <= 8


def test_what_the_table_holds_is_read(table: MemoryTable) -> None:
    for shard in range(3):
        count(table, f"{shard:012d}", 1, {"event": "a"}, {"event": "b", "t": NOW_MS - MINUTE_MS}, {"event": "b"})
    reader = TableReader(DEFINITION, LAYOUT, table)
    assert [(series.group, series.values) for series in reader.series("events")] == [('["a"]', ("a",)), ('["b"]', ("b",))]
    counter = DEFINITION.counter("events")
    found = reader.cells(counter, MINUTE_MS, '["b"]', NOW_MS - MINUTE_MS, NOW_MS + 1)
    assert [(start, cell.count) for start, cell in found.items()] == [(NOW_MS - MINUTE_MS, 3), (NOW_MS, 3)]
    assert list(reader.cells(counter, MINUTE_MS, '["b"]', NOW_MS - MINUTE_MS, NOW_MS)) == [NOW_MS - MINUTE_MS]
    count(table, "0", 2, {"event": "c"}, {"event": "d"})
    assert [series.values for series in reader.series("events")] == [("a",), ("b",), ("c",), None]
    assert reader.cells(counter, MINUTE_MS, OVERFLOW, NOW_MS, NOW_MS + 1)[NOW_MS].count == 1


# Through the handler, over HTTP.


@pytest.fixture
def handlers(
    tmp_path: Path,
    table_name: str,
    proxy: FaultyProxy,
    connect: Callable[[], DynamoDBClient],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    (tmp_path / "definition.json").write_bytes(msgspec.json.encode(DEFINITION))
    monkeypatch.setenv("LAMBDA_TASK_ROOT", str(tmp_path))
    monkeypatch.setenv("TALLY_TABLE", table_name)
    monkeypatch.setenv("TALLY_NAMESPACE", f"Tallystream/{table_name}")
    monkeypatch.setattr(functions, "make_client", connect)
    yield functions
    functions._count_function.cache_clear()
    functions._publisher.cache_clear()


def test_cloudwatch_has_what_was_counted_though_answers_are_lost(
    handlers: Any, dynamodb: Any, table_name: str, proxy: FaultyProxy, aws_environment: str
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    event = {"event": "a", "amount": 0.5, "t": int(now.timestamp())}
    data = b64encode(b"\n".join([json.dumps(event).encode()] * 4)).decode()
    record = {"kinesis": {"data": data, "approximateArrivalTimestamp": now.timestamp()}, "eventID": "shardId-000000000000:7"}
    for _ in range(2):
        handlers.count_handler({"Records": [record]}, None)
    rows = dynamodb.scan(TableName=table_name)["Items"]
    event_of_table = changes(*(Key(row["pk"]["S"], row["sk"]["S"]) for row in rows))
    lost = iter(["lose the answer", "fail"])
    proxy.fault = lambda operation: next(lost, None) if "PutMetricData" in operation else None  # type: ignore[arg-type]
    for _ in range(2):
        handlers.publish_handler(event_of_table, None)
    assert next(lost, None) is None  # both happened
    cloudwatch = botocore.session.get_session().create_client("cloudwatch", endpoint_url=aws_environment)
    found = cloudwatch.get_metric_statistics(
        Namespace=f"Tallystream/{table_name}",
        MetricName="events count 1m",
        Dimensions=[{"Name": "event", "Value": "a"}],
        StartTime=now - timedelta(minutes=1),
        EndTime=now + timedelta(minutes=2),
        Period=60,
        Statistics=["Maximum"],
    )["Datapoints"]
    assert [(point["Timestamp"], point["Maximum"]) for point in found] == [(now, 4.0)]
