"""Reading lines: every record is an event or has its reason, and the fast path never differs from the slow one."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import EVENT_BYTES_MAX, REASONS, Reader, decode_base64

ARRIVAL_MS = 1_795_433_587_123
TIME = "2026-11-23T11:33:07Z"


def definition(stream: str = "", counters: str = "") -> Definition:
    return parse_definition(f"""
name = "test"
[stream]
event_time = "t"
{stream}
[[counter]]
name = "events"
windows = ["1m"]
group_by = ["event", "user.country"]
[[counter]]
name = "amounts"
windows = ["1m"]
where = "kind == 'gift' and user.age > 17"
measures = ["sum(amount)"]
{counters}
""")


READER = Reader(definition('event_id = "id"'))


def outcome(reader: Reader, *lines: bytes) -> list[str | None]:
    """Return each line's reason, or None for an event."""
    batch = reader.read(lines, ARRIVAL_MS)
    reasons = {rejection.index: rejection.reason for rejection in batch.rejections}
    assert len(batch.events) + len(reasons) + len(batch.late) == len(lines)
    assert set(reasons.values()) <= set(REASONS)
    return [reasons.get(index) for index in range(len(lines))]


def event(**fields: Any) -> bytes:
    return json.dumps({"t": TIME} | fields).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event(event="a"), None),
        (event(event=None), None),
        (event(event=True), None),
        (event(event=1.5), None),
        (event(event=10**40), None),
        (event(event="x" * 1_024), None),
        (event(event="x" * 1_025), "invalid_group"),
        (event(event=["a"]), "invalid_group"),
        (event(event={"a": 1}), "invalid_group"),
        (b'{"t":"2026-11-23T11:33:07Z","event":1e999}', "invalid_group"),
        (event(user=None), None),
        (event(user="text where an object is wanted"), None),
        (event(user=[{"country": "GB"}]), None),
        (event(user={"country": "GB", "age": [1]}), None),
        (event(user={"country": {}}), "invalid_group"),
        (event(kind={"any": ["thing"]}), None),
        (event(amount=12.5), None),
        (event(amount=None), None),
        (event(amount=10**18), None),
        (event(amount=10**18 + 1), "invalid_number"),
        (event(amount=-1e19), "invalid_number"),
        (event(amount="12.50"), "invalid_number"),
        (event(amount=True), "invalid_number"),
        (b'{"t":"2026-11-23T11:33:07Z","amount":1e999}', "invalid_number"),
        (event(id="a"), None),
        (event(id=7), None),
        (event(id=7.5), "invalid_event_id"),
        (event(id="x" * 1_025), "invalid_event_id"),
        (event(t=None), "missing_event_time"),
        (b"{}", "missing_event_time"),
        (event(t="yesterday"), "invalid_event_time"),
        (event(t=True), "invalid_event_time"),
        (event(t=[TIME]), "invalid_event_time"),
        (b'{"t":1e999}', "invalid_event_time"),
        (event(t=1_795_433_587), None),
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"t":"2026-11-23T11:33:07Z",}', "invalid_json"),
        (b'{"t":"2026-11-23T11:33:07Z","other":NaN}', "invalid_json"),
        (b'{"t":"2026-11-23T11:33:07Z"} {}', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"t":"2026-11-23T11:33:07Z","other":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
        (b'{"t":"2026-11-23T11:33:07Z","user":' + b'{"country":' * 50_000 + b"1" + b"}" * 50_001, "invalid_json"),
        (b"[1]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"12", "not_an_object"),
        (b'{"t":"2026-11-23T11:33:07Z","other":"\xff"}', "invalid_utf8"),
        (b'{"t":"2026-11-23T11:33:07Z","other":"\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"t":"2026-11-23T11:33:07Z","other":"' + b"x" * EVENT_BYTES_MAX + b'"}', "too_large"),
        (b"\xff" * (EVENT_BYTES_MAX + 1), "too_large"),
    ],
)
def test_each_line_is_an_event_or_has_a_reason(line: bytes, reason: str | None) -> None:
    assert outcome(READER, line) == [reason]
    # A bad record never stops or loses its neighbours, before it or after it.
    assert outcome(READER, event(event="a"), line, event(event="b"), line) == [None, reason, None, reason]


@pytest.mark.parametrize("field", ["t", "id", "event", "amount", "kind", "other"])
@pytest.mark.parametrize(("opening", "inmost", "closing"), [(b"[", b"", b"]"), (b'{"a":', b"1", b"}")])
def test_no_depth_of_nesting_stops_the_reader(field: str, opening: bytes, inmost: bytes, closing: bytes) -> None:
    # The decoder, `repr` and `str` each have a depth of their own at which they give up: go through all of them.
    reader = Reader(definition(f'event_id = "id"\npartition_key = "{field}"'))
    times = b"" if field == "t" else b'"t":"%s",' % TIME.encode()
    for depth in range(800, 1_050):
        line = b'{%s"%s":%s%s%s}' % (times, field.encode(), opening * depth, inmost, closing * depth)
        (reason,) = outcome(reader, line)
        assert reason is not None or field in ("kind", "other")
        (key,) = reader.partition_keys([line]) or [""]
        assert key == "" or key[0] in "[{"


def test_bytes_that_are_text_only_together_are_not_utf8() -> None:
    euro = "€".encode()
    assert outcome(READER, euro[:1], euro[1:]) == ["invalid_utf8", "invalid_utf8"]


@pytest.mark.parametrize("reason", ["invalid_json", "invalid_group", "invalid_event_time", "missing_event_time"])
def test_a_message_says_what_was_found_and_how_to_mend_it(reason: str) -> None:
    lines = {
        "invalid_json": b'{"t": tru}',
        "invalid_group": event(event=["a"]),
        "invalid_event_time": event(t="yesterday"),
        "missing_event_time": b"{}",
    }
    (rejection,) = READER.read([lines[reason]], ARRIVAL_MS).rejections
    expected = {
        "invalid_json": "invalid character (byte 7); send one JSON object (RFC 8259) a line",
        "invalid_group": "event is ['a']; allowed is text of up to 1,024 characters, a number, true, false or null",
        "invalid_event_time": "t is 'yesterday'; allowed is ISO 8601, such as 2026-11-23T09:05:00Z, or an epoch number",
        "missing_event_time": 't is missing; send it, or set missing_event_time = "arrival" in [stream]',
    }
    assert rejection.message == expected[reason]


def test_an_event_without_a_time_can_take_its_arrival() -> None:
    reader = Reader(definition('missing_event_time = "arrival"'))
    batch = reader.read([b'{"event":"a"}', event(), b'{"t":"yesterday"}'], ARRIVAL_MS)
    starts = [batch.slot_start_ms[slot] for slot in batch.slots]
    assert starts == [ARRIVAL_MS // 60_000 * 60_000] * 2
    assert [rejection.reason for rejection in batch.rejections] == ["invalid_event_time"]


def test_late_and_future_bounds_are_inclusive_and_to_the_millisecond() -> None:
    reader = Reader(definition('allowed_lateness = "1h"\nallowed_future = "5m"'))
    hour, minutes = 3_600_000, 300_000
    ok = [event(t=ARRIVAL_MS - hour), event(t=ARRIVAL_MS + minutes), event(t=ARRIVAL_MS)]
    batch = reader.read([*ok, event(t=ARRIVAL_MS - hour - 1), event(t=ARRIVAL_MS + minutes + 1)], ARRIVAL_MS)
    assert len(batch.events) == 3
    assert batch.late == [3]
    assert [(rejection.index, rejection.reason) for rejection in batch.rejections] == [(4, "future_event_time")]
    assert "300001 ms ahead" in batch.rejections[0].message


def test_partition_keys() -> None:
    assert READER.partition_keys([event()]) is None
    reader = Reader(definition('partition_key = "user.id"'))
    lines = [event(user={"id": "u1"}), event(user={"id": 7}), event(), b"{", b'{"user":5}', b'{"user":{"id":1e999}}']
    assert reader.partition_keys(lines) == ["u1", "7", "", "", "", ""]


def test_one_field_in_several_roles_takes_what_all_of_them_take() -> None:
    reader = Reader(
        parse_definition("""
name = "test"
[stream]
event_time = "t"
event_id = "id"
[[counter]]
name = "events"
windows = ["1m"]
group_by = ["amount", "t", "id"]
measures = ["sum(amount)", "max(id)"]
""")
    )
    lines = [event(amount=1), event(amount=2.5), event(amount="1"), event(id=1), event(id=1.5), event(id="a")]
    assert outcome(reader, *lines) == [None, None, "invalid_number", None, "invalid_event_id", "invalid_number"]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["country", "age", "x"]), inner, max_size=3),
    max_leaves=4,
)
events = st.fixed_dictionaries(
    {},
    optional={
        "t": st.sampled_from([TIME, 1_795_433_587, "2026-11-23T11:33:07.1234567", None, "x", 5.5]) | json_values,
        "event": json_values,
        "user": json_values,
        "kind": json_values,
        "amount": json_values,
        "id": json_values,
        "other": json_values,
    },
)
raw_lines = st.one_of(
    events.map(lambda fields: json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b" ")),
    st.tuples(events, st.integers(0, 60)).map(lambda drawn: json.dumps(drawn[0]).encode()[: drawn[1]]),
)


@given(st.lists(raw_lines, max_size=8))
def test_the_fast_path_says_the_same_as_the_slow_one(lines: list[bytes]) -> None:
    fast = READER.read(lines, ARRIVAL_MS)
    slow_reader = Reader(definition('event_id = "id"'))
    slow_reader._decode = _refuse_everything
    slow = slow_reader.read(lines, ARRIVAL_MS)
    assert fast.rejections == slow.rejections
    assert [repr(event) for event in fast.events] == [repr(event) for event in slow.events]
    assert fast.slots == slow.slots


@given(st.lists(raw_lines, max_size=8))
def test_every_record_has_one_outcome_whatever_its_batch(lines: list[bytes]) -> None:
    assert outcome(READER, *lines) == [outcome(READER, line)[0] for line in lines]


def _refuse_everything(line: bytes) -> Any:
    raise UnicodeDecodeError("utf-8", line, 0, 0, "the slow path is asked for")


@given(st.lists(st.binary(max_size=200) | st.binary(min_size=900, max_size=1_100), max_size=5))
def test_base64_records_come_out_as_they_went_in(records: list[bytes]) -> None:
    assert decode_base64([base64.b64encode(record).decode() for record in records]) == records


@pytest.mark.parametrize("length", [4, 4_000])
@pytest.mark.parametrize("text", ["e30", "e3 0=", "e30=!", "é30="])
def test_what_is_not_base64_is_refused(text: str, length: int) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError)):  # the decoders' own words
        decode_base64(["e30=" if length == 4 else "e30A" * (length // 4), text])
