"""Delivering one channel's messages: when, how often, and what is told of a failure."""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystream.core.alarm import Transition
from tallystream.core.errors import StorageError
from tallystream.engine.notify import GIVEN_UP_ATTEMPTS, GIVEN_UP_MS, DeliveryError, NotifyStep, retry_pause_ms
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.ports.alarms import RETRY_PAUSE_MS_MAX, AlarmChange, AlarmKey, Message

NOW_MS = 1_795_433_580_000


class Receiver:
    """A channel's Sender, and the clock that goes on while it works."""

    def __init__(self) -> None:
        self.clock_ms = NOW_MS
        self.takes_ms = 0
        self.problem: Exception | None = None
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)
        self.clock_ms += self.takes_ms
        if self.problem is not None:
            raise self.problem


@pytest.fixture
def alarms(tmp_path: Path) -> Iterator[SQLiteAlarmStore]:
    store = SQLiteAlarmStore(tmp_path / "alarms.db")
    transition = Transition("OK", "ALARM", "because", ())
    assert store.commit([AlarmChange(AlarmKey("low"), 0, transition, "ALARM", ("mail",))], NOW_MS)
    yield store
    store.close()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def step(alarms: SQLiteAlarmStore, receiver: Receiver) -> NotifyStep:
    return NotifyStep(alarms, alarms.open_session(NOW_MS), "mail", 0, receiver, lambda: receiver.clock_ms)


def test_a_message_is_sent_once(alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver) -> None:
    assert [step.step(), step.step()] == [True, False]
    (message,) = receiver.messages
    assert message.items == alarms.transitions("low", 0, NOW_MS + 1)
    assert alarms.history()[0].kind == "Action"


def test_after_a_failure_the_pause_begins_when_the_attempt_ended(
    alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver
) -> None:
    receiver.problem = DeliveryError("mail.example.com does not answer")
    receiver.takes_ms = 30_000
    assert [step.step(), step.step()] == [True, False]
    (failed,) = alarms.undelivered(receiver.clock_ms)
    assert (failed.attempts, failed.error, failed.given_up) == (1, "mail.example.com does not answer", False)
    receiver.clock_ms += 3_700
    assert not step.step()
    receiver.clock_ms += 1_300
    assert step.step()
    assert [message.attempts for message in receiver.messages] == [0, 1]
    assert receiver.messages[0].id == receiver.messages[1].id


def test_what_comes_up_while_the_receiver_fails_is_gathered(alarms: SQLiteAlarmStore, receiver: Receiver) -> None:
    step = NotifyStep(alarms, alarms.open_session(NOW_MS), "mail", 10_000, receiver, lambda: receiver.clock_ms)
    receiver.problem = DeliveryError("mail.example.com does not answer")
    for minute in range(60):
        receiver.clock_ms = NOW_MS + minute * 60_000 + 10_000
        change = AlarmChange(AlarmKey(f"a{minute}"), 0, Transition("OK", "ALARM", "because", ()), "ALARM", ("mail",))
        assert alarms.commit([change], receiver.clock_ms)
        while step.step():
            pass
    assert len({message.id for message in receiver.messages}) <= 13
    receiver.problem = None
    receiver.messages.clear()
    receiver.clock_ms += RETRY_PAUSE_MS_MAX
    while step.step():
        pass
    assert {item.key.alarm for message in receiver.messages for item in message.items} == {"low"} | {f"a{n}" for n in range(60)}
    assert len(receiver.messages) <= 13


def test_it_is_given_up_after_three_days(alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver) -> None:
    receiver.problem = DeliveryError("no such host")
    while not alarms.undelivered(receiver.clock_ms) or not alarms.undelivered(receiver.clock_ms)[0].given_up:
        step.step()
        receiver.clock_ms += 60_000
    assert 0 <= receiver.clock_ms - NOW_MS - GIVEN_UP_MS <= RETRY_PAUSE_MS_MAX + 120_000
    assert 75 < len(receiver.messages) < 120  # once an hour, most of the time
    assert "no such host" in alarms.history()[0].summary
    attempts = len(receiver.messages)
    receiver.clock_ms += GIVEN_UP_MS
    assert not step.step()
    assert len(receiver.messages) == attempts


def test_a_clock_that_jumps_over_the_days_gives_nothing_up(
    alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver
) -> None:
    receiver.problem = DeliveryError("no such host")
    step.step()
    receiver.clock_ms += 2 * GIVEN_UP_MS
    started_ms = receiver.clock_ms
    while not alarms.undelivered(receiver.clock_ms) or not alarms.undelivered(receiver.clock_ms)[0].given_up:
        step.step()
        receiver.clock_ms += 60_000
    assert len(receiver.messages) == GIVEN_UP_ATTEMPTS
    assert receiver.clock_ms - started_ms > 10 * RETRY_PAUSE_MS_MAX


def test_pauses_double_up_to_an_hour_and_differ() -> None:
    def pause_ms(attempts: int, message_id: str = "m") -> int:
        return retry_pause_ms(Message(message_id, "mail", [], attempts, NOW_MS))

    for attempts in range(100):
        full_ms = min(5_000 * 2**attempts, RETRY_PAUSE_MS_MAX)
        assert full_ms * 0.75 <= pause_ms(attempts) <= full_ms
    assert len({pause_ms(20, f"m{number}") for number in range(50)}) > 40
    assert pause_ms(3) == pause_ms(3)


def test_what_was_sent_is_not_sent_again_when_the_disk_does_not_take_it(
    alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(alarms, "mark_sent", full)
        for _ in range(3):
            with pytest.raises(StorageError):
                step.step()
    assert not step.step()
    assert len(receiver.messages) == 1
    assert [item.kind for item in alarms.history()] == ["Action", "StateUpdate"]


def test_a_fault_of_a_sender_is_told_without_what_it_says(
    alarms: SQLiteAlarmStore, step: NotifyStep, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.problem = ValueError("https://hooks.example.com/SECRET")
    with caplog.at_level(logging.WARNING):
        assert step.step()
    (failed,) = alarms.undelivered(NOW_MS)
    assert failed.error.startswith("fault in Tallystream (ValueError in send, line ")
    assert "SECRET" not in caplog.text
    assert re.search("through mail was not delivered, tried again in [345] s: fault in Tallystream", caplog.text)


def test_it_leaves_other_channels_alone(alarms: SQLiteAlarmStore, receiver: Receiver) -> None:
    other: Callable[[], bool] = NotifyStep(
        alarms, alarms.open_session(NOW_MS), "hook", 0, receiver, lambda: receiver.clock_ms
    ).step
    assert not other()
    assert receiver.messages == []
