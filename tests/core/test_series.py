"""Cells become datapoints. Whole answers are held against a recount in tests/web/test_answer.py; here is each part."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.aggregate import Partial, aggregate_field
from tallystream.core.definition_text import parse_definition
from tallystream.core.group import GroupValue
from tallystream.core.query import Query, parse_groups_query, parse_query
from tallystream.core.series import (
    Group,
    Rows,
    Table,
    add_cells,
    add_counts,
    build_answer,
    find_values,
    fold_measure,
    match_groups,
    merge_rows,
    rank,
    slide,
    total_of,
)
from tallystream.core.window import Window

MINUTE_MS = 60_000
NOW_MS = 10 * MINUTE_MS - 1
DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event", "country"]
windows = ["1m"]
measures = ["count", "sum(size)", "sum(amount)", "min(amount)", "mean(amount)"]
""")


def ask(**more: str) -> Query:
    parameters = {"counter": "events", "window": "1m", "from_": "0", "to": str(10 * MINUTE_MS)} | more
    return parse_query([(name.rstrip("_"), text) for name, text in parameters.items()], DEFINITION, NOW_MS)


def group(*values: Any) -> Group:
    return Group(values, tuple(map(type, values)))


def partial(*amounts: float | None) -> Partial:
    return Partial(len(amounts), (aggregate_field(amounts), aggregate_field([1] * len(amounts))))  # amount, size


def answer(query: Query, *periods: dict[Group, Rows], rest: Sequence[Rows] = ()) -> Any:
    tables = [Table(rows, rest[at] if rest else {}) for at, rows in enumerate(periods)]
    groups = len(periods[0]) + bool(rest)
    return build_answer(query, fold_measure(query), list(periods[0]), tables, groups, has_other=query.other and bool(rest))


def test_series_are_matched_and_merged_by_the_fields_that_stay_apart() -> None:
    series: dict[int, tuple[GroupValue, ...]] = {1: ("a", "de"), 2: ("a", None), 3: (1, "de"), 4: (True, "de"), 5: ("1", "fr")}
    assert match_groups(ask(), series) == {number: group(*values) for number, values in series.items()}
    merged = match_groups(ask(by="event"), series)
    assert merged[1] == merged[2] == group("a")
    assert len({merged[3], merged[4], merged[5]}) == 3
    assert set(match_groups(ask(by=""), series).values()) == {group()}
    query = parse_query(
        [("counter", "events"), ("window", "1m"), ("group.country", "null"), ("group.event", "a")], DEFINITION, NOW_MS
    )
    assert match_groups(query, series) == {2: group("a", None)}


def test_cells_of_finer_windows_and_of_several_series_are_merged() -> None:
    fold = fold_measure(ask(measure="mean(amount)"))
    both: Rows = {}
    other: Rows = {}
    cells = [(1, 0, partial(1)), (1, MINUTE_MS, partial(2, 6)), (2, MINUTE_MS, partial(None)), (3, -MINUTE_MS, partial(4))]
    assert add_cells({1: both, 2: both, 3: other}, cells, 5 * MINUTE_MS, fold) == 4
    assert fold.finish is not None
    assert {start: fold.finish(state) for start, state in both.items()} == {0: 3}  # (1 + 2 + 6) / 3, not a mean of means
    assert list(other) == [-5 * MINUTE_MS]


def test_counts_are_taken_as_they_are_or_added_up() -> None:
    counts = [(0, 1), (MINUTE_MS, 2), (5 * MINUTE_MS, 4)]
    rows: Rows = {}
    add_counts(rows, counts, MINUTE_MS, MINUTE_MS)
    assert rows == dict(counts)
    add_counts(rows, counts, MINUTE_MS, MINUTE_MS)
    assert rows == {start: 2 * count for start, count in counts}
    coarse: Rows = {}
    add_counts(coarse, counts, 5 * MINUTE_MS, MINUTE_MS)
    assert coarse == {0: 3, 5 * MINUTE_MS: 4}


@given(
    st.dictionaries(st.integers(-8, 20), st.text("abc", min_size=1, max_size=2)),
    st.integers(-5, 10),
    st.integers(0, 12),
    st.integers(1, 7),
)
def test_sliding_merges_each_span_in_order(states: dict[int, str], first: int, length: int, size: int) -> None:
    fold = fold_measure(ask())._replace(merge=lambda a, b: a + b)  # text shows what was merged, and in which order
    rows = {at * MINUTE_MS: state for at, state in states.items()}
    period = Window(first * MINUTE_MS, (first + length) * MINUTE_MS)
    spans = {at: "".join(states.get(part, "") for part in range(at - size + 1, at + 1)) for at in range(first, first + length)}
    expected = {at * MINUTE_MS: span for at, span in spans.items() if span}
    assert slide(rows, period, MINUTE_MS, size * MINUTE_MS, fold) == expected


@pytest.mark.parametrize(
    ("measure", "total", "nothing"),
    [("count", 3, 0), ("sum(amount)", Decimal("3.5"), 0), ("min(amount)", 1, None), ("mean(amount)", Decimal("1.75"), None)],
)
def test_a_total_is_of_the_period_alone(measure: str, total: Any, nothing: Any) -> None:
    fold = fold_measure(ask(measure=measure))
    cells = {-MINUTE_MS: partial(0.5), 0: partial(1), MINUTE_MS: partial(None, 2.5), 2 * MINUTE_MS: partial(0.25)}
    rows = {start: fold.read(state) for start, state in cells.items()}
    assert total_of(rows, Window(0, 2 * MINUTE_MS), fold) == total
    assert total_of(rows, Window(9 * MINUTE_MS, 10 * MINUTE_MS), fold) == nothing


def test_the_largest_group_is_first_and_equal_ones_have_an_order() -> None:
    totals = {group("b"): 1, group("none"): None, group("a"): 1, group("z"): Decimal("1.5"), group(1): -2, group("1"): -2}
    assert rank(totals) == [group("z"), group("a"), group("b"), group(1), group("1"), group("none")]
    near = {group("less"): Decimal("1" * 30), group("more"): Decimal("1" * 29 + "2")}
    assert rank(near) == [group("more"), group("less")]


def test_gaps_are_filled_up_to_now() -> None:
    rows = {group("a", None): {MINUTE_MS: 5, 12 * MINUTE_MS: 7}}
    query = ask(fill="zero", to=str(14 * MINUTE_MS))
    (series,) = answer(query, rows).series
    assert series.points == [(at * MINUTE_MS, 5 if at == 1 else 0) for at in range(10)] + [(12 * MINUTE_MS, 7)]
    least = fold_measure(ask(measure="min(amount)"))
    state = {group("a", None): {MINUTE_MS: least.read(partial(5))}}
    (series,) = answer(ask(fill="zero", measure="min(amount)", to="120000"), state).series
    assert series.points == [(0, None), (MINUTE_MS, 5)]


def test_a_sliding_window_ends_with_now() -> None:
    rows = {group("a", None): {9 * MINUTE_MS: 5}}
    (series,) = answer(ask(over="3m", to=str(14 * MINUTE_MS)), rows).series
    assert series.points == [(9 * MINUTE_MS, 5)]
    rows[group("a", None)][11 * MINUTE_MS] = 7  # an event from the future is there
    (series,) = answer(ask(over="3m", to=str(14 * MINUTE_MS)), rows).series
    assert series.points == [(9 * MINUTE_MS, 5), (11 * MINUTE_MS, 12)]


def test_a_rate_is_by_the_second_that_a_point_covers() -> None:
    rows = {group("a", None): {0: 120, MINUTE_MS: 20}}
    assert answer(ask(show="rate"), rows).series[0].points == [(0, 2), (MINUTE_MS, Decimal("0.33333333333333333333"))]
    assert answer(ask(show="rate", over="2m"), rows).series[0].points[1] == (MINUTE_MS, Decimal("1.1666666666666666667"))
    assert answer(ask(show="rate"), rows).series[0].total == 140


def test_a_share_is_of_all_groups_shown_or_not() -> None:
    rows = {group("a", None): {0: 1, MINUTE_MS: 0}, group("b", None): {0: 2}}
    found = answer(ask(show="share", top="2", other="true"), rows, rest=[{0: 1}])
    assert [series.points for series in found.series] == [
        [(0, Decimal("0.25")), (MINUTE_MS, None)],
        [(0, Decimal("0.5"))],
        [(0, Decimal("0.25"))],
    ]
    assert [series.other for series in found.series] == [False, False, True]
    assert (found.groups, found.truncated) == (3, False)


def test_a_change_is_against_the_window_a_period_before() -> None:
    query = ask(show="change", from_=str(8 * MINUTE_MS), to=str(12 * MINUTE_MS))
    now = {8: 15, 9: 10}
    before = {4: 10, 5: 0, 6: 4}
    rows = [{group("a", None): {at * MINUTE_MS: value for at, value in some.items()}} for some in (now, before)]
    # 10 and 11 have not begun: whether they will be less than 6 and 7 is not known.
    assert answer(query, *rows).series[0].points == [(8 * MINUTE_MS, Decimal("0.5")), (9 * MINUTE_MS, None)]
    gone = ask(show="change", from_=str(5 * MINUTE_MS), to=str(10 * MINUTE_MS))
    (series,) = answer(gone, {group("a", None): {}}, {group("a", None): {MINUTE_MS: 3}}).series
    assert series.points == [(6 * MINUTE_MS, -1)]


def test_a_change_from_a_negative_sum_has_the_sign_of_the_difference() -> None:
    query = ask(show="change", measure="sum(amount)", from_=str(5 * MINUTE_MS), to=str(10 * MINUTE_MS))
    fold = fold_measure(query)
    now, before = fold.read(partial(-1)), fold.read(partial(-2))
    (series,) = answer(query, {group("a", None): {5 * MINUTE_MS: now}}, {group("a", None): {0: before}}).series
    assert series.points == [(5 * MINUTE_MS, Decimal("0.5"))]


def test_the_period_before_is_shifted_onto_this_one() -> None:
    query = ask(compare="previous", from_=str(5 * MINUTE_MS), to=str(10 * MINUTE_MS))
    (series,) = answer(query, {group("a", "de"): {5 * MINUTE_MS: 4}}, {group("a", "de"): {0: 1, MINUTE_MS: 2}}).series
    assert (series.points, series.total) == ([(5 * MINUTE_MS, 4)], 4)
    assert (series.previous, series.previous_total) == ([(5 * MINUTE_MS, 1), (6 * MINUTE_MS, 2)], 3)
    assert series.group == {"event": "a", "country": "de"}


def test_what_the_limit_leaves_out_is_said_what_top_leaves_out_was_asked_for() -> None:
    rows = {group("a", None): {0: 1}}
    assert answer(ask(), rows, rest=[{}]).truncated is True
    assert answer(ask(top="1"), rows, rest=[{}]).truncated is False
    assert len(answer(ask(top="1"), rows, rest=[{}]).series) == 1


def test_rows_of_several_groups_are_merged() -> None:
    assert merge_rows([{0: 1, 1: 2}, {1: 3}, {}], fold_measure(ask())) == {0: 1, 1: 5}


@pytest.mark.parametrize(
    ("more", "values"),
    [
        ({}, [3, "3", "a page", "Page", "page view", True, "ÄGYPTEN", None]),
        ({"q": "pAGE"}, ["Page", "page view", "a page"]),
        ({"q": "ä"}, ["ÄGYPTEN"]),
        ({"q": "u"}, [True, None]),
        ({"q": "n"}, ["ÄGYPTEN", None]),
        ({"q": "page", "limit": "2"}, ["Page", "page view"]),
        ({"q": "zzz"}, []),
    ],
)
def test_values_are_found_by_what_they_hold(more: dict[str, str], values: list[Any]) -> None:
    series = [(value, "de") for value in (None, "page view", "Page", "a page", 3, "3", True, "ÄGYPTEN")]
    series += [("page view", "fr")]
    asked = parse_groups_query([("counter", "events"), ("field", "event"), *more.items()], DEFINITION)
    assert list(map(repr, find_values(series, asked))) == list(map(repr, values))
