"""What is told of a clock that is behind the stream."""

import pytest

from tallystream.core.clock import clock_warning

NOW_MS = 1_795_433_580_000


@pytest.mark.parametrize("arrivals", [{}, {0: NOW_MS - 1}, {0: NOW_MS, 1: NOW_MS + 5_000}])
def test_a_clock_in_step_is_not_told(arrivals: dict[int, int]) -> None:
    assert clock_warning(NOW_MS, arrivals) is None


def test_a_clock_that_is_behind_is_told_with_the_shard_that_is_furthest_ahead() -> None:
    text = clock_warning(NOW_MS, {0: NOW_MS + 6_000, 1: NOW_MS + 3_600_999, 2: 0})
    assert text is not None
    assert text.startswith("the machine's clock is 3,600 s behind the newest arrival in shard 1")
    assert "`allowed_lateness`" in text
    assert clock_warning(NOW_MS, {0: NOW_MS + 5_001}) is not None
