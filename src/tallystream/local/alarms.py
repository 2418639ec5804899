"""The alarm store in SQLite: states, transitions, mutes and samples, and the outbox that commits with them."""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from tallystream.core.alarm import State, Transition
from tallystream.local import outbox
from tallystream.local.sqlite import connect_both, storage_errors, transaction
from tallystream.ports.alarms import (
    Acknowledgement,
    AlarmChange,
    AlarmKey,
    AlarmStatus,
    ChannelTiming,
    HistoryItem,
    Message,
    Mute,
    Undelivered,
)

_KEPT_MS = 90 * 86_400_000
_SAMPLES_KEPT_MS = 8 * 86_400_000

_FORMAT = 1  # of the file: one more with each change of alarms.sql

_ITEM = "id, alarm, group_key, at_ms, kind, summary, transition"

_encode = msgspec.json.Encoder().encode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_transition = msgspec.json.Decoder(Transition).decode


class _OutdatedError(Exception):
    """A row is no longer as it was when a change of it was decided; the transaction is rolled back."""


class SQLiteAlarmStore:
    """
    A ports.alarms.AlarmStore in one SQLite file. Every commit has reached the disk when it returns.

    One object may be used by several threads, and several processes may open the same file.
    """

    def __init__(self, path: Path, *, read_only: bool = False, new_id: Callable[[], str] = lambda: str(uuid4())) -> None:
        """
        Open the store.

        Args:
            path: of the file; made if need be, unless read_only.
            read_only: opens a file that is there, and writes nothing.
            new_id: makes the ids of messages.
        """
        self.path = path
        self._writer, self._reader = connect_both(path, "alarms.sql", _FORMAT, read_only=read_only)
        self._writer_lock = threading.Lock()
        self._reader_lock = threading.Lock()
        self._new_id = new_id

    def close(self) -> None:
        """Close the file. The store cannot be used afterwards."""
        self._reader.close()
        self._writer.close()  # last: whoever closes a database last moves its log into it, which a reader cannot

    # States.

    def declare(self, fingerprints: Mapping[str, str], now_ms: int) -> None:
        """See ports.alarms.AlarmStore."""
        known: dict[str, str] = dict(self._fetch("SELECT name, fingerprint FROM alarm"))
        if known == dict(fingerprints):
            return
        with self._writer_lock, transaction(self._writer, self.path):
            known = dict(self._writer.execute("SELECT name, fingerprint FROM alarm").fetchall())
            for name in known.keys() - fingerprints.keys():
                self._writer.execute("DELETE FROM alarm WHERE name = ?", (name,))
                self._writer.execute("DELETE FROM status WHERE alarm = ?", (name,))
            for name, fingerprint in fingerprints.items():
                if known.get(name) != fingerprint:
                    self._writer.execute("INSERT OR REPLACE INTO alarm VALUES (?, ?, ?)", (name, fingerprint, now_ms))
                    self._remember(AlarmKey(name), now_ms, "ConfigurationUpdate", "Changed" if name in known else "Created")
            self._next_version()

    def configured_ms(self) -> dict[str, int]:
        """Return alarm → when it was new, or last edited."""
        return dict(self._fetch("SELECT name, configured_ms FROM alarm"))

    def statuses(self) -> dict[AlarmKey, AlarmStatus]:
        """See ports.alarms.AlarmStore."""
        rows = self._fetch(
            "SELECT alarm, group_key, state, since_ms, version, announced, transition_id,"
            " acknowledged_ms, acknowledged_by, acknowledged_note FROM status"
        )
        statuses = {}
        for alarm, group, state, since_ms, version, announced, transition_id, at_ms, by, note in rows:
            acknowledgement = None if at_ms is None else Acknowledgement(at_ms, by, note)
            statuses[AlarmKey(alarm, group)] = AlarmStatus(state, since_ms, version, announced, transition_id, acknowledgement)
        return statuses

    def unexplained(self) -> list[tuple[AlarmKey, State, State | None]]:
        """Return (key, state, what its newest transition led to) where the two differ, which must not be."""
        rows = self._fetch(
            "SELECT status.alarm, status.group_key, state, json_extract(transition, '$[1]') AS new_state FROM status"
            " LEFT JOIN (SELECT alarm, group_key, transition, max(id) FROM history WHERE transition IS NOT NULL"
            "  GROUP BY alarm, group_key) AS newest USING (alarm, group_key)"
            " WHERE new_state IS NOT state"
        )
        return [(AlarmKey(alarm, group), state, new_state) for alarm, group, state, new_state in rows]

    def commit(self, changes: Sequence[AlarmChange], now_ms: int) -> bool:
        """See ports.alarms.AlarmStore."""
        if not changes:
            return True
        try:
            with self._writer_lock, transaction(self._writer, self.path):
                version = self._next_version()
                for change in changes:
                    self._apply(change, version, now_ms)
        except _OutdatedError:
            return False
        return True

    def _apply(self, change: AlarmChange, version: int, now_ms: int) -> None:
        key, transition = change.key, change.transition
        row = self._writer.execute(
            "SELECT version, transition_id FROM status WHERE alarm = ? AND group_key = ?", key
        ).fetchone()
        known_version, transition_id = row or (0, None)
        if known_version != change.version:
            raise _OutdatedError
        if transition is None:
            self._writer.execute(
                "UPDATE status SET announced = ?, version = ? WHERE alarm = ? AND group_key = ?",
                (change.announced, version, *key),
            )
        else:
            summary = f"From {transition.old_state} to {transition.new_state}"
            transition_id = self._remember(key, now_ms, "StateUpdate", summary, transition)
            self._writer.execute(
                "INSERT OR REPLACE INTO status VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)",
                (*key, transition.new_state, now_ms, version, change.announced, transition_id),
            )
        if transition_id is not None:
            outbox.put(self._writer, transition_id, change.channels, now_ms)

    def forget(self, keys: Sequence[AlarmKey], now_ms: int) -> None:  # noqa: ARG002  # a port's argument
        """See ports.alarms.AlarmStore."""
        if keys:
            with self._writer_lock, transaction(self._writer, self.path):
                self._writer.executemany("DELETE FROM status WHERE alarm = ? AND group_key = ?", keys)
                self._next_version()

    def acknowledge(self, key: AlarmKey, acknowledgement: Acknowledgement) -> bool:
        """See ports.alarms.AlarmStore."""
        at_ms, by, note = acknowledgement
        with self._writer_lock, transaction(self._writer, self.path):
            changed = self._writer.execute(
                "UPDATE status SET acknowledged_ms = ?, acknowledged_by = ?, acknowledged_note = ?, version = ?"
                " WHERE alarm = ? AND group_key = ? AND state = 'ALARM'",
                (at_ms, by, note, self._next_version(), *key),
            ).rowcount
            if changed:
                self._remember(key, at_ms, "Acknowledgement", _sentence("Acknowledged", by, note))
        return bool(changed)

    def version(self) -> int:
        """See ports.alarms.AlarmStore."""
        version: int = self._fetch("SELECT version FROM version")[0][0]
        return version

    # History.

    def history(self, alarm: str | None = None, before: int | None = None, limit: int = 50) -> list[HistoryItem]:
        """See ports.alarms.AlarmStore."""
        whose = "" if alarm is None else "AND alarm IN (?, '')"
        rows = self._fetch(
            f"SELECT {_ITEM} FROM history WHERE id < ? {whose} ORDER BY id DESC LIMIT ?",
            (2**62 if before is None else before, *([] if alarm is None else [alarm]), limit),
        )
        return _history_items(rows)

    def transitions(self, alarm: str, from_ms: int, to_ms: int, group: str | None = None) -> list[HistoryItem]:
        """See ports.alarms.AlarmStore."""
        whose = "" if group is None else "AND group_key = ?"
        rows = self._fetch(
            f"SELECT {_ITEM} FROM history WHERE alarm = ? AND transition IS NOT NULL AND at_ms >= ? AND at_ms < ? {whose}"
            " ORDER BY id",
            (alarm, from_ms, to_ms, *([] if group is None else [group])),
        )
        return _history_items(rows)

    # Mutes.

    def add_mute(self, alarms: Sequence[str], from_ms: int, until_ms: int, by: str, note: str) -> Mute:
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            mute_id: int = self._writer.execute(
                "INSERT INTO mute (alarms, from_ms, until_ms, by, note) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (_encode(alarms).decode(), from_ms, until_ms, by, note),
            ).fetchone()[0]
            for alarm in alarms or [""]:
                self._remember(AlarmKey(alarm), from_ms, "Mute", _sentence(f"Muted until {_utc(until_ms)}", by, note))
            self._next_version()
        return Mute(mute_id, tuple(alarms), from_ms, until_ms, by, note)

    def end_mute(self, mute_id: int, now_ms: int) -> bool:
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            row = self._writer.execute(
                "UPDATE mute SET until_ms = ? WHERE id = ? AND until_ms > ? RETURNING alarms", (now_ms, mute_id, now_ms)
            ).fetchone()
            if row is None:
                return False
            for alarm in _decode_names(row[0]) or [""]:
                self._remember(AlarmKey(alarm), now_ms, "Mute", "Mute ended")
            self._next_version()
        return True

    def mutes(self, now_ms: int) -> list[Mute]:
        """See ports.alarms.AlarmStore."""
        rows = self._fetch("SELECT id, alarms, from_ms, until_ms, by, note FROM mute WHERE until_ms > ? ORDER BY id", (now_ms,))
        return [Mute(mute_id, _decode_names(alarms), *fields) for mute_id, alarms, *fields in rows]

    # Samples.

    def add_samples(self, samples: Mapping[str, Decimal], at_ms: int) -> None:
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            self._writer.executemany(
                "INSERT OR REPLACE INTO sample VALUES (?, ?, ?)",
                [(metric, at_ms, str(value)) for metric, value in samples.items()],
            )

    def samples(self, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, Decimal]]:
        """See ports.alarms.AlarmStore."""
        rows = self._fetch(
            "SELECT at_ms, value FROM sample WHERE metric = ? AND at_ms >= ? AND at_ms < ? ORDER BY at_ms",
            (metric, from_ms, to_ms),
        )
        return [(at_ms, Decimal(value)) for at_ms, value in rows]

    # The outbox.

    def open_session(self, now_ms: int) -> int:  # noqa: ARG002  # a port's argument
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            session: int = self._writer.execute("UPDATE version SET session = session + 1 RETURNING session").fetchone()[0]
        return session

    def lease(self, session: int, channels: Mapping[str, ChannelTiming], now_ms: int, limit: int) -> list[Message]:
        """See ports.alarms.AlarmStore."""
        # Asked several times a second: most of the time without a lock on the file, and without a commit.
        with self._reader_lock, storage_errors(self.path):
            if not outbox.is_due(self._reader, channels, now_ms):
                return []
        with self._writer_lock, transaction(self._writer, self.path):
            if session != self._newest_session():
                return []
            outbox.put_together(self._writer, channels, now_ms, limit, self._new_id)
            return [
                Message(message.id, message.channel, self._items_of(message.number), message.attempts, message.created_ms)
                for message in outbox.due(self._writer, channels, now_ms, limit)
            ]

    def mark_sent(self, session: int, message_id: str, now_ms: int) -> None:  # noqa: ARG002  # a fact, whoever says so
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            message = outbox.end(self._writer, message_id, now_ms)
            if message is not None:
                for item in self._items_of(message.number):
                    self._remember(item.key, now_ms, "Action", f"Told {message.channel}: {item.summary}")

    def mark_failed(self, session: int, message_id: str, error: str, retry_ms: int | None, now_ms: int) -> None:
        """See ports.alarms.AlarmStore."""
        with self._writer_lock, transaction(self._writer, self.path):
            if session == self._newest_session():
                self._fail(message_id, error, retry_ms, now_ms)

    def _fail(self, message_id: str, error: str, retry_ms: int | None, now_ms: int) -> None:
        message = outbox.fail(self._writer, message_id, error, retry_ms, now_ms)
        if message is not None and retry_ms is None:
            for item in self._items_of(message.number):
                summary = f"{message.channel} could not be told: {item.summary}. Given up after {message.attempts} attempts"
                self._remember(item.key, now_ms, "Action", f"{summary}: {error}")

    def give_up_others(self, channels: Collection[str], waited_ms: int, now_ms: int) -> int:
        """
        Give up what has waited so long for other channels than these, which a definition has no more; return how many messages.

        Without it, they would count as undelivered for as long as they are kept, and be sent if the channel ever came back.
        """
        with self._writer_lock, transaction(self._writer, self.path):
            messages = outbox.abandoned(self._writer, channels, waited_ms, now_ms, self._new_id)
            for message_id in messages:
                self._fail(message_id, "the definition has no such channel any more", None, now_ms)
        return len(messages)

    def undelivered(self, now_ms: int, limit: int = 50) -> list[Undelivered]:
        """See ports.alarms.AlarmStore."""
        with self._reader_lock, storage_errors(self.path):
            return outbox.undelivered(self._reader, now_ms, limit)

    def expire(self, now_ms: int) -> int:
        """See ports.alarms.AlarmStore. What a state came from stays as long as the state."""
        with self._writer_lock, transaction(self._writer, self.path):
            gone = outbox.expire(self._writer, now_ms - _KEPT_MS)
            gone += self._writer.execute("DELETE FROM mute WHERE until_ms < ?", (now_ms - _KEPT_MS,)).rowcount
            gone += self._writer.execute("DELETE FROM sample WHERE at_ms < ?", (now_ms - _SAMPLES_KEPT_MS,)).rowcount
            gone += self._writer.execute(
                "DELETE FROM history WHERE at_ms < ?"
                " AND id NOT IN (SELECT transition_id FROM status WHERE transition_id IS NOT NULL)"
                " AND id NOT IN (SELECT transition_id FROM notification)",
                (now_ms - _KEPT_MS,),
            ).rowcount
        return gone

    # Rows.

    def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reader_lock, storage_errors(self.path):
            return self._reader.execute(statement, values).fetchall()

    def _next_version(self) -> int:
        version: int = self._writer.execute("UPDATE version SET version = version + 1 RETURNING version").fetchone()[0]
        return version

    def _newest_session(self) -> int:
        session: int = self._writer.execute("SELECT session FROM version").fetchone()[0]
        return session

    def _remember(self, key: AlarmKey, at_ms: int, kind: str, summary: str, transition: Transition | None = None) -> int:
        history_id: int = self._writer.execute(
            "INSERT INTO history (alarm, group_key, at_ms, kind, summary, transition) VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
            (*key, at_ms, kind, summary, None if transition is None else _encode(transition).decode()),
        ).fetchone()[0]
        return history_id

    def _items_of(self, message_number: int) -> list[HistoryItem]:
        rows = self._writer.execute(
            f"SELECT {_ITEM} FROM history JOIN notification ON transition_id = history.id WHERE message_number = ? ORDER BY id",
            (message_number,),
        )
        return _history_items(rows)


def _history_items(rows: Iterable[Sequence[Any]]) -> list[HistoryItem]:
    return [
        HistoryItem(
            history_id,
            AlarmKey(alarm, group),
            at_ms,
            kind,
            summary,
            None if transition is None else _decode_transition(transition),
        )
        for history_id, alarm, group, at_ms, kind, summary, transition in rows
    ]


def _sentence(what: str, by: str, note: str) -> str:
    return what + (f" by {by}" if by else "") + (f": {note}" if note else "")


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
