"""
CloudEvents, Segment and browser events as lines: the event as it was sent, with what the definition looks for filled in. Pure.

Values are moved about as the JSON text that they came in (`msgspec.Raw`), so no number changes on the way.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import pybase64

from tallystream.core.definition import Definition
from tallystream.web.bodies import media_type, too_large
from tallystream.web.errors import RequestRefusedError

SEGMENT_EVENT_BYTES_MAX: Final = 32 * 1024
SEGMENT_BODY_BYTES_MAX: Final = 500 * 1024
BROWSER_BODY_BYTES_MAX: Final = 64 * 1024

CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENTS_BATCH: Final = "application/cloudevents-batch+json"

# The event name of the Segment calls that carry none.
_SEGMENT_NAMES: Final = {"page": "page view", "screen": "screen view"}

Object = dict[str, msgspec.Raw]

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_object = msgspec.json.Decoder(Object).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class EventForms:
    """Turns foreign forms of events into lines for one definition."""

    def __init__(self, definition: Definition) -> None:
        self._event_time = definition.stream.event_time
        self._event_id = definition.stream.event_id

    def browser_events(self, lines: Iterable[bytes], arrival_ms: int) -> list[bytes]:
        """Return the lines with their event time set to the arrival: the clocks of browsers are not to be trusted."""
        stamp = _json(_iso(arrival_ms))
        stamped = []
        for line in lines:
            event = _object(line)
            if event is None:
                stamped.append(line)  # which the Reader rejects, with its reason
            else:
                _put(event, self._event_time, stamp, replace=True)
                stamped.append(_line(event))
        return stamped

    def cloud_events(self, body: bytes, content_type: str, headers: Mapping[bytes, bytes]) -> list[bytes]:
        """
        Return the CloudEvents 1.0 of a request in JSON form, a line each.

        Args:
            body: decompressed.
            content_type: tells the mode: structured, batch, or (with `ce-*` headers) binary.
            headers: lower-case names → values.

        Raises:
            RequestRefusedError: 400; the body is not JSON, or an event lacks what the specification requires.
        """
        kind = media_type(content_type)
        if kind == CLOUDEVENTS_BATCH:
            try:
                elements = _decode_array(body)
            except _JSON_ERRORS as error:
                raise _invalid_body("a JSON array of CloudEvents", error) from None
            if not elements:
                raise RequestRefusedError(400, "invalid_body", "the batch holds no CloudEvent; send at least one")
            return [self._cloud_event(_object(element), index) for index, element in enumerate(elements)]
        if kind == CLOUDEVENT:
            try:
                return [self._cloud_event(_decode_object(body), 0)]
            except _JSON_ERRORS as error:
                raise _invalid_body("a CloudEvent as a JSON object", error) from None
        return [self._cloud_event(_binary_cloud_event(body, content_type, headers), 0)]

    def _cloud_event(self, event: Object | None, index: int) -> bytes:
        attributes = _cloud_event_attributes(event, index)
        assert event is not None
        _lift(event, event.get("data"))
        if "time" in event:
            _put(event, self._event_time, event["time"])
        _put(event, "event", event["type"])
        if self._event_id is not None:
            # By the specification, source and id together are what makes an event the same. So that they stand for it
            # even where a definition names `id`: two sources may well count from 1 each.
            identity = _json(msgspec.json.encode([attributes["source"], attributes["id"]]).decode())
            _put(event, self._event_id, identity, replace=self._event_id == "id")
        return _line(event)

    def segment_events(self, body: bytes, call: str, arrival_ms: int) -> list[bytes]:
        """
        Return the events of a Segment call, a line each.

        Args:
            body: decompressed JSON.
            call: `track`, `page` …, or `batch`.
            arrival_ms: the event time of events that have none.

        Raises:
            RequestRefusedError: 400; the body is no such call. 413: an event or the body is over Segment's limits.
        """
        if len(body) > SEGMENT_BODY_BYTES_MAX:
            raise too_large(f"{len(body):,} bytes", SEGMENT_BODY_BYTES_MAX)
        try:
            envelope = _decode_object(body)
            elements = _decode_array(envelope.get("batch", msgspec.Raw(b"[]"))) if call == "batch" else [msgspec.Raw(body)]
        except _JSON_ERRORS as error:
            raise _invalid_body(f"a Segment {call} call as a JSON object", error) from None
        if not elements:
            message = "`batch` is missing or holds no event; send at least one"
            raise RequestRefusedError(400, "invalid_body", message)
        shared: Object = {name: envelope[name] for name in ("sentAt", "context") if name in envelope}
        lines = []
        for index, element in enumerate(elements):
            if len(bytes(element)) > SEGMENT_EVENT_BYTES_MAX:
                raise too_large(f"{len(bytes(element)):,} bytes in event {index}", SEGMENT_EVENT_BYTES_MAX)
            event = _object(element)
            if event is None:
                lines.append(_one_line(bytes(element)))  # which the Reader rejects, with its reason
            else:
                lines.append(self._segment_event(event, call, shared, arrival_ms))
        return lines

    def _segment_event(self, event: Object, call: str, shared: Object, arrival_ms: int) -> bytes:
        if call != "batch":
            _put(event, "type", _json(call))
        for name, value in shared.items():
            _put(event, name, value)
        kind = _text(event.get("type")) or "track"
        if kind != "track":
            _put(event, "event", _json(_SEGMENT_NAMES.get(kind, kind)))
        _lift(event, event.get("properties"))
        _lift(event, event.get("traits"))
        sources = (event[name] for name in ("timestamp", "originalTimestamp", "sentAt") if not _is_null(event.get(name)))
        _put(event, self._event_time, next(sources, _json(_iso(arrival_ms))))
        if self._event_id is not None and "messageId" in event:
            _put(event, self._event_id, event["messageId"])
        return _line(event)


def _cloud_event_attributes(event: Object | None, index: int) -> dict[str, str]:
    """Return the required attributes of a CloudEvent; raise when one is not as the specification has it."""
    if event is None:
        raise _invalid_cloud_event(index, "it is not a JSON object", "a JSON object", "send one for each event")
    attributes = {}
    for name in ("id", "source", "specversion", "type"):
        value = _text(event.get(name))
        if not value:
            found = bytes(event[name])[:60].decode(errors="replace") if name in event else "missing"
            raise _invalid_cloud_event(index, f"`{name}` is {found}", "text that is not empty", f"send `{name}`")
        attributes[name] = value
    if attributes["specversion"] != "1.0":
        found = f"`specversion` is {attributes['specversion']!r}"
        raise _invalid_cloud_event(index, found, "1.0", "send CloudEvents 1.0")
    return attributes


def _binary_cloud_event(body: bytes, content_type: str, headers: Mapping[bytes, bytes]) -> Object:
    event: Object = {}
    for name, value in headers.items():
        if name.startswith(b"ce-"):
            try:
                event[name[3:].decode("latin-1")] = _json(unquote(value.decode("latin-1"), errors="strict"))
            except UnicodeDecodeError:
                found = f"the header {name.decode('latin-1')} is not UTF-8"
                raise _invalid_cloud_event(0, found, "percent-encoded UTF-8", "encode it so") from None
    if not body:
        return event
    kind = media_type(content_type)
    if kind:
        event["datacontenttype"] = _json(content_type)
    if kind in ("", "application/json") or kind.endswith("+json"):
        try:
            event["data"] = _decode_raw(body)
        except _JSON_ERRORS as error:
            raise _invalid_body("the CloudEvent's data as JSON", error) from None
    elif kind.startswith("text/"):
        event["data"] = _json(body.decode(errors="replace"))
    else:
        event["data_base64"] = _json(pybase64.b64encode(body).decode())
    return event


def _put(event: Object, path: str, value: msgspec.Raw, *, replace: bool = False) -> None:
    """Set the value at a dotted path where there is none, or null. Something on the way that is no object stays as it is."""
    head, _, rest = path.partition(".")
    if not rest:
        if replace or _is_null(event.get(head)):
            event[head] = value
        return
    below = {} if _is_null(event.get(head)) else _object(event[head])
    if below is not None:
        _put(below, rest, value, replace=replace)
        event[head] = msgspec.Raw(msgspec.json.encode(below))


def _lift(event: Object, nested: msgspec.Raw | None) -> None:
    """Copy the members of a nested object to the top level, where they do not collide."""
    for name, value in ((nested is not None and _object(nested)) or {}).items():
        event.setdefault(name, value)


def _is_null(value: msgspec.Raw | None) -> bool:
    return value is None or bytes(value) == b"null"


def _object(value: bytes | msgspec.Raw) -> Object | None:
    try:
        return _decode_object(value)
    except _JSON_ERRORS:
        return None


def _text(value: msgspec.Raw | None) -> str | None:
    """Return a JSON string's text; None for anything else."""
    try:
        return None if value is None else msgspec.json.decode(value, type=str)
    except _JSON_ERRORS:
        return None


def _json(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _line(event: Object) -> bytes:
    return _one_line(msgspec.json.encode(event))


def _one_line(valid_json: bytes) -> bytes:
    """Return JSON without newlines; inside valid JSON they stand only between tokens."""
    return valid_json.replace(b"\n", b" ")


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _invalid_body(expected: str, error: Exception) -> RequestRefusedError:
    found = "nested too deeply" if isinstance(error, RecursionError) else str(error).removeprefix("JSON is malformed: ")
    return RequestRefusedError(400, "invalid_body", f"the body is not {expected}: {found}; mend the body")


def _invalid_cloud_event(index: int, found: str, allowed: str, remedy: str) -> RequestRefusedError:
    message = f"CloudEvent {index}: {found}; allowed is {allowed}; {remedy}; nothing of the request was stored"
    return RequestRefusedError(400, "invalid_cloudevent", message, index=index)
