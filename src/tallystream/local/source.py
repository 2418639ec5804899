"""Where `tally ingest` reads: a file that reading can go on with later, or a pipe that is read once."""

import contextlib
import fcntl
import hashlib
import os
import select
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import zstandard

from tallystream.core.errors import TallystreamError
from tallystream.local.blocks import (
    PIECE_BYTES_MAX,
    Block,
    UnfinishedInputError,
    array_blocks,
    blocks,
    line_blocks,
    read_opening,
)

IDENTITY_BYTES_MAX = 4_096  # of a file's first event
_MARK_BYTES = 4_096  # of the text before a position: what it is known by when reading goes on there
_COMPRESSED_BYTES_MAX = 64 * 1024  # of compressed input at a time, which bounds what it unfolds to
_GATHER_S = 0.2  # how long the first bytes from a pipe wait for more at most
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class SourceError(TallystreamError):
    """A file cannot be read, is damaged, or is not the one that was read before."""


class FileSource:
    """
    A regular file: NDJSON or a JSON array; plain, gzip or zstd by its first bytes, whatever its name.

    Its identity is its absolute path with its first event, so that a log that has grown is the same source and goes on,
    while a new file in an old one's place is a new source and starts at 0. Blocks are marked with the text before their end, so
    that a file that was rewritten behind its first event is not gone on with.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.name = str(path)
        try:
            self.size_bytes = path.stat().st_size
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self.read_bytes = 0  # of size_bytes

    def identity(self) -> str:
        """
        Return the source's name in the stream.

        Raises:
            SourceError: the file cannot be read, or is damaged.
            UnfinishedInputError: the file holds no event that is whole.
        """
        # Without the blanks around it: a line that has no end yet may get a carriage return with it.
        first = next((block.lines[0] for block in blocks(self._text()) if block.lines), b"").strip()
        return hashlib.sha256(b"%b\0%b" % (os.fsencode(self.path), first[:IDENTITY_BYTES_MAX])).hexdigest()

    def blocks(self, position: int = 0, mark: str = "") -> Iterator[Block]:
        """
        Yield the blocks from a position on: 0, or the end of a block, also of an earlier run, with that block's mark.

        Raises:
            SourceError: the file cannot be read, is damaged, or cannot be the one that was read up to the position.
            UnfinishedInputError: the text ends where more must follow; all before was yielded.
        """
        trail = _Trail()
        is_array, start, pieces = read_opening(trail.follow(self._text()))
        if position:
            start = position
            size = min(position, _MARK_BYTES)
            before, rest = _take(self._text(position - size), size)
            after, rest = _take(rest, 1)
            trail = _Trail(before, position)
            is_marked = not mark or mark == trail.mark(position)
            if not (is_marked and len(before) == size and _can_end_a_block(before[-1:], after, is_array)):
                raise SourceError(
                    f"{self.name} was read up to byte {position:,} before, and what stands there now is not what was read: the "
                    "file was cut or rewritten. Nothing of it was taken now. To ingest it from its beginning, as new events, "
                    "add --again"
                )
            if is_array and before.endswith(b"]"):
                return
            pieces = trail.follow(chain([after], rest))
        found = array_blocks(pieces, start) if is_array else line_blocks(pieces, start, leave_unfinished=True)
        for block in found:
            yield block._replace(mark=trail.mark(block.end))

    def _text(self, position: int = 0) -> Iterator[bytes]:
        """Yield the decompressed text from a position on."""
        try:
            with self.path.open("rb", buffering=0) as file:
                decompress = _decompressor(file.read(4))
                file.seek(0 if decompress else position)
                self.read_bytes = file.tell()
                raw = self._counted(iter(lambda: file.read(_COMPRESSED_BYTES_MAX if decompress else PIECE_BYTES_MAX), b""))
                if not decompress:
                    yield from raw
                    return
                for piece in decompress(raw):
                    if position < len(piece):
                        yield piece[position:]
                    position = max(0, position - len(piece))
        except OSError as error:
            raise _unreadable(self.name, error) from error
        except (zlib.error, zstandard.ZstdError) as error:
            raise SourceError(
                f"{self.name} is damaged near byte {self.read_bytes:,} ({error}); what came before is taken. "
                "Fetch it again under the same name and run again: it goes on from there"
            ) from error

    def _counted(self, raw: Iterable[bytes]) -> Iterator[bytes]:
        for piece in raw:
            self.read_bytes += len(piece)
            yield piece


class _Trail:
    """The end of a text that is read piece by piece, from which each block that ends in the newest piece gets its mark."""

    def __init__(self, before: bytes = b"", position: int = 0) -> None:
        self._before = before  # the newest piece: _MARK_BYTES, or all that there is
        self._piece = b""
        self._position = position  # of the newest piece

    def follow(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Pass the pieces on."""
        for piece in pieces:
            self._before = (self._before + self._piece[-_MARK_BYTES:])[-_MARK_BYTES:]
            self._position += len(self._piece)
            self._piece = piece
            yield piece

    def mark(self, position: int) -> str:
        """Return what the text before a position in the newest piece is known by."""
        size = position - self._position  # of the piece up to there
        text = self._before + self._piece[max(0, size - _MARK_BYTES) : size]
        return hashlib.sha256(text[-_MARK_BYTES:]).hexdigest()[:32]


class PipeSource:
    """Standard input, or any other pipe: read once, passed on as it comes."""

    size_bytes: int | None = None

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self.read_bytes = 0
        self._fd = fd
        self.is_stopped = False
        self._wake, self._stop = os.pipe()
        with contextlib.suppress(OSError):  # what is not a pipe is as good; a larger pipe means fewer, larger blocks
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIECE_BYTES_MAX)

    def stop(self) -> None:
        """End the input where it is, as if its writer had ended it. Safe in a signal handler."""
        self.is_stopped = True
        os.write(self._stop, b"\0")

    def identity(self) -> None:
        """Return None: a pipe cannot be gone on with."""

    def blocks(self, position: int = 0, mark: str = "") -> Iterator[Block]:  # noqa: ARG002  # as FileSource's
        """Yield the blocks as they come; see FileSource. An unfinished last line is an event: nothing can complete it."""
        raw = self._pieces()
        lead = b""
        for piece in raw:
            lead += piece
            if len(lead) >= len(_ZSTD) or not any(magic.startswith(lead) for magic in (_GZIP, _ZSTD)):
                break
        pieces = chain([lead], raw)
        decompress = _decompressor(lead)
        try:
            yield from blocks(decompress(pieces) if decompress else pieces)
        except (zlib.error, zstandard.ZstdError) as error:
            raise SourceError(
                f"{self.name} is damaged near byte {self.read_bytes:,}: {error}; what came before is taken"
            ) from error

    def _pieces(self) -> Iterator[bytes]:
        """Yield what is there, at once when the pipe is slow, and up to PIECE_BYTES_MAX when it is fast."""
        while piece := self._read(PIECE_BYTES_MAX, None):
            deadline = time.monotonic() + _GATHER_S
            while len(piece) < PIECE_BYTES_MAX and time.monotonic() < deadline:
                more = self._read(PIECE_BYTES_MAX - len(piece), 0)
                if not more:
                    break
                piece += more
            self.read_bytes += len(piece)
            yield piece

    def _read(self, size: int, timeout_s: float | None) -> bytes:
        """Return what can be read within the time; nothing at the end, when stopped, and when nothing came in time."""
        readable, _, _ = select.select([self._fd, self._wake], [], [], timeout_s)
        if self._fd not in readable or self._wake in readable:
            return b""
        try:
            return os.read(self._fd, size)
        except OSError as error:
            raise _unreadable(self.name, error) from error


Source = FileSource | PipeSource


def open_source(name: str) -> Source:
    """
    Return the source that a command line names: `-` for standard input, otherwise a path.

    Raises:
        SourceError: the path cannot be read.
    """
    if name == "-":
        return PipeSource(sys.stdin.fileno(), "standard input")
    path = Path(name)
    try:
        if path.is_dir():
            raise SourceError(f"{name} is a directory; give the files in it: {name}/*")
        if path.exists() and not path.is_file():  # a named pipe, or the /dev/fd/… of `<(command)`
            return PipeSource(os.open(path, os.O_RDONLY), name)
    except OSError as error:
        raise _unreadable(name, error) from error
    return FileSource(path)


_Decompress = Callable[[Iterable[bytes]], Iterator[bytes]]


def _decompressor(lead: bytes) -> _Decompress | None:
    """Tell from the first bytes how a file is compressed; None when it is not."""
    if lead.startswith(_GZIP):
        return lambda pieces: _decompress(pieces, lambda: zlib.decompressobj(wbits=31))
    if lead.startswith(_ZSTD):
        return lambda pieces: _decompress(pieces, lambda: zstandard.ZstdDecompressor().decompressobj())
    return None


class _Decompression(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _decompress(pieces: Iterable[bytes], begin: Callable[[], _Decompression]) -> Iterator[bytes]:
    """Decompress members, or frames, one behind the other, in pieces of at most PIECE_BYTES_MAX bytes."""
    member: _Decompression | None = None
    for piece in pieces:
        while piece:
            member = member or begin()
            text = member.decompress(piece)
            for start in range(0, len(text), PIECE_BYTES_MAX):
                yield text[start : start + PIECE_BYTES_MAX]
            piece = b""
            if member.eof:
                piece, member = member.unused_data.lstrip(b"\0"), None  # gzip allows a padding of zeros
    if member is not None:
        raise UnfinishedInputError(
            "the compressed input ends early: its end is cut off; all events up to there are taken. "
            "Fetch it again under the same name and run again: it goes on from there"
        )


def _can_end_a_block(before: bytes, after: bytes, is_array: bool) -> bool:
    """Return whether a block can end between two bytes; at the end of the file the second is empty."""
    if is_array:
        return before in {b",", b"]"}
    # A last line without a line feed was taken, and has since been ended or not.
    return before == b"\n" or (before != b"" and (not after or after.isspace()))


def _take(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, as many as asked for or as there are, and the pieces behind them."""
    text = b""
    while len(text) < size and (piece := next(pieces, b"")):
        text += piece
    return text[:size], chain([text[size:]], pieces)


def _unreadable(name: str, error: OSError) -> SourceError:
    return SourceError(f"{name} cannot be read: {error.strerror}; mend that, or give another file")
