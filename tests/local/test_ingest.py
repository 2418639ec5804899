"""Ingesting: every event once, whatever is killed, lost or repeated."""

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import zstandard

from tallystream.core.counting import Ledger
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.local.blocks import PIECE_BYTES_MAX
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.direct import DirectSink
from tallystream.local.ingest import Outcome, PositionError, ingest
from tallystream.local.lock import DirectoryInUseError
from tallystream.local.source import FileSource, SourceError
from tests.conftest import StartServer
from tests.plain import DEFINITION, line
from tests.server import TALLY, tally_environment
from tests.waiting import wait_until


def write(path: Path, start: int, end: int) -> Path:
    path.write_bytes(b"".join(line(number) + b"\n" for number in range(start, end)))
    return path


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return empty_data(tmp_path / "data")


def empty_data(path: Path) -> DataDirectory:
    """Return a directory with databases that hold nothing, so that a test can look into them at any time."""
    path.mkdir()
    made = DataDirectory(path)
    made.declare(parse_definition(DEFINITION))
    return made


@pytest.fixture
def sink(data: DataDirectory) -> Iterator[DirectSink]:
    with closing(DirectSink(data, DEFINITION)) as made:
        yield made


def read(path: Path, sink: DirectSink, *, again: bool = False) -> Outcome:
    outcome = ingest(FileSource(path), sink, again=again, on_progress=lambda _: None)
    sink.finish()
    return outcome


def ledger_of(data: DataDirectory) -> Ledger:
    with closing(SQLiteCounterStore(data.counters_path, read_only=True)) as store:
        return store.ledger()


def stored_lines(data: DataDirectory) -> list[bytes]:
    stream, store = data.open(parse_definition(DEFINITION), read_only=True)
    with closing(stream), closing(store):
        return [each for state in stream.shards() for chunk in stream.read(state.shard, 0, 10_000_000) for each in chunk.lines]


def test_finishes_when_everything_is_counted(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 20_000)
    append(path, b"nonsense\n\n")
    assert read(path, sink).events == 20_001
    assert ledger_of(data) == Ledger(received=20_001, counted=20_000, rejected=1)
    assert sink.rejected == {"invalid_json": 1}
    assert sorted(stored_lines(data)) == sorted([*map(line, range(20_000)), b"nonsense"])


def test_a_second_run_has_nothing_to_do_and_a_grown_file_goes_on(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 100)
    first = read(path, sink)
    assert read(path, sink) == Outcome(events=0, start=first.end, end=first.end, unfinished=None)
    append(path, line(100) + b"\n" + line(101)[:-5])
    grown = read(path, sink)
    assert grown.events == 1
    assert grown.unfinished is not None
    append(path, line(101)[-5:])
    assert read(path, sink).events == 1
    assert sorted(stored_lines(data)) == sorted(map(line, range(102)))


def test_blocks_of_blank_lines_alone_are_passed_over(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "events.ndjson", 0, 10)
    append(path, b"\n" * 4 * PIECE_BYTES_MAX + line(10) + b"\n")
    assert read(path, sink).events == 11
    assert sorted(stored_lines(data)) == sorted(map(line, range(11)))


def test_a_rewritten_file_is_not_gone_on_with(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 100)
    read(path, sink)
    path.write_bytes(line(0) + b"\n" + b"".join(line(number) + b"\n" for number in range(101, 300)))
    with pytest.raises(SourceError, match="cut or rewritten"):
        read(path, sink)
    assert ledger_of(data).received == 100
    assert read(path, sink, again=True).events == 200


def test_again_reads_a_finished_file_once_more_and_goes_on_with_that_run(tmp_path: Path, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 100)
    assert read(path, sink, again=True).events == 100
    assert read(path, sink, again=True).events == 100
    append(path, line(100) + b"\n")
    assert read(path, sink).events == 1
    assert read(path, sink, again=True).events == 101
    assert read(path, sink).events == 0


def test_a_rewritten_file_is_taken_as_new_with_again(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 100)
    read(path, sink)
    write(path, 0, 50)
    assert read(path, sink, again=True).events == 50
    assert ledger_of(data).received == 150


def test_a_file_that_somebody_else_reads_too_is_refused(tmp_path: Path, data: DataDirectory, sink: DirectSink) -> None:
    path = write(tmp_path / "e", 0, 50_000)

    def read_it_too(_: object) -> None:
        with closing(DirectSink(data, DEFINITION)) as other:
            ingest(FileSource(path), other, again=False, on_progress=lambda _: None)

    def take() -> None:
        ingest(FileSource(path), sink, again=False, on_progress=read_it_too)
        sink.finish()

    with pytest.raises(PositionError, match="another `tally ingest` reads it"):
        take()
    sink.finish()
    assert sorted(stored_lines(data)) == sorted(map(line, range(50_000)))


def test_a_commit_that_fails_after_the_last_block_is_told(data: DataDirectory) -> None:
    """Such as when reading ends with an error of its own, and nothing is stored any more that would meet the failure."""
    sink = DirectSink(data, DEFINITION)
    pages = sink._stream._writer.execute("PRAGMA page_count").fetchone()[0]
    sink._stream._writer.execute(f"PRAGMA max_page_count = {pages}")
    sink.store([os.urandom(100_000).hex().encode()], None)
    with pytest.raises(StorageError, match="disk is full"):
        sink.close()
    data.lock("tally up", 30).release()


def test_a_commit_that_fails_after_ctrl_c_is_told(data: DataDirectory) -> None:
    sink = DirectSink(data, DEFINITION)
    pages = sink._stream._writer.execute("PRAGMA page_count").fetchone()[0]
    sink._stream._writer.execute(f"PRAGMA max_page_count = {pages}")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with sink._stream._writer_lock:  # as if the disk were slow
            sink.store([os.urandom(100_000).hex().encode()], None)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(KeyboardInterrupt):
                sink.finish()
    finally:
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(StorageError, match="disk is full"):
        sink.close()


def test_nothing_is_stored_behind_a_block_that_was_not(data: DataDirectory, sink: DirectSink) -> None:
    pages = sink._stream._writer.execute("PRAGMA page_count").fetchone()[0]
    sink._stream._writer.execute(f"PRAGMA max_page_count = {pages}")
    sink.store([os.urandom(100_000).hex().encode()], None)
    sink.store([line(1)], None)
    with pytest.raises(StorageError, match="disk is full"):
        sink.finish()
    assert stored_lines(data) == []
    sink._stream._writer.execute("PRAGMA max_page_count = 1000000")
    sink.store([line(2)], None)
    sink.finish()
    assert stored_lines(data) == [line(2)]


def test_the_sink_holds_the_lock_and_lets_go_of_it(data: DataDirectory) -> None:
    with closing(DirectSink(data, DEFINITION)) as sink:
        assert not sink.is_shared
        with pytest.raises(DirectoryInUseError, match="tally ingest"):
            data.lock("tally up", 0)
    data.lock("tally up", 30).release()


def test_pacing_waits_for_counting(tmp_path: Path, data: DataDirectory) -> None:
    definition = DEFINITION.replace("[stream]", "[stream]\nbacklog_events_max = 1000")
    with closing(DirectSink(data, definition)) as sink:
        behind: list[int] = []

        def look(_: object) -> None:
            stored = sum(state.next_sequence for state in data_stream.shards())
            behind.append(stored - ledger_of(data).received)

        data_stream, store = data.open(parse_definition(definition), read_only=True)
        with closing(data_stream), closing(store):
            ingest(FileSource(write(tmp_path / "e", 0, 100_000)), sink, again=False, on_progress=look)
        assert len(behind) > 3
        assert max(behind) <= 1_000


def test_leaves_counting_to_a_running_server(tmp_path: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    with closing(DirectSink(DataDirectory(server.data), DEFINITION)) as sink:
        assert sink.is_shared
        read(write(tmp_path / "e", 0, 10_000), sink)
        assert server.get("/v1/ledger")["counted"] == 10_000


def test_counts_itself_once_the_server_is_gone(tmp_path: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    data = DataDirectory(server.data)
    with closing(DirectSink(data, DEFINITION)) as sink:
        server.kill()
        read(write(tmp_path / "e", 0, 10_000), sink)
        assert ledger_of(data) == Ledger(received=10_000, counted=10_000)


class Run:
    """`tally ingest` as a process of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*TALLY, "ingest", *arguments],
            cwd=directory,
            env=tally_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, text: bytes | None = None) -> tuple[int, str, str]:
        out, err = self.process.communicate(text, timeout=120)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "tally.toml").write_text(DEFINITION)
    return tmp_path


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_killed_again_and_again_every_event_is_stored_once(
    directory: Path, compress: type[bytes], tally_server: StartServer
) -> None:
    events = 150_000
    path = write(directory / "e", 0, events)
    path.write_bytes(compress(path.read_bytes()))
    data = empty_data(directory / "tally-data")
    kills = 0
    for eighth in range(1, 8):
        run = Run(directory, "e")
        wait_until(partial(has_come_to, run, data, events * eighth // 8), "it to get on", 60)
        kills += run.process.poll() is None
        run.process.kill()
        run.end()
    code, _, err = Run(directory, "e").end()
    assert (code, kills > 1) == (0, True), err
    assert sorted(stored_lines(data)) == sorted(map(line, range(events)))
    wait_until(lambda: ledger_of(data) == Ledger(received=events, counted=events), "all to be counted")


def has_come_to(run: "Run", data: DataDirectory, events: int) -> bool:
    """Return whether so many events are stored, or the run has ended."""
    if run.process.poll() is not None:
        return True
    stream, store = data.open(parse_definition(DEFINITION), read_only=True)
    with closing(stream), closing(store):
        return sum(state.next_sequence for state in stream.shards()) >= events


def is_counted(data: DataDirectory, events: int) -> bool:
    return ledger_of(data).counted == events


def test_a_live_pipe_is_counted_at_once_and_ends_well(directory: Path) -> None:
    data = empty_data(directory / "tally-data")
    run = Run(directory, "-")
    stdin = run.process.stdin
    assert stdin is not None
    for number in range(3):
        os.write(stdin.fileno(), line(number) + b"\n")
        wait_until(partial(is_counted, data, number + 1), "the event to be counted")
    os.write(stdin.fileno(), line(3))
    run.process.send_signal(signal.SIGTERM)
    code, out, _ = run.end()
    assert code == 0
    assert out.startswith(("4 events in ", "3 events in "))
    assert ledger_of(data).received == int(out[0])


def test_summary_and_exit_codes(directory: Path) -> None:
    path = write(directory / "e", 0, 1_000)
    append(path, b'{"event": "x"}\n')
    code, out, err = Run(directory, "e").end()
    assert code == 0
    assert out.startswith("1,001 events in ")
    assert "accepted  1,000\n  rejected  1 (missing_event_time 1)\n  duplicate 0\n" in out
    assert Run(directory, "--again", "--strict", "e").end()[0] == 1
    code, out, err = Run(directory, "e").end()
    assert (code, out[:12]) == (0, "0 events in ")
    assert "nothing new" in err


def test_an_array_that_is_cut_off_is_an_error_and_a_growing_log_is_not(directory: Path) -> None:
    (directory / "array").write_bytes(b"[" + line(0) + b"," + line(1))
    code, out, err = Run(directory, "array").end()
    assert (code, out[:11]) == (1, "1 events in")
    assert "array: the JSON array is not closed" in err
    (directory / "log").write_bytes(line(0) + b"\n" + line(1)[:-1])
    code, out, err = Run(directory, "log").end()
    assert (code, out[:11]) == (0, "1 events in")
    assert "is not complete yet" in err
    assert Run(directory, "--strict", "log").end()[0] == 1


def test_what_the_command_line_must_be(directory: Path) -> None:
    for arguments, message in [
        ((), "Missing argument"),
        (("e", "--url", "http://127.0.0.1:1", "--data", "d"), "leave out --data"),
        (("e", "--config", "absent.toml"), "absent.toml does not exist"),
    ]:
        (directory / "e").write_bytes(b"")
        code, _, err = Run(directory, *arguments).end()
        assert code == 2
        assert message in err
    code, _, err = Run(directory, "nothing").end()
    assert (code, "nothing cannot be read: No such file" in err) == (1, True)


def test_a_pipe_of_a_million_bytes_at_once(directory: Path) -> None:
    code, out, _ = Run(directory, "-").end(b"".join(line(number) + b"\n" for number in range(30_000)))
    assert (code, out[:13]) == (0, "30,000 events")
    assert ledger_of(DataDirectory(directory / "tally-data")).counted == 30_000


def test_partition_keys_decide_the_shard(directory: Path) -> None:
    (directory / "tally.toml").write_text(DEFINITION.replace("[stream]", '[stream]\npartition_key = "event"\nshards = 8'))
    assert Run(directory, "-").end(b"".join(line(number) + b"\n" for number in range(300)))[0] == 0
    data = DataDirectory(directory / "tally-data")
    stream, store = data.open(parse_definition((directory / "tally.toml").read_text()), read_only=True)
    with closing(stream), closing(store):
        by_shard = {
            state.shard: {json.loads(each)["event"] for chunk in stream.read(state.shard, 0, 1_000) for each in chunk.lines}
            for state in stream.shards()
        }
    assert sorted(event for events in by_shard.values() for event in events) == ["e0", "e1", "e2"]
