"""`tally` in the process of the test: what it prints and how it ends, without the start of a Python for each command."""

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from tallystream.cli import main
from tests.server import tally_environment


def tally(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """
    Run a command in a directory, as test_commands.tally does in a process of its own.

    Not for commands that start processes, handle signals, or read a terminal.
    """
    with contextlib.chdir(directory), mock.patch.dict(os.environ, tally_environment(environment), clear=True):
        done = CliRunner().invoke(main, arguments, prog_name="tally", catch_exceptions=False)
    return subprocess.CompletedProcess(["tally", *arguments], done.exit_code, done.stdout, done.stderr)
