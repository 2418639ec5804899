"""`tally alarms`: where alarms stand, what happened, trying them on the past, muting and acknowledging them."""

import getpass
from collections.abc import Callable
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from tallystream.cli.alarm_display import alarm_table, show_alarm, show_backtest, show_history, utc
from tallystream.cli.alarm_source import AlarmSource, ServedAlarms, StoredAlarms
from tallystream.cli.options import Command, config_option, data_option, refuse_with_url, server_options
from tallystream.cli.server import Server
from tallystream.core.printable import printable

_format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to show it."
)
_check_option = click.option("--check", is_flag=True, help="Exit with 1 if something is in ALARM.")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return ""


_by_option = click.option("--by", default=_user, show_default="your user name", metavar="NAME", help="Who does it.")
_note_option = click.option("--note", default="", metavar="TEXT", help="Why, or what is being done.")


def _source(token_env: str) -> Callable[[Command], Command]:
    """Add --url, --token-env, --data and --config."""

    def add(command: Command) -> Command:
        return server_options("Ask", token_env)(data_option(config_option(command)))

    return add


def _open(ctx: click.Context, *, keeps_config: bool = False) -> AlarmSource:
    """Return where the command is to ask; the options are taken out of what it is given."""
    asked = ctx.params
    if asked["url"] is None:
        return StoredAlarms(asked["data"], asked["config"])
    refuse_with_url(ctx, *(("data",) if keeps_config else ("data", "config")))
    return ServedAlarms(Server(asked["url"], asked["token_env"]))


@click.group()
def alarms() -> None:
    """Show alarms, try them on the past, mute and acknowledge them."""


@alarms.command("list")
@_check_option
@_format_option
@_source("TALLY_READ_TOKEN")
@click.pass_context
def list_(ctx: click.Context, /, form: str, check: bool, **_: Any) -> None:
    """List the alarms and where they stand."""
    body = _open(ctx).all()
    answer = msgspec.json.decode(body)
    if form == "json":
        click.echo(body)
    else:
        alarm_table(answer)
    if check and answer["in_alarm"]:
        ctx.exit(1)


@alarms.command()
@click.argument("name")
@_check_option
@_format_option
@_source("TALLY_READ_TOKEN")
@click.pass_context
def show(ctx: click.Context, /, name: str, form: str, check: bool, **_: Any) -> None:
    """Show what an alarm watches, and where it and its groups stand."""
    body = _open(ctx).one(name)
    answer = msgspec.json.decode(body)
    if form == "json":
        click.echo(body)
    else:
        show_alarm(answer)
    if check and answer["state"] == "ALARM":
        ctx.exit(1)


@alarms.command()
@click.argument("name", required=False)
@click.option("--before", type=click.IntRange(0), metavar="ID", help="Only what is older than this id: the next page.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many items at most.")
@_format_option
@_source("TALLY_READ_TOKEN")
@click.pass_context
def history(ctx: click.Context, /, name: str | None, before: int | None, limit: int, form: str, **_: Any) -> None:
    """Show what happened to all alarms, or to NAME, newest first."""
    body = _open(ctx).history(name, before, limit)
    if form == "json":
        click.echo(body)
    else:
        show_history(msgspec.json.decode(body))


@alarms.command()
@click.argument("name")
@click.option("--since", default="7d", show_default=True, metavar="TIME", help="From when on: 7d ago, or a time.")
@click.option("--until", default="now", show_default=True, metavar="TIME", help="Up to when.")
@click.option("--key", metavar="KEY", help="Only this group of an alarm that watches each.")
@_format_option
@_source("TALLY_WRITE_TOKEN")
@click.pass_context
def test(ctx: click.Context, /, name: str, since: str, until: str, key: str | None, form: str, **_: Any) -> None:
    """
    Show when an alarm would have fired over what is stored.

    The alarm is that of --config, where you may have edited it; a server takes that of --config, too, if you give one. Nothing
    is stored, and nobody is told.
    """
    source = _open(ctx, keeps_config=True)
    edited = ctx.params["config"] if ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE else None
    wanted = {"from": f"-{since}" if since[:1].isdigit() and since[-1:].isalpha() and since[-1:] != "Z" else since, "to": until}
    body = source.test(name, wanted | {"key": key}, edited)
    if form == "json":
        click.echo(body)
    else:
        show_backtest(msgspec.json.decode(body))


@alarms.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "all_", is_flag=True, help="All alarms.")
@click.option("--for", "for_", metavar="DURATION", help="How long, such as 2h.")
@click.option("--until", metavar="TIME", help="Until when, instead of --for.")
@click.option("--from", "from_", metavar="TIME", default="now", show_default=True, help="From when on.")
@_by_option
@_note_option
@_source("TALLY_WRITE_TOKEN")
@click.pass_context
def mute(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    all_: bool,
    for_: str | None,
    until: str | None,
    from_: str,
    by: str,
    note: str,
    **_: Any,
) -> None:
    """
    Mute alarms for a time: they go on, and nobody is told.

    What is still so when a mute ends, is told then.
    """
    if all_ == bool(names):
        raise click.UsageError("name the alarms to mute, or give --all; not both")
    if (for_ is None) == (until is None):
        raise click.UsageError("give either --for or --until, such as --for 2h")
    wanted = {"alarms": list(names), "from": from_, "for": for_, "until": until, "by": by, "note": note}
    muted = msgspec.json.decode(_open(ctx).mute({key: value for key, value in wanted.items() if value is not None}))
    click.echo(
        f"muted {', '.join(map(printable, muted['alarms'])) or 'all alarms'} from {utc(muted['from'])} until "
        f"{utc(muted['until'])}; end it with: tally alarms unmute {muted['id']}"
    )


@alarms.command()
@click.argument("mute_id", metavar="ID", type=click.IntRange(0))
@_source("TALLY_WRITE_TOKEN")
@click.pass_context
def unmute(ctx: click.Context, /, mute_id: int, **_: Any) -> None:
    """End a mute now. `tally alarms list` shows the ids."""
    _open(ctx).unmute(mute_id)
    click.echo(f"ended mute {mute_id}")


@alarms.command()
@click.argument("name")
@click.option("--key", metavar="KEY", help="Which group of an alarm that watches each.")
@_by_option
@_note_option
@_source("TALLY_WRITE_TOKEN")
@click.pass_context
def ack(ctx: click.Context, /, name: str, key: str | None, by: str, note: str, **_: Any) -> None:
    """Say that somebody takes care of an alarm that is in ALARM."""
    source = _open(ctx)
    source.acknowledge(name, {"key": key or "", "by": by, "note": note})
    click.echo(f"acknowledged {printable(name)}{f' {printable(key)}' if key else ''}")
