"""`tally demo`: Tallystream with made-up traffic."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from tallystream.cli.definition import example_definition
from tallystream.cli.options import read_definition
from tallystream.cli.traffic import HISTORY_MS, TrafficSettings
from tallystream.cli.up import describe
from tallystream.local.app import PortInUseError, Started, StartError, UpSettings, default_workers, read_tokens
from tallystream.local.app import up as run
from tallystream.local.data import DataDirectory
from tallystream.local.logs import set_up_logs
from tallystream.local.supervisor import ChildSpec

HOST = "127.0.0.1"


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="The port; 0 takes a free one.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo-data",
    show_default=True,
    help="Where the demo's definition and data are kept.",
)
@click.option("--rate", type=click.FloatRange(0, 10_000), default=10.0, show_default=True, help="Events a second.")
@click.option("--history", type=click.IntRange(0), default=200_000, show_default=True, help="Events of the hours before, once.")
def demo(port: int, data: Path, rate: float, history: int) -> None:
    """
    Show Tallystream at work on the visitors of a made-up site.

    Serves on 127.0.0.1 and sends itself traffic until Ctrl-C. A second start goes on with the same data.
    """
    set_up_logs("text", "supervisor")
    is_new = not DataDirectory(data).counters_path.exists()
    config = data / "tally.toml"
    if not config.exists():
        data.mkdir(parents=True, exist_ok=True)
        config.write_text(example_definition(), encoding="utf-8")
    tokens = read_tokens(os.environ)

    def traffic(url: str) -> Sequence[ChildSpec]:
        settings = TrafficSettings(url=url, write_token=tokens.write, history_events=history if is_new else 0, rate=rate)
        return [ChildSpec("traffic", "tallystream.cli.traffic", settings, stage=3)]

    try:
        run(
            UpSettings(read_definition(config), data, HOST, port, default_workers(), "text", tokens),
            on_ready=lambda started: click.echo(_tour(started, data, history if is_new else 0)),
            more=traffic,
        )
    except PortInUseError as error:
        raise StartError(
            f"port {port} is in use; choose another: make demo PORT={port + 1}, or tally demo --port {port + 1}"
        ) from error


def _tour(started: Started, data: Path, history: int) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    filling = f" (about {history:,} events of the last {HISTORY_MS // 3_600_000} hours come first)" if history else ""
    return f"""
{describe(started)}

Look at{filling}
  {started.url}/           live charts, totals and top groups
  {started.url}/explore    any counter, group, window and range; CSV and PNG
  {started.url}/alarms     what is in alarm, since when, and what would have been
  {started.url}/rejected   what could not be counted, and why: the traffic has a bug
  {started.url}/health     the ledger, throughput, lag and disk

Send an event of your own and see it within a second
  curl {started.url}/v1/events -H 'Content-Type: application/json' \\
    -d '{{"event": "my first event", "utc_timestamp": "{now}", "country": "GB"}}'

Ctrl-C stops everything; {data} keeps the definition and the counts.
"""
