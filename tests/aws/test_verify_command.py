"""`tally verify --aws`, as a user types it, on a whole stack: quiet when all is right, loud when somebody changed something."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from scripts.emulator import local_target, run_locally
from tallystream.aws import verify
from tallystream.aws.deploy import Account, Summary
from tallystream.aws.deployed import read_deployed
from tallystream.aws.package import build_package
from tallystream.aws.rows import Layout
from tallystream.aws.template import make_stack
from tallystream.aws.template_function import StackSettings
from tallystream.cli import main
from tallystream.core.definition_text import parse_definition
from tests.kpl import aggregate
from tests.waiting import wait_until

DEFINITION = """
name = "shop_sales"
[stream]
event_time = "at"
shards = 2
allowed_lateness = "3650d"
[[counter]]
name = "sales"
group_by = ["country"]
windows = ["1m", "1h"]
measures = ["sum(amount)", "min(amount)"]
[[counter]]
name = "all"
windows = ["1h"]
"""
STACK = "shop-sales"
EVENTS = 60


def deploy(account: Account, memory_mb: int = 256) -> None:
    """Deploy the definition, its functions to run on this machine's Python."""
    definition, target = parse_definition(DEFINITION), local_target()
    settings = StackSettings(
        batch_window_s=1, architecture=target.architecture, groups_max=2, write_shards=2, memory_mb=memory_mb
    )
    template = make_stack(definition, settings).template
    run_locally(template, target)
    package = build_package(definition, target)
    list(account.execute(STACK, account.plan(STACK, template, package, definition.name), package))


@pytest.fixture
def stack(aws_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Summary]:
    """A deployed stack of the definition in the current directory, of two groups a counter, with its events counted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verify, "UNDER_WAY_S", 1.0)
    monkeypatch.setattr(verify, "_AGAIN_S", 0.2)
    (tmp_path / "tally.toml").write_text(DEFINITION, encoding="utf-8")
    account = Account(pause=lambda _: None)
    deploy(account)
    summary = account.summary(STACK)
    assert summary is not None
    yield summary
    list(account.destroy(STACK))


def send(stack: Summary) -> None:
    lines = [
        json.dumps({"at": 1_795_433_580 + number, "country": "ÄBC"[number % 3], "amount": number / 10}).encode()
        for number in range(EVENTS)
    ]
    data = [b"\n".join(lines[start : start + 3]) for start in range(0, EVENTS // 2, 3)]
    data += [aggregate(lines[start : start + 5]) for start in range(EVENTS // 2, EVENTS, 5)]
    data += [b"no event", b'{"at": 1000000000}']  # which is late
    records = [{"Data": each, "PartitionKey": str(number)} for number, each in enumerate(data)]
    answer = boto3.client("kinesis").put_records(StreamName=stack.outputs["StreamName"], Records=records)
    assert answer["FailedRecordCount"] == 0


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments])


def items(stack: Summary) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = boto3.resource("dynamodb").Table(stack.outputs["TableName"]).scan()["Items"]
    return found


def received(stack: Summary) -> int:
    return sum(int(item["received"]) for item in items(stack) if item["pk"] == "ledger")


def test_a_stack_is_verified(stack: Summary) -> None:
    result = run("--aws")
    assert (result.exit_code, result.stdout) == (0, "counted 0 events again, compared 0 rows\nno differences\n"), result.output

    send(stack)
    wait_until(lambda: received(stack) == EVENTS + 2, "all events to be counted", timeout_s=60)
    rows = sum("count" in item for item in items(stack))
    right = (0, f"counted {EVENTS + 2} events again, compared {rows} rows\nno differences\n")
    assert rows > 8
    result = run("--aws")
    assert (result.exit_code, result.stdout) == right, result.output
    (Path.cwd() / "tally.toml").unlink()
    result = run("--aws", "--stack", STACK, "--region", "eu-west-1")  # which needs no definition
    assert (result.exit_code, result.stdout) == right, result.output

    table = boto3.resource("dynamodb").Table(stack.outputs["TableName"])
    for kind, change, says in (
        ("all#", {"count": 99}, "all [] 1h from 1795431600000, shard "),
        ("sales#", {"hwm": "0"}, "sales "),
        ("sales#", None, "nothing"),
        ("rejected#", None, "rejected event: shard "),
        ("ledger", {"late": 7}, ": ledger: late"),
    ):
        item = next(item for item in items(stack) if item["pk"].startswith(kind))
        if change is None:
            table.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
        else:
            table.put_item(Item={**item, **change})
        result = run("--aws", "--stack", STACK)
        assert result.exit_code == 1
        assert says in result.stdout
        assert "difference" in result.stdout.splitlines()[-1]
        table.put_item(Item=item)
    assert run("--aws", "--stack", STACK).stdout == right[1]


def test_there_must_be_a_stack(aws_environment: str) -> None:
    result = run("--aws", "--stack", "other")
    assert (result.exit_code, result.stderr) == (
        1,
        "tally: there is no stack other in eu-west-1; make it with: tally aws deploy\n",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--aws", "--data", "."], "--aws verifies a stack, which has no data directory: leave out --data"),
        (["--stack", "shop"], "--stack names where on AWS: add --aws, or leave it out"),
        (["--region", "eu-west-1"], "--region names where on AWS: add --aws, or leave it out"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {says}")


def test_what_came_before_the_function_was_changed_is_not_judged(stack: Summary, aws_environment: str) -> None:
    account = Account(pause=lambda _: None)
    assert read_deployed(account, STACK).changed_ms is None
    send(stack)
    wait_until(lambda: received(stack) == EVENTS + 2, "all events to be counted", timeout_s=60)
    deploy(account, memory_mb=512)
    deployed = read_deployed(account, STACK)
    assert deployed.changed_ms is not None
    assert (deployed.layout, deployed.definition.name) == (Layout(2, 2), "shop_sales")

    table = boto3.resource("dynamodb").Table(stack.outputs["TableName"])
    table.delete_item(Key=next({"pk": item["pk"], "sk": item["sk"]} for item in items(stack) if item["pk"].startswith("all#")))
    result = run("--aws")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "no differences")
