"""A recount is the same however its records come: one by one, or many at once."""

import json
from random import Random

import pytest

from tallystream.aws import recount
from tallystream.aws.records import pad_sequence
from tallystream.aws.recount import Record, ShardRecount
from tallystream.core.definition_text import parse_definition
from tests.kpl import aggregate

DEFINITION = """
name = "recounted"
[stream]
event_time = "t"
{stream}
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
[[counter]]
name = "gifts"
where = "event == 'a'"
windows = ["1m"]
measures = ["sum(amount)"]
"""
START_MS = 1_795_433_580_000


def draw_records(random: Random) -> list[Record]:
    records = []
    for number in range(random.randint(1, 40)):
        lines = [
            json.dumps({"t": START_MS // 1_000 + random.randrange(300), "event": random.choice("abcd"), "amount": 0.1}).encode()
            if random.random() < 0.9
            else b"no event"
            for _ in range(random.randint(1, 3))
        ]
        data = aggregate(lines) if random.random() < 0.3 else b"\n".join(lines)
        records.append(Record(str(number + 1), START_MS + number // 3 * 20_000, data))
    return records


def counted(stream: str, records: list[Record], mark: int, cuts: list[int], from_ms: int | None) -> ShardRecount:
    shard = ShardRecount(parse_definition(DEFINITION.format(stream=stream)), "0", from_ms)
    shard.advance(pad_sequence(str(mark)))
    for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        shard.count(records[start:end])
    return shard


@pytest.mark.parametrize("stream", ["", 'allowed_lateness = "1m"\nallowed_future = "3m"'])
@pytest.mark.parametrize("seed", range(50))
def test_any_cut_gives_the_same(seed: int, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(seed)
    records = draw_records(random)
    mark = random.randint(0, len(records))
    from_ms = random.choice((None, START_MS + 100_000))
    one_by_one = counted(stream, records, mark, list(range(1, len(records))), from_ms)
    monkeypatch.setattr(recount, "_RUN_RECORDS", random.randint(1, 20))
    cuts = sorted({mark, *random.choices(range(len(records) + 1), k=2)})
    at_once = counted(stream, records, mark, cuts, from_ms)
    for name in ("received", "ledger", "cells", "rejected", "later", "first", "end", "is_cut"):
        assert getattr(at_once, name) == getattr(one_by_one, name), name
    whole = counted(stream, records, len(records), [], from_ms)
    assert whole.cells == {cell: at_once.up_to(cell, pad_sequence(str(len(records)))) for cell in whole.cells}
