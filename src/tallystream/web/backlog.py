"""How far counting is behind, asked of both files at most every now and then."""

import asyncio
import time
from typing import Final

from tallystream.ports.counters import CounterStore
from tallystream.ports.stream import Stream

_FRESH_S: Final = 0.1
_USABLE_S: Final = 1.0


def backlog_events(stream: Stream, store: CounterStore) -> int:
    """Return how many events are stored and not yet counted."""
    # Positions first: the other way round, events that arrive and are counted in between would hide others.
    positions = store.positions()
    return sum(max(0, state.next_sequence - positions.get(state.shard, 0)) for state in stream.shards())


class Backlog:
    """The backlog as of 0.1 s ago or less, for any number of requests; 1 s or less for those that cannot wait."""

    def __init__(self, stream: Stream, store: CounterStore) -> None:
        self._stream = stream
        self._store = store
        self._events = 0
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def events(self) -> int:
        """Return how many events are stored and not yet counted. Raises StorageError."""
        if time.monotonic() - self._read_at > _FRESH_S:
            await asyncio.shield(self._read_soon())
        return self._events

    def events_at_once(self) -> int | None:
        """Return the number without waiting for it, if it is known well enough; the next caller may get a newer one."""
        age_s = time.monotonic() - self._read_at
        if age_s > _USABLE_S:
            return None
        if age_s > _FRESH_S and self._reading is None:
            # Should it fail, the number grows old, and whoever then waits for it is told.
            self._read_soon().add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        return self._events

    def _read_soon(self) -> "asyncio.Task[None]":
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        try:
            self._events = await asyncio.to_thread(backlog_events, self._stream, self._store)
            self._read_at = time.monotonic()
        finally:
            self._reading = None
