"""A backup of a running server, and what comes of it after a restore."""

import json
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tallystream.core.alarm import Transition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.local.backup import BackupError, backup, restore
from tallystream.local.data import DataDirectory
from tallystream.local.lock import DirectoryInUseError
from tallystream.local.verify import verify
from tallystream.ports.alarms import AlarmChange, AlarmKey, ChannelTiming
from tallystream.ports.stream import Append
from tests.conftest import StartServer
from tests.plain import DEFINITION, line
from tests.waiting import wait_until


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    """A directory with events that nobody has counted."""
    made = DataDirectory(tmp_path / "data")
    made.path.mkdir()
    made.declare(parse_definition(DEFINITION))
    stream, store = made.open(parse_definition(DEFINITION))
    made.declare_alarms(parse_definition(DEFINITION))
    with closing(stream), closing(store):
        stream.append([Append([line(number) for number in range(1_000)])], 1_790_000_000_000)
    return made


def test_counting_goes_on_exactly_after_a_restore(tmp_path: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    stop = threading.Event()
    sent = [0]

    def send() -> None:
        while not stop.is_set():
            sent[0] += server.send([json.loads(line(number)) for number in range(100)])["accepted"]

    sender = threading.Thread(target=send)
    sender.start()
    try:
        wait_until(lambda: server.get("/v1/ledger")["counted"] > 1_000, "some events to be counted")
        backup(DataDirectory(server.data), DEFINITION, tmp_path / "b.tar", force=False)
    finally:
        stop.set()
        sender.join()
    wait_until(lambda: server.get("/v1/ledger")["counted"] == sent[0], "all to be counted")
    server.stop()

    restored = DataDirectory(tmp_path / "restored")
    config = restore(tmp_path / "b.tar", restored)
    assert config.read_text() == DEFINITION
    assert verify(restored, parse_definition(DEFINITION)).differences == []
    again = tally_server(DEFINITION, data=restored.path)
    shards = again.get("/v1/health")["shards"]
    stored = sum(shard["next_sequence"] for shard in shards)
    assert 1_000 < stored <= sent[0]
    wait_until(lambda: again.get("/v1/ledger")["counted"] == stored, "the restored stream to be counted")
    again.send([json.loads(line(0))])
    wait_until(lambda: again.get("/v1/ledger")["counted"] == stored + 1, "a new event to be counted")
    query = again.get("/v1/query", counter="events", window="1m", by="", **{"from": "1789999000000", "to": "1790010000000"})
    assert query["series"][0]["total"] == stored + 1
    assert verify(restored, parse_definition(DEFINITION)).differences == []


def test_alarms_and_what_waits_to_be_sent_are_restored(tmp_path: Path, data: DataDirectory) -> None:
    key = AlarmKey("low")
    with closing(data.open_alarms()) as alarms:
        transition = Transition("OK", "ALARM", "because", ())
        assert alarms.commit([AlarmChange(key, 0, transition, "ALARM", ("mail",))], 1_790_000_000_000)
        statuses = alarms.statuses()
        backup(data, DEFINITION, tmp_path / "b.tar", force=False)
    restored = DataDirectory(tmp_path / "restored")
    restore(tmp_path / "b.tar", restored)
    with closing(restored.open_alarms()) as alarms:
        assert alarms.statuses() == statuses
        session = alarms.open_session(0)
        (message,) = alarms.lease(session, {"mail": ChannelTiming(0, 1)}, 1_790_000_000_000, 1)
        assert message.items == alarms.history()


def test_a_directory_that_no_server_has_used_has_no_alarms(tmp_path: Path, data: DataDirectory) -> None:
    data.alarms_path.unlink()
    backup(data, DEFINITION, tmp_path / "b.tar", force=False)
    restore(tmp_path / "b.tar", DataDirectory(tmp_path / "restored"))
    assert sorted(path.name for path in (tmp_path / "restored").iterdir()) == ["counters.db", "lock", "stream.db", "tally.toml"]


def test_a_file_that_exists_is_kept_unless_forced(tmp_path: Path, data: DataDirectory) -> None:
    file = tmp_path / "b.tar"
    file.write_text("precious")
    with pytest.raises(BackupError, match=r"b\.tar exists; .*--force"):
        backup(data, DEFINITION, file, force=False)
    assert file.read_text() == "precious"
    assert backup(data, DEFINITION, file, force=True) == file.stat().st_size
    with tarfile.open(file) as tar:
        assert sorted(tar.getnames()) == ["alarms.db", "counters.db", "stream.db", "tally.toml"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_database_is_not_backed_up(tmp_path: Path, data: DataDirectory) -> None:
    with closing(sqlite3.connect(data.stream_path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with data.stream_path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * 4_096)
    with pytest.raises(StorageError, match=r"stream\.db.*damaged"):
        backup(data, DEFINITION, tmp_path / "b.tar", force=False)
    assert not (tmp_path / "b.tar").exists()


def test_a_restore_overwrites_nothing(tmp_path: Path, data: DataDirectory) -> None:
    backup(data, DEFINITION, tmp_path / "b.tar", force=False)
    with pytest.raises(BackupError, match=r"stream\.db exists already; give an empty directory"):
        restore(tmp_path / "b.tar", data)
    with data.lock("tally up", 0), pytest.raises(DirectoryInUseError):
        restore(tmp_path / "b.tar", data)


@pytest.mark.parametrize("cut", [10, 5_000, 100_000])
def test_a_file_that_is_no_whole_backup_leaves_nothing(tmp_path: Path, data: DataDirectory, cut: int) -> None:
    file = tmp_path / "b.tar"
    backup(data, DEFINITION, file, force=False)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BackupError, match=r"b\.tar is no whole backup"):
        restore(file, DataDirectory(tmp_path / "restored"))
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["lock"]


def test_the_directory_of_the_backup_must_be_there(tmp_path: Path, data: DataDirectory) -> None:
    with pytest.raises(StorageError, match=r"nothing.*: No such file or directory; mend that"):
        backup(data, DEFINITION, tmp_path / "nothing" / "b.tar", force=False)
