"""Alarms: what one watches, when a datapoint breaches, and how datapoints decide its state."""

import hashlib
from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from tallystream.core.group import GroupValue

State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
Comparison = Literal["<", "<=", ">", ">=", "outside"]
TreatMissingData = Literal["missing", "ignore", "breaching", "notBreaching"]
SystemMetric = Literal[
    "seconds_without_events", "rejected_percent", "counting_lag_seconds", "disk_free_percent", "failed_notifications"
]

Value = int | Decimal
"""What a datapoint holds."""

NEW: Final[State] = "INSUFFICIENT_DATA"
"""The state in which an alarm begins."""


class CounterSource(msgspec.Struct, frozen=True, kw_only=True, tag="counter"):
    """A counter's measure: of one group, or of each group with a state of its own."""

    counter: str
    window_ms: int  # one of the counter's windows; also the alarm's period
    measure: str  # as the counter names it: "count", "sum(amount)"
    group: tuple[GroupValue, ...] | None  # in group_by order; None: each group
    groups_max: int  # with each: how many groups are watched, the first that were counted


class SystemSource(msgspec.Struct, frozen=True, kw_only=True, tag="system"):
    """Something that Tallystream measures of itself, once every ten seconds; a window's value is its newest sample."""

    metric: SystemMetric
    window_ms: int


class FixedThreshold(msgspec.Struct, frozen=True, kw_only=True, tag="fixed"):
    """A datapoint breaches when `datapoint comparison value` holds; in ALARM, when `datapoint comparison clear` does."""

    comparison: Comparison  # not "outside"
    value: Decimal
    clear: Decimal  # equal to value without hysteresis


class RelativeThreshold(msgspec.Struct, frozen=True, kw_only=True, tag="relative"):
    """
    Like a fixed threshold, of (100 + percent) % of the value in the same window `baseline_ms` before.

    Where there was no such window, or it holds nothing to compare with, the datapoint counts as missing.
    """

    comparison: Comparison  # not "outside"
    percent: Decimal  # -50: half of it
    clear_percent: Decimal
    baseline_ms: int  # a multiple of the window


class Band(msgspec.Struct, frozen=True, kw_only=True, tag="band"):
    """A datapoint breaches below, above or outside expected ± deviations × spread, as core.baseline learns them."""

    comparison: Comparison  # "<" below the band, ">" above it, "outside"
    deviations: Decimal
    clear_deviations: Decimal
    weeks: int  # of history that it is learnt from


Source = CounterSource | SystemSource
Condition = FixedThreshold | RelativeThreshold | Band


class Actions(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the channels that are told when an alarm enters a state; at most five each."""

    alarm: tuple[str, ...] = ()
    ok: tuple[str, ...] = ()
    insufficient_data: tuple[str, ...] = ()

    def of(self, state: State) -> tuple[str, ...]:
        """Return the channels to tell of a state."""
        return {"ALARM": self.alarm, "OK": self.ok, "INSUFFICIENT_DATA": self.insufficient_data}[state]


class MetricAlarm(msgspec.Struct, frozen=True, kw_only=True, tag="metric"):
    """An alarm that watches a series of datapoints."""

    name: str
    description: str
    source: Source
    condition: Condition
    evaluation_periods: int  # N
    datapoints_to_alarm: int  # M of N
    treat_missing_data: TreatMissingData
    wait: Literal["early", "complete"]  # early: an open window counts as soon as nothing can undo its breach
    delay_ms: int  # after the end of a window until it counts as complete
    actions: Actions


class CompositeAlarm(msgspec.Struct, frozen=True, kw_only=True, tag="composite"):
    """An alarm on the states of others: in ALARM while `when` holds, otherwise OK."""

    name: str
    description: str
    when: str  # see core.composite
    actions: Actions


Alarm = MetricAlarm | CompositeAlarm


class DecidingDatapoint(NamedTuple):
    """
    A datapoint that a transition was decided on.

    One that is missing has no value. `filled` says that treat_missing_data took it for a breaching, or not breaching, one.
    """

    window_start_ms: int
    value: Decimal | None
    breaching: bool
    filled: bool
    lower: Decimal | None = None  # a datapoint below it breaches (with "<=", also one at it); None: unbounded on that side
    upper: Decimal | None = None  # a datapoint above it breaches (with ">=", also one at it)


class Transition(NamedTuple):
    """A change of state, as it is decided."""

    old_state: State
    new_state: State
    reason: str  # a sentence
    datapoints: tuple[DecidingDatapoint, ...]  # ascending; empty for a composite alarm


def alarm_fingerprint(alarm: Alarm) -> str:
    """Return a hash of everything that is configured of an alarm, in hexadecimal: an edited alarm has another."""
    return hashlib.sha256(msgspec.json.encode(alarm)).hexdigest()
