"""The values of a group: what is counted apart is told apart by them."""

GroupValue = str | int | float | bool | None
"""One value of a group, canonical: a whole float is an int. None stands for a missing field or null."""


def canonical_value(value: GroupValue) -> GroupValue:
    """Return a value of a group in its one form: 1.0 is 1, and everything else is itself."""
    return int(value) if type(value) is float and value.is_integer() else value
