"""
Runs the examples of a page of documentation, so that what a reader copies works and prints what the page says.

A fenced block ```console is an example and is run; a block ```sh is only shown. All blocks of a page run in order, in one new
directory, with `tally` at hand:

    $ tally check                     a command; it must end with exit code 0
    $ curl -s http://127.0.0.1:8080/v1/events \\
    > -d '{"event": "click"}'         "> " continues it
    {"accepted":1,"rejected":[]}      what it prints; no line at all: not compared
    …                                 any number of lines, even none; within a line: any text
    (exit code 1)                     as the last line: the command ends so

`$ tally up …` starts a server, which runs until the page ends; a page that talks to 127.0.0.1:8080 without one gets a server
of the definition that `tally init` writes. 127.0.0.1:8080 stands for wherever that server really listens. A command that only
reads (`tally query`, `tally rejected list`, `tally alarms list`, curl without data) is run again until it prints what the page
says, because counting comes a moment after accepting.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from tests.server import TALLY, TallyServer, tally_environment
from tests.waiting import wait_until

ADDRESS = "127.0.0.1:8080"
COMMAND_S_MAX = 60.0
_READS = re.compile(
    r"tally (query|rejected list|alarms (list|show|history|test))\b|curl (?!.*\s(-d|--data\S*|--json|-X|--request|-T|-F)\b)",
    re.DOTALL,
)
_EXIT = re.compile(r"\(exit code (\d+)\)")


class Example(NamedTuple):
    """One command of a page, and what the page says that it prints."""

    line: int
    command: str
    output: tuple[str, ...]
    exit_code: int


def parse_examples(markdown: str) -> list[Example]:
    """Return the commands of all ```console blocks, in order."""
    found: list[Example] = []
    is_inside = False
    for number, line in enumerate(markdown.splitlines(), 1):
        text = line.strip() if not is_inside else line.rstrip()
        if text.lstrip().startswith("```"):
            is_inside = not is_inside and text.lstrip() == "```console"
        elif not is_inside:
            continue
        elif text.startswith("$ "):
            found.append(Example(number, text[2:], (), 0))
        elif not found:
            raise AssertionError(f"line {number}: a console block begins with a command, `$ …`; found {text!r}")
        elif (text == ">" or text.startswith("> ")) and not found[-1].output:
            found[-1] = found[-1]._replace(command=f"{found[-1].command}\n{text[2:]}")
        elif exit_code := _EXIT.fullmatch(text):
            found[-1] = found[-1]._replace(exit_code=int(exit_code[1]))
        else:
            found[-1] = found[-1]._replace(output=(*found[-1].output, text))
    return found


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Return whether the printed text is what was expected, where … stands for any text and a line … for any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "…" else f"{'.*'.join(re.escape(part) for part in line.split('…'))}\\n"
        for line in expected
    )
    text = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch(pattern, text) is not None


class Page:
    """Runs the examples of one page; a context manager that ends the page's server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "page"
        self._directory.mkdir()
        self._programs = directory / "programs"
        self._programs.mkdir()
        tally = self._programs / "tally"
        tally.write_text(f'#!/bin/sh\nexec {shlex.join(TALLY)} "$@"\n')
        tally.chmod(0o755)
        self._server: TallyServer | None = None

    def run(self, example: Example) -> None:
        """Run one example; raise AssertionError, which shows what was printed, if the page is wrong."""
        arguments = _server_arguments(example.command)
        if arguments is not None:
            self._start(arguments)
            return
        if ADDRESS in example.command and self._server is None:
            self._execute("[ -e tally.toml ] || tally init", {})
            self._start({})

        def ends_well() -> bool:
            self._compare(example)
            return True

        if example.output and _READS.match(example.command):
            wait_until(ends_well, f"`{example.command}` to print what the page says")
        else:
            self._compare(example)

    def _compare(self, example: Example) -> None:
        done = self._execute(example.command, {})
        printed = done.stdout.replace(self._address, ADDRESS)
        where = f"line {example.line}: $ {example.command}"
        assert done.returncode == example.exit_code, f"{where}\nended with exit code {done.returncode} and printed:\n{printed}"
        assert not example.output or matches(example.output, printed), f"{where}\nprinted:\n{printed}"

    def _execute(self, command: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        full = tally_environment(environment)
        full |= {"PATH": f"{self._programs}:{full['PATH']}", "NO_COLOR": "1", "COLUMNS": "100"}
        return subprocess.run(
            ["bash", "-c", command.replace(ADDRESS, self._address)],
            cwd=self._directory,
            env=full,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S_MAX,
            check=False,
        )

    @property
    def _address(self) -> str:
        return self._server.url.removeprefix("http://") if self._server else ADDRESS

    def _start(self, arguments: dict[str, str]) -> None:
        self.close()
        given = dict(arguments)
        given.pop("--port", None)
        definition = self._directory / given.pop("--config", "tally.toml")
        data = self._directory / given.pop("--data", "tally-data")
        environment = {name: given.pop(name) for name in list(given) if not name.startswith("--")}
        rest = [part for option in given.items() for part in option]
        self._server = TallyServer(definition, data, rest, environment, cwd=self._directory)

    def close(self) -> None:
        """End the server; it must end well."""
        if self._server is not None:
            with self._server:
                self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _server_arguments(command: str) -> dict[str, str] | None:
    """Return options and environment of a `tally up` command; None for any other command."""
    words = shlex.split(command.removesuffix("&"), comments=True)
    environment = []
    while words and re.fullmatch(r"TALLY_\w+=.*", words[0]):
        environment.append(words.pop(0))
    if words[:2] != ["tally", "up"]:
        return None
    return dict(_pairs(words[2:])) | dict(setting.split("=", 1) for setting in environment)


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        yield name, value if equals else next(rest)
