"""ministack, an emulator of AWS on this machine: started and ended, and what a stack needs to run on it."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tallystream.aws.package import Target

MINISTACK: Final = Path(__file__).resolve().parent.parent / ".venv-ministack" / "bin" / "ministack"
REGION: Final = "eu-west-1"

_START_S_MAX: Final = 60.0
_END_S_MAX: Final = 10.0


class EmulatorError(Exception):
    """The emulator is not installed, or does not start."""


@contextlib.contextmanager
def running_emulator(directory: Path) -> Iterator[str]:
    """
    Run the emulator; yield its address. At the end, it and what it started are gone.

    It is in a process group of its own: Ctrl-C on the terminal reaches us alone, and we end it when we have done with it.

    Args:
        directory: where it may leave what it likes, its log among it.
    """
    if not MINISTACK.exists():
        raise EmulatorError("the emulator of AWS is not installed; run: make .venv-ministack/.installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    # Nothing of the user's own AWS is for it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "HOME": str(directory), "TMPDIR": str(directory)}
    with (directory / "ministack.log").open("wb") as log:
        process = subprocess.Popen([MINISTACK], cwd=directory, env=environment, stdout=log, stderr=log, process_group=0)
    try:
        _wait_until_it_answers(f"{url}/_ministack/health", process, directory / "ministack.log")
        yield url
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
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):
            return
        if process.poll() is not None or time.monotonic() > deadline_s:
            said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
            raise EmulatorError(f"the emulator of AWS did not start; the end of what it said: {said[-1]}")
        time.sleep(0.1)
