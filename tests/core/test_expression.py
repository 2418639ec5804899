"""`where`: what it means, checked against an evaluator that shares no code with it, and what it refuses."""

import ast
import math
import operator
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.errors import Problem
from tallystream.core.expression import Expression, ExpressionError, parse_expression

# The fields of the random events. `d-e` and `class` can only be written between backticks.
FIELDS = {"a": "f0", "b": "f1", "o.x": "f2.f0", "o.y.z": "f2.f1.f0", "d-e": "f3", "class": "f4"}
WRITTEN = {"a": "a", "b": "b", "o.x": "o.x", "o.y.z": "o.`y`.z", "d-e": "`d-e`", "class": "`class`"}


def holds(text: str, **values: Any) -> bool:
    """Return what an expression says of an event with these top-level fields."""
    expression = parse_expression(text)
    fields = sorted(expression.fields)
    attribute = {field: f"f{number}" for number, field in enumerate(fields)}
    event = SimpleNamespace(**{attribute[field]: values.get(field) for field in fields})
    return expression.compile(attribute)(event)


def event_of(values: dict[str, Any]) -> SimpleNamespace:
    below = SimpleNamespace(f0=values["o.x"], f1=SimpleNamespace(f0=values["o.y.z"]))
    return SimpleNamespace(f0=values["a"], f1=values["b"], f2=below, f3=values["d-e"], f4=values["class"])


# An evaluator by the words of docs/definition.md, as plain as can be: it walks Python's own tree.

MISSING = object()
OPERATIONS: dict[type, Any] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "missing"


def evaluate(node: ast.expr, values: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value):
            return value
        case ast.Name() | ast.Attribute():
            path = ast.unparse(node).replace("quoted_d_e", "d-e").replace("quoted_", "")
            return MISSING if kind(values[path]) == "missing" else values[path]
        case ast.UnaryOp(ast.USub(), operand):
            value = evaluate(operand, values)
            return -value if kind(value) == "number" else MISSING
        case ast.BinOp(left, symbol, right):
            return calculate(OPERATIONS[type(symbol)], evaluate(left, values), evaluate(right, values))
    raise AssertionError(ast.dump(node))


def calculate(operation: Any, left: Any, right: Any) -> Any:
    if kind(left) != "number" or kind(right) != "number":
        return MISSING
    try:
        result = operation(left, right)
    except (ZeroDivisionError, OverflowError):
        return MISSING
    is_nan = isinstance(result, float) and math.isnan(result)
    return MISSING if is_nan or abs(result) > sys.float_info.max else result


def is_true(node: ast.expr, values: dict[str, Any]) -> bool:
    match node:
        case ast.BoolOp(ast.And(), operands):
            return all(is_true(operand, values) for operand in operands)
        case ast.BoolOp(ast.Or(), operands):
            return any(is_true(operand, values) for operand in operands)
        case ast.UnaryOp(ast.Not(), operand):
            return not is_true(operand, values)
        case ast.Compare(first, symbols, others):
            return all(
                is_true_of_two(symbol, left, right, values)
                for symbol, left, right in zip(symbols, [first, *others], others, strict=False)
            )
    return evaluate(node, values) is True


def is_true_of_two(symbol: ast.cmpop, left: ast.expr, right: ast.expr, values: dict[str, Any]) -> bool:
    a = evaluate(left, values)
    if isinstance(symbol, ast.In | ast.NotIn):
        if isinstance(right, ast.List | ast.Tuple):
            same_kind = [item.value for item in right.elts if isinstance(item, ast.Constant) and kind(item.value) == kind(a)]
            same_kind += [
                evaluate(item, values) for item in right.elts if isinstance(item, ast.UnaryOp) and kind(a) == "number"
            ]
            return bool(same_kind) and (a in same_kind) == isinstance(symbol, ast.In)
        b = evaluate(right, values)
        return kind(a) == kind(b) == "text" and (a in b) == isinstance(symbol, ast.In)
    b = evaluate(right, values)
    if kind(a) != kind(b) or kind(a) == "missing":
        return False
    if kind(a) == "bool" and not isinstance(symbol, ast.Eq | ast.NotEq):
        return False
    return bool(OPERATIONS[type(symbol)](a, b))


# Random expressions of every form, and random events.

texts = st.text(alphabet="ab'\"\\é\n", max_size=2)
integers = st.integers(-3, 3) | st.integers(-(2**64) + 1, 2**64 - 1)
floats = st.sampled_from([0.0, 0.5, 1.0, -2.5, 1e308, 5e-324]) | st.floats(allow_nan=False, allow_infinity=False)
event_values = st.one_of(
    st.none(),
    st.booleans(),
    texts,
    integers,
    floats,
    st.integers(),
    st.just(10**400),
    st.just([]),
    st.just(["a"]),
    st.just({"a": 1}),
)
events = st.fixed_dictionaries(dict.fromkeys(FIELDS, event_values))

field = st.sampled_from(sorted(WRITTEN.values()))
text = texts.map(repr)
number = (integers | floats).map(repr)
boolean = st.sampled_from(["True", "False"])
calculation = st.recursive(
    field | number,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner)
        | st.builds("-{}".format, inner)
        | st.builds("-({})".format, inner)
    ),
    max_leaves=5,
)
equality = st.sampled_from(["==", "!="])
order = st.sampled_from(["<", "<=", ">", ">="])
containment = st.sampled_from(["in", "not in"])
literals = st.lists(text | number | boolean, min_size=1, max_size=4)
written_list = literals.map(lambda items: f"[{', '.join(items)}]") | literals.map(lambda items: f"({', '.join(items)},)")
comparison = st.one_of(
    st.builds("{} {} {}".format, calculation, equality | order, calculation),
    st.builds("{} {} {}".format, field, equality | order, text),
    st.builds("{} {} {}".format, text, equality | order, field),
    st.builds("{} {} {}".format, text, equality | order, text),
    st.builds("{} {} {}".format, field, equality, boolean),
    st.builds("{} {} {}".format, boolean, equality, field),
    st.builds("{} {} {} {} {}".format, number, order, field, order | equality, calculation),
    st.builds("{} {} {}".format, field, containment, written_list),
    st.builds("{} {} {}".format, field | text, containment, field),
    st.builds("{} {} [{}]".format, calculation, containment, number),
)
condition = st.recursive(
    comparison | field | boolean,
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("{} and {} or {}".format, inner, inner, inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=8,
)


@given(condition, events)
def test_a_condition_means_what_the_plain_evaluator_says(written: str, values: dict[str, Any]) -> None:
    expression = parse_expression(written)
    plain = written.replace("`d-e`", "quoted_d_e").replace("`class`", "quoted_class").replace("`y`", "y")
    expected = is_true(ast.parse(plain, mode="eval").body, values)
    found = expression.compile(FIELDS)(event_of(values))
    assert found is expected


@given(st.text(max_size=40) | st.text(alphabet="ab =<>!'\"`().,[]+-*/%&|~#\n{}:;0e_\x00é", max_size=40))
def test_any_text_is_an_expression_or_has_problems_in_words(written: str) -> None:
    expression: Expression | None = None
    problems: tuple[Problem, ...] = ()
    try:
        expression = parse_expression(written)
    except ExpressionError as error:
        problems = error.problems
    if expression is None:
        assert problems
        for problem in problems:
            assert problem.key.startswith("character ")
            assert 1 <= int(problem.key.removeprefix("character ")) <= len(written) + 1
            assert all(problem)
            assert all(part.isprintable() or not written.isprintable() for part in problem)
    else:
        predicate = expression.compile({path: f"f{number}" for number, path in enumerate(sorted(expression.fields))})
        assert predicate(SimpleNamespace(**{f"f{number}": None for number in range(len(expression.fields))})) in (True, False)


# What a user relies on, one by one.


@pytest.mark.parametrize(
    ("written", "values", "expected"),
    [
        ("event == 'donation' and amount > 0", {"event": "donation", "amount": 5}, True),
        ("event == 'donation' and amount > 0", {"event": "donation", "amount": 0}, False),
        ("event == 'donation' and amount > 0", {"event": "donation", "amount": "5"}, False),
        ("event == 'donation' and amount > 0", {"event": "donation"}, False),
        ("amount == 1", {"amount": 1.0}, True),
        ("amount == 1", {"amount": True}, False),
        ("amount == 9007199254740993", {"amount": 9007199254740992.0}, False),
        ("active == True", {"active": 1}, False),
        ("active == True", {"active": True}, True),
        ("active != True", {"active": False}, True),
        ("active != True", {"active": None}, False),
        ("active", {"active": True}, True),
        ("active", {"active": 1}, False),
        ("active", {"active": "true"}, False),
        ("not active", {}, True),
        ("status != 200", {"status": 404}, True),
        ("status != 200", {"status": "404"}, False),
        ("status != 200", {}, False),
        ("status not in [200, 304]", {"status": 404}, True),
        ("status not in [200, 304]", {}, False),
        ("status in [200, '200']", {"status": "200"}, True),
        ("status not in [200, '200']", {"status": "404"}, True),
        ("status in [1, True]", {"status": True}, True),
        ("status in [1]", {"status": True}, False),
        ("status in [1]", {"status": [1]}, False),
        ("'bot' in agent", {"agent": "a robot"}, True),
        ("'bot' not in agent", {"agent": "firefox"}, True),
        ("'bot' not in agent", {}, False),
        ("part in agent", {"part": "fire", "agent": "firefox"}, True),
        ("part not in agent", {"part": "fire", "agent": "curl"}, True),
        ("part not in agent", {"agent": "curl"}, False),
        ("0 < amount <= 10", {"amount": 10}, True),
        ("0 < amount <= 10", {"amount": 11}, False),
        ("price * count > 100", {"price": 2.5, "count": 41}, True),
        ("price * count > 100", {"price": 2.5}, False),
        ("price / count == price / count", {"price": 2.5, "count": 0}, False),
        ("amount % 2 == 0", {"amount": -4}, True),
        ("-amount < -1", {"amount": 2}, True),
        ("-amount < -1", {"amount": True}, False),
        ("amount == amount", {"amount": 1}, True),
        ("not amount == amount", {}, True),
        ("amount * 10 > 0", {"amount": 1.7e308}, False),
        ("amount * amount > 0", {"amount": 10**300}, False),
        ("amount + 0.5 > 0", {"amount": 10**400}, False),
        ("a < b", {"a": "1", "b": "2"}, True),
        ("a < b", {"a": False, "b": True}, False),
        ("a == b", {"a": False, "b": False}, True),
        ("a == b", {"a": [], "b": []}, False),
        ("event == 'donat' 'ion'", {"event": "donation"}, True),
        ("'a' < 'b'", {}, True),
        ("not True", {}, False),
        ("\n  event == 'x'\r\n\tor event == 'y'\n", {"event": "y"}, True),
        ("`user-agent` == 'x' and `from` == '`'", {"user-agent": "x", "from": "`"}, True),
        ("一 == 1 and `二` == 2", {"一": 1, "二": 2}, True),
        ("event == 'a # b && c; d = `e` \\' \\u00e9'", {"event": "a # b && c; d = `e` ' é"}, True),
    ],
)
def test_meaning(written: str, values: dict[str, Any], expected: bool) -> None:
    assert holds(written, **values) is expected


def test_an_expression_says_which_fields_it_reads() -> None:
    expression = parse_expression("a.b == 1 and (`c-d`.e in ['x'] or 'y' in f) and not -g + h < 0 or i")
    assert expression.fields == {"a.b", "c-d.e", "f", "g", "h", "i"}


def test_sixty_four_levels_compile() -> None:
    for deep in ("not " * 62 + "x", "x == " + "-" * 61 + "x", "x == " + "(1 + " * 61 + "x" + ")" * 61):
        assert isinstance(holds(deep, x=5), bool)


# What is refused: each with the character where it is, and how to mend it.


@pytest.mark.parametrize(
    ("written", "character", "found", "remedy"),
    [
        ("", 1, "nothing", "leave where out"),
        (" \n ", 1, "nothing", "leave where out"),
        ("event = 'a'", 7, "=", "write =="),
        ("a == 1 && b == 2", 8, "&&", "write and"),
        ("a == 1 || b == 2", 8, "||", "write or"),
        ("a === 1", 3, "===", "write =="),
        ("a !== 1", 3, "!==", "write !="),
        ("a <> 1", 3, "<>", "write !="),
        ("a =~ 'x'", 3, "=~", "'part' in field"),
        ("!a", 1, "!", "write not"),
        ("a == 1;", 7, ";", "and or or"),
        ("a == 1 # one", 8, "#", "outside"),
        ("a == 'x", 6, "'", "close the text"),
        ('a == "x\n"', 6, '"', "close the text"),
        ("`a == 1", 1, "`", "close the quoted name"),
        ("`` == 1", 1, "``", "name a field"),
        ("a == 'x\x1b'", 8, "the control character U+001B", "leave it out"),
        ("a == 1 and", 11, "the end (invalid syntax)", "just before"),
        ("  a == 1 AND b == 2", 10, "AND (invalid syntax)", "write and"),
        ("a BETWEEN 1 AND 2", 3, "BETWEEN (invalid syntax)", "1 <= field <= 5"),
        ("a like 'x'", 3, "like (invalid syntax)", "'part' in field"),
        ("from == 'x'", 1, "from (invalid syntax)", "quote it: `from`"),
        ("é == 'ü' and z z", 16, "z (invalid syntax)", "just before"),
        ("'é' == `ü ö` and x == None", 23, "None", "a missing field makes every comparison false"),
        ("a is None", 6, "None", "not x == x"),
        ("a is 1", 6, "1", "write == instead of is"),
        ("a is not 'x'", 10, "'x'", "write != instead of is"),
        ("a == true", 6, "true", "write True; if true is a field, quote it: `true`"),
        ("a == null", 6, "null", "not x == x"),
        ("a == 'x' or 'y'", 13, "'y'", "field in ['a', 'b']"),
        ("a + 1", 1, "a + 1", "compare it with something"),
        ("-a", 1, "-a", "compare it with something"),
        ("a == 'x' & b == 'y'", 6, "'x' & b", "write and"),
        ("a | b", 1, "a | b", "write or"),
        ("~a", 1, "~a", "write not"),
        ("+a == 1", 1, "+a", "leave the + out"),
        ("a ** 2 == 4", 1, "a ** 2", "multiply"),
        ("len(a) == 1", 1, "len(a)", "no functions"),
        ("a[0] == 1", 1, "a[0]", "write a.b"),
        ("f().x == 1", 1, "f().x", "write a.b"),
        ("a if b else c", 1, "a if b else c", "and and or"),
        ("lambda: 1", 1, "lambda: 1", "leave it out"),
        ("[a for a in b]", 1, "[a for a in b]", "leave it out"),
        ("a == f'x'", 6, "f'x'", "without f"),
        ("a == b'x'", 6, "b'x'", "leave it out"),
        ("a == 1j", 6, "1j", "leave it out"),
        ("a == ...", 6, "...", "leave it out"),
        ("a == [1]", 6, "[1]", "behind in or not in"),
        ("(a == 1) == True", 2, "a == 1", "join conditions"),
        ("a == (b and c)", 7, "b and c", "join conditions"),
        ("a == (not b)", 7, "not b", "before a whole condition"),
        ("a in ('x')", 7, "'x'", "field in ['a', 'b']"),
        ("a in []", 6, "[]", "field in ['a', 'b']"),
        ("a in [b]", 7, "b", "compare with a field by =="),
        ("a in [None]", 7, "None", "not x == x"),
        ("1 in a", 1, "1", "'part' in field"),
        ("-a in b", 1, "-a", "'part' in field"),
        ("-a in ['x']", 7, "['x']", "never be true"),
        ("'x' == 1", 8, "1", "never be true"),
        ("a < True", 5, "True", "the field alone"),
        ("user-agent == 'x'", 15, "'x'", "if user-agent is one field, quote it: `user-agent`"),
        ("'x' == http.user-agent", 8, "http.user-agent", "quote it: `http.user-agent`"),
        ("event-type in ['x']", 15, "['x']", "quote it: `event-type`"),
        ("a + 'x' == 1", 5, "'x'", "numbers only"),
        ("-True == a", 2, "True", "numbers only"),
        ("a == 18446744073709551616", 6, "18446744073709551616", "smaller"),
        ("a == 1e999", 6, "1e999", "smaller"),
        ("ﬁ == 1", 1, "ﬁ", "quote"),
        ("`a..b` == 1", 1, "`a..b`", "quote"),
        ("a.b.c.d.e.f.g.h.i == 1", 1, "a.b.c.d.e.f.g.h.i", "quote"),
        ("not " * 64 + "a", 257, "a", "simpler"),
        ("a == " + "-" * 64 + "a", 69, "-a", "simpler"),
        ("a == " + "'" + "x" * 70 + "' & b", 6, "'" + "x" * 58 + "…", "write and"),
        ("a" * 4_097, 4_097, "4,097 characters", "several counters"),
    ],
)
def test_refusals(written: str, character: int, found: str, remedy: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_expression(written)
    problem = raised.value.problems[0]
    assert problem.key == f"character {character}"
    assert problem.found == found
    assert remedy in problem.remedy
    assert problem.allowed


def test_what_is_nested_too_deeply_for_the_parser_is_refused() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_expression("-" * 4_000 + "a == 1")
    (problem,) = raised.value.problems
    assert problem.key in {"character 1", "character 64"}  # by the version of Python, the parser gives up, or we do
    assert "simpler" in problem.remedy


def test_an_escape_that_means_nothing_is_refused() -> None:
    with pytest.raises(ExpressionError, match="invalid escape sequence"):
        parse_expression(r"a == '\d'")


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ExpressionError) as raised:
        parse_expression("f(x) == 1 and 0 < None < 5 and y is z")
    assert [problem.key for problem in raised.value.problems] == ["character 1", "character 19", "character 37"]
    with pytest.raises(ValueError, match="character 3\n  found:   =\n"):
        parse_expression("a = 1")


def test_a_compiled_predicate_is_made_of_identifiers_only() -> None:
    expression: Expression = parse_expression("a == 1")
    with pytest.raises(KeyError):
        expression.compile({})
    with pytest.raises(ValueError, match="identifiers"):
        expression.compile({"a": "f0 or True"})
