"""The stream in SQLite: lines in shards, kept in compressed chunks."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from operator import contains
from pathlib import Path
from zlib import crc32

import zstandard

from tallystream.core.chunk_tally import ChunkTally, StoredTally
from tallystream.core.definition import Stream as StreamDefinition
from tallystream.core.errors import StorageError
from tallystream.local.sqlite import connect_both, storage_errors, transaction
from tallystream.ports.stream import Append, Appended, Chunk, Packed, ShardState, SourcePosition

_FORMAT = 3  # of the file: one more with each change of stream.sql
_LINE_FEED = 10  # as a number: looking for a byte costs a seventh of looking for bytes

CHUNK_LINES_MAX = 2_000
"""Lines of a chunk that `append` makes: what is compressed while a processor's cache holds it. More compress no better."""

_READ_BYTES_MAX = 16 * 1024 * 1024  # of lines, decompressed, that one read hands out, or one chunk if that is more

_PRUNE_CHUNKS_MAX = 500  # of one transaction, so that a large prune does not hold up appends


class _Compressors(threading.local):
    """A compressor for each thread: one must not compress two things at once."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress


class SQLiteStream:
    """
    A ports.stream.Stream in one SQLite file.

    One object may be used by several threads, and several processes may open the same file: every append is a transaction
    that reads the sequence numbers it continues.
    """

    def __init__(self, path: Path, definition: StreamDefinition, *, read_only: bool = False) -> None:
        self.path = path
        self._retention_ms = definition.retention_ms
        self._shards = definition.shards
        self._next_shard = 0
        self._compressors = _Compressors()
        self._writer, self._reader = connect_both(path, "stream.sql", _FORMAT, read_only=read_only)
        self._writer_lock = threading.Lock()
        self._reader_lock = threading.Lock()

    def close(self) -> None:
        """Close the file. The stream cannot be used afterwards."""
        self._reader.close()
        self._writer.close()  # last: whoever closes a database last moves its log into it, which a reader cannot

    def pack(self, lines: list[bytes], tally: ChunkTally | None = None, text: bytes | None = None) -> Packed:
        """See ports.stream.Stream."""
        if text is None:
            if any(map(contains, lines, repeat(_LINE_FEED))):
                raise ValueError("a line holds a line feed; split it, or replace the line feed by a space")
            text = b"\n".join(lines)
        compress = self._compressors.compress
        if tally is None:
            return Packed(len(lines), compress(text), None, None)
        return Packed(len(lines), compress(text), tally.meaning, compress(tally.content))

    def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
        """See ports.stream.Stream."""
        # Others wait for the transaction: what can be done before it is.
        chunks = [list(self._pack_append(append)) for append in appends]
        with self._writer_lock, transaction(self._writer, self.path):
            fates = [self._claim(append, now_ms) for append in appends]
            self._store(
                [chunk for of_append, fate in zip(chunks, fates, strict=True) if fate.stored for chunk in of_append], now_ms
            )
        return fates

    def read(self, shard: int, sequence: int, events_max: int) -> list[Chunk]:
        """See ports.stream.Stream."""
        rows: list[tuple[int, int, int, bytes]] = []
        lines = size_bytes = 0
        with self._reader_lock, storage_errors(self.path):
            cursor = self._reader.execute(
                "SELECT first_sequence, next_sequence, arrival_ms, payload FROM chunk"
                " WHERE shard = ? AND next_sequence > ? ORDER BY next_sequence",
                (shard, sequence),
            )
            for row in cursor:
                lines += row[1] - row[0]
                size_bytes += _text_bytes(row[3])
                if rows and (lines > events_max or size_bytes > _READ_BYTES_MAX):
                    break
                rows.append(row)
            cursor.close()
        chunks = [self._open_chunk(shard, *row) for row in rows]
        if chunks and chunks[0].first_sequence < sequence:
            first = chunks[0]
            cut = first.lines[sequence - first.first_sequence :]
            chunks[0] = first._replace(first_sequence=sequence, lines=cut, text=None)
        return chunks

    def tallies(self, shard: int, sequence: int, meaning: bytes, events_max: int) -> list[StoredTally]:
        """See ports.stream.Stream. One that is damaged is none."""
        found: list[StoredTally] = []
        with self._reader_lock, storage_errors(self.path):
            cursor = self._reader.execute(
                "SELECT first_sequence, next_sequence, arrival_ms, tally_meaning, tally FROM chunk"
                " WHERE shard = ? AND next_sequence > ? ORDER BY next_sequence",
                (shard, sequence),
            )
            end = sequence
            for first_sequence, next_sequence, arrival_ms, its_meaning, content in cursor:
                if first_sequence != end or its_meaning != meaning or (found and next_sequence > sequence + events_max):
                    break
                try:
                    content = zstandard.ZstdDecompressor().decompress(content)
                except zstandard.ZstdError:
                    break
                found.append(StoredTally(first_sequence, next_sequence, arrival_ms, content))
                end = next_sequence
            cursor.close()
        return found

    def shards(self) -> list[ShardState]:
        """See ports.stream.Stream. Holds every shard that was ever written, also when the definition has fewer now."""
        with self._reader_lock, storage_errors(self.path):
            rows = self._reader.execute("SELECT shard, next_sequence, last_arrival_ms FROM shard ORDER BY shard").fetchall()
        return [ShardState(*row) for row in rows]

    def pruned(self) -> dict[int, tuple[int, int]]:
        """Return shard → (sequence below which lines are gone, newest arrival_ms among them or -1)."""
        with self._reader_lock, storage_errors(self.path):
            rows = self._reader.execute("SELECT shard, pruned_sequence, pruned_arrival_ms FROM shard").fetchall()
        return {shard: (sequence, arrival_ms) for shard, sequence, arrival_ms in rows}

    def source_position(self, source: str) -> SourcePosition:
        """See ports.stream.Stream."""
        with self._reader_lock, storage_errors(self.path):
            row = self._reader.execute("SELECT position, mark FROM source WHERE source = ?", (source,)).fetchone()
        return SourcePosition(*row) if row else SourcePosition()

    def data_version(self) -> int:
        """Return a number that changes when the file was written by another connection; costs microseconds."""
        with self._reader_lock, storage_errors(self.path):
            version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        return version

    def prune(self, now_ms: int, counted: Mapping[int, int]) -> int:
        """See ports.stream.Stream. Idempotency keys go after the same time."""
        cutoff_ms = now_ms - self._retention_ms
        pruned = 0
        for shard, position in counted.items():
            while True:
                lines, chunks = self._prune_some(shard, position, cutoff_ms)
                pruned += lines
                if chunks < _PRUNE_CHUNKS_MAX:
                    break
        with self._writer_lock, transaction(self._writer, self.path):
            self._writer.execute("DELETE FROM idempotency WHERE arrival_ms < ?", (cutoff_ms,))
        if pruned:
            with self._writer_lock, storage_errors(self.path):
                self._writer.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        return pruned

    def _claim(self, append: Append, now_ms: int) -> Appended:
        """Decide whether an append is to be stored, and note its key and its source's new position."""
        key, source = append.idempotency_key, append.source
        if key is not None:
            row = self._writer.execute("SELECT digest, answer FROM idempotency WHERE key = ?", (key,)).fetchone()
            if row is not None:
                return Appended(repeated=row[1]) if row[0] == append.digest else Appended(key_reused=True)
        if source is not None:
            row = self._writer.execute("SELECT position FROM source WHERE source = ?", (source.source,)).fetchone()
            position = row[0] if row else 0
            if position != source.start:
                return Appended(source_position=position)
            self._writer.execute(
                "INSERT OR REPLACE INTO source (source, position, mark, arrival_ms) VALUES (?, ?, ?, ?)",
                (source.source, source.end, source.mark, now_ms),
            )
        if key is not None:
            self._writer.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?)", (key, append.digest, append.answer, now_ms))
        return Appended(stored=True)

    def _pack_append(self, append: Append) -> Iterator[tuple[int | None, Packed]]:
        """Yield (shard, chunk): by partition key if there is one, else None for the shard whose turn it is."""
        if append.packed is not None:
            if append.packed.lines:
                yield None, append.packed
            return
        by_shard: dict[int | None, list[bytes]] = {}
        if append.partition_keys is None:
            by_shard[None] = append.lines
        else:
            for line, key in zip(append.lines, append.partition_keys, strict=True):
                by_shard.setdefault(crc32(key.encode()) % self._shards, []).append(line)
        for shard, lines in by_shard.items():
            for start in range(0, len(lines), CHUNK_LINES_MAX):
                yield shard, self.pack(lines[start : start + CHUNK_LINES_MAX])

    def _store(self, chunks: list[tuple[int | None, Packed]], now_ms: int) -> None:
        """Insert chunks; all without a shard go to one, the next at each commit."""
        by_shard: dict[int, list[Packed]] = {}
        if any(shard is None for shard, _ in chunks):
            self._next_shard = (self._next_shard + 1) % self._shards
        for shard, chunk in chunks:
            by_shard.setdefault(self._next_shard if shard is None else shard, []).append(chunk)
        for shard, of_shard in by_shard.items():
            self._store_chunks(shard, of_shard, now_ms)

    def _store_chunks(self, shard: int, chunks: list[Packed], now_ms: int) -> None:
        row = self._writer.execute("SELECT next_sequence, last_arrival_ms FROM shard WHERE shard = ?", (shard,)).fetchone()
        sequence, last_arrival_ms = row or (0, 0)
        arrival_ms = max(now_ms, last_arrival_ms)  # a clock set back must not make arrivals decrease
        rows = []
        for chunk in chunks:
            first_sequence, sequence = sequence, sequence + chunk.lines
            rows.append((shard, sequence, first_sequence, arrival_ms, chunk.tally_meaning, chunk.tally, chunk.payload))
        self._writer.executemany(
            "INSERT INTO chunk (shard, next_sequence, first_sequence, arrival_ms, tally_meaning, tally, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self._writer.execute(
            "INSERT INTO shard (shard, next_sequence, last_arrival_ms) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET next_sequence = excluded.next_sequence, last_arrival_ms = excluded.last_arrival_ms",
            (shard, sequence, arrival_ms),
        )

    def _open_chunk(self, shard: int, first_sequence: int, next_sequence: int, arrival_ms: int, payload: bytes) -> Chunk:
        try:
            text = zstandard.ZstdDecompressor().decompress(payload)
            lines = text.split(b"\n")
            if len(lines) != next_sequence - first_sequence:
                raise zstandard.ZstdError("wrong number of lines")
        except zstandard.ZstdError as error:
            raise StorageError(
                f"{self.path}: lines {first_sequence} to {next_sequence - 1} of shard {shard} are damaged ({error});"
                " restore a backup (`tally restore`)"
            ) from error
        return Chunk(shard, first_sequence, arrival_ms, lines, text)

    def _prune_some(self, shard: int, position: int, cutoff_ms: int) -> tuple[int, int]:
        """Delete some of a shard's oldest chunks; return how many lines and chunks went."""
        with self._writer_lock, transaction(self._writer, self.path):
            rows = self._writer.execute(
                "SELECT rowid, first_sequence, next_sequence, arrival_ms FROM chunk"
                " WHERE shard = ? AND next_sequence <= ? ORDER BY next_sequence LIMIT ?",
                (shard, position, _PRUNE_CHUNKS_MAX),
            ).fetchall()
            old = [row for row in rows if row[3] < cutoff_ms]
            if old:
                self._writer.executemany("DELETE FROM chunk WHERE rowid = ?", [(row[0],) for row in old])
                self._writer.execute(
                    "UPDATE shard SET pruned_sequence = ?, pruned_arrival_ms = ? WHERE shard = ?", (*old[-1][2:], shard)
                )
        return sum(row[2] - row[1] for row in old), len(old)


def _text_bytes(payload: bytes) -> int:
    """Return how many bytes a chunk's lines have, from the head of its frame; 0 where a damaged one does not tell."""
    try:
        return max(0, zstandard.frame_content_size(payload))
    except zstandard.ZstdError:
        return 0
