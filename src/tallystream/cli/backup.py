"""`tally backup` and `tally restore`."""

from pathlib import Path

import click

from tallystream.cli.options import config_option, data_option, read_definition
from tallystream.local.backup import backup as write
from tallystream.local.backup import restore as read
from tallystream.local.data import DataDirectory


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@config_option
@data_option
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def backup(file: Path, config: Path, data: Path, force: bool) -> None:
    """
    Write everything into one tar FILE; the server may run.

    It holds all databases, each as of one moment, and the definition. `tally restore` reads it.
    """
    size_bytes = write(DataDirectory(data), read_definition(config), file, force=force)
    click.echo(f"{file}: {size_bytes:,} bytes; restore it with: tally restore {file} --data DIR")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@data_option
def restore(file: Path, data: Path) -> None:
    """Put the data of a backup FILE into a new data directory."""
    definition = read(file, DataDirectory(data))
    click.echo(f"{data}: restored; start with: tally up --config {definition} --data {data}")
