"""
The `when` of a composite alarm: names of alarms joined by and, or, not and brackets.

A name stands for "this alarm is in ALARM". It may be quoted, and must be where it is a word of the rule: `"not"`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Final, NamedTuple, NoReturn

from tallystream.core.errors import DefinitionError, Problem

RULE_CHARACTERS_MAX: Final = 4_096
NESTING_MAX: Final = 64

_ALLOWED: Final = "names of alarms, and, or, not, brackets"
_WORDS: Final = ("and", "or", "not")
_SIGNS: Final = {"&": "write and", "|": "write or", "!": "write not", ",": "write and, or or"}
_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)|(?P<word>[A-Za-z0-9_-]+)|"(?P<double>[A-Za-z0-9_-]+)"|'(?P<single>[A-Za-z0-9_-]+)'|(?P<bracket>[()])"""
)


class RuleError(DefinitionError, ValueError):
    """A rule cannot be used; the key of the problem says at which character, counted from 1."""


class Name(NamedTuple):
    """Holds while the alarm of the name is in ALARM."""

    name: str


class Not(NamedTuple):
    """Holds while the other does not."""

    inner: "Node"


class All(NamedTuple):
    """Holds while every one does: `a and b`."""

    parts: tuple["Node", ...]


class Any(NamedTuple):
    """Holds while at least one does: `a or b`."""

    parts: tuple["Node", ...]


Node = Name | Not | All | Any


class Rule(NamedTuple):
    """A rule over the states of other alarms, checked."""

    text: str
    tree: Node
    names: frozenset[str]  # of the alarms that it reads

    def holds(self, in_alarm: Callable[[str], bool]) -> bool:
        """Return whether the rule holds, given which alarms are in ALARM."""
        return _holds(self.tree, in_alarm)


def parse_rule(text: str) -> Rule:
    """
    Return the rule that a text means. `not` binds closer than `and`, and `and` closer than `or`.

    Raises:
        RuleError: a ValueError that says at which character the text is no rule, and how to mend it.
    """
    if len(text) > RULE_CHARACTERS_MAX:
        raise _refusal(RULE_CHARACTERS_MAX, f"{len(text):,} characters", "use composite alarms of composite alarms")
    parser = _Parser(text)
    tree = parser.rule()
    return Rule(text, tree, frozenset(parser.names))


def evaluation_order(rules: Mapping[str, Rule]) -> list[str]:
    """
    Return the names of composite alarms so that each comes after those that it reads.

    Args:
        rules: name of the composite alarm → its rule. Names in rules that are not among them are other alarms.

    Raises:
        ValueError: alarms wait for each other; see `find_cycle`.
    """
    return [name for name in TopologicalSorter(_readings(rules)).static_order() if name in rules]


def find_cycle(rules: Mapping[str, Rule]) -> list[str]:
    """Return names of composite alarms of which each reads the next, and the last is the first again; [] if there are none."""
    try:
        TopologicalSorter(_readings(rules)).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return []


def _readings(rules: Mapping[str, Rule]) -> dict[str, list[str]]:
    return {name: sorted(rule.names) for name, rule in rules.items()}  # sorted: the same order in every process


def _holds(node: Node, in_alarm: Callable[[str], bool]) -> bool:
    match node:
        case Name(name):
            return in_alarm(name)
        case Not(inner):
            return not _holds(inner, in_alarm)
        case All(parts):
            return all(_holds(part, in_alarm) for part in parts)
    return any(_holds(part, in_alarm) for part in node.parts)


def _refusal(position: int, found: str, remedy: str) -> RuleError:
    return RuleError([Problem(f"character {position + 1}", found, _ALLOWED, remedy)])


class _Token(NamedTuple):
    position: int  # from 0
    shown: str  # as it is written; "nothing" at the end
    sign: str  # and, or, not, a bracket; otherwise ""
    name: str  # of an alarm; otherwise ""


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            sign = text[position]
            remedy = _SIGNS.get(sign, "leave it out: a name has letters, digits, _ and -")
            raise _refusal(position, sign if sign.isprintable() else f"U+{ord(sign):04X}", remedy)
        word, name = match["word"] or "", match["double"] or match["single"] or ""
        if word.lower() in _WORDS:
            if word not in _WORDS:
                raise _refusal(position, word, f'write {word.lower()}, or "{word}" if it is the name of an alarm')
            yield _Token(position, word, word, "")
        elif not match["space"]:
            yield _Token(position, match[0], match["bracket"] or "", word or name)
        position = match.end()
    yield _Token(len(text), "nothing", "", "")


class _Parser:
    """Reads a rule from the left, one token ahead."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def rule(self) -> Node:
        tree = self._any(1)
        if self._next.shown != "nothing":
            self._refuse("remove it, or open its bracket" if self._next.sign == ")" else "write and, or or before it")
        return tree

    def _any(self, depth: int) -> Node:
        parts = [self._all(depth)]
        while self._take("or"):
            parts.append(self._all(depth))
        return Any(tuple(parts)) if len(parts) > 1 else parts[0]

    def _all(self, depth: int) -> Node:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return All(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self, depth: int) -> Node:
        if depth > NESTING_MAX:
            self._refuse(f"nest at most {NESTING_MAX} deep")
        if self._take("not"):
            return Not(self._one(depth + 1))
        if self._take("("):
            inner = self._any(depth + 1)
            if not self._take(")"):
                self._refuse("close the bracket" if self._next.shown == "nothing" else "write and, or or before it")
            return inner
        name = self._next.name
        if not name:
            self._refuse("name an alarm here")
        self.names.append(name)
        self._next = next(self._tokens)
        return Name(name)

    def _take(self, sign: str) -> bool:
        is_next = self._next.sign == sign
        if is_next:
            self._next = next(self._tokens)
        return is_next

    def _refuse(self, remedy: str) -> NoReturn:
        raise _refusal(self._next.position, self._next.shown, remedy)
