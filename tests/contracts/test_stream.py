"""What every stream promises (ports.stream.Stream)."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystream.core.chunk_tally import ChunkTally, StoredTally
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import StorageError
from tallystream.local.stream import SQLiteStream
from tallystream.ports.stream import Append, Appended, Chunk, SourcePosition, SourceRange, Stream

DEFINITION = """
name = "test"
[stream]
event_time = "t"
shards = {shards}
retention = "1h"
[[counter]]
name = "events"
windows = ["1m"]
"""
HOUR_MS = 3_600_000

MakeStream = Callable[..., SQLiteStream]


@pytest.fixture
def make_stream(tmp_path: Path) -> Iterator[MakeStream]:
    opened: list[SQLiteStream] = []

    def make(shards: int = 1) -> SQLiteStream:
        opened.append(SQLiteStream(tmp_path / "stream.db", parse_definition(DEFINITION.format(shards=shards)).stream))
        return opened[-1]

    yield make
    for stream in opened:
        stream.close()


def all_lines(stream: Stream, shard: int = 0, sequence: int = 0) -> list[bytes]:
    return [line for chunk in stream.read(shard, sequence, 10**9) for line in chunk.lines]


def read(stream: Stream, sequence: int, events_max: int = 100) -> list[Chunk]:
    """Return chunks, without the texts that a stream may have at hand; those must be the lines."""
    chunks = stream.read(0, sequence, events_max)
    assert all(chunk.text in (None, b"\n".join(chunk.lines)) for chunk in chunks)
    return [chunk._replace(text=None) for chunk in chunks]


def test_lines_come_back_in_order_from_any_position(make_stream: MakeStream) -> None:
    stream = make_stream()
    stream.append([Append([b"a", b"b"]), Append([b"c"])], 5)
    stream.append([Append([b"d"])], 7)
    assert read(stream, 0) == [Chunk(0, 0, 5, [b"a", b"b"]), Chunk(0, 2, 5, [b"c"]), Chunk(0, 3, 7, [b"d"])]
    assert read(stream, 1) == [Chunk(0, 1, 5, [b"b"]), Chunk(0, 2, 5, [b"c"]), Chunk(0, 3, 7, [b"d"])]
    assert stream.read(0, 4, 100) == []
    assert stream.read(9, 0, 100) == []


def test_lines_may_be_packed_before_and_with_their_text(make_stream: MakeStream) -> None:
    stream = make_stream()
    packed = [stream.pack([b"a", b"b"]), stream.pack([b"c", b"d"], text=b"c\nd")]
    stream.append([Append([b"a", b"b"], packed=packed[0]), Append([b"c", b"d"], packed=packed[1])], 5)
    assert read(stream, 0) == [Chunk(0, 0, 5, [b"a", b"b"]), Chunk(0, 2, 5, [b"c", b"d"])]
    with pytest.raises(ValueError, match="line feed"):
        stream.pack([b"a\nb"])


@pytest.mark.parametrize("stored", [[], [b"a"]])
def test_packed_nothing_moves_a_source_and_leaves_no_chunk(make_stream: MakeStream, stored: list[bytes]) -> None:
    stream = make_stream()
    stream.append([Append(stored)], 5)
    source = SourceRange("log", 0, 7, "mark")
    assert stream.append([Append([], source=source, packed=stream.pack([]))], 6) == [Appended(stored=True)]
    assert stream.source_position("log") == SourcePosition(7, "mark")
    stream.append([Append([b"b"])], 7)
    assert all_lines(stream) == [*stored, b"b"]


def test_threads_may_pack_at_once(make_stream: MakeStream) -> None:
    stream = make_stream()
    several = [[b"%d %d" % (number, line) * 200 for line in range(100)] for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        packed = list(pool.map(stream.pack, several * 8))
    stream.append([Append(lines, packed=of_lines) for lines, of_lines in zip(several * 8, packed, strict=True)], 0)
    assert all_lines(stream) == [line for lines in several * 8 for line in lines]


def test_tallies_come_back_as_far_as_there_is_no_gap(make_stream: MakeStream) -> None:
    stream = make_stream()

    def append(number: int, meaning: bytes | None) -> None:
        lines = [b"x"] * 10
        tally = None if meaning is None else ChunkTally(meaning, b"content %d" % number)
        stream.append([Append(lines, packed=stream.pack(lines, tally))], number)

    for number, meaning in enumerate([b"ours", b"ours", b"theirs", b"ours", None, b"ours"]):
        append(number, meaning)
    first = [StoredTally(0, 10, 0, b"content 0"), StoredTally(10, 20, 1, b"content 1")]
    assert stream.tallies(0, 0, b"ours", 100) == first
    assert stream.tallies(0, 0, b"ours", 5) == first[:1]
    assert stream.tallies(0, 10, b"ours", 100) == first[1:]
    assert stream.tallies(0, 5, b"ours", 100) == []  # no chunk begins there
    assert stream.tallies(0, 20, b"ours", 100) == []
    assert stream.tallies(0, 20, b"theirs", 100) == [StoredTally(20, 30, 2, b"content 2")]
    assert stream.tallies(0, 40, b"ours", 100) == []
    assert stream.tallies(0, 60, b"ours", 100) == []
    assert stream.tallies(1, 0, b"ours", 100) == []


def test_a_damaged_tally_is_none(make_stream: MakeStream) -> None:
    stream = make_stream()
    lines = [b"x"] * 10
    packed = stream.pack(lines, ChunkTally(b"ours", b"content" * 100))
    assert packed.tally is not None
    for damaged in (packed.tally[:-1], packed.tally[:-1] + bytes([packed.tally[-1] ^ 1]), b""):
        stream.append([Append(lines, packed=packed._replace(tally=damaged))], 0)
    assert [stream.tallies(0, sequence, b"ours", 100) for sequence in (0, 10, 20)] == [[], [], []]
    assert all_lines(stream) == lines * 3


def test_a_read_stops_near_its_bound_but_is_never_empty(make_stream: MakeStream) -> None:
    stream = make_stream()
    for at_ms in range(4):
        stream.append([Append([b"x"] * 10)], at_ms)
    assert len(all_lines(stream)) == 40
    assert sum(len(chunk.lines) for chunk in stream.read(0, 0, 25)) == 20
    assert sum(len(chunk.lines) for chunk in stream.read(0, 0, 1)) == 10


def test_a_read_of_long_lines_does_not_fill_the_memory(make_stream: MakeStream) -> None:
    stream = make_stream()
    megabyte = b"x" * 1_000_000
    for at_ms in range(10):
        stream.append([Append([megabyte] * 4)], at_ms)
    found: list[bytes] = []
    while chunks := stream.read(0, len(found), 5_000):
        lines = [line for chunk in chunks for line in chunk.lines]
        assert len(lines) <= 16
        found += lines
    assert found == [megabyte] * 40


def test_another_opening_of_the_same_stream_goes_on_where_it_ended(make_stream: MakeStream) -> None:
    first, second = make_stream(), make_stream()
    first.append([Append([b"a"])], 1)
    version = first.data_version()
    second.append([Append([b"b"])], 2)
    assert first.data_version() != version
    first.append([Append([b"c"])], 3)
    assert all_lines(second) == [b"a", b"b", b"c"]


def test_arrival_times_never_decrease_though_the_clock_does(make_stream: MakeStream) -> None:
    stream = make_stream()
    stream.append([Append([b"a"])], 100)
    stream.append([Append([b"b"])], 50)
    assert [chunk.arrival_ms for chunk in stream.read(0, 0, 10)] == [100, 100]
    assert stream.shards()[0].last_arrival_ms == 100


def test_without_keys_the_shards_take_turns(make_stream: MakeStream) -> None:
    stream = make_stream(shards=3)
    for _ in range(6):
        stream.append([Append([b"x"])], 0)
    assert [(state.shard, state.next_sequence) for state in stream.shards()] == [(0, 2), (1, 2), (2, 2)]


def test_lines_with_one_partition_key_stay_in_one_shard_in_order(make_stream: MakeStream) -> None:
    stream = make_stream(shards=4)
    for at_ms in range(10):
        lines = [f"{key}{at_ms}".encode() for key in "abcdef"]
        stream.append([Append(lines, partition_keys=list("abcdef"))], at_ms)
    by_shard = [all_lines(stream, shard) for shard in range(4)]
    assert sum(map(len, by_shard)) == 60
    for key in b"abcdef":
        holding = [[line for line in lines if line[0] == key] for lines in by_shard]
        assert [line for lines in holding for line in lines] == [bytes([key]) + str(at_ms).encode() for at_ms in range(10)]
        assert sum(bool(lines) for lines in holding) == 1


def test_shards_that_the_definition_no_longer_has_are_still_there(make_stream: MakeStream) -> None:
    make_stream(shards=2).append([Append([b"a"])], 0)
    assert sum(len(all_lines(make_stream(shards=1), shard)) for shard in range(2)) == 1


def test_an_idempotency_key_stores_once(make_stream: MakeStream) -> None:
    stream = make_stream()
    append = Append([b"a"], idempotency_key="k", digest=b"1", answer=b"first")
    assert stream.append([append, append], 0) == [Appended(stored=True), Appended(repeated=b"first")]
    assert stream.append([append._replace(answer=b"second")], 0) == [Appended(repeated=b"first")]
    assert stream.append([append._replace(digest=b"2")], 0) == [Appended(key_reused=True)]
    assert all_lines(stream) == [b"a"]


def test_a_source_goes_on_only_where_it_stands(make_stream: MakeStream) -> None:
    stream = make_stream()
    assert stream.source_position("log") == SourcePosition()
    first = Append([b"a"], source=SourceRange("log", 0, 10))
    assert stream.append([first, first], 0) == [Appended(stored=True), Appended(source_position=10)]
    gap = Append([b"x"], source=SourceRange("log", 11, 20))
    other = Append([b"o"], source=SourceRange("other", 0, 3))
    assert stream.append([gap, other], 0) == [Appended(source_position=10), Appended(stored=True)]
    assert stream.append([Append([b"b"], source=SourceRange("log", 10, 20, "b's mark"))], 0) == [Appended(stored=True)]
    assert stream.source_position("log") == SourcePosition(20, "b's mark")
    assert all_lines(stream) == [b"a", b"o", b"b"]


def test_a_line_with_a_line_feed_is_refused_and_nothing_is_stored(make_stream: MakeStream) -> None:
    stream = make_stream()
    with pytest.raises(ValueError, match="line feed"):
        stream.append([Append([b"good"]), Append([b"a\nb"], idempotency_key="k")], 0)
    assert stream.shards() == []
    assert stream.append([Append([b"a"], idempotency_key="k")], 0) == [Appended(stored=True)]


def test_only_what_is_old_and_counted_is_pruned(make_stream: MakeStream) -> None:
    stream = make_stream()
    stream.append([Append([b"a", b"b"], idempotency_key="k")], 0)
    stream.append([Append([b"c"])], 10)
    stream.append([Append([b"d"])], HOUR_MS)
    assert stream.prune(HOUR_MS + 11, {0: 2}) == 2
    assert read(stream, 0, 10) == [Chunk(0, 2, 10, [b"c"]), Chunk(0, 3, HOUR_MS, [b"d"])]
    assert stream.pruned() == {0: (2, 0)}
    assert stream.prune(HOUR_MS + 11, {0: 4}) == 1
    assert stream.prune(HOUR_MS + 11, {0: 4}) == 0
    assert stream.append([Append([b"e"], idempotency_key="k")], HOUR_MS + 12) == [Appended(stored=True)]
    assert [state.next_sequence for state in stream.shards()] == [5]


def test_a_long_prune_takes_several_transactions(make_stream: MakeStream) -> None:
    stream = make_stream()
    for at_ms in range(1_203):
        stream.append([Append([b"x"])], at_ms)
    assert stream.prune(10 * HOUR_MS, {0: 1_202}) == 1_202
    assert all_lines(stream) == [b"x"]


def test_damaged_bytes_are_a_clear_error(make_stream: MakeStream, tmp_path: Path) -> None:
    stream = make_stream()
    stream.append([Append([b"some line that is long enough"])], 0)
    stream._writer.execute("UPDATE chunk SET payload = CAST(substr(payload, 1, 10) || x'00' || substr(payload, 12) AS BLOB)")
    with pytest.raises(StorageError, match=r"lines 0 to 0 of shard 0 are damaged .*restore a backup"):
        stream.read(0, 0, 10)


@pytest.mark.parametrize("found", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_a_clear_error(make_stream: MakeStream, tmp_path: Path, found: bytes) -> None:
    (tmp_path / "stream.db").write_bytes(found)
    with pytest.raises(StorageError, match=r"stream\.db.*damaged.*restore"):
        make_stream()


def test_a_full_disk_stores_nothing_and_later_all(make_stream: MakeStream) -> None:
    stream = make_stream()
    pages = stream._writer.execute("PRAGMA page_count").fetchone()[0]
    stream._writer.execute(f"PRAGMA max_page_count = {pages}")
    import random

    lines = [random.Random(i).randbytes(500).hex().encode() for i in range(100)]
    with pytest.raises(StorageError, match="disk is full"):
        stream.append([Append(lines, idempotency_key="k")], 0)
    assert stream.shards() == []
    stream._writer.execute("PRAGMA max_page_count = 1000000")
    assert stream.append([Append(lines, idempotency_key="k")], 0) == [Appended(stored=True)]
    assert all_lines(stream) == lines
