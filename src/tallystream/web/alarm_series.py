"""The datapoints of the groups that an alarm watches, as its chart and its backtest need them."""

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from typing import Final

from tallystream.core.alarm import Band, CounterSource, MetricAlarm, RelativeThreshold
from tallystream.core.baseline import slot_of
from tallystream.core.counting import group_key
from tallystream.core.definition import Definition
from tallystream.core.evaluation import Observed, Reference
from tallystream.core.window import Window
from tallystream.datapoints import read_expectations, read_rows, sample_rows
from tallystream.ports.alarms import AlarmStore
from tallystream.ports.counters import CounterReader
from tallystream.web.parameters import invalid

_CELLS_AT_ONCE: Final = 100_000  # read of some groups before the next are


class AlarmSeries(Mapping[str, Observed]):
    """
    Group key → what is known of the group in a span of windows; `items` reads some at a time, and keeps none.

    The keys are those of the groups that the alarm watches, or "" for an alarm with one state.
    """

    def __init__(
        self,
        alarm: MetricAlarm,
        windows: Window,
        definition: Definition,
        store: CounterReader,
        alarms: AlarmStore,
        key: str | None = None,
    ) -> None:
        """
        Find out which series there are; nothing of them is read yet.

        Args:
            alarm: existing or edited.
            windows: starts of windows, [start, end).
            definition: with the counter that the alarm watches.
            store: with the counter's cells.
            alarms: with the samples of system metrics.
            key: only this group; None: all that are watched.

        Raises:
            RequestRefusedError: 400; the key is none of a group that is watched.
        """
        self._alarm = alarm
        self._windows = windows
        self._definition = definition
        self._store = store
        self._alarms = alarms
        watched = _watch(alarm, store)
        if key is not None and key not in watched:
            raise invalid("key", key, f'the key of a group that {alarm.name} watches, "" where it has one state')
        self._series_ids = watched if key is None else {key: watched[key]}

    def __getitem__(self, key: str) -> Observed:
        return next(self._read({key: self._series_ids[key]}))[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._series_ids)

    def __len__(self) -> int:
        return len(self._series_ids)

    def items(self) -> ItemsView[str, Observed]:
        return _Items(self)

    def read(self) -> Iterator[tuple[str, Observed]]:
        """Yield what `items` holds."""
        start_ms, end_ms = self._windows
        size = max(1, _CELLS_AT_ONCE * self._alarm.source.window_ms // max(1, end_ms - start_ms))
        listed = list(self._series_ids.items())
        for at in range(0, len(listed), size):
            yield from self._read(dict(listed[at : at + size]))

    def _read(self, some: Mapping[str, int | None]) -> Iterator[tuple[str, Observed]]:
        source = self._alarm.source
        if not isinstance(source, CounterSource):
            samples = self._alarms.samples(source.metric, *self._windows)
            yield "", Observed(sample_rows(samples, source.window_ms))
            return
        counter = self._definition.counter(source.counter)
        ids = [series_id for series_id in some.values() if series_id is not None]
        rows = read_rows(self._store, counter, source.window_ms, source.measure, self._windows, ids)
        references = self._read_references(source, ids)
        for key, series_id in some.items():
            yield key, Observed({}) if series_id is None else Observed(rows.get(series_id, {}), references.get(series_id, {}))

    def _read_references(self, source: CounterSource, ids: Sequence[int]) -> Mapping[int, Mapping[int, Reference]]:
        """Return series id → window start → what its datapoint is compared with."""
        condition, window_ms = self._alarm.condition, source.window_ms
        counter = self._definition.counter(source.counter)
        start_ms, end_ms = self._windows
        if isinstance(condition, RelativeThreshold):
            shift_ms = condition.baseline_ms
            before = Window(start_ms - shift_ms, end_ms - shift_ms)
            rows = read_rows(self._store, counter, window_ms, source.measure, before, ids)
            return {series_id: {at_ms + shift_ms: value for at_ms, value in own.items()} for series_id, own in rows.items()}
        if isinstance(condition, Band):
            starts = range(start_ms, end_ms, window_ms)
            slots = list(dict.fromkeys(slot_of(at_ms, window_ms) for at_ms in starts))
            expected = read_expectations(self._store, counter, source, condition.weeks, slots, ids)
            by_slot = {at_ms: slot_of(at_ms, window_ms).start_ms for at_ms in starts}
            return {
                series_id: {at_ms: own[slot_ms] for at_ms, slot_ms in by_slot.items() if slot_ms in own}
                for series_id, own in expected.items()
            }
        return {}


class _Items(ItemsView[str, Observed]):
    _mapping: AlarmSeries

    def __iter__(self) -> Iterator[tuple[str, Observed]]:
        return self._mapping.read()


def _watch(alarm: MetricAlarm, store: CounterReader) -> dict[str, int | None]:
    """Return group key → series id of what an alarm watches; None: nothing of it was counted yet."""
    source = alarm.source
    if not isinstance(source, CounterSource):
        return {"": None}
    series = store.series(source.counter)
    if source.group is None:
        return {group_key(*series[series_id]): series_id for series_id in sorted(series)[: source.groups_max]}
    own = group_key(*source.group)
    return {"": next((series_id for series_id, values in series.items() if group_key(*values) == own), None)}
