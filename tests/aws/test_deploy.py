"""A stack from nothing to nothing, on an emulator of AWS, by the commands that a user types."""

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from click.testing import CliRunner, Result

from tallystream.aws import deploy
from tallystream.aws.deploy import Account, stack_name
from tallystream.aws.package import Package
from tallystream.aws.refusals import DeployError
from tallystream.cli import main

DEFINITION = """
name = "web_shop"
[stream]
event_time = "t"
shards = 1
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
[[alarm]]
name = "low"
counter = "events"
window = "1m"
group = { event = "click" }
comparison = "<"
threshold = 5
notify = ["ops"]
[[notify]]
name = "ops"
type = "email"
to = ["ops@example.com"]
from = "t@example.com"
host = "localhost"
"""
COMPOSITE = '[[alarm]]\nname = "both"\nwhen = "low"\n'  # which the emulator does not know


@pytest.fixture
def config(aws_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A definition whose stack does not outlive the test."""
    monkeypatch.setattr(deploy, "_POLL_S", 0.05)
    path = tmp_path / "tally.toml"
    path.write_text(DEFINITION, encoding="utf-8")
    yield path
    assert run("destroy", path, "--yes").exit_code == 0


def run(command: str, config: Path, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["aws", command, "--config", str(config), *arguments], input=answer)


def shards() -> dict[str, int]:
    kinesis = boto3.client("kinesis")
    return {
        name: kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["OpenShardCount"]
        for name in kinesis.list_streams()["StreamNames"]
    }


def everything() -> list[Any]:
    """What of a stack there may be in the account."""
    return [
        *boto3.client("s3").list_buckets()["Buckets"],
        *boto3.client("cloudwatch").describe_alarms()["MetricAlarms"],
        *boto3.client("cloudwatch").list_dashboards()["DashboardEntries"],
        *boto3.client("logs").describe_log_groups(logGroupNamePrefix="/tallystream/")["logGroups"],
        *boto3.client("kinesis").list_streams()["StreamNames"],
        *boto3.client("lambda").list_functions()["Functions"],
        *boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"],
        *boto3.client("sns").list_topics()["Topics"],
        *boto3.client("secretsmanager").list_secrets()["SecretList"],
        *(boto3.client("sqs").list_queues().get("QueueUrls") or []),
        *(role["RoleName"] for role in boto3.client("iam").list_roles()["Roles"] if "web-shop" in role["RoleName"]),
    ]


def test_from_nothing_to_a_stack_and_back_to_nothing(config: Path) -> None:
    missing = run("status", config)
    assert (missing.exit_code, missing.stderr) == (
        1,
        "tally: there is no stack web-shop in eu-west-1; make it with: tally aws deploy\n",
    )

    refused = run("deploy", config, answer="n\n")
    assert refused.exit_code == 0
    assert "Add     Stream " in refused.stdout
    assert refused.stdout.endswith("execute? [y/N]: n\nnothing was changed\n")
    assert everything() == []

    deployed = run("deploy", config, answer="y\n")
    assert deployed.exit_code == 0, deployed.output
    assert "CREATE_COMPLETE      CountFunction (AWS::Lambda::Function)" in deployed.stdout
    assert "the stack web-shop is deployed" in deployed.stdout
    assert list(shards().values()) == [1]
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert {mapping["ParallelizationFactor"] for mapping in mappings} == {1}

    again = run("deploy", config, "--yes")
    assert again.exit_code == 0
    assert again.stdout == "the stack web-shop in eu-west-1 is as the definition says; nothing to do\n"

    found = run("status", config)
    assert found.exit_code == 0
    assert "web-shop: CREATE_COMPLETE" in found.stdout
    shown = [line.split()[:2] for line in found.stdout.splitlines()]
    assert ["web-shop/low", "INSUFFICIENT_DATA"] in shown
    assert ["StreamName", *shards()] in shown

    kept = run("destroy", config, answer="n\n")
    assert kept.stdout.endswith("nothing was deleted\n")
    assert len(shards()) == 1
    destroyed = run("destroy", config, answer="y\n")
    assert destroyed.exit_code == 0, destroyed.output
    assert "the stack web-shop is gone" in destroyed.stdout
    assert everything() == []


def test_an_edited_definition_changes_the_stack(config: Path) -> None:
    assert run("deploy", config, "--yes").exit_code == 0
    config.write_text(DEFINITION.replace("shards = 1", "shards = 2"), encoding="utf-8")
    changed = run("deploy", config, "--yes")
    assert changed.exit_code == 0, changed.output
    rows = [line.split()[:3] for line in changed.stdout.splitlines()]
    assert ["Modify", "Stream", "AWS::Kinesis::Stream"] in rows
    assert ["Modify", "CountFunction", "AWS::Lambda::Function"] in rows  # the definition is in the package
    assert "Add" not in {row[0] for row in rows if row}
    assert "web-shop: UPDATE_COMPLETE" in changed.stdout


def test_a_stack_keeps_the_settings_that_are_not_given_again(config: Path) -> None:
    def environment() -> dict[str, str]:
        functions = boto3.client("lambda").list_functions()["Functions"]
        (found,) = [function["Environment"]["Variables"] for function in functions if "Count" in function["FunctionName"]]
        return dict(found)

    assert run("deploy", config, "--yes", "--groups-max", "500", "--batch-window", "30").exit_code == 0
    again = run("deploy", config, "--yes")
    assert again.stdout == "the stack web-shop in eu-west-1 is as the definition says; nothing to do\n"
    changed = run("deploy", config, "--yes", "--write-shards", "4")
    assert changed.exit_code == 0, changed.output
    assert "all counters begin new rows" in changed.stderr
    assert (environment()["TALLY_GROUPS_MAX"], environment()["TALLY_WRITE_SHARDS"]) == ("500", "4")
    mappings = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert {mapping["MaximumBatchingWindowInSeconds"] for mapping in mappings} == {30}


def test_a_template_that_is_refused_leaves_nothing(config: Path) -> None:
    config.write_text(DEFINITION + COMPOSITE, encoding="utf-8")
    refused = run("deploy", config, "--yes")
    assert refused.exit_code == 1
    assert "tally: AWS refused CreateChangeSet: " in refused.stderr
    assert "AWS::CloudWatch::CompositeAlarm" in refused.stderr
    assert everything() == []


def test_a_stack_that_cannot_be_made_says_why_and_how_to_go_on(aws_environment: str) -> None:
    account, package = Account(pause=lambda _: None), Package(b"zip", 1)
    # Waits for a signal that nobody sends.
    signal = {"Type": "AWS::CloudFormation::WaitCondition", "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "1"}}
    template = {
        "Parameters": {"CodeBucket": {"Type": "String"}, "CodeKey": {"Type": "String"}},
        "Resources": {"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"}, "Signal": signal},
    }
    plan = account.plan("broken", template, package, "broken")
    with pytest.raises(DeployError, match=r"the stack broken is ROLLBACK_COMPLETE: Signal: .*tally aws destroy --stack broken"):
        list(account.execute("broken", plan, package))
    with pytest.raises(DeployError, match="is ROLLBACK_COMPLETE and cannot be changed; remove it with: tally aws destroy"):
        account.plan("broken", template, package, "broken")
    assert "broken" not in {progress.logical_id for progress in account.destroy("broken")}
    assert account.summary("broken") is None


def test_the_stack_of_somebody_else_is_left_alone(config: Path) -> None:
    stacks = boto3.client("cloudformation")
    template = '{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}'
    stacks.create_stack(StackName="theirs", TemplateBody=template)
    stacks.get_waiter("stack_create_complete").wait(StackName="theirs", WaiterConfig={"Delay": 1})
    try:
        for command in ("deploy", "status", "destroy"):
            refused = run(command, config, "--stack", "theirs", *([] if command == "status" else ["--yes"]))
            assert refused.exit_code == 1
            assert "the stack theirs is not Tallystream's" in refused.stderr
        assert stacks.describe_stacks(StackName="theirs")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    finally:
        stacks.delete_stack(StackName="theirs")


def test_a_large_template_goes_through_the_bucket(aws_environment: str) -> None:
    account = Account(pause=lambda _: None)
    package = Package(b"zip", 1)
    template = {
        "Parameters": {"CodeBucket": {"Type": "String"}, "CodeKey": {"Type": "String"}},
        "Resources": {f"Queue{n}": {"Type": "AWS::SQS::Queue", "Metadata": {"padding": "x" * 1_000}} for n in range(60)},
    }
    plan = account.plan("large", template, package, "large")
    assert len(plan.changes) == 60
    account.discard("large", plan)
    assert list(account.destroy("large")) == []  # only its files are left
    assert account.summary("large") is None
    assert boto3.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize("name", ["1st", "a" * 129, "-a", "ä"])
def test_names_that_cloudformation_refuses_are_told(name: str) -> None:
    with pytest.raises(DeployError, match="a stack's name is a letter and"):
        stack_name(name)


# What stands between a user and AWS.


class Denying(BaseHTTPRequestHandler):
    code = "AccessDenied"
    message = (
        "User: arn:aws:iam::1:user/u is not authorized to perform: sts:GetCallerIdentity on resource: arn:aws:sts::1:x "
        "because no identity-based policy allows it"
    )

    def do_POST(self) -> None:
        body = (
            f"<ErrorResponse><Error><Code>{self.code}</Code><Message>{self.message}</Message></Error></ErrorResponse>".encode()
        )
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the base class's name
        pass


@pytest.fixture
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which AWS's clients find nothing; a definition."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    path = tmp_path / "tally.toml"
    path.write_text(DEFINITION, encoding="utf-8")
    return path


class Expired(Denying):
    code = "ExpiredToken"
    message = "The security token included in the request is expired"


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (Denying, "the permission sts:GetCallerIdentity on arn:aws:sts::1:x is missing; have it added to your role or user"),
        (Expired, f"AWS does not accept your credentials: {Expired.message}; log in again, or set AWS_PROFILE"),
    ],
)
def test_what_aws_refuses_is_named(
    handler: type[Denying], told: str, own_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = HTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    try:
        result = run("status", own_settings, "--region", "eu-west-1")
    finally:
        server.shutdown()
        server.server_close()
    assert (result.exit_code, result.stderr) == (1, f"tally: {told}\n")


def test_missing_settings_are_told(own_settings: Path) -> None:
    assert "no AWS region is chosen; give one with --region" in run("status", own_settings).stderr
    assert "there are no AWS credentials" in run("status", own_settings, "--region", "eu-west-1").stderr


def test_a_dashboard_is_made_shown_and_removed(config: Path) -> None:
    deployed = run("deploy", config, "--yes", "--dashboard")
    assert deployed.exit_code == 0, deployed.output
    found = run("status", config).stdout
    (url,) = re.findall(r"^PagesUrl +(https://\S+)$", found, re.MULTILINE)
    (secret,) = re.findall(r"^PagesToken +(\S+)$", found, re.MULTILINE)
    assert ".lambda-url.eu-west-1." in url
    token = boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    assert len(token) == 40
    assert token not in deployed.output + found
    functions = boto3.client("lambda").list_functions()["Functions"]
    assert token not in str(functions)
    assert "nothing to do" in run("deploy", config, "--yes").stdout
    without = run("deploy", config, "--yes", "--no-dashboard")
    assert without.exit_code == 0, without.output
    assert "PagesUrl" not in run("status", config).stdout
    assert boto3.client("secretsmanager").list_secrets()["SecretList"] == []
