"""What a stack costs a month, before there is one: from the definition, a load, and assumptions that are said along with it."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from tallystream.aws.prices import AS_OF, PRICES, Prices
from tallystream.aws.template import STREAM_BATCH_RECORDS, TABLE_BATCH_RECORDS, make_stack, retention_hours
from tallystream.aws.template_function import StackSettings
from tallystream.core.definition import Counter, Definition
from tallystream.core.errors import TallystreamError

HOURS: Final = 730.0  # of a month
SECONDS: Final = HOURS * 3_600

_PAYLOAD_BYTES: Final = 6_000_000
_RECORD_OVERHEAD_BYTES: Final = 350  # of a record in Lambda's payload: sequence number, ARN and the rest of its envelope
_PUT_UNIT_BYTES: Final = 25_000
_SHARD_RECORDS_S: Final = 1_000
_SHARD_BYTES_S: Final = 1_000_000
_RECORD_BYTES_MAX: Final = 1_000_000

# What was assumed of the work; `assumptions` says so.
_VCPU_MB: Final = 1_769  # of memory come with one processor
_INVOCATION_S: Final = 0.004
_EVENT_CPU_S: Final = 0.000_006
_WRITE_CPU_S: Final = 0.000_3
_WRITE_S: Final = 0.006
_WRITES_AT_ONCE: Final = 8
_ROW_BYTES: Final = 300
_TABLE_SHARDS: Final = 4
_LOG_BYTES: Final = 600  # of an invocation


class Load(NamedTuple):
    """What a stack has to do."""

    events_per_second: float
    event_bytes: int = 500
    events_per_record: int = 1  # that a producer packs into a record, one a line
    groups: int = 10  # of each counter with group_by, that occur in any window


class Charge(NamedTuple):
    """A line of the bill."""

    service: str
    what: str
    quantity: float  # a month
    dollars: float


class Estimate(NamedTuple):
    """A month's bill, what it was assumed with, and what does not fit."""

    charges: tuple[Charge, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def dollars(self) -> float:
        """The sum."""
        return sum(charge.dollars for charge in self.charges)


class CostError(TallystreamError):
    """There is nothing to estimate with."""


class _Flow(NamedTuple):
    """How much of what happens, a second or in all."""

    shards: int
    events_s: float
    records_s: float
    record_bytes: int
    invocations_s: float
    writes_s: float
    publications_s: float  # invocations of the publish function
    totals_s: float  # windows read and published
    metrics: float


def estimate(definition: Definition, load: Load, settings: StackSettings, region: str) -> Estimate:
    """
    Return what a month costs, by service.

    Raises:
        CostError: no prices of the region are known, or the load is none.
        DefinitionError, TemplateError: as `make_stack` does.
    """
    if region not in PRICES:
        raise CostError(f"no prices of {region} are known; choose one of {', '.join(PRICES)}, which are near")
    if load.event_bytes * load.events_per_record > _RECORD_BYTES_MAX:
        raise CostError(
            f"{load.events_per_record:,} events of {load.event_bytes:,} bytes do not fit a record of 1 MB; "
            f"pack at most {max(1, _RECORD_BYTES_MAX // load.event_bytes):,}"
        )
    flow = _flow(definition, load, settings)
    charges = tuple(_charges(definition, load, settings, flow, PRICES[region]))
    return Estimate(charges, tuple(_assumptions(load, settings, region)), tuple(_warnings(definition, load, flow)))


def _flow(definition: Definition, load: Load, settings: StackSettings) -> _Flow:
    records_s = load.events_per_second / load.events_per_record
    record_bytes = load.event_bytes * load.events_per_record
    needed = max(math.ceil(records_s / _SHARD_RECORDS_S), math.ceil(records_s * record_bytes / _SHARD_BYTES_S))
    shards = max(definition.stream.shards, needed)
    per_shard_s = records_s / shards
    fit = _PAYLOAD_BYTES / (record_bytes * 4 / 3 + _RECORD_OVERHEAD_BYTES)
    batch = min(max(per_shard_s * settings.batch_window_s, 1), STREAM_BATCH_RECORDS, fit)
    invocations_s = records_s / batch
    rows = sum(_touched(counter, batch * load.events_per_record, load) for counter in definition.counters)
    writes_s = invocations_s * (rows + 1)  # and the ledger
    # The change streams of the table's partitions are read as the stream is: a batch waits for more, up to its size.
    changes_s = invocations_s * rows
    publications_s = changes_s / min(max(changes_s / _TABLE_SHARDS * settings.batch_window_s, 1), TABLE_BATCH_RECORDS)
    together = load.events_per_second / publications_s if publications_s else 0
    totals = sum(_touched(counter, together, load) for counter in definition.counters)
    metrics = sum(_groups(counter, load) * len(counter.windows_ms) * len(counter.measures) for counter in definition.counters)
    return _Flow(
        shards,
        load.events_per_second,
        records_s,
        record_bytes,
        invocations_s,
        writes_s,
        publications_s,
        min(publications_s * totals, changes_s),
        metrics,
    )


def _groups(counter: Counter, load: Load) -> int:
    return load.groups if counter.group_by else 1


def _touched(counter: Counter, events: float, load: Load) -> float:
    """Return how many rows of a counter some events touch: of each window size, each group that is among them."""
    groups = _groups(counter, load)
    return groups * (1 - (1 - 1 / groups) ** events) * len(counter.windows_ms) if groups > 1 else len(counter.windows_ms)


def _charges(definition: Definition, load: Load, settings: StackSettings, flow: _Flow, prices: Prices) -> Iterator[Charge]:
    yield from _kinesis(definition, flow, prices)
    yield from _functions(settings, flow, prices)
    writes, reads = flow.writes_s * SECONDS, flow.totals_s * SECONDS
    yield Charge("DynamoDB", "writes of rows", writes, writes / 1e6 * prices.dynamodb_write_million)
    yield Charge("DynamoDB", "reads of totals", reads, reads / 1e6 * prices.dynamodb_read_million)
    gb = _stored_bytes(definition, load, flow.shards) / 1e9
    yield Charge("DynamoDB", "GB stored", gb, gb * prices.dynamodb_storage_gb_month)
    yield from _cloudwatch(definition, settings, flow, prices)
    if settings.dashboard:
        yield Charge("Secrets Manager", "secrets", 1, prices.secret)


def _kinesis(definition: Definition, flow: _Flow, prices: Prices) -> Iterator[Charge]:
    hours = flow.shards * HOURS
    yield Charge("Kinesis", "shard hours", hours, hours * prices.kinesis_shard_hour)
    units = flow.records_s * SECONDS * math.ceil(flow.record_bytes / _PUT_UNIT_BYTES)
    yield Charge("Kinesis", "PUT units", units, units / 1e6 * prices.kinesis_put_unit_million)
    kept_hours = retention_hours(definition)
    if kept_hours > 24:
        yield Charge("Kinesis", "shard hours of a longer retention", hours, hours * prices.kinesis_extended_shard_hour)
    if kept_hours > 168:
        gb = flow.records_s * flow.record_bytes * (kept_hours - 168) * 3_600 / 1e9
        yield Charge("Kinesis", "GB kept for over a week", gb, gb * prices.kinesis_long_term_gb_month)


def _functions(settings: StackSettings, flow: _Flow, prices: Prices) -> Iterator[Charge]:
    invocations = (flow.invocations_s + flow.publications_s) * SECONDS
    yield Charge("Lambda", "invocations", invocations, invocations / 1e6 * prices.lambda_request_million)
    processors = min(settings.memory_mb / _VCPU_MB, 1)
    busy_s = (
        (flow.invocations_s + flow.publications_s) * _INVOCATION_S
        + flow.events_s * _EVENT_CPU_S / processors
        + (flow.writes_s + flow.totals_s) * max(_WRITE_CPU_S / processors, _WRITE_S / _WRITES_AT_ONCE)
    )
    gb_seconds = busy_s * SECONDS * settings.memory_mb / 1_024
    price = prices.lambda_arm64_gb_second if settings.architecture == "arm64" else prices.lambda_x86_64_gb_second
    yield Charge("Lambda", "GB-seconds", gb_seconds, gb_seconds * price)


def _cloudwatch(definition: Definition, settings: StackSettings, flow: _Flow, prices: Prices) -> Iterator[Charge]:
    left, dollars = flow.metrics, 0.0
    for count, price in prices.cloudwatch_metric_tiers:
        dollars += min(left, count) * price
        left -= min(left, count)
    yield Charge("CloudWatch", "metrics", flow.metrics, dollars)
    requests = max(flow.publications_s, flow.totals_s / 1_000) * SECONDS
    yield Charge("CloudWatch", "PutMetricData requests", requests, requests / 1e3 * prices.cloudwatch_put_thousand)
    resources = make_stack(definition, settings).template["Resources"].values()
    alarms = [each["Properties"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    fine = sum(alarm["Period"] < 60 for alarm in alarms)
    composite = sum(each["Type"] == "AWS::CloudWatch::CompositeAlarm" for each in resources)
    alarm_dollars = (
        (len(alarms) - fine) * prices.cloudwatch_alarm
        + fine * prices.cloudwatch_fine_alarm
        + composite * prices.cloudwatch_composite_alarm
    )
    yield Charge("CloudWatch", "alarms", len(alarms) + composite, alarm_dollars)
    yield Charge("CloudWatch", "dashboard", 1, prices.cloudwatch_dashboard)
    gb = (flow.invocations_s + flow.publications_s) * SECONDS * _LOG_BYTES / 1e9
    yield Charge("CloudWatch", "GB of logs", gb, gb * prices.cloudwatch_logs_gb)


def _stored_bytes(definition: Definition, load: Load, shards: int) -> float:
    """Return what the rows take once the first have expired, or after a month where none do."""
    month_ms = SECONDS * 1_000
    rows = sum(
        (counter.keep_ms or month_ms) / window_ms * _groups(counter, load) * shards
        for counter in definition.counters
        for window_ms in counter.windows_ms
    )
    return rows * _ROW_BYTES


def _assumptions(load: Load, settings: StackSettings, region: str) -> Iterator[str]:
    yield f"prices of {region}, on demand, as of {AS_OF}, without free tiers, taxes and discounts"
    packed = f"{load.events_per_record:,} in a record"
    yield f"{load.events_per_second:,g} events/s day and night, of {load.event_bytes:,} bytes, {packed}"
    yield f"{load.groups:,} groups of each counter with group_by in each window, all equally frequent"
    yield f"functions of {settings.memory_mb} MB on {settings.architecture}; batches wait for {settings.batch_window_s} s"
    yield f"events come in order of time, so a batch touches one window of each size; a row takes {_ROW_BYTES} bytes"
    yield "rows of counters without keep are counted as stored after one month"
    yield "not in it: sending events, data transfer, SNS mails, key requests of the stream's encryption, reading the table"
    if settings.dashboard:
        yield "nor is what the dashboard costs while it is looked at: a request every 5 s for each page, a query for each group"


def _warnings(definition: Definition, load: Load, flow: _Flow) -> Iterator[str]:
    if flow.shards > definition.stream.shards:
        yield (
            f"stream.shards: {definition.stream.shards} take less than this load; the estimate is with {flow.shards}. "
            "Packing events into records, several lines in each, needs fewer"
        )
    if load.events_per_record == 1 and flow.records_s >= 100:
        yield "a record for each event; packing 100 events into a record makes Kinesis and Lambda far cheaper"
