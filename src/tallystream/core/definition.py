"""The definition: what Tallystream counts, and how. It is written as tally.toml, which definition_text.py reads."""

import hashlib
from typing import Literal

import msgspec

from tallystream.core.alarm import Alarm
from tallystream.core.channel import Channel
from tallystream.core.mute import MuteSchedule

Function = Literal["count", "sum", "min", "max", "mean"]


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event's time is, how the stream is cut into shards, and how long it is kept."""

    event_time: str  # dotted path, as all fields are
    missing_event_time: Literal["reject", "arrival"]
    event_id: str | None
    partition_key: str | None  # None: the shards take turns
    shards: int
    retention_ms: int
    allowed_lateness_ms: int | None  # None: no bound
    allowed_future_ms: int | None  # None: no bound
    backlog_events_max: int


class Measure(msgspec.Struct, frozen=True):
    """What is answered of a group in a window: the count of events, or a function of a field's numbers."""

    function: Function
    field: str | None  # None for count

    @property
    def name(self) -> str:
        """How the measure is written: `count`, `sum(amount)`."""
        return self.function if self.field is None else f"{self.function}({self.field})"


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are counted, in which groups and windows, and what is measured."""

    name: str
    where: str | None  # None: every event
    group_by: tuple[str, ...]
    windows_ms: tuple[int, ...]  # ascending, each a multiple of the first
    measures: tuple[Measure, ...]  # count is always among them
    keep_ms: int | None  # None: for ever

    @property
    def measured_fields(self) -> tuple[str, ...]:
        """The distinct fields of the measures, sorted: a row holds a partial of each, in this order."""
        return tuple(sorted({measure.field for measure in self.measures if measure.field is not None}))


class Browser(msgspec.Struct, frozen=True):
    """Which web pages may send events with tally.js."""

    key: str
    origins: tuple[str, ...]  # as browsers send them: lower case, no port that the scheme implies


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A whole tally.toml, free of mistakes."""

    name: str
    stream: Stream
    counters: tuple[Counter, ...]
    browser: Browser | None
    alarms: tuple[Alarm, ...] = ()
    channels: tuple[Channel, ...] = ()
    mutes: tuple[MuteSchedule, ...] = ()

    def counter(self, name: str) -> Counter:
        """
        Return the counter of a name.

        Raises:
            KeyError: there is none.
        """
        for counter in self.counters:
            if counter.name == name:
                return counter
        raise KeyError(name)


def fingerprint(counter: Counter, stream: Stream) -> str:
    """
    Return a hash of what a counter's rows mean, in hexadecimal. When it changes, a new generation of rows starts.

    It covers event_time, missing_event_time, where, group_by, windows and measured fields; not keep, retention,
    allowed_lateness, allowed_future or shards, which change how long and which events, but not what a row means. Nor the
    measures: whichever is asked of a field, a row holds its count, sum, min and max, of which all measures are made.
    """
    meaning = (
        stream.event_time,
        stream.missing_event_time,
        counter.where,
        counter.group_by,
        counter.windows_ms,
        counter.measured_fields,
    )
    return hashlib.sha256(msgspec.json.encode(meaning)).hexdigest()
