"""Messages about alarms of every kind, for the tests of what channels send."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec.structs import replace

from tallystream.core.alarm import DecidingDatapoint, State, Transition
from tallystream.core.channel import Channel
from tallystream.core.counting import group_key
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.ports.alarms import AlarmKey, HistoryItem, Message

AT_MS = 1_795_428_000_000  # 2026-11-23 10:00 UTC
HOSTILE = "a\u202egnp.exe<img src=x onerror=alert(1)>\"'&<!channel> @here \x1b[2J\r\nBcc: eve@example.com"

DEFINITION = parse_definition(
    """
name = "web-analytics"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
[[counter]]
name = "donations"
group_by = ["country"]
windows = ["15m"]
measures = ["sum(amount)"]

[[alarm]]
name = "pageview-low"
description = "Visitors may see an empty page.\\nRunbook: https://wiki.example.com/pageviews"
counter = "events"
window = "1m"
group = { event = "page view" }
comparison = "<"
threshold = 5
evaluation_periods = 3
datapoints_to_alarm = 2
treat_missing_data = "breaching"
notify = ["support"]
[[alarm]]
name = "donations-odd"
counter = "donations"
window = "15m"
measure = "sum(amount)"
group_by = "each"
comparison = "outside"
band = 3
weeks = 4
evaluation_periods = 3
notify = ["support"]
[[alarm]]
name = "donations-half"
counter = "donations"
window = "15m"
measure = "sum(amount)"
group = { country = "GB" }
comparison = "<"
threshold_percent = -50
baseline = "7d"
notify = ["support"]
[[alarm]]
name = "disk-full"
system = "disk_free_percent"
comparison = "<"
threshold = 10.5
notify = ["support"]
[[alarm]]
name = "site-down"
when = "pageview-low and not disk-full"
notify = { alarm = ["support"] }

[[notify]]
name = "support"
type = "command"
command = ["true"]
"""
)


def definition_with(channel: Channel) -> Definition:
    return replace(DEFINITION, channels=(channel,))


def item(
    alarm: str,
    new_state: State = "ALARM",
    *,
    old_state: State = "OK",
    group: str | None = None,
    reason: str = "2 of the last 3 datapoints were < 5 (3 at 09:57, 1 at 09:59 UTC)",
    datapoints: Sequence[DecidingDatapoint] = (),
    at_ms: int = AT_MS,
) -> HistoryItem:
    key = AlarmKey(alarm, "" if group is None else group_key(group))
    return HistoryItem(1, key, at_ms, "StateUpdate", "", Transition(old_state, new_state, reason, tuple(datapoints)))


def points(*values: float | str | None, lower: str | None = None, upper: str | None = None) -> list[DecidingDatapoint]:
    """Return datapoints of windows of a minute that end at AT_MS; None is missing, and taken as breaching."""
    low, high = (None if bound is None else Decimal(bound) for bound in (lower, upper))
    numbers = [None if value is None else Decimal(str(value)) for value in values]
    return [
        DecidingDatapoint(
            AT_MS - (len(numbers) - index) * 60_000,
            number,
            number is None or (low is not None and number < low) or (high is not None and number > high),
            number is None,
            low,
            high,
        )
        for index, number in enumerate(numbers)
    ]


def message(*items: HistoryItem) -> Message:
    return Message("7d6ff1a0-1111-4222-8333-944444444444", "support", list(items), 0, AT_MS)


ONE = message(item("pageview-low", datapoints=points(12, 9, 3, None, 1, lower="5")))
SEVERAL = message(
    item("pageview-low", datapoints=points(12, 3, 1, lower="5")),
    item("donations-odd", "OK", old_state="ALARM", group=HOSTILE, reason=f"was {HOSTILE}", datapoints=points(-50, 0, 120.25)),
    item("donations-odd", group="GB", datapoints=points(300, 1200, "1290.3333333333", lower="100", upper="800")),
    item("pageview-low", "OK", old_state="ALARM", at_ms=AT_MS + 1_000),
    item("pageview-low", at_ms=AT_MS + 2_000, datapoints=points(2, 1, 0, lower="5")),
    item("disk-full", "INSUFFICIENT_DATA", at_ms=AT_MS + 3_000),
    item("site-down", reason="pageview-low is in ALARM, disk-full is not", at_ms=AT_MS + 4_000),
)
