"""Rules over alarms: what they mean, what is wrong with them, and in which order they are evaluated."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.composite import RULE_CHARACTERS_MAX, RuleError, evaluation_order, find_cycle, parse_rule
from tallystream.core.errors import Problem


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("a", "a"),
        ("not a", "not a"),
        ("not not a", "not not a"),
        ("a and b", "a and b"),
        ("a or b and c", "a or b and c"),
        ("(a or b) and c", "(a or b) and c"),
        ("not a and b", "not a and b"),
        ("not (a and b)", "not (a and b)"),
        ("a and not (b or c)", "a and not (b or c)"),
        ("a or b or c", "a or b or c"),
        ("a and b and c or not a", "a and b and c or not a"),
        ("\n a\tand(b)or(\nnot c ) ", "a and b or not c"),
        ("\"a\" and 'b'", "a and b"),
    ],
)
def test_a_rule_means_what_it_says(text: str, python: str) -> None:
    rule = parse_rule(text)
    assert rule.names == {name for name in "abc" if name in python.replace("and", "")}
    for states in itertools.product((False, True), repeat=3):
        in_alarm = dict(zip("abc", states, strict=True))
        assert rule.holds(in_alarm.__getitem__) is eval(python, {}, dict(in_alarm)), in_alarm


def test_names_may_look_like_anything_that_alarms_are_called() -> None:
    assert parse_rule("page-views-low or 5xx and \"not\" or 'and' or -_1").names == {
        "page-views-low",
        "5xx",
        "not",
        "and",
        "-_1",
    }


@pytest.mark.parametrize(
    ("text", "character", "found", "remedy"),
    [
        ("", 1, "nothing", "name an alarm here"),
        ("  ", 3, "nothing", "name an alarm here"),
        ("a and", 6, "nothing", "name an alarm here"),
        ("and a", 1, "and", "name an alarm here"),
        ("a or or b", 6, "or", "name an alarm here"),
        ("()", 2, ")", "name an alarm here"),
        ("a b", 3, "b", "write and, or or before it"),
        ("a not b", 3, "not", "write and, or or before it"),
        ('a "b"', 3, '"b"', "write and, or or before it"),
        ("(a b)", 4, "b", "write and, or or before it"),
        ("(a", 3, "nothing", "close the bracket"),
        ("a)", 2, ")", "remove it, or open its bracket"),
        ("a && b", 3, "&", "write and"),
        ("a || b", 3, "|", "write or"),
        ("!a", 1, "!", "write not"),
        ("a, b", 2, ",", "write and, or or"),
        ("a AND b", 3, "AND", 'write and, or "AND" if it is the name'),
        ("Not a", 1, "Not", "write not"),
        ("'a", 1, "'", "leave it out"),
        ("'a b'", 1, "'", "leave it out"),
        ("a.b", 2, ".", "leave it out"),
        ("a \x1b", 3, "U+001B", "leave it out"),
        ("not " * 64 + "a", 257, "a", "nest at most 64 deep"),
        ("(" * 64 + "a" + ")" * 64, 65, "a", "nest at most 64 deep"),
        ("a" * (RULE_CHARACTERS_MAX + 1), 4097, "4,097 characters", "composite alarms of composite alarms"),
    ],
)
def test_mistakes_say_where_and_how_to_mend_them(text: str, character: int, found: str, remedy: str) -> None:
    with pytest.raises(RuleError) as raised:
        parse_rule(text)
    (problem,) = raised.value.problems
    assert (problem.key, problem.found) == (f"character {character}", found)
    assert problem.allowed == "names of alarms, and, or, not, brackets"
    assert remedy in problem.remedy


rules = st.recursive(
    st.sampled_from(["a", "b", "c", '"or"']),
    lambda inner: st.one_of(
        inner.map(lambda rule: f"not ({rule})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: "({} {} {})".format(*parts)),
    ),
    max_leaves=12,
)


@given(rules, st.sets(st.sampled_from(["a", "b", "c", "or"])))
def test_any_rule_holds_as_in_python(text: str, alarms: set[str]) -> None:
    python = text.replace('"or"', "d")
    values = {name: name in alarms for name in "abc"} | {"d": "or" in alarms}
    assert parse_rule(text).holds(alarms.__contains__) is eval(python, {}, values)


@given(st.text(st.sampled_from("ab ()andornot\"'&-\n"), max_size=30) | st.text(max_size=10))
def test_any_text_is_a_rule_or_has_a_problem(text: str) -> None:
    names: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    try:
        names = parse_rule(text).names
    except RuleError as error:
        problems = error.problems
    assert bool(names) is not bool(problems)
    assert all(name in text for name in names)
    assert all(all(problem) for problem in problems)


def test_what_is_read_is_evaluated_before() -> None:
    parsed = {
        name: parse_rule(text)
        for name, text in {"top": "left and right", "left": "low or x", "right": "low", "low": "x"}.items()
    }
    order = evaluation_order(parsed)
    assert sorted(order) == ["left", "low", "right", "top"]
    assert order.index("low") < min(order.index("left"), order.index("right"))
    assert order[-1] == "top"
    assert find_cycle(parsed) == []
    assert evaluation_order({}) == []


@pytest.mark.parametrize(
    ("texts", "cycle"),
    [
        ({"a": "a"}, {"a"}),
        ({"a": "b", "b": "x or a"}, {"a", "b"}),
        ({"x": "a", "a": "b", "b": "c", "c": "not a"}, {"a", "b", "c"}),
    ],
)
def test_a_circle_is_found_and_has_no_order(texts: dict[str, str], cycle: set[str]) -> None:
    parsed = {name: parse_rule(text) for name, text in texts.items()}
    found = find_cycle(parsed)
    assert set(found) == cycle
    assert found[0] == found[-1]
    assert all(following in parsed[name].names for name, following in itertools.pairwise(found))
    with pytest.raises(ValueError, match="cycle"):
        evaluation_order(parsed)
