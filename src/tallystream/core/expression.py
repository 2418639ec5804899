"""
The `where` of a counter: a subset of Python's expressions, in the manner of `pandas.DataFrame.query`.

`ast` parses the text, every node is checked, and what passes becomes the tree of `condition.py`. Nothing of the text itself
is ever evaluated. What Python would read otherwise than the writer meant (`true`, `x in ('a')`, `a == 'b' or 'c'`) is
refused with the remedy, because a condition that quietly never holds is the worst answer.
"""

import ast
import keyword
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, assert_never

from tallystream.core.condition import (
    KINDS,
    Arithmetic,
    Comparison,
    Condition,
    Field,
    Junction,
    Literal,
    Membership,
    Negation,
    Not,
    Scalar,
    Substring,
    Truth,
    Value,
    compile_condition,
)
from tallystream.core.errors import DefinitionError, Problem

TEXT_CHARACTERS_MAX: Final = 4_096
NESTING_MAX: Final = 64
INTEGER_MAX: Final = 2**64 - 1  # of a literal, whatever its sign
PATH: Final = r'[^."\\\u0000-\u001f\u007f-\u009f]{1,128}(\.[^."\\\u0000-\u001f\u007f-\u009f]{1,128}){0,7}'
"""What a dotted path looks like, here and in the definition."""


class ExpressionError(DefinitionError, ValueError):
    """An expression cannot be used; the key of each problem says at which character, counted from 1."""


class Expression(NamedTuple):
    """A condition on the fields of an event, checked."""

    text: str
    tree: Condition
    fields: frozenset[str]  # the dotted paths that it reads

    def compile(self, attribute: Mapping[str, str]) -> Callable[[Any], bool]:
        """
        Return the condition as a function of an event, which answers True or False and never raises.

        Args:
            attribute: for each of `fields`, the path of attributes that holds its value on the event: "f0", "f1.f2".
                Values are str, int, finite float, bool, or None where missing or null; any other counts as missing.

        Raises:
            KeyError: a field has no attribute.
            ValueError: an attribute is no identifier.
        """
        return compile_condition(self.tree, attribute)


def parse_expression(text: str) -> Expression:
    """
    Return the expression that a text means.

    Raises:
        ExpressionError: a ValueError that holds every problem of the text, each with its position and its remedy.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        found, allowed = f"{len(text):,} characters", f"at most {TEXT_CHARACTERS_MAX:,} characters"
        raise ExpressionError([Problem(f"character {TEXT_CHARACTERS_MAX + 1}", found, allowed, "use several counters")])
    source, quoted = _mask(text)
    parser = _Parser(text, source, quoted)
    tree = parser.condition(_parse_python(text, source), 1)
    if parser.problems:
        raise ExpressionError(parser.problems)
    return Expression(text, tree, frozenset(parser.fields))


# Before Python's own parser is asked: `quoted names`, line ends, and signs of other languages that it has no good word for.

_ALLOWED: Final = "fields, literals, == != < <= > >=, in, not in, and, or, not, + - * / // % and brackets"
_SIGNS: Final = {
    "&&": "write and",
    "||": "write or",
    "===": "write ==",
    "!==": "write !=",
    "<>": "write !=",
    "=~": "write 'part' in field, or compare with a list of values",
    "!": "write not",
    "=": "write ==",
    ";": "join conditions with and or or",
    "#": "put the comment outside of the quotes",
    "`": "close the quoted name on the same line: `user-agent`",
    "``": "name a field between the backticks: `user-agent`",
    "'": "close the text with ' on the same line",
    '"': 'close the text with " on the same line',
}
_LEXEME: Final = re.compile(
    r"""(?P<text>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""  # to be left alone
    r"""|`(?P<name>[^`\n]+)`|(?P<space>[\r\n\t\f])"""
    r"""|(?P<sign>&&|\|\||===|!==|<>|=~|!(?!=)|(?<![=!<>])=(?!=)|``|[;#`]|['"].*)""",
    re.DOTALL,
)


def _mask(text: str) -> tuple[str, dict[str, str]]:
    """
    Return the text as Python's parser is to see it, of the same length, and the field that each stand-in name means.

    A quoted name is replaced by as many of a letter that the text does not hold, so that positions stay what they were.
    """
    control = re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]", text)
    if control:
        found, remedy = f"the control character U+{ord(control[0]):04X}", "leave it out"
        raise ExpressionError([Problem(f"character {control.start() + 1}", found, _ALLOWED, remedy)])
    letters = (letter for letter in map(chr, range(0x4E00, 0x9FFF)) if letter not in text)
    quoted: dict[str, str] = {}
    problems: list[Problem] = []

    def mask(match: re.Match[str]) -> str:
        if match["space"]:
            return " "
        if match["name"]:
            placeholder = next(letters) * len(match[0])
            quoted[placeholder] = match["name"]
            return placeholder
        if match["sign"]:
            sign = match[0] if match[0] in _SIGNS else match[0][0]
            problems.append(Problem(f"character {match.start() + 1}", sign, _ALLOWED, _SIGNS[sign]))
        return match[0]

    source = _LEXEME.sub(mask, text)
    if problems:
        raise ExpressionError(problems)
    return source, quoted


_WORDS: Final = {"and": "write and", "or": "write or", "not": "write not", "in": "write in", "is": "write =="} | {
    "like": "write 'part' in field",
    "between": "write 1 <= field <= 5",
}


def _parse_python(text: str, source: str) -> ast.expr:
    if not source.strip():
        raise ExpressionError([Problem("character 1", "nothing", "a condition", "leave where out to count every event")])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an unknown escape, or a number that runs into a word, is a mistake here
            return ast.parse(source.strip(), mode="eval").body
    except SyntaxError as error:
        # Python says 0 for the end.
        position = len(source) - len(source.lstrip()) + (error.offset - 1 if error.offset else len(source.strip()))
        word = _word_at(text, position)
        remedy = _WORDS.get(word.lower(), "correct what is written there or just before")
        if keyword.iskeyword(word) and word not in _WORDS:
            remedy = f"if {word} is a field, quote it: `{word}`"
        problem = Problem(f"character {position + 1}", f"{word or 'the end'} ({error.msg})", _ALLOWED, remedy)
        raise ExpressionError([problem]) from None
    except (RecursionError, MemoryError, ValueError) as error:  # nested too deeply; a null character
        problem = Problem("character 1", str(error) or "too much nesting", _ALLOWED, "write a simpler condition")
        raise ExpressionError([problem]) from None


def _word_at(text: str, position: int) -> str:
    match = re.compile(r"\w+|\S").match(text, position)
    return match[0] if match else ""


# The nodes that pass, and what to write instead of some that do not.

_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_OPERATORS: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
}
_INSTEAD: Final[dict[type[ast.AST], str]] = {
    ast.BitAnd: "write and",
    ast.BitOr: "write or",
    ast.Invert: "write not",
    ast.UAdd: "leave the + out",
    ast.Pow: "multiply instead",
    ast.Subscript: "write a.b for the field b of the object a",
    ast.Call: "there are no functions; compare the fields themselves",
    ast.JoinedStr: "write the text without f",
    ast.IfExp: "join conditions with and and or",
    ast.Compare: "join conditions with and or or; compare fields and literals",
    ast.BoolOp: "join conditions with and or or; compare fields and literals",
    ast.Not: "write not before a whole condition",
    ast.List: "a list stands behind in or not in: field in ['a', 'b']",
    ast.Tuple: "a list stands behind in or not in: field in ['a', 'b']",
}
_MISSING: Final = "a missing field makes every comparison false; to find one that is missing, write not x == x"
_NOT_NAMES: Final = {
    "true": "write True",
    "TRUE": "write True",
    "false": "write False",
    "FALSE": "write False",
} | dict.fromkeys(("null", "NULL", "none", "nil", "undefined"), _MISSING)
_NOTHING: Final = Field("")  # stands in the tree for what was refused


class _Parser:
    """Makes the tree of Python's nodes and keeps account of every problem on the way; with one, the tree means nothing."""

    def __init__(self, text: str, source: str, quoted: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.fields: set[str] = set()
        self._text = text
        self._source = source
        self._quoted = quoted
        self._indent = len(source) - len(source.lstrip())
        self._bytes = source.strip().encode()

    def condition(self, node: ast.expr, depth: int) -> Condition:
        match node:
            case _ if self._is_too_deep(node, depth):
                pass
            case ast.BoolOp(word, operands):
                return Junction(
                    "and" if isinstance(word, ast.And) else "or",
                    tuple(self.condition(operand, depth + 1) for operand in operands),
                )
            case ast.UnaryOp(ast.Not(), operand):
                return Not(self.condition(operand, depth + 1))
            case ast.Compare(first, operators, others):
                operands = [first, *others]
                links = [self._link(*link, depth + 1) for link in zip(operators, operands, others, strict=False)]
                return links[0] if len(links) == 1 else Junction("and", tuple(links))
            case ast.Constant(bool(value)):
                return Truth(Literal(value))
            case ast.Name() | ast.Attribute():
                return Truth(self._field(node))
            case ast.Constant() | ast.UnaryOp(ast.USub()) | ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
                self._refuse(node, "a condition here", "compare it with something: field == 'a', or field in ['a', 'b']")
            case _:
                self._refuse(node, _ALLOWED)
        return Truth(_NOTHING)

    def _link(self, operator: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Condition:
        match operator:
            case ast.In() | ast.NotIn():
                return self._containment(isinstance(operator, ast.NotIn), left, right, depth)
            case ast.Is() | ast.IsNot():
                remedy = f"write {'==' if isinstance(operator, ast.Is) else '!='} instead of is"
                missing = isinstance(right, ast.Constant) and right.value is None
                self._refuse(right, "== != < <= > >=, in, not in", _MISSING if missing else remedy)
                return Truth(_NOTHING)
        symbol = _COMPARISONS[type(operator)]
        comparison = Comparison(symbol, self._value(left, depth), self._value(right, depth))
        kinds = {_kind(comparison.left), _kind(comparison.right)} - {None}
        if len(kinds) > 1:
            self._refuse_kinds(left, right)
        elif kinds == {"bool"} and symbol not in ("==", "!="):
            self._refuse(right, "== and != for bools", "write == True, == False or the field alone")
        return comparison

    def _containment(self, negated: bool, left: ast.expr, right: ast.expr, depth: int) -> Condition:
        value = self._value(left, depth)
        match right:
            case ast.List(items) | ast.Tuple(items) if items:
                literals = self._literals(items, depth)
                if literals and _kind(value) not in {None, *(KINDS[type(literal)] for literal in literals)}:
                    self._refuse_kinds(left, right)
                return Membership(negated, value, literals)
            case ast.Name() | ast.Attribute():
                whole = self._field(right)
                if isinstance(value, Field) or (isinstance(value, Literal) and isinstance(value.value, str)):
                    return Substring(negated, value, whole)
                self._refuse(left, "a text before in, when a field follows", "write 'part' in field")
            case _:
                self._refuse(right, "a list of literals, or a field", "write field in ['a', 'b'], or 'part' in field")
        return Truth(_NOTHING)

    def _literals(self, items: Sequence[ast.expr], depth: int) -> tuple[Scalar, ...]:
        literals: list[Scalar] = []
        for item in items:
            value = self._value(item, depth)
            if isinstance(value, Literal):
                literals.append(value.value)
            elif value is not _NOTHING:
                self._refuse(item, "literals in a list", "compare with a field by ==")
        return tuple(literals)

    def _value(self, node: ast.expr, depth: int) -> Value:
        match node:
            case _ if self._is_too_deep(node, depth):
                pass
            case ast.Name() | ast.Attribute():
                return self._field(node)
            case ast.Constant(str() | bool() | int() | float() as value):
                return self._literal(node, value)
            case ast.Constant(None):
                self._refuse(node, "a text, a number, True or False", _MISSING)
            case ast.UnaryOp(ast.USub(), operand):
                number = self._number(operand, depth + 1)
                return Negation(number) if not isinstance(number, Literal) else Literal(-number.value)  # type: ignore[operator]
            case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
                return Arithmetic(_OPERATORS[type(operator)], self._number(left, depth + 1), self._number(right, depth + 1))
            case _:
                self._refuse(node, _ALLOWED)
        return _NOTHING

    def _number(self, node: ast.expr, depth: int) -> Value:
        value = self._value(node, depth)
        if _kind(value) in ("text", "bool"):
            self._refuse(node, "numbers, and fields that hold them", "calculate with numbers only")
            return _NOTHING
        return value

    def _literal(self, node: ast.expr, value: Scalar) -> Literal:
        if isinstance(value, float) and not isfinite(value):
            self._refuse(node, "numbers up to 1.7976931348623157e308", "write a smaller number")
        elif isinstance(value, int) and value > INTEGER_MAX:
            self._refuse(node, f"whole numbers up to {INTEGER_MAX} (64 bits)", "write a smaller number, or a text in quotes")
        return Literal(value)

    def _field(self, node: ast.expr) -> Field:
        names: list[str] = []
        below = node
        while isinstance(below, ast.Attribute):
            names.append(below.attr)
            below = below.value
        if not isinstance(below, ast.Name):
            self._refuse(node, "a dotted path of field names", "write a.b for the field b of the object a")
            return _NOTHING
        names.append(below.id)
        if node is below and below.id in _NOT_NAMES:
            self._refuse(node, _ALLOWED, f"{_NOT_NAMES[below.id]}; if {below.id} is a field, quote it: `{below.id}`")
        path = ".".join(self._quoted.get(name, name) for name in reversed(names))
        # Python takes some letters for others (the ligature \ufb01 for fi), which the names of JSON do not.
        if not re.fullmatch(PATH, path) or any(name not in self._source for name in names):
            allowed = "1 to 8 names with dots between, each 1 to 128 characters"
            self._refuse(node, allowed, "quote an unusual name: `user-agent`")
        self.fields.add(path)
        return Field(path)

    def _is_too_deep(self, node: ast.expr, depth: int) -> bool:
        if depth > NESTING_MAX:
            self._refuse(node, f"nesting up to {NESTING_MAX} levels", "write a simpler condition, or several counters")
        return depth > NESTING_MAX

    def _refuse_kinds(self, left: ast.expr, right: ast.expr) -> None:
        remedy = "compare with something of the same kind; this can never be true"
        for name in (self._source_of(left), self._source_of(right)):
            if re.fullmatch(r"[\w.]+(-[\w.]+)+", name):  # reads as a subtraction
                remedy = f"if {name} is one field, quote it: `{name}`"
        self._refuse(right, "two of a kind: texts, numbers or bools", remedy)

    def _refuse(self, node: ast.expr, allowed: str, remedy: str | None = None) -> None:
        found = self._source_of(node)
        operator = getattr(node, "op", node)
        remedy = remedy or _INSTEAD.get(type(node)) or _INSTEAD.get(type(operator)) or "leave it out"
        shown = found if len(found) <= 60 else f"{found[:59]}…"
        key = f"character {self._position(node.col_offset) + 1}"
        problem = Problem(key, " ".join(shown.split()), allowed, remedy)
        if problem not in self.problems:  # the middle of a < b < c is read twice
            self.problems.append(problem)

    def _source_of(self, node: ast.expr) -> str:
        return self._text[self._position(node.col_offset) : self._position(node.end_col_offset)]

    def _position(self, offset: int | None) -> int:
        """Return the position in the text of an offset that `ast` counts in bytes."""
        return self._indent + len(self._bytes[:offset].decode())


def _kind(value: Value) -> str | None:
    match value:
        case Literal(literal):
            return KINDS[type(literal)]
        case Negation() | Arithmetic():
            return "number"
        case Field():
            return None
    assert_never(value)
