"""Event ids through anything: deliveries that differ, in any shard, pruned, rejected and retried, while the clock jumps."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tallystream.core.definition_text import parse_definition
from tallystream.engine.count import CountStep
from tallystream.engine.retry import retry_rejected
from tallystream.local.counter_worker import prune
from tallystream.local.data import DataDirectory
from tallystream.local.verify import verify
from tallystream.ports.stream import Append

START_MS = 1_795_433_580_000
MINUTE_MS = 60_000
DEFINITION = """
name = "ids"
[stream]
event_time = "{event_time}"
event_id = "id"
shards = 3
retention = "10m"
[[counter]]
name = "events"
windows = ["1m", "1h"]
group_by = ["event"]
keep = "11m"
[[counter]]
name = "gifts"
windows = ["1m"]
where = "event == 'a'"
measures = ["sum(amount)"]
keep = "15m"
"""


def line(random_: random.Random, event_time: str) -> bytes:
    event = {event_time: START_MS + random_.randrange(5) * MINUTE_MS, "event": random_.choice("ab"), "amount": random_.random()}
    if random_.random() < 0.8:
        event["id"] = random_.randrange(40)
    if random_.random() < 0.2:
        event["amount"] = "much"
    return json.dumps(event).encode()


@pytest.mark.parametrize("seed", range(8))
def test_verify_finds_nothing_whatever_happens(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    now_ms = START_MS
    retried = 0
    definitions = [parse_definition(DEFINITION.format(event_time=event_time)) for event_time in ("t", "at")]
    definition = definitions[0]
    data = DataDirectory(tmp_path)
    data.declare(definition)
    stream, store = data.open(definition)
    with closing(stream), closing(store):
        step = CountStep(stream, store, definition)
        expiring: Iterator[int] = iter(())
        for _ in range(60):
            now_ms += random_.choice((1, 1, 1_000, MINUTE_MS, 4 * MINUTE_MS, -2 * MINUTE_MS))
            match random_.choice(("send", "send", "send", "count", "count", "drop", "expire", "retry", "change")):
                case "send":
                    lines = [line(random_, random_.choice(("t", "t", "t", "at"))) for _ in range(random_.randrange(1, 12))]
                    stream.append([Append(lines, [str(random_.randrange(9)) for _ in lines])], now_ms)
                case "count":
                    step.step(now_ms)
                case "drop":
                    prune(stream, store, now_ms)
                    expiring = store.expire(definition, now_ms)
                case "expire":  # by the time of the last pruning, also when it goes on later
                    for _ in range(random_.randrange(4)):
                        next(expiring, None)
                case "retry":
                    judged = retry_rejected(store, definition, None, now_ms)
                    retried += judged.received - judged.rejected
                case "change":  # what was rejected is right now, and the other way round
                    definition = random_.choice(definitions)
                    store.declare(definition, store.positions(), now_ms)
                    step = CountStep(stream, store, definition)
            assert verify(data, definition).differences == []
        now_ms += 4 * 60 * MINUTE_MS  # past the retention of what came while the clock was ahead
        while step.step(now_ms):
            pass
        for definition in definitions:
            store.declare(definition, store.positions(), now_ms)
            judged = retry_rejected(store, definition, None, now_ms)
            retried += judged.received - judged.rejected
        prune(stream, store, now_ms)
        result = verify(data, definition)
        assert (result.events, result.pruned, result.differences) == (0, store.ledger().received, [])
        ledger = store.ledger()
        assert ledger.received == sum(ledger) - ledger.received == sum(store.positions().values())
        assert ledger.duplicate > 0
        assert retried > 0
