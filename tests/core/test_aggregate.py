"""Partials merge like the sets of events that they stand for, and sums do not drift."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.aggregate import NUMBER_MAX, Partial, aggregate_field, empty, exact_number, finish, merge
from tallystream.core.definition_text import parse_definition

DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "donations"
windows = ["1m"]
measures = ["count", "sum(amount)", "min(amount)", "max(amount)", "mean(amount)", "sum(fee)"]
""")
COUNTER = DEFINITION.counter("donations")

numbers = st.one_of(
    st.none(), st.integers(-NUMBER_MAX, NUMBER_MAX), st.floats(-1e18, 1e18), st.decimals(-1000, 1000, places=2).map(float)
)


@st.composite
def partials(draw: st.DrawFn) -> Partial:
    amounts = draw(st.lists(numbers, max_size=5))
    fees = draw(st.lists(numbers, min_size=len(amounts), max_size=len(amounts)))
    return Partial(len(amounts), (aggregate_field(amounts), aggregate_field(fees)))


@given(partials(), partials(), partials())
def test_merge_is_associative_and_commutative_and_empty_is_neutral(a: Partial, b: Partial, c: Partial) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge(a, empty(2)) == a
    assert merge(empty(2), a) == a


@given(st.lists(numbers), st.integers(0, 100))
def test_a_split_changes_nothing(values: list[float | None], at: int) -> None:
    whole = Partial(len(values), (aggregate_field(values),))
    parts = [values[:at], values[at:]]
    first, second = (Partial(len(part), (aggregate_field(part),)) for part in parts)
    assert merge(first, second) == whole


@given(st.lists(st.one_of(st.integers(-NUMBER_MAX, NUMBER_MAX), st.floats(-1e18, 1e18))))
def test_a_sum_is_within_the_stated_bound_of_what_was_written(values: list[float]) -> None:
    total = aggregate_field(values).sum
    written = sum((Fraction(repr(value)) for value in values), Fraction(0))
    assert abs(Fraction(total) - written) <= len(values) * Fraction(5, 10**19)


def test_cents_add_up() -> None:
    dimes = aggregate_field([0.1] * 1_000_000)
    assert dimes.sum == 100_000
    assert aggregate_field([0.1, 0.2]).sum == Decimal("0.3")
    assert aggregate_field([10**18, 0.001, -(10**18)]).sum == Decimal("0.001")


def test_tiny_numbers_are_rounded_to_18_decimals() -> None:
    assert exact_number(1e-300) == 0
    assert exact_number(0.0012345678901234567) == Decimal("0.001234567890123457")


def measure(name: str, partial: Partial) -> object:
    return finish(partial, COUNTER, next(measure for measure in COUNTER.measures if measure.name == name))


def test_finish() -> None:
    partial = Partial(3, (aggregate_field([1, 2.5, None]), aggregate_field([None, None, None])))
    assert measure("count", partial) == 3
    assert measure("sum(amount)", partial) == Decimal("3.5")
    assert measure("min(amount)", partial) == 1
    assert measure("max(amount)", partial) == Decimal("2.5")
    assert measure("mean(amount)", partial) == Decimal("1.75")
    assert measure("sum(fee)", partial) == 0


def test_finish_of_nothing() -> None:
    assert measure("count", empty(2)) == 0
    assert measure("sum(amount)", empty(2)) == 0
    assert [measure(f"{name}(amount)", empty(2)) for name in ("min", "max", "mean")] == [None, None, None]


@pytest.mark.parametrize(("value", "shown"), [(Decimal("2.50"), "2.5"), (Decimal("3.00"), "3"), (Decimal("1E+3"), "1000")])
def test_values_are_shown_plainly(value: Decimal, shown: str) -> None:
    partial = Partial(1, (aggregate_field([float(value)]), aggregate_field([])))
    assert str(measure("sum(amount)", partial)) == shown


def test_a_mean_has_twenty_digits() -> None:
    partial = Partial(3, (aggregate_field([1, 0, 0]), aggregate_field([])))
    assert str(measure("mean(amount)", partial)) == "0.33333333333333333333"
