"""Reads a tally.toml against its shape (document.py) and reports every mistake at once."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Final, NamedTuple

from msgspec import NODEFAULT, UNSET, inspect

from tallystream.core.document import Document
from tallystream.core.errors import DefinitionError, Problem
from tallystream.core.group import GroupValue, canonical_value
from tallystream.core.setting import Text

DECIMALS_MAX: Final = 18
GROUP_CHARACTERS_MAX: Final = 1_024
INTEGER_BITS: Final = 64  # of a number in a group

_GROUP_VALUE: Final = ("text of up to 1,024 characters, a number, true or false", "write the value as the events hold it")


class Table(NamedTuple):
    """A table that was read. A value is None where it was left out without a default, or was a mistake."""

    key: str
    values: dict[str, Any]
    given: set[str]  # what stands in it, mistakes and probable misspellings included

    def at(self, name: str) -> str:
        """Return the whole key of a value: `stream.shards`."""
        return join_key(self.key, name)


def read_document(text: str) -> tuple[Table, list[Problem]]:
    """
    Return the values of a tally.toml, texts parsed and defaults filled in, and what is wrong with it, value by value.

    Raises:
        DefinitionError: the text is not TOML, so there is nothing to read.
    """
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"), parse_float=_parse_float)  # some editors begin with a byte order mark
    except (ValueError, RecursionError) as error:
        raise DefinitionError([_syntax_problem(error)]) from None
    return read_tables(data)


def read_tables(data: dict[str, Any]) -> tuple[Table, list[Problem]]:
    """Return the same of what a TOML reader has made of the text: numbers with a point are Decimal."""
    reading = _Reading()
    return reading.table(data, inspect.type_info(Document), ""), reading.problems


def show(value: object) -> str:
    """Return a TOML value as a person would write it, short and on one line, whatever characters it holds."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            short = value if len(value) <= 100 else f"{value[:99]}…"
            return json.dumps(short, ensure_ascii=not short.isprintable())
        case dict():
            return "a table"
        case list():
            return f"a list of {len(value)}" if value else "an empty list"
        case _:
            return str(value)[:40]


def join_key(parent: str, name: str) -> str:
    """Return the whole key of a name in a table; a name that TOML would quote is quoted."""
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else show(name)
    return f"{parent}.{shown}" if parent else shown


def _parse_float(text: str) -> Decimal:
    try:
        return Decimal(text)  # as it is written: 0.1 is 0.1
    except InvalidOperation:
        raise ValueError(f"the number {text[:40]}, whose exponent is too large") from None


def _syntax_problem(error: ValueError | RecursionError) -> Problem:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
    if match is None:  # such as a number of too many digits
        return Problem("the file", str(error).partition(":")[0], "TOML 1.0", "write simpler values")
    place = f"line {match[2]}, column {match[3]}" if match[2] else "the end of the file"
    return Problem(place, match[1], "TOML 1.0", "correct what is written there or just before")


class _Reading:
    """Walks the values beside the types and keeps account of every problem on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def table(self, data: dict[str, Any], shape: inspect.Type, key: str) -> Table:
        assert isinstance(shape, inspect.StructType)
        table = Table(key, {}, set())
        names = [field.encode_name for field in shape.fields]
        if shape.tag_field is not None:  # was looked at to find this shape
            table.values[shape.tag_field] = shape.tag
            names = [shape.tag_field, *names]
        misspelt = self._refuse_unknown(data, table, names)
        table.given.update(misspelt.union(data).intersection(names))
        for field in shape.fields:
            name = field.encode_name
            at = table.at(name)
            if name in data:
                table.values[name] = self.value(data[name], field.type, at)
            elif field.default in (NODEFAULT, UNSET):
                table.values[name] = None
                if field.required and name not in misspelt:
                    allowed, remedy = _expectation(field.type, at)
                    self._refuse(at, "nothing", allowed, f"add it; {remedy}")
            else:
                default = list(field.default) if isinstance(field.default, tuple) else field.default
                table.values[name] = self.value(default, field.type, at)
        return table

    def _refuse_unknown(self, data: dict[str, Any], table: Table, names: Sequence[str]) -> set[str]:
        """Refuse unknown keys; return the known ones that were probably meant."""
        meant: set[str] = set()
        for name in data:
            if name not in names:
                close = difflib.get_close_matches(name, [known for known in names if known not in data], 1)
                remedy = f"did you mean {close[0]}?" if close else "remove it, or move it to the table where it belongs"
                self._refuse(table.at(name), "an unknown key", f"the keys {', '.join(names)}", remedy)
                meant.update(close)
        return meant

    def value(self, value: Any, declared: inspect.Type, key: str) -> Any:
        """Return what a value means, or None when it was refused."""
        shape, text = _unwrap(declared)
        match shape:
            case inspect.StructType() if isinstance(value, dict):
                return self.table(value, shape, key)
            case inspect.UnionType() if isinstance(value, dict):
                return self._tagged_table(value, shape, key)
            case inspect.UnionType() if isinstance(value, list) and not _is_table(shape):
                return self.value(value, next(each for each in shape.types if not _is_table(each)), key)
            case inspect.DictType() if isinstance(value, dict):
                return self._group(value, key)
            case inspect.VarTupleType() if isinstance(value, list):
                return self._list(value, shape, key)
            case inspect.StrType() if isinstance(value, str) and text is not None:
                return self._text(value, text, key)
            case inspect.IntType() if type(value) is int and value >= (shape.ge or 0) and value <= (shape.le or value):
                return value
            case inspect.FloatType() if type(value) in (int, Decimal) and _is_within(value, shape):
                return _plain(Decimal(value))
            case inspect.LiteralType() if value in shape.values:
                return value
            case inspect.BoolType() if isinstance(value, bool):
                return value
        self._refuse(key, show(value), *_expectation(declared, key, value))
        return None

    def _tagged_table(self, value: dict[str, Any], shape: inspect.UnionType, key: str) -> Table | None:
        """Return a table of the one shape, or of the one of several that its tag names."""
        shapes = [each for each in shape.types if isinstance(each, inspect.StructType)]
        field = shapes[0].tag_field
        if field is None:
            return self.table(value, shapes[0], key)
        for each in shapes:
            if each.tag == value.get(field):
                return self.table(value, each, key)
        tags = inspect.LiteralType(tuple(each.tag for each in shapes if each.tag is not None))
        allowed, remedy = _expectation(tags, key, value.get(field, ""))
        found, remedy = (show(value[field]), remedy) if field in value else ("nothing", f"add it; {remedy}")
        self._refuse(join_key(key, field), found, allowed, remedy)
        return None

    def _group(self, table: dict[str, Any], key: str) -> dict[str, GroupValue]:
        """Return the values of a group by their dotted paths, those of tables inside of it included, without the refused."""
        group: dict[str, GroupValue] = {}
        for path, at, value in _leaves(table, "", key):
            if path in group:
                self._refuse(at, "the same field once more", "each field once", "remove one of them")
            else:
                group[path] = _as_group_value(value)
                if group[path] is None:
                    self._refuse(at, show(value), *_GROUP_VALUE)
        return group

    def _list(self, values: list[Any], shape: inspect.VarTupleType, key: str) -> list[Any]:
        minimum, maximum = shape.min_length or 0, shape.max_length or len(values)
        if not minimum <= len(values) <= maximum:
            bound, remedy = (f"at least {minimum}", "add one") if not values else (f"at most {maximum}", "take some out")
            self._refuse(key, show(values), f"{bound} in this list", remedy)
        keys = [f"{key}[{index}]" for index in range(len(values))]
        if _is_table(shape.item_type):
            keys = _name_tables(values, keys, key)
        return [self.value(value, shape.item_type, item_key) for value, item_key in zip(values, keys, strict=True)]

    def _text(self, value: str, text: Text, key: str) -> Any:
        if not text.pattern.fullmatch(value):
            self._refuse(key, show(value), text.allowed, text.mend(value) or text.remedy)
            return None
        try:
            return text.parse(value)
        except DefinitionError as error:  # an expression, whose problems say more
            self.problems += [problem._replace(key=f"{key}, {problem.key}") for problem in error.problems]
        except ValueError as error:
            self._refuse(key, show(value), text.allowed, str(error))
        return None

    def _refuse(self, key: str, found: str, allowed: str, remedy: str) -> None:
        self.problems.append(Problem(key, found, allowed, remedy))


def _unwrap(shape: inspect.Type) -> tuple[inspect.Type, Text | None]:
    """Return a type without its metadata, and the Text among them."""
    text: Text | None = None
    while isinstance(shape, inspect.Metadata):
        text = (shape.extra or {}).get("text", text)
        shape = shape.type
    return shape, text


def _is_table(shape: inspect.Type) -> bool:
    """Return whether values of a type are tables, and nothing else."""
    shape, _ = _unwrap(shape)
    return isinstance(shape, inspect.StructType) or (isinstance(shape, inspect.UnionType) and all(map(_is_table, shape.types)))


def _is_within(value: int | Decimal, shape: inspect.FloatType) -> bool:
    if isinstance(value, Decimal) and (not value.is_finite() or int(value.as_tuple().exponent) < -DECIMALS_MAX):
        return False
    return (shape.ge or 0) <= value <= (shape.le or 0)


def _plain(number: Decimal) -> Decimal:
    """Return a number in the one form that it is written in, whatever was written: 5, not 5.0 or 5E0."""
    text = f"{number:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text) or Decimal(0)  # which -0 is, too


def _bound(number: float | None) -> str:
    """Return a bound as a person would write it: -10^30 has too many zeros to count."""
    return re.sub("(?<=10)0{9,}", lambda zeros: f"^{len(zeros[0]) + 1}", str(number))


def _as_group_value(value: Any) -> GroupValue:
    """Return a value in the form that groups have; None for what no group has."""
    match value:
        case bool():
            return value
        case str() if len(value) <= GROUP_CHARACTERS_MAX:
            return value
        case int() if value.bit_length() < INTEGER_BITS:
            return value
        case Decimal() if isfinite(value):
            return canonical_value(float(value))
    return None


def _leaves(table: dict[str, Any], path: str, key: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the dotted path, the key and the value of everything in a table that is none itself."""
    for name, value in table.items():
        at = join_key(key, name)
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{name}.", at)
        else:
            yield f"{path}{name}", at, value


def _name_tables(values: list[Any], keys: list[str], key: str) -> list[str]:
    """Return keys that call each table by its name, `counter "events"`, unless it has none or another has it too."""
    names = [value.get("name") if isinstance(value, dict) else None for value in values]
    return [
        f"{key} {show(name)}" if isinstance(name, str) and name and names.count(name) == 1 else index_key
        for name, index_key in zip(names, keys, strict=True)
    ]


def _expectation(shape: inspect.Type, key: str, value: object = None) -> tuple[str, str]:
    """Return what is allowed where a value is missing or of another type, and the remedy."""
    shape, text = _unwrap(shape)
    name = key.rpartition(".")[2]
    match shape:
        case inspect.StructType() | inspect.UnionType() if _is_table(shape):
            header = f"[[{name.partition('[')[0]}]]" if name.endswith("]") else f"[{name}]"
            return "a table", f"write {header} above its keys"
        case inspect.VarTupleType() if _is_table(shape.item_type):
            return "one or more tables", f"write [[{name}]] above the keys of each"
        case inspect.VarTupleType():
            allowed, remedy = _expectation(shape.item_type, key)
            return f"a list, each {allowed}", f"{remedy}, in square brackets"
        case inspect.UnionType():  # of a list and a table
            allowed, remedy = _expectation(next(each for each in shape.types if not _is_table(each)), key)
            return f"{allowed}, or a table of such lists", remedy
        case inspect.DictType():
            return "a table with a value for each field", 'write for example { event = "page view" }'
        case inspect.BoolType():
            return "true or false", "write one of them, without quotes"
        case inspect.FloatType():
            bounds = f"from {_bound(shape.ge)} to {_bound(shape.le)}"
            return f"a number {bounds}, with at most {DECIMALS_MAX} decimals", "write such a number, without quotes"
        case inspect.IntType():
            bounds = f"from {shape.ge} to {shape.le}" if shape.le else f"from {shape.ge} up"
            return f"a whole number {bounds}", "write such a number, without quotes"
        case inspect.LiteralType():
            names = [show(value) for value in shape.values]
            close = difflib.get_close_matches(show(value), names, 1)
            return " or ".join(names), f"did you mean {close[0]}?" if close else "write one of them"
    assert text is not None
    return text.allowed, text.remedy
