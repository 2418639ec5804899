"""The retry of rejected events: judged again under the present definition, and moved to their new outcome exactly once."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from tallystream.core.counting import Ledger, Tally
from tallystream.core.definition import Definition
from tallystream.engine.count import RunTallier
from tallystream.ports import Chunk, CounterStore, RejectedEvent

_EVENTS_MAX = 1_000  # judged and committed together


class RejectedStore(CounterStore, Protocol):
    """A counter store that keeps the rejected events."""

    def rejected_events(self, reason: str | None = None, before: int | None = None, limit: int = 50) -> list[RejectedEvent]:
        """Return rejected events, newest first: of one reason or of all, with ids below `before`."""
        ...

    def commit_retry(self, tallies: Sequence[Tally], rejected_ids: Sequence[int], now_ms: int) -> bool:
        """Move rejected events to the outcomes that they have now; False, and nothing stored, when one of them is gone."""
        ...


class RetryResult(NamedTuple):
    """What became of the rejected events that were judged again: retried = the sum of the others."""

    retried: int
    counted: int
    unmatched: int
    late: int
    duplicate: int
    rejected: int


def retry_rejected(store: RejectedStore, definition: Definition, reason: str | None, now_ms: int) -> RetryResult:
    """
    Judge rejected events again under the definition (which the store has declared), as of their own arrival times.

    An event that is rejected again stays as it is. Cut off at any point, each event is either moved or still rejected, and a
    second retry goes on with the rest. Raises StorageError.
    """
    tallier = RunTallier(definition, store.seen)
    total = Ledger()
    before: int | None = None
    while events := store.rejected_events(reason, before, _EVENTS_MAX):
        before = events[-1].id
        tallies, moved, ledger = _judge(tallier, events)
        if moved and not store.commit_retry(tallies, moved, now_ms):
            continue  # another retry took some of these events meanwhile
        total = total.plus(ledger)
    return RetryResult(total.received, total.counted, total.unmatched, total.late, total.duplicate, total.rejected)


def _judge(tallier: RunTallier, events: list[RejectedEvent]) -> tuple[list[Tally], list[int], Ledger]:
    """Return the tallies to add, the ids of the events that they hold, and how all events ended."""
    tallies: list[Tally] = []
    moved: list[int] = []
    total = Ledger()
    new_ids: set[str] = set()
    # Oldest first, so that of two events with one id the first is counted. Each is a chunk of its own: it keeps its position.
    for shard, of_shard in groupby(sorted(events, key=lambda event: (event.shard, event.sequence)), lambda event: event.shard):
        for event in of_shard:
            tally = tallier.tally([Chunk(shard, event.sequence, event.arrival_ms, [event.data])], new_ids)
            assert tally is not None
            total = total.plus(tally.ledger)
            if not tally.rejected:
                new_ids.update(tally.event_ids)
                moved.append(event.id)
                tallies.append(
                    tally._replace(
                        ledgers={minute: ledger._replace(received=0, rejected=-1) for minute, ledger in tally.ledgers.items()}
                    )
                )
    return tallies, moved, total
