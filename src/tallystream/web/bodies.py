"""
From a request body to lines: content encodings and JSON forms, with limits on what they may grow to. Pure.

A line is the bytes of one event, without a newline, exactly as sent wherever possible: what is wrong with an event is for
`core.event.Reader` to say, which the counter process asks as well. Here only whole bodies are refused.
"""

import re
import zlib
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import msgspec
import zstandard

from tallystream.web.errors import RequestRefusedError

BODY_BYTES_MAX: Final = 10 * 1024 * 1024
"""Before and after decompression."""

EVENTS_MAX: Final = 200_000
"""In one request: it bounds what "0\\n0\\n0\\n…" makes of memory and of the answer. Real events of 10 MiB are fewer."""

RATIO_MAX: Final = 100
RATIO_CHECKED_FROM_BYTES: Final = 64 * 1024
"""A few repetitive events compress well over 100 : 1 and harm nobody, so the ratio counts once this much came out."""

# A decoder takes this much at once. One slice inflates to at most 16 MiB (zstd's run-length blocks: 128 KiB for 4 bytes), which
# bounds what a hostile body can make of memory before the limits are looked at.
_SLICE_BYTES: Final = 512

_DECODERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "x-gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_JSON_WHITESPACE: Final = b" \t\r\n"

_BELOW_TEXT: Final = b"!"  # a line that is blank, or begins with a blank, is less

Form = Literal["json", "lines", "any"]
"""What a body holds: one JSON document, one event a line, or whichever of the two it turns out to be."""

_FORMS: Final[dict[str, Form]] = {
    "application/json": "json",
    "application/x-ndjson": "lines",
    "application/ndjson": "lines",
    "application/jsonl": "lines",
    "application/x-jsonlines": "lines",
    # What a beacon sends without asking the server first, what `curl -d` says by itself, and nothing at all.
    "text/plain": "any",
    "application/x-www-form-urlencoded": "any",
    "application/octet-stream": "any",
    "": "any",
}

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Events(NamedTuple):
    """The events of a body, one line each."""

    lines: list[bytes]
    text: bytes | None = None  # the lines joined by line feeds, if the body is just that


def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters, in lower case; "" for none."""
    return content_type.partition(";")[0].strip().lower()


def decompress(body: bytes, content_encoding: str, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """
    Undo a Content-Encoding: `gzip` (also of several members), `zstd` (also of several frames), `identity` or none.

    Raises:
        RequestRefusedError: 400 for a corrupt or cut off body, 413 past bytes_max or the ratio, 415 for another encoding.
    """
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    new_decoder = _DECODERS.get(encoding)
    if new_decoder is None:
        raise RequestRefusedError(
            415,
            "unsupported_encoding",
            f'Content-Encoding is "{content_encoding}"; allowed are gzip, zstd and identity; compress with one of those',
        )
    pieces: list[bytes] = []
    grown = consumed = 0
    view = memoryview(body)
    decoder = new_decoder()
    try:
        while consumed < len(body):
            if decoder.eof:
                decoder = new_decoder()
            piece = view[consumed : consumed + _SLICE_BYTES]
            pieces.append(decoder.decompress(piece))
            consumed += len(piece) - len(decoder.unused_data)
            grown += len(pieces[-1])
            _check_growth(grown, consumed, bytes_max)
    except (zlib.error, zstandard.ZstdError) as error:
        raise RequestRefusedError(400, "invalid_body", f"the body is not valid {encoding}: {error}; send it again") from None
    if not decoder.eof:
        message = f"the {encoding} body of {len(body):,} bytes is cut off before its end; send it whole"
        raise RequestRefusedError(400, "invalid_body", message)
    return b"".join(pieces)


def _check_growth(grown: int, consumed: int, bytes_max: int) -> None:
    if grown > bytes_max:
        raise too_large(f"over {bytes_max:,} bytes after decompression", bytes_max)
    if grown > RATIO_CHECKED_FROM_BYTES and grown > RATIO_MAX * consumed:
        raise RequestRefusedError(
            413,
            "body_too_large",
            f"{consumed:,} compressed bytes grew to {grown:,}; allowed is {RATIO_MAX} : 1; compress fewer events, or none",
        )


def too_large(found: str, bytes_max: int) -> RequestRefusedError:
    """Return the refusal of a body that is longer than bytes_max."""
    message = f"the body has {found}; allowed are {bytes_max:,}; send the events in several requests"
    return RequestRefusedError(413, "body_too_large", message)


def form_of(content_type: str) -> Form:
    """
    Return the form that a Content-Type announces.

    Raises:
        RequestRefusedError: 415; it is no type that events come in.
    """
    try:
        return _FORMS[media_type(content_type)]
    except KeyError:
        raise RequestRefusedError(
            415,
            "unsupported_media_type",
            f'Content-Type is "{content_type}"; allowed are application/json, application/x-ndjson, text/plain and the types of'
            " CloudEvents; say which one the body is",
        ) from None


def split_events(body: bytes, form: Form) -> Events:
    """
    Return the events in a body, at least one.

    A JSON array is cut into its elements; one that is broken leaves its neighbours whole. Newlines between the tokens of
    an element become spaces. Blank lines are skipped; a carriage return before a newline is JSON whitespace and stays.

    Raises:
        RequestRefusedError: 400: the body is not what its form says, or holds no event; 413: over EVENTS_MAX.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK).strip(_JSON_WHITESPACE)
    if form == "lines":
        events = _lines(body)
    elif form == "json":
        events = Events(_document(body))
    else:
        events = _document_or_lines(body)
    if not events.lines:
        raise RequestRefusedError(400, "invalid_body", "the body holds no event; send at least one")
    _check_count(len(events.lines))
    return events


def _check_count(events: int) -> None:
    if events > EVENTS_MAX:
        message = f"the body has {events:,} events; allowed are {EVENTS_MAX:,}; send them in several requests"
        raise RequestRefusedError(413, "body_too_large", message)


def _lines(body: bytes) -> Events:
    if len(body) > 2 * EVENTS_MAX:
        _check_count(body.count(b"\n") + 1)
    lines = body.split(b"\n")
    return Events(lines, body) if min(lines) > _BELOW_TEXT else Events(list(filter(bytes.strip, lines)))


def _document(body: bytes) -> list[bytes]:
    first = body[:1]
    if not first:
        return []
    if first == b"[":
        return _elements(body)
    try:
        _decode_raw(body)
    except _JSON_ERRORS as error:
        raise _invalid_json(error) from None
    if first != b"{":
        message = "the body is JSON, but neither an object nor an array; send an event, an array of events, or NDJSON"
        raise RequestRefusedError(400, "invalid_body", message)
    return [body.replace(b"\n", b" ")]


def _elements(body: bytes) -> list[bytes]:
    try:
        return [bytes(element).replace(b"\n", b" ") for element in _decode_array(body)]
    except _JSON_ERRORS as error:
        elements = _cut(body)
        # One good event is what tells an array with a broken element from what is no JSON at all.
        if elements is None or not any(map(_is_object, elements)):
            raise _invalid_json(error) from None
        # Inside a string a newline is an error, and must stay one: a carriage return, too, is whitespace only between tokens.
        return [element.strip(_JSON_WHITESPACE).replace(b"\n", b"\r") for element in elements]


def _document_or_lines(body: bytes) -> Events:
    try:
        return Events(_document(body))
    except RequestRefusedError as refusal:
        events = _lines(body)
        if any(map(_is_object, events.lines)):
            return events
        message = f"the body is neither a JSON object or array nor NDJSON with an object in a line: {refusal.message}"
        raise RequestRefusedError(400, "invalid_body", message) from None


def _is_object(line: bytes) -> bool:
    try:
        _decode_object(line)
    except _JSON_ERRORS:
        return False
    return True


def _invalid_json(error: Exception) -> RequestRefusedError:
    found = "nested too deeply" if isinstance(error, RecursionError) else str(error).removeprefix("JSON is malformed: ")
    message = f"the body is not valid JSON: {found}; send a JSON object or array; one event a line is application/x-ndjson"
    return RequestRefusedError(400, "invalid_body", message)


_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},"]', re.DOTALL)


def _cut(body: bytes) -> list[bytes] | None:
    """
    Cut a JSON array at the commas between its elements, looking at nothing but strings and brackets.

    What stands between two commas may be broken in any other way. Returns None when there is no telling where elements end: a
    string or bracket that is not closed, something behind the array, an empty element.
    """
    elements: list[bytes] = []
    start = 0
    closing: list[bytes] = []
    for token in _TOKENS.finditer(body):
        text = token[0]
        if text in (b"[", b"{"):
            closing.append(b"]" if text == b"[" else b"}")
            if len(closing) == 1:
                start = token.end()
        elif text == b'"' or not closing:
            return None
        elif text == b"," and len(closing) == 1:
            elements.append(body[start : token.start()])
            start = token.end()
        elif text in (b"]", b"}"):
            if closing.pop() != text:
                return None
            if not closing:
                elements.append(body[start : token.start()])
                complete = not body[token.end() :].strip(_JSON_WHITESPACE) and all(map(bytes.strip, elements))
                return elements if complete else None
    return None
