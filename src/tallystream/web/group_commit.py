"""
Group commit: all requests that wait go to the stream in one commit, and the next begins as soon as it has ended.

No timer: alone, a request waits for its own fsync; together, a hundred share one. While a commit is under way, in a thread of
its own, the event loop goes on taking requests, and they make up the next group.
"""

import asyncio
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final, NamedTuple

from tallystream.core.chunk_tally import ChunkTallier
from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.core.event import Reader, Rejection
from tallystream.ports.stream import Append, Appended, Packed, SourceRange, Stream

GROUP_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of lines after which a group takes no further request: what one commit holds in memory, and for how long it takes."""

JUDGED_ALONE = range(100, 10_000)
"""
Events of a request that is judged, tallied and packed when it comes, while a processor's cache holds it, and the commit before
it has the interpreter's lock to itself while it is packed; others are with their group.
"""

AnswerEncoder = Callable[[int, Sequence[Rejection]], bytes]
"""How many events were accepted, which were refused → the body of the answer."""


class Submission(NamedTuple):
    """The events of one request: stored whole or not at all."""

    lines: list[bytes]
    text: bytes | None  # the lines joined by line feeds, where it is at hand
    size_bytes: int
    encode: AnswerEncoder
    idempotency_key: str | None = None
    digest: bytes = b""
    source: SourceRange | None = None


class Outcome(NamedTuple):
    """What became of a submission; `answer` is what to tell the client when it is stored, now or at an earlier try."""

    answer: bytes
    appended: Appended


class GroupCommit:
    """
    The one way to the stream for the requests of a process.

    Args:
        stream: appended to from one thread.
        definition: by which events are judged, for the answers.
        now_ms: the clock; one reading is the arrival time of a group.
        observe_seconds: told how long each commit took.
    """

    def __init__(
        self, stream: Stream, definition: Definition, now_ms: Callable[[], int], observe_seconds: Callable[[float], None]
    ) -> None:
        self._stream = stream
        self._reader = Reader(definition)
        self._tallier = ChunkTallier(definition, self._reader)
        self._has_partition_key = definition.stream.partition_key is not None
        self._now_ms = now_ms
        self._observe_seconds = observe_seconds
        self._thread = ThreadPoolExecutor(1, "tally-commit")
        self._pending: deque[tuple[_Judged, asyncio.Future[Outcome]]] = deque()
        self._running: asyncio.Task[None] | None = None
        self.failed_at_ms: int | None = None
        """When storage failed, if the last commit did."""

    def submit(self, submission: Submission) -> "asyncio.Future[Outcome]":
        """
        Store a submission's events; the future holds its outcome once they are on disk.

        The future raises StorageError when they cannot be stored, and then none of them is.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        judged = self._judge(submission) if len(submission.lines) in JUDGED_ALONE else _Judged(submission)
        self._pending.append((judged, future))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return future

    def _judge(self, submission: Submission) -> "_Judged":
        lines, text = submission.lines, submission.text
        batch = self._reader.read(lines, self._now_ms(), text)
        if self._has_partition_key:  # the lines may go to several shards
            return _Judged(submission, batch.rejections)
        return _Judged(submission, batch.rejections, self._stream.pack(lines, self._tallier.tally(batch), text))

    async def close(self) -> None:
        """Finish what was submitted, and end the thread."""
        while self._running is not None:
            await asyncio.wait([self._running])
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending:
            group = self._take()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._commit, [judged for judged, _ in group])
            except Exception as error:  # whoever waits is told, whatever it is
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), outcome in zip(group, outcomes, strict=True):
                    if not future.done():
                        future.set_result(outcome)
        self._running = None

    def _take(self) -> list[tuple["_Judged", "asyncio.Future[Outcome]"]]:
        group = []
        size_bytes = 0
        while self._pending and size_bytes < GROUP_BYTES_MAX:
            group.append(self._pending.popleft())
            size_bytes += group[-1][0].submission.size_bytes
        return group

    # In the thread.

    def _commit(self, judged: list["_Judged"]) -> list[Outcome]:
        started = time.perf_counter()
        now_ms = self._now_ms()
        answers = self._answers(judged, now_ms)
        try:
            appended = self._append(judged, answers, now_ms)
        except StorageError:
            self.failed_at_ms = now_ms
            raise
        self.failed_at_ms = None
        self._observe_seconds(time.perf_counter() - started)
        return list(map(Outcome, answers, appended))

    def _append(self, group: list["_Judged"], answers: list[bytes], now_ms: int) -> list[Appended]:
        """Append all that is nothing but lines as one, for all of it is stored or none; the others each by itself."""
        shared = [judged.submission.lines for judged in group if judged.is_plain]
        appends = []
        if shared:
            lines = shared[0] if len(shared) == 1 else list(chain.from_iterable(shared))
            appends.append(Append(lines, self._reader.partition_keys(lines)))
        for judged, answer in zip(group, answers, strict=True):
            if judged.is_plain:
                continue
            submission = judged.submission
            lines, keys = submission.lines, self._reader.partition_keys(submission.lines)
            key, digest = submission.idempotency_key, submission.digest
            appends.append(Append(lines, keys, key, digest, answer, submission.source, judged.packed))
        fates = iter(self._stream.append(appends, now_ms))
        shared_fate = next(fates) if shared else None
        return [shared_fate if shared_fate and judged.is_plain else next(fates) for judged in group]

    def _answers(self, group: list["_Judged"], now_ms: int) -> list[bytes]:
        """Return each submission's answer, having judged together the events of those that were not judged yet."""
        rejections: list[Rejection] = []
        unjudged = [judged.submission.lines for judged in group if judged.rejections is None]
        if unjudged:
            rejections = self._reader.read(list(chain.from_iterable(unjudged)), now_ms).rejections
        indices = [rejection.index for rejection in rejections]
        answers = []
        start = 0
        for submission, found, _ in group:
            if found is None:
                end = start + len(submission.lines)
                own = rejections[bisect_left(indices, start) : bisect_left(indices, end)]
                found = [rejection._replace(index=rejection.index - start) for rejection in own]
                start = end
            answers.append(submission.encode(len(submission.lines) - len(found), found))
        return answers


class _Judged(NamedTuple):
    """A submission; if it was judged already, with its rejections, and packed with its tally."""

    submission: Submission
    rejections: list[Rejection] | None = None
    packed: Packed | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing but its lines is to be stored."""
        return self.submission.idempotency_key is None and self.submission.source is None and self.packed is None
