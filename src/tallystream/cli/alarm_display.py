"""Alarms, their history and backtests as a terminal shows them."""

from collections.abc import Mapping
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tallystream.cli.display import value_label
from tallystream.core.printable import printable
from tallystream.core.relative_time import format_time
from tallystream.core.window import UNITS_MS

_STYLES: Final[Mapping[str, str]] = {"ALARM": "bold red", "OK": "green", "INSUFFICIENT_DATA": "yellow"}
_PIPED_WIDTH: Final = 200


def alarm_table(answer: Mapping[str, Any]) -> None:
    """Print the alarms, a row for each, those in ALARM first."""
    if not answer["alarms"]:
        click.echo("no alarms; add an [[alarm]] to the definition")
        return
    table = _table("state", "since (UTC)", "alarm", "when", "")
    for alarm in sorted(answer["alarms"], key=lambda alarm: alarm["state"] != "ALARM"):
        table.add_row(_state(alarm["state"]), _since(alarm), alarm["name"], printable(alarm["condition"]), _remarks(alarm))
    _print(table)
    click.echo(f"{answer['in_alarm']} of {len(answer['alarms'])} in ALARM")


def show_alarm(alarm: Mapping[str, Any]) -> None:
    """Print one alarm, and the states of its groups."""
    click.echo(f"{alarm['name']}: {alarm['state']}" + (f" since {utc(alarm['since'])}" if alarm["since"] is not None else ""))
    if alarm["description"]:
        click.echo(printable(alarm["description"]))
    click.echo(f"when: {printable(alarm['condition'])}")
    watched = f"counter {alarm['counter']}" if alarm["counter"] else alarm["system"]
    if watched:
        group = "" if alarm["group"] is None else f", {_group(alarm['group']).plain}"
        if alarm["each"]:
            left_out = f", {alarm['groups_left_out']:,} more are over groups_max" if alarm["groups_left_out"] else ""
            group = f", each of {alarm['groups']:,} groups{left_out}"
        click.echo(f"watches: {watched}{group}")
        click.echo(f"missing data: {alarm['treat_missing_data']}")
    for state, channels in alarm["notify"].items():
        if channels:
            click.echo(f"tells of {state.upper()}: {', '.join(channels)}")
    remarks = _remarks(alarm).plain
    if remarks:
        click.echo(remarks)
    if alarm["each"] and alarm["states"]:
        table = _table("state", "since (UTC)", "group", "key", "")
        for state in alarm["states"]:
            table.add_row(
                _state(state["state"]),
                utc(state["since"]),
                _group(state["group"] or {}),
                printable(state["key"]),
                _acknowledged(state["acknowledged"]),
            )
        _print(table)
        if alarm["states_truncated"]:
            click.echo(f"{len(alarm['states'])} of {alarm['groups']:,} groups")


def show_history(answer: Mapping[str, Any]) -> None:
    """Print what happened, newest first."""
    for item in answer["items"]:
        group = f" {_group(item['group']).plain}" if item["group"] and item["key"] else ""
        name = printable(item["alarm"]) or "all alarms"
        click.echo(f"{item['id']:>8}  {utc(item['at'])}  {name}{group}: {printable(item['summary'])}")
        if item["reason"]:
            click.echo(f"{'':10}{printable(item['reason'])}")
    if not answer["items"]:
        click.echo("nothing happened yet")
    if answer["next"] is not None:
        click.echo(f"older ones: --before {answer['next']}")


def show_backtest(answer: Mapping[str, Any]) -> None:
    """Print when an alarm would have fired."""
    groups = f" of {answer['groups']:,} groups" if answer["groups"] != 1 else ""
    windows = "1 window" if answer["windows"] == 1 else f"{answer['windows']:,} windows"
    fired = answer["fired"]
    click.echo(
        f"{utc(answer['from'])} to {utc(answer['to'])}, {windows}{groups}: "
        + (
            f"fired {_times(fired)} ({answer['per_day']:g} a day), in ALARM for {_duration(answer['alarm_ms'])}, "
            f"at most {_duration(answer['longest_ms'])} at a time; {answer['flaps']:,} came back at once"
            if fired
            else "never fired"
        )
    )
    if not answer["episodes"]:
        return
    table = _table("from (UTC)", "for", "group", "why")
    for episode in answer["episodes"]:
        ended = episode["to"] is not None
        lasted = _duration((episode["to"] if ended else answer["to"]) - episode["from"]) + ("" if ended else ", still")
        group = _group(episode["group"]) if episode["group"] else Text("")
        table.add_row(utc(episode["from"]), lasted, group, printable(episode["reason"]))
    _print(table)
    if answer["episodes_left_out"]:
        click.echo(f"{answer['episodes_left_out']:,} earlier ones are left out")


def utc(time_ms: int) -> str:
    """Return a time to the second, in UTC."""
    return format_time(time_ms - time_ms % 1_000)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column.endswith("(UTC)"))
    return table


def _print(table: Table) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def _state(state: str) -> Text:
    return Text(state, style=_STYLES[state])


def _since(alarm: Mapping[str, Any]) -> str:
    return "not evaluated yet" if alarm["since"] is None else utc(alarm["since"])


def _remarks(alarm: Mapping[str, Any]) -> Text:
    """Return what is to be known beside the state: mutes, acknowledgements, how many groups."""
    remarks = []
    in_alarm = sum(state["state"] == "ALARM" for state in alarm["states"])
    if alarm["each"] and in_alarm:
        remarks.append(f"{in_alarm:,} of {alarm['groups']:,} groups")
    if muted := alarm["muted"]:
        which = f"schedule {muted['schedule']}" if muted["schedule"] else f"mute {muted['id']}"
        by = f" by {muted['by']}" if muted["by"] else ""
        note = f": {muted['note']}" if muted["note"] else ""
        remarks.append(f"muted{by} until {utc(muted['until'])} ({which}{note})")
    if not alarm["each"] and alarm["states"] and alarm["states"][0]["acknowledged"]:
        remarks.append(_acknowledged(alarm["states"][0]["acknowledged"]))
    return Text(printable("; ".join(remarks)))


def _acknowledged(acknowledged: Mapping[str, Any] | None) -> str:
    if not acknowledged:
        return ""
    by = f" by {acknowledged['by']}" if acknowledged["by"] else ""
    note = f": {acknowledged['note']}" if acknowledged["note"] else ""
    return printable(f"acknowledged{by} at {utc(acknowledged['at'])}{note}")


def _group(group: Mapping[str, Any]) -> Text:
    return Text(" · ").join(value_label(value) for value in group.values())


def _duration(duration_ms: int) -> str:
    """Return a duration in its two largest units: 1d 2h, 7m, 90s as 1m 30s."""
    parts = []
    for unit, unit_ms in UNITS_MS.items():
        count, duration_ms = divmod(duration_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"
