"""Sending events over real HTTP, with real files behind."""

import gzip
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import zstandard

from tallystream.core.errors import StorageError
from tallystream.local.stream import SQLiteStream
from tallystream.ports.stream import Append, Appended
from tallystream.web.services import Tokens
from tests.waiting import wait_until
from tests.web.conftest import StartWeb, Web

TIME = "2026-11-23T09:05:00Z"


def event(**fields: Any) -> bytes:
    return json.dumps({"event": "page view", "utc_timestamp": TIME, **fields}).encode()


def test_one_event_is_stored_counted_and_answered(web: Web) -> None:
    answer = web.post(event(), Content_Type="application/json")
    assert (answer.status_code, answer.content) == (202, b'{"accepted":1,"rejected":[]}')
    assert web.lines() == [event()]
    web.count()
    assert web.client.get("/v1/ledger").json()["counted"] == 1


@pytest.mark.parametrize(
    "content_type",
    ["application/x-ndjson", "application/jsonl", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded"],
)
def test_lines_are_taken_whatever_they_are_called(web: Web, content_type: str) -> None:
    body = b"\n".join([event(n=1), b"", event(n=2) + b"\r", b"{broken", event(n=3), b""])
    answer = web.post(body, Content_Type=content_type)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 3
    assert [(rejection["index"], rejection["reason"]) for rejection in answer.json()["rejected"]] == [(2, "invalid_json")]
    web.count()
    assert web.client.get("/v1/ledger").json() == {
        "received": 4, "counted": 3, "unmatched": 0, "late": 0, "rejected": 1, "duplicate": 0,
    }  # fmt: skip


def test_an_array_is_cut_into_its_elements(web: Web) -> None:
    answer = web.post(b"[" + event(n=1) + b',\n {"event":\n "x"}, 7,' + event(n=2) + b"]", Content_Type="application/json")
    assert answer.json()["accepted"] == 2
    assert [(rejection["index"], rejection["reason"]) for rejection in answer.json()["rejected"]] == [
        (1, "missing_event_time"),
        (2, "not_an_object"),
    ]
    web.count()
    rejected = web.client.get("/v1/rejected").json()
    assert {found["data"] for found in rejected["events"]} == {'{"event":  "x"}', "7"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/json"),
        (b"", ""),
        (b" \n\n", "application/x-ndjson"),
        (b"hello", "application/json"),
        (b"hello\nworld", "text/plain"),
        (b'{"event": "cut o', "application/json"),
        (b"[]", "application/json"),
        (b"42", "application/json"),
        (b"[1, 2", "application/json"),
        (b"[" * 100_000, "application/json"),
    ],
)
def test_what_holds_no_event_is_refused_as_a_whole(web: Web, body: bytes, content_type: str) -> None:
    answer = web.post(body, Content_Type=content_type)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_body")
    assert web.lines() == []


def test_media_types_and_encodings_that_nobody_knows_are_refused(web: Web) -> None:
    answer = web.post(event(), Content_Type="image/png")
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")
    answer = web.post(event(), Content_Type="application/json", Content_Encoding="br")
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_encoding")
    assert web.lines() == []


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.ZstdCompressor().compress)])
def test_compressed_bodies(web: Web, encoding: str, compress: Any) -> None:
    body = b"\n".join(event(n=n) for n in range(100))
    # Two members, as `cat a.gz b.gz` makes them.
    answer = web.post(compress(body) + compress(b"\n" + body), Content_Encoding=encoding)
    assert answer.json()["accepted"] == 200
    cut_off = web.post(compress(body)[:-5], Content_Encoding=encoding)
    assert (cut_off.status_code, cut_off.json()["error"]) == (400, "invalid_body")
    bomb = web.post(compress(b" " * 9_000_000), Content_Encoding=encoding)
    assert (bomb.status_code, bomb.json()["error"]) == (413, "body_too_large")
    assert len(web.lines()) == 200


def test_a_body_that_is_too_long_is_refused_before_it_is_read(web: Web) -> None:
    with raw_connection(web) as connection:
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10485761\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]


def test_a_chunked_body_is_cut_off_at_the_limit(web: Web) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 65_536

    answer = web.client.post("/v1/events", content=endless())
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")


def test_the_longest_body_is_taken(web: Web) -> None:
    line = event(padding="x" * 900_000)
    body = b"\n".join([line] * (10 * 1024 * 1024 // (len(line) + 1)))
    assert web.post(body).json()["accepted"] == 11


def test_a_client_that_goes_away_midway_leaves_nothing(web: Web) -> None:
    with raw_connection(web) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n" + event())
    assert web.post(event(n=2)).status_code == 202
    assert web.lines() == [event(n=2)]


def test_a_key_makes_a_repeated_request_count_once(web: Web) -> None:
    body = event() + b"\n{broken"
    first = web.post(body, Idempotency_Key="k1")
    again = web.post(body, Idempotency_Key="k1")
    assert (again.status_code, again.content) == (first.status_code, first.content) and len(first.json()["rejected"]) == 1
    other = web.post(event(n=2), Idempotency_Key="k1")
    assert (other.status_code, other.json()["error"]) == (422, "idempotency_key_reused")
    assert len(web.lines()) == 2
    invalid = web.post(body, Idempotency_Key="with space")
    assert (invalid.status_code, invalid.json()["error"]) == (400, "invalid_idempotency_key")


def test_the_same_key_many_times_at_once_counts_once(web: Web) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: web.post(event(), Idempotency_Key="same"), range(64)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, b'{"accepted":1,"rejected":[]}')}
    assert web.lines() == [event()]


def test_a_source_is_read_gap_free(web: Web) -> None:
    def source() -> Any:
        return web.client.get("/v1/sources/logs%2Faccess.json").json()

    assert source() == {"source": "logs/access.json", "position": 0, "mark": ""}
    headers = {"Tally_Source": "logs/access.json", "Content_Type": "application/x-ndjson"}
    assert web.post(event(n=1), Tally_Source_Range="0-100", **headers).status_code == 202
    more = {"Tally_Source_Range": "100-102", "Tally_Source_Mark": "sha256:1f"}
    assert web.post(b"\n\n", **more, **headers).json() == {"accepted": 0, "rejected": []}
    repeated = web.post(event(n=1), Tally_Source_Range="0-100", **headers)
    assert (repeated.status_code, repeated.json()["error"], repeated.json()["position"]) == (409, "source_position", 102)
    assert source() == {"source": "logs/access.json", "position": 102, "mark": "sha256:1f"}
    assert web.lines() == [event(n=1)]
    for wrong in ({"Tally_Source_Range": "100-0"}, {"Tally_Source_Range": "102-103", "Tally_Source_Mark": "m" * 256}):
        invalid = web.post(event(n=1), **wrong, **headers)
        assert (invalid.status_code, invalid.json()["error"]) == (400, "invalid_source")


def test_many_clients_at_once_each_get_their_own_answer(web: Web) -> None:
    bodies = [event(n=n) if n % 3 else b'{"n": %d}' % n for n in range(1, 301)]
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda body: web.post(body, Content_Type="application/json"), bodies))
    assert [answer.json()["accepted"] for answer in answers] == [1 if n % 3 else 0 for n in range(1, 301)]
    for answer in answers[2::3]:
        assert [(found["index"], found["reason"]) for found in answer.json()["rejected"]] == [(0, "missing_event_time")]
    assert sorted(web.lines()) == sorted(bodies)


def test_nothing_in_an_event_stops_its_neighbours(web: Web) -> None:
    evil = [
        b"\xff\xfe{}",
        b'{"event": NaN, "utc_timestamp": 1}',
        b'{"event": "\\ud800", "utc_timestamp": "%s"}' % TIME.encode(),
        b'{"event": "\x00"}',
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b'{"utc_timestamp": 1e999}',
        b'{"utc_timestamp": %s}' % (b"9" * 10_000),
        b'"text"',
        b"\xef\xbb\xbf{}",
        b'{"event": "' + b"x" * 1_100_000 + b'"}',
    ]
    body = b"\n".join(line for index, bad in enumerate(evil) for line in (event(n=index), bad))
    answer = web.post(body, Content_Type="application/x-ndjson")
    assert answer.status_code == 202
    assert answer.json()["accepted"] == len(evil)
    assert [found["index"] for found in answer.json()["rejected"]] == list(range(1, 2 * len(evil), 2))
    web.count()
    assert web.client.get("/v1/ledger").json()["rejected"] == len(evil)


def test_a_backlog_is_told_and_sending_goes_on_when_it_is_counted(web: Web) -> None:
    body = b"\n".join(event(n=n) for n in range(1_001))
    assert web.post(body).status_code == 202
    wait_until(lambda: web.post(event()).status_code == 429, "the backlog to be noticed")
    refused = web.post(event())
    assert refused.json()["error"] == "backlog" and int(refused.headers["retry-after"]) >= 1
    assert web.client.get("/readyz").status_code == 503
    web.count()
    wait_until(lambda: web.post(event()).status_code == 202, "events to be taken again")
    assert web.client.get("/readyz").status_code == 200


class FailingStream:
    """A stream whose disk is full whenever `is_full` says so."""

    def __init__(self, stream: SQLiteStream) -> None:
        self._stream = stream
        self.is_full = False

    def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
        if self.is_full:
            raise StorageError("stream.db: database or disk is full; free some space")
        return self._stream.append(appends, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def test_a_full_disk_refuses_and_recovers(start_web: StartWeb) -> None:
    failing: list[FailingStream] = []

    def wrap(stream: SQLiteStream) -> FailingStream:
        failing.append(FailingStream(stream))
        return failing[0]

    web = start_web(wrap_stream=wrap)
    assert web.post(event(n=1)).status_code == 202
    failing[0].is_full = True
    answer = web.post(event(n=2))
    assert (answer.status_code, answer.json()["error"]) == (503, "storage")
    assert "disk is full" in answer.json()["message"] and "retry-after" in answer.headers
    assert web.client.get("/readyz").status_code == 503
    failing[0].is_full = False
    assert web.post(event(n=3)).status_code == 202
    assert web.client.get("/readyz").status_code == 200
    assert sorted(web.lines()) == [event(n=1), event(n=3)]


def test_cloudevents_in_all_three_modes(web: Web) -> None:
    cloud_event = {
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "order", "time": TIME, "data": {"country": "GB"},
    }  # fmt: skip
    structured = web.post(json.dumps(cloud_event), Content_Type="application/cloudevents+json; charset=utf-8")
    batch = web.post(
        json.dumps([cloud_event, {**cloud_event, "id": "2"}, {**cloud_event, "source": "/other"}]),
        Content_Type="application/cloudevents-batch+json",
    )
    binary = web.post(
        b'{"country": "FR"}', Content_Type="application/json", ce_specversion="1.0", ce_id="3", ce_source="/shop",
        ce_type="order", ce_time=TIME,
    )  # fmt: skip
    assert [answer.json()["accepted"] for answer in (structured, batch, binary)] == [1, 3, 1]
    web.count()
    ledger = web.client.get("/v1/ledger").json()
    assert (ledger["counted"], ledger["duplicate"]) == (4, 1)  # the first of the batch came before
    series = web.client.get("/v1/query", params={"counter": "events", "window": "1h", "from": TIME[:11] + "00:00:00Z"}).json()
    assert [found["group"] for found in series["series"]] == [{"event": "order"}]
    refused = web.post(json.dumps([cloud_event, {"id": "x"}]), Content_Type="application/cloudevents-batch+json")
    assert (refused.status_code, refused.json()["error"], refused.json()["index"]) == (400, "invalid_cloudevent", 1)


def test_segment_calls(web: Web) -> None:
    track = {"event": "Order Completed", "userId": "u", "messageId": "m1", "timestamp": TIME, "properties": {"total": 3}}
    page = {"type": "page", "anonymousId": "a", "messageId": "m2", "timestamp": TIME}
    answer = web.post(json.dumps(track), "/v1/track", Content_Type="application/json")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    answer = web.post(json.dumps({"batch": [page, {"type": "track", **track}], "sentAt": TIME}), "/v1/batch")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    web.count()
    ledger = web.client.get("/v1/ledger").json()
    assert (ledger["counted"], ledger["duplicate"]) == (2, 1)
    groups = web.client.get("/v1/groups", params={"counter": "events", "field": "event"}).json()
    assert sorted(groups["values"]) == ["Order Completed", "page view"]
    too_large = web.post(b'{"event": "' + b"x" * 600_000 + b'"}', "/v1/track")
    assert too_large.status_code == 413


def test_a_page_sends_with_its_key_from_a_listed_origin(start_web: StartWeb) -> None:
    web = start_web(tokens=Tokens(write="w" * 20, read="r" * 20))
    sent = {"origin": "https://shop.example", "content_type": "text/plain;charset=UTF-8"}
    answer = web.post(event(utc_timestamp="1999-01-01T00:00:00Z"), "/v1/events?key=browser-key-1", **sent)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert b"1999" not in web.lines()[0]  # the clock of a browser is not trusted
    wrong_key = web.post(event(), "/v1/events?key=guess", **sent)
    assert (wrong_key.status_code, wrong_key.json()["error"]) == (401, "unauthorized")
    foreign = web.post(event(), "/v1/events?key=browser-key-1", origin="https://evil.example")
    assert (foreign.status_code, foreign.json()["error"]) == (403, "forbidden")
    assert "access-control-allow-origin" not in foreign.headers
    too_large = web.post(event(padding="x" * 70_000), "/v1/events?key=browser-key-1", **sent)
    assert too_large.status_code == 413
    assert len(web.lines()) == 1


def test_preflight(web: Web) -> None:
    allowed = web.client.options("/v1/events", headers={"Origin": "https://shop.example"})
    assert allowed.status_code == 204 and allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "content-type" in allowed.headers["access-control-allow-headers"]
    assert web.client.options("/v1/events", headers={"Origin": "https://evil.example"}).status_code == 403
    assert web.client.get("/v1/events").status_code == 405


def test_the_write_token_is_asked_for_and_never_shown(start_web: StartWeb, caplog: pytest.LogCaptureFixture) -> None:
    secret = "s3cret-write-token"
    web = start_web(tokens=Tokens(write=secret))
    assert web.post(event()).status_code == 401
    wrong = web.post(event(), Authorization="Bearer s3cret")
    assert wrong.status_code == 401 and "s3cret" not in wrong.text
    assert web.post(event(), Authorization=f"Bearer {secret}").status_code == 202
    segment = web.client.post("/v1/track", content=event(), auth=httpx.BasicAuth(secret, ""))
    assert segment.status_code == 200
    assert secret not in caplog.text and secret not in repr(Tokens(write=secret))


def test_another_sites_page_and_a_rebound_name_are_refused(web: Web) -> None:
    assert web.post(event(), Origin="https://evil.example").status_code == 403
    assert web.post(event(), Host="evil.example").status_code == 403
    assert web.post(event(), Origin=web.url).status_code == 202
    assert web.post(event(), Host="localhost:8080").status_code == 202


def test_a_server_that_stops_answers_what_it_has_taken(start_web: StartWeb) -> None:
    gate = threading.Event()
    entered = threading.Event()

    class Slow(FailingStream):
        def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
            entered.set()
            assert gate.wait(10)
            return super().append(appends, now_ms)

    web = start_web(wrap_stream=Slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(web.post, event())
        assert entered.wait(10)
        web.server.should_exit = True
        gate.set()
        assert answer.result().status_code == 202
    assert web.lines() == [event()]


def test_pipelined_requests_are_answered_in_order(web: Web) -> None:
    def request(body: bytes) -> bytes:
        return b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    with raw_connection(web) as connection:
        connection.sendall(request(event(n=1)) + request(b"{}") + request(event(n=3)))
        received = b""
        while received.count(b'"rejected"') < 3:
            piece = connection.recv(65_536)
            assert piece, received
            received += piece
    statuses = [part.split(b" ")[1] for part in received.split(b"HTTP/1.1")[1:] for part in [b"HTTP/1.1" + part]]
    assert statuses == [b"202"] * 3
    assert [b"missing_event_time" in part for part in received.split(b"HTTP/1.1 ")[1:]] == [False, True, False]


def raw_connection(web: Web) -> socket.socket:
    address = urlsplit(web.url)
    assert address.hostname and address.port
    return socket.create_connection((address.hostname, address.port), timeout=10)


def test_more_than_the_worker_can_hold_is_sent_back(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystream.web.ingest.PENDING_BYTES_MAX", 1_000)
    assert web.post(event()).status_code == 202
    answer = web.post(event(padding="x" * 2_000))
    assert (answer.status_code, answer.json()["error"]) == (503, "overloaded") and "retry-after" in answer.headers
    assert web.post(event()).status_code == 202  # what was held is given back
    packed = gzip.compress(event(padding="x" * 2_000))
    assert web.post(packed, Content_Encoding="gzip").status_code == 503
    for _ in range(20):
        assert web.post(gzip.compress(event()), Content_Encoding="gzip").status_code == 202
    assert web.app.ingest._pending_bytes == 0


@pytest.mark.parametrize("sent", [b"", event()[:-1]])
def test_a_body_that_does_not_come_is_given_up(web: Web, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("tallystream.web.ingest.BODY_SECONDS_MAX", 0.2)
    with raw_connection(web) as connection:
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(event()), sent)
        )
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"error":"timeout"' in answer
    assert web.app.ingest._pending_bytes == 0
    assert web.lines() == []
