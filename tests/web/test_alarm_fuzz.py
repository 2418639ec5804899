"""Whatever is sent to the alarm endpoints: the server lives, and answers in its one form."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystream.local.clock import now_ms
from tests.web.conftest import StartWeb
from tests.web.test_alarms import DEFINITION, MINUTE_MS, enter, get, send

short_texts = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | short_texts | st.sampled_from(["-7d", "now", "1h", 10**400])
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_texts, inner, max_size=3))
names = st.sampled_from(["alarms", "for", "until", "from", "to", "by", "note", "key", "changes"]) | short_texts
alarm_keys = st.sampled_from(
    ["threshold", "band", "window", "group", "group_by", "when", "evaluation_periods", "notify", "name"]
)
changes = st.dictionaries(alarm_keys | short_texts, values, max_size=4)
objects = st.dictionaries(names, values | changes, max_size=5)
bodies = (
    objects.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | changes.map(lambda value: json.dumps({"changes": value}).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=60)
    | st.sampled_from([b"[" * 5_000, b'{"alarms":[],"for":"1h"}', b'{"changes":' + b'{"group":' * 900, b" " * 70_000])
)
alarm_names = st.sampled_from(["low", "each", "band", "disk", "any", "history", "mutes", "absent", "", "%00", "%2F", "\u20ac"])
actions = st.sampled_from(["", "/chart", "/test", "/acknowledge", "/x", "/1", "/99999999999999999999"])
times = st.sampled_from(["", "now", "-1h", "-9000d", "0", "-62135596800000", "253402300799999", "x", "1e5"])


def test_whatever_comes_in_is_answered_in_one_form(start_web: StartWeb) -> None:
    web = start_web(DEFINITION)
    enter(web, "low", "ALARM")
    send(web, [(now_ms() - MINUTE_MS * minute, "page view", minute % 9) for minute in range(30)])

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(["GET", "POST", "DELETE"]), alarm_names, actions, bodies, times, times, short_texts)
    def ask(method: str, name: str, action: str, body: bytes, from_: str, to: str, key: str) -> None:
        parameters = {"from": from_, "to": to, "key": key, "alarm": name, "before": from_, "limit": to}
        given_parameters = {each: value for each, value in parameters.items() if value}
        answer = web.client.request(method, f"/v1/alarms/{name}{action}", content=body, params=given_parameters)
        assert answer.status_code in {200, 201, 204, 400, 404, 405, 409, 413}, (answer.status_code, answer.text)
        if answer.status_code >= 400:
            assert set(answer.json()) >= {"error", "message"}

    ask()
    assert get(web, "/v1/alarms")["in_alarm"] == 1
