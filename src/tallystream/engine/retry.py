"""The retry of rejected events: judged again under the present definition, and moved to their new outcome exactly once."""

from tallystream.core.counting import Delivery, Ledger, Tally
from tallystream.core.definition import Definition
from tallystream.engine.count import RunTallier
from tallystream.ports.counters import CounterStore, RejectedEvent
from tallystream.ports.stream import Chunk

_EVENTS_MAX = 1_000  # judged and committed together


def retry_rejected(store: CounterStore, definition: Definition, reason: str | None, now_ms: int) -> Ledger:
    """
    Judge rejected events again under the definition (which the store has declared), as of their own arrival times.

    Returns how they ended: `received` is how many were judged. An event that is rejected again stays as it is. Cut off at any
    point, each event is either moved or still rejected, and a second retry goes on with the rest. Raises StorageError.
    """
    tallier = RunTallier(definition, store.seen)
    total = Ledger()
    before: int | None = None
    while events := store.rejected_events(reason, before, _EVENTS_MAX):
        tallies, moved, ledger = _judge(tallier, events)
        if moved and not store.commit_retry(tallies, moved, now_ms):
            continue  # another retry took some of these events, or another delivery of one was counted: judge them once more
        before = events[-1].id
        total = total.plus(ledger)
    return total


def _judge(tallier: RunTallier, events: list[RejectedEvent]) -> tuple[list[Tally], list[int], Ledger]:
    """Return the tallies to add, the ids of the events that they hold, and how all events ended."""
    tallies: list[Tally] = []
    moved: list[int] = []
    total = Ledger()
    new_ids: dict[str, Delivery] = {}
    # Oldest first, so that of two events with one id the first is counted. Each is a chunk of its own: it keeps its position.
    for event in sorted(events, key=lambda event: (event.shard, event.sequence)):
        tally = tallier.tally([Chunk(event.shard, event.sequence, event.arrival_ms, [event.data])], new_ids)
        assert tally is not None
        total = total.plus(tally.ledger)
        if not tally.rejected:
            new_ids.update(tally.event_ids)
            moved.append(event.id)
            ledgers = {minute_ms: ledger._replace(received=0, rejected=-1) for minute_ms, ledger in tally.ledgers.items()}
            tallies.append(tally._replace(ledgers=ledgers))
    return tallies, moved, total
