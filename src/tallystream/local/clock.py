"""The wall clock. The core gets the time as an argument; this is where it comes from."""

import time


def now_ms() -> int:
    """Return the time: UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
