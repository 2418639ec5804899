"""`tally notify` as a process."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.cli.test_commands import tally
from tests.local.test_channel_email import parse, parts
from tests.peers import Peer, Request, answering, mail_server
from tests.plain import DEFINITION

CHANNELS = """
[[alarm]]
name = "quiet"
counter = "events"
window = "1m"
group_by = "each"
comparison = "<"
threshold = 1
notify = ["mail"]

[[notify]]
name = "mail"
type = "email"
to = ["support@example.com"]
from = "tally@example.com"
host = "127.0.0.1"
port = PORT
tls = "none"

[[notify]]
name = "hook"
type = "webhook"
url_env = "HOOK_URL"
secret_env = "HOOK_SECRET"
"""


def write(directory: Path, port: int) -> None:
    (directory / "tally.toml").write_text(DEFINITION + CHANNELS.replace("PORT", str(port)))


def test_the_channels_are_listed_with_what_they_lack(tmp_path: Path) -> None:
    write(tmp_path, 25)

    def listed(environment: Mapping[str, str]) -> list[str]:
        done = tally(tmp_path, "notify", "list", environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert listed({"HOOK_SECRET": "s"}) == [
        "mail  email    1 alarm",
        "hook  webhook  0 alarms; not set in this environment: HOOK_URL",
    ]
    assert listed({"HOOK_SECRET": "s", "HOOK_URL": "u"})[1] == "hook  webhook  0 alarms"
    (tmp_path / "tally.toml").write_text(DEFINITION)
    (said,) = listed({})
    assert said.startswith("no channels, so nobody is told of alarms; add a [[notify]]")


def test_a_test_mail_says_that_it_is_one(tmp_path: Path) -> None:
    with mail_server() as server:
        write(tmp_path, server.port)
        done = tally(tmp_path, "notify", "test", "mail")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mail has delivered a test message; its id is test-")
    (envelope,) = server.box.mails
    mail = parse(envelope)
    assert mail["Subject"] == "ALARM: test-message in test"
    for part in parts(mail):
        assert "This is a test, sent by `tally notify test`: nothing has happened." in part


def test_a_test_can_close_what_it_opened(tmp_path: Path) -> None:
    requests: list[Request] = []
    with Peer(answering("200 OK", requests=requests)) as peer:
        write(tmp_path, 25)
        definition = tmp_path / "tally.toml"
        definition.write_text(definition.read_text() + "allow_private = true\n")
        environment = {"HOOK_URL": f"http://127.0.0.1:{peer.port}/", "HOOK_SECRET": "s"}
        for state in ("alarm", "ok"):
            done = tally(tmp_path, "notify", "test", "hook", "--state", state, environment=environment)
            assert done.returncode == 0, done.stderr
    alarms = [json.loads(request.body) for request in requests]
    assert [(alarm["AlarmName"], alarm["NewStateValue"], alarm["OldStateValue"]) for alarm in alarms] == [
        ("test-message", "ALARM", "OK"),
        ("test-message", "OK", "ALARM"),
    ]


def test_what_went_wrong_is_said(tmp_path: Path) -> None:
    write(tmp_path, 25)
    unknown = tally(tmp_path, "notify", "test", "nobody")
    assert unknown.returncode == 1
    assert unknown.stderr == "tally: there is no channel 'nobody'; there are mail, hook\n"
    environment = {"HOOK_URL": "http://127.0.0.1:1/secret", "HOOK_SECRET": "s"}
    private = tally(tmp_path, "notify", "test", "hook", environment=environment)
    assert private.returncode == 1
    assert private.stderr.startswith("tally: hook has not delivered: the server's address is a private one")
    assert "secret" not in private.stderr
