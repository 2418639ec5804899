"""The CloudWatch dashboard of a stack: how the pipeline does, the alarms, and a widget for each counter and measure."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tallystream.aws.cloudformation import Resource, literal, substitute
from tallystream.aws.metric import dimension_name, metric_name, statistic
from tallystream.core.definition import Counter, Definition, Measure
from tallystream.core.window import format_duration

WIDGETS_MAX: Final = 500
ALARMS_MAX: Final = 100  # of an alarm widget

_COLUMNS: Final = 24
_HALF: Final = 12
_QUARTER: Final = 6
_HEIGHT: Final = 6
_PERIODS_S: Final = (60, 30, 20, 10, 5, 1)  # that a chart may have; above a minute, whole minutes


def dashboard_resource(definition: Definition, alarm_ids: Sequence[str]) -> Resource:
    """
    Return the dashboard.

    Args:
        definition: whose counters are shown, each in its smallest window.
        alarm_ids: logical ids of the alarms whose states are shown.
    """
    widgets = [*_pipeline_widgets(), _alarm_widget(alarm_ids), *_counter_widgets(definition)][:WIDGETS_MAX]
    body = json.dumps({"widgets": _laid_out(widgets)}, ensure_ascii=False, separators=(",", ":"))
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": {"Ref": "AWS::StackName"}, "DashboardBody": substitute(body)},
    }


def _counter_widgets(definition: Definition) -> Iterator[dict[str, Any]]:
    for counter in definition.counters:
        for measure in counter.measures:
            yield _counter_widget(counter, measure)


def _counter_widget(counter: Counter, measure: Measure) -> dict[str, Any]:
    window_ms = counter.windows_ms[0]
    name = literal(metric_name(counter.name, measure.name, window_ms))
    period_s = _period_s(window_ms)
    namespace = "Tallystream/${AWS::StackName}"
    metrics: list[Any]
    if counter.group_by:
        schema = ",".join(f'"{literal(part)}"' for part in map(dimension_name, counter.group_by))
        search = f"SEARCH('{{\"{namespace}\",{schema}}} MetricName=\"{name}\"', '{statistic(measure.name)}', {period_s})"
        metrics = [[{"expression": search, "id": "groups"}]]
    else:
        metrics = [[namespace, name, {"label": counter.name}]]
    return _chart(
        literal(f"{counter.name}: {measure.name} in windows of {format_duration(window_ms)}"),
        metrics,
        statistic(measure.name),
        period_s,
        _HALF,
    )


def _pipeline_widgets() -> Iterator[dict[str, Any]]:
    functions = ("Count", "Publish")
    age = [["AWS/Lambda", "IteratorAge", "FunctionName", f"${{{name}Function}}", {"label": name}] for name in functions]
    yield _chart("How far behind, in ms", age, "Maximum", 60, _QUARTER)
    records = [["AWS/Kinesis", "IncomingRecords", "StreamName", "${Stream}", {"label": "records"}]]
    yield _chart("Records sent", records, "Sum", 60, _QUARTER)
    failed = [
        ["AWS/Lambda", metric, "FunctionName", f"${{{name}Function}}", {"label": f"{name} {metric.lower()}"}]
        for name in functions
        for metric in ("Errors", "Throttles")
    ]
    yield _chart("Errors and throttles", failed, "Sum", 60, _QUARTER)


def _alarm_widget(alarm_ids: Sequence[str]) -> dict[str, Any]:
    arns = [f"${{{alarm_id}.Arn}}" for alarm_id in alarm_ids[:ALARMS_MAX]]
    return {"type": "alarm", "width": _QUARTER, "height": _HEIGHT, "properties": {"title": "Alarms", "alarms": arns}}


def _chart(title: str, metrics: list[Any], stat: str, period_s: int, width: int) -> dict[str, Any]:
    return {
        "type": "metric",
        "width": width,
        "height": _HEIGHT,
        "properties": {
            "title": title,
            "region": "${AWS::Region}",
            "view": "timeSeries",
            "metrics": metrics,
            "stat": stat,
            "period": period_s,
            "liveData": True,  # the newest window is shown while it fills
        },
    }


def _laid_out(widgets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the widgets with their places: from the left, a new row where one is full."""
    placed: list[dict[str, Any]] = []
    x = y = 0
    for widget in widgets:
        if x + widget["width"] > _COLUMNS:
            x, y = 0, y + _HEIGHT
        placed.append({"x": x, "y": y, **widget})
        x += widget["width"]
    return placed


def _period_s(window_ms: int) -> int:
    """Return the longest period of a chart that windows of a length fall into one by one."""
    window_s = window_ms // 1_000
    return window_s if window_s % 60 == 0 else next(period_s for period_s in _PERIODS_S if window_s % period_s == 0)
