"""Keeps child processes running: starts them, starts them again when they crash, and ends them in order."""

import contextlib
import logging
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from tallystream.core.errors import TallystreamError
from tallystream.local.child import READY, spawn

CRASHES_MAX = 8  # of an essential child in a row, each within CALM_S of its start; then the supervisor gives up
CALM_S = 10.0  # a child that ran this long is forgiven its earlier crashes
READY_S_MAX = 30.0
STOP_S = 3.0  # for each stage to end by itself
RESTART_S_MIN = 0.1
RESTART_S_MAX = 5.0

_log = logging.getLogger(__name__)


class ChildFailedError(TallystreamError):
    """A child process cannot be kept running."""


class ChildSpec(NamedTuple):
    """A child process to keep running."""

    name: str
    module: str
    settings: msgspec.Struct
    pass_fds: tuple[int, ...] = ()
    stage: int = 0  # the highest stage is ended first
    is_essential: bool = True  # without it nothing can go on; if not, it is started again however often it crashes


@dataclass
class _Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] = field(init=False)
    started_s: float = 0.0
    restart_at_s: float = 0.0  # when it is down
    crashes: int = 0  # in a row
    is_ready: bool = False
    output: bytes = b""

    @property
    def due_s(self) -> float | None:
        """When something must have happened: a start, or the readiness of what was started."""
        if self.is_running:
            return None if self.is_ready else self.started_s + READY_S_MAX
        return self.restart_at_s

    @property
    def is_running(self) -> bool:
        """Whether the process has not been reaped."""
        return self.process.returncode is None


class Supervisor:
    """
    Runs child processes until a signal asks to stop.

    SIGTERM or SIGINT ends the children stage by stage, each with SIGTERM and, after STOP_S, with SIGKILL; a second
    signal ends all at once. A child that crashes is started again, at once at first and then later and later.
    """

    def __init__(self, specs: Sequence[ChildSpec], on_ready: Callable[[], None]) -> None:
        self._specs = specs
        self._on_ready = on_ready
        self._children: list[_Child] = []
        self._selector = selectors.DefaultSelector()
        self._was_ready = False
        self._signals = 0

    def run(self) -> None:
        """
        Return when a signal asked to stop and all children have ended.

        Raises:
            ChildFailedError: a child did not start, or crashed over and over; all others were ended.
        """
        wake, notify = socket.socketpair()
        for end in (wake, notify):
            end.setblocking(False)
        handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        wakeup_fd = signal.set_wakeup_fd(notify.fileno())
        self._selector.register(wake, selectors.EVENT_READ)
        try:
            for spec in self._specs:
                child = _Child(spec)
                self._start(child)
                self._children.append(child)
            while not self._signals:
                self._turn(wake)
        finally:
            self._stop(wake)
            signal.set_wakeup_fd(wakeup_fd)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            wake.close()
            notify.close()

    def _on_signal(self, number: int, frame: object) -> None:  # noqa: ARG002  # a signal handler's arguments
        self._signals += 1

    def _start(self, child: _Child) -> None:
        child.process = spawn(child.spec.module, child.spec.settings, child.spec.pass_fds)
        child.started_s = time.monotonic()
        child.is_ready, child.output = False, b""
        assert child.process.stdout is not None
        self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _turn(self, wake: socket.socket) -> None:
        """Wait for something to happen, and see to it."""
        now = time.monotonic()
        due = [at_s for child in self._children if (at_s := child.due_s) is not None]
        for key, _ in self._selector.select(max(0.0, min(due) - now) if due else None):
            if key.fileobj is wake:
                self._clear(wake)
            else:
                self._read(key.data)
        for child in self._children:
            if child.due_s is not None and time.monotonic() >= child.due_s:
                if child.is_running:
                    raise ChildFailedError(f"{child.spec.name} was not ready within {READY_S_MAX:.0f} s; see the log above")
                self._start(child)

    def _read(self, child: _Child) -> None:
        assert child.process.stdout is not None
        said = child.process.stdout.read(64)
        if not said:
            self._ended(child)
            return
        child.output += said
        if child.output == READY and not child.is_ready:
            child.is_ready = True
            if not self._was_ready and all(each.is_ready for each in self._children):
                self._was_ready = True
                self._on_ready()

    def _ended(self, child: _Child) -> None:
        how = self._reap(child)
        if not self._was_ready:
            raise ChildFailedError(f"{child.spec.name} could not start ({how}); the log above says why")
        ran_s = time.monotonic() - child.started_s
        child.crashes = 1 if ran_s >= CALM_S else child.crashes + 1
        if child.crashes >= CRASHES_MAX and child.spec.is_essential:
            raise ChildFailedError(
                f"{child.spec.name} ended {child.crashes} times in a row within {CALM_S:.0f} s of its start, last with {how}; "
                "the log above says why. Everything that was accepted is on disk: mend the cause and start again"
            )
        delay_s = min(RESTART_S_MAX, RESTART_S_MIN * 2 ** min(child.crashes - 1, 20))
        child.restart_at_s = time.monotonic() + delay_s
        _log.error("%s ended with %s after %.1f s; starting it again", child.spec.name, how, ran_s)

    def _reap(self, child: _Child) -> str:
        """Take leave of a child that has ended; return how it ended."""
        assert child.process.stdin is not None
        assert child.process.stdout is not None
        self._selector.unregister(child.process.stdout)
        child.process.stdin.close()
        child.process.stdout.close()
        try:
            status = child.process.wait(STOP_S)
        except subprocess.TimeoutExpired:  # it has closed its output, which no child of ours does
            child.process.kill()
            status = child.process.wait()
        return f"exit code {status}" if status >= 0 else signal.Signals(-status).name

    def _stop(self, wake: socket.socket) -> None:
        """End the children that run, stage by stage."""
        patience = max(1, self._signals)  # how many signals it takes until we stop waiting
        for stage in sorted({spec.stage for spec in self._specs}, reverse=True):
            ending = [child for child in self._children if child.spec.stage == stage and child.is_running]
            for child in ending:
                child.process.terminate()
            deadline_s = time.monotonic() + STOP_S
            while ending:
                if time.monotonic() >= deadline_s or self._signals > patience:
                    for child in ending:
                        _log.warning("%s did not end in time; killing it", child.spec.name)
                        child.process.kill()
                    deadline_s, patience = float("inf"), self._signals
                for key, _ in self._selector.select(min(STOP_S, deadline_s - time.monotonic())):
                    if key.fileobj is wake:
                        self._clear(wake)
                    elif not key.data.process.stdout.read(64):
                        self._reap(key.data)
                ending = [child for child in ending if child.is_running]

    @staticmethod
    def _clear(wake: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            wake.recv(64)
