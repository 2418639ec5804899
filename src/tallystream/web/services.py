"""What the HTTP side is handed by a composition root: the ports, the clock, and what only the plane knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tallystream.core.counting import Ledger
from tallystream.core.definition import Definition
from tallystream.ports.alarms import AlarmStore
from tallystream.ports.counters import CounterReader, CounterStore
from tallystream.ports.stream import Stream
from tallystream.web.answer_types import AwsAnswer, CloudAlarmAnswer, ShardAnswer


class Tokens(NamedTuple):
    """Secrets that a caller must show; None asks for none. `repr` keeps them out of logs."""

    write: str | None = None
    read: str | None = None

    def __repr__(self) -> str:
        return f"Tokens(write={'set' if self.write else None}, read={'set' if self.read else None})"


class DiskUsage(NamedTuple):
    stream_bytes: int
    counters_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadServices:
    """What is needed to show what was counted, wherever that is. The store is called from the threads that answer requests."""

    definition: Definition
    store: CounterReader
    now_ms: Callable[[], int]
    static_dir: Path
    version: str
    started_ms: int
    tokens: Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Services(ReadServices):
    """
    Everything that a handler may use where events are taken and counted, too.

    The ports are called from several threads: `stream.append` from one of its own, everything else from the threads that
    answer requests. `retry_rejected` judges the kept rejected events of a reason (None: of all) again under the
    present definition, at the given time, and returns what became of them; its `received` is how many were tried.
    """

    stream: Stream
    store: CounterStore
    alarms: AlarmStore
    disk_usage: Callable[[], DiskUsage]
    retry_rejected: Callable[[str | None, int], Ledger]


class Begun(NamedTuple):
    """A counter's present generation."""

    generation: int | str
    since_ms: int | None  # None: nothing was counted yet


class ShardsBehind(NamedTuple):
    """How far each shard is counted."""

    shards: list[ShardAnswer]
    warnings: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteServices(ReadServices):
    """
    What is needed to show what a stack on AWS counts. What is asked of AWS may raise StorageError.

    Attributes:
        aws: where it counts.
        generations: counter → its present generation.
        shards: how far each shard is counted.
        alarms: those of the stack in CloudWatch; None: it may not be asked.
        rejected_id_max: of rejected events.
        poll_ms: how often a page asks for changes; None: it is told, in a stream that stays open.
    """

    aws: AwsAnswer
    generations: Callable[[], Mapping[str, Begun]]
    shards: Callable[[], ShardsBehind]
    alarms: Callable[[], list[CloudAlarmAnswer]] | None
    rejected_id_max: int
    poll_ms: int | None
