"""CloudEvents, Segment and browser events as lines, without a server."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.definition_text import parse_definition
from tallystream.web.errors import RequestRefusedError
from tallystream.web.formats import EventForms

ARRIVAL_MS = 1_795_000_000_123
ARRIVAL = "2026-11-18T11:06:40.123Z"
CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", "time": "2026-11-23T09:05:00Z"}


def forms(event_time: str = "utc_timestamp", event_id: str | None = None) -> EventForms:
    identity = f'event_id = "{event_id}"\n' if event_id else ""
    counter = '[[counter]]\nname = "c"\ngroup_by = ["event"]\nwindows = ["1m"]\n'
    return EventForms(parse_definition(f'name = "t"\n[stream]\nevent_time = "{event_time}"\n{identity}{counter}'))


def structured(event: Any, **settings: Any) -> dict[str, Any]:
    (line,) = forms(**settings).cloud_events(json.dumps(event).encode(), "application/cloudevents+json", {})
    decoded = json.loads(line)
    assert isinstance(decoded, dict)
    return decoded


def refusal(event: Any, content_type: str = "application/cloudevents+json") -> RequestRefusedError:
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    with pytest.raises(RequestRefusedError) as caught:
        forms().cloud_events(body, content_type, {})
    return caught.value


def test_a_cloudevent_is_kept_and_filled_in() -> None:
    event = {**CLOUD_EVENT, "data": {"country": "GB", "id": "of the data", "nested": {"a": 1}}}
    assert structured(event, event_id="dedup_key") == {
        **event,
        "country": "GB",
        "nested": {"a": 1},
        "utc_timestamp": "2026-11-23T09:05:00Z",
        "event": "order",
        "dedup_key": '["/shop","1"]',
    }


def test_what_the_data_says_itself_goes_before_the_envelope() -> None:
    stored = structured({**CLOUD_EVENT, "data": {"event": "paid", "utc_timestamp": 1_790_000_000}})
    assert (stored["event"], stored["utc_timestamp"]) == ("paid", 1_790_000_000)


def test_a_missing_time_stays_missing() -> None:
    assert "utc_timestamp" not in structured({name: value for name, value in CLOUD_EVENT.items() if name != "time"})


def test_nested_paths_are_filled_in() -> None:
    stored = structured({**CLOUD_EVENT, "meta": {"a": 1}}, event_time="meta.when.utc", event_id="meta.id")
    assert stored["meta"] == {"a": 1, "when": {"utc": CLOUD_EVENT["time"]}, "id": '["/shop","1"]'}
    assert structured({**CLOUD_EVENT, "meta": "text"}, event_time="meta.when")["meta"] == "text"


def test_source_and_id_are_the_identity_also_where_the_definition_names_id() -> None:
    keys = [structured({**CLOUD_EVENT, "source": source}, event_id="id")["id"] for source in ("/a", "/b")]
    assert keys == ['["/a","1"]', '["/b","1"]']


@given(st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(min_size=1), st.text(min_size=1)))
def test_identities_are_unambiguous(one: tuple[str, str], other: tuple[str, str]) -> None:
    keys = [structured({**CLOUD_EVENT, "source": source, "id": id_}, event_id="key")["key"] for source, id_ in (one, other)]
    assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize("missing", ["id", "source", "specversion", "type"])
@pytest.mark.parametrize("value", [..., None, "", 7])
def test_required_attributes(missing: str, value: Any) -> None:
    event = {name: text for name, text in CLOUD_EVENT.items() if name != missing}
    if value is not ...:
        event[missing] = value
    refused = refusal(event)
    assert (refused.status, refused.code, refused.more) == (400, "invalid_cloudevent", {"index": 0})
    assert f"`{missing}`" in refused.message


def test_other_versions_and_other_things_are_refused() -> None:
    assert "0.3" in refusal({**CLOUD_EVENT, "specversion": "0.3"}).message
    batch = "application/cloudevents-batch+json"
    assert refusal([CLOUD_EVENT, 7], batch).more == {"index": 1}
    assert refusal([], batch).code == refusal({}, batch).code == refusal(b"[", batch).code == "invalid_body"
    assert refusal([]).code == refusal(b"{").code == refusal(b"[" * 99_999).code == "invalid_body"


def test_binary_mode() -> None:
    headers = {b"ce-specversion": b"1.0", b"ce-id": b"7", b"ce-source": b"/caf%C3%A9", b"ce-type": b"t", b"host": b"x"}
    (line,) = forms().cloud_events(b'{"n": 12345678901234567890.10}', "application/json", headers)
    assert b'"n":12345678901234567890.10' in line  # no digit is lost on the way
    assert json.loads(line)["source"] == "/café"
    (line,) = forms().cloud_events("grüß".encode(), "text/plain", headers)
    assert json.loads(line)["data"] == "grüß"
    (line,) = forms().cloud_events(b"\xff\x00", "image/png", headers)
    assert json.loads(line)["data_base64"] == "/wA="
    (line,) = forms().cloud_events(b"", "", headers)
    assert "data" not in json.loads(line)
    with pytest.raises(RequestRefusedError, match="the body is not the"):
        forms().cloud_events(b"{", "application/json", headers)
    with pytest.raises(RequestRefusedError, match="ce-type"):
        forms().cloud_events(b"", "", {**headers, b"ce-type": b"%ff"})


def segment(call: str, body: Any, **settings: Any) -> list[Any]:
    lines = forms(**settings).segment_events(json.dumps(body).encode(), call, ARRIVAL_MS)
    assert not any(b"\n" in line for line in lines)
    return [json.loads(line) for line in lines]


def test_track_is_lifted_and_named() -> None:
    sent = {
        "event": "Order Completed", "userId": "u1", "messageId": "m1", "timestamp": "2026-11-23T09:05:00Z",
        "properties": {"revenue": 12.5, "userId": "of the properties"},
    }  # fmt: skip
    assert segment("track", sent, event_id="dedup_key") == [
        {**sent, "type": "track", "revenue": 12.5, "utc_timestamp": "2026-11-23T09:05:00Z", "dedup_key": "m1"}
    ]


@pytest.mark.parametrize(
    ("call", "name"), [("page", "page view"), ("screen", "screen view"), ("identify", "identify"), ("group", "group")]
)
def test_other_calls_get_a_name(call: str, name: str) -> None:
    (event,) = segment(call, {"userId": "u", "traits": {"plan": "pro"}})
    assert (event["type"], event["event"], event["plan"]) == (call, name, "pro")


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"timestamp": "T", "originalTimestamp": "O", "sentAt": "S"}, "T"),
        ({"timestamp": None, "originalTimestamp": "O", "sentAt": "S"}, "O"),
        ({"sentAt": "S"}, "S"),
        ({}, ARRIVAL),
        ({"utc_timestamp": "own", "timestamp": "T"}, "own"),
    ],
)
def test_the_event_time_of_a_segment_event(times: dict[str, Any], expected: str) -> None:
    assert segment("track", {"event": "e", **times})[0]["utc_timestamp"] == expected


def test_a_batch_shares_its_context_and_keeps_its_order() -> None:
    batch = [{"type": "page"}, 7, {"type": "track", "event": "e", "context": {"own": 1}}]
    first, second, third = segment("batch", {"batch": batch, "context": {"ip": "x"}, "sentAt": "S"})
    assert (first["context"], first["event"], first["utc_timestamp"]) == ({"ip": "x"}, "page view", "S")
    assert second == 7
    assert third["context"] == {"own": 1}


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("track", b"[]", 400),
        ("track", b"{", 400),
        ("batch", b'{"batch": []}', 400),
        ("batch", b"{}", 400),
        ("batch", b'{"batch": 7}', 400),
        ("track", b'{"event": "%s"}' % (b"x" * 33_000), 413),
        ("batch", b'{"batch": [{}, {"event": "%s"}]}' % (b"x" * 33_000), 413),
        ("batch", b'{"batch": [%s]}' % b",".join([b'{"event": "%s"}' % (b"x" * 30_000)] * 18), 413),
    ],
)
def test_what_is_no_segment_call_is_refused(call: str, body: bytes, status: int) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        forms().segment_events(body, call, ARRIVAL_MS)
    assert caught.value.status == status


def test_browser_events_take_the_time_of_arrival() -> None:
    lines = [b'{"event": "a", "utc_timestamp": 1, "n": 1.10}', b"broken", b"7"]
    stamped = forms().browser_events(lines, ARRIVAL_MS)
    assert json.loads(stamped[0]) == {"event": "a", "utc_timestamp": ARRIVAL, "n": 1.1}
    assert b"1.10" in stamped[0]
    assert stamped[1:] == [b"broken", b"7"]


def status_of(call: Callable[[], list[bytes]]) -> int:
    try:
        assert call()
    except RequestRefusedError as refused:
        return refused.status
    return 200


@given(st.binary(max_size=200))
def test_any_bytes_give_lines_or_a_refusal(body: bytes) -> None:
    calls: list[Callable[[], list[bytes]]] = [
        lambda: forms().cloud_events(body, "application/cloudevents+json", {}),
        lambda: forms().cloud_events(body, "application/cloudevents-batch+json", {}),
        lambda: forms().cloud_events(body, "application/octet-stream", {b"ce-id": body}),
        lambda: forms().segment_events(body, "batch", ARRIVAL_MS),
        lambda: forms().browser_events([body], ARRIVAL_MS),
    ]
    for call in calls:
        assert status_of(call) in (200, 400, 413)
