"""`tally verify`: does what is stored agree with the stream?"""

from pathlib import Path

import click

from tallystream.cli.options import config_option, data_option, read_definition
from tallystream.core.definition import parse_definition
from tallystream.local.data import DataDirectory
from tallystream.local.verify import Difference
from tallystream.local.verify import verify as compare

_SHOWN_MAX = 100


@click.command()
@config_option
@data_option
@click.pass_context
def verify(ctx: click.Context, config: Path, data: Path) -> None:
    """
    Compare the stored counts with a recount of the events.

    Counts those once more that the stream still holds. Checks counters, ledger, positions, whether the states of alarms
    follow from their history, and the files; exits with 1 on any difference. The server may run meanwhile.
    """
    result = compare(DataDirectory(data), parse_definition(read_definition(config)))
    pruned = f" ({result.pruned:,} older ones are no longer kept)" if result.pruned else ""
    click.echo(f"counted {result.events:,} events again{pruned}, compared {result.cells:,} cells")
    if result.differences:
        click.echo(_table(result.differences[:_SHOWN_MAX]))
        if len(result.differences) > _SHOWN_MAX:
            click.echo(f"… and {len(result.differences) - _SHOWN_MAX:,} more")
        count = len(result.differences)
        click.echo(f"{count:,} {'difference' if count == 1 else 'differences'}")
        ctx.exit(1)
    click.echo("no differences")


def _table(differences: list[Difference]) -> str:
    rows = [("what", "stored", "expected"), *differences]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{what:{widths[0]}}  {stored:{widths[1]}}  {expected}" for what, stored, expected in rows)
