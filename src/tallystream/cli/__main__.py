"""`python -m tallystream.cli`: the command `tally`."""

from tallystream.cli import main

main(prog_name="tally")
