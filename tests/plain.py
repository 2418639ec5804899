"""The definition, and the events, of tests that are about neither."""

import json

DEFINITION = """
name = "test"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
"""


def line(number: int) -> bytes:
    """Return an event that differs from those of other numbers, and is counted under one of three names."""
    return json.dumps({"event": f"e{number % 3}", "time": 1_790_000_000 + number, "n": number}).encode()
