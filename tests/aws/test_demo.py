"""`make aws-demo` as a user has it: a process of its own, with an emulator of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "scripts.aws_demo"]


def environment(directory: Path) -> dict[str, str]:
    """Return an environment that points at somebody's own AWS, which the demo must leave alone."""
    own = {"AWS_PROFILE": "production", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "eu-north-1"}
    return {**os.environ, **own, "TMPDIR": str(directory)}


def processes_of(directory: Path) -> list[str]:
    """Return the command lines of what runs below a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            works_there = Path(process / "cwd").readlink().is_relative_to(directory)
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended, or is not ours
            continue
        if works_there or str(directory) in command:
            found.append(command)
    return found


def test_every_event_that_is_sent_arrives_and_nothing_is_left_behind(tmp_path: Path) -> None:
    command = [*COMMAND, "--seconds", "2", "--rate", "50"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = re.findall(r"^page view +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    assert len(set(row)) == 1
    assert int(row[0]) > 0
    assert "each is accounted for once" in done.stdout
    assert re.search(r"^alarm +web-analytics/page-views-many: (OK|ALARM)$", done.stdout, re.MULTILINE)
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(COMMAND, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as demo:
        wait_until(lambda: processes_of(tmp_path), "the emulator to run", timeout_s=60)
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert "stopped" in said
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
