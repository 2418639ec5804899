"""`tally alarms`, of a running server and of its data directory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystream.local.clock import now_ms
from tests.cli import test_commands
from tests.cli.in_process import tally
from tests.conftest import StartServer
from tests.server import TallyServer
from tests.waiting import wait_until

MINUTE_MS = 60_000
DEFINITION = """
name = "test"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]

[[alarm]]
name = "many"
description = "Too many clicks."
counter = "events"
window = "1m"
group = { event = "click" }
comparison = ">"
threshold = 5
treat_missing_data = "notBreaching"
notify = ["log"]

[[alarm]]
name = "each"
counter = "events"
window = "1m"
group_by = "each"
comparison = ">"
threshold = 5

[[alarm]]
name = "none"
counter = "events"
window = "1m"
group = { event = "absent" }
comparison = "<"
threshold = 5

[[notify]]
name = "log"
type = "command"
command = ["true"]
"""


class Alarms:
    """The command, of a server or of its data directory."""

    def __init__(self, directory: Path, *at: str) -> None:
        self._directory = directory
        self._at = at

    def run(self, *arguments: str, code: int = 0) -> str:
        """Return what it prints; where it must fail, to standard error."""
        done = tally(self._directory, "alarms", *arguments, *self._at)
        assert done.returncode == code, (done.stdout, done.stderr)
        if code == 0 or "--check" in arguments:
            assert done.stderr == ""
            return done.stdout
        assert done.stdout == ""
        return done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--format", "json"))


def fire(server: TallyServer) -> None:
    """Let `many`, and `each` of "click" and of a hostile name, go to ALARM."""
    at_s = now_ms() / 1_000
    server.send({"event": event, "time": at_s} for event in ("click", "\x1b[2J") for _ in range(9))

    def is_evaluated() -> bool:
        listed = {alarm["name"]: alarm for alarm in server.get("/v1/alarms")["alarms"]}
        return listed["many"]["state"] == "ALARM" and len(listed["each"]["states"]) == 2

    wait_until(is_evaluated, "the alarms to be evaluated")


def ask(directory: Path, server: TallyServer, how: str) -> Alarms:
    (directory / "tally.toml").write_text(DEFINITION)
    return Alarms(directory, *(["--url", server.url] if how == "server" else ["--data", str(server.data)]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TallyServer]:
    """A server whose alarms have fired, for tests that change nothing."""
    directory = tmp_path_factory.mktemp("alarms")
    (directory / "tally.toml").write_text(DEFINITION)
    with TallyServer(directory / "tally.toml", directory / "data") as server:
        fire(server)
        yield server


@pytest.fixture(params=["server", "directory"])
def alarms(request: pytest.FixtureRequest, tmp_path: Path, shared: TallyServer) -> Alarms:
    """The alarms of `shared`, to be read."""
    return ask(tmp_path, shared, request.param)


@pytest.fixture(params=["server", "directory"])
def own_alarms(request: pytest.FixtureRequest, tmp_path: Path, tally_server: StartServer) -> Alarms:
    """The same of a server for this test alone."""
    server = tally_server(DEFINITION)
    fire(server)
    return ask(tmp_path, server, request.param)


def test_alarms_are_listed(alarms: Alarms) -> None:
    lines = alarms.run("list").splitlines()
    assert lines[0].split() == ["state", "since", "(UTC)", "alarm", "when"]
    assert [line.split()[0] for line in lines[2:5]] == ["ALARM", "ALARM", "INSUFFICIENT_DATA"]
    assert "many" in lines[2] and "count > 5 for a window of 1m" in lines[2]
    assert "2 of 2 groups" in lines[3]
    assert lines[-1] == "2 of 3 in ALARM"
    assert [alarm["name"] for alarm in alarms.json("list")["alarms"]] == ["many", "each", "none"]


def test_scripts_are_told_by_the_exit_code(alarms: Alarms) -> None:
    assert alarms.run("list", "--check", code=1).endswith("2 of 3 in ALARM\n")
    assert alarms.run("show", "many", "--check", code=1).startswith("many: ALARM since ")
    assert alarms.run("show", "none", "--check").startswith("none: INSUFFICIENT_DATA")


def test_one_alarm_is_shown(alarms: Alarms) -> None:
    shown = alarms.run("show", "many").splitlines()
    assert shown[1:] == [
        "Too many clicks.",
        "when: count > 5 for a window of 1m",
        "watches: counter events, click",
        "missing data: notBreaching",
        "tells of ALARM: log",
        "tells of OK: log",
    ]
    each = alarms.run("show", "each")
    assert "watches: counter events, each of 2 groups\n" in each
    assert '["click"]' in each
    assert "\x1b" not in each
    assert r"\x1b[2J" in each
    assert "there is no alarm 'absent'; there are many, each, none" in alarms.run("show", "absent", code=1)
    assert "there is no alarm 'a?b'" in alarms.run("show", "a?b", code=1)


def test_history_is_shown_page_by_page(alarms: Alarms) -> None:
    whole = alarms.run("history")
    assert "each click: From INSUFFICIENT_DATA to ALARM\n          the last datapoint was > 5 (9 at " in whole
    assert "\x1b" not in whole
    assert "many: Created" in alarms.run("history", "many")
    first = alarms.run("history", "--limit", "1")
    before = first.splitlines()[-1].removeprefix("older ones: --before ")
    assert before in alarms.run("history", "--limit", "1").split()
    items = alarms.json("history", "--before", before)["items"]
    assert items and all(item["id"] < int(before) for item in items)
    assert alarms.run("history", "absent") == "nothing happened yet\n"


def test_an_alarm_is_tried_on_the_past(alarms: Alarms, tmp_path: Path) -> None:
    # A test looks at the ends of windows.
    at = str(now_ms() // MINUTE_MS * MINUTE_MS + MINUTE_MS)
    told = alarms.json("test", "each", "--since", "2h", "--key", '["click"]')
    assert (told["groups"], told["windows"]) == (1, 120)
    (tmp_path / "edited.toml").write_text(DEFINITION.replace("threshold = 5", "threshold = 500"))
    edited = alarms.run("test", "many", "--config", "edited.toml", "--until", at)
    assert edited.endswith(" windows: never fired\n")
    (tmp_path / "edited.toml").write_text(DEFINITION.replace("threshold = 5", "threshold = true"))
    assert "the definition has 3 mistakes" in alarms.run("test", "many", "--config", "edited.toml", code=1)
    assert 'from is "-1s"; allowed is a time in the past' in alarms.run("test", "many", "--since", "1s", code=1)
    assert '"soon" is not a time' in alarms.run("test", "many", "--since", "soon", code=1)


def test_alarms_are_muted_and_acknowledged(own_alarms: Alarms) -> None:
    muted = own_alarms.run("mute", "many", "--for", "2h", "--by", "Ada", "--note", "new\x1b release")
    assert muted.startswith("muted many from ") and muted.endswith("; end it with: tally alarms unmute 1\n")
    listed = own_alarms.run("list")
    assert "muted by Ada until " in listed and r"(mute 1: new\x1b release)" in listed
    assert own_alarms.run("mute", "--all", "--until", "2100-01-01", code=1).rstrip().endswith("within 366 days from now")
    assert own_alarms.run("mute", "--all", "--for", "1h").startswith("muted all alarms from ")
    assert own_alarms.run("unmute", "1") == "ended mute 1\n"
    assert "there is no mute 1 that is under way or to come" in own_alarms.run("unmute", "1", code=1)
    assert "(mute 2)" in own_alarms.run("list")
    assert own_alarms.run("ack", "many", "--by", "Ada", "--note", "On it.") == "acknowledged many\n"
    assert "acknowledged by Ada at " in own_alarms.run("show", "many")
    assert own_alarms.run("ack", "each", "--key", '["click"]') == 'acknowledged each ["click"]\n'
    assert "acknowledged" in own_alarms.run("show", "each")
    assert "alarm none is not in ALARM" in own_alarms.run("ack", "none", code=1)
    summaries = [item["summary"] for item in own_alarms.json("history", "many")["items"]]
    assert any("Ada" in summary and summary.startswith("Acknowledged") for summary in summaries)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mute", "--for", "2h"], "name the alarms to mute, or give --all; not both"),
        (["mute", "a", "--all", "--for", "2h"], "name the alarms to mute, or give --all; not both"),
        (["mute", "a"], "give either --for or --until, such as --for 2h"),
        (["mute", "a", "--for", "1h", "--until", "now"], "give either --for or --until"),
        (["list", "--url", "http://127.0.0.1:1", "--config", "x"], "leave out --config"),
        (["test", "a", "--url", "http://127.0.0.1:1", "--data", "x"], "leave out --data"),
        (["test", "a", "--config", "absent.toml"], "absent.toml does not exist"),
        (["unmute", "x"], "'x' is not a valid integer"),
        (["lst"], "No such command 'lst'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = tally(tmp_path, "alarms", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_directory_that_only_ingest_has_filled(tmp_path: Path) -> None:
    (tmp_path / "tally.toml").write_text(DEFINITION)
    refused = tally(tmp_path, "alarms", "list")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "counters.db does not exist" in refused.stderr
    at_s = now_ms() // MINUTE_MS * 60 - 600
    lines = "".join(json.dumps({"event": "click", "time": at_s}) + "\n" for _ in range(9))
    assert test_commands.tally(tmp_path, "ingest", "-", text=lines.encode()).returncode == 0
    assert "not evaluated yet" in tally(tmp_path, "alarms", "list").stdout
    told = tally(tmp_path, "alarms", "test", "many", "--since", "30m").stdout
    assert ": fired once (" in told
    assert "the last datapoint was > 5 (9 at " in told
    assert tally(tmp_path, "alarms", "test", "none", "--since", "30m").stdout.endswith("30 windows: never fired\n")


def test_a_server_that_asks_for_tokens(tmp_path: Path, tally_server: StartServer) -> None:
    tokens = {"TALLY_WRITE_TOKEN": "w", "TALLY_READ_TOKEN": "r"}
    at = ["--url", tally_server(DEFINITION, environment=tokens).url]
    refused = tally(tmp_path, "alarms", "list", *at)
    assert refused.returncode == 1
    assert "put the token into TALLY_READ_TOKEN" in refused.stderr
    assert tally(tmp_path, "alarms", "list", *at, environment={"TALLY_READ_TOKEN": "r"}).returncode == 0
    mute = ["alarms", "mute", "--all", "--for", "1h", *at]
    assert "put the token into TALLY_WRITE_TOKEN" in tally(tmp_path, *mute, environment={"TALLY_READ_TOKEN": "r"}).stderr
    assert tally(tmp_path, *mute, environment={"TALLY_WRITE_TOKEN": "w"}).returncode == 0
    assert tally(tmp_path, "alarms", "test", "many", *at, environment={"TALLY_WRITE_TOKEN": "w"}).returncode == 0
