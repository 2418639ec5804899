"""When the machine's clock is behind the stream: it was ahead, and has been set back."""

from collections.abc import Mapping

BEHIND_MS_MAX = 5_000
"""How far the clock may be behind before it is told: a clock that is kept in step is set by less."""


def clock_warning(now_ms: int, last_arrivals_ms: Mapping[int, int]) -> str | None:
    """
    Return what to tell a user of a clock that is behind the newest arrival of a shard; None if it is not, or not by much.

    Arrivals never decrease within a shard, so until the clock has caught up, every event there takes the newest arrival.

    Args:
        now_ms: by the machine's clock, UTC.
        last_arrivals_ms: of each shard in which something has arrived.
    """
    shard, newest_ms = max(last_arrivals_ms.items(), key=lambda item: item[1], default=(0, now_ms))
    if newest_ms - now_ms <= BEHIND_MS_MAX:
        return None
    return (
        f"the machine's clock is {(newest_ms - now_ms) // 1_000:,} s behind the newest arrival in shard {shard}: it was ahead"
        " then, or is wrong now. Until it has caught up, events arrive there at that time, whenever they come: with"
        " `allowed_lateness` those on time may be late, and without an event time they count in that window. Make sure that the"
        " clock is right and kept in step (NTP); then wait, or do without `allowed_lateness` until then"
    )
