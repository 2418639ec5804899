"""How far `tally ingest` has come: a bar on a terminal, a line now and then elsewhere. Both on standard error."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import click

from tallystream.local.ingest import Progress

_BAR_S = 0.1
_LINE_S = 5.0

Rejected = Callable[[], int]  # how many events were refused so far; asking may cost a query


class Display(Protocol):
    """Shows how one source is read."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def update(self, progress: Progress) -> None:
        """Take note of the progress; show it when it is time."""
        ...

    def wait(self) -> None:
        """Say that everything is stored and counting has to catch up."""
        ...


def make_display(name: str, size_bytes: int | None, rejected: Rejected) -> Display:
    """Return a bar if standard error is a terminal, otherwise lines. size_bytes is None for a pipe, whose end is unknown."""
    return _Bar(name, size_bytes, rejected) if sys.stderr.isatty() else _Lines(name, size_bytes, rejected)


class _Lines:
    def __init__(self, name: str, size_bytes: int | None, rejected: Rejected) -> None:
        self._name = name
        self._size_bytes = size_bytes
        self._rejected = rejected
        self._started_s = self._shown_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shown_s < _LINE_S:
            return
        self._shown_s = now
        elapsed_s = now - self._started_s
        line = f"{self._name}: {progress.events:,} events, {progress.events / elapsed_s:,.0f}/s, {self._rejected():,} rejected"
        if self._size_bytes and progress.read_bytes:
            done = min(1.0, progress.read_bytes / self._size_bytes)
            line += f", {done:.0%}, {elapsed_s / done - elapsed_s:,.0f} s left"
        click.echo(line, err=True)

    def wait(self) -> None:
        pass


class _Bar:
    def __init__(self, name: str, size_bytes: int | None, rejected: Rejected) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rejected = rejected
        self._progress = Progress(0, 0)
        self._started_s = time.monotonic()
        self._shown_s = 0.0
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[events]:,} events"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TextColumn("{task.fields[rejected]:,} rejected"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(escape(name), total=size_bytes, events=0, rate=0.0, rejected=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._show()
        self._bar.stop()

    def update(self, progress: Progress) -> None:
        self._progress = progress
        if time.monotonic() - self._shown_s >= _BAR_S:
            self._show()

    def wait(self) -> None:
        self._bar.update(self._task, description="counting")
        self._show()

    def _show(self) -> None:
        self._shown_s = time.monotonic()
        self._bar.update(
            self._task,
            completed=self._progress.read_bytes,
            events=self._progress.events,
            rate=self._progress.events / (self._shown_s - self._started_s),
            rejected=self._rejected(),
        )
