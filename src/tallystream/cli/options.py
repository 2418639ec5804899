"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from tallystream.core.definition_text import parse_definition

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
        raise click.UsageError(f"{path} cannot be read: {error.strerror}; name the file of your definition") from error
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


def server_options(does: str, token_env: str) -> Callable[[Command], Command]:
    """
    Return what adds --url and --token-env.

    Args:
        does: what the command does with the server, for the help: "Ask".
        token_env: the environment variable in which the token is looked for by default.
    """

    def add(command: Command) -> Command:
        url = click.option(
            "--url", metavar="URL", callback=_check_url, help=f"{does} a running server, such as http://127.0.0.1:8080."
        )
        token = click.option("--token-env", metavar="NAME", default=token_env, show_default=True, help="Where its token is.")
        added: Command = url(token(command))
        return added

    return add


def _check_url(ctx: click.Context, parameter: click.Parameter, url: str | None) -> str | None:  # noqa: ARG001  # click's
    if url is not None:
        try:
            parts = urlsplit(url)
            is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # such as a port over 65535
            is_right = False
        if not is_right:
            raise click.UsageError(f"--url must be like http://127.0.0.1:8080 or https://…, got {url!r}")
    return url


def refuse_with_url(ctx: click.Context, *names: str) -> None:
    """End with a usage error if an option was given that has no meaning together with --url."""
    given = [f"--{name}" for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(
            f"--url asks a running server, which has its own definition and data: leave out {' and '.join(given)}"
        )


def stack_option(command: Command) -> Command:
    """Add --stack and --region; see `stack_name`."""
    stack = click.option("--stack", metavar="NAME", help="The stack; by default named as the definition.")
    region = click.option("--region", metavar="NAME", help="AWS's region; by default that of your AWS settings.")
    changed: Command = stack(region(command))
    return changed


def stack_name(config: Path, stack: str | None) -> str:
    """Return the name of the stack that is meant: the one given, or that of the definition."""
    from tallystream.aws import deploy

    return deploy.check_stack_name(stack) if stack else deploy.stack_name(parse_definition(read_definition(config)).name)
