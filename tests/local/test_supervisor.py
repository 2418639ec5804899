"""The supervisor, over children that do as they are told."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server import tally_environment
from tests.waiting import wait_until

# A child writes its process id to a file, and then does what its settings say.
CHILD = """
import os, signal, sys, time
import msgspec
from pathlib import Path
from tallystream.local.child import announce_ready, end_with_parent, read_settings

class Settings(msgspec.Struct):
    file: str
    does: str

settings = read_settings(Settings)
if settings.does == "fail":
    sys.exit("no luck")
if settings.does == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    end_with_parent()
with Path(settings.file).open("a") as file:
    file.write(f"{os.getpid()}\\n")
announce_ready()
if settings.does == "crash later" and len(Path(settings.file).read_text().split()) > 1:
    os.kill(os.getpid(), signal.SIGKILL)
while True:
    signal.pause()
"""

PARENT = """
import logging, sys
import msgspec
from tallystream.core.errors import TallystreamError
from tallystream.local import supervisor

class Settings(msgspec.Struct):
    file: str
    does: str

logging.basicConfig(level=logging.INFO)
supervisor.STOP_S, supervisor.RESTART_S_MIN, supervisor.RESTART_S_MAX = 1.0, 0.001, 0.1
specs = [
    supervisor.ChildSpec(
        f"child-{n}",
        "obedient",
        Settings(f"{sys.argv[1]}/{n}", does.removeprefix("may ")),
        stage=n,
        is_essential=not does.startswith("may "),
    )
    for n, does in enumerate(sys.argv[2:])
]
try:
    supervisor.Supervisor(specs, lambda: print("ready", flush=True)).run()
except TallystreamError as error:
    sys.exit(str(error))
"""


class Family:
    """A supervisor process and what is known of its children."""

    def __init__(self, directory: Path, process: subprocess.Popen[str]) -> None:
        self.directory = directory
        self.process = process

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def pids(self, child: int) -> list[int]:
        """Return the process ids that a child has had, oldest first."""
        path = self.directory / str(child)
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def end(self) -> tuple[int, str]:
        """Return the exit code and the log once it has ended."""
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@contextmanager
def family(directory: Path, *does: str) -> Iterator[Family]:
    (directory / "obedient.py").write_text(textwrap.dedent(CHILD))
    environment = tally_environment()
    environment["PYTHONPATH"] = f"{directory}{os.pathsep}{environment['PYTHONPATH']}"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(directory), *does],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Family(directory, process)
        finally:
            if process.poll() is None:
                process.kill()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_children_and_then_the_supervisor_well(tmp_path: Path, number: signal.Signals) -> None:
    with family(tmp_path, "run", "run") as running:
        running.wait_ready()
        running.process.send_signal(number)
        assert running.end()[0] == 0
        assert not any(is_alive(pid) for pid in (*running.pids(0), *running.pids(1)))


def test_a_child_that_crashes_is_started_again(tmp_path: Path) -> None:
    with family(tmp_path, "run", "run") as running:
        running.wait_ready()
        os.kill(running.pids(0)[0], signal.SIGKILL)
        wait_until(lambda: len(running.pids(0)) == 2, "the child to be started again")
        assert len(running.pids(1)) == 1
        running.process.terminate()
        code, log = running.end()
        assert code == 0
        assert "child-0 ended with SIGKILL" in log


def test_a_child_that_crashes_over_and_over_ends_everything(tmp_path: Path) -> None:
    with family(tmp_path, "run", "crash later") as running:
        running.wait_ready()
        os.kill(running.pids(1)[0], signal.SIGKILL)
        code, log = running.end()
        assert code == 1
        assert "child-1 ended 8 times in a row within 10 s of its start, last with SIGKILL" in log
        assert len(running.pids(1)) == 8
        assert not is_alive(running.pids(0)[0])


def test_a_child_that_is_not_essential_may_crash_over_and_over(tmp_path: Path) -> None:
    with family(tmp_path, "run", "may crash later") as running:
        running.wait_ready()
        os.kill(running.pids(1)[0], signal.SIGKILL)
        wait_until(lambda: len(running.pids(1)) >= 10, "the child to be started more often than an essential one")
        assert is_alive(running.pids(0)[0])
        running.process.terminate()
        assert running.end()[0] == 0


def test_a_child_that_cannot_start_ends_everything_at_once(tmp_path: Path) -> None:
    with family(tmp_path, "run", "fail") as running:
        code, log = running.end()
        assert code == 1
        assert "no luck" in log
        assert "child-1 could not start (exit code 1)" in log


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    with family(tmp_path, "run", "stay") as running:
        running.wait_ready()
        running.process.terminate()
        code, log = running.end()
        assert code == 0
        assert "child-1 did not end in time; killing it" in log
        assert not is_alive(running.pids(1)[0])


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with family(tmp_path, "run", "run") as running:
        running.wait_ready()
        running.process.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in (*running.pids(0), *running.pids(1))), "the children to end")
