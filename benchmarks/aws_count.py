"""Whole invocations of the count function, payload bytes to counters, without the network, against the blog post's function."""

import base64
import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from benchmarks.events import DEFINITION, make_events
from benchmarks.hot_path import blog_base64, blog_ndjson
from benchmarks.measure import Row, alternate, median_ratio
from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.handlers import GC_THRESHOLD
from tallystream.aws.records import decode_payload, read_event
from tallystream.aws.rows import Layout
from tallystream.aws.table import Operation, PutAll, Steps, Update
from tallystream.core.definition_text import parse_definition

RECORDS: Final = 1_000
INVOCATIONS: Final = 20
RUNS: Final = 31  # many short ones: the machine changes its speed, and a ratio is of what ran side by side
NOW_MS: Final = 1_795_440_000_000
IMPORT_MS_MAX: Final = 300

# As the stock runtime has it, every field of it.
_RECORD: Final = {
    "eventSource": "aws:kinesis",
    "eventVersion": "1.0",
    "eventName": "aws:kinesis:record",
    "invokeIdentityArn": "arn:aws:iam::123456789012:role/tally-count-CountRole-1XYZ",
    "awsRegion": "eu-west-1",
    "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/tally-events",
}


def payloads(records_a_payload: int, events_a_record: int, invocations: int) -> list[bytes]:
    lines = iter(make_events(records_a_payload * events_a_record * invocations))
    sequence = 49_590_338_271_490_256_608_559_692_538_361_571_095_921_575_989_136_588_898
    encoded = []
    for _ in range(invocations):
        records = []
        for _ in range(records_a_payload):
            sequence += 7
            data = b"\n".join(next(lines) for _ in range(events_a_record))
            kinesis = {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "7",
                "sequenceNumber": str(sequence),
                "data": base64.b64encode(data).decode(),
                "approximateArrivalTimestamp": NOW_MS / 1_000,
            }
            records.append({"kinesis": kinesis, "eventID": f"shardId-000000000000:{sequence}", **_RECORD})
        encoded.append(json.dumps({"Records": records}).encode())
    return encoded


class NoNetwork:
    """Answers at once what DynamoDB would when nothing is amiss."""

    def __init__(self) -> None:
        self.updates = 0
        self.events = 0

    def perform_all(self, steps: Steps) -> None:
        answer: Any = None
        while True:
            try:
                operation: Operation = steps.send(answer)
            except StopIteration:
                return
            if isinstance(operation, Update):
                self.updates += 1
                self.events += operation.add.get("received", 0)
                answer = None
            else:
                answer = None if isinstance(operation, PutAll) else set(getattr(operation, "keys", ())) or True


class Ours:
    """The count function: up to its counters, as far as the blog's loop goes, and up to what it asks of DynamoDB."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self._decode = decode
        self._counting, self._memory = Counting(parse_definition(DEFINITION), Layout()), Memory()
        self.counted = 0
        self.table = NoNetwork()

    def count(self, payload: bytes) -> None:
        event = self._decode(payload)  # which a runtime holds until its handler returns
        for batch in read_event(event):
            tally = self._counting.tally(batch)
            assert tally is not None
            self.counted += tally.ledger.received

    def invoke(self, payload: bytes) -> None:
        event = self._decode(payload)
        for batch in read_event(event):
            delivery = Delivery(self._counting, self._memory, batch, NOW_MS)
            self.table.perform_all(delivery.admission())
            for steps in delivery.writes():
                self.table.perform_all(steps)


def handle_all(handle: Callable[[bytes], Any], batches: list[bytes], gc_threshold: int) -> None:
    """Handle payloads as a container does, with the garbage collector's threshold that it sets when it starts."""
    before = gc.get_threshold()
    gc.set_threshold(gc_threshold)
    try:
        for payload in batches:
            handle(payload)
    finally:
        gc.set_threshold(*before)


def blog(payload: bytes) -> int:
    event = json.loads(payload)
    return len(blog_base64([record["kinesis"]["data"] for record in event["Records"]]))


def blog_lines(payload: bytes) -> int:
    records = json.loads(payload)["Records"]
    return len(blog_ndjson([line for record in records for line in base64.b64decode(record["kinesis"]["data"]).split(b"\n")]))


def run() -> list[Row]:
    singles = payloads(RECORDS, 1, INVOCATIONS)
    packed = payloads(RECORDS // 5, 100, INVOCATIONS // 20)  # of as many events, in the 6 MB that Lambda hands over at most
    stock, own = Ours(json.loads), Ours(decode_payload)
    python_threshold = gc.get_threshold()[0]
    tasks: list[tuple[Callable[[bytes], Any], list[bytes], int]] = [
        (blog, singles, python_threshold),
        (stock.count, singles, GC_THRESHOLD),
        (own.count, singles, GC_THRESHOLD),
        (own.count, packed, GC_THRESHOLD),
        (stock.invoke, singles, GC_THRESHOLD),
        (own.invoke, singles, GC_THRESHOLD),
        (blog_lines, packed, python_threshold),
    ]
    blog_s, stock_s, own_s, packed_s, stock_whole_s, own_whole_s, lines_s = alternate(
        [partial(handle_all, *task) for task in tasks],
        RUNS,
    )
    events = RECORDS * INVOCATIONS
    times = RUNS + 1
    assert (stock.counted, own.counted) == (times * events, 2 * times * events)
    assert stock.table.events == own.table.events == times * events

    def row(name: str, taken: list[float], target: int | None = None, theirs: list[float] = blog_s) -> Row:
        ratio = median_ratio(theirs, taken)
        measured = f"{ratio:.1f}× the blog's ({statistics.median(taken) / events * 1e6:.2f} µs an event)"
        return Row(f"AWS, {name}", measured, f"{target}×" if target else "-", ratio >= (target or 0))

    imported_ms = cold_import_ms()
    return [
        row("1,000 records to counters, stock runtime", stock_s, 2),
        row("1,000 records to counters, our runtime", own_s, 5),
        # The blog's function knows one event a record, so that is how it gets as many events.
        row("100 events a record to counters, our runtime, the blog's with 1", packed_s, 6),
        row("100 events a record to counters, our runtime, the blog's made to split lines", packed_s, None, lines_s),
        # The blog's loop stops at its counters.
        row("1,000 records to the updates of DynamoDB, stock runtime", stock_whole_s),
        row("1,000 records to the updates of DynamoDB, our runtime", own_whole_s),
        Row(
            "AWS, updates of DynamoDB for 1,000 records",
            f"{own.table.updates / times / INVOCATIONS:.1f}",
            "-",
            met=True,
        ),
        Row("AWS, cold import of the functions", f"{imported_ms:.0f} ms", f"{IMPORT_MS_MAX} ms", imported_ms < IMPORT_MS_MAX),
    ]


def cold_import_ms(runs: int = 9) -> float:
    """Return the time until a container can count: imports, and its client of DynamoDB. The median, of the processor."""
    program = (
        "import time; start = time.process_time(); import tallystream.aws.handlers as handlers;"
        " handlers.make_client(); print((time.process_time() - start) * 1000)"
    )
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
    environment["AWS_DEFAULT_REGION"] = "eu-west-1"
    return statistics.median(
        float(subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout)
        for _ in range(runs)
    )


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
