"""When a stored aggregate can be a recount and more, and how both are shown."""

from decimal import Decimal

import pytest

from tallystream.core.aggregate import FieldPartial, Partial
from tallystream.core.comparison import holds, shown


def partial(count: int, numbers: int = 0, total: str = "0", low: str | None = None, high: str | None = None) -> Partial:
    least, most = (None if number is None else Decimal(number) for number in (low, high))
    return Partial(count, (FieldPartial(numbers, Decimal(total), least, most),))


@pytest.mark.parametrize(
    ("whole", "part", "is_held"),
    [
        (Partial(3), Partial(3), True),
        (Partial(3), Partial(2), True),
        (Partial(2), Partial(3), False),
        (Partial(2), partial(1), False),
        (partial(3, 2, "-5", "-6", "1"), partial(2, 1, "1", "1", "1"), True),  # a sum may fall
        (partial(3, 1, "1", "1", "1"), partial(3, 2, "1", "1", "1"), False),
        (partial(3, 1, "1", "1", "1"), partial(3), True),
        (partial(3), partial(3), True),
        (partial(3, 1, "2", "2", "2"), partial(3, 1, "1", "1", "2"), False),
        (partial(3, 1, "2", "1", "1"), partial(3, 1, "1", "1", "2"), False),
        (partial(3, 1, "2"), partial(3, 1, "1", "1"), False),
        (partial(3, 1, "2", "1"), partial(3, 1, "1", "1", "2"), False),
    ],
)
def test_what_holds_more_holds_the_recount(whole: Partial, part: Partial, is_held: bool) -> None:
    assert holds(whole, part) is is_held


def test_numbers_are_shown_in_full() -> None:
    assert shown(Partial(1_234)) == "1,234"
    assert shown(partial(3, 2, "0.3", "0.1", "0.2")) == "3 (2 numbers, sum 0.3, 0.1 to 0.2)"
