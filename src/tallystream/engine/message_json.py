"""What a message says, for programs: the JSON that SNS sends of a CloudWatch alarm, field by field."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from tallystream.core.alarm import (
    Actions,
    Alarm,
    Band,
    Comparison,
    CompositeAlarm,
    CounterSource,
    FixedThreshold,
    MetricAlarm,
    Transition,
)
from tallystream.core.definition import Definition
from tallystream.engine.message import group_fields, value_text
from tallystream.ports.alarms import HistoryItem, Message

ACCOUNT: Final = "000000000000"
"""Stands where AWS writes an account's number."""

REGION: Final = "local"

_OPERATORS: Final[Mapping[Comparison, str]] = {
    "<": "LessThanThreshold",
    "<=": "LessThanOrEqualToThreshold",
    ">": "GreaterThanThreshold",
    ">=": "GreaterThanOrEqualToThreshold",
}
_BAND_OPERATORS: Final[Mapping[Comparison, str]] = {
    "<": "LessThanLowerThreshold",
    ">": "GreaterThanUpperThreshold",
    "outside": "LessThanLowerOrGreaterThanUpperThreshold",
}
_STATISTICS: Final[Mapping[str, str]] = {
    "count": "SAMPLE_COUNT",
    "sum": "SUM",
    "min": "MINIMUM",
    "max": "MAXIMUM",
    "mean": "AVERAGE",
}

_encode = msgspec.json.Encoder(decimal_format="number").encode


def message_json(message: Message, definition: Definition, configured_ms: Mapping[str, int]) -> bytes:
    """
    Return a message as JSON: of one change of state its SNS alarm JSON, of several {"Alarms": [those, oldest first]}.

    Args:
        message: to be sent.
        definition: with the alarms that it is about.
        configured_ms: alarm → when it was last configured; null is sent for one that is not there.
    """
    alarms = {alarm.name: alarm for alarm in definition.alarms}
    documents = [_document(item, alarms.get(item.key.alarm), definition, configured_ms) for item in message.items]
    return _encode(documents[0] if len(documents) == 1 else {"Alarms": documents})


def _document(
    item: HistoryItem, alarm: Alarm | None, definition: Definition, configured_ms: Mapping[str, int]
) -> dict[str, Any]:
    name, transition = item.key.alarm, item.transition
    assert transition is not None  # a message holds StateUpdates alone
    configured = configured_ms.get(name)
    actions = alarm.actions if alarm else Actions()
    document = {
        "AlarmName": name,
        "AlarmDescription": alarm.description if alarm else "",
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": None if configured is None else _time(configured),
        "NewStateValue": transition.new_state,
        "NewStateReason": transition.reason,
        "StateChangeTime": _time(item.at_ms),
        "Region": REGION,
        "AlarmArn": f"arn:tallystream:alarms:{REGION}:{ACCOUNT}:alarm:{name}",
        "OldStateValue": transition.old_state,
        "OKActions": actions.ok,
        "AlarmActions": actions.alarm,
        "InsufficientDataActions": actions.insufficient_data,
    }
    if isinstance(alarm, CompositeAlarm):  # as CloudWatch does: a rule in place of the trigger
        return document | {"AlarmRule": alarm.when}
    return document | {"Trigger": _trigger(item, transition, alarm, definition) if alarm else None}


def _trigger(item: HistoryItem, transition: Transition, alarm: MetricAlarm, definition: Definition) -> dict[str, Any]:
    source, condition = alarm.source, alarm.condition
    if isinstance(source, CounterSource):
        metric, statistic = f"{source.counter}.{source.measure}", _STATISTICS[source.measure.partition("(")[0]]
    else:
        metric, statistic = source.metric, "AVERAGE"  # the default of CloudWatch for what is a level, not a count
    operators = _BAND_OPERATORS if isinstance(condition, Band) else _OPERATORS
    return {
        "MetricName": metric,
        "Namespace": f"Tallystream/{definition.name}",
        "StatisticType": "Statistic",
        "Statistic": statistic,
        "Unit": None,
        "Dimensions": [
            {"name": field, "value": value_text(value)} for field, value in group_fields(item.key, alarm, definition)
        ],
        "Period": source.window_ms // 1_000,
        "EvaluationPeriods": alarm.evaluation_periods,
        "DatapointsToAlarm": alarm.datapoints_to_alarm,
        "ComparisonOperator": operators[condition.comparison],
        "Threshold": condition.value if isinstance(condition, FixedThreshold) else _newest_bound(transition),
        "TreatMissingData": alarm.treat_missing_data,
        "EvaluateLowSampleCountPercentile": "",
    }


def _newest_bound(transition: Transition) -> Decimal | None:
    """Return what the newest datapoint was compared with; None where that was a band with two sides, or there is none."""
    for datapoint in reversed(transition.datapoints):
        bounds = [bound for bound in (datapoint.lower, datapoint.upper) if bound is not None]
        if bounds:
            return bounds[0] if len(bounds) == 1 else None
    return None


def _time(at_ms: int) -> str:
    """Return a time as SNS writes it: `2026-11-23T10:05:00.000+0000`."""
    return f"{datetime.fromtimestamp(at_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}+0000"
