"""`tally up --aws`: the pages and queries over what a stack counts on AWS, served from this machine."""

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from tallystream.cli.options import read_definition
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.local.app import address_of, listen, read_tokens, refuse_open_address

if TYPE_CHECKING:
    from tallystream.aws.deployed import Deployed

_log = logging.getLogger(__name__)


class StackChoice(NamedTuple):
    """Which stack is shown."""

    name: str
    region: str | None
    config: Path | None  # a definition that it should count by


def show_stack(choice: StackChoice, host: str, port: int, log_format: str) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Raises:
        TallystreamError: there is no such stack, AWS refuses, or the address is not as it must be.
    """
    from tallystream.aws.opened import open_stack
    from tallystream.web.remote import RemoteApp
    from tallystream.web.server import Server

    tokens = read_tokens(os.environ)
    refuse_open_address(host, tokens, is_read_only=True)
    for chatty in ("uvicorn", "botocore", "boto3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    deployed, services = open_stack(choice.name, choice.region, tokens)
    if choice.config is not None:
        _compare(choice.config, deployed, choice.name)
    # The server raises the signal that ended it once more when it is done; by then its work is done.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)
    with listen(host, port) as listener:
        url = address_of(listener)
        if log_format == "json":
            _log.info("ready", extra={"url": url, "definition": deployed.definition.name, "stack": choice.name})
        else:
            shown = f"{deployed.definition.name!r} as the stack {choice.name} in {services.aws.region} counts it"
            click.echo(f"Tallystream shows {shown} on {url}")
        Server(RemoteApp(services)).run(sockets=[listener])


def _compare(config: Path, deployed: "Deployed", stack: str) -> None:
    """Say which counters of a file are not what the stack counts."""
    from tallystream.aws.rows import generation_of

    wanted = parse_definition(read_definition(config))

    def generations(definition: Definition) -> dict[str, str]:
        return {each.name: generation_of(each, definition.stream, deployed.layout) for each in definition.counters}

    ours, theirs = generations(wanted), generations(deployed.definition)
    differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    if differing:
        click.echo(
            f"tally: warning: {config} and the stack {stack} do not count the same: {', '.join(differing)}; shown is what the "
            "stack counts, until you deploy the file with: tally aws deploy",
            err=True,
        )
