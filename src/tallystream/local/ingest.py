"""
`tally ingest`: the blocks of a source, one after the other, into a sink, each with how far it goes.

Where a source stands commits with its events. So a run that was killed goes on behind the last block that was stored, and
no event is stored twice.
"""

from collections.abc import Callable, Iterator
from itertools import chain, count, islice
from typing import NamedTuple, Protocol

from tallystream.core.errors import TallystreamError
from tallystream.local.blocks import Block, UnfinishedInputError
from tallystream.local.retained import RetainedSource
from tallystream.local.source import Source, SourceError
from tallystream.ports.stream import SourcePosition, SourceRange


class Sink(Protocol):
    """Where events go: a server, or the data directory itself."""

    @property
    def rejected(self) -> dict[str, int]:
        """Reason code → events refused so far."""
        ...

    def position(self, source: str) -> SourcePosition:
        """Return how far a source is stored, and the mark that was stored with it."""
        ...

    def store(self, lines: list[bytes], source: SourceRange | None, text: bytes | None = None) -> None:
        """
        Store lines durably, and the source's position with them, by a later call or by `finish`; wait as long as that takes.

        `text` is the lines joined by line feeds, where it is at hand.

        Raises:
            PositionError: the source stands elsewhere than at `source.start`; nothing of these lines, or of those before, was
                stored.
            TallystreamError: they cannot be stored; nothing was, or a second call with the same range does no harm.
        """
        ...

    def finish(self) -> None:
        """Wait until all is stored and counted, as far as this sink can tell. Raises as `store`."""
        ...

    def close(self) -> None: ...


class PositionError(TallystreamError):
    """A source stands elsewhere than its reader thought: somebody else reads it, too."""


class Progress(NamedTuple):
    """How far a source is read."""

    events: int
    read_bytes: int  # as they are on the disk


class Outcome(NamedTuple):
    """What came of a source."""

    events: int  # stored by this run
    start: int  # where in the text it began, > 0 when it went on from an earlier run
    end: int
    unfinished: UnfinishedInputError | None  # what the end lacks; all before it is stored


def ingest(source: Source | RetainedSource, sink: Sink, *, again: bool, on_progress: Callable[[Progress], None]) -> Outcome:
    """
    Store a source from where an earlier run stopped, or from its beginning.

    Args:
        source: what to read.
        sink: where to put it.
        again: when the source was read to its end before, read it once more as new events.
        on_progress: called after each block that the sink took.

    Raises:
        TallystreamError: reading or storing failed. What was stored stays, and the next run goes on behind it.
    """
    name: str | None = None
    events = start = end = 0
    unfinished = None
    try:
        name, start, blocks = _resume(source, sink, again)
        end = start
        for block in blocks:
            if name is not None:
                sink.store(block.lines, SourceRange(name, end, block.end, block.mark), block.text)
            elif block.lines:  # without them there is nothing to store, not even a position
                sink.store(block.lines, None, block.text)
            events += len(block.lines)
            end = block.end
            on_progress(Progress(events, source.read_bytes))
    except UnfinishedInputError as error:
        unfinished = error
    return Outcome(events, start, end, unfinished)


def _resume(source: Source | RetainedSource, sink: Sink, again: bool) -> tuple[str | None, int, Iterator[Block]]:
    """Return the source's name in the stream (None: it has none), where to begin, and the blocks from there on."""
    identity = source.identity()
    if identity is None:
        return None, 0, source.blocks()
    # Of the runs over this file, the newest that has begun is the one to go on with.
    runs = (f"{identity}.{run}" for run in count(1))
    name, stored, next_name = identity, sink.position(identity), next(runs)
    while (next_stored := sink.position(next_name)).position > 0:
        name, stored, next_name = next_name, next_stored, next(runs)
    position = stored.position
    blocks = source.blocks(*stored)
    if not (again and position):
        return name, position, blocks
    try:
        rest = list(islice(blocks, 1))
    except (SourceError, UnfinishedInputError):  # rewritten, or nothing whole is left
        rest = []
    return (name, position, chain(rest, blocks)) if rest else (next_name, 0, source.blocks())
