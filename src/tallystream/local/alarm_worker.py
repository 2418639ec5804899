"""
The process of the alarms: `python -m tallystream.local.alarm_worker`, started by `tally up`.

It evaluates, and it delivers: each channel in a thread of its own, so that a receiver that hangs delays nobody else.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError
from tallystream.engine.alarms import AlarmStep, measure_system
from tallystream.engine.notify import GIVEN_UP_MS, NotifyStep, Sender
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.channels import make_senders
from tallystream.local.child import WorkerSettings, announce_ready, end_with_parent, read_settings
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.local.logs import set_up_logs
from tallystream.local.stream import SQLiteStream

ROUND_S_MIN = 0.25  # between two evaluations
ROUND_S_MAX = 1.0  # windows end, and delays pass, also when nothing is counted
POLL_S = 0.05
SAMPLE_MS = 10_000  # the shortest window of an alarm
EXPIRE_S = 3_600.0
OUTBOX_POLL_S = 0.25
RETRY_S = 1.0  # after an error of the disk
END_S = 2.0  # for deliveries under way when told to stop; the supervisor is patient for a second more

_log = logging.getLogger(__name__)


def main() -> None:
    """Evaluate and deliver until told to stop; what was decided is safe whenever and however the process ends."""
    settings = read_settings(WorkerSettings)
    set_up_logs(settings.log_format, settings.name)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    end_with_parent()
    definition = settings.definition
    data = DataDirectory(Path(settings.data))
    stream, store = data.open(definition, read_only=True)
    with closing(stream), closing(store), closing(data.open_alarms()) as alarms:
        senders = make_senders(definition, os.environ, alarms.configured_ms())
        delivery = Delivery(alarms, definition, senders, stop)
        delivery.start()
        announce_ready()
        run(definition, data, stream, store, alarms, delivery, stop)
        if not delivery.end(END_S):
            # It may still succeed in this moment; closing the database under it would not help.
            _log.warning("a delivery did not end in time; it is made again at the next start")
            os._exit(0)


def run(
    definition: Definition,
    data: DataDirectory,
    stream: SQLiteStream,
    store: SQLiteCounterStore,
    alarms: SQLiteAlarmStore,
    delivery: "Delivery",
    stop: threading.Event,
) -> None:
    """Evaluate, and every ten seconds measure Tallystream itself, until `stop` is set. Errors of the disk are tried again."""
    evaluation = AlarmStep(definition, store, stream, alarms)
    expire_at_s = time.monotonic()
    sampled: int | None = None
    while not stop.is_set():
        started_s = time.monotonic()
        try:
            version = store.version()
            at_ms = now_ms()
            # By the clock: every ten seconds of another one, windows of ten seconds would now and then be left out.
            if sampled != at_ms // SAMPLE_MS:
                measure_system(store, stream, alarms, data.disk_free_percent(), at_ms)
                sampled = at_ms // SAMPLE_MS
            evaluation.step(now_ms())
            if started_s >= expire_at_s:
                expire_at_s = started_s + EXPIRE_S
                alarms.give_up_others([channel.name for channel in definition.channels], GIVEN_UP_MS, now_ms())
                alarms.expire(now_ms())
            _wait(store, version, started_s, stop)
        except StorageError as error:
            _log.warning("alarms wait, none is lost: %s", error)
            stop.wait(RETRY_S)
        delivery.check()


def _wait(store: SQLiteCounterStore, version: int, started_s: float, stop: threading.Event) -> None:
    """Wait until something was counted since `version`, but neither longer nor shorter than a round."""
    stop.wait(max(POLL_S, started_s + ROUND_S_MIN - time.monotonic()))
    while time.monotonic() < started_s + ROUND_S_MAX and store.version() == version and not stop.wait(POLL_S):
        pass


class Delivery:
    """The threads that deliver, one for each channel."""

    def __init__(
        self, alarms: SQLiteAlarmStore, definition: Definition, senders: Mapping[str, Sender], stop: threading.Event
    ) -> None:
        session = alarms.open_session(now_ms())
        self._stop = stop
        self._threads = [
            threading.Thread(
                target=self._deliver,
                args=(NotifyStep(alarms, session, channel.name, channel.group_wait_ms, senders[channel.name], now_ms),),
                name=f"deliver-{channel.name}",
                daemon=True,  # a receiver that hangs keeps no process from ending
            )
            for channel in definition.channels
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise RuntimeError if a thread has ended unasked: the process then ends, and is started again."""
        if not self._stop.is_set() and not all(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a thread that delivers has ended; the log above says why")

    def end(self, patience_s: float) -> bool:
        """Wait for the deliveries under way; return whether all have ended."""
        deadline_s = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _deliver(self, step: NotifyStep) -> None:
        while not self._stop.is_set():
            try:
                if not step.step():
                    self._stop.wait(OUTBOX_POLL_S)
            except StorageError as error:
                _log.warning("notifications wait, none is lost: %s", error)
                self._stop.wait(RETRY_S)


if __name__ == "__main__":
    main()
