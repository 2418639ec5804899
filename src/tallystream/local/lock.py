"""The lock of a data directory: one `tally up` (or one counting `tally ingest`) at a time."""

import errno
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tallystream.core.errors import StorageError, TallystreamError

WAIT_S = 3.0  # how long a dying predecessor may take: its children hold the lock until they have noticed its end
_POLL_S = 0.02


class DirectoryInUseError(TallystreamError):
    """Another process holds the lock of the data directory."""

    def __init__(self, directory: Path, holder: str) -> None:
        self.directory = directory
        self.holder = holder
        super().__init__(
            f"the data directory {directory} is in use by {holder or 'another process'}; "
            "stop that process first, or give another directory with --data"
        )


class DirectoryLock:
    """
    An exclusive flock on `DIR/lock`.

    The lock belongs to the open file, not to the process: children that inherit `fd` hold it too, so that it is free
    only when the last of them has ended. The kernel lets go of it however they end; a stale file means nothing.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def acquire(cls, directory: Path, holder: str, wait_s: float = WAIT_S) -> Self:
        """
        Take the lock; create the directory when it is absent.

        Args:
            directory: the data directory.
            holder: who takes it, written into the file for the message of whoever is refused, such as "tally up".
            wait_s: how long to wait for another holder to let go; 0 asks once.

        Raises:
            DirectoryInUseError: another process still held the lock after `wait_s`.
            StorageError: the directory cannot be created or written.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unusable_directory(directory, error) from error
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    written = os.pread(fd, 200, 0).decode(errors="replace").strip()
                    os.close(fd)
                    raise DirectoryInUseError(directory, written) from None
                time.sleep(_POLL_S)
        lock = cls(fd)
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{holder} (process {os.getpid()})\n".encode(), 0)
        except OSError as error:
            lock.release()
            raise unusable_directory(directory, error) from error
        return lock

    def release(self) -> None:
        """Let go of this process's share of the lock. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def unusable_directory(directory: Path, error: OSError) -> StorageError:
    """Say why a data directory cannot be used and how to mend it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(f"the disk that holds {directory} is full; free some space and start again")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StorageError(
            f"the data directory {directory} cannot be written ({error.strerror}); "
            "give this user the right to write there, or another directory with --data"
        )
    return StorageError(f"the data directory {directory} cannot be used: {error.strerror}; give another with --data")
