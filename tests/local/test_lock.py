"""One process at a time works on a data directory."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tallystream.core.errors import StorageError
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.lock import DirectoryInUseError, DirectoryLock

_HOLD = """
import sys
from pathlib import Path
from tallystream.local.lock import DirectoryLock
lock = DirectoryLock.acquire(Path(sys.argv[1]), "tally up", 0)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _HOLD, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_holder_is_refused_with_directory_and_process(tmp_path: Path) -> None:
    with holder(tmp_path) as process, pytest.raises(DirectoryInUseError) as refused:
        DirectoryLock.acquire(tmp_path, "tally up", 0)
    assert str(tmp_path) in str(refused.value)
    assert f"tally up (process {process.pid})" in str(refused.value)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        DirectoryLock.acquire(tmp_path, "tally up", 0).release()


def test_waits_for_a_dying_predecessor(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        threading.Timer(0.2, process.kill).start()
        DirectoryLock.acquire(tmp_path, "tally up", 30).release()


def test_children_that_inherit_the_lock_hold_it_too(tmp_path: Path) -> None:
    lock = DirectoryLock.acquire(tmp_path, "tally up", 0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.fd]) as child:
        lock.release()
        with pytest.raises(DirectoryInUseError):
            DirectoryLock.acquire(tmp_path, "tally up", 0)
        child.kill()
        child.wait()
        DirectoryLock.acquire(tmp_path, "tally up", 0).release()


def test_creates_the_directory_and_may_be_released_twice(tmp_path: Path) -> None:
    with DirectoryLock.acquire(tmp_path / "a" / "b", "tally up", 0) as lock:
        assert (tmp_path / "a" / "b" / "lock").read_text() == f"tally up (process {os.getpid()})\n"
        lock.release()


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageError, match=r"data directory .*/data cannot be used: .*--data"):
        DirectoryLock.acquire(tmp_path / "data", "tally up", 0)


@contextmanager
def read_only_directory() -> Iterator[Path]:
    """A directory with a counters.db in it that this process may read and not write, even where it runs as root."""
    with tempfile.TemporaryDirectory() as path:  # pytest's own directories are closed to other users
        directory = Path(path)
        with closing(SQLiteCounterStore(directory / "counters.db")):
            pass
        (directory / "counters.db").chmod(0o444)
        directory.chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            yield directory
        finally:
            os.seteuid(user)
            directory.chmod(0o755)


def test_a_directory_that_may_only_be_read_is_a_clear_error() -> None:
    with read_only_directory() as directory:
        with pytest.raises(StorageError, match=r"cannot be written \(Permission denied\); give this user the right .*--data"):
            DirectoryLock.acquire(directory, "tally up", 0)
        with pytest.raises(StorageError, match=r"counters\.db: .*; it cannot be written: mend"):
            SQLiteCounterStore(directory / "counters.db")
