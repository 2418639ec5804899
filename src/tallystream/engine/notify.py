"""The notify step: a message of the outbox is leased, sent, and marked."""

import hashlib
import logging
import traceback
from collections.abc import Callable
from typing import Final, Protocol

from tallystream.core.errors import TallystreamError
from tallystream.ports.alarms import RETRY_PAUSE_MS_MAX, AlarmStore, ChannelTiming, Message

ITEMS_MAX: Final = 50
"""Transitions of one message: about what a person still reads."""

RETRY_PAUSE_MS_MIN: Final = 5_000
"""The pause after the first failed attempt; it doubles with each further one."""

FAILING_WAIT_MS: Final = 300_000
"""How long what is grouped is gathered while the receiver fails: when it is back, it is not flooded with what came up."""

GIVEN_UP_MS: Final = 3 * 86_400_000
"""How old a message is when a failed attempt was its last: older than a weekend."""

GIVEN_UP_ATTEMPTS: Final = 24
"""How many attempts there are at least: some twelve hours of them, also where the clock jumped, or the machine was off."""

_log = logging.getLogger(__name__)


class DeliveryError(TallystreamError):
    """A message was not delivered. Users see the text, so it says why and what to mend, and holds no secret."""


class Sender(Protocol):
    """The way to the outside of one channel."""

    def send(self, message: Message) -> None:
        """
        Deliver a message; return when the receiver has taken it.

        The same message may be sent again: its id is what tells. Ends within a minute, whatever the receiver does.

        Raises:
            DeliveryError: the receiver has not taken it, or may not have.
        """
        ...


class NotifyStep:
    """
    Delivers the messages of one channel, one after another.

    At least once: a message is marked when it was sent, not before. One is under way at a time, so a crash repeats at most one.
    """

    def __init__(
        self,
        alarms: AlarmStore,
        session: int,
        channel: str,
        group_wait_ms: int,
        sender: Sender,
        now_ms: Callable[[], int],
    ) -> None:
        """
        Deliver through one channel.

        Args:
            alarms: holds the outbox.
            session: from AlarmStore.open_session; no two steps of a session have the same channel.
            channel: its name.
            group_wait_ms: how long the first notification of a message waits for others.
            sender: delivers.
            now_ms: the clock. Unlike that of other steps, the time passes in this one: a receiver takes as long as it likes.
        """
        self._alarms = alarms
        self._session = session
        self._channel = channel
        self._group_wait_ms = group_wait_ms
        self._sender = sender
        self._now_ms = now_ms
        self._is_failing = False  # the last attempt failed, of whichever message
        self._mark: Callable[[], None] | None = None  # what is known of a message, and not in the store yet

    def step(self) -> bool:
        """
        Deliver, or try to, the message that is due first; return whether there was one.

        Raises:
            StorageError: of the store. Step again: a message that was sent before is marked then, and not sent again.
        """
        self._mark_attempted()
        wait_ms = max(self._group_wait_ms, FAILING_WAIT_MS) if self._is_failing and self._group_wait_ms else self._group_wait_ms
        timings = {self._channel: ChannelTiming(wait_ms, ITEMS_MAX)}
        messages = self._alarms.lease(self._session, timings, self._now_ms(), limit=1)
        for message in messages:
            self._mark = self._attempt(message)
            self._mark_attempted()
        return bool(messages)

    def _mark_attempted(self) -> None:
        if self._mark is not None:
            self._mark()
            self._mark = None

    def _attempt(self, message: Message) -> Callable[[], None]:
        try:
            self._sender.send(message)
        except Exception as error:  # whatever a sender meets, its channel goes on
            self._is_failing = True
            reason = _reason(error)
            at_ms = self._now_ms()
            is_last = at_ms - message.created_ms >= GIVEN_UP_MS and message.attempts + 1 >= GIVEN_UP_ATTEMPTS
            retry_ms = None if is_last else at_ms + retry_pause_ms(message)
            _log.warning(
                "a notification through %s was not delivered%s: %s",
                self._channel,
                " and is given up" if retry_ms is None else f", tried again in {(retry_ms - at_ms) // 1_000} s",
                reason,
            )
            return lambda: self._alarms.mark_failed(self._session, message.id, reason, retry_ms, at_ms)
        self._is_failing = False
        at_ms = self._now_ms()
        return lambda: self._alarms.mark_sent(self._session, message.id, at_ms)


def retry_pause_ms(message: Message) -> int:
    """
    Return how long to wait after one more failed attempt: 5 s, 10 s, 20 s … up to an hour, less up to a quarter.

    How much less is drawn from the message's id, so that what failed together is not tried again all at once.
    """
    pause_ms = min(RETRY_PAUSE_MS_MIN << min(message.attempts, 20), RETRY_PAUSE_MS_MAX)
    share = int.from_bytes(hashlib.sha256(f"{message.id} {message.attempts}".encode()).digest()[:4]) / 2**32
    return round(pause_ms * (1 - share / 4))


def _reason(error: Exception) -> str:
    if isinstance(error, DeliveryError):
        return str(error)
    # A fault of the sender. Its text may hold an address or a password, where it happened does not.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"fault in Tallystream ({type(error).__name__} in {place.name}, line {place.lineno}); report it"
