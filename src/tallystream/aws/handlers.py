"""
The functions as Lambda calls them, put together from the environment: what a container makes once, and does with each payload.

TALLY_TABLE names the counter table, TALLY_NAMESPACE where in CloudWatch its metrics go. The definition lies beside the code, as
`tally aws package` put it there.
"""

import gc
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, Final

import msgspec

from tallystream.aws.client import make_client
from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.function import read_definition, read_layout
from tallystream.aws.publish import Datum, Publisher, TableEvent
from tallystream.aws.records import Batch, KinesisEvent, decode_payload, read_event
from tallystream.aws.rows import Layout
from tallystream.aws.table import Steps, Table, perform_all
from tallystream.core.definition import Definition

DECODERS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "count_handler": decode_payload,
    "publish_handler": msgspec.json.Decoder(TableEvent).decode,
}
"""How our own runtime decodes a handler's payload."""

REQUESTS_MAX: Final = 16
"""Requests under way at once: they mostly wait, and a container with 128 MB has little processor to fill more."""

GC_THRESHOLD: Final = 50_000
"""
Objects made between two runs of the garbage collector. The stock runtime makes thousands of dicts of a payload, no cycles:
by Python's own threshold, the collector takes a thirtieth of an invocation to look at them in vain.
"""

_log = logging.getLogger("tallystream")


class CountFunction:
    """Counts each payload's records into a table, many rows at a time."""

    def __init__(self, definition: Definition, layout: Layout, table: Table, now_ms: Callable[[], int]) -> None:
        self._counting = Counting(definition, layout)
        self._layout = layout
        self._memory = Memory()
        self._table = table
        self._now_ms = now_ms
        self._pool = ThreadPoolExecutor(REQUESTS_MAX)

    def __call__(self, event: KinesisEvent[Any] | Mapping[str, Any]) -> None:
        """
        Count a payload. When it returns, all of it is counted.

        Raises:
            TableBusyError, DynamoDBError: part of it may be; delivered again, each record is counted once all the same.
        """
        for batch in read_event(event):
            self._count(batch)

    def _count(self, batch: Batch) -> None:
        memory = self._memory
        memory.trim()
        delivery = Delivery(self._counting, memory, batch, self._now_ms())
        known_full = set(memory.full)
        perform_all(delivery.admission(), self._table)
        for counter in memory.full - known_full:
            _log.warning(
                "counter %s has %d groups, and takes no more: events of further groups are counted together, as the group"
                " (other); group by something with fewer values, or deploy with a higher TALLY_GROUPS_MAX",
                counter,
                self._layout.groups_max,
            )
        self._perform_at_once(delivery.writes())

    def _perform_at_once(self, several: list[Steps]) -> None:
        """Perform steps in parallel. After a failure no more are begun, and it is raised when those under way have ended."""
        futures = [self._pool.submit(perform_all, steps, self._table) for steps in several]
        done, rest = wait(futures, return_when=FIRST_EXCEPTION)
        for future in rest:
            future.cancel()
        wait(rest)
        for future in done:
            future.result()


def count_handler(event: KinesisEvent[Any] | Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Count a batch of a Kinesis stream."""
    _count_function()(event)


def publish_handler(event: TableEvent | Mapping[str, Any], context: object) -> None:  # noqa: ARG001
    """Publish what a batch of the table's changes touched."""
    _publisher()(event)


@cache
def _count_function() -> CountFunction:
    return CountFunction(read_definition(), read_layout(), _table(), _now_ms)


@cache
def _publisher() -> Publisher:
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 5})
    cloudwatch = get_session().create_client("cloudwatch", config=config)
    namespace = os.environ["TALLY_NAMESPACE"]

    def put(data: list[Datum]) -> None:
        cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)

    return Publisher(read_definition(), read_layout(), _table(), put, _now_ms)


def _table() -> DynamoDBTable:
    return DynamoDBTable(make_client(), os.environ["TALLY_TABLE"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_FUNCTIONS: Final[dict[str, Callable[[], object]]] = {"count_handler": _count_function, "publish_handler": _publisher}

# While a container starts, Lambda lends it more processor than it has afterwards: make now what the first payload needs.
if make := _FUNCTIONS.get(os.environ.get("_HANDLER", "").rpartition(".")[2]):
    make()
    gc.freeze()  # what is there by now stays for good
    gc.set_threshold(GC_THRESHOLD)
