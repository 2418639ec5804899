"""The commands as processes: what they print, and how they end."""

import json
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import tomllib
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from tallystream.core.definition_text import parse_definition
from tests.conftest import StartServer
from tests.plain import DEFINITION
from tests.server import TALLY, tally_environment
from tests.waiting import wait_until

LINES = [b'{"event": "a", "time": 1790000000}', b"nonsense\x1b[2J", b'{"event": "b"}', b"\xff\xfe"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "tally.toml").write_text(DEFINITION)
    return tmp_path


def tally(
    directory: Path, *arguments: str, text: bytes | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TALLY, *arguments],
        cwd=directory,
        env=tally_environment(environment),
        input=text,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def fill(directory: Path) -> None:
    assert tally(directory, "ingest", "-", text=b"\n".join(LINES) + b"\n").returncode == 0


# init and check


def test_init_writes_a_definition_that_is_right(tmp_path: Path) -> None:
    assert tally(tmp_path, "init").stdout.startswith("wrote tally.toml; ")
    assert parse_definition((tmp_path / "tally.toml").read_text()).name == "web-analytics"
    assert tally(tmp_path, "check").stdout == (
        "tally.toml is right: 'web-analytics' counts events, pages, campaigns, donations\n"
        "9 alarms, nobody is told: add a [[notify]], and name it in the `notify` of an alarm\n"
    )


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ([[], []], "2 alarms, nobody is told: name log or pager in the `notify` of an alarm"),
        ([["log"], []], "2 alarms: 1 tells log; 1 nobody"),
        ([["log"], ["pager", "log"]], "2 alarms: told are log, pager"),
        ([["pager"]], "1 alarm: told is pager"),
        ([], None),
    ],
)
def test_check_says_who_is_told_of_alarms(directory: Path, notify: list[list[str]], said: str | None) -> None:
    alarms = "".join(
        f'[[alarm]]\nname = "alarm-{number}"\nsystem = "disk_free_percent"\ncomparison = "<"\nthreshold = 5\nnotify = {names}\n'
        for number, names in enumerate(notify)
    )
    channels = "".join(f'[[notify]]\nname = "{name}"\ntype = "command"\ncommand = ["true"]\n' for name in ("log", "pager"))
    (directory / "tally.toml").write_text(DEFINITION + alarms + channels)
    assert tally(directory, "check").stdout.splitlines()[1:] == ([] if said is None else [said])


def test_init_replaces_a_file_only_when_forced(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "tally.toml").write_text("mine")
    refused = tally(tmp_path, "init", "conf")
    assert (refused.returncode, refused.stderr) == (
        1,
        "tally: conf/tally.toml exists; give another name, or replace it with --force\n",
    )
    assert (tmp_path / "conf" / "tally.toml").read_text() == "mine"
    assert tally(tmp_path, "init", "conf", "--force").returncode == 0
    assert (tmp_path / "conf" / "tally.toml").read_text() != "mine"
    assert "absent/x.toml cannot be written: No such file" in tally(tmp_path, "init", "absent/x.toml").stderr


def test_check_shows_every_mistake_at_once(directory: Path) -> None:
    (directory / "wrong.toml").write_text(
        DEFINITION.replace('"1m"', '"7m"').replace('"time"', "5").replace("group_by", "groupby")
    )
    done = tally(directory, "check", "wrong.toml")
    assert tally(directory, "check", "--config", "wrong.toml").stderr == done.stderr
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tally: the definition has 3 mistakes:\n\n")
    for key in ("stream.event_time", 'counter "events".windows[0]', 'counter "events".groupby'):
        assert f"\n{key}\n  found:   " in done.stderr
    assert done.stderr.count("  allowed: ") == done.stderr.count("  remedy:  ") == 3


def test_check_prints_the_schema(directory: Path) -> None:
    schema = json.loads(tally(directory, "check", "--schema").stdout)
    assert set(tomllib.loads(DEFINITION)) <= set(schema["$defs"]["Document"]["properties"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["chek"], "No such command 'chek'. Did you mean 'check'?"),
        (["check", "absent.toml"], "absent.toml does not exist; name your definition, or write one with `tally init`"),
        (["check", "--config", "absent.toml"], "absent.toml does not exist"),
        (["check", "tally.toml", "--config", "tally.toml"], "named twice, tally.toml and --config tally.toml; name it once"),
        (["query", "events"], "Missing option '--window'"),
        (["query", "events", "--url", "http://127.0.0.1:1"], "Missing option '--window'"),
        (["up", "--config", "absent.toml"], "absent.toml does not exist"),
        (["up", "--port", "70000"], "70000 is not in the range"),
        (["check", "latin.toml"], "latin.toml is not UTF-8 at byte 8"),
        (["check", "."], ". cannot be read: Is a directory"),
        (["rejected", "list", "--url", "http://127.0.0.1:1", "--data", "d"], "leave out --data"),
        (
            ["ingest", "latin.toml", "--url", "ftp://host"],
            "--url must be like http://127.0.0.1:8080 or https://…, got 'ftp://host'",
        ),
        (["query", "events", "--url", "localhost:8080"], "--url must be like"),
        (["rejected", "retry", "--url", "http://"], "--url must be like"),
        (["rejected", "list", "--url", "http://127.0.0.1:99999"], "--url must be like"),
        (["query", "events", "--url", "http://[::1"], "--url must be like"),
        (["restore", "absent.tar"], "'absent.tar' does not exist"),
    ],
)
def test_a_wrong_command_line_ends_with_2(directory: Path, arguments: list[str], message: str) -> None:
    (directory / "latin.toml").write_bytes('name = "é"'.encode("latin-1"))
    done = tally(directory, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_help_and_version() -> None:
    assert tally(Path.cwd(), "--version").stdout.startswith("tally, version ")
    listed = tally(Path.cwd(), "-h").stdout
    assert all(
        f"  {name} " in listed for name in ("init", "check", "up", "demo", "ingest", "query", "rejected", "verify", "backup")
    )


# rejected


@pytest.mark.parametrize("place", ["directory", "server"])
def test_rejected_events_are_listed_and_exported(directory: Path, tally_server: StartServer, place: str) -> None:
    at: list[str] = []
    if place == "directory":
        fill(directory)
    else:
        server = tally_server(DEFINITION)
        server.client.post("/v1/events", content=b"\n".join(LINES), headers={"Content-Type": "application/x-ndjson"})
        wait_until(lambda: server.get("/v1/ledger")["rejected"] == 3, "the events to be counted")
        at = ["--url", server.url]
    listed = tally(directory, "rejected", "list", *at).stdout
    assert listed.startswith("3 rejected, invalid_json 1, invalid_utf8 1, missing_event_time 1\n")
    assert "\x1b" not in listed
    assert r"nonsense\x1b[2J" in listed
    assert "base64 //4=" in listed
    first = tally(directory, "rejected", "list", "--limit", "1", *at).stdout
    assert "invalid_utf8  " in first
    assert "older ones: --before 3" in first
    assert "missing_event_time  " in tally(directory, "rejected", "list", "--limit", "1", "--before", "3", *at).stdout
    assert "older ones" not in tally(directory, "rejected", "list", "--limit", "3", *at).stdout
    assert (
        tally(directory, "rejected", "export", "--format", "raw", "--reason", "missing_event_time", *at).stdout
        == '{"event": "b"}\n'
    )
    tally(directory, "rejected", "export", "-o", "out", *at)
    exported = [json.loads(line) for line in (directory / "out").read_text().splitlines()]
    assert [(event["reason"], event["encoding"]) for event in exported] == [
        ("invalid_utf8", "base64"),
        ("missing_event_time", "utf-8"),
        ("invalid_json", "utf-8"),
    ]


def test_retry_counts_what_is_right_now_exactly_once(directory: Path) -> None:
    fill(directory)
    (directory / "tally.toml").write_text(DEFINITION.replace("[stream]", '[stream]\nmissing_event_time = "arrival"'))
    done = tally(directory, "rejected", "retry", "--reason", "missing_event_time")
    assert done.stdout == "1 retried: 1 counted, 0 unmatched, 0 late, 0 duplicate, 0 rejected again\n"
    done = tally(directory, "rejected", "retry")
    assert done.stdout == "2 retried: 0 counted, 0 unmatched, 0 late, 0 duplicate, 2 rejected again\n"
    assert tally(directory, "rejected", "list").stdout.startswith("2 rejected")
    assert tally(directory, "verify").returncode == 0


def test_retry_in_a_directory_is_refused_while_a_server_runs(directory: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    done = tally(directory, "rejected", "retry", "--data", str(server.data))
    assert done.returncode == 1
    assert f"is in use by tally up (process {server.process.pid})" in done.stderr
    assert tally(directory, "rejected", "retry", "--url", server.url).stdout.startswith("0 retried: ")


def test_a_server_that_asks_for_a_token_gets_it_from_the_environment(directory: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, environment={"TALLY_WRITE_TOKEN": "w", "TALLY_READ_TOKEN": "r"})
    refused = tally(directory, "rejected", "list", "--url", server.url)
    assert refused.returncode == 1
    assert "answered 401: " in refused.stderr
    assert "TALLY_READ_TOKEN" in refused.stderr
    assert tally(directory, "rejected", "list", "--url", server.url, environment={"TALLY_READ_TOKEN": "r"}).returncode == 0
    asked = ["rejected", "retry", "--url", server.url, "--token-env", "MY_TOKEN"]
    assert tally(directory, *asked, environment={"MY_TOKEN": "w"}).returncode == 0


def test_a_server_that_is_not_there(directory: Path) -> None:
    done = tally(directory, "rejected", "list", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert (
        done.stderr
        == "tally: http://127.0.0.1:1 cannot be reached: [Errno 111] Connection refused; is `tally up` running there?\n"
    )


@pytest.mark.parametrize("command", [["rejected", "list"], ["rejected", "retry"], ["verify"], ["backup", "b.tar"]])
def test_a_directory_without_data_is_a_clear_error(directory: Path, command: list[str]) -> None:
    done = tally(directory, *command)
    assert done.returncode == 1
    assert "does not exist; give the data directory of a `tally up` or `tally ingest`" in done.stderr
    assert not (directory / "tally-data").exists()


# verify, backup, restore


def test_verify_beside_a_running_server_and_a_table_of_differences(directory: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    server.send([{"event": "a", "time": 1_790_000_000}] * 3)
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 3, "the events to be counted")
    arguments = ("verify", "--data", str(server.data))
    done = tally(directory, *arguments)
    assert (done.returncode, done.stdout) == (0, "counted 3 events again, compared 1 cells\nno differences\n")
    with closing(sqlite3.connect(server.data / "counters.db")) as connection, connection:
        connection.execute("UPDATE cell SET count = 4")
    done = tally(directory, *arguments)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        "what                                stored  expected",
        'events ["a"] 1m from 1789999980000  4       3',
        "1 difference",
    ]


def test_backup_and_restore(directory: Path) -> None:
    fill(directory)
    assert tally(directory, "backup", "b.tar").returncode == 0
    refused = tally(directory, "backup", "b.tar")
    assert (refused.returncode, refused.stderr) == (1, "tally: b.tar exists; give another name, or replace it with --force\n")
    assert tally(directory, "restore", "b.tar", "--data", "r").returncode == 0
    assert tally(directory, "verify", "--data", "r", "--config", "r/tally.toml").returncode == 0
    assert tally(directory, "rejected", "list", "--data", "r").stdout == tally(directory, "rejected", "list").stdout


# demo and the progress bar


def has_counted(client: httpx.Client, events: int) -> bool:
    counted: int = client.get("/v1/ledger").json()["counted"]
    return counted >= events


def test_the_demo_fills_its_charts_goes_on_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    command = [*TALLY, "demo", "--port", "0", "--history", "3000", "--rate", "200"]
    for start in range(2):
        with subprocess.Popen(
            command, cwd=tmp_path, env=tally_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                assert line, "it ended; see its log below"
                said += line
            assert ("of the last 6 hours come first" in said) is (start == 0)
            url = said.partition(" on ")[2].partition("\n")[0]
            curl = next(line for line in said.splitlines() if "curl " in line).strip()
            assert curl.startswith(f"curl {url}/v1/events")
            with httpx.Client(base_url=url, trust_env=False) as client:
                before = client.get("/v1/ledger").json()["counted"] if start else 3_000
                wait_until(partial(has_counted, client, before + 10), "the traffic to be counted", 60)
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            assert process.wait(30) == 0
    assert (tmp_path / "demo-data" / "tally.toml").exists()
    done = tally(tmp_path, "verify", "--config", "demo-data/tally.toml", "--data", "demo-data")
    assert done.returncode == 0, done.stdout
    listed = tally(
        tmp_path,
        "query",
        "events",
        "--config",
        "demo-data/tally.toml",
        "--data",
        "demo-data",
        "--from",
        "-7h",
        "--window",
        "1h",
    )
    assert "page view" in listed.stdout


def test_whoever_stops_a_pipe_twice_is_told_that_it_cannot_be_read_again(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        command = [*TALLY, "ingest", "-", "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(
            command, cwd=directory, env=tally_environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None
            process.stdin.write('{"event": "a"}\n')
            process.stdin.flush()
            connection, _ = silent.accept()
            with connection:  # which never answers
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)
                _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the last of what was read may not be stored, and a pipe cannot be read again" in said


def test_the_progress_bar_on_a_terminal(directory: Path) -> None:
    (directory / "[red]e").write_bytes(b"\n".join(LINES * 1_000))
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [*TALLY, "ingest", "[red]e"],
        cwd=directory,
        env=tally_environment({"TERM": "xterm"}),
        stdout=subprocess.PIPE,
        stderr=end,
    ) as process:
        os.close(end)
        shown = b""
        try:
            while piece := os.read(terminal, 65_536):
                shown += piece
        except OSError:  # the other end was closed
            os.close(terminal)
        assert process.stdout is not None
        assert process.stdout.read().startswith(b"4,000 events in ")
    text = shown.decode()
    assert "[red]e" in text
    assert "4,000 events" in text
    assert "3,000 rejected" in text
