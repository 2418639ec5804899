"""
From bytes to events: which fields a definition needs, read fast; and why a record is no event, said exactly.

Reading has two paths that agree on everything (a property test holds it). The fast one decodes into a typed struct with only
the needed fields. A record that it refuses alone takes the slow one, which takes it apart field by field: some of what the
fast path refuses is fine (`{"user": null}` where `user.country` is wanted), and the rest gets its reason.
"""

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import msgspec
from pybase64 import b64decode

from tallystream.core.aggregate import NUMBER_MAX
from tallystream.core.definition import Definition
from tallystream.core.event_time import Slot, assign_slots, parse_event_time, slot_resolution
from tallystream.core.expression import parse_expression

EVENT_BYTES_MAX = 1024 * 1024
_LONG_BASE64 = 1_000  # characters, of the first of many texts much alike
TEXT_CHARACTERS_MAX = 1_024
"""Length of a group value or an event id."""

REASONS: dict[str, str] = {
    "invalid_utf8": "The bytes are not UTF-8.",
    "invalid_json": "The line is not one JSON value by RFC 8259: cut off, NaN, a trailing comma, nested too deeply …",
    "not_an_object": "The line is JSON, but not an object.",
    "too_large": "The event is longer than 1 MiB.",
    "missing_event_time": "The event has no event time (and the definition does not let the arrival time stand for it).",
    "invalid_event_time": "The event time is neither ISO 8601 nor an epoch number.",
    "future_event_time": "The event time is further ahead of the arrival time than `allowed_future`.",
    "invalid_group": "A field of `group_by` holds an object or an array, or text of over 1,024 characters.",
    "invalid_number": "A measured field holds something other than a number from -10^18 to 10^18 (or null, or nothing).",
    "invalid_event_id": "The event id is neither text of up to 1,024 characters nor a whole number.",
}
"""Reason codes for rejected events: stable, and all there are."""

_MEASURED = msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)


def decode_base64(records: Sequence[str]) -> list[bytes]:
    """
    Return the bytes of base64 texts, as Kinesis hands records to a function.

    Raises:
        msgspec.ValidationError, binascii.Error: a text is not base64; Kinesis never sends such.
    """
    if records and len(records[0]) < _LONG_BASE64:
        return msgspec.convert(records, list[bytes])  # costs less a call, but more a character
    return list(map(b64decode, records, repeat(None), repeat(True)))  # validating is the decoder's faster way


class Rejection(NamedTuple):
    """Why a line is no event: its index in the batch, a code of REASONS, and a sentence with what was found."""

    index: int  # type: ignore[assignment]  # hides tuple.index
    reason: str
    message: str


class Batch(NamedTuple):
    """Lines of one arrival time, read: each is an event, late, or rejected."""

    lines: Sequence[bytes]
    arrival_ms: int
    events: list[Any]  # structs whose attributes are named by Reader.attribute
    slots: list[Slot]  # of each event
    slot_start_ms: dict[Slot, int]
    late: list[int]  # indices, ascending
    rejections: list[Rejection]  # ascending by index


class _RefusedError(Exception):
    """A record's rejection, on its way up through the slow path."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message


class Reader:
    """Reads lines as a definition wants them. Holds no state between batches."""

    def __init__(self, definition: Definition) -> None:
        stream = definition.stream
        self._stream = stream
        counters = definition.counters
        self._checks = _field_checks(definition)
        self.attribute: dict[str, str] = {}
        """Dotted path of a needed field → attribute path on the event struct."""
        self._event_type = self._struct_type(_tree(self._checks), "Event", ())
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._event_type).decode
        self._decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._event_time = attrgetter(self.attribute[stream.event_time])
        self.event_id = attrgetter(self.attribute[stream.event_id]) if stream.event_id else None
        self.resolution_ms = slot_resolution([size for counter in counters for size in counter.windows_ms])
        self.needs_arrival = (
            stream.missing_event_time == "arrival"
            or stream.allowed_lateness_ms is not None
            or stream.allowed_future_ms is not None
        )
        """Whether an event's outcome depends on when it arrived."""

    def read(self, lines: Sequence[bytes], arrival_ms: int, text: bytes | None = None) -> Batch:
        """
        Read a batch of lines. Never raises for what a line holds.

        Args:
            lines: of one arrival time.
            arrival_ms: UTC.
            text: the lines joined by line feeds, where it is at hand, to be spared the joining; if ASCII, perhaps by nothing.
        """
        rejections: list[Rejection] = []
        suspects = _suspects(lines, text)
        if suspects:
            rejections.extend(suspects.values())
            kept = [index for index in range(len(lines)) if index not in suspects]
            events = self._read_events([lines[index] for index in kept], rejections, kept)
        else:
            events = self._read_events(lines, rejections, range(len(lines)))
        events, slots, starts, late = self._place(events, len(lines), arrival_ms, rejections)
        rejections.sort()
        return Batch(lines, arrival_ms, events, slots, starts, late, rejections)

    def partition_keys(self, lines: Sequence[bytes]) -> list[str] | None:
        """Return each line's partition key as text ("" where it has none), or None: the definition names no such field."""
        path = self._stream.partition_key
        if path is None:
            return None
        keys = []
        for line in lines:
            try:
                value = self._field(self._decode_top(line), path)
                keys.append("" if value is None or value is _UNREADABLE else str(value))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                keys.append("")
        return keys

    # The fast path.

    def _read_events(self, lines: Sequence[bytes], rejections: list[Rejection], line_index: Sequence[int]) -> list[Any]:
        """Return the events among lines, and add a rejection for each of the others; line_index is theirs in the batch."""
        events: list[Any] = []
        refused = 0
        records = iter(lines)
        while True:
            try:
                # On an error, the list keeps what came before it and the iterator stands behind the record that failed.
                events.extend(map(self._decode, records))
                return events
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                position = len(events) + refused
                try:
                    events.append(self._read_slowly(lines[position]))
                except _RefusedError as refusal:
                    refused += 1
                    rejections.append(Rejection(line_index[position], refusal.reason, refusal.message))
                except RecursionError:
                    refused += 1
                    message = "the JSON is nested too deeply to be read; send it flatter"
                    rejections.append(Rejection(line_index[position], "invalid_json", message))

    def _place(
        self, events: list[Any], lines: int, arrival_ms: int, rejections: list[Rejection]
    ) -> tuple[list[Any], list[Slot], dict[Slot, int], list[int]]:
        """Give each event its slot; sort out those without a time, from the future, and late."""
        if not events:
            return [], [], {}, []
        times = list(map(self._event_time, events))
        if self._stream.missing_event_time == "arrival" and None in times:
            times = [arrival_ms if time is None else time for time in times]
        column = assign_slots(times, self.resolution_ms)
        earliest, latest = self._bounds(arrival_ms)
        starts = column.start_ms.values()
        if column.readable and all(earliest <= start and start + self.resolution_ms <= latest for start in starts):
            return events, column.slots, column.start_ms, []  # type: ignore[return-value]
        refused = {rejection.index for rejection in rejections}
        indices = (index for index in range(lines) if index not in refused)
        late: list[int] = []
        kept_events: list[Any] = []
        slots: list[Slot] = []
        for event, index, time, slot in zip(events, indices, times, column.slots, strict=True):
            if slot is None:
                rejections.append(_unreadable_time(index, time, self._stream.event_time))
                continue
            start = column.start_ms[slot]
            if earliest <= start and start + self.resolution_ms <= latest:  # the whole slot is: no need to parse the time
                kept_events.append(event)
                slots.append(slot)
                continue
            time_ms = parse_event_time(time)
            assert time_ms is not None
            if time_ms > latest:
                rejections.append(
                    Rejection(
                        index,
                        "future_event_time",
                        f"{self._stream.event_time} {_shown(time)} is {time_ms - arrival_ms} ms ahead of its arrival;"
                        f" allowed_future is {self._stream.allowed_future_ms} ms; mend the producer's clock or allow more",
                    )
                )
            elif time_ms < earliest:
                late.append(index)
            else:
                kept_events.append(event)
                slots.append(slot)
        return kept_events, slots, column.start_ms, late

    def _bounds(self, arrival_ms: int) -> tuple[float, float]:
        """Return the earliest and the latest event time, both inclusive, that are neither late nor from the future."""
        lateness, ahead = self._stream.allowed_lateness_ms, self._stream.allowed_future_ms
        return (
            float("-inf") if lateness is None else arrival_ms - lateness,
            float("inf") if ahead is None else arrival_ms + ahead,
        )

    def _struct_type(self, tree: dict[str, Any], name: str, parents: tuple[str, ...]) -> type[msgspec.Struct]:
        fields: list[tuple[str, Any, Any]] = []
        names: dict[str, str] = {}
        for number, (segment, below) in enumerate(tree.items()):
            attribute = f"f{number}"
            names[attribute] = segment
            if isinstance(below, dict):
                nested = self._struct_type(below, f"{name}_{number}", (*parents, attribute))
                fields.append((attribute, nested, msgspec.field(default_factory=nested)))
            else:
                self.attribute[below.path] = ".".join((*parents, attribute))
                fields.append((attribute, below.type, None))
        return msgspec.defstruct(name, fields, rename=names, gc=False)

    # The slow path.

    def _read_slowly(self, line: bytes) -> Any:
        try:
            found = bytes(_decode_any(line)).strip()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"{str(error).removeprefix('JSON is malformed: ')}; send one JSON object (RFC 8259) a line"
            raise _RefusedError("invalid_json", message) from None
        if not found.startswith(b"{"):
            message = f"an event is a JSON object, found {_shown(found.decode())}; send one object a line"
            raise _RefusedError("not_an_object", message)
        top = self._decode_top(found)
        values = {}
        for path, check in self._checks.items():
            value = self._field(top, path)
            check.validate(value)
            values[path] = value
        return self._build(self._event_type, _tree(self._checks), values)

    def _field(self, top: dict[str, msgspec.Raw], path: str) -> Any:
        """Return the value at a path; None where it is missing, or where something on the way is not an object."""
        *parents, last = path.split(".")
        level = top
        for segment in parents:
            raw = level.get(segment)
            try:
                level = {} if raw is None else self._decode_top(raw)
            except (msgspec.ValidationError, RecursionError):
                return None
        raw = level.get(last)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return _UNREADABLE  # such as 1e999, which no double holds

    def _build(self, struct: type[msgspec.Struct], tree: dict[str, Any], values: dict[str, Any]) -> Any:
        arguments = []
        for field, below in zip(msgspec.structs.fields(struct), tree.values(), strict=True):
            arguments.append(self._build(field.type, below, values) if isinstance(below, dict) else values[below.path])
        return struct(*arguments)


_UNREADABLE = object()
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode  # checks the syntax of the whole, reads nothing


class _FieldCheck:
    """What a needed field may hold, by the roles it plays in the definition."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.roles: set[str] = set()

    @property
    def type(self) -> Any:
        """The type for the fast path: null, and what every role takes."""
        if not self.roles:
            return Any
        measured = "number" in self.roles
        types: Any = Annotated[int, _MEASURED] | None if measured else int | None
        if not measured:
            types |= str if self.roles == {"event_time"} else Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS_MAX)]
        if "event_id" not in self.roles:
            types |= Annotated[float, _MEASURED] if measured else float
        if self.roles == {"group"}:
            types |= bool
        return types

    def validate(self, value: Any) -> None:
        for role in sorted(self.roles):
            allowed, reason, remedy = _ROLE_CHECKS[role]
            if value is not None and not allowed(value):
                raise _RefusedError(reason, f"{self.path} is {_shown(value)}; allowed is {remedy}")


def _is_time(value: Any) -> bool:
    return type(value) in (str, int, float)


def _is_group(value: Any) -> bool:
    return type(value) in (int, float, bool) or (type(value) is str and len(value) <= TEXT_CHARACTERS_MAX)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -NUMBER_MAX <= value <= NUMBER_MAX


def _is_id(value: Any) -> bool:
    return type(value) is int or (type(value) is str and len(value) <= TEXT_CHARACTERS_MAX)


_ROLE_CHECKS: dict[str, tuple[Callable[[Any], bool], str, str]] = {
    "event_time": (_is_time, "invalid_event_time", "ISO 8601 text or an epoch number"),
    "event_id": (_is_id, "invalid_event_id", f"text of up to {TEXT_CHARACTERS_MAX:,} characters or a whole number"),
    "group": (_is_group, "invalid_group", f"text of up to {TEXT_CHARACTERS_MAX:,} characters, a number, true, false or null"),
    "number": (_is_number, "invalid_number", "a number from -10^18 to 10^18, or null"),
}


def _field_checks(definition: Definition) -> dict[str, _FieldCheck]:
    """Return the fields that a definition needs, each with its roles; a field that only `where` names has none."""
    checks: dict[str, _FieldCheck] = {}

    def need(path: str, role: str | None) -> None:
        check = checks.setdefault(path, _FieldCheck(path))
        if role:
            check.roles.add(role)

    need(definition.stream.event_time, "event_time")
    if definition.stream.event_id:
        need(definition.stream.event_id, "event_id")
    for counter in definition.counters:
        for path in counter.group_by:
            need(path, "group")
        for path in counter.measured_fields:
            need(path, "number")
        if counter.where is not None:
            for path in sorted(parse_expression(counter.where).fields):
                need(path, None)
    return checks


def _tree(checks: dict[str, _FieldCheck]) -> dict[str, Any]:
    """Return the fields as a tree by path segment, leaves being checks."""
    tree: dict[str, Any] = {}
    for path, check in checks.items():
        *parents, last = path.split(".")
        level = tree
        for segment in parents:
            level = level.setdefault(segment, {})
        level[last] = check
    return tree


def _suspects(lines: Sequence[bytes], text: bytes | None) -> dict[int, Rejection]:
    """Return the lines that are too long or not UTF-8 (a struct decoder does not look into the strings that it skips)."""
    suspects: dict[int, Rejection] = {}
    text = b"\n".join(lines) if text is None else text
    if len(text) > EVENT_BYTES_MAX and max(map(len, lines)) > EVENT_BYTES_MAX:
        for index, line in enumerate(lines):
            if len(line) > EVENT_BYTES_MAX:
                message = f"the event has {len(line):,} bytes; allowed are {EVENT_BYTES_MAX:,}; send less, or in parts"
                suspects[index] = Rejection(index, "too_large", message)
    if text.isascii():
        return suspects
    try:
        text.decode()
    except UnicodeDecodeError:
        for index, line in enumerate(lines):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} at {error.start} ({error.reason})"
                message = f"{found} is not UTF-8; send the event as UTF-8"
                suspects.setdefault(index, Rejection(index, "invalid_utf8", message))
    return suspects


def _unreadable_time(index: int, time: object, path: str) -> Rejection:
    if time is None:
        message = f'{path} is missing; send it, or set missing_event_time = "arrival" in [stream]'
        return Rejection(index, "missing_event_time", message)
    message = f"{path} is {_shown(time)}; allowed is ISO 8601, such as 2026-11-23T09:05:00Z, or an epoch number"
    return Rejection(index, "invalid_event_time", message)


def _shown(value: object) -> str:
    try:
        text = repr(value) if value is not _UNREADABLE else "a number out of range"
    except RecursionError:  # `repr` goes less deep than the decoder
        return "a value nested too deeply to be shown"
    return text if len(text) <= 60 else text[:60] + "…"
