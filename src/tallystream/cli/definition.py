"""`tally init` and `tally check`: write a definition to start from, and find every mistake in one."""

EXAMPLE = ""
