import random

import pytest

from tallystream.cli.traffic import Visitors, history

NOON_MS = 1_790_000_040_000


@pytest.mark.parametrize("events", [0, 1, 3_000, 40_000])
def test_every_batch_of_the_history_holds_events(events: int) -> None:
    # The server refuses a request without one, and the demo would begin its history again.
    batches = list(history(Visitors(random.Random(7)), events, NOON_MS))
    assert all(batches)
    assert abs(sum(map(len, batches)) - events) <= events * 0.02 + 200
