"""Names and numbers as a terminal shows them."""

from decimal import Decimal

import pytest

from tallystream.cli.display import clock, exact, short
from tallystream.core.query import Show
from tallystream.core.series import Value


@pytest.mark.parametrize(
    ("value", "show", "shown"),
    [
        (1_234_567, "value", "1,234,567"),
        (Decimal("1234.5"), "value", "1,234.5"),
        (Decimal("1E-7"), "value", "0.0000001"),
        (None, "value", "–"),
        (Decimal("0.25"), "share", "25.0 %"),
        (Decimal("-0.5"), "change", "-50.0 %"),
        (2, "change", "+200.0 %"),
        (Decimal("0.3333333333"), "rate", "0.333"),
    ],
)
def test_tables_show_values_in_full(value: Value, show: Show, shown: str) -> None:
    assert exact(value, show) == shown


@pytest.mark.parametrize(
    ("value", "show", "shown"),
    [
        (0.0, "value", "0"),
        (999.0, "value", "999"),
        (1_200.0, "value", "1.2k"),
        (-3e6, "value", "-3M"),
        (2.5e12, "value", "2.5T"),
        (0.25, "share", "25 %"),
    ],
)
def test_axes_show_values_in_short(value: float, show: Show, shown: str) -> None:
    assert short(value, show) == shown


@pytest.mark.parametrize(
    ("step_ms", "shown"),
    [
        (86_400_000, "2026-09-21"),
        (60_000, "2026-09-21 14:13"),
        (10_000, "2026-09-21 14:13:20"),
        (500, "2026-09-21 14:13:20.500"),
    ],
)
def test_times_are_as_precise_as_the_windows(step_ms: int, shown: str) -> None:
    assert clock(1_790_000_000_500, step_ms) == shown
