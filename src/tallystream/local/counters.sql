-- The counter store. Each commit moves cells, series totals, ledger, changes, rejected events, seen ids and positions together.
-- Times are UTC milliseconds; windows are half-open and named by their start.

CREATE TABLE version (version INTEGER NOT NULL) STRICT;
INSERT INTO version VALUES (0);

CREATE TABLE generation (
    id INTEGER PRIMARY KEY,
    counter TEXT NOT NULL,
    generation INTEGER NOT NULL,   -- 1, 2, … of this counter
    fingerprint TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    is_current INTEGER NOT NULL,   -- at most one of a counter; none once the definition drops it
    UNIQUE (counter, generation)
) STRICT;

CREATE TABLE generation_start (
    generation_id INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    sequence INTEGER NOT NULL,     -- the generation counts lines from here; 0 for a shard without a row
    PRIMARY KEY (generation_id, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE position (
    shard INTEGER PRIMARY KEY,
    next_sequence INTEGER NOT NULL -- of the next line to count
) STRICT;

CREATE TABLE ledger (
    minute_ms INTEGER PRIMARY KEY, -- of arrival; -1: the total of all time
    received INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    unmatched INTEGER NOT NULL,
    late INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    duplicate INTEGER NOT NULL
) STRICT;

CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    generation_id INTEGER NOT NULL,
    key TEXT NOT NULL,             -- the group's values, as core.counting.group_key writes them
    total INTEGER NOT NULL,        -- events of all time; what expires from cell stays in it
    UNIQUE (generation_id, key)
) STRICT;

CREATE TABLE cell (
    series_id INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    window_start_ms INTEGER NOT NULL,
    count INTEGER NOT NULL,
    fields TEXT,                   -- JSON [[count, sum, min, max], …] of the measured fields, decimals as text
    first_arrival_ms INTEGER NOT NULL,
    written_ms INTEGER NOT NULL,
    PRIMARY KEY (series_id, window_ms, window_start_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE change (
    generation_id INTEGER NOT NULL,
    window_ms INTEGER NOT NULL,
    window_start_ms INTEGER NOT NULL,
    version INTEGER NOT NULL,      -- of the commit that last touched the window
    written_ms INTEGER NOT NULL,
    PRIMARY KEY (generation_id, window_ms, window_start_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX change_version ON change (version);

CREATE TABLE rejected (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    shard INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    arrival_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (shard, sequence)
) STRICT;
CREATE INDEX rejected_reason ON rejected (reason, id);
CREATE INDEX rejected_arrival ON rejected (arrival_ms);

CREATE TABLE retried (             -- events that were rejected, and counted later
    shard INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    retried_ms INTEGER NOT NULL,
    PRIMARY KEY (shard, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE seen (
    event_id TEXT PRIMARY KEY,
    shard INTEGER NOT NULL,        -- where the delivery lies that was judged; all others are duplicates
    sequence INTEGER NOT NULL,
    written_ms INTEGER NOT NULL    -- when the latest delivery was counted, duplicates included
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_written ON seen (written_ms);
