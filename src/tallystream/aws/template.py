"""
The stack as a CloudFormation template: from a definition to plain data, always the same from the same definition.

Kinesis stream → count function → table → its change stream → publish function → CloudWatch metrics, alarms and a dashboard →
SNS. Nothing is named by hand that CloudFormation can name, so a stack can be deployed twice in one account; what people see
(alarms, dashboard, log groups, the namespace of the metrics) begins with the stack's name.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from tallystream.aws.cloudformation import Resource, attribute, logical_id, namespace, ref, substitute
from tallystream.aws.template_alarms import alarm_resources, operational_alarm_resources
from tallystream.aws.template_dashboard import dashboard_resource
from tallystream.aws.template_function import StackSettings, allow, function_resources
from tallystream.aws.template_pages import pages_outputs, pages_resources
from tallystream.core.alarm import Actions
from tallystream.core.channel import EmailChannel
from tallystream.core.definition import Definition
from tallystream.core.errors import DefinitionError, Problem, TallystreamError
from tallystream.core.window import UNITS_MS, format_duration

RESOURCES_MAX: Final = 500
TEMPLATE_BYTES_MAX: Final = 1_000_000  # from a bucket; 51,200 within a request

# Lambda hands over at most 10,000 records, and no more than fit 6 MB of payload, which are about 7,000 of 847 bytes. So the
# payload ends a batch, not this number, except where records are small; a smaller one only makes more invocations and writes.
STREAM_BATCH_RECORDS: Final = 10_000
TABLE_BATCH_RECORDS: Final = 1_000  # a change carries two images of a row; a batch becomes a few PutMetricData

_HOUR_MS: Final = UNITS_MS["h"]
# Of the table's items only cells have a count, and what expires has no new image: all else costs no invocation.
_CHANGED_CELLS: Final = json.dumps({"dynamodb": {"NewImage": {"count": {"N": [{"exists": True}]}}}})
_GIVING_UP: Final = allow(["sqs:SendMessage"], attribute("FailedBatches", "Arn"))
_RETENTION_HOURS_MIN: Final = 24  # of Kinesis


SETTINGS: Final = "Tallystream"
"""Where in a template's metadata its settings are, for whoever deploys the stack again."""


class Stack(NamedTuple):
    """A template, and what it leaves out of the definition: a sentence for each."""

    template: dict[str, Any]
    warnings: tuple[str, ...]


class TemplateError(TallystreamError):
    """A definition makes a template that CloudFormation would not take."""


def make_stack(definition: Definition, settings: StackSettings) -> Stack:
    """
    Return the stack that counts a definition on AWS.

    Raises:
        DefinitionError: the definition asks for what the AWS plane cannot do and stay right.
        TemplateError: it has too many alarms for one stack.
    """
    if problems := list(_check(definition)):
        raise DefinitionError(problems)
    topics = {channel.name: channel for channel in definition.channels if isinstance(channel, EmailChannel)}
    topic_ids = {name: logical_id("Topic", name) for name in topics}
    alarms = alarm_resources(definition, topic_ids)
    operational = operational_alarm_resources(list(topic_ids.values()))
    resources: dict[str, Resource] = {
        "Stream": _stream(definition),
        "Table": _table(),
        "FailedBatches": {
            "Type": "AWS::SQS::Queue",
            "UpdateReplacePolicy": "Retain",
            "DeletionPolicy": "Delete",
            "Properties": {"MessageRetentionPeriod": 14 * 86_400},
        },
        **function_resources("Count", "count", _count_permissions(), {}, settings),
        **function_resources("Publish", "publish", _publish_permissions(), {"TALLY_NAMESPACE": namespace()}, settings),
        "CountSource": _event_source("Count", attribute("Stream", "Arn"), STREAM_BATCH_RECORDS, settings),
        "PublishSource": _event_source("Publish", attribute("Table", "StreamArn"), TABLE_BATCH_RECORDS, settings),
    }
    if settings.dashboard:
        resources |= pages_resources(settings)
    for name, channel in topics.items():
        resources |= _topic(channel, topic_ids[name])
    resources |= alarms.resources | operational
    resources["Dashboard"] = dashboard_resource(definition, [*alarms.resources, *operational])
    template = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Tallystream: {definition.name}",
        "Metadata": {SETTINGS: msgspec.to_builtins(settings)},
        "Parameters": {
            "CodeBucket": {"Type": "String", "Description": "Bucket that holds the package of the functions."},
            "CodeKey": {"Type": "String", "Description": "Key of the package in that bucket; tally aws package writes it."},
        },
        "Resources": resources,
        "Outputs": _outputs() | (pages_outputs() if settings.dashboard else {}),
    }
    _check_size(template)
    return Stack(template, (*_stream_warnings(definition), *_channel_warnings(definition), *alarms.warnings))


def render(template: dict[str, Any]) -> str:
    """Return a template as the text of a file."""
    return json.dumps(template, indent=2, ensure_ascii=False) + "\n"


def retention_hours(definition: Definition) -> int:
    """Return how long the Kinesis stream keeps records: the definition's retention in whole hours, at least a day."""
    return max(_RETENTION_HOURS_MIN, -(-definition.stream.retention_ms // _HOUR_MS))


# The resources.


def _stream(definition: Definition) -> Resource:
    return {
        "Type": "AWS::Kinesis::Stream",
        # What is not counted yet is nowhere else.
        "UpdateReplacePolicy": "Retain",
        "DeletionPolicy": "Delete",
        "Properties": {
            "ShardCount": definition.stream.shards,
            "RetentionPeriodHours": retention_hours(definition),
            "StreamModeDetails": {"StreamMode": "PROVISIONED"},
            "StreamEncryption": {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"},
        },
    }


def _table() -> Resource:
    return {
        "Type": "AWS::DynamoDB::Table",
        "UpdateReplacePolicy": "Retain",
        "DeletionPolicy": "Delete",
        "Properties": {
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
            "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
        },
    }


def _event_source(name: str, stream: Resource, records_max: int, settings: StackSettings) -> Resource:
    return {
        "Type": "AWS::Lambda::EventSourceMapping",
        "Properties": {
            "EventSourceArn": stream,
            "FunctionName": ref(f"{name}Function"),
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": records_max,
            "MaximumBatchingWindowInSeconds": settings.batch_window_s,
            # Rows have a high-water mark for each shard: only one batch of a shard at a time keeps it in order.
            "ParallelizationFactor": 1,
            # A batch that is given up is not counted, so none is, as long as the stream still has it.
            "MaximumRetryAttempts": -1,
            "MaximumRecordAgeInSeconds": -1,
            "BisectBatchOnFunctionError": False,
            "DestinationConfig": {"OnFailure": {"Destination": attribute("FailedBatches", "Arn")}},
            **({} if name == "Count" else {"FilterCriteria": {"Filters": [{"Pattern": _CHANGED_CELLS}]}}),
        },
    }


def _topic(channel: EmailChannel, topic_id: str) -> dict[str, Resource]:
    resources: dict[str, Resource] = {
        topic_id: {
            "Type": "AWS::SNS::Topic",
            "Properties": {"DisplayName": substitute(f"${{AWS::StackName}} {channel.name}")},
        }
    }
    for address in channel.to:
        resources[logical_id(f"{topic_id}To", address)] = {
            "Type": "AWS::SNS::Subscription",
            "Properties": {"TopicArn": {"Ref": topic_id}, "Protocol": "email", "Endpoint": address},
        }
    return resources


# What each function may do.


def _count_permissions() -> list[Resource]:
    return [
        _GIVING_UP,
        allow(
            [
                "kinesis:DescribeStream",
                "kinesis:DescribeStreamSummary",
                "kinesis:GetRecords",
                "kinesis:GetShardIterator",
                "kinesis:ListShards",
            ],
            attribute("Stream", "Arn"),
        ),
        allow(
            ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"],
            attribute("Table", "Arn"),
        ),
    ]


def _publish_permissions() -> list[Resource]:
    return [
        _GIVING_UP,
        allow(
            ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"],
            attribute("Table", "StreamArn"),
        ),
        # Lambda looks for the stream among those of the table before it reads it.
        allow(["dynamodb:ListStreams"], substitute("${Table.Arn}/stream/*")),
        allow(["dynamodb:Query"], attribute("Table", "Arn")),
        # AWS grants it on every resource or none; the namespace is what bounds it.
        allow(["cloudwatch:PutMetricData"], "*") | {"Condition": {"StringEquals": {"cloudwatch:namespace": namespace()}}},
    ]


def _outputs() -> dict[str, Any]:
    console = "https://${AWS::Region}.console.aws.amazon.com/cloudwatch/home?region=${AWS::Region}#dashboards:name=${Dashboard}"
    return {
        "StreamName": {"Description": "Send events here.", "Value": ref("Stream")},
        "StreamArn": {"Description": "For the policy of whoever sends events.", "Value": attribute("Stream", "Arn")},
        "TableName": {"Description": "The counters.", "Value": ref("Table")},
        "FailedBatchesUrl": {"Description": "Which batches were given up.", "Value": ref("FailedBatches")},
        "Dashboard": {"Description": "The counters as charts.", "Value": substitute(console)},
    }


# What the AWS plane cannot do.


def _check(definition: Definition) -> Iterator[Problem]:
    if definition.stream.event_id is not None:
        yield Problem(
            "stream.event_id",
            f'"{definition.stream.event_id}"',
            "no event_id on AWS: an event that is sent twice may reach two shards, which are counted apart from each other",
            "remove it from the definition for AWS; a batch that AWS delivers twice is counted once without it",
        )
    hours = retention_hours(definition)
    for counter in definition.counters:
        if counter.keep_ms is not None and counter.keep_ms <= hours * _HOUR_MS:
            yield Problem(
                f'counter "{counter.name}".keep',
                f'"{format_duration(counter.keep_ms)}"',
                f"on AWS, longer than {format_duration(hours * _HOUR_MS)}, for which Kinesis keeps records: "
                "a row that goes earlier takes along the mark that keeps a repeated batch from counting twice",
                "keep rows longer",
            )


def _check_size(template: dict[str, Any]) -> None:
    count = len(template["Resources"])
    size = len(render(template).encode())
    for found, limit, unit in ((count, RESOURCES_MAX, "resources"), (size, TEMPLATE_BYTES_MAX, "bytes")):
        if found > limit:
            raise TemplateError(
                f"the template has {found:,} {unit}, and CloudFormation takes at most {limit:,}; "
                "divide the alarms among several definitions, each with a stack of its own"
            )


def _stream_warnings(definition: Definition) -> Iterator[str]:
    hours = retention_hours(definition)
    if hours * _HOUR_MS != definition.stream.retention_ms:
        yield (
            f"stream.retention: {format_duration(definition.stream.retention_ms)} becomes {hours} hours; "
            "Kinesis keeps records for whole hours, at least 24"
        )
    if definition.browser is not None:
        yield "browser: left out; web pages cannot send to Kinesis themselves, so send events from your own servers"
    for mute in definition.mutes:
        yield f'mute "{mute.name}": left out; the alarms notify at all times'


def _channel_warnings(definition: Definition) -> Iterator[str]:
    told = {name for alarm in definition.alarms for name in _told(alarm.actions)}
    for channel in definition.channels:
        key = f'notify "{channel.name}"'
        if not isinstance(channel, EmailChannel):
            kind = channel.__struct_config__.tag
            yield f"{key}: left out; on AWS, SNS sends the notifications, which here are e-mail alone, not {kind}"
        elif channel.name in told and channel.group_wait_ms:
            yield f"{key}: group_wait is left out; SNS sends a message for each alarm at once"
    if not any(isinstance(channel, EmailChannel) for channel in definition.channels):
        yield 'nobody is told when the stack itself fails: add a [[notify]] of type "email"'


def _told(actions: Actions) -> tuple[str, ...]:
    return (*actions.alarm, *actions.ok, *actions.insufficient_data)
