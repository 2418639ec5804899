"""The local plane: stream and counter store in SQLite, files, and supervised processes on one machine."""
