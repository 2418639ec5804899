"""Charts of alarms, and alarms tried on stored history, over real HTTP and real SQLite files."""

import time
from decimal import Decimal
from typing import Any

import pytest

from tallystream.local.clock import now_ms
from tests.web.conftest import StartWeb, Web
from tests.web.test_alarms import DEFINITION, HOUR_MS, MINUTE_MS, enter, get, refused, send
from tests.web.test_openapi import check

DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS


@pytest.fixture
def web(start_web: StartWeb) -> Web:
    return start_web(DEFINITION)


@pytest.fixture
def hour() -> int:
    """Start of an hour that is over."""
    return now_ms() // HOUR_MS * HOUR_MS - HOUR_MS


def minutes(web: Web, start_ms: int, counts: list[int], event: str = "page view", amount: float = 1) -> None:
    """Count so many events in each minute from start_ms on."""
    send(web, [(start_ms + MINUTE_MS * at, event, count) for at, count in enumerate(counts)], amount)


def test(web: Web, alarm: str, **wanted: Any) -> Any:
    answer = web.client.post(f"/v1/alarms/{alarm}/test", json={name.rstrip("_"): value for name, value in wanted.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


test.__test__ = False  # type: ignore[attr-defined]


# Charts.


def test_a_chart_has_datapoints_bounds_and_changes_of_state(web: Web, hour: int) -> None:
    minutes(web, hour, [7, 0, 3])
    enter(web, "low", "ALARM", at_ms=hour + 4 * MINUTE_MS)
    enter(web, "low", "OK", at_ms=hour + 11 * MINUTE_MS)
    assert get(web, "/v1/alarms/low/chart", from_=hour, to=hour + 10 * MINUTE_MS) == {
        "alarm": "low", "key": "", "window": "1m", "from": hour, "to": hour + 10 * MINUTE_MS,
        "points": [[hour, 7], [hour + 2 * MINUTE_MS, 3]],
        "lower": [[hour, 5], [hour + 10 * MINUTE_MS, 5]], "upper": [], "expected": [],
        "transitions": [{"at": hour + 4 * MINUTE_MS, "old_state": "INSUFFICIENT_DATA", "new_state": "ALARM"}],
    }  # fmt: skip
    newest = get(web, "/v1/alarms/low/chart")
    assert newest["to"] - newest["from"] == HOUR_MS
    assert now_ms() <= newest["to"] + 10_000


def test_a_chart_of_a_group_that_an_alarm_watches(web: Web, hour: int) -> None:
    for event in ("a", "b", "c"):
        minutes(web, hour, [2], event, amount=5.5)
    enter(web, "each", "ALARM", '["b"]', hour)
    enter(web, "each", "ALARM", '["a"]', hour + 1)
    chart = get(web, "/v1/alarms/each/chart", key='["b"]', from_=hour, to=hour + HOUR_MS)
    assert chart["points"] == [[hour, 11]]
    assert chart["upper"] == [[hour, 10.5], [hour + HOUR_MS, 10.5]]
    assert [change["at"] for change in chart["transitions"]] == [hour]
    for key in ("", '["c"]', "nonsense"):  # c is over groups_max
        message = refused(web, "GET", f"/v1/alarms/each/chart?key={key}", 400)
        assert message.endswith('allowed is the key of a group that each watches, "" where it has one state')


def test_bounds_that_are_learnt_from_the_past_are_drawn_as_steps(web: Web, hour: int) -> None:
    minutes(web, hour, [4, 0, 10])
    chart = get(web, "/v1/alarms/relative/chart", from_=hour + 10 * MINUTE_MS, to=hour + 13 * MINUTE_MS)
    at = chart["from"]
    assert chart["lower"] == [[at, 2], [at + MINUTE_MS, None], [at + 2 * MINUTE_MS, 5], [at + 3 * MINUTE_MS, 5]]
    send(web, [(hour - hours * HOUR_MS, "page view", 4) for hours in range(1, 8 * 24)])
    band = get(web, "/v1/alarms/band/chart", from_=hour - HOUR_MS, to=hour)
    assert (band["window"], band["points"]) == ("1h", [[hour - HOUR_MS, 4]])
    # Fewer than eight hours of the week before are alike this one, and those next to it: nothing is expected yet.
    assert band["expected"] == band["lower"] == band["upper"] == []
    wider = get(web, "/v1/alarms/relative/chart", from_=hour - HOUR_MS, to=hour)
    assert len(wider["lower"]) > 0


def test_charts_of_what_has_no_counter(web: Web, hour: int) -> None:
    web.alarms.add_samples({"disk_free_percent": Decimal("50.5")}, hour + 10_000)
    web.alarms.add_samples({"disk_free_percent": Decimal("50.25")}, hour + 20_000)
    disk = get(web, "/v1/alarms/disk/chart", from_=hour, to=hour + 2 * MINUTE_MS)
    assert (disk["points"], disk["lower"][0]) == ([[hour, 50.25]], [hour, 5])
    enter(web, "any", "ALARM", at_ms=hour)
    composite = get(web, "/v1/alarms/any/chart", from_=hour, to=hour + HOUR_MS)
    assert (composite["window"], composite["points"], len(composite["transitions"])) == (None, [], 1)
    assert refused(web, "GET", "/v1/alarms/any/chart?key=x", 400).startswith('invalid_parameter: key is "x"')


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("low/chart?from=x", 'from: "x" is not a time'),
        ("low/chart?from=now&to=-1h", 'from is "now"; allowed is a time before to'),
        ("low/chart?from=-30d", 'from is "-30d"; allowed is at most 11,000 windows of 1m before to'),
        ("band/chart?from=-9000d", 'from is "-9000d"; allowed is at most 11,000 windows of 1h before to'),
        ("any/chart?from=-32d", 'from is "-32d"; allowed is at most 31d before to'),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_refused(web: Web, query: str, message: str) -> None:
    assert refused(web, "GET", f"/v1/alarms/{query}", 400).startswith(f"invalid_parameter: {message}")


# Backtests.


def test_an_alarm_is_tried_on_what_was_counted(web: Web, hour: int) -> None:
    minutes(web, hour - HOUR_MS, [9] * 10 + [1] * 10 + [9] * 20 + [1] * 5 + [9] * 15)
    told = test(web, "low", from_=hour - HOUR_MS, to=hour)
    assert (told["from"], told["to"], told["windows"], told["groups"], told["fired"]) == (hour - HOUR_MS, hour, 60, 1, 2)
    assert (told["alarm_ms"], told["longest_ms"], told["flaps"]) == (15 * MINUTE_MS, 10 * MINUTE_MS, 0)
    assert [(each["from"], each["to"]) for each in told["episodes"]] == [
        (hour - HOUR_MS + 42 * MINUTE_MS, hour - HOUR_MS + 47 * MINUTE_MS),
        (hour - HOUR_MS + 12 * MINUTE_MS, hour - HOUR_MS + 22 * MINUTE_MS),
    ]
    assert "2 of the last 3 datapoints were < 5" in told["episodes"][0]["reason"]
    assert (told["episodes"][0]["group"], told["episodes"][0]["key"]) == ({"event": "page view"}, "")
    # Before anybody writes it into the definition.
    changed = test(web, "low", from_=hour - HOUR_MS, to=hour, changes={"threshold": 0.5, "datapoints_to_alarm": None})
    assert changed["fired"] == 0
    assert get(web, "/v1/alarms/low")["threshold"] == 5


def test_each_group_is_tried_by_itself(web: Web, hour: int) -> None:
    minutes(web, hour, [1, 20, 1], "a")
    minutes(web, hour, [20, 20, 1], "b")
    both = test(web, "each", from_=hour, to=hour + 10 * MINUTE_MS)
    assert (both["groups"], both["fired"]) == (2, 2)
    assert [each["group"]["event"] for each in both["episodes"]] == ["a", "b"]
    one = test(web, "each", from_=hour, to=hour + 10 * MINUTE_MS, key='["b"]')
    assert (one["groups"], one["episodes"]) == (1, both["episodes"][1:])


def test_what_it_measures_of_itself_is_tried(web: Web, hour: int) -> None:
    for minute, free in enumerate((20, 4, 4, 20)):
        web.alarms.add_samples({"disk_free_percent": Decimal(free)}, hour + minute * MINUTE_MS)
    told = test(web, "disk", from_=hour, to=hour + 10 * MINUTE_MS)
    assert [(each["from"], each["to"]) for each in told["episodes"]] == [(hour + 130_000, hour + 250_000)]
    assert told["episodes"][0]["group"] is None


def test_episodes_past_five_hundred_are_only_counted(web: Web, hour: int) -> None:
    send(web, [(hour - at * MINUTE_MS, "page view", 1 + 9 * (at % 2)) for at in range(1_100)])
    changes = {"evaluation_periods": None, "datapoints_to_alarm": None}
    told = test(web, "low", from_=hour - 1_100 * MINUTE_MS, to=hour, changes=changes)
    assert told["fired"] >= 549
    assert (len(told["episodes"]), told["episodes_left_out"]) == (500, told["fired"] - 500)
    assert told["flaps"] == told["fired"] - 1


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (
            "any",
            {},
            "invalid_parameter: any is a composite alarm, which has no datapoints; test the alarms that its rule names",
        ),
        ("low", {"from": "now"}, 'invalid_parameter: from is "now"; allowed is a time in the past'),
        ("low", {"from": "yesterday"}, 'invalid_parameter: from: "yesterday" is not a time'),
        ("low", {"key": "x"}, 'invalid_parameter: key is "x"; allowed is the key of a group that low watches'),
        ("low", {"from": "-2000d"}, "invalid_parameter: from: 2,880,000 windows of 1m, each of 1 group, are too many"),
        ("band", {"from": "-8000d"}, "invalid_parameter: from: 192,000 windows of 1h, each of 1 group, are too many"),
        ("low", {"changes": {"window": "7m", "x": 1}}, 'invalid_alarm: the changed alarm has 2 mistakes: alarm "low".x is '),
        ("low", {"changes": {"threshold": [5]}}, "invalid_alarm: the changed alarm has 1 mistake: "),
        ("low", {"changes": 5}, "invalid_body: "),
    ],
)
def test_a_wrong_backtest_is_refused(web: Web, path: str, body: dict[str, Any], message: str) -> None:
    assert refused(web, "POST", f"/v1/alarms/{path}/test", 400, json=body).startswith(message)
    assert refused(web, "POST", "/v1/alarms/absent/test", 404).startswith("unknown_alarm: ")


def test_a_year_of_ten_thousand_groups_is_refused_at_once(start_web: StartWeb, hour: int) -> None:
    web = start_web(DEFINITION.replace("groups_max = 2", "groups_max = 10000"))
    send(web, [(hour, f"event {number}", 1) for number in range(10_000)])
    started_s = time.monotonic()
    message = refused(web, "POST", "/v1/alarms/each/test", 400, json={"from": "-366d"})
    assert time.monotonic() - started_s < 3
    assert message == (
        "invalid_parameter: from: 527,040 windows of 1m, each of 10,000 groups, are too many to test at once; "
        "choose a range of at most 1h, or test a single group with key"
    )
    assert test(web, "each", from_="-5m")["groups"] == 10_000
    assert test(web, "each", from_="-30d", key='["event 9999"]')["windows"] == 43_200


def test_answers_are_as_the_openapi_document_says(web: Web, hour: int) -> None:
    minutes(web, hour, [9, 1, 1, 1])
    enter(web, "low", "ALARM", at_ms=hour)
    document = web.client.get("/v1/openapi.json").json()
    body = {"from": hour, "to": hour + HOUR_MS}
    mute = {"alarms": ["low"], "for": "1h"}
    for method, path, name, more in (
        ("get", "/v1/alarms", "", {}),
        ("get", "/v1/alarms/{name}", "low", {}),
        ("get", "/v1/alarms/{name}/chart", "low", {"params": body}),
        ("get", "/v1/alarms/{name}/chart", "any", {}),
        ("post", "/v1/alarms/{name}/test", "low", {"json": body}),
        ("post", "/v1/alarms/{name}/test", "any", {}),
        ("post", "/v1/alarms/mutes", "", {"json": mute}),
        ("get", "/v1/alarms/mutes", "", {}),
        ("get", "/v1/alarms/history", "", {}),
        ("get", "/v1/notifications", "", {}),
    ):
        check(document, path, method, web.client.request(method, path.replace("{name}", name), **more))


def test_the_problems_of_a_changed_alarm_are_listed(web: Web) -> None:
    answer = web.client.post("/v1/alarms/low/test", json={"changes": {"window": "2h", "comparison": "="}})
    assert [problem["key"] for problem in answer.json()["problems"]] == ['alarm "low".comparison', 'alarm "low".window']
