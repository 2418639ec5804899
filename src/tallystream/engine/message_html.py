"""
What a message says, as the HTML of an e-mail.

Mail programs show very different parts of HTML; this uses what all of them have: tables, `bgcolor`, styles on the elements.
The chart is table cells, so that it is there without loading images. Colours for a dark screen come by a style sheet, where
a program reads it; colour is never the only sign of anything.
"""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import Final

from tallystream.core.alarm import DecidingDatapoint
from tallystream.core.definition import Definition
from tallystream.engine.message import (
    DETAILS_MAX,
    LINES_MAX,
    STATE_WORDS,
    Change,
    chart_title,
    facts,
    footer,
    number,
    rows,
    subject,
    unlisted,
    utc,
)

_STATE_COLOURS: Final = {"ALARM": "#b42318", "OK": "#067647", "INSUFFICIENT_DATA": "#475467"}  # white on them reads well
_BAR, _BREACH, _LINE = "#84adff", "#d92d20", "#344054"
_FONT: Final = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"

_STYLE: Final = """
:root { color-scheme: light dark; supported-color-schemes: light dark; }
body { margin: 0; padding: 0; }
td, p, h1 { font-family: -apple-system, BlinkMacSystemFont, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
@media (max-width: 480px) { .page { padding: 0 !important; } .card { padding: 20px 16px !important; } }
@media (prefers-color-scheme: dark) {
  .page { background: #0c111d !important; }
  .card { background: #161b26 !important; border-color: #333a47 !important; }
  .ink { color: #f0f1f1 !important; }
  .dim { color: #a3abb8 !important; }
  .hot { color: #ff9c92 !important; }
  .rule { border-color: #333a47 !important; }
  .bar { background: #528bff !important; }
  .breach { background: #f97066 !important; }
  .line { border-color: #e4e7ec !important; }
}
"""

_TABLE: Final = '<table role="presentation" width="100%" cellpadding="0" cellspacing="0"'


def html(changes: Sequence[Change], definition: Definition) -> str:
    """Return the message as an HTML document, for changes as `message.describe` returns them."""
    title = escape(subject(changes, definition))
    cards = [_card(change) for change in changes[:DETAILS_MAX]]
    if len(changes) > 1:
        cards.insert(0, _overview(changes, title))
    below = "<br>".join(escape(line) for line in footer(changes, definition))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body class="page" style="margin:0;padding:0;background:#f2f4f7">
{_TABLE} class="page" bgcolor="#f2f4f7" style="background:#f2f4f7">
<tr><td class="page" align="center" style="padding:24px 12px;{_FONT}">
<table role="presentation" width="600" cellpadding="0" cellspacing="0" style="width:100%;max-width:600px">
<tr><td align="left" style="{_FONT}">
{"".join(cards)}
<p class="dim" style="margin:0;padding:0 16px 24px;font-size:13px;line-height:20px;color:#667085">{below}</p>
</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
"""


def _boxed(content: str) -> str:
    style = "padding:24px;background:#ffffff;border:1px solid #e4e7ec;border-radius:8px;word-break:break-word"
    return (
        f'{_TABLE} style="margin:0 0 16px;border-collapse:separate">'
        f'<tr><td class="card" bgcolor="#ffffff" style="{style};{_FONT}">{content}</td></tr></table>\n'
    )


def _card(change: Change) -> str:
    group = f'<span class="dim" style="font-weight:400;color:#475467"> {escape(_group(change))}</span>' if change.group else ""
    heading = "margin:12px 0 8px;font-size:20px;line-height:28px;font-weight:600;color:#101828"
    parts = [
        _badge(change),
        f'<h1 class="ink" style="{heading}">{escape(change.name)}{group}</h1>',
        f'<p class="ink" style="margin:0 0 12px;font-size:15px;line-height:22px;color:#1d2939">{escape(change.reason)}</p>',
    ]
    if change.description:
        lines = "<br>".join(map(escape, change.description))
        parts.append(f'<p class="dim" style="margin:0 0 12px;font-size:14px;line-height:21px;color:#475467">{lines}</p>')
    if change.datapoints:
        parts.append(_chart(change))
    parts.append(_facts(change))
    return _boxed("\n".join(parts))


def _group(change: Change) -> str:
    return " · ".join(value for _, value in change.group)


def _badge(change: Change) -> str:
    colour = _STATE_COLOURS[change.state]
    style = (
        f"padding:4px 10px;background:{colour};border-radius:4px;font-size:13px;line-height:18px;font-weight:700;color:#ffffff"
    )
    return (
        '<table role="presentation" cellpadding="0" cellspacing="0"><tr>'
        f'<td bgcolor="{colour}" style="{style}">{STATE_WORDS[change.state]}</td>'
        f'<td class="dim" style="padding-left:10px;font-size:13px;color:#667085">{utc(change.at_ms)}</td>'
        "</tr></table>"
    )


def _facts(change: Change) -> str:
    cell = "padding:6px 0;border-top:1px solid #eaecf0;font-size:14px;line-height:20px;vertical-align:top"
    lines = "".join(
        f'<tr><td class="dim rule" width="88" style="{cell};color:#667085">{escape(name)}</td>'
        f'<td class="ink rule" style="{cell};color:#1d2939">{escape(value)}</td></tr>'
        for name, value in facts(change)
    )
    return f'{_TABLE} style="margin:16px 0 0">{lines}</table>'


def _overview(changes: Sequence[Change], title: str) -> str:
    cell = "padding:6px 12px 6px 0;border-top:1px solid #eaecf0;font-size:14px;line-height:20px;vertical-align:top"
    lines = [
        f'<tr><td class="rule" width="1" style="{cell};white-space:nowrap;color:{_STATE_COLOURS[change.state]}">'
        f'<b class="{"hot" if change.state == "ALARM" else "ink"}">{STATE_WORDS[change.state]}</b></td>'
        f'<td class="ink rule" style="{cell};color:#1d2939">{escape(change.label)}</td></tr>'
        for change in changes[:LINES_MAX]
    ]
    lines += [
        f'<tr><td class="dim rule" colspan="2" style="{cell};color:#667085">{line}</td></tr>' for line in unlisted(changes)
    ]
    heading = "margin:0 0 12px;font-size:18px;line-height:26px;font-weight:600;color:#101828"
    return _boxed(f'<h1 class="ink" style="{heading}">{title}</h1>\n{_TABLE}>{"".join(lines)}</table>')


# The chart: a line of text and a bar for each datapoint, the oldest on top; bounds are lines across the bars.


def _chart(change: Change) -> str:
    scale = _Scale(change.datapoints)
    text = "padding:0 10px 0 0;font-size:13px;line-height:20px;white-space:nowrap"
    lines = []
    for row, datapoint in zip(rows(change), change.datapoints, strict=True):
        colour, weight = ("hot", "700;color:#b42318") if row.is_breaching else ("ink", "400;color:#1d2939")
        mark = "breach" if row.is_breaching else ""
        lines.append(
            f'<tr><td class="dim" width="1" style="{text};color:#667085">{row.at}</td>'
            f'<td class="{colour}" width="1" align="right" style="{text};font-weight:{weight}">{escape(row.value)}</td>'
            f'<td style="padding:3px 0">{_track(datapoint, scale)}</td>'
            f'<td class="hot" width="1" style="{text};padding:0 0 0 10px;color:#b42318">{mark}</td></tr>'
        )
    title = (
        f'<p class="dim" style="margin:16px 0 6px;font-size:13px;line-height:18px;color:#667085">{escape(_caption(change))}</p>'
    )
    return f"{title}{_TABLE}>{''.join(lines)}</table>"


def _caption(change: Change) -> str:
    bounds = {bound for datapoint in change.datapoints for bound in (datapoint.lower, datapoint.upper) if bound is not None}
    if not bounds:
        return chart_title(change)
    if len(bounds) == 1:
        return f"{chart_title(change)}; the line is at {number(*bounds)}"
    return f"{chart_title(change)}; the lines are what it is compared with"


class _Scale:
    """Places values on a track, in whole percent of its width; 0 is always on it."""

    def __init__(self, datapoints: Sequence[DecidingDatapoint]) -> None:
        found = [value for each in datapoints for value in (each.value, each.lower, each.upper) if value is not None]
        numbers = [0.0, *map(float, found)]
        air = (max(numbers) - min(numbers)) * 0.06 or 1.0  # so that nothing stands at the very edge
        self._low = min(numbers) - (air if min(numbers) < 0 else 0.0)
        self._width = max(numbers) + (air if max(numbers) > 0 or min(numbers) == 0 else 0.0) - self._low

    def place(self, value: float) -> int:
        return round((value - self._low) / self._width * 100)


def _track(datapoint: DecidingDatapoint, scale: _Scale) -> str:
    zero = scale.place(0.0)
    first = last = zero
    if datapoint.value is not None:
        end = scale.place(float(datapoint.value))
        if end == zero and datapoint.value != 0:  # too little to be seen is not nothing
            end += 1 if datapoint.value > 0 else -1
        first, last = min(zero, end), max(zero, end)
    lines = {scale.place(float(bound)) for bound in (datapoint.lower, datapoint.upper) if bound is not None}
    places = sorted({0, 100, first, last, *lines})
    cells = []
    for start, end in pairwise(places):
        sides = [side for side, at in (("left", 0 if start == 0 else None), ("right", end)) if at in lines]
        is_filled = first <= start and end <= last
        fill = ("breach", _BREACH) if datapoint.breaching else ("bar", _BAR)
        attributes = f' width="{end - start}%" height="14"'
        if is_filled or sides:
            attributes += f' class="{fill[0] if is_filled else ""} {"line" if sides else ""}"'
        if is_filled:
            attributes += f' bgcolor="{fill[1]}"'
        if sides:
            attributes += f' style="{"".join(f"border-{side}:2px solid {_LINE};" for side in sides)}"'
        cells.append(f"<td{attributes}>&nbsp;</td>")
    return f'{_TABLE} style="table-layout:fixed;font-size:0;line-height:0"><tr>{"".join(cells)}</tr></table>'
