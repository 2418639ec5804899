"""Events counted into a store in one commit, for tests that ask what was counted."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tallystream.core.definition import Definition
from tallystream.engine.count import RunTallier
from tallystream.local.counters import SQLiteCounterStore
from tallystream.ports.stream import Chunk

ARRIVAL_MS = 1_795_433_580_000


def count_events(store: SQLiteCounterStore, definition: Definition, events: Iterable[Mapping[str, Any]]) -> None:
    """Read, tally and commit events of shard 0, as the counter process does. All of them must be counted."""
    lines = [json.dumps(event).encode() for event in events]
    if not lines:
        return
    tally = RunTallier(definition, store.seen).tally([Chunk(0, store.position(0), ARRIVAL_MS, lines)])
    assert tally is not None
    assert tally.ledger.counted == len(lines)
    assert store.commit(tally, ARRIVAL_MS)
