"""What every alarm store promises (ports.alarms.AlarmStore)."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tallystream.core.alarm import DecidingDatapoint, State, Transition
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.ports.alarms import (
    RETRY_PAUSE_MS_MAX,
    Acknowledgement,
    AlarmChange,
    AlarmKey,
    AlarmStore,
    ChannelTiming,
    Message,
)

NOW_MS = 1_795_433_580_000
DAY_MS = 86_400_000
LOW = AlarmKey("low")
ALONE = ChannelTiming(0, 10)
SECOND = ChannelTiming(1_000, 3)


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AlarmStore]:
    opened = SQLiteAlarmStore(tmp_path / "alarms.db")
    yield opened
    opened.close()


def transition(new_state: State, old_state: State = "OK") -> Transition:
    datapoints = (
        DecidingDatapoint(NOW_MS - 60_000, Decimal("0.30"), breaching=True, filled=False, lower=Decimal(5)),
        DecidingDatapoint(NOW_MS, None, breaching=True, filled=True, upper=Decimal("1E+3")),
    )
    return Transition(old_state, new_state, "2 of 2 datapoints were < 5", datapoints)


def change(
    store: AlarmStore,
    new_state: State,
    *channels: str,
    key: AlarmKey = LOW,
    at_ms: int = NOW_MS,
    announced: State | None = None,
) -> None:
    """Bring an alarm into a state."""
    status = store.statuses().get(key)
    moved = transition(new_state, status.state if status else "INSUFFICIENT_DATA")
    assert store.commit([AlarmChange(key, status.version if status else 0, moved, announced or new_state, channels)], at_ms)


def new_states(messages: list[Message]) -> list[list[str]]:
    return [[item.transition.new_state for item in message.items if item.transition] for message in messages]


# States.


def test_a_transition_is_kept_as_it_was_decided(store: AlarmStore) -> None:
    assert store.statuses() == {}
    assert store.commit([AlarmChange(LOW, 0, transition("ALARM"), "ALARM", ())], NOW_MS)
    status = store.statuses()[LOW]
    (item,) = store.history()
    assert (status.state, status.since_ms, status.announced) == ("ALARM", NOW_MS, "ALARM")
    assert (status.transition_id, status.acknowledgement) == (item.id, None)
    assert (item.key, item.at_ms, item.kind, item.transition) == (LOW, NOW_MS, "StateUpdate", transition("ALARM"))
    assert item.transition is not None
    assert str(item.transition.datapoints[0].value) == "0.30"
    assert store.transitions("low", NOW_MS, NOW_MS + 1) == [item]


def test_of_two_who_decide_at_the_same_time_one_is_refused(store: AlarmStore) -> None:
    first = AlarmChange(LOW, 0, transition("ALARM"), "ALARM", ("mail",))
    assert store.commit([first], NOW_MS)
    version = store.version()
    other = AlarmChange(AlarmKey("other"), 0, transition("ALARM"), "ALARM", ("mail",))
    assert not store.commit([other, first], NOW_MS + 1)
    assert not store.commit([first._replace(version=store.statuses()[LOW].version + 1)], NOW_MS + 1)
    assert set(store.statuses()) == {LOW}
    assert store.version() == version
    assert len(store.history()) == 1
    assert new_states(store.lease(store.open_session(NOW_MS), {"mail": ALONE}, NOW_MS, 10)) == [["ALARM"]]


def test_each_change_of_a_row_gives_it_a_higher_version(store: AlarmStore) -> None:
    change(store, "ALARM")
    versions = [store.statuses()[LOW].version]
    assert store.acknowledge(LOW, Acknowledgement(NOW_MS, "ada", ""))
    versions.append(store.statuses()[LOW].version)
    change(store, "OK")
    versions.append(store.statuses()[LOW].version)
    assert store.commit([AlarmChange(LOW, versions[-1], None, "OK", ())], NOW_MS)
    versions.append(store.statuses()[LOW].version)
    assert versions == sorted(set(versions))
    assert versions[0] > 0


def test_a_commit_of_nothing_is_nothing(store: AlarmStore) -> None:
    version = store.version()
    assert store.commit([], NOW_MS)
    assert store.version() == version


def test_groups_have_states_of_their_own_until_they_are_forgotten(store: AlarmStore) -> None:
    red, blue = AlarmKey("each", '["red"]'), AlarmKey("each", '["blue"]')
    changes = [AlarmChange(key, 0, transition("ALARM"), "ALARM", ()) for key in (red, blue)]
    assert store.commit(changes, NOW_MS)
    version = store.version()
    store.forget([red, AlarmKey("each", '["never seen"]')], NOW_MS)
    assert set(store.statuses()) == {blue}
    assert store.version() > version
    assert {item.key for item in store.history("each")} == {red, blue}
    assert store.commit([AlarmChange(red, 0, transition("ALARM"), "ALARM", ())], NOW_MS)


def test_declaring_tells_what_is_new_or_edited_once(store: AlarmStore) -> None:
    store.declare({"low": "1", "high": "1"}, NOW_MS)
    change(store, "ALARM")
    change(store, "ALARM", key=AlarmKey("high"))
    version = store.version()
    store.declare({"low": "1", "high": "1"}, NOW_MS + 1)
    assert store.version() == version
    store.declare({"low": "2"}, NOW_MS + 2)
    assert set(store.statuses()) == {LOW}
    assert store.version() > version
    store.declare({"low": "2", "high": "1"}, NOW_MS + 3)
    assert set(store.statuses()) == {LOW}
    updates = [(item.key.alarm, item.at_ms) for item in store.history() if item.kind == "ConfigurationUpdate"]
    assert sorted(updates) == [("high", NOW_MS), ("high", NOW_MS + 3), ("low", NOW_MS), ("low", NOW_MS + 2)]
    assert len(store.transitions("high", 0, NOW_MS + 1)) == 1


def test_an_acknowledgement_lasts_as_long_as_the_alarm(store: AlarmStore) -> None:
    acknowledgement = Acknowledgement(NOW_MS + 5, "ada", "on it")
    assert not store.acknowledge(LOW, acknowledgement)
    change(store, "OK")
    assert not store.acknowledge(LOW, acknowledgement)
    change(store, "ALARM")
    version = store.version()
    assert store.acknowledge(LOW, acknowledgement)
    assert store.version() > version
    status = store.statuses()[LOW]
    assert status.acknowledgement == acknowledgement
    item = store.history()[0]
    assert (item.kind, item.key, item.at_ms, item.transition) == ("Acknowledgement", LOW, NOW_MS + 5, None)
    assert "ada" in item.summary and "on it" in item.summary
    # The end of a mute changes nothing of it.
    assert store.commit([AlarmChange(LOW, status.version, None, "ALARM", ())], NOW_MS)
    assert store.statuses()[LOW].acknowledgement == acknowledgement
    change(store, "OK")
    change(store, "ALARM")
    assert store.statuses()[LOW].acknowledgement is None


# History.


def test_history_is_read_page_by_page_from_the_newest(store: AlarmStore) -> None:
    for number in range(7):
        change(store, "ALARM" if number % 2 else "OK", at_ms=NOW_MS + number)
        change(store, "OK", key=AlarmKey("other"), at_ms=NOW_MS + number)
    everything = store.history(limit=100)
    assert [item.id for item in everything] == sorted((item.id for item in everything), reverse=True)
    assert len({item.id for item in everything}) == 14
    found = []
    before = None
    while page := store.history("low", before, limit=3):
        assert len(page) <= 3
        found += page
        before = page[-1].id
    assert found == [item for item in everything if item.key == LOW]
    assert len(found) == 7


def test_transitions_of_a_time_are_those_of_the_alarm_and_nothing_else(store: AlarmStore) -> None:
    store.declare({"low": "1"}, NOW_MS)
    for number in range(5):
        change(store, "ALARM" if number % 2 else "OK", at_ms=NOW_MS + number)
        change(store, "OK", key=AlarmKey("lower"), at_ms=NOW_MS + number)
    assert store.acknowledge(LOW, Acknowledgement(NOW_MS + 2, "", "")) is False
    found = store.transitions("low", NOW_MS + 1, NOW_MS + 4)
    assert [item.at_ms for item in found] == [NOW_MS + 1, NOW_MS + 2, NOW_MS + 3]
    assert {item.kind for item in found} == {"StateUpdate"}


def test_transitions_may_be_those_of_a_group(store: AlarmStore) -> None:
    keys = [AlarmKey("low", '["a"]'), AlarmKey("low", '["b"]'), LOW]
    for key in keys:
        change(store, "ALARM", key=key)
    assert [item.key for item in store.transitions("low", NOW_MS, NOW_MS + 1)] == keys
    for key in keys:
        assert [item.key for item in store.transitions("low", NOW_MS, NOW_MS + 1, key.group)] == [key]


# Mutes.


def test_mutes_are_listed_until_they_end(store: AlarmStore) -> None:
    version = store.version()
    some = store.add_mute(["low", "high"], NOW_MS, NOW_MS + 100, "ada", "release")
    all_ = store.add_mute([], NOW_MS + 50, NOW_MS + 200, "", "")
    assert store.version() > version
    assert some[1:] == (("low", "high"), NOW_MS, NOW_MS + 100, "ada", "release")
    assert some.id != all_.id
    assert store.mutes(NOW_MS) == [some, all_]
    assert store.mutes(NOW_MS + 99) == [some, all_]
    assert store.mutes(NOW_MS + 100) == [all_]
    assert store.mutes(NOW_MS + 200) == []


def test_a_mute_ends_when_told_to_also_before_it_begins(store: AlarmStore) -> None:
    running = store.add_mute(["low"], NOW_MS, NOW_MS + 100, "", "")
    coming = store.add_mute(["low"], NOW_MS + 50, NOW_MS + 100, "", "")
    version = store.version()
    assert store.end_mute(running.id, NOW_MS + 10)
    assert store.version() > version
    assert store.mutes(NOW_MS + 10) == [coming]
    assert store.end_mute(coming.id, NOW_MS + 10)
    assert store.mutes(NOW_MS + 10) == []
    assert not store.end_mute(coming.id, NOW_MS + 11)
    assert not store.end_mute(12_345, NOW_MS)


def test_mutes_are_in_the_history_of_their_alarms(store: AlarmStore) -> None:
    store.add_mute(["low", "high"], NOW_MS, NOW_MS + 100, "ada", "release")
    muted_all = store.add_mute([], NOW_MS, NOW_MS + 200, "", "everything")
    assert [(item.kind, item.key.alarm) for item in store.history("low")] == [("Mute", ""), ("Mute", "low")]
    assert [item.key.alarm for item in store.history()] == ["", "high", "low"]
    first = store.history("low")[1]
    assert "ada" in first.summary and "release" in first.summary
    assert store.end_mute(muted_all.id, NOW_MS + 10)
    assert [item.key.alarm for item in store.history("high")] == ["", "", "high"]


# Samples.


def test_samples_are_exact_and_apart(store: AlarmStore) -> None:
    for number in range(3):
        store.add_samples({"rejected_percent": Decimal(number) / 10, "disk_free_percent": Decimal(50)}, NOW_MS + number)
    assert store.samples("rejected_percent", NOW_MS, NOW_MS + 2) == [(NOW_MS, Decimal(0)), (NOW_MS + 1, Decimal("0.1"))]
    assert store.samples("counting_lag_seconds", 0, NOW_MS * 2) == []
    store.add_samples({"rejected_percent": Decimal(7)}, NOW_MS)
    assert store.samples("rejected_percent", NOW_MS, NOW_MS + 1) == [(NOW_MS, Decimal(7))]


# The outbox.


def test_a_notification_is_delivered_and_then_gone(store: AlarmStore) -> None:
    change(store, "ALARM", "mail", "hook")
    session = store.open_session(NOW_MS)
    (mail,) = store.lease(session, {"mail": ALONE}, NOW_MS, 10)
    assert (mail.channel, mail.attempts, mail.created_ms) == ("mail", 0, NOW_MS)
    assert mail.items == store.transitions("low", 0, NOW_MS + 1)
    (hook,) = store.lease(session, {"hook": ALONE}, NOW_MS, 10)
    assert hook.id != mail.id
    store.mark_sent(session, mail.id, NOW_MS + 7)
    store.mark_sent(session, mail.id, NOW_MS + 8)
    assert store.lease(session, {"mail": ALONE, "hook": ALONE}, NOW_MS + 9, 10) == [hook]
    (action,) = [item for item in store.history("low") if item.kind == "Action"]
    assert (action.key, action.at_ms, action.transition) == (LOW, NOW_MS + 7, None)
    assert "mail" in action.summary and "ALARM" in action.summary
    assert store.undelivered(NOW_MS + 9) == []


def test_a_transition_that_is_refused_tells_nobody(store: AlarmStore) -> None:
    assert not store.commit([AlarmChange(LOW, 3, transition("ALARM"), "ALARM", ("mail",))], NOW_MS)
    assert store.lease(store.open_session(NOW_MS), {"mail": ALONE}, NOW_MS + 60_000, 10) == []


def test_what_is_not_marked_is_handed_out_again_as_it_was(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    session = store.open_session(NOW_MS)
    first = store.lease(session, {"mail": SECOND}, NOW_MS + 1_000, 10)
    change(store, "OK", "mail", at_ms=NOW_MS + 1)
    # Neither the same session nor the next one finds another message, or others in it.
    assert store.lease(session, {"mail": SECOND}, NOW_MS + 1_000, 10) == first
    assert store.lease(store.open_session(NOW_MS), {"mail": SECOND}, NOW_MS + 1_000, 10) == first


def test_only_the_newest_session_is_handed_anything(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    old = store.open_session(NOW_MS)
    (message,) = store.lease(old, {"mail": ALONE}, NOW_MS, 10)
    new = store.open_session(NOW_MS - 5 * DAY_MS)  # whatever the clock says
    assert new > old
    assert store.lease(old, {"mail": ALONE}, NOW_MS, 10) == []
    store.mark_failed(old, message.id, "too late", NOW_MS + 50_000, NOW_MS)
    assert store.undelivered(NOW_MS) == []
    assert store.lease(new, {"mail": ALONE}, NOW_MS, 10) == [message]
    # That it was delivered is true, whoever says it.
    store.mark_sent(old, message.id, NOW_MS)
    assert store.lease(new, {"mail": ALONE}, NOW_MS, 10) == []
    store.mark_failed(new, message.id, "sent twice", NOW_MS, NOW_MS)
    assert store.lease(new, {"mail": ALONE}, NOW_MS, 10) == []
    assert store.undelivered(NOW_MS) == []


def test_notifications_wait_for_others_and_go_together(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    for number in range(5):
        change(store, "ALARM" if number % 2 else "OK", "mail", at_ms=NOW_MS + number)
    assert store.lease(session, {"mail": SECOND}, NOW_MS + 999, 10) == []
    messages = store.lease(session, {"mail": SECOND}, NOW_MS + 1_000, 10)
    # At most three in a message. The last two have not waited for a second, but the first of them is due a moment later.
    assert new_states(messages[:1]) == [["OK", "ALARM", "OK"]]
    messages = store.lease(session, {"mail": SECOND}, NOW_MS + 1_004, 10)
    assert new_states(messages) == [["OK", "ALARM", "OK"], ["ALARM", "OK"]]
    assert len({message.id for message in messages}) == 2


def test_without_a_wait_each_goes_alone_and_limits_hold(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    for number in range(4):
        change(store, "ALARM" if number % 2 else "OK", "hook", at_ms=NOW_MS + number)
    seen = []
    for _ in range(4):
        (message,) = store.lease(session, {"hook": ALONE}, NOW_MS + 10, 1)
        seen.append(message)
        store.mark_sent(session, message.id, NOW_MS + 10)
    assert new_states(seen) == [["OK"], ["ALARM"], ["OK"], ["ALARM"]]
    assert store.lease(session, {"hook": ALONE}, NOW_MS + 10, 1) == []


def test_a_channel_is_not_handed_what_is_for_others(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    session = store.open_session(NOW_MS)
    assert store.lease(session, {"hook": ALONE}, NOW_MS, 10) == []
    assert store.lease(session, {}, NOW_MS, 10) == []


def test_a_failed_message_is_tried_again_when_it_is_time(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    session = store.open_session(NOW_MS)
    (message,) = store.lease(session, {"mail": ALONE}, NOW_MS, 10)
    store.mark_failed(session, message.id, "connection refused", NOW_MS + 5_000, NOW_MS)
    assert store.undelivered(NOW_MS) == [(message.id, "mail", NOW_MS, 1, "connection refused", False)]
    assert store.lease(session, {"mail": ALONE}, NOW_MS + 4_999, 10) == []
    (again,) = store.lease(session, {"mail": ALONE}, NOW_MS + 5_000, 10)
    assert again == message._replace(attempts=1)
    store.mark_failed(session, message.id, "timed out", NOW_MS + 9_000, NOW_MS + 5_000)
    assert [(each.attempts, each.error) for each in store.undelivered(NOW_MS)] == [(2, "timed out")]
    assert [item.kind for item in store.history("low")] == ["StateUpdate"]
    store.mark_sent(session, message.id, NOW_MS + 9_000)
    assert store.undelivered(NOW_MS + 9_000) == []


def test_what_failed_goes_before_what_is_newer_of_the_same_alarm(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    failed = []
    for key in (LOW, AlarmKey("high"), AlarmKey("low", '["a"]')):
        change(store, "ALARM", "hook", key=key)
        (message,) = store.lease(session, {"hook": ALONE}, NOW_MS, 1)
        store.mark_failed(session, message.id, "refused", NOW_MS + 1_800_000, NOW_MS)
        failed.append(message.id)
    change(store, "OK", "hook", at_ms=NOW_MS + 60_000)
    (first,) = store.lease(session, {"hook": ALONE}, NOW_MS + 60_000, 1)
    assert (first.id, first.attempts) == (failed[0], 1)
    # When it fails once more, the newer one does not wait for it, nor is it tried over and over.
    store.mark_failed(session, first.id, "refused", NOW_MS + 1_800_000, NOW_MS + 60_000)
    (second,) = store.lease(session, {"hook": ALONE}, NOW_MS + 60_000, 1)
    assert new_states([second]) == [["OK"]]
    store.mark_sent(session, second.id, NOW_MS + 60_000)
    assert store.lease(session, {"hook": ALONE}, NOW_MS + 60_000, 1) == []


def test_what_is_given_up_is_never_tried_again_and_shown_for_a_day(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    session = store.open_session(NOW_MS)
    (message,) = store.lease(session, {"mail": ALONE}, NOW_MS, 10)
    store.mark_failed(session, message.id, "no such address", None, NOW_MS + 5)
    assert store.lease(session, {"mail": ALONE}, NOW_MS + DAY_MS, 10) == []
    assert store.undelivered(NOW_MS + DAY_MS) == [(message.id, "mail", NOW_MS, 1, "no such address", True)]
    assert store.undelivered(NOW_MS + DAY_MS + 5) == []
    action = store.history("low")[0]
    assert (action.kind, action.key, action.at_ms) == ("Action", LOW, NOW_MS + 5)
    assert "mail" in action.summary and "no such address" in action.summary


def test_the_newest_failures_are_shown_first(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    ids = []
    for number in range(3):
        change(store, "ALARM", "hook", key=AlarmKey(f"a{number}"), at_ms=NOW_MS + number)
        (message,) = store.lease(session, {"hook": ALONE}, NOW_MS + number, 10)
        store.mark_failed(session, message.id, "no", NOW_MS + 60_000, NOW_MS + number)
        ids.append(message.id)
    assert [each.id for each in store.undelivered(NOW_MS)] == ids[::-1]
    assert [each.id for each in store.undelivered(NOW_MS, limit=2)] == ids[:0:-1]


def test_a_clock_that_is_set_back_delays_nothing_for_long(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    change(store, "ALARM", "mail")
    back_ms = NOW_MS - DAY_MS
    (message,) = store.lease(session, {"mail": SECOND}, back_ms, 10)
    store.mark_failed(session, message.id, "no", NOW_MS + 5_000, NOW_MS)
    assert store.lease(session, {"mail": SECOND}, NOW_MS + 5_000 - RETRY_PAUSE_MS_MAX, 10) == []
    assert len(store.lease(session, {"mail": SECOND}, NOW_MS + 4_999 - RETRY_PAUSE_MS_MAX, 10)) == 1


def test_the_end_of_a_mute_announces_the_newest_transition(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    change(store, "ALARM", announced="INSUFFICIENT_DATA")
    assert store.lease(session, {"mail": ALONE}, NOW_MS, 10) == []
    status = store.statuses()[LOW]
    assert (status.state, status.announced) == ("ALARM", "INSUFFICIENT_DATA")
    assert store.commit([AlarmChange(LOW, status.version, None, "ALARM", ("mail",))], NOW_MS + 60_000)
    after = store.statuses()[LOW]
    assert (after.state, after.since_ms, after.announced, after.transition_id) == (
        "ALARM",
        NOW_MS,
        "ALARM",
        status.transition_id,
    )
    (message,) = store.lease(session, {"mail": ALONE}, NOW_MS + 60_000, 10)
    assert message.items == store.transitions("low", 0, NOW_MS + 1)
    assert len(store.history()) == 1


# Age.


def test_what_waits_to_be_told_is_not_old_though_no_message_was_ever_made(store: AlarmStore) -> None:
    change(store, "ALARM", "mail")
    assert store.expire(NOW_MS + 1) == 0
    (message,) = store.lease(store.open_session(NOW_MS), {"mail": ALONE}, NOW_MS + 1, 10)
    assert new_states([message]) == [["ALARM"]]


def test_what_was_not_delivered_is_not_old(store: AlarmStore) -> None:
    for number, key in enumerate((LOW, AlarmKey("high"))):
        change(store, "ALARM", "mail", key=key, at_ms=NOW_MS + number)
    session = store.open_session(NOW_MS)
    (message,) = store.lease(session, {"mail": ALONE}, NOW_MS, 1)
    store.mark_failed(session, message.id, "no", NOW_MS + 5_000, NOW_MS)
    store.expire(NOW_MS + 400 * DAY_MS)  # a clock that was never set before
    messages = store.lease(session, {"mail": ALONE}, NOW_MS + 400 * DAY_MS, 10)
    assert [[item.key for item in message.items] for message in messages] == [[LOW], [AlarmKey("high")]]


def test_old_things_go_and_what_a_state_came_from_stays(store: AlarmStore) -> None:
    session = store.open_session(NOW_MS)
    for number, state in enumerate(("OK", "ALARM")):
        change(store, state, "mail", at_ms=NOW_MS + number)  # type: ignore[arg-type]
    (message,) = store.lease(session, {"mail": ChannelTiming(1, 1)}, NOW_MS + 1, 1)
    store.mark_failed(session, message.id, "no", None, NOW_MS + 1)
    (message,) = store.lease(session, {"mail": ChannelTiming(1, 1)}, NOW_MS + 2, 1)
    store.mark_sent(session, message.id, NOW_MS + 2)
    mute = store.add_mute(["low"], NOW_MS, NOW_MS + 100, "", "")
    store.add_samples({"disk_free_percent": Decimal(1)}, NOW_MS)
    assert store.expire(NOW_MS + 8 * DAY_MS) == 0
    assert store.expire(NOW_MS + 8 * DAY_MS + 1) == 1
    assert store.samples("disk_free_percent", 0, NOW_MS * 2) == []
    assert len(store.history()) == 5
    assert store.expire(NOW_MS + 91 * DAY_MS) > 0
    assert [item.transition.new_state for item in store.history() if item.transition] == ["ALARM"]
    assert store.statuses()[LOW].transition_id == store.history()[0].id
    assert store.lease(session, {"mail": ALONE}, NOW_MS + 91 * DAY_MS, 10) == []
    assert store.undelivered(NOW_MS + 91 * DAY_MS) == []
    assert not store.end_mute(mute.id, NOW_MS + 91 * DAY_MS)
    assert store.expire(NOW_MS + 91 * DAY_MS) == 0
