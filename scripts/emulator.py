"""Emulators of AWS on this machine: started and ended, and what a stack needs to run on one."""

import contextlib
import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import hatch_build
from tallystream.aws.package import Target

ROOT: Final = Path(__file__).resolve().parent.parent
MINISTACK: Final = ROOT / ".venv-ministack" / "bin" / "ministack"
KINESALITE: Final = ROOT / "tests" / "aws" / "kinesalite"
KINESALITE_OPTIONS: Final = "{createStreamMs: 20, deleteStreamMs: 20, updateStreamMs: 200, shardLimit: 50}"
REGION: Final = "eu-west-1"

_START_S_MAX: Final = 60.0
_END_S_MAX: Final = 10.0


class EmulatorError(Exception):
    """The emulator is not installed, or does not start."""


@contextlib.contextmanager
def running_emulator(directory: Path) -> Iterator[str]:
    """
    Run ministack, which has all that a stack needs; yield its address. At the end, it and what it started are gone.

    Args:
        directory: where it may leave what it likes, its log among it.
    """
    if not MINISTACK.exists():
        raise EmulatorError("the emulator of AWS is not installed; run: make .venv-ministack/.installed")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    # Nothing of the user's own AWS is for it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "HOME": str(directory), "TMPDIR": str(directory)}
    with _running([str(MINISTACK)], environment, directory, f"{url}/_ministack/health"):
        yield url


@contextlib.contextmanager
def running_kinesalite(directory: Path) -> Iterator[str]:
    """
    Run kinesalite, which is Kinesis alone, with shards that split and merge; yield its address. At the end it is gone.

    Args:
        directory: where it leaves its log.
    """
    node = hatch_build.find_node()
    if node is None or not (KINESALITE / "node_modules" / "kinesalite").exists():
        raise EmulatorError("the emulator of Kinesis is not installed; run: make setup")
    port = _free_port()
    # Its own command listens on all addresses of the machine.
    program = f"require('kinesalite')({KINESALITE_OPTIONS}).listen({port}, '127.0.0.1')"
    environment = os.environ | {"NODE_PATH": str(KINESALITE / "node_modules")}
    with _running([str(node), "--no-deprecation", "-e", program], environment, directory, f"http://127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str], directory: Path, asked: str) -> Iterator[None]:
    """
    Run a server until it is not needed any more; begin when the address that is asked answers.

    It is in a process group of its own: Ctrl-C on the terminal reaches us alone, and we end it when we have done with it.
    """
    path = directory / "emulator.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log, process_group=0)
    try:
        _wait_until_it_answers(asked, process, path)
        yield
    finally:
        process.terminate()
        try:
            process.wait(_END_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Functions that it did not end itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def client_environment(url: str) -> dict[str, str]:
    """Return the environment in which AWS's clients find the emulator, and nothing but it."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def local_target() -> Target:
    """Return what a package is to be built for: the emulator runs functions with this machine's Python."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Target("arm64" if platform.machine() == "aarch64" else "x86_64", python)


def run_locally(template: dict[str, Any], target: Target) -> None:
    """Change a template so that its functions run with a target's Python."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            resource["Properties"]["Runtime"] = f"python{target.python}"


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _START_S_MAX
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:  # it answers, if only that it wants a signature
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise EmulatorError(f"the emulator of AWS did not start; the end of what it said: {said[-1]}")
        time.sleep(0.1)
