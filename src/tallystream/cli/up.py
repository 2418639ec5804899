"""`tally up`: serve and count."""

import logging
import os
from pathlib import Path

import click
from click.core import ParameterSource

from tallystream.cli.definition import summarize_alarms
from tallystream.cli.options import config_option, data_option, read_definition
from tallystream.cli.up_aws import StackChoice, show_stack
from tallystream.core.window import format_duration
from tallystream.local.app import Started, UpSettings, default_workers, read_tokens
from tallystream.local.app import up as run
from tallystream.local.logs import FORMATS, set_up_logs

_log = logging.getLogger(__name__)


@click.command()
@config_option
@data_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="The port; 0 takes a free one.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=default_workers,
    show_default="2, or 1 on one processor",
    help="Processes that serve HTTP.",
)
@click.option("--log-format", type=click.Choice(FORMATS), default="text", show_default=True, help="How log lines are written.")
@click.option("--aws", "stack", metavar="STACK", help="Show what this stack counts on AWS, and count nothing here.")
@click.option("--region", metavar="NAME", help="With --aws: AWS's region; by default that of your AWS settings.")
@click.pass_context
def up(
    ctx: click.Context,
    config: Path,
    data: Path,
    host: str,
    port: int,
    workers: int,
    log_format: str,
    stack: str | None,
    region: str | None,
) -> None:
    """
    Take events over HTTP, count them, and show the counts.

    Ends on Ctrl-C or SIGTERM within seconds; nothing that was accepted is lost however it ends. An address other than loopback
    needs TALLY_WRITE_TOKEN and TALLY_READ_TOKEN in the environment.

    With --aws, the same pages and queries are served over what a stack counts there, by the definition that it was deployed
    with; an address other than loopback then needs TALLY_READ_TOKEN.
    """
    if stack is not None:
        _refuse(ctx, "data", "workers")
        set_up_logs(log_format, "web")
        own = config if ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE else None
        show_stack(StackChoice(stack, region, own), host, port, log_format)
        return
    if region is not None:
        raise click.UsageError("--region is AWS's, and means nothing without --aws")
    set_up_logs(log_format, "supervisor")
    run(
        UpSettings(read_definition(config), data, host, port, workers, log_format, read_tokens(os.environ)),
        on_ready=lambda started: announce(started, log_format),
    )


def _refuse(ctx: click.Context, *names: str) -> None:
    """End with a usage error if an option was given that has no meaning together with --aws."""
    given = [f"--{name}" for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        raise click.UsageError(f"--aws shows what is counted on AWS, in one process: leave out {' and '.join(given)}")


def announce(started: Started, log_format: str) -> None:
    """Say what runs and where, for people or for machines."""
    if log_format == "json":
        counters = {generation.counter: generation.generation for generation in started.generations}
        _log.info("ready", extra={"url": started.url, "definition": started.definition.name, "counters": counters})
    else:
        click.echo(describe(started))


def describe(started: Started) -> str:
    """Return the lines that `tally up` greets with."""
    lines = [f"Tallystream counts {started.definition.name!r} on {started.url}"]
    for generation in started.generations:
        counter = started.definition.counter(generation.counter)
        windows = ", ".join(format_duration(window_ms) for window_ms in counter.windows_ms)
        groups = f" by {', '.join(counter.group_by)}" if counter.group_by else ""
        lines.append(f"  {counter.name}: {', '.join(measure.name for measure in counter.measures)}{groups}, every {windows}")
        if generation.started and generation.generation > 1:
            number = generation.generation
            lines.append(
                f"    counter {counter.name!r} changed: generation {number} starts now; its earlier counts stay, apart"
            )
    if started.definition.alarms:
        lines.append(f"  {summarize_alarms(started.definition)}")
    return "\n".join(lines)
