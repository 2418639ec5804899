"""Counting: the same as an independent recount, however a stream is cut into batches."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.counting import (
    NONE_SEEN,
    CellKey,
    Delivery,
    Ledger,
    Tallier,
    Tally,
    group_key,
    group_values,
    merge_tallies,
)
from tallystream.core.definition_text import parse_definition
from tallystream.core.event import Reader
from tests.oracle import OracleCounter, recount

DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
windows = ["1m", "15m", "1h"]
group_by = ["event"]
[[counter]]
name = "all"
windows = ["10s"]
[[counter]]
name = "gifts"
windows = ["1m", "1d"]
where = "event == 'gift' and amount > 0"
group_by = ["user.country", "event"]
measures = ["sum(amount)", "max(fee)"]
""")
ORACLE = [
    OracleCounter("events", [60_000, 900_000, 3_600_000], ["event"]),
    OracleCounter("all", [10_000]),
    OracleCounter(
        "gifts",
        [60_000, 86_400_000],
        ["user.country", "event"],
        ["amount", "fee"],
        lambda event: event.get("event") == "gift" and type(event.get("amount")) in (int, float) and event["amount"] > 0,
    ),
]
MINUTE_MS = 1_795_433_580_000  # 2026-11-23T11:33:00Z


def tally(lines: list[bytes], definition: Any = DEFINITION, cuts: tuple[int, ...] = (), arrival_ms: int = MINUTE_MS) -> Tally:
    reader = Reader(definition)
    tallier = Tallier(definition, reader)
    total: Tally | None = None
    bounds = [0, *sorted(min(cut, len(lines)) for cut in cuts), len(lines)]
    for start, end in pairwise(bounds):
        seen = total.event_ids if total else NONE_SEEN
        part = tallier.tally(reader.read(lines[start:end], arrival_ms), seen, shard=3, first_sequence=start)
        total = part if total is None else merge_tallies(total, part)
    assert total is not None
    assert (total.shard, total.first_sequence, total.next_sequence) == (3, 0, len(lines))
    return tallier.roll_up(total)


def assert_equals_oracle(result: Tally, lines: list[bytes]) -> None:
    expected = recount(lines, "t", ORACLE)
    fields = {counter.name: counter.measured for counter in ORACLE}
    found = {}
    for name, cells in result.cells.items():
        for key, partial in cells.items():
            group = json.dumps(json.loads(key.group), ensure_ascii=False)
            measured = {
                path: (field.count, Fraction(field.sum), Fraction(field.min), Fraction(field.max))
                for path, field in zip(fields[name], partial.fields, strict=True)
                if field.min is not None
                if field.max is not None
            }
            found[name, key.window_ms, key.window_start_ms, group] = (partial.count, measured)
    assert found == expected.cells
    counts = (expected.received, expected.counted, expected.unmatched, 0, expected.rejected, 0)
    assert result.ledger == Ledger(*counts)
    assert len(result.rejected) == expected.rejected


times = st.one_of(
    st.integers(0, 7_200).map(lambda second: f"2026-11-23T{10 + second // 3600}:{second // 60 % 60:02d}:{second % 60:02d}Z"),
    st.integers(0, 7_200_000).map(lambda ms: MINUTE_MS + ms),
    st.sampled_from(["2026-11-23T23:59:59.9999999", "2026-11-23T12:00:00+05:30", "bad", None, True]),
)
groups = st.sampled_from(
    ["gift", "page view", "", "NULL", None, True, False, 0, 1, 1.0, -0.0, 1.5, "1", "true", 10**30, "é\u202e"]
)
amounts = st.sampled_from([None, 1, 2, 0, -3, 0.1, 0.2, 12.5, 10**17])
lines_of_events = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"t": times, "event": groups},
            optional={"user": st.fixed_dictionaries({"country": groups}), "amount": amounts, "fee": amounts},
        ).map(lambda event: json.dumps(event).encode()),
        st.fixed_dictionaries({"t": times, "event": st.sampled_from(["gift", "page view"]), "amount": amounts}).map(
            lambda event: json.dumps(event).encode()
        ),
        st.sampled_from([b"", b"{", b"[]", b'{"t":NaN}']),
    ),
    min_size=1,
    max_size=40,
)


def in_order(seconds: list[int], names: list[object], is_epoch: bool) -> list[bytes]:
    times = [MINUTE_MS + second * 1_000 for second in sorted(seconds)]
    texts = [f"{datetime.fromtimestamp(time / 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}" for time in times]
    return [
        json.dumps({"t": time, "event": name}).encode() for time, name in zip(times if is_epoch else texts, names, strict=False)
    ]


lines_in_order = st.builds(
    in_order,
    st.lists(st.integers(0, 150), min_size=40, max_size=40),
    st.lists(st.sampled_from(["gift", "page view"]), min_size=1, max_size=40)
    | st.lists(st.sampled_from(["gift", None, 1]), min_size=1, max_size=40),
    st.booleans(),
)


@given(st.one_of(lines_of_events, lines_in_order))
def test_counts_equal_an_independent_recount(lines: list[bytes]) -> None:
    assert_equals_oracle(tally(lines), lines)


@given(lines_of_events, st.lists(st.integers(0, 40), max_size=5))
def test_any_split_into_batches_gives_the_same(lines: list[bytes], cuts: list[int]) -> None:
    assert tally(lines, cuts=tuple(cuts)) == tally(lines)


def test_one_minute_of_texts_and_many_minutes_of_texts() -> None:
    for step_s in (0, 30):
        lines = [
            json.dumps(
                {"t": f"2026-11-23T10:{i * step_s // 60 % 60:02d}:{i * step_s % 60:02d}Z", "event": f"e{i % 3}"}
            ).encode()
            for i in range(200)
        ]
        assert_equals_oracle(tally(lines), lines)


def test_texts_out_of_order_and_what_is_no_text() -> None:
    for names in (["a", "b"], ["a", None], [None, 1]):
        lines = [
            json.dumps({"t": f"2026-11-23T10:{minute:02d}:00Z", "event": name}).encode()
            for minute in (1, 0, 2, 1)
            for name in names
        ]
        assert_equals_oracle(tally(lines), lines)


def test_true_one_and_text_are_three_groups_and_a_whole_float_is_an_int() -> None:
    values = [True, 1, "1", "true", 1.0, False, 0, None, "null", -0.0]
    lines = [json.dumps({"t": MINUTE_MS, "event": value}).encode() for value in values]
    cells = tally(lines).cells["events"]
    counts = {key.group: partial.count for key, partial in cells.items() if key.window_ms == 60_000}
    assert counts == {
        "[true]": 1, "[1]": 2, '["1"]': 1, '["true"]': 1, "[false]": 1, "[0]": 2, "[null]": 1, '["null"]': 1,
    }  # fmt: skip
    for key in counts:
        assert group_key(*group_values(key)) == key


def test_a_batch_of_no_events() -> None:
    assert tally([b"{"]).cells == {"events": {}, "all": {}, "gifts": {}}
    assert tally([]).ledger == Ledger()


def test_windows_before_1970_are_aligned_too() -> None:
    line = b'{"t":"1969-12-31T23:59:30Z","event":"e"}'
    assert CellKey(3_600_000, -3_600_000, '["e"]') in tally([line]).cells["events"]


def test_rejected_lines_keep_their_bytes_and_their_place() -> None:
    result = tally([b'{"t":1795433580}', b"\xff\x00{"])
    (line,) = result.rejected
    assert (line.sequence, line.reason, line.data, line.arrival_ms) == (1, "invalid_utf8", b"\xff\x00{", MINUTE_MS)


WITH_IDS = parse_definition("""
name = "test"
[stream]
event_time = "t"
event_id = "id"
allowed_lateness = "1h"
[[counter]]
name = "events"
windows = ["1m"]
where = "event == 'a'"
""")


@given(
    st.lists(st.tuples(st.sampled_from(["x", "y", 7, "7", None]), st.sampled_from(["a", "b"]), st.booleans())),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_an_id_counts_once(drawn: list[tuple[Any, str, bool]], cuts: list[int]) -> None:
    lines = [
        json.dumps({"t": MINUTE_MS - (3_600_001 if late else 0), "id": id_, "event": event}).encode()
        for id_, event, late in drawn
    ]
    result = tally(lines, WITH_IDS, tuple(cuts))
    keyed = [(None if id_ is None else str(id_), event, late) for id_, event, late in drawn]
    on_time = [(id_, event) for id_, event, late in keyed if not late]
    first: dict[str, str] = {}
    for id_, event in on_time:
        if id_ is not None:
            first.setdefault(id_, event)
    fresh = [event for id_, event in on_time if id_ is None] + list(first.values())
    expected = Ledger(
        received=len(drawn),
        counted=fresh.count("a"),
        unmatched=fresh.count("b"),
        late=len(drawn) - len(on_time),
        duplicate=len(on_time) - len(fresh),
    )
    assert result.ledger == expected
    places = {id_: Delivery(3, sequence) for sequence, (id_, _, late) in reversed(list(enumerate(keyed))) if id_ and not late}
    assert result.event_ids == places
    ids = [id_ for id_, _ in on_time]
    assert result.repeated_ids == {id_ for id_ in first if ids.count(id_) > 1}


def test_a_recount_that_knows_the_judged_deliveries_judges_as_the_count_did() -> None:
    lines = [json.dumps({"t": MINUTE_MS, "id": id_, "event": "a"}).encode() for id_ in ("x", "y", "x", "z")]
    reader = Reader(WITH_IDS)
    batch = reader.read([b"{", *lines], MINUTE_MS)
    judged = {"x": Delivery(3, 13), "y": Delivery(4, 12)}  # in the batch's third event; in another shard
    result = Tallier(WITH_IDS, reader).tally(batch, judged, shard=3, first_sequence=10)
    assert result.ledger == Ledger(received=5, counted=2, rejected=1, duplicate=2)
    assert result.event_ids == {"z": Delivery(3, 14)}
    assert result.repeated_ids == {"x", "y"}


def test_sums_are_decimal() -> None:
    lines = [b'{"t":1795433580,"event":"gift","amount":0.1}'] * 3
    cells = tally(lines).cells["gifts"]
    assert cells[CellKey(60_000, MINUTE_MS, '[null,"gift"]')].fields[0].sum == Decimal("0.3")
