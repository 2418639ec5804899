"""The whole chain on an emulator: events into the stream, both functions as they are packaged, metrics that are right."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from scripts.emulator import local_target, run_locally
from tallystream.aws.deploy import Account, Summary
from tallystream.aws.package import build_package
from tallystream.aws.template import make_stack
from tallystream.aws.template_function import StackSettings
from tallystream.core.definition_text import parse_definition
from tests.waiting import wait_until

DEFINITION = parse_definition("""
name = "chain"
[stream]
event_time = "at"
shards = 2
[[counter]]
name = "sales"
group_by = ["country"]
windows = ["1h"]
measures = ["sum(amount)", "min(amount)"]
""")
EVENTS = 300


@pytest.fixture
def stack(aws_environment: str) -> Iterator[Summary]:
    """A deployed stack, whose functions run on this machine's Python."""
    target = local_target()
    template = make_stack(DEFINITION, StackSettings(batch_window_s=1, architecture=target.architecture)).template
    run_locally(template, target)
    account, package = Account(pause=lambda _: None), build_package(DEFINITION, target)
    list(account.execute("chain", account.plan("chain", template, package, "chain"), package))
    summary = account.summary("chain")
    assert summary is not None
    yield summary
    list(account.destroy("chain"))


def published(measure: str, country: str, statistic: str) -> list[float]:
    """Return what CloudWatch says of a series' windows."""
    now = datetime.now(UTC)
    found: dict[str, Any] = boto3.client("cloudwatch").get_metric_statistics(
        Namespace="Tallystream/chain",
        MetricName=f"sales {measure} 1h",
        Dimensions=[{"Name": "country", "Value": country}],
        Period=3_600,
        Statistics=[statistic],
        StartTime=now - timedelta(hours=3),
        EndTime=now + timedelta(hours=1),
    )
    return [point[statistic] for point in found["Datapoints"]]


def test_events_in_the_stream_become_metrics(stack: Summary) -> None:
    at = (datetime.now(UTC) - timedelta(hours=1)).isoformat()  # a window that no other event falls into
    lines = [json.dumps({"at": at, "country": "Österreich", "amount": number / 10}).encode() for number in range(1, EVENTS + 1)]
    records = [{"Data": b"\n".join(lines[start : start + 3]), "PartitionKey": str(start)} for start in range(0, EVENTS, 3)]
    records.append({"Data": b"no event", "PartitionKey": "1"})
    answer = boto3.client("kinesis").put_records(StreamName=stack.outputs["StreamName"], Records=records)
    assert answer["FailedRecordCount"] == 0

    wait_until(lambda: published("count", "%C3%96sterreich", "Maximum") == [EVENTS], "all events to be counted", timeout_s=60)
    total = sum(range(1, EVENTS + 1)) / 10
    wait_until(lambda: published("sum(amount)", "%C3%96sterreich", "Maximum") == [total], "the sum")
    wait_until(lambda: published("min(amount)", "%C3%96sterreich", "Minimum") == [0.1], "the minimum")

    items = boto3.client("dynamodb").scan(TableName=stack.outputs["TableName"])["Items"]
    assert [item["data"]["B"] for item in items if item["pk"]["S"].startswith("rejected#")] == [b"no event"]
    ledger = [item for item in items if item["pk"]["S"] == "ledger"]
    assert sum(int(item["received"]["N"]) for item in ledger) == EVENTS + 1
