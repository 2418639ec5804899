"""The channel command: real programs, well-behaved and other."""

import json
import os
import stat
import time
from pathlib import Path

import pytest

from tallystream.core.channel import CommandChannel
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels import make_senders
from tallystream.local.channels.command import CommandSender
from tallystream.ports.alarms import Message
from tests.alarm_messages import DEFINITION, HOSTILE, ONE, SEVERAL, definition_with, item, message
from tests.waiting import wait_until


def command(*words: str) -> CommandChannel:
    return CommandChannel(name="support", group_wait_ms=0, command=words)


def run(script: str, *arguments: str, sent: Message = ONE, seconds: float = 20) -> None:
    environment = {**os.environ, "TALLY_WRITE_TOKEN": "w", "TALLY_READ_TOKEN": "r", "PAGER_KEY": "k"}
    CommandSender(command("sh", "-c", script, "sh", *arguments), DEFINITION, environment, {}, seconds).send(sent)


def failure(script: str, seconds: float = 20) -> str:
    with pytest.raises(DeliveryError) as raised:
        run(script, seconds=seconds)
    text = str(raised.value)
    assert text.isprintable() and len(text) < 300
    return text


def test_the_program_gets_the_alarm_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    channel = command("sh", "-c", 'cat > "$1"', "sh", str(out))
    make_senders(definition_with(channel), os.environ)["support"].send(ONE)
    assert json.loads(out.read_bytes())["AlarmName"] == "pageview-low"


def test_arguments_are_not_read_by_a_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run('printf %s "$2" > "$1"', str(out), "$(id); `id` *")
    assert out.read_text() == "$(id); `id` *"


def test_the_environment_says_it_in_words_and_holds_no_token(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run('env -0 > "$1"', str(out), sent=SEVERAL)
    variables = dict(line.split("=", 1) for line in out.read_text().split("\0") if line)
    assert variables["TALLY_ALARM_NAME"] == "donations-odd,pageview-low,site-down,disk-full"
    assert variables["TALLY_ALARM_STATE"] == "ALARM"
    assert variables["TALLY_ALARM_COUNT"] == "5"
    assert variables["TALLY_ALARM_SUBJECT"].startswith("3 ALARM, 1 INSUFFICIENT DATA, 1 OK in web-analytics: ")
    assert variables["TALLY_ALARM_MESSAGE_ID"] == SEVERAL.id
    assert r"\u202egnp.exe" in variables["TALLY_ALARM_TEXT"]
    assert variables["PAGER_KEY"] == "k"
    assert {"TALLY_WRITE_TOKEN", "TALLY_READ_TOKEN"}.isdisjoint(variables)


def test_the_largest_message_still_fits_into_the_environment() -> None:
    groups = [item("donations-odd", group="ü" * 1_000 + str(n), reason="ü" * 5_000) for n in range(300)]
    run('test "$TALLY_ALARM_COUNT" = 300', sent=message(*groups))
    run("true", sent=message(item("donations-odd", group="\0" + HOSTILE)))


def test_a_program_need_not_read_nor_be_heard() -> None:
    groups = [item("donations-odd", group="x" * 1_000 + str(n)) for n in range(300)]
    run("head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2", sent=message(*groups))


def test_a_failure_is_told_with_what_the_program_said_last() -> None:
    assert failure("echo trying >&2; echo 'no \033[31mroute' >&2; exit 3") == (
        r"the program ended with exit code 3: trying no \x1b[31mroute"
    )
    assert failure("exit 1") == "the program ended with exit code 1"
    assert failure("kill -9 $$") == "the program was ended by signal 9"
    assert failure("head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1").startswith("the program ended with exit code 1: xxx")


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started_s = time.monotonic()
    with pytest.raises(DeliveryError, match=r"^the program did not end within 0\.5 s, and was killed$"):
        run('sleep 100 & echo $! $$ > "$1"; wait', str(pids), seconds=0.5)
    assert time.monotonic() - started_s < 10
    numbers = [int(number) for number in pids.read_text().split()]
    assert len(numbers) == 2
    wait_until(lambda: not any(is_running(number) for number in numbers), "the program and its child to be gone")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie has ended; who reaps it is the machine's affair


def test_what_a_program_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    started_s = time.monotonic()
    run('sleep 30 & echo $! > "$1"', str(pids))  # it holds standard error open
    assert time.monotonic() - started_s < 10
    os.kill(int(pids.read_text()), 9)


def test_a_program_that_is_not_there_or_may_not_be_run(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    plain.chmod(stat.S_IRUSR)
    for path, why in ((tmp_path / "missing", "No such file or directory"), (plain, "Permission denied")):
        with pytest.raises(DeliveryError, match=f"cannot be run: {why}"):
            CommandSender(command(str(path)), DEFINITION, os.environ, {}).send(ONE)
