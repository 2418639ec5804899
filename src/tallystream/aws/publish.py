"""
From changes of the table to metrics: the windows that were touched, and what they hold in all, never what was added to them.

A total may be published any number of times, and in any order: the statistic that alarms and charts use picks the final one out
of all that were published of a window. So the changes' contents do not matter, only their keys.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from tallystream.aws.metric import dimensions, metric_name, storage_resolution
from tallystream.aws.reading import TableReader
from tallystream.aws.rows import Layout, read_cell_key
from tallystream.aws.table import Key, Table
from tallystream.core.aggregate import finish
from tallystream.core.definition import Definition

PAST_MS_MAX: Final = 14 * 86_400_000
"""CloudWatch takes no datapoint that is older …"""
AHEAD_MS_MAX: Final = 2 * 3_600_000
"""… or further ahead."""
METRICS_MAX: Final = 1_000
"""Of one PutMetricData."""

_BYTES_MAX = 900_000  # of a MB that one PutMetricData may have
_log = logging.getLogger("tallystream")

Datum = dict[str, Any]
"""One element of PutMetricData's MetricData."""


class _Keys(msgspec.Struct, frozen=True, gc=False):
    pk: dict[str, str]
    sk: dict[str, str]


class _Change(msgspec.Struct, frozen=True, gc=False):
    keys: _Keys = msgspec.field(name="Keys")


class TableRecord(msgspec.Struct, frozen=True, gc=False):
    """A change of an item, of which the key is read."""

    dynamodb: _Change


class TableEvent(msgspec.Struct, frozen=True, gc=False):
    """The payload that an event source mapping of a table's stream hands over."""

    records: list[TableRecord] = msgspec.field(name="Records")


class Touched(NamedTuple):
    """A window of a series of which some shard's row changed."""

    counter: str
    window_ms: int
    group: str  # as in the keys
    window_start_ms: int


class Publisher:
    """Publishes the totals of windows that changed."""

    def __init__(
        self,
        definition: Definition,
        layout: Layout,
        table: Table,
        put: Callable[[list[Datum]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._counters = {counter.name: counter for counter in definition.counters}
        self._reader = TableReader(definition, layout, table)
        self._put = put
        self._now_ms = now_ms

    def __call__(self, event: TableEvent | Mapping[str, Any]) -> None:
        """
        Publish what a payload's changes touched. When it returns, CloudWatch has taken all of it.

        What an earlier generation of a counter holds is not published any more. Of windows that CloudWatch does not take by
        their age, none is sent, and their number is logged.
        """
        now_ms = self._now_ms()
        windows = self._touched(event)
        sendable = {window for window in windows if -AHEAD_MS_MAX <= now_ms - window.window_start_ms <= PAST_MS_MAX}
        if unsent := len(windows) - len(sendable):
            _log.warning(
                "%d windows changed that begin more than two weeks ago or two hours ahead, which CloudWatch does not take;"
                " they are counted in the table, and not among the metrics",
                unsent,
            )
        for request in cut_requests(datum for window in sorted(sendable) for datum in self._data(window)):
            self._put(request)

    def _touched(self, event: TableEvent | Mapping[str, Any]) -> set[Touched]:
        changes = event if isinstance(event, TableEvent) else msgspec.convert(event, TableEvent)
        windows = set()
        for record in changes.records:
            keys = record.dynamodb.keys
            cell = read_cell_key(Key(keys.pk["S"], keys.sk["S"]))
            if cell is not None and self._reader.generations.get(cell.counter) == cell.generation:
                windows.add(Touched(cell.counter, cell.window_ms, cell.group, cell.window_start_ms))
        return windows

    def _data(self, window: Touched) -> Iterator[Datum]:
        counter = self._counters[window.counter]
        start_ms = window.window_start_ms
        cells = self._reader.cells(counter, window.window_ms, window.group, start_ms, start_ms + 1)
        for partial in cells.values():
            named = dimensions(counter.group_by, self._reader.values(counter.name, window.group))
            for measure in counter.measures:
                value = finish(partial, counter, measure)
                if value is not None:
                    yield {
                        "MetricName": metric_name(counter.name, measure.name, window.window_ms),
                        "Dimensions": named,
                        "Timestamp": start_ms / 1_000,
                        "Value": float(value),
                        "StorageResolution": storage_resolution(window.window_ms),
                    }


def cut_requests(data: Iterable[Datum]) -> Iterator[list[Datum]]:
    """Cut metrics to as few requests as CloudWatch's limits allow."""
    request: list[Datum] = []
    size = 0
    for datum in data:
        # Percent-encoded in a form, a character takes up to three bytes; the names of the form's fields take the rest.
        characters = len(datum["MetricName"]) + sum(len(each["Name"]) + len(each["Value"]) for each in datum["Dimensions"])
        datum_bytes = 300 + 120 * len(datum["Dimensions"]) + 3 * characters
        if request and (len(request) == METRICS_MAX or size + datum_bytes > _BYTES_MAX):
            yield request
            request, size = [], 0
        request.append(datum)
        size += datum_bytes
    if request:
        yield request
