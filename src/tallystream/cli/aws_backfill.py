"""`tally aws backfill`: events that are there already, into the stream of a stack."""

import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tallystream.cli.options import config_option, read_definition, stack_name, stack_option
from tallystream.cli.progress import make_display
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.window import format_duration

if TYPE_CHECKING:
    from tallystream.aws.backfill import StreamSink
    from tallystream.local.ingest import Outcome
    from tallystream.local.retained import RetainedSource
    from tallystream.local.source import Source


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE...|-]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Send what this data directory's stream holds.")
@config_option
@stack_option
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tally-backfill.jsonl",
    show_default=True,
    help="The file that says how far each source is sent.",
)
@click.option(
    "--shard-bytes",
    metavar="N",
    type=click.IntRange(1_000),
    default=1_000_000,
    show_default=True,
    help="Bytes a second for each shard: less where others send, too.",
)
@click.option(
    "--shard-records",
    metavar="N",
    type=click.IntRange(1),
    default=1_000,
    show_default=True,
    help="Records a second for each shard.",
)
@click.option("--again", is_flag=True, help="Send what was sent to its end before once more, as new events.")
@click.pass_context
def backfill(
    ctx: click.Context,
    files: tuple[str, ...],
    data: Path | None,
    config: Path,
    stack: str | None,
    region: str | None,
    checkpoint: Path,
    shard_bytes: int,
    shard_records: int,
    again: bool,
) -> None:
    """
    Send files, or a local stream's events, to a stack.

    Reads files as `tally ingest` does, or with --data what a data directory's stream still holds.

    Run again, it goes on behind the last block that Kinesis has acknowledged. After a kill that block may be sent twice, and
    counted twice: Kinesis does not tell a repetition. An interrupt ends it between two blocks, where nothing is doubled.
    """
    from tallystream.aws.backfill import Checkpoint, StreamSink
    from tallystream.aws.deploy import Account
    from tallystream.aws.producer import Limits, Producer
    from tallystream.local.blocks import UnfinishedLineError
    from tallystream.local.ingest import ingest

    if bool(files) == (data is not None):
        raise click.UsageError("name what to send: files (or - for standard input), or a data directory with --data")
    definition = parse_definition(read_definition(config))
    _warn(definition)
    started_s = time.monotonic()
    with ExitStack() as opened:
        sources = _open(files, data, definition, opened)
        account = Account(region)
        name = stack_name(config, stack)
        stream = account.existing(name).outputs["StreamName"]
        producer = Producer(
            stream, region, Limits(shard_bytes, shard_records), lambda why: click.echo(f"tally: {why}", err=True)
        )
        positions = opened.enter_context(Checkpoint(checkpoint))
        sink = StreamSink(producer, positions, f"{account.number}/{account.region}/{stream}")
        outcomes = []
        try:
            for source in sources:
                _end_on_signals(source, sink)
                with make_display(source.name, source.size_bytes, lambda: sum(sink.rejected.values())) as display:
                    outcome = ingest(source, sink, again=again, on_progress=display.update)
                outcomes.append(outcome)
                _report(source, outcome)
        except KeyboardInterrupt:
            click.echo("tally: stopped; run it again and it goes on where it stopped", err=True)
            ctx.exit(1)
        finally:
            if producer.doubtful:
                click.echo(
                    f"tally: up to {producer.doubtful:,} events may be in the stream twice: requests with them were not "
                    "answered, so they were sent again",
                    err=True,
                )
    events = sum(outcome.events for outcome in outcomes)
    left_out = sum(sink.rejected.values())
    elapsed_s = time.monotonic() - started_s
    click.echo(f"sent {events - left_out:,} events to {stream} in {elapsed_s:.1f} s ({events / elapsed_s:,.0f}/s)")
    if left_out:
        click.echo(f"left out, since no Kinesis record holds so much (1 MiB): {left_out:,}")
        ctx.exit(1)
    lacking = [outcome.unfinished for outcome in outcomes if outcome.unfinished is not None]
    if any(not isinstance(error, UnfinishedLineError) for error in lacking):
        ctx.exit(1)


def _warn(definition: Definition) -> None:
    """Say what becomes of events that arrive in the stack's stream long after they happened."""
    stream = definition.stream
    if stream.allowed_lateness_ms is not None:
        late = format_duration(stream.allowed_lateness_ms)
        click.echo(f"tally: warning: allowed_lateness is {late}: events older than that when sent will be rejected", err=True)
    if stream.missing_event_time == "arrival":
        click.echo(
            f"tally: warning: events without {stream.event_time} are counted at the time at which they are sent", err=True
        )


def _open(
    files: Sequence[str], data: Path | None, definition: Definition, opened: ExitStack
) -> "Sequence[Source | RetainedSource]":
    from tallystream.local.data import DataDirectory
    from tallystream.local.retained import RetainedSource
    from tallystream.local.source import open_source
    from tallystream.local.stream import SQLiteStream

    if data is None:
        return [open_source(name) for name in files]
    stream = opened.enter_context(closing(SQLiteStream(DataDirectory(data).stream_path, definition.stream, read_only=True)))
    return [RetainedSource(stream, state.shard) for state in stream.shards()]


def _end_on_signals(source: "Source | RetainedSource", sink: "StreamSink") -> None:
    """Let the first SIGINT or SIGTERM end the sending behind the block that is under way, and a second one at once."""
    from tallystream.local.source import PipeSource

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001  # a signal handler's arguments
        if isinstance(source, PipeSource) and not source.is_stopped:
            source.stop()
        elif not sink.is_stopped:
            sink.stop()
        else:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)


def _report(source: "Source | RetainedSource", outcome: "Outcome") -> None:
    """Say what is special about how a source was sent."""
    from tallystream.local.retained import RetainedSource

    if outcome.start and not outcome.events and outcome.unfinished is None:
        click.echo(f"{source.name}: nothing new since an earlier run; to send it once more, add --again", err=True)
    elif outcome.start:
        click.echo(f"{source.name}: went on where an earlier run had stopped", err=True)
    if isinstance(source, RetainedSource) and source.missing:
        click.echo(f"{source.name}: {source.missing:,} events are no longer kept and were not sent", err=True)
    if outcome.unfinished is not None:
        click.echo(f"{source.name}: {outcome.unfinished}", err=True)
