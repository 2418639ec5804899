"""
Conditions on an event: a small tree, and the function that is made of it.

The function is compiled from source that this module writes itself, out of checked pieces: attribute names, and literals
as `repr` gives them. Where a literal tells the type, the test for it is written in line, so that
`event == 'donation' and amount > 0` costs a few attribute reads and comparisons; the rest calls the functions below.

What a condition means in the presence of anything is said in docs/definition.md; `expression.py` makes the tree of a text.
"""

import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, assert_never

Scalar = str | int | float | bool


class Field(NamedTuple):
    """The value at a dotted path of the event."""

    path: str


class Literal(NamedTuple):
    """A value written in the expression; a number is finite."""

    value: Scalar


class Negation(NamedTuple):
    """`-operand`."""

    operand: "Value"


class Arithmetic(NamedTuple):
    """`left operator right`, the operator being one of + - * / // %."""

    operator: str
    left: "Value"
    right: "Value"


class Comparison(NamedTuple):
    """`left operator right`, the operator being one of == != < <= > >=; literals on both sides are of one kind."""

    operator: str
    left: "Value"
    right: "Value"


class Membership(NamedTuple):
    """`value in [literals]`, or `not in`."""

    negated: bool
    value: "Value"
    literals: tuple[Scalar, ...]


class Substring(NamedTuple):
    """`part in whole`, or `not in`."""

    negated: bool
    part: "Field | Literal"
    whole: Field


class Truth(NamedTuple):
    """A field or a bool that is a condition by itself."""

    value: "Field | Literal"


class Not(NamedTuple):
    """`not operand`."""

    operand: "Condition"


class Junction(NamedTuple):
    """`operand and operand and …`, or the same with `or`."""

    operator: str
    operands: tuple["Condition", ...]


Value = Field | Literal | Negation | Arithmetic
Condition = Comparison | Membership | Substring | Truth | Not | Junction

KINDS: Final[dict[type, str]] = {str: "text", int: "number", float: "number", bool: "bool"}
"""Types that can be compared, and what they are called; only values of one kind are."""

_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TESTS: Final = {
    "text": "type(v := {}) is str",
    "number": "((t := type(v := {})) is int or t is float)",  # a bool is an int to Python, but no number
    "bool": "type(v := {}) is bool",
}
"""Written in line: is this value of the kind? It is in v then."""


def compile_condition(condition: Condition, attribute: Mapping[str, str]) -> Callable[[Any], bool]:
    """
    Return a condition as a function of an event, which answers True or False and never raises.

    Args:
        condition: as `parse_expression` makes it.
        attribute: dotted path → path of attributes that holds its value on the event: "f0", "f1.f2".
            Values are str, int, finite float, bool, or None where missing or null; any other counts as missing.

    Raises:
        KeyError: a field of the condition has no attribute.
        ValueError: an attribute is no identifier.
    """
    source = f"lambda event: {_Writer(attribute).condition(condition)}"
    return eval(compile(source, "<where>", "eval"), _NAMESPACE.copy())  # type: ignore[no-any-return]  # noqa: S307


class _Writer:
    """Writes the source of a condition. Every piece stands in brackets of its own; v and t live for one comparison."""

    def __init__(self, attribute: Mapping[str, str]) -> None:
        self._attribute = attribute

    def condition(self, condition: Condition) -> str:
        match condition:
            case Comparison():
                return self._comparison(*condition)
            case Membership():
                return self._membership(*condition)
            case Substring(negated, part, whole):
                if isinstance(part, Field):
                    return f"({'lacks' if negated else 'holds'}({self.value(whole)}, {self.value(part)}))"
                test = "not in" if negated else "in"
                return f"({_TESTS['text'].format(self.value(whole))} and {part.value!r} {test} v)"
            case Truth(value):
                return f"({self.value(value)} is True)"
            case Not(operand):
                return f"(not {self.condition(operand)})"
            case Junction(word, operands):
                return f"({f' {word} '.join(self.condition(operand) for operand in operands)})"
        assert_never(condition)

    def value(self, value: Value) -> str:
        match value:
            case Field(path):
                attribute = self._attribute[path]
                if not all(name.isidentifier() for name in attribute.split(".")):
                    raise ValueError(f"the attribute of {path} must be identifiers with dots between, got {attribute!r}")
                return f"event.{attribute}"
            case Literal(literal):
                return repr(literal)
            case Negation(operand):
                return f"negate({self.value(operand)})"
            case Arithmetic(symbol, left, right):
                return f"{_ARITHMETIC[symbol].__name__}({self.value(left)}, {self.value(right)})"
        assert_never(value)

    def _comparison(self, symbol: str, left: Value, right: Value) -> str:
        if isinstance(left, Literal) and not isinstance(right, Literal):
            symbol, left, right = _MIRRORED[symbol], right, left
        tested = self.value(left)
        if not isinstance(right, Literal):
            return f"{_COMPARISONS[symbol].__name__}({tested}, {self.value(right)})"
        literal = right.value
        if isinstance(left, Literal):
            return f"({_COMPARISONS[symbol](left.value, literal)})"
        if isinstance(literal, bool):
            return f"({tested} is {literal if symbol == '==' else not literal})"
        if isinstance(literal, str) and symbol == "==":  # nothing but a text equals a text
            return f"({tested} == {literal!r})"
        return f"({_TESTS[KINDS[type(literal)]].format(tested)} and v {symbol} {literal!r})"

    def _membership(self, negated: bool, value: Value, literals: tuple[Scalar, ...]) -> str:
        # A set for each kind, because True == 1; and a set is asked only for what has a hash.
        sets: dict[str, list[str]] = {}
        for literal in literals:
            sets.setdefault(KINDS[type(literal)], []).append(repr(literal))
        tested, test = self.value(value), "not in" if negated else "in"
        tests = (f"{_TESTS[kind].format(tested)} and v {test} {{{', '.join(members)}}}" for kind, members in sets.items())
        return f"({' or '.join(tests)})"


# What the written source calls, by the names of these functions.

_ORDERED: Final = {type_: kind for type_, kind in KINDS.items() if kind != "bool"}
_NUMBERS: Final = frozenset((int, float))
_DOUBLE_MAX: Final = sys.float_info.max


def _comparison(name: str, kinds: Mapping[type, str]) -> Callable[[Any, Any], bool]:
    compare = getattr(operator, name)

    def apply(left: Any, right: Any) -> bool:
        kind = kinds.get(type(left))
        return kind is not None and kinds.get(type(right)) is kind and compare(left, right)

    apply.__name__ = name
    return apply


def _arithmetic(name: str) -> Callable[[Any, Any], int | float | None]:
    calculate = getattr(operator, name)

    def apply(left: Any, right: Any) -> int | float | None:
        if type(left) not in _NUMBERS or type(right) not in _NUMBERS:
            return None
        try:
            result: int | float = calculate(left, right)
        except ArithmeticError:  # division by zero, or an int too large to become a float
            return None
        # False for infinity and NaN too. It also keeps a product of large ints from growing without bound.
        return result if -_DOUBLE_MAX <= result <= _DOUBLE_MAX else None

    apply.__name__ = name
    return apply


def negate(operand: Any) -> int | float | None:
    """Return -operand, or None for what is no number."""
    return -operand if type(operand) in _NUMBERS else None


def holds(whole: Any, part: Any) -> bool:
    """Return whether both are texts and part is in whole."""
    return type(whole) is str and type(part) is str and part in whole


def lacks(whole: Any, part: Any) -> bool:
    """Return whether both are texts and part is not in whole."""
    return type(whole) is str and type(part) is str and part not in whole


_COMPARISONS: Final = {
    "==": _comparison("eq", KINDS),
    "!=": _comparison("ne", KINDS),
    "<": _comparison("lt", _ORDERED),
    "<=": _comparison("le", _ORDERED),
    ">": _comparison("gt", _ORDERED),
    ">=": _comparison("ge", _ORDERED),
}
_ARITHMETIC: Final = {
    "+": _arithmetic("add"),
    "-": _arithmetic("sub"),
    "*": _arithmetic("mul"),
    "/": _arithmetic("truediv"),
    "//": _arithmetic("floordiv"),
    "%": _arithmetic("mod"),
}
_NAMESPACE: Final[dict[str, Any]] = {
    "__builtins__": {},  # nothing else can be reached
    **{type_.__name__: type_ for type_ in (type, *KINDS)},
    **{function.__name__: function for function in (*_COMPARISONS.values(), *_ARITHMETIC.values(), negate, holds, lacks)},
}
