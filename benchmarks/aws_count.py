"""Whole invocations of the count function, payload bytes to counters, without the network, against the blog post's function."""

import base64
import json
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from benchmarks.events import DEFINITION, make_events
from benchmarks.hot_path import blog_base64, blog_ndjson
from benchmarks.measure import Row, alternate, median_ratio
from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.records import KinesisEvent, read_event
from tallystream.aws.rows import Layout
from tallystream.aws.table import Operation, PutAll, Steps, Update
from tallystream.core.definition_text import parse_definition

RECORDS: Final = 1_000
INVOCATIONS: Final = 50
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
        self.requests: Counter[str] = Counter()
        self.events = 0

    def perform_all(self, steps: Steps) -> None:
        answer: Any = None
        while True:
            try:
                operation: Operation = steps.send(answer)
            except StopIteration:
                return
            self.requests[type(operation).__name__] += 1
            if isinstance(operation, Update):
                self.events += operation.add.get("received", 0)
                answer = None
            else:
                answer = None if isinstance(operation, PutAll) else set(getattr(operation, "keys", ())) or True


def ours(decode: Callable[[bytes], Any], table: NoNetwork) -> Callable[[bytes], None]:
    counting, memory = Counting(parse_definition(DEFINITION), Layout()), Memory()

    def invoke(payload: bytes) -> None:
        for batch in read_event(decode(payload)):
            delivery = Delivery(counting, memory, batch, NOW_MS)
            table.perform_all(delivery.admission())
            for steps in delivery.writes():
                table.perform_all(steps)

    return invoke


def blog(payload: bytes) -> int:
    return len(blog_base64([record["kinesis"]["data"] for record in json.loads(payload)["Records"]]))


def blog_lines(payload: bytes) -> int:
    records = json.loads(payload)["Records"]
    return len(blog_ndjson([line for record in records for line in base64.b64decode(record["kinesis"]["data"]).split(b"\n")]))


def run() -> list[Row]:
    rows = []
    decode_typed = msgspec.json.Decoder(KinesisEvent).decode
    # 200 records of 100 events are 6 MB, the most that Lambda hands over.
    for size, events, invocations, theirs in ((RECORDS, 1, INVOCATIONS, blog), (RECORDS // 5, 100, 4, blog_lines)):
        batches = payloads(size, events, invocations)
        stock_table, own_table = NoNetwork(), NoNetwork()
        with_stock, with_own = ours(json.loads, stock_table), ours(decode_typed, own_table)
        blog_s, stock_s, own_s = alternate(
            [
                lambda: list(map(theirs, batches)),  # noqa: B023
                lambda: list(map(with_stock, batches)),  # noqa: B023
                lambda: list(map(with_own, batches)),  # noqa: B023
            ]
        )
        assert stock_table.events == own_table.events == 8 * size * events * invocations
        name = f"AWS, count function, {size:,} records of {events} event{'s' if events > 1 else ''}"
        for runtime, taken, target in (
            ("stock runtime", stock_s, 2 if events == 1 else None),
            ("our runtime", own_s, 5 if events == 1 else 6),
        ):
            ratio = median_ratio(blog_s, taken)
            ms = statistics.median(taken) / invocations * 1_000
            measured = f"{ratio:.1f}× the blog's ({ms:.1f} ms)"
            rows.append(Row(f"{name}, {runtime}", measured, f"{target}×" if target else "-", ratio >= (target or 0)))
        if events == 1:
            writes = own_table.requests["Update"] / (8 * invocations)
            rows.append(Row(f"{name}, requests to DynamoDB", f"{writes:.1f}", "-", met=True))
    imported_ms = cold_import_ms()
    rows.append(
        Row("AWS, cold import of the functions", f"{imported_ms:.0f} ms", f"{IMPORT_MS_MAX} ms", imported_ms < IMPORT_MS_MAX)
    )
    return rows


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
