"""Answers over a real store, held against a recount of the raw events that shares no code with them."""

import contextlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import QueryError
from tallystream.local.counters import SQLiteCounterStore
from tallystream.web.query import run_query
from tests.counted import count_events

SECOND_MS = 1_000
NOW_MS = 1_790_000_055_500  # in the midst of a window of 10 s
DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event", "user.country"]
windows = ["10s", "1m"]
measures = ["count", "sum(amount)", "min(amount)", "max(amount)", "mean(amount)"]
""")
FIELDS = ("event", "user.country")
# Values that other values could be taken for.
EVENTS = ["a", "b", "null", "1", "true", 1, True, 1.5, None]


class Event(NamedTuple):
    time_ms: int
    event: Any
    country: Any
    amount: Decimal | None

    def record(self) -> dict[str, Any]:
        amount = {} if self.amount is None else {"amount": float(self.amount)}
        return {"t": self.time_ms, "event": self.event, "user": {"country": self.country}, **amount}


class Ask(NamedTuple):
    """A query in numbers; `parameters` writes it as a user would."""

    window: int
    from_ms: int
    to_ms: int
    measure: str
    by: tuple[str, ...]
    filters: Mapping[str, list[str]]
    top: int | None
    other: bool
    over: int
    show: str
    compare: bool
    fill: bool

    def parameters(self) -> list[tuple[str, str]]:
        pairs = [
            ("counter", "events"),
            ("window", f"{self.window // SECOND_MS}s"),
            ("from", str(self.from_ms)),
            ("to", str(self.to_ms)),
            ("measure", self.measure),
            ("by", ",".join(self.by)),
            ("over", f"{self.over // SECOND_MS}s"),
            ("show", self.show),
        ]
        pairs += [(f"group.{field}", text) for field, texts in self.filters.items() for text in texts]
        pairs += [("top", str(self.top))] if self.top else []
        pairs += [("other", "true")] if self.other else []
        pairs += [("compare", "previous")] if self.compare else []
        return pairs + ([("fill", "zero")] if self.fill else [])


@contextlib.contextmanager
def new_store(events: Sequence[Event]) -> Iterator[SQLiteCounterStore]:
    with tempfile.TemporaryDirectory() as directory:
        store = SQLiteCounterStore(Path(directory) / "counters.db")
        with contextlib.closing(store):
            store.declare(DEFINITION, {}, 0)
            count_events(store, DEFINITION, [event.record() for event in events])
            yield store


def answer(store: SQLiteCounterStore, parameters: Sequence[tuple[str, str]]) -> Any:
    body, media_type = run_query(parameters, DEFINITION, store, NOW_MS)
    assert media_type == "application/json"
    return json.loads(body, parse_float=Decimal)


# The recount.


def recount(events: Sequence[Event], ask: Ask) -> Any:
    matched = [event for event in events if passes(event, ask.filters)]
    window = ask.window
    first = next(ms for ms in itertools.count(ask.from_ms) if ms % window == 0)
    end = next(ms for ms in itertools.count(ask.to_ms) if ms % window == 0)
    length = end - first
    has_before = ask.compare or ask.show == "change"
    groups: dict[str, list[Event]] = {} if ask.by else {"[]": []}
    for event in matched:
        reads = [(first - (ask.over - window), end)]
        reads += [(first - length - (ask.over - window), first)] if has_before else []
        if any(start <= event.time_ms < stop for start, stop in reads):
            groups.setdefault(json.dumps(group_of(event, ask.by)), []).append(event)
    totals = {group: measure(within(some, first, end), ask.measure) for group, some in groups.items()}
    ranked = sorted(
        groups, key=lambda g: (totals[g] is None, -(totals[g] or 0), [(str(v), type(v).__name__) for v in json.loads(g)])
    )
    shown = ranked[: ask.top]
    series = [
        describe(dict(zip(ask.by, json.loads(group), strict=True)), groups[group], matched, ask, first, end) for group in shown
    ]
    if ask.other and len(ranked) > len(shown):
        rest = [event for group in ranked[len(shown) :] for event in groups[group]]
        series.append(describe({}, rest, matched, ask, first, end) | {"other": True})
    return {
        "counter": "events",
        "window": {5: "50s", 12: "2m", 6: "1m", 1: "10s", 3: "30s"}[window // 10_000],
        "measure": ask.measure,
        "from": first,
        "to": end,
        "series": series,
        "groups": len(ranked),
        "truncated": False,
    }


def describe(
    group: dict[str, Any], events: Sequence[Event], everyone: Sequence[Event], ask: Ask, first: int, end: int
) -> dict[str, Any]:
    length = end - first
    series: dict[str, Any] = {
        "group": group,
        "total": measure(within(events, first, end), ask.measure),
        "points": points(events, everyone, ask, first, end),
    }
    if ask.compare:
        series["previous_total"] = measure(within(events, first - length, first), ask.measure)
        if ask.show != "change":
            before = points(events, everyone, ask, first - length, first)
            series["previous"] = [[start + length, value] for start, value in before]
    return series


def points(events: Sequence[Event], everyone: Sequence[Event], ask: Ask, first: int, end: int) -> list[list[Any]]:
    found = []
    for start in range(first, end, ask.window):
        value = value_at(events, ask, start)
        if ask.show == "change":
            before = value_at(events, ask, start - (end - first))
            if value is MISSING and (before is MISSING or start > NOW_MS):
                continue
            zero = empty(ask)
            value, before = (zero if value is MISSING else value), (zero if before is MISSING or start > NOW_MS else before)
            value = None if value is None or not before else (value - before) / abs(before)
        elif value is MISSING:
            continue
        elif ask.show == "rate":
            value = value * 1_000 / Fraction(ask.over)
        elif ask.show == "share":
            whole = value_at(everyone, ask, start)
            value = None if whole is MISSING or not whole else value / whole
        found.append([start, value])
    return found


MISSING: Any = object()


def value_at(events: Sequence[Event], ask: Ask, start: int) -> Any:
    """What a point holds, before it is shown as something else; MISSING if there is no point."""
    end = start + ask.window
    has_begun = start <= NOW_MS
    span = within(events, end - ask.over, end)
    if ask.over > ask.window and not has_begun and not within(events, start, end):
        span = []
    if not span:
        return empty(ask) if ask.fill and has_begun else MISSING
    return measure(span, ask.measure)


def empty(ask: Ask) -> Any:
    return Fraction(0) if ask.measure in ("count", "sum(amount)") else None


def within(events: Sequence[Event], start: int, end: int) -> list[Event]:
    return [event for event in events if start <= event.time_ms < end]


def measure(events: Sequence[Event], name: str) -> Fraction | None:
    numbers = [Fraction(event.amount) for event in events if event.amount is not None]
    if name == "count":
        return Fraction(len(events))
    if name == "sum(amount)":
        return sum(numbers, Fraction(0))
    if not numbers:
        return None
    mean = sum(numbers, Fraction(0)) / len(numbers)
    return {"min(amount)": min(numbers), "max(amount)": max(numbers), "mean(amount)": mean}[name]


def group_of(event: Event, by: Sequence[str]) -> list[Any]:
    return [{"event": event.event, "user.country": event.country}[field] for field in by]


def passes(event: Event, filters: Mapping[str, list[str]]) -> bool:
    for field, texts in filters.items():
        (value,) = group_of(event, [field])
        readings = [value, json.dumps(value)] if isinstance(value, str) else [json.dumps(value)]
        if not any(text in readings for text in texts):
            return False
    return True


def close(found: Any, expected: Any) -> bool:
    """Whether two answers are the same: exactly, but for quotients, which have 20 significant digits."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, Fraction):
        # Absolutely too: a change is the difference of two quotients, however near to each other they are.
        error_max = max(abs(expected), Fraction(1)) / 10**19
        return isinstance(found, int | Decimal) and abs(Fraction(found) - expected) <= error_max
    if isinstance(expected, float):  # a group's value: all of the answer's fractions are read as decimals
        return isinstance(found, Decimal) and found == Decimal(repr(expected))
    return type(found) is type(expected) and bool(found == expected)


TIMES = st.integers(NOW_MS - 400_000, NOW_MS + 60_000)
AMOUNTS = st.none() | st.decimals(-50, 50, places=2)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    window = draw(st.sampled_from([10, 30, 50, 60, 120])) * SECOND_MS
    name = draw(st.sampled_from(["count", "sum(amount)", "min(amount)", "max(amount)", "mean(amount)"]))
    start, end = sorted(draw(st.lists(TIMES, min_size=2, max_size=2, unique=True)))
    top = draw(st.none() | st.integers(1, 4))
    return Ask(
        window=window,
        from_ms=start,
        to_ms=end,
        measure=name,
        by=draw(st.sampled_from([(), ("event",), ("user.country",), FIELDS])),
        filters=draw(
            st.dictionaries(
                st.sampled_from(FIELDS),
                st.lists(
                    st.sampled_from(["a", "null", '"null"', "1", '"1"', "true", "1.5", "none of them"]), min_size=1, max_size=2
                ),
            )
        ),
        top=top,
        other=top is not None and draw(st.booleans()),
        over=window * draw(st.sampled_from([1, 2, 3, 7])),
        show=draw(
            st.sampled_from(["value", "rate", "share", "change"] if name in ("count", "sum(amount)") else ["value", "change"])
        ),
        compare=draw(st.booleans()),
        fill=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.builds(Event, TIMES, st.sampled_from(EVENTS), st.sampled_from(["de", "fr", None]), AMOUNTS), max_size=40),
    st.lists(asks(), min_size=3, max_size=3),
)
def test_any_query_agrees_with_a_recount_of_the_events(events: list[Event], several: list[Ask]) -> None:
    with new_store(events) as store:
        for ask in several:
            found, expected = answer(store, ask.parameters()), recount(events, ask)
            assert close(found, expected), (ask, found, expected)


# Bounds.


def test_a_thousand_groups_at_most_and_the_answer_says_that_some_are_missing() -> None:
    events = [Event(NOW_MS, f"e{number:04}", None, None) for number in range(1_001)] + [Event(NOW_MS, "e1000", None, None)]
    with new_store(events) as store:
        found = answer(store, [("counter", "events"), ("window", "10s")])
        assert (len(found["series"]), found["groups"], found["truncated"]) == (1_000, 1_001, True)
        assert found["series"][0] == {
            "group": {"event": "e1000", "user.country": None},
            "total": 2,
            "points": [[1790000050000, 2]],
        }
        assert "e0999" not in {series["group"]["event"] for series in found["series"]}
        few = answer(store, [("counter", "events"), ("window", "10s"), ("top", "1"), ("other", "true")])
        assert few["truncated"] is False
        assert few["series"][1] == {"group": {}, "other": True, "total": 1_000, "points": [[1790000050000, 1_000]]}


@pytest.mark.parametrize("measure", ["count", "sum(amount)"])
def test_reading_stops_at_the_bound(monkeypatch: pytest.MonkeyPatch, measure: str) -> None:
    monkeypatch.setattr("tallystream.web.answer.CELLS_MAX", 100)
    monkeypatch.setattr("tallystream.web.answer._READ_AT_ONCE", 10)
    events = [Event(NOW_MS - at * 10_000, event, None, None) for at in range(30) for event in "abcd"]
    with new_store(events) as store:
        few = answer(store, [("counter", "events"), ("window", "10s"), ("measure", measure), ("group.event", "a")])
        assert len(few["series"][0]["points"]) == 30
        with pytest.raises(QueryError, match=r"^window: .* more than 100 cells of 10s; choose window=1m, a shorter range"):
            answer(store, [("counter", "events"), ("window", "10s"), ("measure", measure)])


def test_points_without_cells_are_bounded_too() -> None:
    events = [Event(NOW_MS, number, None, None) for number in range(150)]
    with new_store(events) as store:
        asked = [("counter", "events"), ("window", "10s"), ("from", "-24h")]
        assert len(answer(store, asked)["series"]) == 150
        with pytest.raises(QueryError, match=r"^top: 150 groups of 8,640 points each .* choose top=115 or less"):
            answer(store, [*asked, ("fill", "zero")])
        assert len(answer(store, [*asked, ("fill", "zero"), ("top", "2")])["series"]) == 2
