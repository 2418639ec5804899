"""GET /v1/query and /v1/groups over real HTTP."""

import csv
import io
import json
import threading
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from tallystream.core.series import Answer
from tallystream.web.answer_types import QueryAnswer
from tests.counted import count_events
from tests.web.conftest import StartWeb, Web

NOW_MS = 1_790_000_055_500
AT = {"from": "1790000000000", "to": "1790000060000"}  # the windows of 10 s from 13:13:20 on
DEFINITION = """
name = "web-test"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event", "user.country"]
windows = ["10s", "1m"]
measures = ["count", "sum(amount)", "max(amount)", "mean(amount)"]
"""
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", 'say "hi", twice', "line\nfeed", "ünï", "NULL", "plain"]


@pytest.fixture
def asked(start_web: StartWeb) -> Web:
    return start_web(DEFINITION)


def count(web: Web, *events: dict[str, Any]) -> None:
    count_events(web.store, web.definition, [{"t": 1_790_000_000_000} | event for event in events])


def query(web: Web, **more: str) -> httpx.Response:
    parameters = {"counter": "events", "window": "10s", **AT, **more}
    return web.client.get("/v1/query", params={name.replace("__", "."): text for name, text in parameters.items()})


def test_an_answer_has_the_documented_form(asked: Web) -> None:
    count(asked, {"event": "page view"}, {"event": "page view", "t": 1_790_000_010_000}, {"event": "click"})
    response = query(asked, by="event")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "counter": "events",
        "window": "10s",
        "measure": "count",
        "from": 1_790_000_000_000,
        "to": 1_790_000_060_000,
        "series": [
            {"group": {"event": "page view"}, "total": 2, "points": [[1_790_000_000_000, 1], [1_790_000_010_000, 1]]},
            {"group": {"event": "click"}, "total": 1, "points": [[1_790_000_000_000, 1]]},
        ],
        "groups": 2,
        "truncated": False,
    }


def test_the_answer_is_what_openapi_says(asked: Web) -> None:
    count(asked, {"event": "a"}, {"event": "b", "amount": 0.25})
    for more in ({}, {"compare": "previous"}, {"top": "1", "other": "true"}, {"measure": "max(amount)", "fill": "zero"}):
        body = query(asked, **more).content
        described = msgspec.json.decode(body, type=QueryAnswer)
        assert msgspec.json.decode(msgspec.json.encode(described)) == msgspec.json.decode(body)
    assert [field.encode_name for field in msgspec.structs.fields(QueryAnswer)] == [
        field.encode_name for field in msgspec.structs.fields(Answer)
    ]


def test_numbers_keep_every_digit(asked: Web) -> None:
    big, small = 123_456_789_012_345, 0.000_000_000_000_001
    count(
        asked,
        *[{"event": "a", "amount": big}] * 3,
        {"event": "a", "amount": small},
        {"event": "b", "amount": 1},
        {"event": "b", "amount": 0},
    )
    body = query(asked, measure="sum(amount)").text
    assert '"total":370370367037035.000000000000001,' in body
    assert '"total":1,' in body
    assert '"total":92592591759258.75,' in query(asked, measure="mean(amount)").text  # 20 digits of …750000000000000250


def test_filters_tell_text_numbers_and_null_apart(asked: Web) -> None:
    count(asked, {"event": None}, {"event": "null"}, {"event": 3}, {"event": "3"}, {"event": True}, {"event": "a&b=c d+e"}, {})
    expected: dict[str, list[Any]] = {
        "null": [None, "null"],
        '"null"': ["null"],
        "3": [3, "3"],
        "3.0": [3],
        "true": [True],
        "a&b=c d+e": ["a&b=c d+e"],
        "missing": [],
    }
    for text, values in expected.items():
        found = [series["group"]["event"] for series in query(asked, group__event=text).json()["series"]]
        assert sorted(map(repr, found)) == sorted(map(repr, values)), text
    several = asked.client.get("/v1/query?counter=events&window=10s&group.event=3&group.event=true", params=AT)
    assert several.status_code == 400  # httpx replaces the query string: counter is missing
    several = asked.client.get(
        f"/v1/query?counter=events&window=10s&from={AT['from']}&to={AT['to']}&group.event=3.0&group.event=true"
    )
    assert {repr(series["group"]["event"]) for series in several.json()["series"]} == {"3", "True"}


def test_exact_filters_tell_apart_what_reads_the_same(asked: Web) -> None:
    values = [3, "3", None, "null", True, "true", "a&b=c d+e"]
    count(asked, *({"event": value} for value in values))
    for value in values:
        found = [series["group"]["event"] for series in query(asked, exact__event=json.dumps(value)).json()["series"]]
        assert list(map(repr, found)) == [repr(value)]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"window": "7s"}, 'window: cannot be "7s": '),
        ({"event": "a"}, "event: is not a parameter; did you mean group.event? "),
        ({"from": "2026-09-21T12:00:00 02:00"}, 'from: "2026-09-21T12:00:00 02:00" is not a time; '),
        ({"group.evnet": "a"}, "group.evnet: "),
        ({"from": "-366d"}, "window: the range holds"),
    ],
)
def test_a_bad_parameter_is_400_and_named(asked: Web, more: dict[str, str], message: str) -> None:
    response = query(asked, **more)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_parameter"
    assert response.json()["message"].startswith(message)
    assert set(response.json()) == {"error", "message"}


def test_an_unknown_counter_is_404_and_the_known_are_named(asked: Web) -> None:
    for path in ("/v1/query?counter=evnts&window=1m", "/v1/groups?counter=evnts&field=event"):
        response = asked.client.get(path)
        assert (response.status_code, response.json()["error"]) == (404, "unknown_counter")
        assert "events" in response.json()["message"]


def test_csv_runs_nothing_in_a_spreadsheet_and_loses_nothing(asked: Web) -> None:
    count(
        asked,
        *[{"event": event, "amount": -2.5} for event in HOSTILE],
        {"event": -7, "amount": 1},
        {"event": None},
        {"event": True},
    )
    response = query(asked, by="event", measure="sum(amount)", format="csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="events-10s.csv"'
    assert response.content.endswith(b"\r\n")
    header, *rows = csv.reader(io.StringIO(response.content.decode(), newline=""))
    assert header == ["window_start", "event", "sum(amount)"]
    assert {row[0] for row in rows} == {"2026-09-21T14:13:20Z"}
    found = {row[1]: row[2] for row in rows}
    dangerous = [event for event in HOSTILE if event[0] in "=+-@\t\r＝"]
    expected = {f"'{event}" if event in dangerous else event: "-2.5" for event in HOSTILE if event != "NULL"}
    assert found == expected | {"-7": "1", "true": "0", "NULL": found["NULL"]}
    assert len(dangerous) == 7
    lines = response.content.decode()
    assert '"NULL",-2.5\r\n' in lines  # text …
    assert ",NULL,0\r\n" in lines  # … and a missing field
    assert ",-7,1\r\n" in lines
    assert '"say ""hi"", twice"' in lines


def test_csv_has_columns_for_the_rest_and_for_the_period_before(asked: Web) -> None:
    count(asked, *[{"event": "a"}] * 2, {"event": "b"}, {"event": "a", "t": 1_790_000_000_000 - 50_000})
    rest = query(asked, by="event", top="1", other="true", show="share", format="csv").text.splitlines()
    assert rest == [
        '"window_start","event","other","share of count"',
        '2026-09-21T14:13:20Z,"a",false,0.66666666666666666667',
        '2026-09-21T14:13:20Z,"",true,0.33333333333333333333',
    ]
    before = query(asked, by="", compare="previous", format="csv").text.splitlines()
    assert before == ['"window_start","count","previous"', "2026-09-21T14:13:20Z,3,", "2026-09-21T14:13:30Z,,1"]
    change = query(asked, by="", compare="previous", show="change", format="csv").text.splitlines()
    assert change == ['"window_start","change of count"', "2026-09-21T14:13:20Z,", "2026-09-21T14:13:30Z,-1"]


def test_groups_lists_the_values_of_a_field(asked: Web) -> None:
    count(asked, {"event": "page view"}, {"event": None}, {"event": "homepage"}, {"event": "click", "user": {"country": "de"}})
    count(asked, {"event": "click", "user": {"country": "fr"}})
    found = asked.client.get("/v1/groups", params={"counter": "events", "field": "event"}).json()
    assert found == {"counter": "events", "field": "event", "values": ["click", "homepage", "page view", None]}
    found = asked.client.get("/v1/groups", params={"counter": "events", "field": "event", "q": "PAGE", "limit": "1"}).json()
    assert found["values"] == ["page view"]
    found = asked.client.get("/v1/groups", params={"counter": "events", "field": "user.country"}).json()
    assert found["values"] == ["de", "fr", None]
    refused = asked.client.get("/v1/groups", params={"counter": "events", "field": "evnt"})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_parameter")


def test_other_requests_are_answered_while_a_query_reads(asked: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    count(asked, {"event": "a"})
    reading, go_on = threading.Event(), threading.Event()
    counts = asked.store.counts

    def slow(*arguments: Any) -> Any:
        reading.set()
        assert go_on.wait(20)
        return counts(*arguments)

    monkeypatch.setattr(asked.store, "counts", slow)
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(query(asked)))
    thread.start()
    try:
        assert reading.wait(20)
        assert asked.client.get("/healthz").status_code == 200
    finally:
        go_on.set()
        thread.join(20)
    assert answers[0].json()["series"][0]["total"] == 1


def test_a_mean_over_wider_windows_is_no_mean_of_means(asked: Web) -> None:
    count(asked, *[{"event": "a", "amount": 1}] * 3, {"event": "a", "amount": 5, "t": 1_790_000_010_000})
    body = query(asked, window="1m", measure="mean(amount)", **{"from": "1789999980000", "to": "1790000040000"}).content
    (series,) = msgspec.json.decode(body, type=Answer).series
    assert series.points == [(1_789_999_980_000, 2)]
    (series,) = msgspec.json.decode(
        query(asked, window="30s", measure="mean(amount)", **{"from": "1789999980000"}).content, type=Answer
    ).series
    assert series.total == Decimal(2)
