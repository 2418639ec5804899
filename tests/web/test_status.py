"""Definition, health, readiness, metrics, session and the rejected events over real HTTP."""

import base64
import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tallystream.core.definition import Counter
from tallystream.local.clock import now_ms
from tallystream.ports.stream import Append
from tallystream.web import metrics
from tallystream.web.metrics import label_groups, label_names
from tallystream.web.services import Tokens
from tests.web.conftest import StartWeb, Web
from tests.web.test_ingest import event

MEASURED = """
name = "measured"
[stream]
event_time = "utc_timestamp"
shards = 3
retention = "2d"
[[counter]]
name = "donations"
where = "amount > 0"
group_by = ["geo.country"]
windows = ["15m"]
measures = ["count", "sum(amount)"]
keep = "90d"
"""


def test_the_definition_as_in_force(start_web: StartWeb) -> None:
    (counter,) = (answer := start_web(MEASURED).client.get("/v1/definition").json())["counters"]
    assert answer["stream"] == {"event_time": "utc_timestamp", "shards": 3, "retention": "2d"}
    assert counter.pop("since") > 1_700_000_000_000
    assert counter == {
        "name": "donations",
        "where": "amount > 0",
        "group_by": ["geo.country"],
        "windows": ["15m"],
        "measures": ["count", "sum(amount)"],
        "keep": "90d",
        "generation": 1,
    }


def test_health_tells_lag_until_all_is_counted(web: Web) -> None:
    web.post(event() + b"\n" + event())
    before = web.client.get("/v1/health").json()
    assert sum(shard["lag_events"] for shard in before["shards"]) == 2
    assert before["ledger"]["received"] == 0 and before["version"] == "1.2.3"
    web.count()
    after = web.client.get("/v1/health").json()
    assert {(shard["lag_events"], shard["lag_ms"]) for shard in after["shards"]} == {(0, 0)}
    assert [minute[1:] for minute in after["throughput"]] == [[2, 2, 0, 0, 0, 0]]
    assert after["disk"] == {"stream_bytes": 10, "counters_bytes": 20, "free_bytes": 10**9}
    assert after["started"] <= after["now"]


def test_health_lists_every_shard_also_without_events_and_of_a_former_definition(start_web: StartWeb) -> None:
    def shards() -> list[int]:
        return [shard["shard"] for shard in web.client.get("/v1/health").json()["shards"]]

    web = start_web(MEASURED)
    assert shards() == [0, 1, 2]
    web.stream.append([Append([b"{}"])], 1)
    web.stream.append([Append([b"{}"])], 1)
    assert shards() == [0, 1, 2]
    assert [shard["next_sequence"] for shard in web.client.get("/v1/health").json()["shards"]] == [0, 1, 1]
    web = start_web(MEASURED.replace("shards = 3", "shards = 1"))
    assert shards() == [0, 1, 2]


def test_health_tells_of_a_clock_that_has_been_set_back(web: Web) -> None:
    web.post(event())
    assert web.client.get("/v1/health").json()["warnings"] == []
    web.stream.append([Append([b"{}"])], now_ms() + 3_600_000)
    health = web.client.get("/v1/health").json()
    (warning,) = health["warnings"]
    assert warning.startswith("the machine's clock is 3,") and "s behind the newest arrival in shard" in warning
    behind_ms = sorted(shard["clock_behind_ms"] for shard in health["shards"])
    assert behind_ms[0] == 0 and 3_590_000 < behind_ms[1] <= 3_600_000


def test_alive_and_ready(web: Web) -> None:
    assert web.client.get("/healthz").status_code == web.client.get("/readyz").status_code == 200
    web.disk["free_bytes"] = 1000
    answer = web.client.get("/readyz")
    assert (answer.status_code, answer.json()["error"]) == (503, "not_ready") and "1,000 bytes free" in answer.json()["message"]
    assert web.client.get("/healthz").status_code == 200


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_hold_the_counters_whatever_the_groups_are_called(web: Web) -> None:
    evil = 'a "quoted" \\ new\nline {} # né'
    for name in (evil, evil, None, 7):
        web.post(event(event=name))
    web.count()
    web.client.get("/v1/ledger")
    web.client.get("/v1/nothing")
    found = samples(web.client.get("/metrics").text)
    counters = {labels: value for (name, labels), value in found.items() if name == "tallystream_counter_total"}
    assert counters == {
        frozenset({("counter", "events"), ("event", evil)}): 2,
        frozenset({("counter", "events"), ("event", "NULL")}): 1,
        frozenset({("counter", "events"), ("event", "7")}): 1,
    }
    assert found["tallystream_events_received_total", frozenset()] == 4
    assert found["tallystream_events_total", frozenset({("outcome", "counted")})] == 4
    assert found["tallystream_commit_seconds_count", frozenset()] == 4

    def requests(route: str, method: str, status: str) -> float:
        return found["tallystream_http_requests_total", frozenset({("route", route), ("method", method), ("status", status)})]

    assert requests("/v1/events", "POST", "202") == 4
    assert requests("/v1/ledger", "GET", "200") == 1
    assert requests("other", "GET", "404") == 1


def test_metrics_show_the_largest_groups_and_say_what_they_leave_out(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SERIES_MAX", 2)
    for name in ("a", "a", "a", "b", "b", "c"):
        web.post(event(event=name))
    web.count()
    found = samples(web.client.get("/metrics").text)
    shown = {dict(labels)["event"] for name, labels in found if name == "tallystream_counter_total"}
    assert shown == {"a", "b"}
    assert found["tallystream_counter_series_omitted", frozenset({("counter", "events")})] == 1


def test_label_names_are_valid_and_distinct() -> None:
    assert label_names(["event", "geo.country", "geo_country", "counter", "7", "__name__", "été"]) == [
        "event", "geo_country", "geo_country_2", "counter_2", "field_7", "field_name__", "field_t_",
    ]  # fmt: skip


def test_groups_that_read_the_same_are_added_up() -> None:
    counter = Counter(name="c", where=None, group_by=("x",), windows_ms=(60_000,), measures=(), keep_ms=None)
    shown = label_groups(counter, {1: (1,), 2: ("1",), 3: (True,), 4: ("NULL",), 5: (None,)}, {1: 1, 2: 2, 3: 3, 4: 4, 5: 5})
    assert shown == {
        (("counter", "c"), ("x", "1")): 3,
        (("counter", "c"), ("x", "true")): 3,
        (("counter", "c"), ("x", "NULL")): 9,
    }


def test_signing_in(start_web: StartWeb) -> None:
    web = start_web(tokens=Tokens(write="w" * 16, read="r" * 16))
    assert web.client.get("/v1/ledger").status_code == web.client.get("/metrics").status_code == 401
    assert web.client.post("/v1/session", json={"token": "wrong"}).status_code == 401
    assert web.client.post("/v1/session", content=b"{").status_code == 400
    assert web.client.post("/v1/session", json={"token": "x" * 5000}).status_code == 413
    signed_in = web.client.post("/v1/session", json={"token": "r" * 16}, headers={"X-Forwarded-Proto": "https"})
    cookie = signed_in.headers["set-cookie"]
    assert signed_in.status_code == 204
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Secure")) and "rrrr" not in cookie
    web.client.cookies.clear()
    signed_in = web.client.post("/v1/session", json={"token": "r" * 16})
    assert "Secure" not in signed_in.headers["set-cookie"]
    assert web.client.get("/v1/ledger").status_code == 200
    assert web.post(event()).status_code == 401  # the cookie is for reading
    assert web.client.post("/v1/rejected/retry").status_code == 401
    assert web.client.get("/v1/sources/x", headers={"Authorization": f"Bearer {'w' * 16}"}).status_code == 200
    assert web.client.delete("/v1/session").status_code == 204
    assert web.client.get("/v1/ledger").status_code == 401
    for path in ("/healthz", "/readyz", "/v1/openapi.json"):
        assert web.client.get(path).status_code == 200


def test_a_line_feed_behind_a_path_does_not_lead_past_the_guard(start_web: StartWeb) -> None:
    web = start_web(tokens=Tokens(write="w" * 16, read="r" * 16))
    for path in ("/metrics%0A", "/v1/ledger%0A", "/healthz%0a"):
        assert web.client.get(path).status_code == 404
    reader = {"Authorization": f"Bearer {'r' * 16}"}
    assert web.client.post("/v1/rejected/retry", headers=reader).status_code == 401
    assert web.client.post("/v1/rejected/retry%0A", headers=reader).status_code == 404


def test_rejected_events_are_listed_page_by_page(web: Web) -> None:
    lines = [b'{"n": %d}' % n for n in range(5)] + [b"\xff", b"{"]
    web.post(b"\n".join(lines), Content_Type="application/x-ndjson")
    web.count()
    first = web.client.get("/v1/rejected", params={"limit": 4}).json()
    second = web.client.get("/v1/rejected", params={"limit": 4, "before": first["next"]}).json()
    assert (first["total"], second["next"]) == (7, None)
    assert first["reasons"] == {"invalid_json": 1, "invalid_utf8": 1, "missing_event_time": 5}
    events = first["events"] + second["events"]
    assert [found["id"] for found in events] == sorted((found["id"] for found in events), reverse=True) and len(events) == 7
    data = [
        base64.b64decode(found["data"]) if found["encoding"] == "base64" else found["data"].encode()
        for found in reversed(events)
    ]
    assert data == lines
    only = web.client.get("/v1/rejected", params={"reason": "invalid_utf8"}).json()
    assert (only["total"], len(only["events"])) == (1, 1)


@pytest.mark.parametrize(
    "parameters", ["reason=nonsense", "limit=0", "limit=x", "before=-1", "limit=501", "before=" + "9" * 30]
)
def test_wrong_parameters_are_told(web: Web, parameters: str) -> None:
    answer = web.client.get(f"/v1/rejected?{parameters}")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_parameter")


def test_rejected_events_are_downloaded_whole(web: Web) -> None:
    lines = [b'{"n": %d}' % n for n in range(700)] + [b"\xff"]
    web.post(b"\n".join(lines), Content_Type="application/x-ndjson")
    web.count()
    raw = web.client.get("/v1/rejected/export", params={"format": "raw"})
    assert raw.content.splitlines() == lines[::-1]
    assert raw.headers["content-disposition"] == 'attachment; filename="rejected.txt"'
    described = web.client.get("/v1/rejected/export", params={"reason": "invalid_utf8"}).content
    assert [json.loads(line)["reason"] for line in described.splitlines()] == ["invalid_utf8"]
    assert web.client.get("/v1/rejected/export?format=xml").status_code == 400


def test_rejected_events_are_judged_again_under_a_new_definition(start_web: StartWeb) -> None:
    definition = 'name = "t"\n[stream]\nevent_time = "{}"\n[[counter]]\nname = "c"\ngroup_by = []\nwindows = ["1m"]\n'
    web = start_web(definition.format("when"))
    web.post(event() + b"\n{broken", Content_Type="application/x-ndjson")
    web.count()
    assert web.client.get("/v1/ledger").json()["rejected"] == 2
    assert web.client.post("/v1/rejected/retry", json={"reason": "nonsense"}).status_code == 400
    mended = start_web(definition.format("utc_timestamp"))
    answer = mended.client.post("/v1/rejected/retry", json={"reason": "missing_event_time"})
    assert answer.json() == {"retried": 1, "counted": 1, "unmatched": 0, "late": 0, "duplicate": 0, "rejected": 0}
    again = mended.client.post("/v1/rejected/retry").json()
    assert (again["retried"], again["rejected"]) == (1, 1)
    ledger = mended.client.get("/v1/ledger").json()
    assert (ledger["received"], ledger["counted"], ledger["rejected"]) == (2, 1, 1)


def test_pages_their_headers_and_their_fallback(start_web: StartWeb, tmp_path: Path) -> None:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<title>Tallystream</title>")
    (static / "assets" / "app-1a2b.js").write_text("1")
    (static / "tally.js").write_text("2")
    web = start_web(static_dir=static)
    for path in ("/", "/explore?counter=events", "/health"):
        answer = web.client.get(path)
        assert (answer.status_code, answer.text) == (200, "<title>Tallystream</title>")
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in web.client.get("/assets/app-1a2b.js").headers["cache-control"]
    script = web.client.get("/tally.js")
    assert script.headers["cross-origin-resource-policy"] == "cross-origin"
    assert web.client.get("/tally.js", headers={"If-None-Match": script.headers["etag"]}).status_code == 304
    for path in ("/assets/none.js", "/../conftest.py", "/%2e%2e/stream.db", "/v1/nothing", "/v1/"):
        missing = web.client.get(path)
        assert (missing.status_code, missing.json()["error"]) == (404, "not_found")
    wrong = web.client.post("/v1/ledger")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "method_not_allowed")


def test_without_pages_the_answer_says_so(web: Web) -> None:
    answer = web.client.get("/")
    assert answer.status_code == 404 and "make setup" in answer.json()["message"]


def test_reading_is_refused_to_other_names(web: Web) -> None:
    assert web.client.get("/v1/ledger", headers={"Host": "evil.example"}).status_code == 403
    assert web.client.get("/healthz", headers={"Host": "evil.example"}).status_code == 200
