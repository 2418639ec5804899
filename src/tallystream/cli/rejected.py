"""`tally rejected`: what was refused, why, and another try once the cause is mended."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from tallystream.cli.options import config_option, data_option, read_definition, refuse_with_url, server_options
from tallystream.cli.server import Server
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import REASONS
from tallystream.core.printable import printable
from tallystream.engine.retry import retry_rejected
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.web.rejected import export_events, list_events

_DATA_SHOWN = 60  # characters of an event in the list

_reason_option = click.option(
    "--reason", type=click.Choice(sorted(REASONS)), metavar="CODE", help="Only those with this reason, such as invalid_json."
)


@click.group()
def rejected() -> None:
    """
    List, download, or count again the events that were rejected.

    They are kept with their bytes and the reason for 30 days.
    """


@rejected.command("list")
@_reason_option
@server_options("Ask", "TALLY_READ_TOKEN")
@data_option
@click.option("--before", type=int, metavar="ID", help="Only older ones than this id: the next page.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at most.")
@click.pass_context
def list_(
    ctx: click.Context, url: str | None, token_env: str, data: Path, reason: str | None, before: int | None, limit: int
) -> None:
    """List rejected events, newest first."""
    if url is not None:
        refuse_with_url(ctx, "data")
        answer = Server(url, token_env).get("/v1/rejected", {"reason": reason, "before": before, "limit": limit})
    else:
        with closing(_open(data)) as store:
            answer = msgspec.to_builtins(list_events(store, reason, before, limit))
    reasons = answer["reasons"]
    total = sum(reasons.values())
    click.echo(f"{total:,} rejected" + "".join(f", {name} {count:,}" for name, count in sorted(reasons.items())))
    for event in answer["events"]:
        click.echo(_line(event))
    if answer["next"] is not None:
        click.echo(f"older ones: --before {answer['next']}")


@rejected.command()
@_reason_option
@server_options("Ask", "TALLY_READ_TOKEN")
@data_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "raw"]),
    default="ndjson",
    show_default=True,
    help="With id, reason and so on, or the events' bytes alone, one a line.",
)
@click.option("--output", "-o", type=click.File("wb"), default="-", help="The file to write; standard output by default.")
@click.pass_context
def export(
    ctx: click.Context, url: str | None, token_env: str, data: Path, reason: str | None, form: str, output: BinaryIO
) -> None:
    """Write all rejected events, newest first."""
    if url is not None:
        refuse_with_url(ctx, "data")
        _write(Server(url, token_env).pieces("/v1/rejected/export", {"reason": reason, "format": form}), output)
    else:
        with closing(_open(data)) as store:
            _write(export_events(store, reason, raw=form == "raw"), output)


@rejected.command()
@_reason_option
@server_options("Ask", "TALLY_WRITE_TOKEN")
@data_option
@config_option
@click.pass_context
def retry(ctx: click.Context, url: str | None, token_env: str, data: Path, config: Path, reason: str | None) -> None:
    """
    Judge rejected events again, under the present definition.

    Those that are right now move from rejected to their new outcome, once; the others stay. With --data, no server may be
    running there; with --url, the server judges by the definition that it was started with.
    """
    if url is not None:
        refuse_with_url(ctx, "data", "config")
        result = Server(url, token_env).post("/v1/rejected/retry", {"reason": reason})
    else:
        definition = parse_definition(read_definition(config))
        directory = DataDirectory(data)
        _open(data).close()  # a directory without data is refused, not made
        with directory.lock("tally rejected retry", wait_s=0):
            directory.declare(definition)
            with closing(SQLiteCounterStore(directory.counters_path)) as store:
                ledger = retry_rejected(store, definition, reason, now_ms())
        result = {"retried": ledger.received, **ledger._asdict()}
    outcomes = ", ".join(f"{result[name]:,} {name}" for name in ("counted", "unmatched", "late", "duplicate"))
    click.echo(f"{result['retried']:,} retried: {outcomes}, {result['rejected']:,} rejected again")


def _open(path: Path) -> SQLiteCounterStore:
    return SQLiteCounterStore(DataDirectory(path).counters_path, read_only=True)


def _write(pieces: Iterator[bytes], output: BinaryIO) -> None:
    output.writelines(pieces)
    output.flush()


def _line(event: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(event["arrival"] / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    data = event["data"] if event["encoding"] == "utf-8" else f"base64 {event['data']}"
    shown = data if len(data) <= _DATA_SHOWN else data[: _DATA_SHOWN - 1] + "…"
    return f"{event['id']:>8}  {at}  {event['reason']:20}  {printable(shown)}\n{'':10}{printable(event['message'])}"
