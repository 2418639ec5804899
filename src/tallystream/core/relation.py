"""What values of a tally.toml say about each other, in general. A value is None where it was refused, and is passed over."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from tallystream.core.errors import Problem
from tallystream.core.reading import Table, show

_LISTED_MAX: Final = 12  # names: as many as a person reads


def tables(document: Table, name: str) -> list[Table]:
    """Return the good tables of a list of tables."""
    return [table for table in document.values[name] or () if table is not None]


def items(table: Table, name: str) -> list[tuple[str, Any]]:
    """Return the good values of a list with their keys."""
    return [(f"{table.at(name)}[{i}]", value) for i, value in enumerate(table.values[name] or ()) if value is not None]


def check_names(named: Iterable[Table], what: str) -> Iterator[Problem]:
    """Find tables that are called like an earlier one."""
    first: dict[str, str] = {}
    for table in named:
        name = table.values["name"]
        if name is not None and name in first:
            found = f"{show(name)}, which is also {first[name]}"
            yield Problem(table.at("name"), found, f"a name of its own for each {what}", "rename one of them")
        else:
            first[name] = table.at("name")


def check_distinct(table: Table, name: str, write: Callable[[Any], str] = str) -> Iterator[Problem]:
    """Find values of a list that are equal to an earlier one."""
    first: dict[Any, str] = {}
    for key, value in items(table, name):
        if value in first:
            yield Problem(key, f"{show(write(value))}, the same as {first[value]}", "each value once", "remove one of them")
        else:
            first[value] = key


class Names:
    """The names that tables of one kind have, for what refers to them."""

    def __init__(self, document: Table, kind: str) -> None:
        listed = document.values[kind] or ()
        self._kind = kind
        self._names = [table.values["name"] for table in listed if table is not None and table.values["name"] is not None]
        self._is_complete = document.values[kind] is not None and len(self._names) == len(listed)

    def check(self, key: str, name: str) -> Iterator[Problem]:
        """Refuse a name that no table has. Where a table, or its name, was refused itself, nobody knows."""
        if self._is_complete and name not in self._names:
            close = difflib.get_close_matches(name, self._names, 1)
            listed = ", ".join(self._names[:_LISTED_MAX]) + (" …" if len(self._names) > _LISTED_MAX else "")
            has = f"one of {listed}" if listed else "there is none yet"
            remedy = f"did you mean {close[0]}?" if close else f"add [[{self._kind}]] with name = {show(name)}, or name another"
            yield Problem(key, show(name), f"the name of a [[{self._kind}]]: {has}", remedy)
