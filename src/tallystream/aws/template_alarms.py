"""
The alarms of a stack: one in CloudWatch for each of the definition that it can express, and some on the stack itself.

What CloudWatch cannot do, or does in another way, is a warning: an alarm must never be missing, or late, unnoticed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tallystream.aws.cloudformation import Resource, attribute, in_stack, logical_id, namespace, ref, substitute
from tallystream.aws.metric import dimensions, metric_name, statistic
from tallystream.core.alarm import (
    Actions,
    Alarm,
    Band,
    CompositeAlarm,
    CounterSource,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    SystemSource,
)
from tallystream.core.composite import All, Name, Node, Not, evaluation_order, parse_rule
from tallystream.core.definition import Definition
from tallystream.core.window import format_duration

ACTIONS_MAX: Final = 5  # of a state

_OPERATORS: Final = {
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
}

# Of these lengths CloudWatch judges windows as we count them, aligned and over. Of any other it slides along.
_ALIGNED_S: Final = (60, 300, 3_600, 86_400)

# A breach of these that a window shows while it fills, nothing undoes: where wait = "early" tells before the window's end.
_IRREVOCABLE: Final = ((">", "count"), (">", "max"), ("<", "min"))

_ITERATOR_AGE_MS_MAX: Final = 60_000


class Alarms(NamedTuple):
    """The alarms by logical id, and what is left out of the definition: a sentence for each."""

    resources: dict[str, Resource]
    warnings: tuple[str, ...]


def alarm_resources(definition: Definition, topics: Mapping[str, str]) -> Alarms:
    """
    Return the CloudWatch alarms of a definition.

    Args:
        definition: whose alarms they are.
        topics: name of a channel → logical id of its topic; the other channels cannot be told.
    """
    resources: dict[str, Resource] = {}
    warnings: list[str] = []
    ids: dict[str, str] = {}
    for alarm in _in_order(definition.alarms):
        key = f'alarm "{alarm.name}"'
        missing = _missing(alarm, ids)
        if missing:
            warnings.append(f"{key}: left out; {missing}")
            continue
        ids[alarm.name] = alarm_id = logical_id("Alarm", alarm.name)
        shared = {"AlarmName": in_stack(alarm.name), **_description(alarm.description), **_actions(alarm.actions, topics)}
        if isinstance(alarm, CompositeAlarm):
            rule = parse_rule(alarm.when)
            resources[alarm_id] = {
                "Type": "AWS::CloudWatch::CompositeAlarm",
                "DependsOn": sorted(ids[name] for name in rule.names),
                "Properties": {**shared, "AlarmRule": substitute(_rule(rule.tree))},
            }
        else:
            resources[alarm_id] = {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {**shared, **_metric(alarm, definition)},
            }
            warnings += [f"{key}: {warning}" for warning in _inexact(alarm)]
        untold = sorted({name for name in _told(alarm.actions) if name not in topics})
        warnings += [f"{key}: does not notify {', '.join(untold)}"] if untold else []
    return Alarms(resources, tuple(warnings))


def operational_alarm_resources(topic_ids: Sequence[str]) -> dict[str, Resource]:
    """
    Return the alarms on the stack itself: counting that lags or fails, batches that were given up.

    Args:
        topic_ids: logical ids of the topics to tell; of more than five, the first five.
    """
    resources: dict[str, Resource] = {}
    for function in ("Count", "Publish"):
        of = [{"Name": "FunctionName", "Value": ref(f"{function}Function")}]
        word = function.lower()
        lag = f"The {word} function is more than a minute behind: numbers and alarms are late, but nothing is lost."
        failing = f"The {word} function raises errors: its batches are tried again until they pass. See its log group."
        throttled = f"The {word} function is throttled: raise the account's limit of concurrent executions."
        resources |= {
            f"{function}IteratorAge": _operational(
                f"{word}-iterator-age", lag, "AWS/Lambda", "IteratorAge", of, "Maximum", _ITERATOR_AGE_MS_MAX, periods=5
            ),
            f"{function}Errors": _operational(
                f"{word}-errors", failing, "AWS/Lambda", "Errors", of, "Sum", 0, periods=5, to_alarm=3
            ),
            f"{function}Throttles": _operational(
                f"{word}-throttles", throttled, "AWS/Lambda", "Throttles", of, "Sum", 0, periods=5, to_alarm=3
            ),
        }
    given_up = "Batches were given up: the stream no longer had their records, and they are not counted."
    queue = [{"Name": "QueueName", "Value": attribute("FailedBatches", "QueueName")}]
    metric = "ApproximateNumberOfMessagesVisible"
    resources["FailedBatchesAlarm"] = _operational("failed-batches", given_up, "AWS/SQS", metric, queue, "Maximum", 0)
    full = "Senders are refused: the stream's shards are full. Raise stream.shards."
    stream = [{"Name": "StreamName", "Value": ref("Stream")}]
    metric = "WriteProvisionedThroughputExceeded"
    resources["StreamFull"] = _operational("stream-full", full, "AWS/Kinesis", metric, stream, "Sum", 0, periods=5, to_alarm=3)
    told = [ref(topic_id) for topic_id in topic_ids[:ACTIONS_MAX]]
    for resource in resources.values():
        resource["Properties"] |= {"AlarmActions": told, "OKActions": told} if told else {}
    return resources


def _in_order(alarms: Sequence[Alarm]) -> Iterator[Alarm]:
    """Yield the alarms so that each composite one comes after those that it reads."""
    composites = {alarm.name: alarm for alarm in alarms if isinstance(alarm, CompositeAlarm)}
    yield from (alarm for alarm in alarms if isinstance(alarm, MetricAlarm))
    yield from (
        composites[name] for name in evaluation_order({name: parse_rule(each.when) for name, each in composites.items()})
    )


def _missing(alarm: Alarm, ids: Mapping[str, str]) -> str | None:
    """Return why CloudWatch cannot express an alarm; None if it can."""
    if isinstance(alarm, CompositeAlarm):
        left_out = sorted(parse_rule(alarm.when).names - set(ids))
        return f"it reads {', '.join(left_out)}, which {'is' if len(left_out) == 1 else 'are'} left out" if left_out else None
    if isinstance(alarm.source, SystemSource):
        return f"{alarm.source.metric} is measured on one machine alone; the stack has alarms of its own on lag and errors"
    if isinstance(alarm.condition, RelativeThreshold):
        return "CloudWatch cannot compare with the past; use a threshold"
    if isinstance(alarm.condition, Band):
        return "CloudWatch learns bands in another way; use a threshold"
    if alarm.source.group is None:
        return 'CloudWatch has no alarm for each group, as group_by = "each" asks; write an alarm for each that matters'
    return None


def _inexact(alarm: MetricAlarm) -> Iterator[str]:
    """Yield in what a CloudWatch alarm differs from the definition's."""
    source, condition = alarm.source, alarm.condition
    assert isinstance(source, CounterSource)
    assert isinstance(condition, FixedThreshold)
    window, function = format_duration(source.window_ms), source.measure.partition("(")[0]
    if condition.clear != condition.value:
        yield "clear_threshold is left out; CloudWatch has one threshold for both ways"
    if alarm.delay_ms:
        yield "delay is left out; CloudWatch decides itself when a window is complete"
    if source.window_ms // 1_000 not in _ALIGNED_S:
        yield (
            f"windows of {window} are judged while they fill, so it may breach or clear too early; "
            "with 1m, 5m, 1h or 1d CloudWatch judges whole windows"
        )
    elif alarm.wait == "early" and source.window_ms > 60_000 and (condition.comparison[0], function) in _IRREVOCABLE:
        yield f'it waits for the end of a window of {window}; CloudWatch has no wait = "early"'
    match function:
        case "sum":
            yield f"{source.measure} is the largest sum that a window had while it filled: right unless amounts are negative"
        case "mean":
            yield f"{source.measure} is only near: CloudWatch averages what was published while the window filled"


def _metric(alarm: MetricAlarm, definition: Definition) -> Resource:
    source, condition = alarm.source, alarm.condition
    assert isinstance(source, CounterSource)
    assert isinstance(condition, FixedThreshold)
    assert source.group is not None
    period_s = source.window_ms // 1_000
    return {
        "Namespace": namespace(),
        "MetricName": metric_name(source.counter, source.measure, source.window_ms),
        "Dimensions": dimensions(definition.counter(source.counter).group_by, source.group),
        "Statistic": statistic(source.measure),
        "Period": period_s,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints_to_alarm,
        "ComparisonOperator": _OPERATORS[condition.comparison],
        "Threshold": float(condition.value),
        "TreatMissingData": alarm.treat_missing_data,
        **({"EvaluationWindow": {"WallClockWindow": {"Timezone": "UTC"}}} if period_s in _ALIGNED_S else {}),
    }


def _description(text: str) -> Resource:
    return {"AlarmDescription": text} if text else {}


def _actions(actions: Actions, topics: Mapping[str, str]) -> Resource:
    of_state = {
        "AlarmActions": actions.alarm,
        "OKActions": actions.ok,
        "InsufficientDataActions": actions.insufficient_data,
    }
    told = {key: [ref(topics[name]) for name in names if name in topics] for key, names in of_state.items()}
    return {key: refs for key, refs in told.items() if refs}


def _rule(node: Node) -> str:
    """Return a rule as CloudWatch writes it, for Fn::Sub."""
    match node:
        case Name(name):
            return f'ALARM("${{AWS::StackName}}/{name}")'
        case Not(inner):
            return f"NOT ({_rule(inner)})"
    return f" {'AND' if isinstance(node, All) else 'OR'} ".join(f"({_rule(part)})" for part in node.parts)


def _operational(
    name: str,
    description: str,
    metrics_of: str,
    metric: str,
    of: list[Resource],
    statistic_name: str,
    limit: int,
    periods: int = 1,
    to_alarm: int | None = None,
) -> Resource:
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            # A definition's alarm has no slash in its name, so the two never meet.
            "AlarmName": in_stack(f"stack/{name}"),
            "AlarmDescription": description,
            "Namespace": metrics_of,
            "MetricName": metric,
            "Dimensions": of,
            "Statistic": statistic_name,
            "Period": 60,
            "EvaluationPeriods": periods,
            "DatapointsToAlarm": to_alarm or periods,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": limit,
            "TreatMissingData": "notBreaching",
        },
    }


def _told(actions: Actions) -> tuple[str, ...]:
    return (*actions.alarm, *actions.ok, *actions.insufficient_data)
