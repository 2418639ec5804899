"""
Partial aggregates: what a group holds in a window, of one batch or of all.

Numbers. A count is an integer. A measured number is a JSON number from -10^18 to 10^18. Integers are taken as they are.
Other numbers are read as the nearest double and stand for its shortest decimal form, rounded half-even to 18 decimals; up
to 15 significant digits that is the number the producer wrote. All additions are then exact: a sum has at most 18
decimals, and the context below has room for 10^40 such numbers. So a sum does not depend on order or on batches, and
differs from the sum of what was written by at most 1 in the 16th significant digit of each number, plus 5 * 10^-19 for each.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact
from typing import NamedTuple

from tallystream.core.definition import Counter, Measure

NUMBER_MAX = 10**18

_DECIMALS = Decimal(1).scaleb(-18)
_ROUNDED = Context(prec=40, rounding=ROUND_HALF_EVEN)
_EXACT = Context(prec=80, traps=[Inexact])  # an addition that had to round would be a bug, and raises
_MEAN = Context(prec=20, rounding=ROUND_HALF_EVEN)
_ZERO = Decimal(0)


class FieldPartial(NamedTuple):
    """Numbers seen in one measured field. Exact; min and max are None when count is 0."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    sum: Decimal
    min: Decimal | None
    max: Decimal | None


class Partial(NamedTuple):
    """What a group holds in a window: events, and numbers for each of the counter's measured fields, in their order."""

    count: int  # type: ignore[assignment]  # hides tuple.count
    fields: tuple[FieldPartial, ...] = ()


_EMPTY_FIELD = FieldPartial(0, _ZERO, None, None)


def empty(fields: int) -> Partial:
    """Return the partial of no events, for a counter with this many measured fields; the neutral element of `merge`."""
    return Partial(0, (_EMPTY_FIELD,) * fields)


def exact_number(value: float) -> Decimal:
    """Return a measured number as the decimal that is added (see the module's text for its exactness)."""
    number = Decimal(value) if isinstance(value, int) else Decimal(repr(value))
    # A double has 17 significant digits, so one of at least 0.1 has no more than 17 decimals.
    return number if not -0.1 < value < 0.1 else number.quantize(_DECIMALS, context=_ROUNDED)


def aggregate_field(values: Sequence[int | float | None]) -> FieldPartial:
    """Return the partial of a field's values; None (missing) is passed over."""
    numbers = [exact_number(value) for value in values if value is not None]
    if not numbers:
        return _EMPTY_FIELD
    return FieldPartial(len(numbers), _add(numbers), min(numbers), max(numbers))


def _add(numbers: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    add = _EXACT.add
    for number in numbers:
        total = add(total, number)
    return total


def merge(a: Partial, b: Partial) -> Partial:
    """Return the partial of both's events. Associative and commutative; `empty` is neutral."""
    if not a.fields:
        return Partial(a.count + b.count)
    return Partial(a.count + b.count, tuple(map(_merge_field, a.fields, b.fields)))


def _merge_field(a: FieldPartial, b: FieldPartial) -> FieldPartial:
    if not a.count:
        return b
    if not b.count:
        return a
    assert a.min is not None
    assert b.min is not None
    assert a.max is not None
    assert b.max is not None
    return FieldPartial(a.count + b.count, _EXACT.add(a.sum, b.sum), min(a.min, b.min), max(a.max, b.max))


def finish(partial: Partial, counter: Counter, measure: Measure) -> int | Decimal | None:
    """
    Return a measure's value.

    Count and sum of nothing are 0; min, max and mean of no number are None. A mean is rounded half-even to 20 significant
    digits. A whole number is returned as int.
    """
    if measure.function == "count" or measure.field is None:
        return partial.count
    field = partial.fields[counter.measured_fields.index(measure.field)]
    match measure.function:
        case "sum":
            return _plain(field.sum)
        case "min":
            return None if field.min is None else _plain(field.min)
        case "max":
            return None if field.max is None else _plain(field.max)
        case _:  # mean
            return _plain(_MEAN.divide(field.sum, field.count)) if field.count else None


def _plain(number: Decimal) -> int | Decimal:
    if number == number.to_integral_value():
        return int(number)
    return number.normalize(_EXACT)
