"""The template of a stack: what CloudFormation takes, for any definition, and nothing lost without a word."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.config import ManualArgs  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystream.aws.metric import dimensions
from tallystream.aws.template import Stack, TemplateError, make_stack, render
from tallystream.aws.template_function import StackSettings
from tallystream.core.alarm import Actions, CompositeAlarm, CounterSource, FixedThreshold, MetricAlarm
from tallystream.core.channel import CommandChannel, EmailChannel
from tallystream.core.definition import Counter, Definition, Measure, Stream
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import DefinitionError
from tests.aws.definitions import EVERYTHING

EXAMPLE = resources.files("tallystream").joinpath("example.toml").read_text(encoding="utf-8")
EMAILS = EXAMPLE + '\n[[notify]]\nname = "ops"\ntype = "email"\nto = ["ops@example.com"]\nfrom = "t@example.com"\nhost = "h"\n'
SMALLEST = 'name = "x"\n[stream]\nevent_time = "t"\n[[counter]]\nname = "all"\nwindows = ["1m"]\n'
DEFINITIONS = {"example": EXAMPLE, "emails": EMAILS, "smallest": SMALLEST, "everything": EVERYTHING}
PSEUDO = {"AWS::StackName": "stage-1", "AWS::Region": "eu-west-2"}


def stack_of(text: str, **chosen: Any) -> Stack:
    return make_stack(parse_definition(text), StackSettings(**chosen))


def properties(stack: Stack, logical: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.template["Resources"][logical]["Properties"]
    return found


def of_type(stack: Stack, kind: str) -> list[dict[str, Any]]:
    return [resource["Properties"] for resource in stack.template["Resources"].values() if resource["Type"] == f"AWS::{kind}"]


def resolve(node: Any, template: dict[str, Any]) -> Any:
    """Return a part of a template as CloudFormation hands it over; fails on a reference to nothing."""
    known = {*template["Resources"], *template["Parameters"], *PSEUDO}

    def value(name: str) -> str:
        assert name.partition(".")[0] in known, f"{name} is no resource, parameter or pseudo parameter"
        return PSEUDO.get(name, f"<{name}>")

    match node:
        case {"Ref": name}:
            return value(name)
        case {"Fn::GetAtt": [name, attribute]}:
            return value(f"{name}.{attribute}")
        case {"Fn::Sub": text}:
            return re.sub(r"\$\{(!?)([^}]*)\}", lambda m: f"${{{m[2]}}}" if m[1] else value(m[2]), text)
        case dict():
            return {key: resolve(each, template) for key, each in node.items()}
        case list():
            return [resolve(each, template) for each in node]
    return node


def resolved(stack: Stack) -> dict[str, Any]:
    whole: dict[str, Any] = resolve(stack.template["Resources"], stack.template)
    resolve(stack.template["Outputs"], stack.template)
    return whole


def statements(stack: Stack) -> Iterator[dict[str, Any]]:
    for role in of_type(stack, "IAM::Role"):
        for policy in role["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]


# What any template must be.


@pytest.mark.parametrize(("name", "architecture"), [*((name, "arm64") for name in DEFINITIONS), ("example", "x86_64")])
def test_cfn_lint_finds_nothing(name: str, architecture: str) -> None:
    stack = stack_of(DEFINITIONS[name], architecture=architecture)
    found = lint(render(stack.template), config=ManualArgs(regions=["us-east-1"], include_checks=["I"]))
    assert [f"{match.rule.id} {match.message} at {match.path}" for match in found] == []


def test_cfn_lint_finds_nothing_in_the_pages_either() -> None:
    stack = stack_of(EMAILS, dashboard=True)
    found = lint(render(stack.template), config=ManualArgs(regions=["us-east-1"], include_checks=["I"]))
    assert [f"{match.rule.id} {match.message} at {match.path}" for match in found] == []


def test_cfn_lint_would_find_a_wrong_property() -> None:
    template = stack_of(SMALLEST).template
    template["Resources"]["CountSource"]["Properties"]["ParallelizationFactor"] = 11
    assert lint(render(template), config=ManualArgs(regions=["us-east-1"])) != []


group_fields = st.lists(
    st.text(st.characters(exclude_characters='"\\.', exclude_categories=["C"]), min_size=1), max_size=3, unique=True
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", fullmatch=True)
measures = st.sampled_from([Measure("sum", "am'ount ${b}"), Measure("min", "a"), Measure("max", "ä"), Measure("mean", "a")])
windows = st.sampled_from([10_000, 15_000, 30_000, 60_000, 300_000, 900_000, 86_400_000])


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    counters = [
        Counter(
            name=name,
            where=None,
            group_by=tuple(draw(group_fields)),
            windows_ms=tuple(sorted(draw(st.sets(windows, min_size=1)))),
            measures=(Measure("count", None), *draw(st.lists(measures, unique=True, max_size=2))),
            keep_ms=draw(st.sampled_from([None, 90 * 86_400_000])),
        )
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
    ]
    channels = [
        EmailChannel(
            name=name,
            group_wait_ms=0,
            to=tuple(f"{n}@example.com" for n in range(draw(st.integers(1, 3)))),
            sender="a@example.com",
            host="h",
            port=25,
            tls="none",
            username=None,
            password_env=None,
        )
        if draw(st.booleans())
        else CommandChannel(name=name, group_wait_ms=0, command=("true",))
        for name in draw(st.lists(names, max_size=3, unique=True))
    ]
    told = (
        st.lists(st.sampled_from([channel.name for channel in channels]), unique=True).map(tuple) if channels else st.just(())
    )
    alarms: list[MetricAlarm | CompositeAlarm] = []
    for name in draw(st.lists(names, max_size=4, unique=True)):
        actions = Actions(alarm=draw(told), ok=draw(told), insufficient_data=draw(told))
        shared: dict[str, Any] = {
            "name": name,
            "description": draw(st.text(st.characters(codec="utf-8"), max_size=50)),
            "actions": actions,
        }
        is_composite: bool = draw(st.booleans())
        if alarms and is_composite:
            alarms.append(CompositeAlarm(when=f'"{draw(st.sampled_from(alarms)).name}"', **shared))
            continue
        counter = draw(st.sampled_from(counters))
        value = st.one_of(st.none(), st.text(max_size=10), st.integers(), st.booleans())
        source = CounterSource(
            counter=counter.name,
            window_ms=draw(st.sampled_from(counter.windows_ms)),
            measure=draw(st.sampled_from(counter.measures)).name,
            group=draw(st.one_of(st.none(), st.tuples(*(value for _ in counter.group_by)))),
            groups_max=100,
        )
        threshold = Decimal(draw(st.integers(-5, 5)))
        alarms.append(
            MetricAlarm(
                source=source,
                condition=FixedThreshold(
                    comparison=draw(st.sampled_from(["<", "<=", ">", ">="])), value=threshold, clear=threshold
                ),
                evaluation_periods=draw(st.integers(1, 5)),
                datapoints_to_alarm=1,
                treat_missing_data=draw(st.sampled_from(["missing", "ignore", "breaching", "notBreaching"])),
                wait="complete",
                delay_ms=0,
                **shared,
            )
        )
    stream = Stream(
        event_time="t",
        missing_event_time="reject",
        event_id=None,
        partition_key=None,
        shards=draw(st.integers(1, 64)),
        retention_ms=draw(st.integers(60_000, 30 * 86_400_000)),
        allowed_lateness_ms=None,
        allowed_future_ms=None,
        backlog_events_max=1_000,
    )
    return Definition(
        name="x", stream=stream, counters=tuple(counters), browser=None, alarms=tuple(alarms), channels=tuple(channels)
    )


@given(definitions())
@settings(max_examples=60, deadline=None)
def test_any_definition_makes_a_whole_template_always_the_same(definition: Definition) -> None:
    stack = make_stack(definition, StackSettings())
    assert render(make_stack(definition, StackSettings()).template) == render(stack.template)
    assert json.loads(render(stack.template)) == stack.template
    assert all(re.fullmatch(r"[A-Za-z0-9]{1,255}", logical) for logical in stack.template["Resources"])
    whole = resolved(stack)
    alarms = {
        each["Properties"]["AlarmName"]: each["Properties"]
        for each in whole.values()
        if each["Type"].startswith("AWS::CloudWatch")
        if "AlarmName" in each["Properties"]
    }
    for alarm in definition.alarms:
        made = alarms.get(f"stage-1/{alarm.name}")
        left_out = any(warning.startswith(f'alarm "{alarm.name}": left out; ') for warning in stack.warnings)
        assert (made is None) == left_out
        if made is None:
            continue
        assert made.get("AlarmDescription", "") == alarm.description
        if isinstance(alarm, MetricAlarm):
            assert isinstance(alarm.source, CounterSource)
            group_by = definition.counter(alarm.source.counter).group_by
            assert made["Dimensions"] == dimensions(group_by, alarm.source.group)
        emails = {channel.name for channel in definition.channels if isinstance(channel, EmailChannel)}
        assert len(made.get("AlarmActions", [])) == len(emails.intersection(alarm.actions.alarm))
    widgets = json.loads(whole["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    assert len(widgets) == 4 + sum(len(counter.measures) for counter in definition.counters)
    cells = [(x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("dashboard", [False, True])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_roles_may_no_more_than_they_need(name: str, dashboard: bool) -> None:
    stack = stack_of(DEFINITIONS[name], dashboard=dashboard)
    everywhere = [each for each in statements(stack) if each["Resource"] == "*"]
    assert everywhere == [
        {
            "Effect": "Allow",
            "Action": ["cloudwatch:PutMetricData"],
            "Resource": "*",
            "Condition": {"StringEquals": {"cloudwatch:namespace": {"Fn::Sub": "Tallystream/${AWS::StackName}"}}},
        }
    ]
    assert [action for each in statements(stack) for action in each["Action"] if "*" in action] == []


@pytest.mark.parametrize(
    ("role", "actions"),
    [
        (
            "CountRole",
            {
                *("kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator"),
                *("kinesis:ListShards", "logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"),
                # What DynamoDBTable calls; TransactWriteItems asks for the permissions of its parts.
                *("dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
            },
        ),
        (
            "PublishRole",
            {
                *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
                *("dynamodb:Query", "cloudwatch:PutMetricData"),
                *("logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"),
            },
        ),
        (
            "PagesRole",
            {
                *("dynamodb:Query", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"),
                *("logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue"),
            },
        ),
    ],
)
def test_each_role_may_what_its_function_does(role: str, actions: set[str]) -> None:
    (policy,) = properties(stack_of(EXAMPLE, dashboard=True), role)["Policies"]
    assert {action for each in policy["PolicyDocument"]["Statement"] for action in each["Action"]} == actions


# What a definition becomes.


def test_the_pipeline_keeps_what_exact_counting_needs() -> None:
    stack = stack_of(EXAMPLE, batch_window_s=2)
    for name in ("CountSource", "PublishSource"):
        source = properties(stack, name)
        assert source["ParallelizationFactor"] == 1
        assert (source["MaximumRetryAttempts"], source["MaximumRecordAgeInSeconds"]) == (-1, -1)
        assert (source["StartingPosition"], source["MaximumBatchingWindowInSeconds"]) == ("TRIM_HORIZON", 2)
        assert source["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["FailedBatches", "Arn"]}
    (chosen,) = properties(stack, "PublishSource")["FilterCriteria"]["Filters"]
    assert json.loads(chosen["Pattern"]) == {"dynamodb": {"NewImage": {"count": {"N": [{"exists": True}]}}}}
    assert "FilterCriteria" not in properties(stack, "CountSource")
    assert properties(stack, "Table")["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert properties(stack, "Table")["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert properties(stack, "Stream")["ShardCount"] == 2
    assert properties(stack, "CountFunction")["Handler"] == "tallystream.aws.handlers.count_handler"
    assert properties(stack, "PublishFunction")["Architectures"] == ["arm64"]
    assert [logs["RetentionInDays"] for logs in of_type(stack, "Logs::LogGroup")] == [30, 30]


def test_an_alarm_becomes_one_of_cloudwatch() -> None:
    whole = resolved(stack_of(EVERYTHING))
    low = next(each["Properties"] for each in whole.values() if each["Properties"].get("AlarmName") == "stage-1/low")
    topic = next(name for name, each in whole.items() if each["Type"] == "AWS::SNS::Topic")
    assert low == {
        "AlarmName": "stage-1/low",
        "AlarmDescription": "less ${than} usual",
        "Namespace": "Tallystream/stage-1",
        "MetricName": "events sum(amount) 15m",
        "Dimensions": [{"Name": "event", "Value": "page ${view}"}, {"Name": "user.pl%27an ${x}", "Value": "Z%C3%BCrich"}],
        "Statistic": "Maximum",
        "Period": 900,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "ComparisonOperator": "LessThanThreshold",
        "Threshold": 5.25,
        "TreatMissingData": "breaching",
        "AlarmActions": [f"<{topic}>"],
        "OKActions": [f"<{topic}>"],
    }
    both = next(each for each in whole.values() if each["Properties"].get("AlarmName") == "stage-1/both")
    assert both["Type"] == "AWS::CloudWatch::CompositeAlarm"
    assert both["Properties"]["AlarmRule"] == (
        '(ALARM("stage-1/low")) AND (NOT ((ALARM("stage-1/high")) OR (ALARM("stage-1/low"))))'
    )
    subscribed = [each["Properties"]["Endpoint"] for each in whole.values() if each["Type"] == "AWS::SNS::Subscription"]
    assert subscribed == ["a@example.com", "b@example.com"]


def test_windows_that_cloudwatch_can_align_are_judged_whole() -> None:
    stack = stack_of(EVERYTHING)
    aligned = {
        each["Period"]: "EvaluationWindow" in each for each in of_type(stack, "CloudWatch::Alarm") if "Tally" in str(each)
    }
    assert aligned[900] is False
    assert aligned[3_600] is True


def test_what_cloudwatch_cannot_do_is_said() -> None:
    assert stack_of(EVERYTHING).warnings == (
        "stream.retention: 90m becomes 24 hours; Kinesis keeps records for whole hours, at least 24",
        'mute "nights": left out; the alarms notify at all times',
        'notify "ops": group_wait is left out; SNS sends a message for each alarm at once',
        'notify "chat": left out; on AWS, SNS sends the notifications, which here are e-mail alone, not slack',
        'alarm "low": clear_threshold is left out; CloudWatch has one threshold for both ways',
        'alarm "low": delay is left out; CloudWatch decides itself when a window is complete',
        (
            'alarm "low": windows of 15m are judged while they fill, so it may breach or clear too early; '
            "with 1m, 5m, 1h or 1d CloudWatch judges whole windows"
        ),
        'alarm "low": sum(amount) is the largest sum that a window had while it filled: right unless amounts are negative',
        'alarm "low": does not notify chat',
        'alarm "high": mean(amount) is only near: CloudWatch averages what was published while the window filled',
        'alarm "early": it waits for the end of a window of 1h; CloudWatch has no wait = "early"',
        'alarm "rel": left out; CloudWatch cannot compare with the past; use a threshold',
        'alarm "band": left out; CloudWatch learns bands in another way; use a threshold',
        (
            'alarm "each": left out; CloudWatch has no alarm for each group, as group_by = "each" asks; '
            "write an alarm for each that matters"
        ),
        (
            'alarm "sys": left out; disk_free_percent is measured on one machine alone; '
            "the stack has alarms of its own on lag and errors"
        ),
        'alarm "gone": left out; it reads each, which is left out',
    )
    assert stack_of(SMALLEST).warnings == ('nobody is told when the stack itself fails: add a [[notify]] of type "email"',)


def test_the_stack_watches_itself() -> None:
    whole = resolved(stack_of(EMAILS))
    own = {
        each["Properties"]["AlarmName"]: each["Properties"]
        for each in whole.values()
        if "stage-1/stack/" in each["Properties"].get("AlarmName", "")
    }
    assert {name.rpartition("/")[2] for name in own} == {
        *("count-iterator-age", "count-errors", "count-throttles"),
        *("publish-iterator-age", "publish-errors", "publish-throttles", "failed-batches", "stream-full"),
    }
    assert all(len(alarm["AlarmActions"]) == 1 for alarm in own.values())


def test_the_dashboard_shows_each_counter() -> None:
    whole = resolved(stack_of(EVERYTHING))
    widgets = json.loads(whole["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    charts = {widget["properties"]["title"]: widget["properties"] for widget in widgets}
    (metrics,) = charts["events: min(amount) in windows of 10s"]["metrics"]
    search = (
        """SEARCH('{"Tallystream/stage-1","event","user.pl%27an ${x}"} MetricName="events min(amount) 10s"', 'Minimum', 10)"""
    )
    assert metrics == [{"expression": search, "id": "groups"}]
    assert charts["all: count in windows of 15s"]["metrics"] == [["Tallystream/stage-1", "all count 15s", {"label": "all"}]]
    assert charts["all: count in windows of 15s"]["period"] == 5


# What a definition may not ask for.


def test_event_ids_are_refused() -> None:
    text = SMALLEST.replace('event_time = "t"', 'event_time = "t"\nevent_id = "id"')
    with pytest.raises(DefinitionError) as raised:
        stack_of(text)
    assert [problem.key for problem in raised.value.problems] == ["stream.event_id"]


def test_rows_must_outlive_the_stream_that_aws_keeps() -> None:
    text = SMALLEST.replace('event_time = "t"', 'event_time = "t"\nretention = "1h"') + 'keep = "24h"\n'
    with pytest.raises(DefinitionError, match=r'counter "all"\.keep') as raised:
        stack_of(text)
    assert len(raised.value.problems) == 1
    assert stack_of(text.replace("24h", "25h")).template["Resources"]


def test_too_many_alarms_for_a_stack_are_refused() -> None:
    alarm = '[[alarm]]\nname = "a{}"\ncounter = "all"\nwindow = "1m"\ncomparison = ">"\nthreshold = 1\n'
    with pytest.raises(TemplateError, match="at most 500"):
        stack_of(SMALLEST + "".join(alarm.format(number) for number in range(500)))


# The pages.


def test_pages_are_there_where_they_are_asked_for() -> None:
    without, stack = stack_of(EXAMPLE), stack_of(EXAMPLE, dashboard=True)
    more = stack.template["Resources"].keys() - without.template["Resources"].keys()
    assert more and all(logical.startswith("Pages") for logical in more)
    assert {name: stack.template["Resources"][name] for name in without.template["Resources"]} == without.template["Resources"]
    whole = resolved(stack)
    assert whole["PagesFunction"]["Properties"]["Handler"] == "tallystream.aws.pages.pages_handler"
    assert whole["PagesUrl"]["Properties"]["AuthType"] == "NONE"
    assert stack.template["Outputs"].keys() - without.template["Outputs"].keys() == {"PagesUrl", "PagesToken"}


def test_whoever_has_the_url_may_call_it_and_nothing_else() -> None:
    permissions = of_type(stack_of(EXAMPLE, dashboard=True), "Lambda::Permission")
    assert {permission["Action"] for permission in permissions} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert all(
        permission.get("FunctionUrlAuthType") == "NONE" or permission.get("InvokedViaFunctionUrl") is True
        for permission in permissions
    )


def test_the_token_is_drawn_by_aws_and_nowhere_to_be_read() -> None:
    stack = stack_of(EXAMPLE, dashboard=True)
    assert properties(stack, "PagesToken")["GenerateSecretString"] == {"PasswordLength": 40, "ExcludePunctuation": True}
    assert "SecretString" not in properties(stack, "PagesToken")
    variables = properties(stack, "PagesFunction")["Environment"]["Variables"]
    assert variables["TALLY_READ_TOKEN_SECRET"] == {"Ref": "PagesToken"}
    assert "TALLY_READ_TOKEN" not in variables
