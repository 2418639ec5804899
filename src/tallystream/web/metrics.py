"""
`/metrics` in Prometheus' text format: the server's own numbers, and the counters themselves.

What the files hold is read when it is asked for. What a worker process measures is its own: with several workers, the
supervisor names a directory in PROMETHEUS_MULTIPROC_DIR before they start, through which prometheus_client adds them up.
"""

import os
import re
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from tallystream.core.alarm import State
from tallystream.core.counting import Ledger, group_values
from tallystream.core.definition import Counter as CounterDefinition
from tallystream.core.group import GroupValue
from tallystream.web.services import Services

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

SERIES_MAX: Final = 2_000
"""Of one counter; the largest are shown, and how many are not."""

ALARM_STATES_MAX: Final = 1_000

_MESSAGES_MAX: Final = 10_000  # undelivered ones, of which there are as many as channels fail for long
_STATE_NUMBERS: Final[Mapping[State, int]] = {"OK": 0, "ALARM": 1, "INSUFFICIENT_DATA": 2}
_COMMIT_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_MULTIPROCESS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, which nobody asks for


class Metrics:
    """What one worker process measures, and the page that shows it together with what is stored, as `stored` collects it."""

    def __init__(self, stored: Collector) -> None:
        self._stored = stored
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "tallystream_http_requests", "HTTP requests answered.", ["route", "method", "status"], registry=self._registry
        )
        self._request_counters: dict[tuple[str, str, int], Counter] = {}
        self.commit_seconds = Histogram(
            "tallystream_commit_seconds",
            "Time from taking a group of requests to having their events on disk.",
            buckets=_COMMIT_BUCKETS_S,
            registry=self._registry,
        )

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count an answered request. `route` and `method` must come from a closed set, not from the client."""
        key = (route, method, status)
        counter = self._request_counters.get(key)
        if counter is None:
            counter = self._request_counters[key] = self._requests.labels(route, method, str(status))
        counter.inc()

    def page(self) -> bytes:
        """Return the whole text. Reads what is stored: not for the event loop. Raises StorageError."""
        stored = CollectorRegistry()
        stored.register(self._stored)
        measured = self._registry
        if _MULTIPROCESS_VARIABLE in os.environ:
            measured = CollectorRegistry()
            MultiProcessCollector(measured)  # type: ignore[no-untyped-call]
        return generate_latest(stored) + generate_latest(measured)


def collect_ledger(ledger: Ledger) -> Iterator[Metric]:
    """Yield how events ended, as metric families."""
    received = CounterMetricFamily("tallystream_events_received", "Events read from the stream, whatever became of them.")
    received.add_metric([], ledger.received)
    yield received
    outcomes = CounterMetricFamily("tallystream_events", "Events by outcome.", labels=["outcome"])
    for outcome, count in ledger._asdict().items():
        if outcome != "received":
            outcomes.add_metric([outcome], count)
    yield outcomes


class StoredMetrics(Collector):
    """What the stream and the counter store hold, as metric families."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def describe(self) -> Iterable[Metric]:
        return []  # or else registering would collect

    def collect(self) -> Iterator[Metric]:
        store, stream = self._services.store, self._services.stream
        yield from collect_ledger(store.ledger())
        positions = store.positions()
        lag = GaugeMetricFamily("tallystream_shard_lag_events", "Events stored and not yet counted.", labels=["shard"])
        for state in stream.shards():
            lag.add_metric([str(state.shard)], max(0, state.next_sequence - positions.get(state.shard, 0)))
        yield lag
        rejected = GaugeMetricFamily("tallystream_rejected_kept_events", "Rejected events kept, by reason.", labels=["reason"])
        for reason, count in store.rejected_reasons().items():
            rejected.add_metric([reason], count)
        yield rejected
        usage = self._services.disk_usage()
        disk = GaugeMetricFamily("tallystream_disk_bytes", "Bytes on disk, by file.", labels=["file"])
        disk.add_metric(["stream"], usage.stream_bytes)
        disk.add_metric(["counters"], usage.counters_bytes)
        yield disk
        free = GaugeMetricFamily("tallystream_disk_free_bytes", "Bytes free where the files are.")
        free.add_metric([], usage.free_bytes)
        yield free
        yield from self._counters()
        yield from self._alarms()

    def _counters(self) -> Iterator[Metric]:
        store = self._services.store
        totals = CounterMetricFamily(
            "tallystream_counter", "Events counted for a group since the counter's present generation began."
        )
        omitted = GaugeMetricFamily(
            "tallystream_counter_series_omitted",
            f"Groups of a counter that are not shown, because it has over {SERIES_MAX}; the largest are.",
            labels=["counter"],
        )
        for counter in self._services.definition.counters:
            counts = store.totals(counter.name)
            groups = store.series(counter.name)
            largest = sorted(counts, key=lambda series_id: (-counts[series_id], series_id))
            shown = label_groups(counter, {id_: groups[id_] for id_ in largest[:SERIES_MAX] if id_ in groups}, counts)
            for labels, count in shown.items():
                totals.add_sample("tallystream_counter_total", dict(labels), count)
            omitted.add_metric([counter.name], max(0, len(largest) - SERIES_MAX))
        yield totals
        yield omitted

    def _alarms(self) -> Iterator[Metric]:
        alarms, definition = self._services.alarms, self._services.definition
        states = GaugeMetricFamily(
            "tallystream_alarm_state",
            "State of an alarm, or of its group: 0 OK, 1 ALARM, 2 INSUFFICIENT_DATA.",
            labels=["alarm", "group"],
        )
        statuses = alarms.statuses()
        # Those in ALARM first, so that they are never among the omitted.
        for key in sorted(statuses, key=lambda key: (statuses[key].state != "ALARM", key))[:ALARM_STATES_MAX]:
            group = ", ".join(map(_label_value, group_values(key.group))) if key.group else ""
            states.add_metric([key.alarm, group], _STATE_NUMBERS[statuses[key].state])
        yield states
        omitted = GaugeMetricFamily(
            "tallystream_alarm_states_omitted",
            f"States that are not shown, because there are over {ALARM_STATES_MAX:,}; those in ALARM come first.",
        )
        omitted.add_metric([], max(0, len(statuses) - ALARM_STATES_MAX))
        yield omitted
        undelivered = GaugeMetricFamily(
            "tallystream_notifications_undelivered",
            "Messages to a channel that failed and wait for another try, or were given up within a day.",
            labels=["channel", "given_up"],
        )
        messages = Counts((each.channel, each.given_up) for each in alarms.undelivered(self._services.now_ms(), _MESSAGES_MAX))
        for channel in definition.channels:
            for given_up in (False, True):
                undelivered.add_metric([channel.name, _label_value(given_up)], messages[channel.name, given_up])
        yield undelivered


Labels = tuple[tuple[str, str], ...]


def label_groups(
    counter: CounterDefinition, groups: Mapping[int, tuple[GroupValue, ...]], counts: Mapping[int, int]
) -> dict[Labels, int]:
    """
    Return label sets → counts.

    Labels are text, group values are typed: groups whose values read the same, such as 1 and "1", are added up.
    """
    names = label_names(counter.group_by)
    shown: dict[Labels, int] = {}
    for series_id, values in groups.items():
        labels = (("counter", counter.name), *zip(names, map(_label_value, values), strict=True))
        shown[labels] = shown.get(labels, 0) + counts[series_id]
    return shown


def label_names(paths: Iterable[str]) -> list[str]:
    """Return a label name for each field path: other characters become `_`; one that is taken already gets a number."""
    taken = {"counter"}
    names = []
    for path in paths:
        stem = re.sub(r"[^a-zA-Z0-9_]", "_", path)
        if not stem[:1].isalpha():
            stem = f"field_{stem.lstrip('_')}"
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _label_value(value: GroupValue) -> str:
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)
