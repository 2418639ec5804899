"""
How a parent process and its children talk: one line of settings in, one word out, and a pipe that tells of the end.

The parent writes the settings to the child's standard input and keeps that pipe open; when it closes, the parent is gone or
wants the child to end. The child writes `ready` to its standard output; when that closes, the child is gone. Nothing is secret
to others this way: arguments and environment show up in a list of processes, a pipe does not.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from tallystream.core.definition import Definition

READY = b"ready\n"

Settings = TypeVar("Settings", bound=msgspec.Struct)


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a web worker or a counter worker is told."""

    name: str  # in the log
    definition: Definition  # as read from its text, which is not read once more
    data: str  # the data directory
    log_format: str
    socket_fd: int = -1  # the listening socket of a web worker
    write_token: str | None = None
    read_token: str | None = None
    started_ms: int = 0  # when `tally up` began


def spawn(module: str, settings: msgspec.Struct, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """
    Start `python -m module` with the settings; it inherits `pass_fds` and standard error.

    The child is in a process group of its own: Ctrl-C on the terminal reaches the parent alone, which then ends its children.
    """
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=pass_fds,
        process_group=0,
        bufsize=0,
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended at once: whoever waits for `ready` sees that
        child.stdin.write(msgspec.json.encode(settings) + b"\n")
    return child


def read_settings(settings_type: type[Settings]) -> Settings:
    """Return the settings that the parent wrote. Called first, once."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=settings_type)


def end_with_parent() -> None:
    """From now on, take the parent's end for a SIGTERM."""

    def watch() -> None:
        while os.read(0, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def announce_ready() -> None:
    """Tell the parent that the work has begun."""
    os.write(1, READY)
