"""
The local plane: stream and counter store in SQLite, files, and supervised processes on one machine.

What is stored: data (which file is where), lock, sqlite, stream, counters with tally_writer and expiry, alarms with
outbox; the tables are in *.sql.

What runs: app (`tally up`, the composition root), supervisor, child, and its children web_worker, counter_worker and
alarm_worker, which delivers through channels; logs, clock.

What commands do: ingest (reads by source and blocks, or by retained; sends by direct or upload), verify, backup.
"""
