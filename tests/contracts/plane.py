"""What counts events and lets them be read, for the contracts: on one machine, and as on AWS."""

import json
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

from tallystream.aws.handlers import CountFunction
from tallystream.aws.rows import Layout
from tallystream.aws.store import TableCounterReader
from tallystream.aws.table import Table
from tallystream.core.chunk_tally import ChunkTallier
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader
from tallystream.engine.count import CountStep
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.stream import SQLiteStream
from tallystream.ports.counters import CounterReader
from tallystream.ports.stream import Append

NOW_MS = 1_795_433_580_000  # 2026-11-23T11:33:00Z


def definition(stream: str = "", events: str = 'group_by = ["event"]', more: str = "", event_time: str = "t") -> Definition:
    return parse_definition(f"""
name = "test"
[stream]
event_time = "{event_time}"
shards = 2
{stream}
[[counter]]
name = "events"
windows = ["1m", "1h"]
{events}
{more}
""")


DEFINITION = definition()
GIFTS = definition(events='measures = ["sum(amount)", "min(amount)", "max(amount)"]')

Event = bytes | dict[str, Any]


def as_line(event: Event) -> bytes:
    """Return an event as a line; of NOW_MS, unless it says another time."""
    return event if isinstance(event, bytes) else json.dumps({"t": NOW_MS} | event).encode()


class Plane(Protocol):
    """Counts events, and is asked what was counted."""

    definition: Definition

    @property
    def store(self) -> CounterReader: ...

    def count(self, *events: Event, now_ms: int = NOW_MS) -> None: ...

    def close(self) -> None: ...


MakePlane = Callable[..., Plane]
"""Given a definition, DEFINITION by default; each time in the same place: what was counted before is there."""


def values(plane: Plane, window_ms: int = 60_000, counter: str = "events") -> dict[tuple[Any, ...], dict[int, int]]:
    """Return group → window start → count."""
    series = plane.store.series(counter)
    found: dict[tuple[Any, ...], dict[int, int]] = {}
    for cell in plane.store.cells(plane.definition.counter(counter), window_ms, -(10**14), 10**14):
        found.setdefault(series[cell.series_id], {})[cell.window_start_ms] = cell.partial.count
    return found


class LocalPlane:
    """A stream and a store in SQLite, with the steps between them; lines are stored with their tally if that is wanted."""

    def __init__(self, directory: Path, definition: Definition = DEFINITION, *, stores_tallies: bool = False) -> None:
        self.directory = directory
        self.stores_tallies = stores_tallies
        self._open = ExitStack()
        self.store = self._open.enter_context(closing(SQLiteCounterStore(directory / "counters.db")))
        self.declare(definition)

    def declare(self, definition: Definition, now_ms: int = NOW_MS) -> list[Any]:
        self.definition = definition
        self.stream = self._open.enter_context(closing(SQLiteStream(self.directory / "stream.db", definition.stream)))
        self.generations = self.store.declare(definition, self.store.positions(), now_ms)
        self.step = CountStep(self.stream, self.store, definition)
        self.reader = Reader(definition)
        self.chunk_tallier = ChunkTallier(definition, self.reader)
        return self.generations

    def send(self, *events: Event, now_ms: int = NOW_MS) -> None:
        lines = [as_line(event) for event in events]
        packed = None
        if self.stores_tallies:
            packed = self.stream.pack(lines, self.chunk_tallier.tally(self.reader.read(lines, now_ms)))
        self.stream.append([Append(lines, packed=packed)], now_ms)

    def count(self, *events: Event, now_ms: int = NOW_MS) -> None:
        if events:
            self.send(*events, now_ms=now_ms)
        while self.step.step(now_ms):
            pass

    def values(self, window_ms: int = 60_000, counter: str = "events") -> dict[tuple[Any, ...], dict[int, int]]:
        return values(self, window_ms, counter)

    def close(self) -> None:
        self._open.close()


class Sequences:
    """Kinesis' sequence numbers, of all shards of a stream."""

    def __init__(self) -> None:
        self._last = 49_660_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000

    def next(self) -> str:
        self._last += 17
        return str(self._last)


class TablePlane:
    """The count function over a table, and what reads it. Events reach two shards in turn, one a record."""

    def __init__(self, table: Table, sequences: Sequences, definition: Definition, layout: Layout) -> None:
        self.definition = definition
        self.store = TableCounterReader(definition, layout, table, lambda: self._now_ms, refresh_ms=0)
        self._now_ms = NOW_MS
        self._sequences = sequences
        self._function = CountFunction(definition, layout, table, lambda: self._now_ms)

    def count(self, *events: Event, now_ms: int = NOW_MS) -> None:
        self._now_ms = now_ms
        for shard in (0, 1):
            records = [
                {
                    "eventID": f"shardId-{shard:012d}:{(sequence := self._sequences.next())}",
                    "kinesis": {
                        "sequenceNumber": sequence,
                        "approximateArrivalTimestamp": now_ms / 1_000,
                        "data": b64encode(as_line(event)).decode(),
                    },
                }
                for event in events[shard::2]
            ]
            if records:
                self._function({"Records": records})

    def close(self) -> None:
        self.store.close()
