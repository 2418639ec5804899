"""Cutting a text into blocks: every event once, byte for byte, however the text comes in and wherever the reader goes on."""

import json
from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.event import EVENT_BYTES_MAX
from tallystream.local.blocks import (
    Block,
    UnfinishedInputError,
    UnfinishedLineError,
    array_blocks,
    blocks,
    line_blocks,
    read_opening,
)
from tallystream.web.bodies import EVENTS_MAX

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(st.sampled_from('a"\\{}[],\n é\U0001f600')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
BLANKS = st.text(st.sampled_from(" \t\r\n"), max_size=3).map(str.encode)


def pieces_of(text: bytes, cuts: list[int]) -> Iterator[bytes]:
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {len(text)})
    for start, end in zip([0, *ends], ends, strict=False):
        yield text[start:end]


def events_of(parts: Iterator[Block]) -> list[bytes]:
    return [line for block in parts for line in block.lines]


@given(st.lists(st.binary(max_size=8).map(lambda line: line.replace(b"\n", b""))), st.booleans(), st.lists(st.integers(0)))
def test_lines_are_the_same_however_the_text_is_cut(lines: list[bytes], ended: bool, cuts: list[int]) -> None:
    text = b"\n".join(lines) + b"\n" * ended
    parts = list(line_blocks(pieces_of(text, cuts), 0))
    assert events_of(iter(parts)) == [line for line in lines if line.strip()]
    assert all(before.end < after.end for before, after in pairwise(parts))


@given(st.lists(st.tuples(BLANKS, JSON_VALUES, BLANKS)), st.booleans(), st.lists(st.integers(0)))
def test_elements_are_the_same_however_the_array_is_cut(
    elements: list[tuple[bytes, object, bytes]], indented: bool, cuts: list[int]
) -> None:
    written = [before + json.dumps(value, indent=1 if indented else None).encode() + after for before, value, after in elements]
    text = b" [" + b",".join(written) + b"]\n"
    found = events_of(blocks(pieces_of(text, cuts)))
    assert [msgspec.json.decode(line) for line in found] == [value for _, value, _ in elements]
    assert not any(b"\n" in line for line in found)


@given(st.lists(JSON_VALUES, min_size=1), st.lists(st.integers(0)), st.lists(st.integers(0)), st.data())
def test_reading_an_array_goes_on_from_the_end_of_any_block(
    values: list[object], cuts: list[int], later_cuts: list[int], data: st.DataObject
) -> None:
    text = json.dumps(values).encode()
    parts = list(blocks(pieces_of(text, cuts)))
    taken = data.draw(st.integers(1, len(parts)))
    end = parts[taken - 1].end
    if end < len(text):
        later = array_blocks(pieces_of(text[end:], later_cuts), end)
        assert events_of(iter(parts[:taken])) + events_of(later) == events_of(iter(parts))
    else:
        assert taken == len(parts)


def test_a_broken_element_keeps_its_neighbours() -> None:
    text = b'[{"a": NaN}, {"b" 1}, {"c": (1)}, nope, {"d": 1}]'
    assert events_of(blocks([text])) == [b'{"a": NaN}', b'{"b" 1}', b'{"c": (1)}', b"nope", b'{"d": 1}']


def test_a_line_feed_in_a_string_stays_an_error() -> None:
    (line,) = events_of(blocks([b'[{"a": "x\ny"}]']))
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(line)


def test_holes_in_an_array_are_no_events() -> None:
    assert events_of(blocks([b"[1,, 2,\n]"])) == [b"1", b"2"]


@pytest.mark.parametrize("text", [b"[1,2", b"[", b'[1,2,"a', b'[1,2,{"a":[1]', b'[1,2,"a\\'])
def test_an_array_that_is_not_closed_is_taken_up_to_its_last_whole_element(text: bytes) -> None:
    taken: list[Block] = []
    with pytest.raises(UnfinishedInputError, match=f"ends at byte {len(text)}"):
        taken.extend(blocks([text[:2], text[2:]]))
    whole = events_of(iter(taken))
    assert whole == [b"1", b"2"][: len(whole)]


def test_something_behind_an_array_is_an_error_and_the_array_is_taken() -> None:
    taken: list[Block] = []
    with pytest.raises(UnfinishedInputError, match="from byte 5"):
        taken.extend(blocks([b"[1,2]", b"\n [3]"]))
    assert events_of(iter(taken)) == [b"1", b"2"]


@pytest.mark.parametrize("form", ["lines", "array"])
@pytest.mark.parametrize("piece_bytes", [1 << 20, 700_001])
def test_a_line_over_the_limit_is_cut_and_its_neighbours_are_kept(form: str, piece_bytes: int) -> None:
    long = b'"' + b"x" * (3 * EVENT_BYTES_MAX) + b'"'
    text = b"1\n" + long + b"\n2\n" if form == "lines" else b"[1," + long + b",2]"
    parts = list(blocks(text[i : i + piece_bytes] for i in range(0, len(text), piece_bytes)))
    assert events_of(iter(parts)) == [b"1", long[: EVENT_BYTES_MAX + 1], b"2"]
    assert parts[-1].end == len(text)


@given(st.lists(st.sampled_from([b"{}", b" {}", b"", b" ", b"\r", b"x" * 40]), max_size=12), st.integers(1, 60))
def test_a_text_at_hand_is_that_of_the_lines(lines: list[bytes], piece_bytes: int) -> None:
    text = b"\n".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tallystream.local.blocks.CUT_BYTES", 20)
        patch.setattr("tallystream.local.blocks.EVENTS_MAX", 5)
        for block in line_blocks((text[i : i + piece_bytes] for i in range(0, len(text), piece_bytes)), 0):
            assert block.text in (None, b"\n".join(block.lines))


def test_a_line_just_within_the_limit_is_whole() -> None:
    line = b"x" * EVENT_BYTES_MAX
    assert events_of(line_blocks([line, b"\n1\n"], 0)) == [line, b"1"]


@pytest.mark.parametrize("last", [b'{"a": 1', b'{"a": "x', b'{"a": tr', b'"\\', b'{"a": "' + b"x" * EVENT_BYTES_MAX])
def test_a_last_line_that_could_still_be_completed_is_left(last: bytes) -> None:
    taken: list[Block] = []
    with pytest.raises(UnfinishedLineError, match=f"{len(last):,} bytes from byte 2 on"):
        taken.extend(line_blocks([b"1\n", last], 0, leave_unfinished=True))
    assert taken == [Block([b"1"], 2, text=b"1")]
    assert events_of(line_blocks([b"1\n", last], 0)) == [b"1", last[: EVENT_BYTES_MAX + 1]]


@pytest.mark.parametrize("last", [b'{"a": 1}', b"nope", b'{"a": NaN}', b"\xff"])
def test_a_last_line_that_nothing_could_complete_is_an_event(last: bytes) -> None:
    assert events_of(line_blocks([b"1\n" + last], 0, leave_unfinished=True)) == [b"1", last]


def test_a_blank_last_line_is_no_event() -> None:
    assert events_of(line_blocks([b"1\n \r"], 0, leave_unfinished=True)) == [b"1"]


def test_a_byte_order_mark_and_blanks_are_no_part_of_the_first_event() -> None:
    assert events_of(blocks([b"\xef\xbb\xbf", b" \r\n", b'{"a":1}\n'])) == [b'{"a":1}']
    assert read_opening([b"\xef\xbb\xbf\n[", b"1]"])[:2] == (True, 5)
    assert events_of(blocks([])) == []


@pytest.mark.parametrize(
    "text", [b"1\n" * 500_000, b"[" + b"1," * 500_000 + b"1]", b"\n" * 999_998 + b"1\n"], ids=["lines", "array", "blank"]
)
def test_no_block_holds_more_events_than_a_request_may(text: bytes) -> None:
    parts = list(blocks([text]))
    assert max(len(block.lines) for block in parts) <= EVENTS_MAX
    assert len(events_of(iter(parts))) == text.count(b"1")
    assert parts[-1].end == len(text)
    assert all(before.end < after.end for before, after in pairwise(parts))
