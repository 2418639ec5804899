"""
Cut a stream of bytes into blocks of lines, one event a line, and never hold more than a block.

Pure: bytes in, blocks out. Two forms are read: NDJSON, whose lines are the events, and one JSON array, whose elements are.
Positions count the bytes of the text, after decompression. An event is passed on byte for byte, also when it is broken:
judging it is the business of `core.event`.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import msgspec

from tallystream.core.errors import TallystreamError
from tallystream.core.event import EVENT_BYTES_MAX
from tallystream.web.bodies import EVENTS_MAX

PIECE_BYTES_MAX = EVENT_BYTES_MAX  # of one piece of input: a block is about as large
# What a longer event is cut to. One byte over the limit, so that it is rejected as too large with its beginning kept.
CUT_BYTES = EVENT_BYTES_MAX + 1
BLANK = b" \t\r\n"
_BELOW_TEXT = b"!"  # a line that is blank, or begins with a blank, is less


class Block(NamedTuple):
    """Some events of a text, at most as many as a request may hold, and the position behind them, from where to go on."""

    lines: list[bytes]
    end: int
    mark: str = ""  # of the text before `end`, where whoever reads it will want to know it again
    text: bytes | None = None  # the lines joined by line feeds, where it is at hand


class UnfinishedInputError(TallystreamError):
    """The input ends where more must follow. All that was whole has been yielded; reading can go on from there."""


class UnfinishedLineError(UnfinishedInputError):
    """The last line is still being written: what a file that grows may look like at any time."""


class Opening(NamedTuple):
    """The form of a text, the position of what follows its opening, and the pieces from there on."""

    is_array: bool
    position: int
    pieces: Iterator[bytes]


def read_opening(pieces: Iterable[bytes]) -> Opening:
    """
    Tell a JSON array from NDJSON by the first byte that is not blank: `[` opens an array.

    What the opening takes up (blanks, the bracket, a byte order mark) is not in the pieces that are returned.
    """
    rest = iter(pieces)
    lead, position = b"", 0
    for piece in rest:
        lead += piece
        if position == 0 and lead.startswith(codecs.BOM_UTF8):
            lead, position = lead[len(codecs.BOM_UTF8) :], len(codecs.BOM_UTF8)
        text = lead.lstrip(BLANK)
        position += len(lead) - len(text)
        lead = text
        if lead.startswith(b"["):
            return Opening(True, position + 1, chain([lead[1:]], rest))
        if lead:
            break
    return Opening(False, position, chain([lead], rest))


def blocks(pieces: Iterable[bytes]) -> Iterator[Block]:
    """Yield the blocks of a whole text, NDJSON or a JSON array; see `line_blocks` and `array_blocks`."""
    is_array, position, rest = read_opening(pieces)
    return array_blocks(rest, position) if is_array else line_blocks(rest, position)


def line_blocks(pieces: Iterable[bytes], position: int, *, leave_unfinished: bool = False) -> Iterator[Block]:
    """
    Yield the blocks of NDJSON from `position`, which is the beginning of a line.

    Lines end with a line feed; blank ones are no events. What follows the last line feed is an event, too, unless
    `leave_unfinished` is set (the text may still grow) and more bytes could complete it.

    Raises:
        UnfinishedLineError: the last line was left.
    """
    carry = b""  # the beginning of a line whose end has not come yet, at most CUT_BYTES of it
    dropped = 0  # how many bytes of that line are not in `carry`
    for piece in pieces:
        whole = piece.rfind(b"\n")  # bytes of it that end a line
        if whole < 0:
            carry += piece
        else:
            text = b"".join((carry, memoryview(piece)[:whole]))
            lines = text.split(b"\n")
            carry = piece[whole + 1 :]
            if len(lines) <= EVENTS_MAX and len(lines[0]) <= CUT_BYTES and min(lines) > _BELOW_TEXT:  # as good as always
                position += dropped + len(text) + 1
                dropped = 0
                yield Block(lines, position, text=text)
            else:
                for start in range(0, len(lines), EVENTS_MAX):
                    some = lines[start : start + EVENTS_MAX]
                    position += dropped + sum(map(len, some)) + len(some)  # with the line feed of each
                    dropped = 0
                    some[0] = some[0][:CUT_BYTES]  # only the first line can be longer than a piece
                    yield Block(list(filter(bytes.strip, some)), position)
        if len(carry) > CUT_BYTES:
            dropped += len(carry) - CUT_BYTES
            carry = carry[:CUT_BYTES]
    if leave_unfinished and is_unfinished(carry):
        raise UnfinishedLineError(
            f"the last line, {len(carry) + dropped:,} bytes from byte {position:,} on, is not complete yet and was left; "
            "run again when it is, or end it with a line feed"
        )
    if carry.strip():
        yield Block([carry], position + len(carry) + dropped)


def _parts(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces, cut so that none ends more than EVENTS_MAX elements: one and its comma take two bytes or more."""
    for piece in pieces:
        if piece.count(b",") < EVENTS_MAX:
            yield piece
        else:
            for start in range(0, len(piece), 2 * EVENTS_MAX):
                yield piece[start : start + 2 * EVENTS_MAX]


def is_unfinished(line: bytes) -> bool:
    """Return whether a line is the beginning of a JSON value, which its writer has yet to complete."""
    if not line.strip():
        return False
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    return False


_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# What decides where an array's elements end. The first alternative skips an object without nested ones: most events. A lone
# quotation mark opens a string that does not end in this piece.
_TOKEN = re.compile(rb'\{[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+\}|' + _STRING + rb'|([\[\]{},"])', re.DOTALL)
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def array_blocks(pieces: Iterable[bytes], position: int) -> Iterator[Block]:
    """
    Yield the blocks of a JSON array from `position`, which is behind its `[` or behind the comma that ends an element.

    Only strings, brackets and commas are looked at, so that a broken element is passed on and its neighbours are kept.
    A line feed within an element becomes a carriage return, which JSON treats alike everywhere.

    Raises:
        UnfinishedInputError: the array is not closed, or something follows it.
    """
    array = _Array(position)
    for piece in _parts(pieces):
        yield from array.feed(piece)
    array.finish()


class _Array:
    """Where in an array the reader stands, and the beginning of the element that has not ended yet."""

    def __init__(self, position: int) -> None:
        self.start = position  # of the element that has not ended yet
        self.position = position  # of the next piece
        self.depth = 0  # of brackets open within the element
        self.in_string = False
        self.closed = False
        self.element: list[bytes] = []  # its parts, CUT_BYTES at most
        self.element_bytes = 0
        self.carry = b""  # a backslash that ended the last piece: it belongs to the next character

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Take the next piece; yield the elements that end in it."""
        piece = self.carry + piece
        base = self.position - len(self.carry)
        self.position = base + len(piece)
        self.carry = b""
        lines: list[bytes] = []
        begin = 0  # of the element within the piece
        for token, at in self._tokens(piece):
            if token in b"[{":
                self.depth += 1
            elif self.depth:
                self.depth -= token != b","
            else:
                lines.extend(self._end_element(piece[begin : at - 1]))
                begin, self.start = at, base + at
                self.closed = token != b","
                if self.closed:
                    break
        if begin:
            yield Block(lines, self.start)
        rest = piece[begin : len(piece) - len(self.carry)]
        if self.closed and rest.strip(BLANK):
            raise UnfinishedInputError(
                f"something follows the end of the JSON array, from byte {self.start:,} on; "
                "all elements of the array are taken. Put what follows into a file of its own, or make it all NDJSON"
            )
        self._extend_element(rest)

    def _tokens(self, piece: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield the brackets and commas of a piece that are not within a string, each with the offset behind it."""
        at = 0
        while not self.closed:
            if self.in_string:
                rest = _STRING_REST.match(piece, at)
                assert rest is not None  # it matches the empty string, too
                at = rest.end()
                if at < len(piece) - 1 or piece.endswith(b'"', at):
                    self.in_string = False
                    at += 1
                else:
                    self.carry = piece[at:]
                    return
            for found in _TOKEN.finditer(piece, at):
                token = found[1]
                if token == b'"':
                    self.in_string, at = True, found.end()
                    break
                if token:
                    yield token, found.end()
            else:
                return

    def _extend_element(self, part: bytes) -> None:
        if not self.element_bytes:
            part = part.lstrip(BLANK)
        part = part[: CUT_BYTES - self.element_bytes]
        self.element.append(part)
        self.element_bytes += len(part)

    def _end_element(self, part: bytes) -> list[bytes]:
        """Return the whole element as a line; nothing for a hole, such as the one behind a trailing comma."""
        self._extend_element(part)
        line = b"".join(self.element).strip(BLANK).replace(b"\n", b"\r")
        self.element.clear()
        self.element_bytes = 0
        return [line] if line else []

    def finish(self) -> None:
        """Raise UnfinishedInputError unless the array was closed."""
        if not self.closed:
            raise UnfinishedInputError(
                f"the JSON array is not closed: the text ends at byte {self.position:,}, its last whole element at byte "
                f"{self.start:,}; all up to there is taken. Mend the end and run again: it goes on from there"
            )
