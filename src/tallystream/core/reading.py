"""Reads a tally.toml against its shape (document.py) and reports every mistake at once."""

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import NODEFAULT, UNSET, inspect

from tallystream.core.document import Document, Text
from tallystream.core.errors import DefinitionError, Problem


class Table(NamedTuple):
    """A table that was read. A value is None where it was left out without a default, or was a mistake."""

    key: str
    values: dict[str, Any]

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
        data = tomllib.loads(text.removeprefix("\ufeff"))  # some editors begin a file with a byte order mark
    except (ValueError, RecursionError) as error:
        raise DefinitionError([_syntax_problem(error)]) from None
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
        table = Table(key, {})
        misspelt = self._refuse_unknown(data, table, [field.name for field in shape.fields])
        for field in shape.fields:
            at = table.at(field.name)
            if field.name in data:
                table.values[field.name] = self.value(data[field.name], field.type, at)
            elif field.default in (NODEFAULT, UNSET):
                table.values[field.name] = None
                if field.required and field.name not in misspelt:
                    allowed, remedy = _expectation(field.type, at)
                    self._refuse(at, "nothing", allowed, f"add it; {remedy}")
            else:
                default = list(field.default) if isinstance(field.default, tuple) else field.default
                table.values[field.name] = self.value(default, field.type, at)
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
            case inspect.VarTupleType() if isinstance(value, list):
                return self._list(value, shape, key)
            case inspect.StrType() if isinstance(value, str) and text is not None:
                return self._text(value, text, key)
            case inspect.IntType() if type(value) is int and value >= (shape.ge or 0) and value <= (shape.le or value):
                return value
            case inspect.LiteralType() if value in shape.values:
                return value
        self._refuse(key, show(value), *_expectation(declared, key, value))
        return None

    def _list(self, values: list[Any], shape: inspect.VarTupleType, key: str) -> list[Any]:
        minimum, maximum = shape.min_length or 0, shape.max_length or len(values)
        if not minimum <= len(values) <= maximum:
            bound, remedy = (f"at least {minimum}", "add one") if not values else (f"at most {maximum}", "take some out")
            self._refuse(key, show(values), f"{bound} in this list", remedy)
        keys = [f"{key}[{index}]" for index in range(len(values))]
        if isinstance(_unwrap(shape.item_type)[0], inspect.StructType):
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
        case inspect.StructType():
            header = f"[[{name.partition('[')[0]}]]" if name.endswith("]") else f"[{name}]"
            return "a table", f"write {header} above its keys"
        case inspect.VarTupleType():
            _, item_text = _unwrap(shape.item_type)
            if item_text is None:
                return "one or more tables", f"write [[{name}]] above the keys of each"
            return f"a list, each {item_text.allowed}", f"{item_text.remedy}, in square brackets"
        case inspect.IntType():
            bounds = f"from {shape.ge} to {shape.le}" if shape.le else f"from {shape.ge} up"
            return f"a whole number {bounds}", "write such a number, without quotes"
        case inspect.LiteralType():
            names = [show(value) for value in shape.values]
            close = difflib.get_close_matches(show(value), names, 1)
            return " or ".join(names), f"did you mean {close[0]}?" if close else "write one of them"
    assert text is not None
    return text.allowed, text.remedy
