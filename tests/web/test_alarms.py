"""Alarms over real HTTP: what they are, where they stand, charts, backtests, mutes; with real SQLite files."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tallystream.core.alarm import DecidingDatapoint, State, Transition, alarm_fingerprint
from tallystream.local.clock import now_ms
from tallystream.ports.alarms import AlarmChange, AlarmKey
from tallystream.web.services import Tokens
from tests.web.conftest import StartWeb, Web
from tests.web.test_live import listening

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

DEFINITION = """
name = "web-test"

[stream]
event_time = "time"

[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
measures = ["sum(amount)"]

[browser]
key = "browser-key-1"
origins = ["https://shop.example"]

[[alarm]]
name = "low"
description = "Too few."
counter = "events"
window = "1m"
group = { event = "page view" }
comparison = "<"
threshold = 5
evaluation_periods = 3
datapoints_to_alarm = 2
notify = { alarm = ["chat"], ok = ["chat", "log"] }

[[alarm]]
name = "each"
counter = "events"
window = "1m"
measure = "sum(amount)"
group_by = "each"
groups_max = 2
comparison = ">"
threshold = 10.5
clear_threshold = 9

[[alarm]]
name = "relative"
counter = "events"
window = "1m"
group = { event = "page view" }
comparison = "<="
threshold_percent = -50
baseline = "10m"

[[alarm]]
name = "band"
counter = "events"
window = "1h"
group = { event = "page view" }
comparison = "outside"
band = 3
weeks = 3

[[alarm]]
name = "disk"
system = "disk_free_percent"
comparison = "<"
threshold = 5
delay = "10s"

[[alarm]]
name = "any"
when = "low or disk"

[[notify]]
name = "chat"
type = "slack"
url = "https://chat.example/secret-path"

[[notify]]
name = "log"
type = "command"
command = ["/bin/cat"]

[[mute]]
name = "always"
alarms = ["disk"]
note = "New disk ordered."
"""


@pytest.fixture
def web(start_web: StartWeb) -> Web:
    started = start_web(DEFINITION)
    started.alarms.declare({alarm.name: alarm_fingerprint(alarm) for alarm in started.definition.alarms}, now_ms())
    return started


def enter(web: Web, alarm: str, state: State, group: str = "", at_ms: int | None = None) -> None:
    """Bring an alarm into a state, as the engine would."""
    key = AlarmKey(alarm, group)
    status = web.alarms.statuses().get(key)
    datapoint = DecidingDatapoint(1_790_000_000_000, Decimal("3.25"), True, False, Decimal(5), None)
    transition = Transition(status.state if status else "INSUFFICIENT_DATA", state, f"it is {state}", (datapoint,))
    change = AlarmChange(key, status.version if status else 0, transition, state, ())
    assert web.alarms.commit([change], now_ms() if at_ms is None else at_ms)


def send(web: Web, counts: Sequence[tuple[int, str, int]], amount: float = 1) -> None:
    """Count events: (time in ms, event, how many)."""
    lines = [json.dumps({"event": event, "time": at_ms, "amount": amount}) for at_ms, event, n in counts for _ in range(n)]
    answer = web.post("\n".join(lines), Content_Type="application/x-ndjson")
    assert answer.status_code == 202 and answer.json()["rejected"] == [], answer.text
    web.count()


def get(web: Web, path: str, **parameters: object) -> Any:
    answer = web.client.get(path, params={name.rstrip("_"): str(value) for name, value in parameters.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(web: Web, method: str, path: str, status: int, **more: Any) -> str:
    """Return the message of a request that must be refused; its code in front."""
    answer = web.client.request(method, path, **more)
    assert answer.status_code == status, answer.text
    told = answer.json()
    return f"{told['error']}: {told['message']}"


def listed(web: Web) -> dict[str, Any]:
    return {alarm["name"]: alarm for alarm in get(web, "/v1/alarms")["alarms"]}


# Where they stand.


def test_alarms_are_described_as_defined(web: Web) -> None:
    found = listed(web)
    assert list(found) == ["low", "each", "relative", "band", "disk", "any"]
    low = found["low"]
    assert {name: value for name, value in low.items() if value is not None} == {
        "name": "low", "description": "Too few.", "kind": "counter", "counter": "events", "window": "1m", "measure": "count",
        "group": {"event": "page view"}, "each": False, "groups": 0, "groups_left_out": 0,
        "condition": "count < 5 for 2 of 3 windows of 1m", "comparison": "<", "threshold": 5, "evaluation_periods": 3,
        "datapoints_to_alarm": 2, "treat_missing_data": "missing", "wait": "early",
        "notify": {"alarm": ["chat"], "ok": ["chat", "log"], "insufficient_data": []},
        "state": "INSUFFICIENT_DATA", "states": [], "states_truncated": False,
    }  # fmt: skip
    assert (found["each"]["threshold"], found["each"]["clear_threshold"], found["each"]["group"]) == (10.5, 9, None)
    assert (found["relative"]["threshold_percent"], found["relative"]["baseline"]) == (-50, "10m")
    assert (found["band"]["band"], found["band"]["clear_band"], found["band"]["weeks"]) == (3, None, 3)
    assert (found["disk"]["kind"], found["disk"]["system"], found["disk"]["delay"]) == ("system", "disk_free_percent", "10s")
    assert (found["any"]["kind"], found["any"]["when"], found["any"]["window"]) == ("composite", "low or disk", None)
    assert get(web, "/v1/alarms/low") == low
    assert refused(web, "GET", "/v1/alarms/absent", 404).startswith(
        "unknown_alarm: there is no alarm 'absent'; there are low, each"
    )


def test_states_are_told_with_their_groups(web: Web) -> None:
    send(web, [(1_790_000_000_000, event, 1) for event in ("a", "b", "c")])
    enter(web, "each", "OK", '["a"]', 1_000)
    enter(web, "low", "ALARM", at_ms=2_000)
    assert get(web, "/v1/alarms")["in_alarm"] == 1
    found = listed(web)
    assert (found["each"]["state"], found["each"]["since"]) == ("OK", 1_000)
    assert (found["each"]["groups"], found["each"]["groups_left_out"]) == (1, 1)
    enter(web, "each", "ALARM", '["b"]', 3_000)
    each = get(web, "/v1/alarms/each")
    assert (each["state"], each["since"]) == ("ALARM", 3_000)
    assert each["states"] == [
        {"group": {"event": "b"}, "key": '["b"]', "state": "ALARM", "since": 3_000, "acknowledged": None},
        {"group": {"event": "a"}, "key": '["a"]', "state": "OK", "since": 1_000, "acknowledged": None},
    ]
    assert get(web, "/v1/alarms/low")["states"][0]["group"] == {"event": "page view"}
    enter(web, "each", "INSUFFICIENT_DATA", '["a"]')
    enter(web, "each", "INSUFFICIENT_DATA", '["b"]')
    assert get(web, "/v1/alarms/each")["state"] == "INSUFFICIENT_DATA"


def test_of_many_groups_those_in_alarm_are_shown(web: Web) -> None:
    for number in range(205):
        enter(web, "each", "ALARM" if number > 200 else "OK", f'["{number:03}"]', 1_000)
    each = get(web, "/v1/alarms/each")
    assert (each["groups"], each["states_truncated"], len(each["states"])) == (205, True, 200)
    assert [state["key"] for state in each["states"][:5]] == ['["201"]', '["202"]', '["203"]', '["204"]', '["000"]']


def test_history_is_told_page_by_page(web: Web) -> None:
    enter(web, "low", "ALARM", at_ms=2_000)
    enter(web, "each", "ALARM", '["a"]', 3_000)
    page = get(web, "/v1/alarms/history", limit=1)
    assert page["items"] == [
        {
            "id": page["next"], "alarm": "each", "group": {"event": "a"}, "key": '["a"]', "at": 3_000, "kind": "StateUpdate",
            "summary": "From INSUFFICIENT_DATA to ALARM", "old_state": "INSUFFICIENT_DATA", "new_state": "ALARM",
            "reason": "it is ALARM",
            "datapoints": [
                {"at": 1_790_000_000_000, "value": 3.25, "breaching": True, "filled": False, "lower": 5, "upper": None}
            ],
        }
    ]  # fmt: skip
    assert get(web, "/v1/alarms/history", before=page["next"], limit=1)["items"][0]["alarm"] == "low"
    low = get(web, "/v1/alarms/history", alarm="low")
    assert [item["kind"] for item in low["items"]] == ["StateUpdate", "ConfigurationUpdate"]
    assert low["next"] is None
    # What an alarm did that is no longer defined is told, too.
    web.alarms.declare({"gone": "x"}, now_ms())
    enter(web, "gone", "ALARM", '["a"]')
    assert get(web, "/v1/alarms/history", alarm="gone")["items"][0]["group"] is None
    for parameters in ("limit=0", "limit=501", "before=-1", "before=x"):
        assert refused(web, "GET", f"/v1/alarms/history?{parameters}", 400).startswith("invalid_parameter: ")


# What people do.


def test_an_alarm_is_acknowledged_once_it_is_in_alarm(web: Web) -> None:
    path = "/v1/alarms/low/acknowledge"
    assert refused(web, "POST", path, 409).startswith("not_in_alarm: alarm low is not in ALARM")
    enter(web, "low", "ALARM")
    assert web.client.post(path, json={"by": " Ada ", "note": "On it."}).status_code == 204
    (state,) = get(web, "/v1/alarms/low")["states"]
    assert (state["acknowledged"]["by"], state["acknowledged"]["note"]) == ("Ada", "On it.")
    assert state["acknowledged"]["at"] <= now_ms()
    enter(web, "each", "ALARM", '["a"]')
    assert "the group" in refused(web, "POST", "/v1/alarms/each/acknowledge", 409, json={"key": '["b"]'})
    assert web.client.post("/v1/alarms/each/acknowledge", json={"key": '["a"]'}).status_code == 204
    assert refused(web, "POST", "/v1/alarms/absent/acknowledge", 404).startswith("unknown_alarm: ")
    assert refused(web, "POST", path, 400, json={"by": "x" * 201}).startswith("invalid_body: ")


def test_mutes_are_set_listed_and_ended(web: Web) -> None:
    before_ms = now_ms()
    answer = web.client.post("/v1/alarms/mutes", json={"alarms": ["low", "low"], "for": "2h", "by": "Ada", "note": "Upgrade"})
    assert answer.status_code == 201
    mute = answer.json()
    assert (mute["alarms"], mute["by"], mute["note"], mute["until"] - mute["from"]) == (["low"], "Ada", "Upgrade", 2 * HOUR_MS)
    assert before_ms <= mute["from"] <= now_ms()
    assert listed(web)["low"]["muted"] == {
        "until": mute["until"], "note": "Upgrade", "by": "Ada", "schedule": None, "id": mute["id"]
    }  # fmt: skip
    assert listed(web)["any"]["muted"] is None
    for_all = web.client.post("/v1/alarms/mutes", json={"alarms": [], "until": mute["until"] + 1}).json()
    assert listed(web)["any"]["muted"]["id"] == listed(web)["low"]["muted"]["id"] == for_all["id"]
    later = web.client.post("/v1/alarms/mutes", json={"alarms": ["band"], "from": mute["until"], "for": "400d"})
    assert later.json()["message"].startswith('for is "400d"; allowed is an end that is yet to come')
    later = web.client.post("/v1/alarms/mutes", json={"alarms": ["band"], "from": mute["until"], "for": "1d"}).json()
    listing = get(web, "/v1/alarms/mutes")
    assert listing["mutes"] == [mute, for_all, later]
    assert listing["schedules"] == [
        {"name": "always", "alarms": ["disk"], "note": "New disk ordered.", "active": True, "text": "every day, UTC"}
    ]
    for each in (mute, for_all):
        assert web.client.delete(f"/v1/alarms/mutes/{each['id']}").status_code == 204
    assert refused(web, "DELETE", f"/v1/alarms/mutes/{mute['id']}", 404).startswith("unknown_mute: ")
    assert get(web, "/v1/alarms/mutes")["mutes"] == [later]
    assert listed(web)["low"]["muted"] is listed(web)["band"]["muted"] is None
    assert listed(web)["disk"]["muted"]["schedule"] == "always"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"alarms": ["low"]}, "invalid_parameter: give either until, a time, or for, a duration"),
        ({"alarms": ["low"], "for": "1h", "until": "now"}, "invalid_parameter: give either until"),
        ({"for": "1h"}, "invalid_body: the body is not as expected: Object missing required field `alarms`"),
        ({"alarms": ["hi"], "for": "1h"}, 'invalid_parameter: alarms is "hi"; allowed is names of alarms: any, band'),
        ({"alarms": [], "for": "soon"}, "invalid_parameter: for: a duration is"),
        ({"alarms": [], "until": "soon"}, 'invalid_parameter: until: "soon" is not a time'),
        ({"alarms": [], "until": "-1h"}, 'invalid_parameter: until is "-1h"; allowed is an end that is yet to come'),
        ({"alarms": [], "from": "x", "for": "1h"}, 'invalid_parameter: from: "x" is not a time'),
        ({"alarms": [], "until": 10**17}, "invalid_parameter: until: "),
        ({"alarms": [], "unknown": 1}, "invalid_body: "),
    ],
)
def test_a_wrong_mute_is_refused(web: Web, body: dict[str, Any], message: str) -> None:
    assert refused(web, "POST", "/v1/alarms/mutes", 400, json=body).startswith(message)
    assert get(web, "/v1/alarms/mutes")["mutes"] == []


def test_notifications_tell_no_address(web: Web) -> None:
    answer = web.client.get("/v1/notifications")
    assert answer.json() == {
        "channels": [{"name": "chat", "type": "slack", "waiting": 0}, {"name": "log", "type": "command", "waiting": 0}],
        "undelivered": [],
    }
    assert "secret-path" not in answer.text
    assert "secret-path" not in web.client.get("/v1/alarms").text
    assert "secret-path" not in web.client.get("/v1/definition").text


def test_changing_needs_the_write_token(start_web: StartWeb) -> None:
    web = start_web(DEFINITION, Tokens(write="w" * 16, read="r" * 16))
    enter(web, "low", "ALARM")
    read, write = {"Authorization": f"Bearer {'r' * 16}"}, {"Authorization": f"Bearer {'w' * 16}"}
    assert web.client.post("/v1/session", json={"token": "r" * 16}).status_code == 204
    changing = [
        ("POST", "/v1/alarms/mutes", {"alarms": [], "for": "1h"}, 201),
        ("DELETE", "/v1/alarms/mutes/1", None, 204),
        ("POST", "/v1/alarms/low/acknowledge", {}, 204),
        ("POST", "/v1/alarms/low/test", {}, 200),
    ]
    for method, path, body, status in changing:
        assert web.client.request(method, path, json=body).status_code == 401  # the cookie is for reading
        assert web.client.request(method, path, json=body, headers=read).status_code == 401
        from_page = {"Origin": "https://shop.example", "Authorization": "Bearer browser-key-1"}
        assert web.client.request(method, path, json=body, headers=from_page).status_code == 403
        assert (
            web.client.request(method, path, json=body, headers={**write, "Origin": "https://evil.example"}).status_code == 403
        )
        assert web.client.request(method, path, json=body, headers=write).status_code == status
    web.client.cookies.clear()
    for path in ("", "/low", "/low/chart", "/history", "/mutes"):
        assert web.client.get(f"/v1/alarms{path}").status_code == 401
        assert web.client.get(f"/v1/alarms{path}", headers=write).status_code == 401
        assert web.client.get(f"/v1/alarms{path}", headers=read).status_code == 200
    assert web.client.get("/v1/notifications").status_code == 401


# Live updates and Prometheus.


def test_live_messages_tell_of_alarms(web: Web) -> None:
    with listening(web) as received:
        first = next(received)["data"]["alarms"]
        enter(web, "low", "ALARM")
        second = next(received)["data"]
        web.client.post("/v1/alarms/mutes", json={"alarms": [], "for": "1h"})
        third = next(received)["data"]["alarms"]
    assert (first["in_alarm"], second["alarms"]["in_alarm"], second["changed"]) == (0, 1, [])
    assert first["version"] < second["alarms"]["version"] < third["version"]


def test_states_are_shown_to_prometheus(web: Web) -> None:
    enter(web, "low", "ALARM")
    enter(web, "each", "OK", '["a\\nb"]')
    enter(web, "each", "INSUFFICIENT_DATA", "[null]")
    text = web.client.get("/metrics").text
    assert 'tallystream_alarm_state{alarm="low",group=""} 1.0' in text
    assert 'tallystream_alarm_state{alarm="each",group="a\\nb"} 0.0' in text
    assert 'tallystream_alarm_state{alarm="each",group="NULL"} 2.0' in text
    assert "tallystream_alarm_states_omitted 0.0" in text
    assert 'tallystream_notifications_undelivered{channel="chat",given_up="false"} 0.0' in text


def test_prometheus_is_shown_a_thousand_states_those_in_alarm_first(web: Web) -> None:
    changes = [
        AlarmChange(AlarmKey("each", f'["{number}"]'), 0, Transition("INSUFFICIENT_DATA", "OK", "", ()), "OK", ())
        for number in range(1_000)
    ]
    assert web.alarms.commit(changes, now_ms())
    for number in range(3):
        enter(web, "low", "ALARM", f'["{number}"]')
    text = web.client.get("/metrics").text
    assert text.count("tallystream_alarm_state{") == 1_000
    assert text.count('tallystream_alarm_state{alarm="low"') == 3
    assert "tallystream_alarm_states_omitted 3.0" in text
