"""What alarms are evaluated on, kept from one evaluation to the next: only what has changed is read again."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tallystream.core.alarm import CounterSource
from tallystream.core.baseline import Expectation, slot_of
from tallystream.core.definition import Definition
from tallystream.core.window import Window
from tallystream.datapoints import Column, read_columns, read_expectations
from tallystream.ports.counters import CounterStore

LEARNT_CELLS_MAX: Final = 200_000
"""Cells from which expectations are learnt in one evaluation. They are learnt anew each hour, for many groups bit by bit."""


class Measured(NamedTuple):
    """What alarms have in common whose values are read together."""

    counter: str
    window_ms: int
    measure: str
    periods: int  # so that one alarm that looks far back does not make those on thousands of groups read as far

    @classmethod
    def by(cls, source: CounterSource, periods: int) -> "Measured":
        """Return what an alarm of so many evaluation periods shares with others."""
        return cls(source.counter, source.window_ms, source.measure, periods)


class Columns:
    """The values of windows, each of them read once for all alarms, and again after something was counted in it."""

    def __init__(self, definition: Definition, store: CounterStore) -> None:
        self._definition = definition
        self._store = store
        self._columns: dict[Measured, dict[int, Column]] = {}
        self._version: int | None = None

    def drop_changed(self) -> None:
        """Forget the windows in which something was counted since the last call."""
        version = self._store.version()  # first: what is counted from here on is seen again by the next call
        if self._version is not None and version != self._version:
            changed = {(each.counter, each.window_ms, each.window_start_ms) for each in self._store.changes(self._version)}
            for measured, columns in self._columns.items():
                for start_ms in [at for at in columns if (measured.counter, measured.window_ms, at) in changed]:
                    del columns[start_ms]
        self._version = version

    def load(
        self, wanted: Mapping[Measured, Collection[range]], series_ids: Mapping[Measured, Sequence[int]]
    ) -> dict[Measured, list[int]]:
        """
        Read the windows that are not at hand, and forget those that are not wanted; return the starts of those that were read.

        Args:
            wanted: ranges of window starts.
            series_ids: of all series that any alarm watches. A series that is new among them must have come since
                `drop_changed` was called before.
        """
        read: dict[Measured, list[int]] = {}
        kept: dict[Measured, dict[int, Column]] = {}
        for measured, ranges in wanted.items():
            counter = self._definition.counter(measured.counter)
            columns = self._columns.get(measured, {})
            starts = sorted({start_ms for each in ranges for start_ms in each})
            missing = [start_ms for start_ms in starts if start_ms not in columns]
            for span in _spans(missing, measured.window_ms):
                asked = (measured.window_ms, measured.measure, span, series_ids[measured])
                columns |= read_columns(self._store, counter, *asked)
            kept[measured] = {start_ms: columns[start_ms] for start_ms in starts}
            read[measured] = missing
        self._columns = kept
        return read

    def get(self, measured: Measured, start_ms: int) -> Column:
        """Return the values of a window that is loaded."""
        return self._columns[measured][start_ms]


class _Slot(NamedTuple):
    counter: str
    window_ms: int
    measure: str
    weeks: int
    start_ms: int


class Expectations:
    """What is expected of series at the hours that alarms look at, learnt when it is first asked for and kept until then."""

    def __init__(self, definition: Definition, store: CounterStore) -> None:
        self._definition = definition
        self._store = store
        self._learnt: dict[_Slot, dict[int, Expectation | None]] = {}
        self._used: set[_Slot] = set()
        self._cells_left = LEARNT_CELLS_MAX

    def begin(self) -> None:
        """Begin an evaluation: forget what the last one did not use."""
        self._learnt = {key: learnt for key, learnt in self._learnt.items() if key in self._used}
        self._used = set()
        self._cells_left = LEARNT_CELLS_MAX

    def columns(
        self, source: CounterSource, weeks: int, windows: range, series_ids: Sequence[int]
    ) -> list[Mapping[int, Expectation | None]]:
        """
        Return for each of the windows series id → what is expected; None: there is too little history.

        A series that is left out was not learnt yet: it is, in one of the next evaluations.
        """
        learnt: dict[Window, dict[int, Expectation | None]] = {}
        slots = [slot_of(start_ms, source.window_ms) for start_ms in windows]
        for slot in dict.fromkeys(slots):
            key = _Slot(source.counter, source.window_ms, source.measure, weeks, slot.start_ms)
            self._used.add(key)
            learnt[slot] = self._learnt.setdefault(key, {})
            new = [series_id for series_id in series_ids if series_id not in learnt[slot]]
            if new and self._cells_left > 0:
                learnt[slot].update(self._learn(source, weeks, slot, new))
        return [learnt[slot] for slot in slots]

    def _learn(
        self, source: CounterSource, weeks: int, slot: Window, series_ids: Sequence[int]
    ) -> dict[int, Expectation | None]:
        """Learn of as many series as there are cells left for, of one at least."""
        cells = 3 * weeks * -(-(slot.end_ms - slot.start_ms) // source.window_ms)  # of one series
        some = series_ids[: -(-self._cells_left // cells)]
        self._cells_left -= len(some) * cells
        found = read_expectations(self._store, self._definition.counter(source.counter), source, weeks, [slot], some)
        return {series_id: found[series_id].get(slot.start_ms) for series_id in some}


def _spans(starts: Sequence[int], window_ms: int) -> Iterator[Window]:
    """Yield the runs of consecutive windows, [start, end)."""
    first_ms = None
    for at, start_ms in enumerate(starts):
        first_ms = start_ms if first_ms is None else first_ms
        if at + 1 == len(starts) or starts[at + 1] != start_ms + window_ms:
            yield Window(first_ms, start_ms + window_ms)
            first_ms = None
