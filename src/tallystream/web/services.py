"""What the HTTP side is handed by a composition root: the ports, the clock, and what only the plane knows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tallystream.core.counting import Ledger
from tallystream.core.definition import Definition
from tallystream.ports import AlarmStore, CounterStore, Stream


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
class Services:
    """
    Everything that a handler may use.

    The ports are called from several threads: `stream.append` from one of its own, everything else from the threads that
    answer requests. `retry_rejected` judges the kept rejected events of a reason (None: of all) again under the
    present definition, at the given time, and returns what became of them; its `received` is how many were tried.
    """

    definition: Definition
    stream: Stream
    store: CounterStore
    alarms: AlarmStore
    now_ms: Callable[[], int]
    disk_usage: Callable[[], DiskUsage]
    retry_rejected: Callable[[str | None, int], Ledger]
    static_dir: Path
    version: str
    started_ms: int
    tokens: Tokens
