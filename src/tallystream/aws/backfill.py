"""
Blocks of lines into a stack's stream, and a file that says how far each source is sent.

A block is noted when all of it is acknowledged. A run that is killed between the two sends the block a second time when it is
run again: that is as far as exactly-once goes with Kinesis, which has no idempotent producer.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tallystream.aws.producer import LINE_BYTES_MAX, Producer
from tallystream.core.errors import TallystreamError
from tallystream.ports.stream import SourcePosition, SourceRange


class CheckpointError(TallystreamError):
    """The checkpoint file cannot be used."""


class _Entry(msgspec.Struct):
    """A line of the checkpoint file: how far a source is sent to a stream. The last one of both holds."""

    stream: str
    source: str
    position: int
    mark: str


_HEAD = b'{"stream":'


class Checkpoint:
    """A file of JSON lines that only grows, so that a crash leaves a line less, never a wrong one. One process has it open."""

    def __init__(self, path: Path) -> None:
        self._positions: dict[tuple[str, str], SourcePosition] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be opened: {error.strerror}; give another file with --checkpoint") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            torn = text[len(whole) :]
            if not (torn.startswith(_HEAD) or _HEAD.startswith(torn)):
                raise msgspec.DecodeError(f"its last line is {torn[:40]!r}")
            for entry in msgspec.json.Decoder(_Entry).decode_lines(whole):
                self._positions[entry.stream, entry.source] = SourcePosition(entry.position, entry.mark)
            os.truncate(self._file, len(whole))
        except BlockingIOError:
            os.close(self._file)
            raise CheckpointError(f"another backfill is at work with {path}; wait until it has ended") from None
        except msgspec.DecodeError as error:
            os.close(self._file)
            raise CheckpointError(
                f"{path} is not the checkpoint file of a backfill ({error}); give another one with --checkpoint"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._file)

    def position(self, stream: str, source: str) -> SourcePosition:
        """Return how far a source is sent."""
        return self._positions.get((stream, source), SourcePosition())

    def note(self, stream: str, source: str, position: SourcePosition) -> None:
        """Write down durably how far a source is sent."""
        os.write(self._file, msgspec.json.encode(_Entry(stream, source, *position)) + b"\n")
        os.fsync(self._file)
        self._positions[stream, source] = position


class StreamSink:
    """Takes what a source's reader hands over, as any sink of `tally ingest` does. `stop` ends it before the next block."""

    def __init__(self, producer: Producer, checkpoint: Checkpoint, stream: str) -> None:
        self.rejected: dict[str, int] = {}  # left out
        self.is_stopped = False
        self._producer = producer
        self._checkpoint = checkpoint
        self._stream = f"{stream} {producer.created_ms}"

    def position(self, source: str) -> SourcePosition:
        """Return how far a source is sent."""
        return self._checkpoint.position(self._stream, source)

    def store(self, lines: list[bytes], source: SourceRange | None, text: bytes | None = None) -> None:  # noqa: ARG002
        """Send lines, and note how far their source is sent."""
        if self.is_stopped:
            raise KeyboardInterrupt
        fitting = [line for line in lines if len(line) <= LINE_BYTES_MAX]
        self._producer.send(fitting)
        if too_large := len(lines) - len(fitting):
            self.rejected["too_large"] = self.rejected.get("too_large", 0) + too_large
        if source is not None:
            self._checkpoint.note(self._stream, source.source, SourcePosition(source.end, source.mark))

    def stop(self) -> None:
        """End before the next block. Safe in a signal handler."""
        self.is_stopped = True

    def finish(self) -> None:
        """Nothing: Kinesis has acknowledged everything."""

    def close(self) -> None:
        """Nothing: the checkpoint is closed by whoever has opened it."""
