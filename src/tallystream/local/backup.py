"""
`tally backup` and `tally restore`: the databases and the definition in one tar file, while everything runs.

The counters are copied first. So the stream in the file is at least as new as the counters: after a restore, counting goes on
from their positions and arrives at the same numbers, since a position says exactly what is counted. The alarms follow from the
counts, so theirs are copied last; what waited to be sent then waits again after a restore.
"""

import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tallystream.core.errors import StorageError, TallystreamError
from tallystream.local.data import ALARMS_FILE, COUNTERS_FILE, STREAM_FILE, DataDirectory
from tallystream.local.sqlite import connect, storage_errors

DEFINITION_FILE = "tally.toml"

_DATABASES = (COUNTERS_FILE, STREAM_FILE, ALARMS_FILE)  # in the order in which they are copied
_OPTIONAL = ALARMS_FILE  # absent where files were ingested without a server


class BackupError(TallystreamError):
    """A backup cannot be made or restored as asked."""


def backup(data: DataDirectory, definition_text: str, file: Path, *, force: bool) -> int:
    """
    Write a backup; return its size in bytes.

    The file appears under its name when it is whole and on the disk, not before.

    Raises:
        BackupError: the file exists and `force` is not set.
        StorageError: something cannot be read or written, or is damaged.
    """
    if file.exists() and not force:
        raise BackupError(f"{file} exists; give another name, or replace it with --force")
    with _disk_errors(file.parent), tempfile.TemporaryDirectory(prefix=".tally-backup-", dir=file.parent) as scratch:
        copies = [Path(scratch) / name for name in _DATABASES if name != _OPTIONAL or (data.path / name).exists()]
        for copy in copies:
            _copy(data.path / copy.name, copy)
        _check_pair(Path(scratch) / COUNTERS_FILE, Path(scratch) / STREAM_FILE)
        whole = Path(scratch) / "backup.tar"
        with whole.open("wb") as out:
            with tarfile.open(fileobj=out, mode="w") as tar:
                text = definition_text.encode()
                entry = tarfile.TarInfo(DEFINITION_FILE)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text))
                for copy in copies:
                    tar.add(copy, copy.name)
            out.flush()
            os.fsync(out.fileno())
        size_bytes = whole.stat().st_size
        whole.replace(file)
        _sync_directory(file.parent)
    return size_bytes


def restore(file: Path, data: DataDirectory) -> Path:
    """
    Put the databases of a backup into a data directory that holds none; return the path of the definition beside them.

    Raises:
        BackupError: the file is no backup, or the directory already holds data.
        DirectoryInUseError: a process uses the directory.
        StorageError: the directory cannot be written.
    """
    with data.lock("tally restore", wait_s=0), _disk_errors(data.path):
        # The counters last: without them nothing counts as restored.
        targets = {name: data.path / name for name in (DEFINITION_FILE, STREAM_FILE, ALARMS_FILE, COUNTERS_FILE)}
        for target in targets.values():
            if target.exists():
                raise BackupError(f"{target} exists already; give an empty directory with --data, or move what is there away")
        with tempfile.TemporaryDirectory(prefix=".tally-restore-", dir=data.path) as scratch:
            _extract(file, Path(scratch))
            for name, target in targets.items():
                if (Path(scratch) / name).exists():
                    (Path(scratch) / name).replace(target)
        _sync_directory(data.path)
        return targets[DEFINITION_FILE]


def _copy(source: Path, target: Path) -> None:
    """Copy a database as of one moment; its writers go on."""
    with closing(connect(source, read_only=True)) as origin, storage_errors(source):
        with closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            problems = [row[0] for row in copy.execute("PRAGMA quick_check")]
        if problems != ["ok"]:
            raise StorageError(f"{source} is damaged ({problems[0]}): restore an earlier backup (`tally restore`)")
        with target.open("rb") as written:
            os.fsync(written.fileno())


def _check_pair(counters: Path, stream: Path) -> None:
    """Make sure that counting can go on: the stream may have been pruned between the two copies."""
    with closing(sqlite3.connect(counters)) as connection:
        positions = dict(connection.execute("SELECT shard, next_sequence FROM position"))
    with closing(sqlite3.connect(stream)) as connection:
        pruned = connection.execute("SELECT shard, pruned_sequence FROM shard").fetchall()
    if any(sequence > positions.get(shard, 0) for shard, sequence in pruned):
        raise BackupError("counting is so far behind that events were pruned while they were copied; back up again")


def _extract(file: Path, directory: Path) -> None:
    try:
        with tarfile.open(file, "r:") as tar:
            found = tar.getnames()
            for name in (DEFINITION_FILE, *(name for name in _DATABASES if name != _OPTIONAL or name in found)):
                member = tar.extractfile(name)
                if member is None:
                    raise KeyError(name)
                with member, (directory / name).open("wb") as out:
                    shutil.copyfileobj(member, out, 1 << 20)
                    out.flush()
                    os.fsync(out.fileno())
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise BackupError(
            f"{file} is no whole backup of Tallystream ({error}); give a file that `tally backup` wrote"
        ) from error


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or directory}: {error.strerror}; mend that, or give another place") from error
