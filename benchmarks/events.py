"""The events that all benchmarks count: ~187 bytes, 12 types, 0.1 % malformed, the same at each run."""

import json
import random
from datetime import UTC, datetime, timedelta

EVENT_TYPES = (
    "page view", "click", "impression", "donation", "sign up", "log in",
    "search", "share", "video play", "download", "comment", "like",
)  # fmt: skip

DEFINITION = """\
name = "benchmark"

[stream]
event_time = "utc_timestamp"
shards = 2

[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "15m", "1h"]
"""

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def make_events(count: int, *, events_per_s: int = 250, malformed_every: int = 1_000) -> list[bytes]:
    """Return NDJSON lines in order of time, events_per_s of them in a second; each malformed one is cut off."""
    random_ = random.Random(7)
    lines = []
    for number in range(count):
        time = START + timedelta(seconds=number / events_per_s)
        event = {
            "event": random_.choice(EVENT_TYPES),
            "utc_timestamp": f"{time:%Y-%m-%dT%H:%M:%S.%f}0",
            "user_id": f"u{random_.randrange(10**6):06d}",
            "path": f"/fundraising/{random_.randrange(10**4)}",
            "device": random_.choice(("mobile", "desktop", "tablet")),
            "country": random_.choice(("GB", "US", "AU", "DE", "FR")),
            "session": f"{random_.getrandbits(56):014x}",
        }
        line = json.dumps(event).encode()
        lines.append(line[:60] if malformed_every and number % malformed_every == malformed_every // 2 else line)
    return lines
