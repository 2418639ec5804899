-- The stream. Lines are numbered from 0 in each shard; a chunk holds lines [first_sequence, next_sequence).
-- Times are UTC milliseconds.

CREATE TABLE shard (
    shard INTEGER PRIMARY KEY,
    next_sequence INTEGER NOT NULL,
    last_arrival_ms INTEGER NOT NULL,
    pruned_sequence INTEGER NOT NULL DEFAULT 0,    -- lines below it are gone
    pruned_arrival_ms INTEGER NOT NULL DEFAULT -1  -- the newest arrival among them
) STRICT;

CREATE TABLE chunk (
    shard INTEGER NOT NULL,
    next_sequence INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL,
    arrival_ms INTEGER NOT NULL,
    tally_meaning BLOB,    -- of the tally, if there is one: see core/chunk_tally.py
    tally BLOB,            -- a zstd frame with checksum: what the lines amount to
    payload BLOB NOT NULL  -- a zstd frame with checksum: the lines, joined by line feeds
) STRICT;
CREATE UNIQUE INDEX chunk_position ON chunk (shard, next_sequence);

CREATE TABLE idempotency (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    arrival_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_arrival ON idempotency (arrival_ms);

CREATE TABLE source (
    source TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    mark TEXT NOT NULL,  -- what the sender knows the text before the position by
    arrival_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
