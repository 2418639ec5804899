"""What is left of channels that a definition has no more."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tallystream.core.alarm import Transition
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.ports.alarms import AlarmChange, AlarmKey, ChannelTiming

NOW_MS = 1_795_433_580_000
DAY_MS = 86_400_000
ALONE = ChannelTiming(0, 10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteAlarmStore]:
    with closing(SQLiteAlarmStore(tmp_path / "alarms.db")) as opened:
        transition = Transition("OK", "ALARM", "because", ())
        for number in range(3):
            change = AlarmChange(AlarmKey(f"low-{number}"), 0, transition, "ALARM", ("kept", "removed"))
            assert opened.commit([change], NOW_MS + number)
        session = opened.open_session(NOW_MS)
        for channel in ("kept", "removed"):
            (message,) = opened.lease(session, {channel: ALONE}, NOW_MS, 1)
            opened.mark_failed(session, message.id, "refused", NOW_MS + 5_000, NOW_MS)
        yield opened


def test_what_waits_for_a_channel_that_is_gone_is_given_up_and_the_history_says_so(store: SQLiteAlarmStore) -> None:
    after_ms = NOW_MS + 3 * DAY_MS + 10
    assert store.give_up_others(["kept"], 3 * DAY_MS, after_ms) == 2
    summaries = [item.summary for item in store.history() if item.kind == "Action"]
    assert len(summaries) == 3
    assert all(summary.startswith("removed could not be told") and "no such channel" in summary for summary in summaries)
    # It is shown for a day, and counts no longer; if the channel comes back, it is not told of what is long past.
    assert {each.channel for each in store.undelivered(after_ms)} == {"kept", "removed"}
    assert {each.channel for each in store.undelivered(after_ms + DAY_MS)} == {"kept"}
    assert store.lease(store.open_session(after_ms), {"removed": ALONE}, after_ms, 10) == []
    assert store.give_up_others(["kept"], 3 * DAY_MS, after_ms) == 0


def test_a_channel_that_is_soon_back_is_told_what_waited(store: SQLiteAlarmStore) -> None:
    soon_ms = NOW_MS + DAY_MS
    assert store.give_up_others(["kept"], 3 * DAY_MS, soon_ms) == 0
    messages = store.lease(store.open_session(soon_ms), {"removed": ALONE}, soon_ms, 10)
    assert [item.key.alarm for message in messages for item in message.items] == ["low-0", "low-1", "low-2"]
