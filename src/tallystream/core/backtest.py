"""
An alarm run over datapoints that are stored: when it would have fired, for how long, and how often it would have flapped.

It is evaluated at the end of each window, as it would have been live. An alarm that may fire before a window ends would have
fired somewhat earlier, at most as long as the window and the delay; with a delay, two of its episodes may have been one.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import msgspec

from tallystream.core.alarm import NEW, MetricAlarm, State, Transition
from tallystream.core.evaluation import MORE_WINDOWS, Observed, evaluate
from tallystream.core.window import Window

_DAY_MS = 86_400_000


class Episode(NamedTuple):
    """A time in which a group was in ALARM, [from_ms, until_ms)."""

    group: str  # as in ports.AlarmKey
    from_ms: int
    until_ms: int | None  # None: it still was at the end of the backtest
    reason: str  # why it began


class Backtest(NamedTuple):
    """What an alarm would have done in [from_ms, to_ms)."""

    from_ms: int
    to_ms: int
    windows: int  # at whose end it was evaluated
    groups: int
    episodes: list[Episode]  # of all groups, by from_ms
    alarm_ms: int  # during which any group was in ALARM
    longest_ms: int  # of an episode
    flaps: int  # episodes that began while the datapoints of the same group's episode before were still being read

    @property
    def fired(self) -> int:
        """How often it went into ALARM."""
        return len(self.episodes)

    @property
    def per_day(self) -> float:
        """How often it went into ALARM in a day, on average."""
        return round(self.fired * _DAY_MS / (self.to_ms - self.from_ms), 2)


def backtest(alarm: MetricAlarm, groups: Mapping[str, Observed], period: Window) -> Backtest:
    """
    Run an alarm over stored datapoints, beginning as a new alarm.

    Args:
        alarm: existing or edited.
        groups: by group key ("" for an alarm without `group_by = "each"`), the datapoints of at least `backtest_span`. One
            is asked for after the other, so they need not all be held.
        period: in which it is evaluated, at the end (plus delay) of each window that lies in it.

    Raises:
        ValueError: the period is empty.
    """
    if period.end_ms <= period.start_ms:
        raise ValueError(f"a backtest needs a period that ends after it begins, got {period.start_ms} to {period.end_ms}")
    episodes: list[Episode] = []
    flaps = 0
    memory_ms = (alarm.evaluation_periods + MORE_WINDOWS) * alarm.source.window_ms
    for key, observed in groups.items():
        own = _episodes(key, replay(alarm, observed, period))
        episodes += own
        flaps += sum(following.from_ms - (last.until_ms or 0) < memory_ms for last, following in pairwise(own))
    episodes.sort(key=lambda episode: (episode.from_ms, episode.group))
    spans = [(episode.from_ms, period.end_ms if episode.until_ms is None else episode.until_ms) for episode in episodes]
    return Backtest(
        from_ms=period.start_ms,
        to_ms=period.end_ms,
        windows=len(evaluation_times(alarm, period)),
        groups=len(groups),
        episodes=episodes,
        alarm_ms=_covered_ms(spans),
        longest_ms=max((end_ms - start_ms for start_ms, end_ms in spans), default=0),
        flaps=flaps,
    )


def backtest_span(alarm: MetricAlarm, period: Window) -> Window:
    """Return the windows that a backtest looks at."""
    times = evaluation_times(alarm, period)
    window_ms = alarm.source.window_ms
    end_ms = (times[-1] if times else period.start_ms) - alarm.delay_ms
    first_ms = (times[0] if times else period.start_ms) - alarm.delay_ms
    return Window(first_ms - (alarm.evaluation_periods + MORE_WINDOWS) * window_ms, end_ms)


def evaluation_times(alarm: MetricAlarm, period: Window) -> range:
    """Return when windows become complete in [start_ms, end_ms)."""
    window_ms, delay_ms = alarm.source.window_ms, alarm.delay_ms
    first_ms = period.start_ms + (delay_ms - period.start_ms) % window_ms
    return range(first_ms, period.end_ms, window_ms)


def replay(alarm: MetricAlarm, observed: Observed, period: Window) -> list[tuple[int, Transition]]:
    """Return (time, transition) of a new alarm that is evaluated at the end of each window, ascending."""
    state: State = NEW
    found = []
    # What is stored of a window is its end; how far it had come at an earlier time is not known any more.
    settled = msgspec.structs.replace(alarm, wait="complete")
    for at_ms in evaluation_times(alarm, period):
        transition = evaluate(settled, state, at_ms, observed)
        if transition is not None:
            state = transition.new_state
            found.append((at_ms, transition))
    return found


def _episodes(key: str, transitions: list[tuple[int, Transition]]) -> list[Episode]:
    episodes: list[Episode] = []
    for at_ms, transition in transitions:
        if transition.new_state == "ALARM":
            episodes.append(Episode(key, at_ms, None, transition.reason))
        elif transition.old_state == "ALARM":
            episodes[-1] = episodes[-1]._replace(until_ms=at_ms)
    return episodes


def _covered_ms(spans: list[tuple[int, int]]) -> int:
    """Return how long at least one of the spans, ascending by start, lasts."""
    covered_ms, reached_ms = 0, spans[0][0] if spans else 0
    for start_ms, end_ms in spans:
        covered_ms += max(0, end_ms - max(start_ms, reached_ms))
        reached_ms = max(reached_ms, end_ms)
    return covered_ms
