"""Reads the datapoints of alarms in bulk: what the engine evaluates, and what the API draws and backtests."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from tallystream.core.aggregate import finish
from tallystream.core.alarm import CounterSource, Value
from tallystream.core.baseline import Expectation, history_spans, learn
from tallystream.core.definition import Counter
from tallystream.core.window import Window
from tallystream.ports.counters import CounterReader

Rows = dict[int, Value]
"""Window start → value, ascending. A window without a row, or whose measure has no value, is left out."""

Column = Mapping[int, Value]
"""Series id → value of one window; a series without one is left out."""

_FEW = 8  # windows, of which counts are read window by window: of many series, several times as fast as series by series
_CELLS_AT_ONCE = 100_000  # read of some series before the next are


def read_rows(
    store: CounterReader, counter: Counter, window_ms: int, measure: str, windows: Window, series_ids: Sequence[int]
) -> dict[int, Rows]:
    """Return series id → rows of a measure. A series without a row may be left out."""
    if measure == "count":
        return {series_id: dict(rows) for series_id, rows in store.counts(counter, window_ms, *windows, series_ids).items()}
    asked = next(each for each in counter.measures if each.name == measure)
    found: dict[int, Rows] = {}
    for series_id, start_ms, partial in store.cells(counter, window_ms, *windows, series_ids):
        value = finish(partial, counter, asked)
        if value is not None:
            found.setdefault(series_id, {})[start_ms] = value
    return found


def read_columns(
    store: CounterReader, counter: Counter, window_ms: int, measure: str, windows: Window, series_ids: Sequence[int]
) -> dict[int, Column]:
    """Return window start → series id → value, of each window, rows or not. Best where there are many series in few windows."""
    starts = range(*windows, window_ms)
    if measure == "count" and len(starts) <= _FEW:
        return {at: store.count_totals(counter, window_ms, at, at + window_ms, series_ids, per="series") for at in starts}
    columns: dict[int, dict[int, Value]] = {start_ms: {} for start_ms in starts}
    for series_id, rows in read_rows(store, counter, window_ms, measure, windows, series_ids).items():
        for start_ms, value in rows.items():
            columns[start_ms][series_id] = value
    return dict(columns)


def read_expectations(
    store: CounterReader,
    counter: Counter,
    source: CounterSource,
    weeks: int,
    slots: Sequence[Window],
    series_ids: Sequence[int],
) -> dict[int, dict[int, Expectation]]:
    """
    Return series id → start of a slot → what is expected in it, where there is enough history.

    Cost: weeks × three slots are read of each series, a batch of series at a time.
    """
    spans = _merge(span for slot in slots for span in history_spans(slot, weeks))
    function = source.measure.partition("(")[0]
    found: dict[int, dict[int, Expectation]] = {}
    for some in _batches(series_ids, sum(end_ms - start_ms for start_ms, end_ms in spans) // source.window_ms):
        # A stray event of long ago is no beginning: what is learnt from begins with the oldest week at the earliest.
        begun = store.first_windows(counter, source.window_ms, spans[0].start_ms, some) if spans else {}
        history: dict[int, Rows] = {series_id: {} for series_id in some}
        for span in spans:
            for series_id, rows in read_rows(store, counter, source.window_ms, source.measure, span, some).items():
                history[series_id].update(rows)
        for series_id in some:
            learnt = (
                (slot, learn(history[series_id], begun.get(series_id), slot, weeks, source.window_ms, function))
                for slot in slots
            )
            found[series_id] = {slot.start_ms: expectation for slot, expectation in learnt if expectation is not None}
    return found


def sample_rows(samples: Iterable[tuple[int, Decimal]], window_ms: int) -> Rows:
    """Return the rows of a system metric: of each window the newest sample. Samples ascend by time."""
    return {at_ms - at_ms % window_ms: value for at_ms, value in samples}


def _batches(series_ids: Sequence[int], windows: int) -> Iterator[Sequence[int]]:
    size = max(1, _CELLS_AT_ONCE // max(1, windows))
    for start in range(0, len(series_ids), size):
        yield series_ids[start : start + size]


def _merge(spans: Iterable[Window]) -> list[Window]:
    """Return the spans, ascending, with those that overlap or touch as one."""
    merged: list[Window] = []
    for span in sorted(spans):
        if merged and span.start_ms <= merged[-1].end_ms:
            merged[-1] = Window(merged[-1].start_ms, max(merged[-1].end_ms, span.end_ms))
        else:
            merged.append(span)
    return merged
