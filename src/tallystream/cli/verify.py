"""`tally verify`: does what is stored agree with the stream?"""

from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from tallystream.cli.options import config_option, data_option, read_definition, stack_name, stack_option
from tallystream.core.comparison import Difference
from tallystream.core.definition_text import parse_definition

_SHOWN_MAX = 100
_PARTS = 10_000  # of the time that a stream retains, for the display


@click.command()
@config_option
@data_option
@click.option("--aws", is_flag=True, help="Compare a stack's table with a recount of its stream.")
@stack_option
@click.pass_context
def verify(ctx: click.Context, config: Path, data: Path, aws: bool, stack: str | None, region: str | None) -> None:
    """
    Compare the stored counts with a recount of the events.

    Counts those once more that the stream still holds. Checks counters, ledger, positions, whether the states of alarms
    follow from their history, and the files; exits with 1 on any difference. The server may run meanwhile.

    With --aws, the same for a stack on AWS, which may go on meanwhile: counters, ledgers and rejected events, by the definition
    that it was deployed with.
    """
    if aws:
        if ctx.get_parameter_source("data") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--aws verifies a stack, which has no data directory: leave out --data")
        _verify_stack(ctx, stack_name(config, stack), region)
        return
    for name, value in (("stack", stack), ("region", region)):
        if value is not None:
            raise click.UsageError(f"--{name} names where on AWS: add --aws, or leave it out")
    from tallystream.local.data import DataDirectory
    from tallystream.local.verify import verify as compare

    result = compare(DataDirectory(data), parse_definition(read_definition(config)))
    _report(ctx, result.events, result.pruned, f"{result.cells:,} cells", result.differences)


def _verify_stack(ctx: click.Context, name: str, region: str | None) -> None:
    from tallystream.aws.deploy import Account
    from tallystream.aws.verify import Reading
    from tallystream.aws.verify import verify as compare
    from tallystream.cli.progress import make_display
    from tallystream.local.ingest import Progress

    account = Account(region)
    rejected = 0
    with make_display(f"stream of {name}", _PARTS, lambda: rejected) as display:

        def show(reading: Reading) -> None:
            nonlocal rejected
            rejected = reading.rejected
            display.update(Progress(reading.events, round(reading.part * _PARTS)))

        result = compare(account, name, show)
    _report(ctx, result.events, result.gone, f"{result.rows:,} rows", result.differences)


def _report(ctx: click.Context, events: int, gone: int, compared: str, differences: Sequence[Difference]) -> None:
    """Say what was compared and what differs; exit with 1 if anything does."""
    older = f" ({gone:,} older ones are no longer kept)" if gone else ""
    click.echo(f"counted {events:,} events again{older}, compared {compared}")
    if differences:
        click.echo(_table(differences[:_SHOWN_MAX]))
        if len(differences) > _SHOWN_MAX:
            click.echo(f"… and {len(differences) - _SHOWN_MAX:,} more")
        count = len(differences)
        click.echo(f"{count:,} {'difference' if count == 1 else 'differences'}")
        ctx.exit(1)
    click.echo("no differences")


def _table(differences: Sequence[Difference]) -> str:
    rows = [("what", "stored", "expected"), *differences]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{what:{widths[0]}}  {stored:{widths[1]}}  {expected}" for what, stored, expected in rows)
