"""
The counter table as counting sees it: a handful of operations, each of which may be repeated without harm.

Operations are data, so that counting is written without I/O: it yields an operation and is sent the answer. The handler has
DynamoDB perform them (dynamodb.py), several rows at once; the tests perform those of overlapping invocations in any order.
"""

from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

Item = dict[str, Any]
"""Attributes by name: int, str, bytes, or a dict of such."""


class Key(NamedTuple):
    """Where an item lies: all of one pk are in one partition, ordered by sk."""

    pk: str
    sk: str


class Below(NamedTuple):
    """Holds if the row has no mark, or one below `first`."""

    first: str


class At(NamedTuple):
    """Holds if the row's mark is this one; None: if it has none."""

    mark: str | None


class Update(NamedTuple):
    """Write a row on a condition on its mark `hwm`. Answer: None when it is written, else the row as it stands ({}: none)."""

    key: Key
    condition: Below | At
    add: dict[str, int]  # to numbers, which are 0 where missing
    assign: dict[str, Any]  # None: remove the attribute
    begin: Mapping[str, Any] = MappingProxyType({})  # assigned where the row has no such attribute


class Find(NamedTuple):
    """Answer: the set of those of the keys that have an item now."""

    keys: list[Key]


class Admit(NamedTuple):
    """
    Put an item that is counted at `head`, unless so many are counted there already. Answer: whether it is there.

    All or nothing. An item that is there stays as it is. Nothing is ever uncounted, so after a False all answers are final.
    """

    head: Key
    item: Item
    items_max: int


class PutAll(NamedTuple):
    """Write items, whatever is there. Answer: None."""

    items: list[Item]


Operation = Update | Find | Admit | PutAll
Steps = Generator[Operation, Any, None]
"""What is to be done in this order, each operation decided on the answers before it."""


class Table(Protocol):
    """Performs operations. Raises what its storage raises when it cannot tell that an operation was performed."""

    def perform(self, operation: Operation) -> Any: ...

    def query(
        self, pk: str, from_sk: str = "", to_sk: str | None = None, *, descending: bool = False, at_once: int | None = None
    ) -> Iterator[Item]:
        """
        Yield the items of a partition with from_sk <= sk < to_sk, in order, as of now.

        Whoever may stop early says how many to ask for `at_once`; None: as many as an answer holds.
        """
        ...


def perform_all(steps: Steps, table: Table, answer: Any = None) -> None:
    """Perform steps to their end, those that are under way from the answer on that they wait for."""
    while True:
        try:
            operation = steps.send(answer)
        except StopIteration:
            return
        answer = table.perform(operation)


def item_key(item: Item) -> Key:
    """Return where an item lies."""
    return Key(item["pk"], item["sk"])
