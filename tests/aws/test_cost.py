"""What a month costs: the bill follows the definition and the load."""

from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.aws.cost import CostError, Estimate, Load, estimate
from tallystream.aws.prices import AS_OF
from tallystream.aws.template_function import StackSettings
from tallystream.core.definition_text import parse_definition

EXAMPLE = parse_definition(resources.files("tallystream").joinpath("example.toml").read_text(encoding="utf-8"))
SMALLEST = 'name = "x"\n[stream]\nevent_time = "t"\nshards = 1\n[[counter]]\nname = "all"\nwindows = ["1m"]\n'


def bill(load: Load, **settings: Any) -> Estimate:
    return estimate(EXAMPLE, load, StackSettings(**settings), "us-east-1")


def dollars(found: Estimate, service: str) -> float:
    return sum(charge.dollars for charge in found.charges if charge.service == service)


def quantity(found: Estimate, what: str) -> float:
    return next(charge.quantity for charge in found.charges if charge.what == what)


def test_the_smallest_stack_by_hand() -> None:
    found = estimate(parse_definition(SMALLEST), Load(1), StackSettings(batch_window_s=10), "us-east-1")
    month_s = 730 * 3_600
    assert quantity(found, "shard hours") == 730
    assert dollars(found, "Kinesis") == pytest.approx(730 * 0.015 + month_s / 1e6 * 0.014)
    # A batch is 10 events, and writes one row and the ledger.
    assert quantity(found, "writes of rows") == pytest.approx(month_s / 10 * 2)
    assert quantity(found, "metrics") == 1
    assert quantity(found, "alarms") == 8  # the stack's own
    assert found.dollars == pytest.approx(sum(charge.dollars for charge in found.charges))


def test_the_estimate_says_what_it_assumes() -> None:
    text = " ".join(bill(Load(1_000, groups=25)).assumptions)
    for said in (AS_OF, "us-east-1", "1,000 events/s", "25 groups", "arm64", "256 MB"):
        assert said in text


def test_packing_events_makes_it_cheaper() -> None:
    alone, packed = bill(Load(10_000)), bill(Load(10_000, events_per_record=100))
    assert dollars(packed, "Kinesis") < dollars(alone, "Kinesis") / 5
    assert any("packing" in warning for warning in alone.warnings)
    assert not any("packing 100" in warning for warning in packed.warnings)


def test_waiting_for_larger_batches_makes_it_cheaper() -> None:
    assert dollars(bill(Load(100), batch_window_s=30), "DynamoDB") < dollars(bill(Load(100), batch_window_s=1), "DynamoDB") / 5


def test_a_stream_with_too_few_shards_is_estimated_with_enough_and_said() -> None:
    found = bill(Load(10_000))
    assert quantity(found, "shard hours") == 7_300
    assert any(warning.startswith("stream.shards: 2 take less than this load") for warning in found.warnings)


@given(st.floats(0.001, 1e6), st.integers(1, 1_000), st.integers(1, 1_000), st.integers(2, 1_000))
def test_more_load_never_costs_less(events: float, packed: int, groups: int, size: int) -> None:
    small, large = (bill(Load(times * events, size, packed, groups)) for times in (1, 2))
    assert all(charge.dollars >= 0 for charge in small.charges)
    assert small.dollars <= large.dollars * (1 + 1e-9)


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(CostError, match="no prices of mars-1"):
        estimate(EXAMPLE, Load(1), StackSettings(), "mars-1")
    with pytest.raises(CostError, match="pack at most 2,000"):
        bill(Load(1, event_bytes=500, events_per_record=3_000))


def test_the_dashboard_costs_its_secret() -> None:
    with_it, without = bill(Load(10), dashboard=True), bill(Load(10))
    assert dollars(with_it, "Secrets Manager") == pytest.approx(0.40)
    assert with_it.dollars == pytest.approx(without.dollars + 0.40)
    assert any("while it is looked at" in assumption for assumption in with_it.assumptions)
