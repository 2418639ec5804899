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

from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.core.event import Reader, Rejection
from tallystream.ports import Append, Appended, SourceRange, Stream

GROUP_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of lines after which a group takes no further request: what one commit holds in memory, and for how long it takes."""

JUDGED_ALONE = range(100, 10_000)
"""Events of a request that is judged when it comes, while its bytes are in the processor's cache; others with their group."""

AnswerEncoder = Callable[[int, Sequence[Rejection]], bytes]
"""How many events were accepted, which were refused → the body of the answer."""


class Submission(NamedTuple):
    """The events of one request: stored whole or not at all."""

    lines: list[bytes]
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
        rejections = None
        if len(submission.lines) in JUDGED_ALONE:
            rejections = self._reader.read(submission.lines, self._now_ms()).rejections
        self._pending.append((_Judged(submission, rejections), future))
        if self._running is None:
            self._running = loop.create_task(self._run())
        return future

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
        group = [submission for submission, _ in judged]
        lines = group[0].lines if len(group) == 1 else [line for submission in group for line in submission.lines]
        keys = self._reader.partition_keys(lines)
        try:
            appended = self._append(group, answers, lines, keys, now_ms)
        except StorageError:
            self.failed_at_ms = now_ms
            raise
        self.failed_at_ms = None
        self._observe_seconds(time.perf_counter() - started)
        return list(map(Outcome, answers, appended))

    def _append(
        self, group: list[Submission], answers: list[bytes], lines: list[bytes], keys: list[str] | None, now_ms: int
    ) -> list[Appended]:
        if not any(submission.idempotency_key or submission.source for submission in group):
            # Nothing but lines, of which all are stored or none: one append for all requests.
            return self._stream.append([Append(lines, keys)], now_ms) * len(group)
        appends = []
        start = 0
        for submission, answer in zip(group, answers, strict=True):
            end = start + len(submission.lines)
            appends.append(
                Append(
                    submission.lines,
                    None if keys is None else keys[start:end],
                    submission.idempotency_key,
                    submission.digest,
                    answer,
                    submission.source,
                )
            )
            start = end
        return self._stream.append(appends, now_ms)

    def _answers(self, group: list["_Judged"], now_ms: int) -> list[bytes]:
        """Return each submission's answer, having judged together the events of those that were not judged yet."""
        rejections: list[Rejection] = []
        unjudged = [submission.lines for submission, found in group if found is None]
        if unjudged:
            rejections = self._reader.read(list(chain.from_iterable(unjudged)), now_ms).rejections
        indices = [rejection.index for rejection in rejections]
        answers = []
        start = 0
        for submission, found in group:
            if found is None:
                end = start + len(submission.lines)
                own = rejections[bisect_left(indices, start) : bisect_left(indices, end)]
                found = [rejection._replace(index=rejection.index - start) for rejection in own]
                start = end
            answers.append(submission.encode(len(submission.lines) - len(found), found))
        return answers


class _Judged(NamedTuple):
    """A submission, and its rejections if it was judged already."""

    submission: Submission
    rejections: list[Rejection] | None
