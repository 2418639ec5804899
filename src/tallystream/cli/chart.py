"""An answer as a chart of braille dots, drawn to the width of the terminal."""

import itertools
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.text import Text

from tallystream.cli.display import exact, group_label, short
from tallystream.core.query import Show
from tallystream.core.series import Answer, Series
from tallystream.core.window import parse_duration

SERIES_MAX = 8  # lines that can still be told apart
_HEIGHT = 16  # of a chart with all lines, in text rows
_PANEL_HEIGHT = 5  # of each line's own chart, where colours cannot tell lines apart
_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red", "bright_white", "bright_green")

# Dots of a braille character by (column, row); U+2800 is the empty one.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))

Line = list[tuple[int, float]]


def answer_chart(answer: Answer, show: Show, console: Console) -> RenderableType:
    """
    Return the chart of an answer's first SERIES_MAX series.

    With colours all lines share a chart; without, each has its own, on one scale.
    """
    shown = answer.series[:SERIES_MAX]
    lines = [[(start_ms, float(value)) for start_ms, value in series.points if value is not None] for series in shown]
    in_colour = console.color_system is not None and not console.no_color
    together = in_colour or len(shown) < 2
    height = _HEIGHT if together else _PANEL_HEIGHT
    scale = _Scale(answer, show, lines, ticks=height // 4 + 1)
    parts: list[RenderableType] = []
    if together:
        canvas = _Canvas(scale.plot_width(console), height, ascii_only=console.options.ascii_only)
        for line, colour in zip(lines, _COLOURS, strict=False):
            canvas.draw(scale.runs(line, canvas), colour)
        parts += scale.frame(canvas)
        parts += ["", _legend(shown, "--" if console.options.ascii_only else "━━")]
    else:
        for line, series in zip(lines, shown, strict=True):
            canvas = _Canvas(scale.plot_width(console), height, ascii_only=console.options.ascii_only)
            canvas.draw(scale.runs(line, canvas), "")
            parts.append(Text.assemble(group_label(series), "  ", exact(series.total, "value")))
            parts += [*scale.frame(canvas), ""]
    if len(answer.series) > len(shown):
        parts.append(Text(f"{len(answer.series) - len(shown):,} smaller groups are not drawn; --format table has them"))
    return Group(*parts)


def _legend(shown: Sequence[Series], mark: str) -> RenderableType:
    entries = [
        Text.assemble((f"{mark} ", colour), group_label(series), "  ", exact(series.total, "value"))
        for series, colour in zip(shown, _COLOURS, strict=False)
    ]
    return Columns(entries, padding=(0, 4, 0, 0))


class _Scale:
    """Where times and values lie, and the axes that say so."""

    def __init__(self, answer: Answer, show: Show, lines: Sequence[Line], ticks: int) -> None:
        self._show = show
        self._step_ms = parse_duration(answer.window)
        self._from_ms = answer.from_ms
        self._to_ms = max(answer.to_ms, answer.from_ms + self._step_ms)
        values = [value for line in lines for _, value in line] or [0.0]
        self._tick = _nice_step(max(0.0, *values) - min(0.0, *values), ticks)
        if show == "value" and all(value.is_integer() for value in values):
            self._tick = max(1.0, self._tick)  # there is no half of a click
        self._low = math.floor(min(0.0, *values) / self._tick)
        self._high = max(math.ceil(max(0.0, *values) / self._tick), self._low + 1)
        self._labels = {level: short(_rounded(level * self._tick), show) for level in range(self._low, self._high + 1)}
        self._margin = max(map(len, self._labels.values()))

    def plot_width(self, console: Console) -> int:
        """Return how many columns are left beside the labels."""
        return max(20, console.width - self._margin - 3)

    def runs(self, line: Line, canvas: "_Canvas") -> Iterator[list[tuple[int, int]]]:
        """Yield a line as dots, broken where a window has no value."""
        run: list[tuple[int, int]] = []
        last_ms: int | None = None
        for start_ms, value in line:
            if last_ms is not None and start_ms - last_ms > self._step_ms:
                yield run
                run = []
            run.append((self._column(start_ms, canvas), self._row(value / self._tick, canvas)))
            last_ms = start_ms
        yield run

    def _column(self, time_ms: int, canvas: "_Canvas") -> int:
        last_ms = max(self._to_ms - self._step_ms, self._from_ms + 1)
        return round((time_ms - self._from_ms) / (last_ms - self._from_ms) * (canvas.dots_across - 1))

    def _row(self, level: float, canvas: "_Canvas") -> int:
        return round((self._high - level) / (self._high - self._low) * (canvas.dots_down - 1))

    def frame(self, canvas: "_Canvas") -> list[RenderableType]:
        """Return a drawing's rows between its axes."""
        labels: dict[int, str] = {}
        for level, label in self._labels.items():
            labels.setdefault(self._row(level, canvas) * canvas.rows // canvas.dots_down, label)
        wall, tick, corner, floor = ("|", "+", "+", "-") if canvas.ascii_only else ("│", "┤", "└", "─")
        parts: list[RenderableType] = []
        for row, drawn in enumerate(canvas.texts()):
            label = labels.get(row, "")
            parts.append(Text.assemble(f"{label:>{self._margin}} {tick if label else wall}", drawn))
        parts.append(Text(f"{'':{self._margin}} {corner}{floor * canvas.width}"))
        parts.append(Text(f"{'':{self._margin}}  {self._times(canvas.width)}"))
        return parts

    def _times(self, width: int) -> str:
        """Return the axis of times: the first window, the last, and what fits between them evenly."""
        last_ms = self._to_ms - self._step_ms
        span_ms = last_ms - self._from_ms
        layout = "%Y-%m-%d" if self._step_ms % 86_400_000 == 0 else "%m-%d %H:%M" if span_ms >= 86_400_000 else "%H:%M"
        layout += ":%S" if self._step_ms < 60_000 and span_ms < 3_600_000 else ""
        length = len(datetime.fromtimestamp(0, UTC).strftime(layout))
        steps = span_ms // self._step_ms
        count = 1 if steps == 0 else max(2, min(width // (length * 2), steps + 1))
        # A few less, if the times are then evenly apart.
        count = next((some for some in range(count, max(2, count - 4), -1) if steps % (some - 1) == 0), count)
        axis = [" "] * width
        for at in range(count):
            part = at / max(1, count - 1)
            time_ms = self._from_ms + round(span_ms * part / self._step_ms) * self._step_ms
            label = datetime.fromtimestamp(time_ms / 1_000, UTC).strftime(layout)
            start = min(max(0, round(part * (width - 1)) - length // 2), width - length)
            axis[start : start + length] = label
        return "".join(axis).rstrip()


def _rounded(value: float) -> float:
    """Return a tick without the last digits that a double has too many of."""
    return float(f"{value:.12g}")


def _nice_step(span: float, steps: int) -> float:
    """Return 1, 2 or 5 times a power of ten, of which no more than `steps` make up the span."""
    if span <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / steps))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude * steps >= span * 0.999)


class _Canvas:
    """Text cells of 2 × 4 dots (1 × 1 in plain ASCII), each in the colour of the last line through it."""

    def __init__(self, width: int, rows: int, *, ascii_only: bool) -> None:
        self.width = width
        self.rows = rows
        self.ascii_only = ascii_only
        self._across, self._down = (1, 1) if ascii_only else (2, 4)
        self.dots_across = width * self._across
        self.dots_down = rows * self._down
        self._bits = [[0] * width for _ in range(rows)]
        self._colours = [[""] * width for _ in range(rows)]

    def draw(self, runs: Iterator[list[tuple[int, int]]], colour: str) -> None:
        """Draw runs of points, each joined by straight lines."""
        for run in runs:
            for x, y in run[:1]:
                self._set(x, y, colour)
            for (x0, y0), (x1, y1) in itertools.pairwise(run):
                steps = max(abs(x1 - x0), abs(y1 - y0), 1)
                for step in range(1, steps + 1):
                    self._set(x0 + round((x1 - x0) * step / steps), y0 + round((y1 - y0) * step / steps), colour)

    def _set(self, x: int, y: int, colour: str) -> None:
        column, row = x // self._across, y // self._down
        self._bits[row][column] |= _DOTS[x % self._across][y % self._down]
        self._colours[row][column] = colour

    def texts(self) -> Iterator[Text]:
        """Yield the rows, from the top."""
        for bits, colours in zip(self._bits, self._colours, strict=True):
            text = Text()
            for colour, run in itertools.groupby(zip(bits, colours, strict=True), key=lambda cell: cell[1]):
                text.append("".join(self._character(bit) for bit, _ in run), style=colour or None)
            text.rstrip()
            yield text

    def _character(self, bit: int) -> str:
        return " " if not bit else "*" if self.ascii_only else chr(0x2800 + bit)
