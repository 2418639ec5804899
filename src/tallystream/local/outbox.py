"""
The outbox of alarms.db: notifications that wait, and the messages that they are put together into.

Every function works inside a transaction, or a read, of its caller.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from tallystream.ports.alarms import RETRY_PAUSE_MS_MAX, ChannelTiming, Undelivered

_GIVEN_UP_SHOWN_MS: Final = 86_400_000

_ABANDONED_AT_ONCE: Final = 1_000

_PULLED_MAX: Final = 50
"""Older messages that are tried again before a new one about the same alarm: where there are more, receivers are long gone."""

_DUE = "channel = ? AND due_ms IS NOT NULL AND (due_ms <= ? OR due_ms > ?)"


class OutboxMessage(NamedTuple):
    """A row of `message`, as the store needs it."""

    number: int
    id: str
    channel: str
    attempts: int
    created_ms: int


_COLUMNS = ", ".join(OutboxMessage._fields)


def put(connection: sqlite3.Connection, transition_id: int, channels: Iterable[str], now_ms: int) -> None:
    """Let channels be told of a transition, each once."""
    connection.executemany(
        "INSERT INTO notification VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING",
        [(channel, transition_id, now_ms) for channel in channels],
    )


def is_due(connection: sqlite3.Connection, channels: Mapping[str, ChannelTiming], now_ms: int) -> bool:
    """Return whether there is something to send."""
    return any(
        _waited(connection, channel, timing, now_ms)
        or connection.execute(f"SELECT 1 FROM message WHERE {_DUE} LIMIT 1", _due_values(channel, now_ms)).fetchone()
        for channel, timing in channels.items()
    )


def put_together(
    connection: sqlite3.Connection,
    channels: Mapping[str, ChannelTiming],
    now_ms: int,
    limit: int,
    new_id: Callable[[], str],
) -> None:
    """Make messages of the notifications that have waited, no more than `limit` that are due in each channel."""
    for channel, timing in channels.items():
        room = limit - len(due(connection, {channel: timing}, now_ms, limit))
        while room > 0 and _waited(connection, channel, timing, now_ms):
            room -= 1
            number = connection.execute(
                "INSERT INTO message (id, channel, created_ms, due_ms, attempts, error, given_up)"
                " VALUES (?, ?, ?, 0, 0, '', 0) RETURNING number",
                (new_id(), channel, now_ms),
            ).fetchone()[0]
            connection.execute(
                "UPDATE notification SET message_number = ? WHERE channel = ? AND transition_id IN"
                " (SELECT transition_id FROM notification WHERE channel = ? AND message_number IS NULL"
                "  ORDER BY created_ms, transition_id LIMIT ?)",
                (number, channel, channel, timing.group_max if timing.group_wait_ms else 1),
            )
            _pull_older(connection, channel, number)


def _pull_older(connection: sqlite3.Connection, channel: str, number: int) -> None:
    """
    Try again now, and first, what failed and tells of an alarm that a new message tells of.

    Otherwise a receiver that is back would get the new message at once and the old one up to an hour later: ALARM after OK.
    """
    connection.execute(
        "UPDATE message SET due_ms = 0 WHERE number IN ("
        "SELECT older.number FROM (SELECT number FROM message WHERE channel = :channel AND due_ms IS NOT NULL"
        "  AND number < :number ORDER BY number DESC LIMIT :some) AS older"
        " CROSS JOIN notification ON message_number = older.number CROSS JOIN history ON id = transition_id"
        " WHERE (alarm, group_key) IN (SELECT alarm, group_key FROM notification JOIN history ON id = transition_id"
        "  WHERE message_number = :number))",
        {"channel": channel, "number": number, "some": _PULLED_MAX},
    )


def due(connection: sqlite3.Connection, channels: Mapping[str, ChannelTiming], now_ms: int, limit: int) -> list[OutboxMessage]:
    """Return messages that are to be sent now, those that were made first, first."""
    rows = [
        row
        for channel in channels
        for row in connection.execute(
            f"SELECT {_COLUMNS} FROM message WHERE {_DUE} ORDER BY number LIMIT ?", (*_due_values(channel, now_ms), limit)
        )
    ]
    return [OutboxMessage(*row) for row in sorted(rows)[:limit]]


def end(connection: sqlite3.Connection, message_id: str, now_ms: int) -> OutboxMessage | None:
    """Note that a message was delivered; return it, or None if that, or that it was given up, is known already."""
    row = connection.execute(
        f"UPDATE message SET due_ms = NULL, ended_ms = ? WHERE id = ? AND ended_ms IS NULL RETURNING {_COLUMNS}",
        (now_ms, message_id),
    ).fetchone()
    return OutboxMessage(*row) if row else None


def fail(
    connection: sqlite3.Connection, message_id: str, error: str, retry_ms: int | None, now_ms: int
) -> OutboxMessage | None:
    """Note a failed attempt, the last one if retry_ms is None; return the message, or None if it had ended."""
    row = connection.execute(
        "UPDATE message SET due_ms = ?, attempts = attempts + 1, error = ?, ended_ms = ?, given_up = ?"
        f" WHERE id = ? AND ended_ms IS NULL RETURNING {_COLUMNS}",
        (retry_ms, error, now_ms if retry_ms is None else None, retry_ms is None, message_id),
    ).fetchone()
    return OutboxMessage(*row) if row else None


def undelivered(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[Undelivered]:
    """See ports.alarms.AlarmStore."""
    rows = connection.execute(
        "SELECT id, channel, created_ms, attempts, error, given_up FROM message"
        " WHERE attempts > 0 AND (ended_ms IS NULL OR given_up AND ended_ms > ?) ORDER BY number DESC LIMIT ?",
        (now_ms - _GIVEN_UP_SHOWN_MS, limit),
    )
    return [
        Undelivered(message_id, channel, created_ms, attempts, error, bool(given_up))
        for message_id, channel, created_ms, attempts, error, given_up in rows
    ]


def abandoned(
    connection: sqlite3.Connection, channels: Collection[str], waited_ms: int, now_ms: int, new_id: Callable[[], str]
) -> list[str]:
    """Return the ids of the messages, put together where they were not, that have waited so long for none of these channels."""
    rows = connection.execute(
        "SELECT channel FROM notification WHERE message_number IS NULL"
        " UNION SELECT channel FROM message WHERE due_ms IS NOT NULL"
    ).fetchall()
    found = []
    for channel in [channel for (channel,) in rows if channel not in channels]:
        put_together(connection, {channel: ChannelTiming(waited_ms, _ABANDONED_AT_ONCE)}, now_ms, _ABANDONED_AT_ONCE, new_id)
        found += connection.execute(
            "SELECT id FROM message WHERE channel = ? AND due_ms IS NOT NULL AND number IN"
            " (SELECT message_number FROM notification WHERE created_ms <= ?) ORDER BY number",
            (channel, now_ms - waited_ms),
        ).fetchall()
    return [message_id for (message_id,) in found]


def expire(connection: sqlite3.Connection, before_ms: int) -> int:
    """Delete messages that were made before then, unless they wait to be delivered; return how many."""
    gone = connection.execute("DELETE FROM message WHERE created_ms < ? AND ended_ms IS NOT NULL", (before_ms,)).rowcount
    # NULL is, to SQL, not in a table without rows: those that wait would go while no message was ever made.
    connection.execute(
        "DELETE FROM notification WHERE message_number IS NOT NULL AND message_number NOT IN (SELECT number FROM message)"
    )
    return gone


def _waited(connection: sqlite3.Connection, channel: str, timing: ChannelTiming, now_ms: int) -> bool:
    # One from a time that is yet to come was put in before the clock was set back: nobody knows how long it has waited.
    first_ms, last_ms = connection.execute(
        "SELECT (SELECT min(created_ms) FROM notification WHERE channel = :channel AND message_number IS NULL),"
        " (SELECT max(created_ms) FROM notification WHERE channel = :channel AND message_number IS NULL)",
        {"channel": channel},
    ).fetchone()
    return first_ms is not None and (first_ms <= now_ms - timing.group_wait_ms or last_ms > now_ms)


def _due_values(channel: str, now_ms: int) -> tuple[str, int, int]:
    return channel, now_ms, now_ms + RETRY_PAUSE_MS_MAX
