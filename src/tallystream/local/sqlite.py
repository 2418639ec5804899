"""SQLite as all databases here use it: write-ahead logging, one writer at a time, errors that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from tallystream.core.errors import StorageError

_BUSY_TIMEOUT_S = 30


def connect(path: Path, *, read_only: bool = False, is_durable: bool = True) -> sqlite3.Connection:
    """
    Open a database, in autocommit mode: transactions are begun by `transaction`.

    Args:
        path: of the file; made if need be, unless read_only.
        read_only: opens a file that is there, and writes nothing.
        is_durable: a commit has reached the disk when it returns (WAL, synchronous=FULL). If not, a loss of power may take
            the newest commits, whole and in order from the last; a killed process takes none either way.

    Raises:
        StorageError: the file cannot be opened.
    """
    with storage_errors(path):
        if read_only and not path.exists():
            raise StorageError(f"{path} does not exist; give the data directory of a `tally up` or `tally ingest`")
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if not read_only:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect on a new file only
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
                connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("PRAGMA cache_size = -8192")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_both(
    path: Path, schema: str, version: int, *, read_only: bool = False, is_durable: bool = True
) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """
    Return a connection that writes, and one that reads; the writer is to be closed last.

    The tables of a new database are made from a schema file of this package.

    Raises:
        StorageError: the file cannot be opened, or is of another version; then none is open.
    """
    with ExitStack() as opened:
        writer = opened.enter_context(closing(connect(path, read_only=read_only, is_durable=is_durable)))
        if read_only:
            _check_format(writer, path, version)
        else:
            _ensure_schema(writer, path, schema, version)
        reader = connect(path, read_only=True)
        opened.pop_all()
    return writer, reader


def _ensure_schema(connection: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    """Create the tables of a new database from a schema file of this package; refuse a database of another version."""
    with transaction(connection, path):
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == version:
            return
        if found != 0:
            raise _other_format(path, found, version)
        statements = resources.files("tallystream.local").joinpath(schema).read_text(encoding="utf-8")
        for statement in statements.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")


def _check_format(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Refuse a database of another version, also one that is opened to be read only."""
    with storage_errors(path):
        found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != version:
        raise _other_format(path, found, version)


def _other_format(path: Path, found: int, version: int) -> StorageError:
    return StorageError(
        f"{path} has format {found}, this Tallystream reads format {version};"
        " run the version that wrote it, or start with an empty data directory"
    )


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Run the body in one write transaction: committed when it ends, rolled back when it raises."""
    with storage_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def snapshot(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Run the body's reads on one state of the database."""
    with storage_errors(path):
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into StorageErrors that name the file and the remedy."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StorageError(f"{path}: {error}; {_remedy(error)}") from error


def _remedy(error: sqlite3.DatabaseError) -> str:
    match getattr(error, "sqlite_errorname", "").split("_", 2)[:2]:
        case ["SQLITE", "FULL"]:
            return "the disk is full: free some space, nothing that was accepted is lost"
        case ["SQLITE", "READONLY"] | ["SQLITE", "PERM"]:
            return "it cannot be written: mend the permissions of the file and its directory"
        case ["SQLITE", "CANTOPEN"]:
            return "it cannot be opened: does the directory exist, and may this user write to it?"
        case ["SQLITE", "NOTADB"] | ["SQLITE", "CORRUPT"]:
            return "the file is damaged: restore a backup (`tally restore`), or move it away to start empty"
        case ["SQLITE", "BUSY"] | ["SQLITE", "LOCKED"]:
            return "another process keeps it locked: end that process, or try again"
        case ["SQLITE", "IOERR"]:
            return "the disk could not be read or written: look at the system's log"
        case _:
            return "look at the file and its disk"
