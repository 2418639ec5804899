"""`tally ingest`: files and pipes of events, into a server or a data directory."""

import os
import signal
import time
from pathlib import Path

import click

from tallystream.cli.options import config_option, data_option, read_definition, refuse_with_url, server_options
from tallystream.cli.progress import make_display
from tallystream.local.blocks import UnfinishedLineError
from tallystream.local.data import DataDirectory
from tallystream.local.direct import DirectSink
from tallystream.local.ingest import Outcome
from tallystream.local.ingest import ingest as run
from tallystream.local.source import PipeSource, Source, open_source
from tallystream.local.upload import UploadSink

_PATIENCE_S = 60.0  # with a server that does not answer; a pipe cannot be read again, so it waits for ever


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...|-")
@server_options("Send to", "TALLY_WRITE_TOKEN")
@config_option
@data_option
@click.option("--again", is_flag=True, help="Read a file that was read to its end before once more, as new events.")
@click.option("--strict", is_flag=True, help="Exit with 1 if an event was rejected, or a last line is not complete yet.")
@click.pass_context
def ingest(
    ctx: click.Context,
    files: tuple[str, ...],
    url: str | None,
    token_env: str,
    config: Path,
    data: Path,
    again: bool,
    strict: bool,
) -> None:
    """
    Read events from files, or from a pipe with `-`.

    Reads NDJSON or a JSON array; plain, gzip or zstd, told by the first bytes. Run again on the same file, it goes on where it
    stopped, also after a kill and also when the file has grown; no event is stored twice.
    """
    started_s = time.monotonic()
    sources = [open_source(name) for name in files]
    sink: UploadSink | DirectSink
    if url is None:
        sink = DirectSink(DataDirectory(data), read_definition(config))
    else:
        refuse_with_url(ctx, "config", "data")
        patience_s = float("inf") if any(isinstance(source, PipeSource) for source in sources) else _PATIENCE_S
        sink = UploadSink(url, os.environ.get(token_env), patience_s, lambda why: click.echo(f"tally: {why}", err=True))
    outcomes = []
    try:
        for source in sources:
            _end_on_signals(source)
            with make_display(source.name, source.size_bytes, lambda: sum(sink.rejected.values())) as display:
                outcome = run(source, sink, again=again, on_progress=display.update)
                display.wait()
                if source is sources[-1]:
                    sink.finish()
            outcomes.append(outcome)
            _report(source, outcome)
        _summarise(sink, outcomes, time.monotonic() - started_s)
        rejected = sum(sink.rejected.values())
    except KeyboardInterrupt:
        if any(isinstance(source, PipeSource) and source.is_stopped for source in sources):
            click.echo("tally: stopped; the last of what was read may not be stored, and a pipe cannot be read again", err=True)
        else:
            click.echo("tally: stopped; run it again and it goes on where it stopped", err=True)
        ctx.exit(1)
    finally:
        sink.close()
    lacking = [outcome.unfinished for outcome in outcomes if outcome.unfinished is not None]
    if any(strict or not isinstance(error, UnfinishedLineError) for error in lacking) or (strict and rejected):
        ctx.exit(1)


def _end_on_signals(source: Source) -> None:
    """Let SIGINT and SIGTERM end the reading: a pipe's after what was read is stored, a file's at once."""

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001  # a signal handler's arguments
        if isinstance(source, PipeSource) and not source.is_stopped:
            source.stop()
        else:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)


def _report(source: Source, outcome: Outcome) -> None:
    """Say what is special about how a source was read."""
    if outcome.start:
        if outcome.end == outcome.start and outcome.unfinished is None:
            click.echo(f"{source.name}: nothing new since an earlier run; to read it once more, add --again", err=True)
        else:
            click.echo(f"{source.name}: went on at byte {outcome.start:,}, where an earlier run had stopped", err=True)
    if outcome.unfinished is not None:
        click.echo(f"{source.name}: {outcome.unfinished}", err=True)


def _summarise(sink: UploadSink | DirectSink, outcomes: list[Outcome], elapsed_s: float) -> None:
    events = sum(outcome.events for outcome in outcomes)
    rejected = sink.rejected
    refused = sum(rejected.values())
    click.echo(f"{events:,} events in {elapsed_s:.1f} s ({events / elapsed_s:,.0f}/s)")
    click.echo(f"  accepted  {max(0, events - refused):,}")
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rejected.items()))
    click.echo(f"  rejected  {refused:,}" + (f" ({reasons})" if reasons else ""))
    if isinstance(sink, DirectSink):
        click.echo(f"  duplicate {sink.duplicate:,}")
        if sink.is_shared:
            click.echo("  (a running `tally up` counts; rejected and duplicate events of other producers are among these)")
