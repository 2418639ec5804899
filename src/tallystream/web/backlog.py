"""How far counting is behind, asked of both files at most every now and then."""

import asyncio
import time
from typing import Final

from tallystream.ports import CounterStore, Stream

_FRESH_S: Final = 0.1


def backlog_events(stream: Stream, store: CounterStore) -> int:
    """Return how many events are stored and not yet counted."""
    # Positions first: the other way round, events that arrive and are counted in between would hide others.
    positions = store.positions()
    return sum(max(0, state.next_sequence - positions.get(state.shard, 0)) for state in stream.shards())


class Backlog:
    """The backlog as of 0.1 s ago or less, for any number of requests."""

    def __init__(self, stream: Stream, store: CounterStore) -> None:
        self._stream = stream
        self._store = store
        self._events = 0
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def events(self) -> int:
        """Return how many events are stored and not yet counted. Raises StorageError."""
        if time.monotonic() - self._read_at > _FRESH_S:
            if self._reading is None:
                self._reading = asyncio.get_running_loop().create_task(self._read())
            await asyncio.shield(self._reading)
        return self._events

    async def _read(self) -> None:
        try:
            self._events = await asyncio.to_thread(backlog_events, self._stream, self._store)
            self._read_at = time.monotonic()
        finally:
            self._reading = None
