"""The hot path on one core, against the loop that the pattern's blog post runs in its Lambda function."""

import base64
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.events import DEFINITION, make_events
from benchmarks.measure import Row, alternate, median_ratio
from tallystream.core.counting import Tallier
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader, decode_base64

EVENTS = 100_000
ARRIVAL_MS = 1_795_440_000_000
TARGETS = {
    ("base64", 300): 4.5,
    ("base64", 1_000): 5.0,
    ("base64", 10_000): 5.0,
    ("ndjson", 1_000): 6.0,
    ("ndjson", 10_000): 6.0,
}


def blog_base64(records: Sequence[str]) -> dict[tuple[str, str], int]:
    """Count as the post's function does: decode, parse the whole event, cut the minute out of the text, add one."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        try:
            event = json.loads(base64.b64decode(record))
            hour, minute = event["utc_timestamp"].split(":")[:2]
            counts[event["event"], f"{hour}:{minute}"] += 1
        except (ValueError, KeyError):
            pass  # the post drops what it cannot read
    return counts


def blog_ndjson(lines: Sequence[bytes]) -> dict[tuple[str, str], int]:
    """The same for plain lines."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for line in lines:
        try:
            event = json.loads(line)
            hour, minute = event["utc_timestamp"].split(":")[:2]
            counts[event["event"], f"{hour}:{minute}"] += 1
        except (ValueError, KeyError):
            pass
    return counts


def run() -> list[Row]:
    """Measure each batch size in turn; the counts of both must be the same."""
    definition = parse_definition(DEFINITION)
    reader = Reader(definition)
    tallier = Tallier(definition, reader)
    lines = make_events(EVENTS)
    records = [base64.b64encode(line).decode() for line in lines]

    def ours_base64(batch: Sequence[str]) -> dict[tuple[str, int], int]:
        return ours_ndjson(decode_base64(batch))

    def ours_ndjson(batch: Sequence[bytes]) -> dict[tuple[str, int], int]:
        cells = tallier.tally(reader.read(batch, ARRIVAL_MS)).cells["events"]
        return {(key.group, key.window_start_ms): cell.count for key, cell in cells.items() if key.window_ms == 60_000}

    assert sorted(blog_base64(records).values()) == sorted(ours_base64(records).values())
    assert sorted(blog_ndjson(lines).values()) == sorted(ours_ndjson(lines).values())

    rows = []
    for (form, size), target in TARGETS.items():
        data: Sequence[str] | Sequence[bytes] = records if form == "base64" else lines
        batches = [data[start : start + size] for start in range(0, EVENTS, size)]
        blog, ours = (blog_base64, ours_base64) if form == "base64" else (blog_ndjson, ours_ndjson)
        blog_s, ours_s = alternate(
            [lambda: [blog(batch) for batch in batches], lambda: [ours(batch) for batch in batches]]  # type: ignore[arg-type] # noqa: B023
        )
        ratio = median_ratio(blog_s, ours_s)
        rate = EVENTS / statistics.median(ours_s)
        rows.append(
            Row(
                f"Hot path, {form}, batches of {size:,}",
                f"{ratio:.1f}× the blog's loop ({rate / 1e6:.2f} M events/s a core)",
                f"{target}×",
                ratio >= target,
            )
        )
    return rows


if __name__ == "__main__":
    for row in run():
        print(*row, sep=" | ")
