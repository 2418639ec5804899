"""Whatever comes in: the server lives, and what its answers say is what the ledger says."""

import gzip
import json
from typing import Any

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.conftest import DEFINITION, StartWeb

STATUSES = {200, 202, 400, 413, 415}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()  # NaN and infinities, too: Python writes them, RFC 8259 does not know them
    | st.text(max_size=20)
    | st.sampled_from(["2026-11-23T09:05:00Z", 1_795_424_700, "\ud800", "\x00", 10**400, "x" * 1_025])
)
short_texts = st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(short_texts, inner, max_size=3))
known_names = ["event", "utc_timestamp", "id", "data", "type", "batch", "source", "specversion", "messageId"]
names = st.sampled_from(known_names) | short_texts
objects = st.dictionaries(names, values, max_size=6)
elements = st.one_of(
    objects.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")),
    objects.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.sampled_from([b"", b" ", b"\r", b"\xef\xbb\xbf{}", b"[" * 2_000, b"{\n}", b'{"a":' * 2_000, b"0", b'"']),
    st.just(b'{"event": "good", "utc_timestamp": "2026-11-23T09:05:00Z"}'),
)  # fmt: skip
bodies = st.one_of(
    st.lists(elements, max_size=6).map(b"\n".join),
    st.lists(elements, max_size=6).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.lists(elements, max_size=4).map(lambda parts: b'{"batch":[' + b",".join(parts) + b"]}"),
    st.binary(max_size=200),
)
requests = st.tuples(
    st.sampled_from(["/v1/events", "/v1/events", "/v1/events", "/v1/track", "/v1/batch", "/v1/events?key=browser-key-1"]),
    st.sampled_from(
        [
            "application/json",
            "application/x-ndjson",
            "text/plain",
            "",
            "application/cloudevents+json",
            "application/cloudevents-batch+json",
            "image/png",
        ]
    ),
    st.sampled_from(["none", "gzip", "zstd", "gzip but not", "br"]),
    bodies,
)


def test_answers_and_ledger_agree(start_web: StartWeb) -> None:
    web = start_web(DEFINITION.replace("= 1000", "= 1000000"))
    said = {"accepted": 0, "rejected": 0}

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(requests, min_size=1, max_size=3))
    def send(some: list[tuple[str, str, str, bytes]]) -> None:
        for path, content_type, encoding, body in some:
            headers = {"Content-Type": content_type}
            if encoding != "none":  # without it, most go the short way
                headers["Content-Encoding"] = encoding.split()[0]
            if "key=" in path:
                headers["Origin"] = "https://shop.example"
            packed = body
            if encoding == "gzip":
                packed = gzip.compress(body)
            elif encoding == "zstd":
                packed = zstandard.ZstdCompressor().compress(body)
            before = stored()
            answer = web.client.post(path, content=packed, headers=headers)
            assert answer.status_code in STATUSES, (answer.status_code, answer.text)
            told = answer.json()
            if answer.status_code >= 400:
                assert set(told) >= {"error", "message"}
                assert stored() == before
            else:
                rejected = len(told.get("rejected", []))
                accepted = told.get("accepted", stored() - before - rejected)
                assert stored() - before == accepted + rejected > 0
                said["accepted"] += accepted
                said["rejected"] += rejected

    def stored() -> int:
        return sum(state.next_sequence for state in web.stream.shards())

    send()
    web.count()
    ledger: dict[str, Any] = web.client.get("/v1/ledger").json()
    assert said["accepted"] > 0 and said["rejected"] > 0
    assert ledger["rejected"] == said["rejected"]
    assert ledger["counted"] + ledger["duplicate"] + ledger["unmatched"] + ledger["late"] == said["accepted"]
    assert ledger["received"] == stored()
    # Every rejected event is kept with its bytes.
    export = web.client.get("/v1/rejected/export").content
    assert len(export.splitlines()) == said["rejected"]
