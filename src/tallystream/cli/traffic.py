"""
The traffic of `tally demo`: the visitors of a made-up site that collects donations.

`python -m tallystream.cli.traffic`, started by `tally demo`, sends what the visitors do: first the hours before now, so that
the charts are not empty, then what happens from moment to moment.
"""

import logging
import math
import random
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tallystream.local.child import announce_ready, end_with_parent, read_settings
from tallystream.local.clock import now_ms
from tallystream.local.logs import set_up_logs
from tallystream.local.upload import UploadSink

HISTORY_MS = 6 * 3_600_000
_BATCH_EVENTS = 5_000
_TICK_S = 0.1
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_BROKEN_SHARE = 0.001  # of the events: a producer with a bug

# What visitors do, and how often, in percent. The fields are those of example.toml.
_EVENTS = {"page view": 54, "impression": 26, "click": 12, "search": 4.5, "sign up": 1, "donation": 2.5}
_COUNTRIES = {"GB": 38, "US": 27, "DE": 9, "FR": 7, "NL": 5, "IE": 5, "AU": 4, "CA": 3, "JP": 2}
_PATHS = {"/": 30, "/causes": 18, "/causes/clean-water": 12, "/causes/forests": 11, "/about": 6, "/donate": 15, "/blog": 8}
_CAMPAIGNS = {"spring": 45, "newsletter": 30, "clean-water": 25}
_DEVICES = {"phone": 58, "desktop": 34, "tablet": 8}

_log = logging.getLogger(__name__)


class TrafficSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the traffic generator is told."""

    url: str
    write_token: str | None
    history_events: int  # to send for the hours before now
    rate: float  # events a second, on average over a day


class Visitors:
    """
    Makes up events. Deterministic for a source of randomness.

    Traffic swings with the hour, drifts from minute to minute, and has a burst now and then: when a campaign goes out.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._drift = 0.0
        self._burst = 0.0

    def next_minute(self, minute_ms: int) -> float:
        """Return how busy a minute is, with 1 as the average; asked for minute after minute."""
        self._drift = 0.9 * self._drift + self._chance.gauss(0, 0.05)
        self._burst = self._burst * 0.8 + (self._chance.uniform(1, 2.5) if self._chance.random() < 0.01 else 0)
        evening = math.cos(2 * math.pi * ((minute_ms % _DAY_MS) / _DAY_MS - 20 / 24))
        return max(0.1, 1 + 0.5 * evening + self._drift + self._burst)

    def events(self, count: int, from_ms: int, to_ms: int) -> list[bytes]:
        """Return the events of a stretch of time, [from_ms, to_ms), in order."""
        times = sorted(self._chance.uniform(from_ms, to_ms) for _ in range(count))
        columns = (self._choose(weights, count) for weights in (_EVENTS, _PATHS, _COUNTRIES, _DEVICES, _CAMPAIGNS))
        return [self._line(self._event(*values)) for values in zip(times, *columns, strict=True)]

    def count(self, mean: float) -> int:
        """Return how many events happen where `mean` are expected: independent of each other, so Poisson."""
        if mean > 50:
            return max(0, round(self._chance.gauss(mean, math.sqrt(mean))))
        threshold, product, count = math.exp(-mean), self._chance.random(), 0
        while product > threshold:
            product *= self._chance.random()
            count += 1
        return count

    def _event(self, time_ms: float, name: str, path: str, country: str, device: str, campaign: str) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event": name,
            "utc_timestamp": _timestamp(time_ms),
            "user_id": f"u-{self._chance.randrange(20_000)}",
            "path": "/donate" if name == "donation" else path,
            "country": country,
            "device": device,
        }
        if name in {"impression", "click"}:
            event["campaign"] = campaign
        if name == "donation":
            # Most give a round sum, a few give much.
            amount = self._chance.choice([5, 10, 10, 20, 25, 50]) * self._chance.choice([1, 1, 1, 1, 2, 10])
            event |= {"amount": amount + self._chance.choice([0, 0, 0.5, 0.99]), "currency": "GBP"}
        return event

    def _line(self, event: dict[str, Any]) -> bytes:
        line = msgspec.json.encode(event)
        if self._chance.random() >= _BROKEN_SHARE:
            return line
        return self._chance.choice([line[: len(line) // 2], line.replace(b"utc_timestamp", b"timestamp")])

    def _choose(self, weights: Mapping[str, float], count: int) -> list[str]:
        return self._chance.choices(list(weights), list(weights.values()), k=count)


def history(visitors: Visitors, events: int, to_ms: int) -> Iterator[list[bytes]]:
    """Yield about so many events of the HISTORY_MS before to_ms, in order, in batches."""
    minutes = range(to_ms - HISTORY_MS, to_ms, _MINUTE_MS)
    busy = [visitors.next_minute(minute_ms) for minute_ms in minutes]
    batch: list[bytes] = []
    for minute_ms, share in zip(minutes, busy, strict=True):
        batch += visitors.events(round(events * share / sum(busy)), minute_ms, minute_ms + _MINUTE_MS)
        if len(batch) >= _BATCH_EVENTS:
            yield batch
            batch = []
    if batch:  # the server refuses a request without an event
        yield batch


def live(visitors: Visitors, rate: float, from_ms: int) -> Iterator[list[bytes]]:
    """Yield, for ever and in real time, what happened since the last time, at first since from_ms."""
    last_ms, minute_ms, busy = from_ms, 0, 1.0
    while True:
        time.sleep(_TICK_S)
        to_ms = now_ms()
        if to_ms // _MINUTE_MS != minute_ms:
            minute_ms, busy = to_ms // _MINUTE_MS, visitors.next_minute(to_ms)
        yield visitors.events(visitors.count(rate * busy * (to_ms - last_ms) / 1_000), last_ms, to_ms)
        last_ms = to_ms


def main() -> None:
    """Send until told to stop."""
    settings = read_settings(TrafficSettings)
    set_up_logs("text", "traffic")
    end_with_parent()
    announce_ready()
    sink = UploadSink(settings.url, settings.write_token, float("inf"), _log.warning)
    visitors = Visitors(random.Random())  # noqa: S311  # made-up events need no secrets
    start_ms = now_ms()
    if settings.history_events:
        for batch in history(visitors, settings.history_events, start_ms):
            sink.store(batch, None)
        _log.info("sent the events of the last %d hours", HISTORY_MS // 3_600_000)
    for batch in live(visitors, settings.rate, start_ms):
        if batch:
            sink.store(batch, None)


def _timestamp(time_ms: float) -> str:
    """Return ISO 8601 with seven fraction digits, as .NET writes it."""
    at = datetime.fromtimestamp(time_ms / 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond:06d}0Z"


if __name__ == "__main__":
    main()
