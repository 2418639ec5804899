"""The command `tally`. Exit codes: 0 fine; 1 what was asked for failed, or is not so; 2 the command line is wrong."""

import difflib
import importlib
from collections.abc import Mapping

import click

import tallystream
from tallystream.core.errors import DefinitionError, TallystreamError

# Loaded when asked for: `tally up` stays in memory, and needs nothing of the others.
COMMANDS: Mapping[str, str] = {
    "init": "tallystream.cli.definition",
    "check": "tallystream.cli.definition",
    "up": "tallystream.cli.up",
    "demo": "tallystream.cli.demo",
    "ingest": "tallystream.cli.ingest",
    "query": "tallystream.cli.query",
    "rejected": "tallystream.cli.rejected",
    "alarms": "tallystream.cli.alarms",
    "notify": "tallystream.cli.notify",
    "verify": "tallystream.cli.verify",
    "backup": "tallystream.cli.backup",
    "restore": "tallystream.cli.backup",
    "aws": "tallystream.cli.aws",
}


class _Commands(click.Group):
    """The commands, and the one place where an error becomes a message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, *_ = args
        close = difflib.get_close_matches(name, COMMANDS, 1)
        if close and name not in COMMANDS:
            raise click.UsageError(f"No such command '{name}'. Did you mean '{close[0]}'?", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except DefinitionError as error:
            count = len(error.problems)
            click.echo(f"tally: the definition has {count} {'mistake' if count == 1 else 'mistakes'}:\n\n{error}", err=True)
            ctx.exit(1)
        except TallystreamError as error:
            click.echo(f"tally: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(tallystream.__version__, prog_name="tally")
def main() -> None:
    """
    Counts JSON events per group and time window, exactly once, the moment they arrive.

    `tally demo` shows it; `tally init` and `tally up` start your own.
    """
