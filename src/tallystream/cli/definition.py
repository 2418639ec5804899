"""`tally init` and `tally check`: write a definition to start from, and find every mistake in one."""

import json
from importlib.resources import files
from pathlib import Path

import click
from click.core import ParameterSource

from tallystream.cli.options import config_option, read_definition
from tallystream.core.alarm import Actions
from tallystream.core.definition import Definition
from tallystream.core.definition_text import definition_schema, parse_definition
from tallystream.core.errors import TallystreamError


class InitError(TallystreamError):
    """The example cannot be written where it was asked for."""


def example_definition() -> str:
    """Return the text of the commented example."""
    return files("tallystream").joinpath("example.toml").read_text(encoding="utf-8")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="tally.toml")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def init(path: Path, force: bool) -> None:
    """
    Write a commented example definition.

    It is for a web site: page views, clicks, impressions, donations. It goes to PATH, by default tally.toml; if PATH is a
    directory, to PATH/tally.toml.
    """
    if path.is_dir():
        path /= "tally.toml"
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(example_definition())
    except FileExistsError:
        raise InitError(f"{path} exists; give another name, or replace it with --force") from None
    except OSError as error:
        raise InitError(f"{path} cannot be written: {error.strerror}; mend that, or give another path") from error
    click.echo(f"wrote {path}; change it as you like, then: tally check {path} && tally up --config {path}")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@config_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of definitions instead, for editors.")
@click.pass_context
def check(ctx: click.Context, path: Path | None, config: Path, schema: bool) -> None:
    """
    Find every mistake in a definition.

    Name it as PATH or, as for the other commands, with --config. Each mistake is shown with its key, what was found, what is
    allowed, and how to mend it; if there is none, what is counted and who is told of alarms. Exits with 0 if there is none,
    1 if there are some, 2 if the file cannot be read.
    """
    if schema:
        click.echo(json.dumps(definition_schema(), indent=2, ensure_ascii=False))
        return
    if path is None:
        path = config
    elif ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"the definition is named twice, {path} and --config {config}; name it once")
    definition = parse_definition(read_definition(path))
    counters = ", ".join(counter.name for counter in definition.counters)
    click.echo(f"{path} is right: {definition.name!r} counts {counters}")
    if definition.alarms:
        click.echo(summarize_alarms(definition))


def summarize_alarms(definition: Definition) -> str:
    """Return a line that says how many alarms there are, one or more, and who is told of them."""
    told = [told_channels(alarm.actions) for alarm in definition.alarms]
    silent = told.count(set())
    alarms = f"{len(told)} {'alarm' if len(told) == 1 else 'alarms'}"
    if silent == len(told):
        known = " or ".join(channel.name for channel in definition.channels)
        how = (
            f"name {known} in the `notify` of an alarm"
            if known
            else "add a [[notify]], and name it in the `notify` of an alarm"
        )
        return f"{alarms}, nobody is told: {how}"
    channels = ", ".join(channel.name for channel in definition.channels if any(channel.name in names for names in told))
    if silent:
        heard = len(told) - silent
        return f"{alarms}: {heard} {'tells' if heard == 1 else 'tell'} {channels}; {silent} nobody"
    return f"{alarms}: told {'are' if ', ' in channels else 'is'} {channels}"


def told_channels(actions: Actions) -> set[str]:
    """Return the names of the channels that are told of some state."""
    return {*actions.alarm, *actions.ok, *actions.insufficient_data}
