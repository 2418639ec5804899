"""Tallies that are stored with their lines: what comes back is what counting the lines would have made."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core import chunk_tally
from tallystream.core.chunk_tally import ChunkTallier, StoredTally
from tallystream.core.counting import Tallier
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader
from tests.core.test_counting import DEFINITION, MINUTE_MS, lines_of_events

DAY_MS = 86_400_000


def definition(stream: str = "", where: str = "a == 1") -> Definition:
    return parse_definition(f"""
name = "test"
[stream]
event_time = "t"
{stream}
[[counter]]
name = "events"
windows = ["1m"]
where = "{where}"
""")


def tallier(of: Definition) -> ChunkTallier:
    return ChunkTallier(of, Reader(of))


@given(lines_of_events, st.integers(0, 10**12))
def test_a_restored_tally_is_that_of_the_lines(lines: list[bytes], first: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk_tally, "_CELLS_SHARE", 1 / 100)
        reader = Reader(DEFINITION)
        arrival_ms = MINUTE_MS + 17
        made = tallier(DEFINITION).tally(reader.read(lines, DAY_MS))  # whoever reads first may not know the arrival yet
    assert made is not None
    stored = StoredTally(first, first + len(lines), arrival_ms, made.content)
    expected = Tallier(DEFINITION, reader).tally(reader.read(lines, arrival_ms), shard=3, first_sequence=first)
    assert tallier(DEFINITION).restore(stored, 3) == expected


@pytest.mark.parametrize(
    "stream",
    [
        'event_id = "id"',
        'partition_key = "user"',
        'allowed_lateness = "1d"',
        'allowed_future = "1h"',
        'missing_event_time = "arrival"',
    ],
)
def test_there_is_none_where_lines_alone_do_not_say_how_they_are_counted(stream: str) -> None:
    of = definition(stream)
    assert not tallier(of).is_possible
    assert tallier(of).tally(Reader(of).read([b"{}"] * 1_000, MINUTE_MS)) is None


def test_its_meaning_is_another_when_anything_else_is_counted() -> None:
    meanings = [
        tallier(of).meaning
        for of in (
            definition(),
            definition(where="a == 2"),
            definition("shards = 3"),
            definition('missing_event_time = "arrival"'),
        )
    ]
    assert len(set(meanings)) == len(meanings)
    assert tallier(definition()).meaning == meanings[0]


def test_its_meaning_is_another_in_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tallier(definition()).meaning
    monkeypatch.setattr(chunk_tally, "__version__", "another")
    assert tallier(definition()).meaning != before


@pytest.mark.parametrize("line", [b'{"t": %d, "event": "%d"}', b"x" * 1_000 + b"%d %d"])
def test_there_is_none_that_would_be_as_long_as_the_lines(line: bytes) -> None:
    many = [line % (MINUTE_MS, number) for number in range(200)]
    assert tallier(DEFINITION).tally(Reader(DEFINITION).read(many, MINUTE_MS)) is None
    assert tallier(DEFINITION).tally(Reader(DEFINITION).read([many[0]] * 50, MINUTE_MS)) is not None


@pytest.mark.parametrize("content", [b"", b"\x93", msgspec.msgpack.encode([{"events": [[1, 2]]}, [0] * 6, []])])
def test_one_that_is_damaged_says_so(content: Any) -> None:
    with pytest.raises(msgspec.DecodeError):
        tallier(DEFINITION).restore(StoredTally(0, 1, 0, content), 0)
