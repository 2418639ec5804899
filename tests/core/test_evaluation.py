"""Datapoints decide an alarm's state: every documented row, and a million histories against a second writing of the rules."""

import operator
import random
import time
from collections.abc import Sequence
from decimal import Decimal
from itertools import product
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.alarm import (
    Band,
    Comparison,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    State,
    SystemSource,
    TreatMissingData,
    Value,
)
from tallystream.core.baseline import Expectation
from tallystream.core.evaluation import (
    Bounds,
    Evaluation,
    Observed,
    bounds,
    decide,
    evaluate,
    evaluation_span,
    is_breaching,
)
from tallystream.core.window import Window
from tests.alarms import MINUTE_MS, NOW_MS, alarm, at, fixed

TREATMENTS: tuple[TreatMissingData, ...] = get_args(TreatMissingData)
STATES: tuple[State, ...] = get_args(State)
OK, ALARM, NONE, STAYS = "OK", "ALARM", "INSUFFICIENT_DATA", "stays"

SIGNS = {"0": False, "X": True, "-": None}


def judged(row: str) -> list[bool | None]:
    return [SIGNS[sign] for sign in row]


def state_after(watched: MetricAlarm, state: State, values: dict[int, Value], as_of_ms: int = NOW_MS) -> State:
    transition = evaluate(watched, state, as_of_ms, Observed(values))
    return state if transition is None else transition.new_state


# The rows that CloudWatch documents, and those that follow from its words: of M of N, under each treatment.

ROWS: list[tuple[int, int, str, list[str]]] = [
    # M, N, oldest to newest, under missing, ignore, breaching, notBreaching
    (3, 3, "0-X-X", [OK, OK, OK, OK]),
    (3, 3, "0----", [OK, OK, OK, OK]),
    (3, 3, "-----", [NONE, STAYS, ALARM, OK]),
    (3, 3, "0XX-X", [ALARM, ALARM, ALARM, ALARM]),
    (2, 3, "0-X-X", [ALARM, ALARM, ALARM, ALARM]),
    (2, 3, "----0", [OK, OK, ALARM, OK]),
    (3, 3, "----X", [STAYS, STAYS, ALARM, OK]),
    (3, 3, "---X-", [STAYS, STAYS, ALARM, OK]),
    (3, 3, "--X--", [ALARM, STAYS, ALARM, OK]),
    (2, 3, "00X0X", [ALARM, ALARM, ALARM, ALARM]),
    (2, 3, "0-X--", [OK, OK, ALARM, OK]),
    (2, 3, "---X-", [ALARM, STAYS, ALARM, OK]),
    (2, 3, "----X", [STAYS, STAYS, ALARM, OK]),
    (1, 3, "----X", [ALARM, ALARM, ALARM, ALARM]),
    (1, 1, "X-0", [OK, OK, OK, OK]),
    (1, 1, "0-X", [ALARM, ALARM, ALARM, ALARM]),
    (1, 1, "X--", [ALARM, ALARM, ALARM, ALARM]),
    (1, 1, "---", [NONE, STAYS, ALARM, OK]),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("to_alarm", "periods", "row", "treatment", "expected"),
    [
        (*rule, row, treatment, expected)
        for *rule, row, states in ROWS
        for treatment, expected in zip(TREATMENTS, states, strict=True)
    ],
)
def test_documented_rows(
    to_alarm: int, periods: int, row: str, treatment: TreatMissingData, expected: str, state: State
) -> None:
    wanted = state if expected == STAYS else expected
    assert decide(judged(row), periods, to_alarm, treatment, state) == wanted
    # The same through an alarm: its windows hold 9 where they breach and 1 where they do not.
    watched = alarm(fixed(">", 5), periods, to_alarm, treat_missing_data=treatment)
    values = at(*[{"X": 9, "0": 1, "-": None}[sign] for sign in row])
    assert state_after(watched, state, values) == wanted


def oracle(history: str, periods: int, to_alarm: int, treatment: TreatMissingData, state: State) -> State:
    """
    Decide by the documentation, as literally as can be: on the row as text, newest last.

    Written without a look at the core; kept obvious rather than quick.
    """
    newest_first = history[::-1]
    real = newest_first.replace("-", "")
    if len(real) >= periods:
        deciding = real[:periods]
        return "ALARM" if deciding.count("X") >= to_alarm else "OK"
    to_fill = periods - len(real)
    if treatment == "breaching":
        return "ALARM" if (real + "X" * to_fill).count("X") >= to_alarm else "OK"
    if treatment == "notBreaching":
        return "ALARM" if (real + "0" * to_fill).count("X") >= to_alarm else "OK"
    if real == "":
        return "INSUFFICIENT_DATA" if treatment == "missing" else state
    if real.count("X") >= to_alarm:
        return "ALARM"
    if "0" in real:
        return "OK"
    if treatment == "missing":
        ages = [age for age, sign in enumerate(newest_first, start=1) if sign == "X"]
        if max(ages) >= to_alarm:
            return "ALARM"
    return state


def rules(periods_max: int) -> list[tuple[int, int]]:
    return [(periods, to_alarm) for periods in range(1, periods_max + 1) for to_alarm in range(1, periods + 1)]


def test_every_short_history_is_decided_as_documented() -> None:
    differences, compared = [], 0
    for periods, to_alarm in rules(5):
        for signs in product("0X-", repeat=periods + 2):
            row = "".join(signs)
            windows = judged(row)
            for treatment in TREATMENTS:
                for state in STATES:
                    compared += 1
                    expected = oracle(row, periods, to_alarm, treatment, state)
                    if decide(windows, periods, to_alarm, treatment, state) != expected:
                        differences.append((to_alarm, periods, row, treatment, state, expected))
    assert differences == []
    assert compared == sum(3 ** (periods + 2) * len(TREATMENTS) * len(STATES) for periods, _ in rules(5))


# Signs to draw histories from: everything mixed, long outages, rare incidents, mostly quiet.
POOLS = ("0X-", "X-", "0-", "0X", "X---------", "-" * 30 + "X", "-" * 30 + "X0", "0000000X", "XXXXXXX-0")


def test_a_million_random_histories_are_decided_as_documented() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    periods_and_to_alarm = rules(10)
    for number in range(1_000_000):
        periods, to_alarm = chance.choice(periods_and_to_alarm)
        row = chance.choices(POOLS[number % len(POOLS)], k=periods + 2)
        treatment, state = TREATMENTS[number % 4], STATES[number % 5 % 3]
        expected = oracle("".join(row), periods, to_alarm, treatment, state)
        found = decide([SIGNS[sign] for sign in row], periods, to_alarm, treatment, state)
        assert found == expected, (seed, to_alarm, periods, "".join(row), treatment, state)


# Whole alarms, evaluated at times: which windows are complete, hysteresis, and what open windows may do.


def live_oracle(watched: MetricAlarm, state: State, as_of_ms: int, values: dict[int, int]) -> State:
    """Evaluate an alarm on a count with a fixed threshold, window by window and as text."""
    condition = watched.condition
    assert isinstance(condition, FixedThreshold)
    bound = int(condition.clear if state == "ALARM" else condition.value)
    breaches = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[condition.comparison]

    def sign(number: int) -> str:
        value = values.get(number * MINUTE_MS)
        is_complete = (number + 1) * MINUTE_MS + watched.delay_ms <= as_of_ms
        if is_complete and value is None:
            return "-"
        return "X" if value is not None and breaches(value, bound) else "0"

    def decided(newest: int) -> State:
        row = "".join(sign(number) for number in range(newest - watched.evaluation_periods - 1, newest + 1))
        return oracle(row, watched.evaluation_periods, watched.datapoints_to_alarm, watched.treat_missing_data, state)

    newest = max(number for number in range(-10, 100) if (number + 1) * MINUTE_MS + watched.delay_ms <= as_of_ms)
    if watched.wait == "early" and condition.comparison in (">", ">="):
        for number in range(newest + 1, as_of_ms // MINUTE_MS + 1):
            if sign(number) == "X" and decided(number) == "ALARM":
                return "ALARM"
    return decided(newest)


def test_evaluating_at_random_times_is_as_documented() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    seen: set[tuple[State, State]] = set()
    for _ in range(800):
        comparison: Comparison = chance.choice(("<", "<=", ">", ">="))
        easier = chance.choice((0, 0, 2)) * (1 if comparison in ("<", "<=") else -1)
        periods = chance.randint(1, 5)
        watched = alarm(
            fixed(comparison, 5, 5 + easier),
            periods,
            chance.randint(1, periods),
            treat_missing_data=chance.choice(TREATMENTS),
            wait=chance.choice(("early", "complete")),
            delay_ms=chance.choice((0, 0, 10_000, 60_000, 150_000)),
        )
        values = {number * MINUTE_MS: chance.randint(1, 9) for number in range(40) if chance.random() < 0.6}
        state: State = "INSUFFICIENT_DATA"
        as_of_ms = 0
        while as_of_ms < 40 * MINUTE_MS:
            expected = live_oracle(watched, state, as_of_ms, values)
            transition = evaluate(watched, state, as_of_ms, Observed(values))
            assert (state if transition is None else transition.new_state) == expected, (seed, watched, as_of_ms, values)
            seen.add((state, expected))
            state = expected
            as_of_ms += chance.choice((1, 20_000, 60_000, 200_000))
    assert len(seen) == 9


def test_a_window_is_complete_when_its_end_and_the_delay_have_passed() -> None:
    for delay_ms in (0, 1, 30_000, 60_000, 90_000):
        watched = alarm(periods=2, delay_ms=delay_ms)
        end_ms = NOW_MS + delay_ms
        assert evaluation_span(watched, end_ms) == Window(NOW_MS - 4 * MINUTE_MS, NOW_MS)
        assert evaluation_span(watched, end_ms - 1) == Window(NOW_MS - 5 * MINUTE_MS, NOW_MS - MINUTE_MS)


def test_only_the_newest_windows_are_read() -> None:
    low = alarm(fixed("<", 5), 2, treat_missing_data="notBreaching")
    assert state_after(low, "OK", at(1, 1, None, None, None)) == "OK"  # one real one is left in the newest four
    assert state_after(low, "OK", at(1, 1, None, None)) == "ALARM"
    assert list(Evaluation(low, NOW_MS).windows) == [NOW_MS - back * MINUTE_MS for back in (4, 3, 2, 1)]


def test_an_open_window_raises_an_alarm_that_nothing_can_undo() -> None:
    complete, is_open = at(1, 1, 1), {NOW_MS: 6}
    as_of_ms = NOW_MS + 20_000
    values = complete | is_open
    for condition, measure, expected in [
        (fixed(">", 5), "count", "ALARM"),
        (fixed(">=", 6), "count", "ALARM"),
        (fixed(">", 6), "count", "OK"),
        (fixed(">", 5), "max(x)", "ALARM"),
        (fixed(">", 5), "sum(x)", "OK"),  # what is added may be negative
        (fixed(">", 5), "mean(x)", "OK"),
        (fixed(">", 5), "min(x)", "OK"),
    ]:
        assert state_after(alarm(condition, measure=measure), "OK", values, as_of_ms) == expected, (condition, measure)
    low = at(9, 9, 9) | {NOW_MS: 1}
    for measure, expected in [("count", "OK"), ("max(x)", "OK"), ("min(x)", "ALARM"), ("sum(x)", "OK")]:
        assert state_after(alarm(fixed("<", 5), measure=measure), "OK", low, as_of_ms) == expected, measure
        assert state_after(alarm(fixed("<=", 1), measure=measure), "OK", low, as_of_ms) == expected, measure
    assert state_after(alarm(wait="complete"), "OK", values, as_of_ms) == "OK"
    system = SystemSource(metric="counting_lag_seconds", window_ms=MINUTE_MS)
    assert state_after(alarm(source=system), "OK", values, as_of_ms) == "OK"


def test_an_open_window_only_ever_raises() -> None:
    as_of_ms = NOW_MS + 20_000
    # Open windows that do not breach yet, and one of which nothing was counted, change nothing.
    assert state_after(alarm(), "ALARM", at(9, 9, 9) | {NOW_MS: 1}, as_of_ms) == "ALARM"
    assert state_after(alarm(), "ALARM", at(9, 9, 9), as_of_ms) == "ALARM"
    # It may complete M of N, but cannot stand in for what is missing.
    assert state_after(alarm(periods=3), "OK", at(1, 9, 9) | {NOW_MS: 9}, as_of_ms) == "ALARM"
    assert state_after(alarm(periods=3), "OK", at(1, 1, 9) | {NOW_MS: 9}, as_of_ms) == "OK"
    # The complete windows alone say INSUFFICIENT_DATA; with the open one, the alarm stays.
    assert state_after(alarm(periods=3), "ALARM", {NOW_MS: 9}, as_of_ms) == "ALARM"


def test_with_a_delay_every_window_that_is_not_complete_may_raise() -> None:
    watched = alarm(periods=2, delay_ms=150_000)
    complete = at(1, 1, 1, 9, end_ms=NOW_MS - 3 * MINUTE_MS)
    for pending, expected in [
        ((9, None, None), "ALARM"),  # the next to be complete: two in a row are certain
        ((9, 1, 9), "ALARM"),
        ((1, 9, 9), "ALARM"),
        ((None, 9, None), "OK"),
        ((1, 1, 9), "OK"),
    ]:
        assert state_after(watched, "OK", complete | at(*pending), NOW_MS) == expected, pending


def test_hysteresis_judges_by_the_clear_bound_in_alarm_alone() -> None:
    high, low = alarm(fixed(">", 10, 5)), alarm(fixed("<=", 5, 8))
    for watched, states in [
        (high, {11: (ALARM, ALARM), 10: (OK, ALARM), 6: (OK, ALARM), 5: (OK, OK)}),
        (low, {5: (ALARM, ALARM), 6: (OK, ALARM), 8: (OK, ALARM), 9: (OK, OK)}),
    ]:
        for value, (from_ok, from_alarm) in states.items():
            assert state_after(watched, "OK", at(value)) == from_ok
            assert state_after(watched, "INSUFFICIENT_DATA", at(value)) == from_ok
            assert state_after(watched, "ALARM", at(value)) == from_alarm


# Conditions.


@pytest.mark.parametrize(
    ("comparison", "breaching", "fine"), [("<", (4,), (5, 6)), ("<=", (4, 5), (6,)), (">", (6,), (5, 4)), (">=", (6, 5), (4,))]
)
def test_comparisons(comparison: Comparison, breaching: Sequence[int], fine: Sequence[int]) -> None:
    limits = bounds(fixed(comparison, 5), "OK", None)
    assert limits is not None
    for value, expected in [*((value, True) for value in breaching), *((value, False) for value in fine)]:
        assert is_breaching(value, comparison, limits) is expected
        assert is_breaching(Decimal(value), comparison, limits) is expected
        assert state_after(alarm(fixed(comparison, 5)), "OK", at(value)) == ("ALARM" if expected else "OK")
        assert state_after(alarm(fixed(comparison, "5.0")), "OK", at(Decimal(value))) == ("ALARM" if expected else "OK")
    between = fixed(comparison, "4.5")
    assert state_after(alarm(between), "OK", at(4)) == ("ALARM" if comparison in ("<", "<=") else "OK")


def test_a_relative_threshold_is_a_share_of_the_value_before() -> None:
    half = RelativeThreshold(comparison="<", percent=Decimal(-50), clear_percent=Decimal(-20), baseline_ms=7 * 86_400_000)
    assert bounds(half, "OK", 80) == Bounds(Decimal(40), None)
    assert bounds(half, "ALARM", Decimal(80)) == Bounds(Decimal(64), None)
    assert bounds(msgspec.structs.replace(half, comparison=">=", percent=Decimal("12.5")), "OK", 80) == Bounds(
        None, Decimal(90)
    )
    for reference in (None, 0, Decimal(0), Expectation(Decimal(1), Decimal(1))):
        assert bounds(half, "OK", reference) is None
    watched = alarm(half, treat_missing_data="missing")
    for value, before, expected in [(39, 80, "ALARM"), (40, 80, "OK"), (39, None, "INSUFFICIENT_DATA")]:
        start_ms = NOW_MS - MINUTE_MS
        transition = evaluate(watched, "OK", NOW_MS, Observed({start_ms: value}, {} if before is None else {start_ms: before}))
        assert ("OK" if transition is None else transition.new_state) == expected


BAND = Band(comparison="outside", deviations=Decimal(3), clear_deviations=Decimal(2), weeks=4)
USUAL = Expectation(Decimal(100), Decimal(10))


def test_a_band_lies_around_what_is_expected() -> None:
    assert bounds(BAND, "OK", USUAL) == Bounds(Decimal(70), Decimal(130))
    assert bounds(BAND, "ALARM", USUAL) == Bounds(Decimal(80), Decimal(120))
    below, above = (msgspec.structs.replace(BAND, comparison=comparison) for comparison in ("<", ">"))
    assert bounds(below, "OK", USUAL) == Bounds(Decimal(70), None)
    assert bounds(above, "OK", USUAL) == Bounds(None, Decimal(130))
    assert bounds(BAND, "OK", None) is None
    assert bounds(BAND, "OK", 100) is None
    start_ms = NOW_MS - MINUTE_MS
    for condition, breaching in [(BAND, {69, 131}), (below, {69}), (above, {131})]:
        for value in (69, 70, 100, 130, 131):
            transition = evaluate(
                alarm(condition, wait="complete"), "OK", NOW_MS, Observed({start_ms: value}, {start_ms: USUAL})
            )
            assert (transition is not None) is (value in breaching), (condition, value)


def test_of_a_band_every_window_that_is_not_complete_may_raise() -> None:
    watched = alarm(BAND, delay_ms=150_000)
    for pending, expected in [((100, 131, 100), True), ((100, 100, 100), False), ((69, None, 100), False)]:
        values = at(100, 100, 100, *pending)
        transition = evaluate(watched, "OK", NOW_MS, Observed(values, dict.fromkeys(values, USUAL)))
        assert (transition is not None) is expected, pending


@pytest.mark.parametrize(("measure", "raising"), [("count", {131}), ("max(x)", {131}), ("min(x)", {69}), ("sum(x)", set())])
def test_only_one_side_of_a_band_is_final(measure: str, raising: set[int]) -> None:
    complete = at(100, 100, 100)
    for value in (69, 100, 131):
        values = complete | {NOW_MS: value}
        transition = evaluate(
            alarm(BAND, measure=measure), "OK", NOW_MS + 1_000, Observed(values, dict.fromkeys(values, USUAL))
        )
        assert (transition is not None) is (value in raising)


# What a transition holds.


def test_a_transition_holds_the_datapoints_that_decided_it() -> None:
    watched = alarm(fixed("<", 5), 3, 2, treat_missing_data="breaching")
    transition = evaluate(watched, "OK", NOW_MS, Observed(at(9, 1, None, 3, None)))
    assert transition is not None
    assert (transition.old_state, transition.new_state) == ("OK", "ALARM")
    found: list[Any] = [(point.window_start_ms, point.value, point.breaching, point.filled) for point in transition.datapoints]
    assert found == [
        (NOW_MS - 5 * MINUTE_MS, 9, False, False),
        (NOW_MS - 4 * MINUTE_MS, 1, True, False),
        (NOW_MS - 2 * MINUTE_MS, 3, True, False),
    ]
    assert {(point.lower, point.upper) for point in transition.datapoints} == {(Decimal(5), None)}
    transition = evaluate(watched, "OK", NOW_MS, Observed(at(None, None, None, 3, None)))
    assert transition is not None
    found = [(point.window_start_ms, point.value, point.breaching, point.filled) for point in transition.datapoints]
    assert found == [
        (NOW_MS - 3 * MINUTE_MS, None, True, True),
        (NOW_MS - 2 * MINUTE_MS, 3, True, False),
        (NOW_MS - 1 * MINUTE_MS, None, True, True),
    ]


def test_missing_datapoints_are_shown_as_they_were_treated() -> None:
    shown = {}
    for treatment in TREATMENTS:
        transition = evaluate(alarm(fixed(">", 5), 2, 2, treat_missing_data=treatment), "ALARM", NOW_MS, Observed(at(1)))
        assert transition is not None
        shown[treatment] = [(point.value, point.breaching, point.filled) for point in transition.datapoints]
    real = (Decimal(1), False, False)
    assert shown == {
        "missing": [(None, False, False), real],
        "ignore": [(None, False, False), real],
        "breaching": [(None, True, True), real],
        "notBreaching": [(None, False, True), real],
    }


@given(st.lists(st.sampled_from([0, 7, None]), min_size=5, max_size=5), st.sampled_from(STATES), st.sampled_from(TREATMENTS))
def test_what_decided_leads_to_the_same_state(values: list[int | None], state: State, treatment: TreatMissingData) -> None:
    watched = alarm(fixed(">", 5), 3, 2, treat_missing_data=treatment)
    transition = evaluate(watched, state, NOW_MS, Observed(at(*values)))
    if transition is None:
        return
    assert transition.old_state == state != transition.new_state
    starts = [point.window_start_ms for point in transition.datapoints]
    assert len(starts) == 3 and starts == sorted(set(starts))
    taken = sum(point.breaching for point in transition.datapoints)
    if transition.new_state == "OK":
        assert taken < 2
    if transition.new_state == "ALARM" and treatment != "missing":
        assert taken >= 2
