"""The data directory: what lies where in it."""

import shutil
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from tallystream.core.alarm import alarm_fingerprint
from tallystream.core.definition import Definition
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.lock import DirectoryLock
from tallystream.local.stream import SQLiteStream
from tallystream.ports.counters import Generation
from tallystream.web.services import DiskUsage

STREAM_FILE = "stream.db"
COUNTERS_FILE = "counters.db"
ALARMS_FILE = "alarms.db"


class DataDirectory:
    """
    A directory with `stream.db`, `counters.db`, `alarms.db` and `lock`. One that is absent is created when it is locked.

    A directory into which files were ingested, and which no server has used, has no `alarms.db`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream_path = path / STREAM_FILE
        self.counters_path = path / COUNTERS_FILE
        self.alarms_path = path / ALARMS_FILE

    def lock(self, holder: str, wait_s: float) -> DirectoryLock:
        """Take the directory's lock; see DirectoryLock.acquire."""
        return DirectoryLock.acquire(self.path, holder, wait_s)

    def open(self, definition: Definition, *, read_only: bool = False) -> tuple[SQLiteStream, SQLiteCounterStore]:
        """
        Open stream and counter store; unless read_only, create what is absent.

        Raises:
            StorageError: a file cannot be opened, is damaged, or of another version.
        """
        # The stream first: whatever is counted was in it before.
        stream = SQLiteStream(self.stream_path, definition.stream, read_only=read_only)
        try:
            return stream, SQLiteCounterStore(self.counters_path, read_only=read_only)
        except BaseException:
            stream.close()
            raise

    def declare(self, definition: Definition) -> list[Generation]:
        """
        Create what is absent, and make the definition's counters the current ones. Whoever holds the lock may do so.

        Raises:
            StorageError: as `open`.
        """
        stream, store = self.open(definition)
        try:
            return store.declare(definition, store.positions(), now_ms())
        finally:
            store.close()
            stream.close()

    def open_alarms(self, *, read_only: bool = False) -> SQLiteAlarmStore:
        """
        Open where alarms are kept; unless read_only, create it if absent.

        Raises:
            StorageError: as `open`.
        """
        return SQLiteAlarmStore(self.alarms_path, read_only=read_only)

    def declare_alarms(self, definition: Definition) -> None:
        """
        Make the definition's alarms the present ones. Whoever holds the lock may do so.

        Raises:
            StorageError: as `open`.
        """
        with closing(self.open_alarms()) as alarms:
            alarms.declare({alarm.name: alarm_fingerprint(alarm) for alarm in definition.alarms}, now_ms())

    def disk_usage(self) -> DiskUsage:
        """Return how much disk the data takes, write-ahead logs included, and how much is left."""
        return DiskUsage(_size(self.stream_path), _size(self.counters_path), shutil.disk_usage(self.path).free)

    def disk_free_percent(self) -> Decimal:
        """Return which share of the disk that holds the data is free, 0 to 100."""
        usage = shutil.disk_usage(self.path)
        return Decimal(100 * usage.free) / usage.total


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in (path, path.with_name(path.name + "-wal")) if each.exists())
