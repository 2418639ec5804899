"""Files and pipes: read whole, told apart, gone on with."""

import gzip
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from tallystream.local.blocks import Block, UnfinishedInputError
from tallystream.local.source import FileSource, PipeSource, Source, SourceError, open_source

LINES = [json.dumps({"event": "page view", "n": n}).encode() for n in range(100_000)]
TEXT = b"\n".join(LINES) + b"\n"
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


def events_of(source: Source, position: int = 0) -> list[bytes]:
    return [line for block in source.blocks(position) for line in block.lines]


def write(path: Path, data: bytes) -> FileSource:
    path.write_bytes(data)
    return FileSource(path)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["lines", "array"])
def test_reads_every_form_whatever_the_name_and_goes_on_from_any_block(tmp_path: Path, compression: str, form: str) -> None:
    text = TEXT if form == "lines" else b"[\n" + b",\n".join(LINES) + b"]\n"
    source = write(tmp_path / "events.txt", COMPRESSIONS[compression](text))
    blocks = list(source.blocks())
    assert [line for block in blocks for line in block.lines] == LINES
    assert source.read_bytes == source.size_bytes
    assert len(blocks) > 2
    rest = LINES
    for block in blocks:
        rest = rest[len(block.lines) :]
        assert events_of(source, block.end) == rest


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_members_follow_each_other(tmp_path: Path, compression: str) -> None:
    compress = COMPRESSIONS[compression]
    assert events_of(write(tmp_path / "e", compress(TEXT[:100_000]) + compress(TEXT[100_000:]))) == LINES


def test_gzip_may_be_padded_with_zeros(tmp_path: Path) -> None:
    assert events_of(write(tmp_path / "e", gzip.compress(TEXT) + bytes(1_000))) == LINES


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_compressed_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, compression: str) -> None:
    # Random text, so that compressed data comes in several blocks.
    text = b"".join(b'{"id": "%s"}\n' % os.urandom(30).hex().encode() for _ in range(20_000))
    packed = COMPRESSIONS[compression](text)
    source = write(tmp_path / "e", packed[: len(packed) // 2])
    taken: list[Block] = []
    with pytest.raises(UnfinishedInputError, match="cut off"):
        taken.extend(source.blocks())
    assert taken
    identity = source.identity()
    whole = write(tmp_path / "e", packed)
    assert whole.identity() == identity
    read = b"".join(line + b"\n" for block in taken for line in block.lines)
    assert read + b"".join(line + b"\n" for line in events_of(whole, taken[-1].end)) == text


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, compression: str) -> None:
    packed = COMPRESSIONS[compression](TEXT)
    source = write(tmp_path / "e", packed + b"garbage")
    with pytest.raises(SourceError, match=r"/e is damaged near byte"):
        events_of(source)


def test_a_file_that_has_grown_is_the_same_source_and_goes_on(tmp_path: Path) -> None:
    source = write(tmp_path / "e", b'{"a":1}\n{"a":2}')
    *_, last = source.blocks()
    identity = source.identity()
    grown = write(tmp_path / "e", b'{"a":1}\n{"a":2}\n{"a":3}\n')
    assert grown.identity() == identity
    assert events_of(grown, last.end) == [b'{"a":3}']


def test_one_line_that_has_been_completed_is_the_same_source(tmp_path: Path) -> None:
    one = write(tmp_path / "e", b'{"a":1}').identity()
    assert write(tmp_path / "e", b'{"a":1}\n{"a":2}\n').identity() == one
    assert write(tmp_path / "e", b'{"a":1}\r\n{"a":2}\r\n').identity() == one  # its end came with a carriage return


def test_another_file_in_its_place_is_another_source(tmp_path: Path) -> None:
    before = write(tmp_path / "e", b'{"a":1}\n{"a":2}\n').identity()
    assert write(tmp_path / "e", b'{"a":3}\n{"a":2}\n').identity() != before
    assert write(tmp_path / "f", b'{"a":1}\n{"a":2}\n').identity() != before


def test_arrays_are_told_apart_by_their_first_element(tmp_path: Path) -> None:
    before = write(tmp_path / "e", b'[\n{"a":1},\n{"a":2}]').identity()
    assert write(tmp_path / "e", b'[\n{"a":3},\n{"a":2}]').identity() != before


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b'{"a":1}\n', 16),  # cut short
        (b'{"a":1}\n', 9),
        (b'{"a":1}\n{"b":22}\n', 15),  # within a line
        (b'[{"a":1},{"b":22}]', 10),
    ],
)
def test_a_file_that_cannot_be_the_one_that_was_read_is_refused(tmp_path: Path, text: bytes, position: int) -> None:
    with pytest.raises(SourceError, match=r"cut or rewritten.*--again"):
        events_of(write(tmp_path / "e", text), position)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", ["lines", "array"])
def test_a_file_that_was_rewritten_behind_its_first_event_is_refused(tmp_path: Path, compression: str, form: str) -> None:
    text = TEXT if form == "lines" else b"[\n" + b",\n".join(LINES) + b"]\n"
    pack = COMPRESSIONS[compression]
    for block in list(write(tmp_path / "e", pack(text)).blocks()):
        near = text.rindex(b"page", 0, block.end)  # so that lines end where they did
        same = write(tmp_path / "e", pack(text))
        assert next(same.blocks(block.end, block.mark), None) == next(same.blocks(block.end), None)
        other = write(tmp_path / "e", pack(text[:near] + b"PAGE" + text[near + 4 :]))
        assert other.identity() == same.identity()
        with pytest.raises(SourceError, match=r"/e was read up to byte [\d,]+ before, .* cut or rewritten.*--again"):
            next(other.blocks(block.end, block.mark))


def test_a_file_without_events(tmp_path: Path) -> None:
    for text in (b"", b"\n \n", b"[]", b" [ \n ] "):
        assert events_of(write(tmp_path / "e", text)) == []


def test_what_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing cannot be read: No such file"):
        open_source(str(tmp_path / "nothing"))
    with pytest.raises(SourceError, match=r"is a directory; give the files in it"):
        open_source(str(tmp_path))


def test_a_pipe_yields_what_has_come_at_once_and_the_last_line_at_the_end() -> None:
    reader, writer = os.pipe()
    source = PipeSource(reader, "pipe")
    blocks = source.blocks()
    os.write(writer, b'{"a":1}\n{"a":')
    assert next(blocks).lines == [b'{"a":1}']
    os.write(writer, b"2}\n")
    assert next(blocks).lines == [b'{"a":2}']
    os.write(writer, b'{"a":')
    os.close(writer)
    assert next(blocks).lines == [b'{"a":']
    assert list(blocks) == []


def test_a_pipe_that_is_stopped_yields_what_was_read() -> None:
    reader, writer = os.pipe()
    source = PipeSource(reader, "pipe")
    blocks = source.blocks()
    os.write(writer, b'{"a":1}\n{"a":2')
    assert next(blocks).lines == [b'{"a":1}']
    source.stop()
    assert next(blocks).lines == [b'{"a":2']
    assert list(blocks) == []
    os.close(writer)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_pipe_may_be_compressed_and_is_read_whole(compression: str) -> None:
    reader, writer = os.pipe()
    data = COMPRESSIONS[compression](TEXT)

    def fill() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=fill)
    thread.start()
    source = PipeSource(reader, "pipe")
    assert events_of(source) == LINES
    assert source.read_bytes == len(data)
    thread.join()


def test_a_named_pipe_is_read_as_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_bytes(b"1\n2\n"))
    thread.start()
    source = open_source(str(path))
    assert isinstance(source, PipeSource)
    assert events_of(source) == [b"1", b"2"]
    thread.join()
