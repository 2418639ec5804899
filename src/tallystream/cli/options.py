"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

Command = Callable[..., Any]


def config_option(command: Command) -> Command:
    """Add --config, a Path; see `read_definition`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default="tally.toml",
        show_default=True,
        help="The definition.",
    )(command)


def read_definition(path: Path) -> str:
    """Return the text of a definition; end with a usage error if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise click.UsageError(f"{path} does not exist; name your definition, or write one with `tally init`") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 at byte {error.start}; save it as UTF-8") from error


def data_option(command: Command) -> Command:
    """Add --data, a Path."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default="tally-data",
        show_default=True,
        help="The data directory.",
    )(command)


def refuse_with_url(ctx: click.Context, *names: str) -> None:
    """End with a usage error if an option was given that has no meaning together with --url."""
    given = [f"--{name}" for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(
            f"--url asks a running server, which has its own definition and data: leave out {' and '.join(given)}"
        )
