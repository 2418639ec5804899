-- Where alarms stand, what happened to them, and the outbox of notifications.
-- Times are UTC milliseconds.

CREATE TABLE version (
    version INTEGER NOT NULL,      -- grows with each change of what is shown; never goes back
    session INTEGER NOT NULL       -- the newest; only it is handed messages
) STRICT;
INSERT INTO version VALUES (0, 0);

CREATE TABLE alarm (
    name TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    configured_ms INTEGER NOT NULL -- when it was new, or last edited
) STRICT, WITHOUT ROWID;

CREATE TABLE status (
    alarm TEXT NOT NULL,
    group_key TEXT NOT NULL,       -- as core.counting.group_key writes it; '' for an alarm with one state
    state TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,      -- of the change that last touched the row
    announced TEXT NOT NULL,
    transition_id INTEGER,         -- history.id
    acknowledged_ms INTEGER,
    acknowledged_by TEXT,
    acknowledged_note TEXT,
    PRIMARY KEY (alarm, group_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alarm TEXT NOT NULL,           -- '' for what happened to all
    group_key TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    summary TEXT NOT NULL,
    transition TEXT                -- JSON of a ports.Transition
) STRICT;
CREATE INDEX history_alarm ON history (alarm, id);
CREATE INDEX history_update ON history (alarm, at_ms) WHERE transition IS NOT NULL;
CREATE INDEX history_at ON history (at_ms);

CREATE TABLE mute (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alarms TEXT NOT NULL,          -- JSON of their names; [] for all
    from_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,     -- [from, until)
    by TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE sample (
    metric TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    value TEXT NOT NULL,           -- a decimal
    PRIMARY KEY (metric, at_ms)
) STRICT, WITHOUT ROWID;

-- The outbox. A transition commits with its notifications; they are put together into messages when these are first due.

CREATE TABLE message (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,       -- random: also after a restore, no two messages have the same
    channel TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER,                -- of the next attempt, 0 for the first; NULL when there is none any more
    attempts INTEGER NOT NULL,     -- that failed
    error TEXT NOT NULL,           -- of the latest one that failed
    ended_ms INTEGER,              -- when it was delivered or given up
    given_up INTEGER NOT NULL
) STRICT;
CREATE INDEX message_due ON message (channel, number) WHERE due_ms IS NOT NULL;
CREATE INDEX message_failed ON message (number) WHERE attempts > 0;
CREATE INDEX message_created ON message (created_ms);

CREATE TABLE notification (
    channel TEXT NOT NULL,
    transition_id INTEGER NOT NULL,  -- history.id
    created_ms INTEGER NOT NULL,
    message_number INTEGER,          -- NULL until it is put together with others
    PRIMARY KEY (channel, transition_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX notification_waiting ON notification (channel, created_ms, transition_id) WHERE message_number IS NULL;
CREATE INDEX notification_message ON notification (message_number) WHERE message_number IS NOT NULL;
