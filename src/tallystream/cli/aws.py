"""`tally aws`: the same definition as a stack on AWS."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from tallystream.aws.template_function import Architecture, StackSettings
from tallystream.cli.aws_backfill import backfill
from tallystream.cli.options import config_option, read_definition, stack_name, stack_option
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import TallystreamError

if TYPE_CHECKING:
    from tallystream.aws.deploy import Progress, Summary

Command = Callable[..., Any]


class OutputError(TallystreamError):
    """A file cannot be written where it was asked for."""


@click.group()
def aws() -> None:
    """Count on AWS: see what a definition costs there, and deploy it."""


aws.add_command(backfill)


def _architecture_option(command: Command) -> Command:
    """Add --arch."""
    return click.option(
        "--arch",
        "architecture",
        type=click.Choice(["arm64", "x86_64"]),
        default="arm64",
        show_default=True,
        help="The functions' processor; arm64 is cheaper.",
    )(command)


def _settings_options(command: Command) -> Command:
    """Add --arch, --batch-window, --memory, --groups-max, --write-shards and --dashboard."""
    window = click.option(
        "--batch-window",
        "batch_window_s",
        metavar="SECONDS",
        type=click.IntRange(1, 300),
        default=5,
        show_default=True,
        help="How long a batch waits for more events: longer is cheaper, and numbers are later.",
    )
    memory = click.option(
        "--memory",
        "memory_mb",
        metavar="MB",
        type=click.IntRange(128, 10_240),
        default=256,
        show_default=True,
        help="The functions' memory, and with it their share of a processor.",
    )
    groups = click.option(
        "--groups-max",
        metavar="N",
        type=click.IntRange(1),
        default=10_000,
        show_default=True,
        help="Groups of a counter that are kept apart; events of further ones are counted together, as (other).",
    )
    shards = click.option(
        "--write-shards",
        metavar="N",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Partitions that a series' rows are spread over: more for over 1,000 writes a second.",
    )
    dashboard = click.option(
        "--dashboard/--no-dashboard", help="Also serve the dashboard: a function with a URL, which asks for a token."
    )
    changed: Command = _architecture_option(window(memory(groups(shards(dashboard(command))))))
    return changed


@aws.command()
@config_option
@_settings_options
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file, not to standard output.")
def template(config: Path, output: Path | None, **settings: Any) -> None:
    """
    Print the CloudFormation template of a definition.

    What AWS cannot do as the local plane does is said on standard error, a line each.
    """
    from tallystream.aws.template import make_stack, render

    stack = make_stack(_definition(config), StackSettings(**settings))
    _warn(stack.warnings)
    if output is None:
        click.echo(render(stack.template), nl=False)
    else:
        _write(render(stack.template).encode(), output)
        click.echo(f"wrote {output}", err=True)


@aws.command()
@config_option
@_architecture_option
@click.option("--dashboard", is_flag=True, help="With the pages, for a template that was made with --dashboard.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tally-package.zip",
    show_default=True,
    help="The file to write.",
)
def package(config: Path, architecture: Architecture, dashboard: bool, output: Path) -> None:
    """
    Build the zip that the functions run.

    It holds what they import, the definition, and libraries for Lambda's Python. pip gets the libraries, in the versions that
    are installed here. The same input makes the same bytes.
    """
    from tallystream.aws.package import Target, build_package

    built = build_package(_definition(config), Target(architecture), pages=dashboard)
    _write(built.data, output)
    click.echo(f"wrote {output}: {built.files} files, {len(built.data):,} bytes, sha256 {built.sha256}")


@aws.command()
@config_option
@_settings_options
@click.option("--events-per-second", metavar="N", type=click.FloatRange(0, min_open=True), required=True, help="The mean load.")
@click.option(
    "--event-bytes", metavar="N", type=click.IntRange(2, 1_000_000), default=500, show_default=True, help="An event's size."
)
@click.option(
    "--events-per-record",
    metavar="N",
    type=click.IntRange(1, 500_000),
    default=1,
    show_default=True,
    help="How many events producers pack into a record, one a line.",
)
@click.option(
    "--groups", metavar="N", type=click.IntRange(1), default=10, show_default=True, help="Groups of each counter with group_by."
)
@click.option("--region", default="us-east-1", show_default=True, help="Whose prices.")
def cost(
    config: Path,
    events_per_second: float,
    event_bytes: int,
    events_per_record: int,
    groups: int,
    region: str,
    **settings: Any,
) -> None:
    """
    Estimate what a definition costs a month on AWS.

    Says it by service, before anything is deployed; the assumptions are printed along with it.
    """
    from tallystream.aws.cost import Load, estimate

    load = Load(events_per_second, event_bytes, events_per_record, groups)
    found = estimate(_definition(config), load, StackSettings(**settings), region)
    _warn(found.warnings)
    rows = [(each.service, each.what, _quantity(each.quantity), f"{each.dollars:,.2f}") for each in found.charges]
    rows = [("service", "what", "a month", "USD"), *rows, ("total", "", "", f"{found.dollars:,.2f}")]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for service, what, quantity, dollars in rows:
        click.echo(f"{service:{widths[0]}}  {what:{widths[1]}}  {quantity:>{widths[2]}}  {dollars:>{widths[3]}}")
    click.echo("\nassuming:")
    for assumption in found.assumptions:
        click.echo(f"- {assumption}")


def _yes_option(command: Command) -> Command:
    """Add --yes."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(command)


@aws.command()
@config_option
@stack_option
@_settings_options
@_yes_option
@click.pass_context
def deploy(ctx: click.Context, /, config: Path, stack: str | None, region: str | None, yes: bool, **options: Any) -> None:
    """
    Make or change the stack of a definition on AWS.

    Afterwards it is as the definition says now. What would change is shown first, as a table, and nothing is changed before
    you say yes. A stack that is there keeps the settings that no option is given for.
    """
    from tallystream.aws.deploy import Account
    from tallystream.aws.package import Target, build_package
    from tallystream.aws.template import make_stack

    definition = _definition(config)
    name = stack_name(config, stack)
    account = Account(region)
    given = {key: value for key, value in options.items() if ctx.get_parameter_source(key) is ParameterSource.COMMANDLINE}
    before = account.settings(name)
    settings = replace(before or StackSettings(), **given)
    made = make_stack(definition, settings)
    _warn(made.warnings)
    if before and (before.groups_max, before.write_shards) != (settings.groups_max, settings.write_shards):
        _warn(("with another --groups-max or --write-shards, all counters begin new rows; what was counted stays, apart",))
    built = build_package(definition, Target(settings.architecture), pages=settings.dashboard)
    plan = account.plan(name, made.template, built, definition.name)
    if not plan.changes:
        click.echo(f"the stack {name} in {account.region} is as the definition says; nothing to do")
        return
    click.echo(
        f"{'a new stack' if plan.is_new else 'changes of the stack'} {name} in {account.region}, account {account.number}:\n"
    )
    rows = [
        ("action", "resource", "type", "replaced"),
        *((c.action, c.logical_id, c.resource_type, c.replacement) for c in plan.changes),
    ]
    _echo_table(rows)
    if not yes and not click.confirm("\nexecute?"):
        account.discard(name, plan)
        click.echo("nothing was changed")
        return
    _echo_progress(account.execute(name, plan, built))
    click.echo(f"the stack {name} is deployed")
    _echo_summary(name, account.existing(name))


@aws.command()
@config_option
@stack_option
def status(config: Path, stack: str | None, region: str | None) -> None:
    """Show how a stack is: its outputs and its alarms. Exits with 1 if there is none."""
    from tallystream.aws.deploy import Account

    account = Account(region)
    name = stack_name(config, stack)
    _echo_summary(name, account.existing(name))


@aws.command()
@config_option
@stack_option
@_yes_option
def destroy(config: Path, stack: str | None, region: str | None, yes: bool) -> None:
    """
    Delete a stack with everything in it.

    Events, counters, alarms and logs are gone then. The metrics stay until CloudWatch forgets them, after 15 months; they cost
    nothing.
    """
    from tallystream.aws.deploy import Account

    account = Account(region)
    name = stack_name(config, stack)
    found = account.summary(name)
    if found is not None:
        for output, value in found.outputs.items():
            click.echo(f"{output}: {value}")
        prompt = f"delete the stack {name} in {account.region}, with all events and counters in it?"
        if not yes and not click.confirm(prompt):
            click.echo("nothing was deleted")
            return
    _echo_progress(account.destroy(name))
    if found is None:
        click.echo(f"there is no stack {name} in {account.region}; nothing to delete")
        return
    click.echo(f"the stack {name} is gone; its metrics stay in CloudWatch until they are 15 months old")


def _echo_summary(name: str, found: "Summary") -> None:
    click.echo(f"{name}: {found.status}")
    _echo_table(list(found.outputs.items()))
    if found.alarms:
        click.echo()
        _echo_table(sorted(found.alarms.items()))


def _echo_progress(happening: "Iterator[Progress]") -> None:
    for progress in happening:
        reason = f": {progress.reason}" if progress.reason else ""
        click.echo(f"{progress.status:20} {progress.logical_id} ({progress.resource_type}){reason}")


def _echo_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _definition(config: Path) -> Definition:
    return parse_definition(read_definition(config))


def _warn(warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"tally: warning: {warning}", err=True)


def _write(data: bytes, output: Path) -> None:
    try:
        output.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}; mend that, or give another path") from error


def _quantity(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:,.2f}".rstrip("0").rstrip(".")
