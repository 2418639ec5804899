"""The alarm step: every alarm is evaluated on what was counted, and the changes of state are committed at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from tallystream.core.alarm import (
    NEW,
    Alarm,
    Band,
    CompositeAlarm,
    CounterSource,
    MetricAlarm,
    RelativeThreshold,
    State,
    SystemSource,
    Transition,
)
from tallystream.core.alarm_text import composite_reason
from tallystream.core.composite import evaluation_order, parse_rule
from tallystream.core.counting import Ledger, group_key
from tallystream.core.definition import Definition
from tallystream.core.evaluation import Evaluation, Reference
from tallystream.core.mute import MuteSchedule, is_muted
from tallystream.datapoints import Column, sample_rows
from tallystream.engine.alarm_values import Columns, Expectations, Measured
from tallystream.ports.alarms import AlarmChange, AlarmKey, AlarmStatus, AlarmStore, Mute
from tallystream.ports.counters import CounterStore, Generation
from tallystream.ports.stream import Stream

REJECTED_OVER_MS: Final = 300_000
"""Of what arrived in this time, rejected_percent is the share that was rejected."""

_CLOCK_JUMP_MS: Final = 1_800_000  # changes are kept for an hour: by a clock that jumped, they may be gone
_FAILED_MAX: Final = 10_000  # messages counted as failed
_NO_SERIES: Final = -1  # of a group of which nothing was counted: no series has this id


class AlarmStep:
    """Evaluates the alarms of a definition. It remembers what it read, so that a step reads what has changed since the last."""

    def __init__(self, definition: Definition, store: CounterStore, stream: Stream, alarms: AlarmStore) -> None:
        self._definition = definition
        self._store = store
        self._stream = stream
        self._alarms = alarms
        self._by_name: dict[str, Alarm] = {alarm.name: alarm for alarm in definition.alarms}
        composites = [alarm for alarm in definition.alarms if isinstance(alarm, CompositeAlarm)]
        self._rules = {alarm.name: parse_rule(alarm.when) for alarm in composites}
        self._order = evaluation_order(self._rules)
        self._stepped_ms = 0
        self._begun_ms: int | None = None
        self._start_over()

    def step(self, now_ms: int) -> int:
        """
        Evaluate all alarms, and commit what changes; return how many transitions there were.

        Cut off at any point, it leaves all of them as they were, or all as they are decided. When somebody else changed one
        meanwhile, nothing is committed, and the next step decides again. Raises StorageError.
        """
        if not self._by_name:
            return 0
        if self._begun_ms is None or abs(now_ms - self._stepped_ms) > _CLOCK_JUMP_MS:
            self._begun_ms = now_ms
            self._start_over()
        try:
            changes = self._decide(now_ms)
            is_committed = not changes or self._alarms.commit(changes, now_ms)
        except BaseException:
            self._start_over()
            raise
        self._stepped_ms = now_ms
        if not is_committed:
            self._start_over()
            return 0
        return sum(change.transition is not None for change in changes)

    def _start_over(self) -> None:
        """Forget everything that was read."""
        self._generations: list[Generation] | None = None
        self._begun: dict[str, int] = {}  # counters that were edited → since when they count as they do
        self._columns = Columns(self._definition, self._store)
        self._expectations = Expectations(self._definition, self._store)
        self._watches = [_Watch(alarm) for alarm in self._definition.alarms if isinstance(alarm, MetricAlarm)]
        self._newest_series: dict[str, int] = {}
        self._statuses: dict[AlarmKey, AlarmStatus] = {}
        self._unannounced: dict[AlarmKey, AlarmStatus] = {}
        self._statuses_version: int | None = None
        self._is_tidy = False

    def _decide(self, now_ms: int) -> list[AlarmChange]:
        # First: counting goes on while this reads, so what is read below is at least as new as this says.
        as_of_ms = counted_until(self._stream, self._store, now_ms)
        generations = self._store.generations()
        if self._generations != generations:
            self._start_over()
            self._generations = generations
        self._begun = {each.counter: each.since_ms for each in generations if each.generation > 1 and each.since_ms <= now_ms}
        self._columns.drop_changed()
        self._find_series()
        self._read_statuses()
        self._forget_unwatched(as_of_ms, now_ms)
        muting = _Muting(self._definition.mutes, self._alarms, now_ms)
        transitions = dict(self._evaluate(as_of_ms, now_ms))
        transitions.update(self._combine(transitions))
        changes = [self._announce(key, transition, muting) for key, transition in transitions.items()]
        changes += self._end_mutes(transitions.keys(), muting)
        return changes

    def _find_series(self) -> None:
        """Let the watches know of groups that were first counted since the last step."""
        watched = {watch.measured.counter for watch in self._watches if watch.measured is not None}
        for counter in sorted(watched):
            new = self._store.series(counter, self._newest_series.get(counter, 0))
            if new:
                self._newest_series[counter] = max(new)
                keys = {series_id: group_key(*values) for series_id, values in new.items()}
                for watch in self._watches:
                    if watch.measured is not None and watch.measured.counter == counter:
                        watch.add(keys)

    def _read_statuses(self) -> None:
        version = self._alarms.version()  # first, as in Columns
        if version == self._statuses_version:
            return
        self._statuses_version = version
        self._statuses = self._alarms.statuses()
        self._unannounced = {key: status for key, status in self._statuses.items() if status.state != status.announced}
        for watch in self._watches:
            watch.seen = range(0)

    def _forget_unwatched(self, as_of_ms: int, now_ms: int) -> None:
        """
        Remove, once, the states of groups that are not watched any more.

        Not before all is counted that had arrived at the start: after a loss of power or a restore, a group may for a while be
        in the stream alone. Whoever was told of its ALARM would be told again.
        """
        if self._is_tidy or self._begun_ms is None or as_of_ms < self._begun_ms:
            return
        watched = {AlarmKey(name) for name in self._rules}.union(*(watch.series for watch in self._watches))
        gone = [key for key in self._statuses if key not in watched]
        self._alarms.forget(gone, now_ms)
        for key in gone:
            del self._statuses[key]
            self._unannounced.pop(key, None)
        self._is_tidy = True

    def _state(self, key: AlarmKey) -> State:
        status = self._statuses.get(key)
        return NEW if status is None else status.state

    # Evaluating alarms that watch datapoints.

    def _evaluate(self, as_of_ms: int, now_ms: int) -> Iterator[tuple[AlarmKey, Transition]]:
        self._expectations.begin()
        evaluations = [
            # What Tallystream measures of itself does not wait to be counted.
            (watch, Evaluation(watch.alarm, now_ms if watch.measured is None else as_of_ms))
            for watch in self._watches
        ]
        wanted: dict[Measured, set[range]] = {}
        series_ids: dict[Measured, dict[int, None]] = {}
        for watch, evaluation in evaluations:
            if watch.measured is not None:
                wanted.setdefault(watch.measured, set()).update(watch.ranges(evaluation.windows))
                series_ids.setdefault(watch.measured, {}).update(dict.fromkeys(watch.series_ids))
        newly_read = self._columns.load(wanted, {measured: list(ids) for measured, ids in series_ids.items()})
        for watch, evaluation in evaluations:
            yield from self._evaluate_one(watch, evaluation, newly_read)

    def _evaluate_one(
        self, watch: "_Watch", evaluation: Evaluation, newly_read: dict[Measured, list[int]]
    ) -> Iterator[tuple[AlarmKey, Transition]]:
        windows = evaluation.windows
        if windows == watch.seen and not watch.looks_at(windows, newly_read):
            return
        values = [column.get for column in self._values(watch, windows)]
        references = self._references(watch, windows)
        is_complete = True
        for key, series_id in watch.series.items():
            compared = None
            if references is not None:
                if watch.is_banded and series_id != _NO_SERIES and any(series_id not in column for column in references):
                    is_complete = False  # what is expected of it is still to be learnt
                    continue
                compared = [column.get(series_id) for column in references]
            transition = evaluation.transition(self._state(key), [value(series_id) for value in values], compared)
            if transition is not None and self._is_founded(watch, transition):
                yield key, transition
        watch.seen = windows if is_complete else range(0)

    def _is_founded(self, watch: "_Watch", transition: Transition) -> bool:
        """
        Return whether a transition rests on windows that were counted from their start.

        An edited counter begins anew. That it has counted nothing of what came before is not to be taken for silence; what it
        has counted, it has counted.
        """
        begun_ms = self._begun.get(watch.measured.counter, 0) if watch.measured is not None else 0
        if all(point.window_start_ms >= begun_ms for point in transition.datapoints):
            return True
        if transition.new_state != "ALARM":
            return False
        is_upper = watch.alarm.condition.comparison in (">", ">=")
        founded = [
            point
            for point in transition.datapoints
            if point.breaching and (point.window_start_ms >= begun_ms or (is_upper and point.value is not None))
        ]
        return len(founded) >= watch.alarm.datapoints_to_alarm

    def _values(self, watch: "_Watch", windows: range) -> list[Column]:
        source = watch.alarm.source
        if isinstance(source, SystemSource):
            rows = sample_rows(self._alarms.samples(source.metric, windows.start, windows.stop), source.window_ms)
            return [{_NO_SERIES: rows[start_ms]} if start_ms in rows else {} for start_ms in windows]
        measured = Measured.by(source, watch.alarm.evaluation_periods)
        return [self._columns.get(measured, start_ms) for start_ms in windows]

    def _references(self, watch: "_Watch", windows: range) -> Sequence[Mapping[int, Reference | None]] | None:
        source, condition = watch.alarm.source, watch.alarm.condition
        if isinstance(source, CounterSource):
            if isinstance(condition, RelativeThreshold):
                measured = Measured.by(source, watch.alarm.evaluation_periods)
                return [self._columns.get(measured, start_ms - condition.baseline_ms) for start_ms in windows]
            if isinstance(condition, Band):
                return self._expectations.columns(source, condition.weeks, windows, watch.series_ids)
        return None

    # Composite alarms.

    def _combine(self, transitions: Mapping[AlarmKey, Transition]) -> dict[AlarmKey, Transition]:
        """Return the changes of the composite alarms, given those of the others in the same step."""
        if not self._order:
            return {}
        in_alarm = {key for key, status in self._statuses.items() if status.state == "ALARM"}
        for key, transition in transitions.items():
            (in_alarm.add if transition.new_state == "ALARM" else in_alarm.discard)(key)
        names = {key.alarm for key in in_alarm}
        combined: dict[AlarmKey, Transition] = {}
        for name in self._order:
            rule, key = self._rules[name], AlarmKey(name)
            new_state: State = "ALARM" if rule.holds(names.__contains__) else "OK"
            (names.add if new_state == "ALARM" else names.discard)(name)
            state = self._state(key)
            if new_state != state:
                reason = composite_reason(rule.text, new_state, rule.names, names)
                combined[key] = Transition(state, new_state, reason, ())
        return combined

    # Telling of changes.

    def _announce(self, key: AlarmKey, transition: Transition, muting: "_Muting") -> AlarmChange:
        status = self._statuses.get(key)
        version, announced = (0, NEW) if status is None else (status.version, status.announced)
        new_state = transition.new_state
        is_new = status is None or status.transition_id is None
        if is_new and new_state == "OK":
            return AlarmChange(key, version, transition, new_state, ())  # no news: it was not known to be otherwise
        if muting.holds(key.alarm):
            # Before anything is known of an alarm, its being OK is no news: neither after what came and went in a mute.
            return AlarmChange(key, version, transition, "OK" if is_new else announced, ())
        # What was told last may be just this: what came and went in a mute, and ended with it.
        channels = () if new_state == announced else self._by_name[key.alarm].actions.of(new_state)
        return AlarmChange(key, version, transition, new_state, channels)

    def _end_mutes(self, changed: Collection[AlarmKey], muting: "_Muting") -> list[AlarmChange]:
        """Return what is to be told now of changes that happened while an alarm was muted, and still stand."""
        return [
            AlarmChange(key, status.version, None, status.state, self._by_name[key.alarm].actions.of(status.state))
            for key, status in self._unannounced.items()
            if key not in changed and not muting.holds(key.alarm)
        ]


class _Watch:
    """An alarm on datapoints, and the series that it watches."""

    def __init__(self, alarm: MetricAlarm) -> None:
        source, condition = alarm.source, alarm.condition
        self.alarm = alarm
        self.seen = range(0)  # the windows that it was evaluated on last; nothing: it must be evaluated
        self.measured = Measured.by(source, alarm.evaluation_periods) if isinstance(source, CounterSource) else None
        self.is_banded = isinstance(condition, Band)
        self.series_ids: list[int] = []
        self.series: dict[AlarmKey, int] = {}  # ids by the keys of their states
        self._shift_ms = condition.baseline_ms if isinstance(condition, RelativeThreshold) else 0
        self._own_key: str | None = None
        if isinstance(source, SystemSource) or source.group is not None:
            self.series[AlarmKey(alarm.name)] = _NO_SERIES
        if isinstance(source, CounterSource) and source.group is not None:
            self._own_key = group_key(*source.group)

    def add(self, keys: Mapping[int, str]) -> None:
        """Take from new series, id → group key, those that it watches: its own, or each until there are groups_max."""
        source = self.alarm.source
        assert isinstance(source, CounterSource)
        for series_id, key in keys.items():
            if key == self._own_key or (source.group is None and len(self.series_ids) < source.groups_max):
                self.series[AlarmKey(self.alarm.name, key if source.group is None else "")] = series_id
                self.series_ids.append(series_id)
                self.seen = range(0)

    def ranges(self, windows: range) -> set[range]:
        """Return the windows whose values it compares, given those that it looks at."""
        before = range(windows.start - self._shift_ms, windows.stop - self._shift_ms, windows.step)
        return {windows, before}

    def looks_at(self, windows: range, newly_read: Mapping[Measured, Sequence[int]]) -> bool:
        """Return whether one of the windows that were read anew is among those that it compares."""
        if self.measured is None:
            return False
        starts = newly_read.get(self.measured, ())
        return any(start_ms in windows or start_ms + self._shift_ms in windows for start_ms in starts)


class _Muting:
    """Which alarms are muted at a time; found out when it is first asked."""

    def __init__(self, schedules: Sequence[MuteSchedule], alarms: AlarmStore, now_ms: int) -> None:
        self._schedules = schedules
        self._alarms = alarms
        self._now_ms = now_ms
        self._mutes: list[Mute] | None = None
        self._known: dict[str, bool] = {}

    def holds(self, alarm: str) -> bool:
        """Return whether an alarm is muted, by somebody or by a schedule."""
        if alarm not in self._known:
            if self._mutes is None:
                self._mutes = [
                    mute for mute in self._alarms.mutes(self._now_ms) if mute.from_ms <= self._now_ms < mute.until_ms
                ]
            self._known[alarm] = any(not mute.alarms or alarm in mute.alarms for mute in self._mutes) or any(
                schedule.covers(alarm) and is_muted(schedule, self._now_ms) for schedule in self._schedules
            )
        return self._known[alarm]


def counted_until(stream: Stream, store: CounterStore, now_ms: int) -> int:
    """
    Return up to when everything that arrived is counted: now or, while lines wait, when the oldest of them arrived.

    Never later than now. A backlog therefore holds alarms up, and makes none of them fire.
    """
    shards = stream.shards()  # before the positions: a line that comes in between is not taken for one that waits
    positions = store.positions()
    until_ms = now_ms
    for state in shards:
        position = positions.get(state.shard, 0)
        if state.next_sequence > position:
            until_ms = min(until_ms, *(chunk.arrival_ms for chunk in stream.read(state.shard, position, 1)), now_ms)
    return until_ms


def measure_system(store: CounterStore, stream: Stream, alarms: AlarmStore, disk_free_percent: Decimal, now_ms: int) -> None:
    """
    Store what Tallystream measures of itself.

    Args:
        store: the counters, with the ledger.
        stream: whose lines are counted.
        alarms: that takes the samples; whether its notifications arrive is one of them.
        disk_free_percent: of the disk that holds the data.
        now_ms: UTC milliseconds.
    """
    last_arrival_ms = max((state.last_arrival_ms for state in stream.shards()), default=0)
    lag_ms = now_ms - counted_until(stream, store, now_ms)
    ledger = Ledger()
    for _, minute in store.throughput(now_ms - REJECTED_OVER_MS):
        ledger = ledger.plus(minute)
    samples: dict[str, Decimal] = {
        "rejected_percent": Decimal(100 * ledger.rejected) / max(1, ledger.received),
        "counting_lag_seconds": Decimal(lag_ms) / 1_000,
        "disk_free_percent": disk_free_percent,
        "failed_notifications": Decimal(len(alarms.undelivered(now_ms, _FAILED_MAX))),
    }
    if last_arrival_ms:  # before the first event, nobody is missing one
        samples["seconds_without_events"] = Decimal(max(0, now_ms - last_arrival_ms)) / 1_000
    alarms.add_samples(samples, now_ms)
