"""What is asked of AWS beside the table: how far counting is behind, how the alarms stand."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.records import pad_sequence
from tallystream.aws.rows import Layout
from tallystream.aws.site import StackPlace, cloud_alarms, now_ms, session_client, shards_behind, stack_services
from tallystream.aws.store import ShardLedger
from tallystream.core.counting import Ledger
from tallystream.core.errors import StorageError
from tallystream.web.openapi import OPERATIONS, openapi_document
from tallystream.web.remote import RemoteApp
from tallystream.web.services import Tokens
from tests.contracts.plane import DEFINITION


@pytest.fixture
def kinesis(aws_environment: str) -> Iterator[Any]:
    with closing(boto3.client("kinesis")) as client:
        yield client


@pytest.fixture
def stream(kinesis: Any, table_name: str) -> str:
    kinesis.create_stream(StreamName=f"lag-{table_name}", ShardCount=2)
    return f"lag-{table_name}"


def put(kinesis: Any, stream: str, hash_key: str) -> str:
    record = kinesis.put_record(StreamName=stream, Data=b"{}", PartitionKey="p", ExplicitHashKey=hash_key)
    return str(record["SequenceNumber"])


def test_a_shard_is_as_far_behind_as_its_oldest_record_that_is_not_counted(kinesis: Any, stream: str) -> None:
    assert [(shard.shard, shard.lag_events, shard.lag_ms) for shard in shards_behind([], kinesis, stream, now_ms()).shards] == [
        (0, 0, 0),
        (1, 0, 0),
    ]
    first = put(kinesis, stream, "0")
    waiting, idle = shards_behind([], kinesis, stream, now_ms() + 5_000).shards
    assert waiting.lag_events is None
    assert waiting.lag_ms is not None
    assert 5_000 <= waiting.lag_ms < 60_000
    assert idle.lag_ms == 0

    counted = ShardLedger("000000000000", pad_sequence(first), Ledger(received=1, counted=1))
    (caught_up, _), warnings = shards_behind([counted], kinesis, stream, now_ms())
    assert (caught_up.counted_sequence, caught_up.lag_events, caught_up.lag_ms, warnings) == (1, 0, 0, [])
    put(kinesis, stream, "0")
    behind, _ = shards_behind([counted], kinesis, stream, now_ms() + 5_000).shards
    assert behind.lag_ms is not None
    assert behind.lag_ms >= 5_000


def test_shards_that_kinesis_has_no_more_are_counted_to_their_end(kinesis: Any, stream: str) -> None:
    former = ShardLedger("000000000007", pad_sequence("5"), Ledger(received=9, counted=9))
    last = shards_behind([former], kinesis, stream, now_ms()).shards[-1]
    assert (last.shard, last.counted_sequence, last.lag_events, last.lag_ms) == (7, 9, 0, 0)


def test_what_kinesis_does_not_say_is_not_made_up(kinesis: Any) -> None:
    counted = ShardLedger("000000000000", pad_sequence("5"), Ledger(received=9, counted=9))
    shards, warnings = shards_behind([counted], kinesis, "no-such-stream", now_ms())
    assert [(shard.counted_sequence, shard.lag_events, shard.lag_ms) for shard in shards] == [(9, None, None)]
    assert len(warnings) == 1
    assert warnings[0].startswith("how far counting is behind is not known: AWS refused ListShards: ")


def test_alarms_are_those_of_the_stack_with_those_in_alarm_first(aws_environment: str) -> None:
    with closing(boto3.client("cloudwatch")) as cloudwatch:
        for name, state in {"shop/b": "OK", "shop/a": "OK", "shop/z": "ALARM", "shop-2/x": "ALARM"}.items():
            cloudwatch.put_metric_alarm(
                AlarmName=name,
                MetricName="m",
                Namespace="n",
                Statistic="Sum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
            )
            cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason=f"because {name}")
        try:
            found = cloud_alarms(cloudwatch, "shop")
        finally:
            cloudwatch.delete_alarms(AlarmNames=["shop/b", "shop/a", "shop/z", "shop-2/x"])
    assert [(alarm.name, alarm.state) for alarm in found] == [("z", "ALARM"), ("a", "OK"), ("b", "OK")]
    assert found[0].reason == "because shop/z"
    assert abs(found[0].since - now_ms()) < 60_000


def test_cloudwatch_that_does_not_answer_is_told(aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with (
        closing(boto3.client("cloudwatch", endpoint_url="http://127.0.0.1:1")) as cloudwatch,
        pytest.raises(StorageError, match="AWS cannot be asked"),
    ):
        cloud_alarms(cloudwatch, "shop")


def test_the_described_api_is_that_which_is_served(kinesis: Any, stream: str, table_name: str) -> None:
    with closing(session_client(boto3.Session())) as client:
        table = DynamoDBTable(client, table_name)
        place = StackPlace("shop", "eu-west-1", stream)
        services = stack_services(place, DEFINITION, Layout(), table, kinesis, None, Tokens())
        app = RemoteApp(services)
        services.store.version()
    routes = {(route.path, method.lower()) for route in app.routes for method in getattr(route, "methods", None) or ()}  # type: ignore[attr-defined]
    described = [operation for operation in OPERATIONS if (operation.path, operation.method) in routes]
    OpenAPIV31SpecValidator(openapi_document("1.0", described)).validate()
    assert services.aws.console == "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1"


def test_why_the_table_cannot_be_read_is_for_those_who_may_read(kinesis: Any, stream: str) -> None:
    """What AWS says when it refuses names the account."""
    with closing(session_client(boto3.Session())) as client:
        table = DynamoDBTable(client, "no-such-table")
        place = StackPlace("shop", "eu-west-1", stream)
        services = stack_services(place, DEFINITION, Layout(), table, kinesis, None, Tokens(read="secret"))
        transport = httpx.ASGITransport(RemoteApp(services))

        async def ask(path: str, **headers: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="https://pages.example") as pages:
                return await pages.get(path, headers=headers)

        ready = asyncio.run(ask("/readyz"))
        assert (ready.status_code, ready.json()["error"]) == (503, "not_ready")
        assert "DynamoDB" not in ready.text
        assert asyncio.run(ask("/v1/ledger")).status_code == 401
        told = asyncio.run(ask("/v1/ledger", authorization="Bearer secret"))
        assert (told.status_code, told.json()["error"]) == (503, "storage")
        assert "DynamoDB refuses: ResourceNotFoundException" in told.json()["message"]
