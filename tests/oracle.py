"""An independent recount, written without Tallystream's core: obvious, slow, and what the real counts are held against."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any


@dataclass
class OracleCounter:
    name: str
    windows_ms: list[int]
    group_by: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    where: Callable[[dict[str, Any]], bool] = lambda event: True


@dataclass
class Recount:
    # (counter, window_ms, window_start_ms, group as JSON) → (count, {field: (count, sum, min, max)})
    cells: dict[tuple[str, int, int, str], tuple[int, dict[str, tuple[int, Fraction, Fraction, Fraction]]]]
    received: int
    counted: int
    unmatched: int
    rejected: int


def recount(lines: Iterable[bytes], event_time: str, counters: list[OracleCounter]) -> Recount:
    events: defaultdict[tuple[str, int, int, str], list[dict[str, Any]]] = defaultdict(list)
    received = counted = unmatched = rejected = 0
    for line in lines:
        received += 1
        try:
            event = json.loads(line.decode(), parse_constant=_refuse)
            time_ms = _time_ms(_at(event, event_time))
            if not isinstance(event, dict):
                raise ValueError("not an object")
        except (ValueError, TypeError, RecursionError):
            rejected += 1
            continue
        matched = [counter for counter in counters if counter.where(event)]
        if matched:
            counted += 1
        else:
            unmatched += 1
        for counter in matched:
            group = json.dumps([_canonical(_at(event, path)) for path in counter.group_by], ensure_ascii=False)
            for window_ms in counter.windows_ms:
                events[counter.name, window_ms, time_ms // window_ms * window_ms, group].append(event)
    cells = {
        key: (len(grouped), _measure(grouped, next(c.measured for c in counters if c.name == key[0])))
        for key, grouped in events.items()
    }
    return Recount(cells, received, counted, unmatched, rejected)


def _measure(events: list[dict[str, Any]], fields: list[str]) -> dict[str, tuple[int, Fraction, Fraction, Fraction]]:
    measured = {}
    for path in fields:
        numbers = [Fraction(repr(_at(event, path))) for event in events if _at(event, path) is not None]
        if numbers:
            measured[path] = (len(numbers), sum(numbers, Fraction(0)), min(numbers), max(numbers))
    return measured


def _at(event: Any, path: str) -> Any:
    for segment in path.split("."):
        event = event.get(segment) if isinstance(event, dict) else None
    return event


def _canonical(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value == int(value) else value


def _time_ms(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        raise ValueError("no time")
    if isinstance(value, int):
        scale = {10: 1_000, 13: 1}[len(str(value))]
        return value * scale
    match = re.fullmatch(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?", value, re.ASCII)
    if match is None:
        raise ValueError("no time")
    moment = datetime.fromisoformat(match[1] + (match[3] or "Z").replace("Z", "+00:00"))
    whole_s = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return int(whole_s) * 1_000 + int((match[2] or ".0")[1:4].ljust(3, "0"))


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
