"""A backtest is what the alarm would have done, had it been evaluated at the end of every window."""

from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.alarm import NEW, MetricAlarm, State, TreatMissingData, Value
from tallystream.core.backtest import Backtest, Episode, backtest, backtest_span, evaluation_times, replay
from tallystream.core.evaluation import Observed, evaluate
from tallystream.core.window import Window
from tests.alarms import MINUTE_MS, NOW_MS, alarm, at, fixed

DAY_MS = 86_400_000


def minutes(first: int, last: int) -> Window:
    return Window(NOW_MS + first * MINUTE_MS, NOW_MS + last * MINUTE_MS)


def run(watched: MetricAlarm, *values: Value | None, more: dict[str, dict[int, Value]] | None = None) -> Backtest:
    """Test an alarm in the minutes of these values, of which the first is complete at NOW_MS."""
    period = minutes(0, len(values))
    rows = at(*values, end_ms=NOW_MS + (len(values) - 1) * MINUTE_MS)
    groups = {"": rows} | (more or {})
    return backtest(watched, {key: Observed(own) for key, own in groups.items()}, period)


def episodes(found: Backtest) -> list[tuple[int, int | None]]:
    """Return when episodes begin and end, in minutes."""

    def minute(at_ms: int) -> int:
        return (at_ms - NOW_MS) // MINUTE_MS

    return [(minute(each.from_ms), None if each.until_ms is None else minute(each.until_ms)) for each in found.episodes]


def test_episodes_last_from_alarm_to_the_next_state() -> None:
    found = run(alarm(), 1, 9, 9, 1, 1, 9, 1)
    assert episodes(found) == [(1, 3), (5, 6)]
    assert (found.fired, found.windows, found.groups) == (2, 7, 1)
    assert (found.alarm_ms, found.longest_ms) == (3 * MINUTE_MS, 2 * MINUTE_MS)
    assert [each.reason for each in found.episodes] == [
        "the last datapoint was > 5 (9 at 11:33 UTC)",
        "the last datapoint was > 5 (9 at 11:37 UTC)",
    ]


def test_an_episode_may_be_under_way_at_the_end() -> None:
    found = run(alarm(), 1, 9, 9)
    assert found.episodes == [Episode("", NOW_MS + MINUTE_MS, None, "the last datapoint was > 5 (9 at 11:33 UTC)")]
    assert found.alarm_ms == found.longest_ms == 2 * MINUTE_MS


def test_quiet_data_fires_nothing() -> None:
    found = run(alarm(), 1, 2, 3, None, 5)
    assert (found.fired, found.alarm_ms, found.longest_ms, found.flaps, found.per_day) == (0, 0, 0, 0, 0)


def test_an_alarm_that_comes_back_while_the_last_is_in_its_memory_flaps() -> None:
    quick = run(alarm(), 9, 1, 9, 1, 1, 9, 1, 1, 1, 9)
    assert episodes(quick) == [(0, 1), (2, 3), (5, 6), (9, None)]
    assert quick.flaps == 2  # it reads three windows: the last one began three after the end of that before
    assert run(alarm(fixed(">", 5), 2, 1), 9, 1, 1, 1, 9).flaps == 1


def test_hysteresis_ends_the_flapping() -> None:
    noise = [9, 5, 7, 4, 8, 5, 9]
    assert run(alarm(fixed(">", 6)), *noise).fired == 4
    assert run(alarm(fixed(">", 6, 3)), *noise).fired == 1


def test_insufficient_data_ends_an_episode() -> None:
    assert episodes(run(alarm(), 9, None, None, None, 9)) == [(0, 3), (4, None)]


def test_groups_are_counted_together() -> None:
    later: dict[int, Value] = {NOW_MS + minute * MINUTE_MS: 9 for minute in (1, 2)}
    apart: dict[int, Value] = {NOW_MS + 6 * MINUTE_MS: 9}
    watched = alarm(treat_missing_data="notBreaching")
    more = {"b": later, "c": apart, "d": {}}
    found = run(watched, 1, 9, 9, 1, 1, 1, 1, 1, 1, more=more)
    assert [each.group for each in found.episodes] == ["", "b", "c"]
    # A window without a row is a gap that the newest real datapoint bridges, as long as it is read.
    assert episodes(found) == [(1, 3), (2, 6), (7, None)]
    assert (found.groups, found.flaps) == (4, 0)
    assert found.alarm_ms == (6 - 1) * MINUTE_MS + (9 - 7) * MINUTE_MS
    assert found.longest_ms == 4 * MINUTE_MS


def test_per_day_is_an_average() -> None:
    period = Window(NOW_MS, NOW_MS + 7 * DAY_MS)
    rows = {NOW_MS + day * DAY_MS: 9 for day in range(7)} | {NOW_MS + day * DAY_MS + 3_600_000: 9 for day in range(3)}
    found = backtest(alarm(treat_missing_data="notBreaching"), {"": Observed(rows)}, period)
    assert (found.fired, found.per_day) == (10, 1.43)


def test_it_is_evaluated_as_windows_become_complete() -> None:
    assert list(evaluation_times(alarm(), Window(NOW_MS, NOW_MS + 2 * MINUTE_MS))) == [NOW_MS, NOW_MS + MINUTE_MS]
    late = alarm(delay_ms=90_000)
    assert list(evaluation_times(late, Window(NOW_MS, NOW_MS + 2 * MINUTE_MS))) == [NOW_MS + 30_000, NOW_MS + 90_000]
    assert backtest_span(late, Window(NOW_MS, NOW_MS + 2 * MINUTE_MS)) == Window(NOW_MS - 4 * MINUTE_MS, NOW_MS)
    short = Window(NOW_MS + 1, NOW_MS + 2)
    found = backtest(alarm(), {"": Observed(at(9))}, short)
    assert (found.windows, found.fired) == (0, 0)
    span = backtest_span(alarm(), short)
    assert span.start_ms <= span.end_ms


def test_a_period_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="ends after it begins"):
        backtest(alarm(), {}, Window(NOW_MS, NOW_MS))


histories = st.lists(st.sampled_from([None, 1, 4, 6, 9]), min_size=1, max_size=40)
treatments = st.sampled_from(get_args(TreatMissingData))


@st.composite
def alarms(draw: Any) -> MetricAlarm:
    periods = draw(st.integers(1, 4))
    return alarm(
        fixed(">", 5, draw(st.sampled_from([5, 3]))),
        periods,
        draw(st.integers(1, periods)),
        treat_missing_data=draw(treatments),
        wait=draw(st.sampled_from(["early", "complete"])),
        delay_ms=draw(st.sampled_from([0, 20_000, 90_000])),
    )


@given(alarms(), histories)
def test_it_equals_stepping_live_through_the_same_data(watched: MetricAlarm, values: list[Value | None]) -> None:
    rows = at(*values, end_ms=NOW_MS + len(values) * MINUTE_MS)
    period = minutes(0, len(values) + 5)
    state: State = NEW
    lived: list[tuple[int, State]] = []
    for now_ms in range(evaluation_times(watched, period).start, period.end_ms, 10_000):
        complete_ms = now_ms - watched.delay_ms
        # Live, nothing is known of a window before it is complete: these events all came at its end.
        known = {start_ms: value for start_ms, value in rows.items() if start_ms + MINUTE_MS <= complete_ms}
        transition = evaluate(watched, state, now_ms, Observed(known))
        if transition is not None:
            state = transition.new_state
            lived.append((now_ms, state))
    span = backtest_span(watched, period)
    read = {start_ms: value for start_ms, value in rows.items() if span.start_ms <= start_ms < span.end_ms}
    assert [(at_ms, each.new_state) for at_ms, each in replay(watched, Observed(read), period)] == lived
    found = backtest(watched, {"": Observed(read)}, period)
    assert [each.from_ms for each in found.episodes] == [at_ms for at_ms, state in lived if state == "ALARM"]


@given(alarms(), st.lists(st.sampled_from([0, 2, 4, 6, 9]), min_size=1, max_size=30))
def test_one_that_may_fire_early_fires_in_the_window_that_the_backtest_names(watched: MetricAlarm, totals: list[int]) -> None:
    """Here the events of a window come in two halves, and the alarm is evaluated in its middle, too."""
    rows = at(*totals, end_ms=NOW_MS + len(totals) * MINUTE_MS)
    period = minutes(0, len(totals) + 4)
    state: State = NEW
    began: list[int] = []
    in_alarm: set[int] = set()
    for now_ms in range(evaluation_times(watched, period).start, period.end_ms, 10_000):
        known = {start_ms: value for start_ms, value in rows.items() if start_ms + 30_000 <= now_ms and value}
        transition = evaluate(watched, state, now_ms, Observed(known))
        if transition is not None:
            state = transition.new_state
            if state == "ALARM":
                began.append(now_ms)
        if state == "ALARM":
            in_alarm.add(now_ms)
    counted = {start_ms: value for start_ms, value in rows.items() if value}
    tested = [each.from_ms for each in backtest(watched, {"": Observed(counted)}, period).episodes]
    assert in_alarm.issuperset(tested)
    if watched.wait == "complete":
        assert began == tested
    elif not watched.delay_ms:  # while windows wait to be complete, two episodes may be one
        for live_ms, tested_ms in zip(began, tested, strict=False):
            assert live_ms <= tested_ms <= live_ms + MINUTE_MS
        assert len(tested) <= len(began) <= len(tested) + 1  # the last may have fired in a window that is not over


@given(histories, st.integers(1, 3))
def test_totals_fit_the_episodes(values: list[Value | None], periods: int) -> None:
    found = run(alarm(fixed(">", 5), periods), *values)
    spans = [(each.from_ms, found.to_ms if each.until_ms is None else each.until_ms) for each in found.episodes]
    lengths = [end_ms - start_ms for start_ms, end_ms in spans]
    assert found.alarm_ms == sum(lengths)
    assert found.longest_ms == max(lengths, default=0)
    assert all(end_ms <= following for (_, end_ms), (following, _) in pairwise(spans))
    assert found.flaps <= max(0, found.fired - 1)
