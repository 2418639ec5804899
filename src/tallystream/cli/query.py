"""`tally query`: what was counted, as a table, CSV, JSON or a chart."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import click
import msgspec
from rich.console import Console
from rich.text import Text

from tallystream.cli.chart import answer_chart
from tallystream.cli.display import clock
from tallystream.cli.options import config_option, data_option, read_definition, refuse_with_url, server_options
from tallystream.cli.server import Server
from tallystream.cli.table import answer_table
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import QueryError
from tallystream.core.printable import printable
from tallystream.core.query import Show
from tallystream.core.series import Answer
from tallystream.core.window import parse_duration
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.web.query import run_query

_PIPED_WIDTH = 10_000  # a table in a file is not cut
# What a terminal might act on, in text that is otherwise as it must be: C0 but for line ends, DEL, C1, and turns of direction.
_STEERING = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@click.command()
@click.argument("counter")
@click.option("--window", metavar="DURATION", required=True, help="One of the counter's windows, or a multiple: 1m, 15m, 1d.")
@click.option("--from", "from_", metavar="TIME", help="Start: -3h, 2026-09-21T10:00:00Z, epoch ms.  [default: 60 windows ago]")
@click.option("--to", metavar="TIME", help="End, exclusive.  [default: now]")
@click.option("--group", "groups", multiple=True, metavar="FIELD=VALUE", help="Only groups with this value; may be repeated.")
@click.option("--exact", multiple=True, metavar="FIELD=JSON", help='Only groups with exactly this value: 3, "3", null.')
@click.option("--by", multiple=True, metavar="FIELD,…", help='Fields to keep apart; the others are merged. "" merges all.')
@click.option("--measure", metavar="MEASURE", help='Such as "sum(amount)".  [default: count]')
@click.option("--top", metavar="K", help="Only the K groups with the largest totals.")
@click.option("--other", is_flag=True, help="With --top: the rest as one more group.")
@click.option("--over", metavar="DURATION", help="Sliding: each point covers this much, ending with its window.")
@click.option("--show", type=click.Choice(get_args(Show)), help="The value, or its rate a second, share, or change.")
@click.option("--compare", type=click.Choice(["previous"]), help="Also the period of the same length before.")
@click.option("--fill", type=click.Choice(["zero"]), help="Windows without a row are 0.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "chart"]),
    default="table",
    show_default=True,
    help="How to show it.",
)
@server_options("Ask", "TALLY_READ_TOKEN")
@config_option
@data_option
@click.pass_context
def query(
    ctx: click.Context,
    /,
    groups: tuple[str, ...],
    exact: tuple[str, ...],
    by: tuple[str, ...],
    form: str,
    url: str | None,
    token_env: str,
    config: Path,
    data: Path,
    **asked: Any,
) -> None:
    r"""
    Show what a counter has counted.

    \b
    tally query events --window 1m --from -1h --format chart
    tally query events --window 1h --from -7d --by country --top 5 --other
    """
    parameters = list(_parameters(asked))
    parameters += [("by", fields) for fields in by]
    parameters += [_filter("group", text) for text in groups] + [_filter("exact", text) for text in exact]
    parameters.append(("format", "csv" if form == "csv" else "json"))
    if url is not None:
        refuse_with_url(ctx, "config", "data")
        body = b"".join(Server(url, token_env).pieces(f"/v1/query?{urlencode(parameters)}", {}))
    else:
        body = _ask_directory(data, config, parameters)
    if form in ("csv", "json"):
        _write(body, form)
    else:
        _draw(msgspec.json.decode(body, type=Answer), asked, form)


def _parameters(asked: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of GET /v1/query. What is wrong with them is said in one place, for both ways."""
    for name, value in asked.items():
        if value not in (None, False):
            yield name.rstrip("_"), "true" if value is True else value


def _filter(kind: str, text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not equals:
        example = "event=click" if kind == "group" else "size=3"
        raise click.UsageError(f'--{kind} is FIELD=VALUE, got "{printable(text)}"; write for example --{kind} {example}')
    return f"{kind}.{field}", value


def _ask_directory(data: Path, config: Path, parameters: list[tuple[str, str]]) -> bytes:
    definition = parse_definition(read_definition(config))
    asked = dict(parameters)["counter"]
    with closing(SQLiteCounterStore(DataDirectory(data).counters_path, read_only=True)) as store, store.snapshot():
        for counter in definition.counters:
            if counter.name == asked and not store.is_declared(counter, definition.stream):
                raise QueryError(
                    "counter",
                    f'counter: {config} defines "{asked}" otherwise than {data} counts it; give the --config that is '
                    "counted there, or start `tally up` with this one first",
                )
        return run_query(parameters, definition, store, now_ms())[0]


def _write(body: bytes, form: str) -> None:
    """Write an answer as it is; to a terminal, with the characters escaped that could steer it."""
    if sys.stdout.isatty():
        body = _STEERING.sub(_escape, body.decode()).encode()
    click.echo(body, nl=form == "json")


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _draw(answer: Answer, asked: dict[str, Any], form: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # better a question mark than no answer where a name cannot be written
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and form == "table":
        console.width = _PIPED_WIDTH
    show: Show = asked["show"] or "value"
    console.print(_heading(answer, show, asked["over"]), soft_wrap=True)
    if not any(series.points or series.previous for series in answer.series):
        console.print("nothing was counted there", style="dim")
        return
    console.print()
    console.print(answer_table(answer, show, console) if form == "table" else answer_chart(answer, show, console))
    if answer.truncated:
        console.print(
            f"the {len(answer.series):,} largest of {answer.groups:,} groups; narrow them with --top, --group or --by"
        )


def _heading(answer: Answer, show: Show, over: str | None) -> Text:
    what = answer.measure if show == "value" else f"{show} of {answer.measure}"
    step_ms = parse_duration(answer.window)
    windows = f"over {over}, every {answer.window}" if over else f"windows of {answer.window}"
    span = f"{clock(answer.from_ms, step_ms)} to {clock(answer.to_ms, step_ms)} UTC"
    return Text.assemble((printable(answer.counter), "bold"), f" · {printable(what)} · {windows} · {span}")
