"""What is stored against what a recount gives: for every `tally verify`."""

from typing import NamedTuple

from tallystream.core.aggregate import Partial


class Difference(NamedTuple):
    """Something that is stored otherwise than it must be."""

    what: str
    stored: str
    expected: str


def holds(whole: Partial, part: Partial) -> bool:
    """Return whether `whole` can be `part` and more events. Its sums may be smaller: numbers may be negative."""
    if whole.count < part.count or len(whole.fields) != len(part.fields):
        return False
    for more, less in zip(whole.fields, part.fields, strict=True):
        if more.count < less.count:
            return False
        if less.min is not None and (more.min is None or more.min > less.min):
            return False
        if less.max is not None and (more.max is None or more.max < less.max):
            return False
    return True


def shown(partial: Partial) -> str:
    """Return a partial as a person reads it: `2 (1 numbers, sum 0.3, 0.3 to 0.3)`."""
    fields = "; ".join(f"{field.count} numbers, sum {field.sum}, {field.min} to {field.max}" for field in partial.fields)
    return f"{partial.count:,}" + (f" ({fields})" if fields else "")
