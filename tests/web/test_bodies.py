"""From bodies to lines, without a server."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tallystream.web import bodies
from tallystream.web.bodies import decompress, form_of, split_events
from tallystream.web.errors import RequestRefusedError

Compress = Callable[[bytes], bytes]
COMPRESSIONS: list[tuple[str, Compress]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("zstd", zstandard.ZstdCompressor().compress),
    ("zstd", lambda data: zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(data)),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def refusal(call: Callable[..., Any], *arguments: Any) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as caught:
        call(*arguments)
    assert json.loads(caught.value.body)["message"] == caught.value.message
    return caught.value.status, caught.value.code


def status_of(call: Callable[..., Any], *arguments: Any) -> int:
    try:
        call(*arguments)
    except RequestRefusedError as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
@given(st.lists(st.binary(max_size=2_000), min_size=1, max_size=4))
def test_compressed_parts_one_after_the_other_are_undone(encoding: str, compress: Compress, parts: list[bytes]) -> None:
    assert decompress(b"".join(map(compress, parts)), encoding) == b"".join(parts)


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
def test_a_body_cut_off_anywhere_is_refused(encoding: str, compress: Compress) -> None:
    whole = compress(bytes(range(256)) * 20)
    for end in range(len(whole)):
        assert refusal(decompress, whole[:end], encoding) == (400, "invalid_body")


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
def test_garbage_is_refused(encoding: str, compress: Compress) -> None:
    assert refusal(decompress, b"not compressed at all", encoding) == (400, "invalid_body")
    assert refusal(decompress, compress(b"x") + b"and more", encoding) == (400, "invalid_body")


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
@given(data=st.data())
def test_a_damaged_body_is_refused_or_unchanged(encoding: str, compress: Compress, data: st.DataObject) -> None:
    whole = compress(b'{"event": "a"}\n' * 50)
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:position] + bytes([data.draw(st.integers(0, 255))]) + whole[position + 1 :]
    assert status_of(decompress, damaged, encoding) in (200, 400, 413)


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
def test_what_grows_too_much_is_refused_before_it_has_grown(
    encoding: str, compress: Compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[int] = []
    check = bodies._check_growth

    def observed(size: int, *rest: int) -> None:
        grown.append(size)
        check(size, *rest)

    monkeypatch.setattr(bodies, "_check_growth", observed)
    assert refusal(decompress, compress(b"\0" * 40_000_000), encoding) == (413, "body_too_large")
    assert grown[-1] <= 17 * 1024 * 1024


@pytest.mark.parametrize(("encoding", "compress"), COMPRESSIONS)
def test_the_limits_themselves_are_allowed(encoding: str, compress: Compress) -> None:
    few_repetitive_events = b'{"event": "a"}\n' * 4_000
    assert len(few_repetitive_events) > 100 * len(compress(few_repetitive_events))
    assert decompress(compress(few_repetitive_events), encoding) == few_repetitive_events
    noise = zlib.compress(str(list(range(3_000))).encode())
    assert decompress(compress(noise), encoding, len(noise)) == noise
    assert refusal(decompress, compress(noise), encoding, len(noise) - 1) == (413, "body_too_large")


def test_no_encoding_and_identity_leave_the_body_alone() -> None:
    assert decompress(b"x", "") == decompress(b"x", " Identity ") == b"x"


@given(st.lists(json_values, min_size=1, max_size=8), st.sampled_from([None, 1, 4]), st.sampled_from(["json", "any"]))
def test_an_array_gives_its_elements(values: list[Any], indent: int | None, form: Any) -> None:
    lines = split_events(json.dumps(values, indent=indent).encode(), form).lines
    assert [json.loads(line) for line in lines] == values
    assert not any(b"\n" in line for line in lines)


@given(st.lists(st.dictionaries(st.text(), json_values, max_size=3), min_size=1, max_size=8), st.sampled_from([b"\n", b"\r\n"]))
def test_lines_give_themselves(values: list[dict[str, Any]], newline: bytes) -> None:
    body = newline.join(json.dumps(value).encode() for value in values)
    assert [json.loads(line) for line in split_events(body, "lines").lines] == values
    assert [json.loads(line) for line in split_events(body, "any").lines] == values


@given(st.dictionaries(st.text(), json_values, min_size=1), st.sampled_from([None, 2]), st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_an_object_is_one_line(value: dict[str, Any], indent: int | None, mark: bytes) -> None:
    for form in ("json", "any"):
        (line,) = split_events(mark + json.dumps(value, indent=indent).encode() + b"\n", form).lines
        assert json.loads(line) == value and b"\n" not in line


@given(st.binary(max_size=300), st.sampled_from(["json", "lines", "any"]))
def test_any_bytes_give_lines_or_a_refusal(body: bytes, form: Any) -> None:
    if status_of(split_events, body, form) == 200:
        lines = split_events(body, form).lines
        assert lines and all(line.strip() and b"\n" not in line for line in lines)
    else:
        assert refusal(split_events, body, form) == (400, "invalid_body")


broken_elements = st.sampled_from(
    [
        b'{"a": NaN}', b"tru", b'{"a": "\\ud800"}', b'{"a": "\n"}', b'{"a": "\xff"}', b"[" * 3_000 + b"]" * 3_000, b"01",
        b"{,}", b'{"a": "\\x"}',
    ]
)  # fmt: skip


@given(st.lists(broken_elements | st.just(b'{"good": [1, "],[", {"x": "\\""}]}'), max_size=6))
def test_a_broken_element_leaves_its_neighbours_whole(elements: list[bytes]) -> None:
    good = b'{"good": "last"}'
    lines = split_events(b" [ " + b" , ".join([*elements, good]) + b" ] ", "json").lines
    assert [line.strip() for line in lines] == [element.replace(b"\n", b"\r") for element in [*elements, good]]


def test_a_newline_in_a_string_stays_an_error() -> None:
    lines = split_events(b'[{"a": "x\ny"}, {"b":\n 1}]', "json").lines
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[0])
    assert json.loads(lines[1]) == {"b": 1}


@pytest.mark.parametrize("body", [b"[{}", b"[{}]]", b"[{},]", b"[{}}", b'[{}, "', b"[{]}", b"[{}] x", b"[x]", b"[,{}]"])
def test_an_array_whose_elements_cannot_be_told_apart_is_refused(body: bytes) -> None:
    assert refusal(split_events, body, "json") == (400, "invalid_body")


@pytest.mark.parametrize("body", [b"1\n" * 200_001, b"[" + b"1," * 200_000 + b"1]"])
def test_too_many_events_are_refused(body: bytes) -> None:
    assert refusal(split_events, body, "lines" if body.startswith(b"1") else "json") == (413, "body_too_large")


def test_content_types() -> None:
    assert form_of("application/json; charset=utf-8") == "json"
    assert form_of("Application/X-NDJSON") == "lines"
    assert form_of("") == form_of("text/plain") == "any"
    assert refusal(form_of, "text/html") == (415, "unsupported_media_type")
