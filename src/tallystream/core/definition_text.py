"""
The text of a tally.toml, read into the definition that the rest works with.

Reading has two parts, and both always run, so that a user sees every mistake at once: each value by itself (reading.py, by the
shape in document.py), and then what values say about each other. It is apart from definition.py because a function on AWS
starts with a definition that was read before, and starting is what it must do fast.
"""

from collections.abc import Iterator
from typing import Any

from tallystream.core.alarm_definition import read_alarms, read_channel, read_mute
from tallystream.core.alarm_relations import check_alarm_relations
from tallystream.core.definition import Browser, Counter, Definition, Measure, Stream
from tallystream.core.document import document_schema
from tallystream.core.errors import DefinitionError, Problem
from tallystream.core.reading import Table, read_document, show
from tallystream.core.relation import check_distinct, check_names, items, tables
from tallystream.core.window import format_duration


def parse_definition(text: str) -> Definition:
    """
    Return the definition that the text of a tally.toml means.

    Raises:
        DefinitionError: with every problem of the text.
    """
    document, problems = read_document(text)
    problems += _check_relations(document)
    if problems:
        raise DefinitionError(problems)
    values = document.values
    browser = values["browser"]
    return Definition(
        name=values["name"],
        stream=_stream(values["stream"].values),
        counters=tuple(_counter(table.values) for table in values["counter"]),
        browser=Browser(browser.values["key"], tuple(browser.values["origins"])) if browser else None,
        alarms=read_alarms(document),
        channels=tuple(map(read_channel, document.values["notify"])),
        mutes=tuple(map(read_mute, document.values["mute"])),
    )


def definition_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of tally.toml, by which editors complete and check it."""
    return document_schema()


def _stream(values: dict[str, Any]) -> Stream:
    durations = ("retention", "allowed_lateness", "allowed_future")
    return Stream(**{f"{name}_ms" if name in durations else name: value for name, value in values.items()})


def _counter(values: dict[str, Any]) -> Counter:
    measures = tuple(Measure(*measure) for measure in values["measures"])
    count = Measure("count", None)
    return Counter(
        name=values["name"],
        where=values["where"].text.strip() if values["where"] else None,
        group_by=tuple(values["group_by"]),
        windows_ms=tuple(sorted(values["windows"])),
        measures=measures if count in measures else (count, *measures),
        keep_ms=values["keep"],
    )


# What values say about each other. A value is None where it was refused already, and is passed over.


def _check_relations(document: Table) -> Iterator[Problem]:
    stream, browser = document.values["stream"], document.values["browser"]
    counters = tables(document, "counter")
    yield from check_names(counters, "counter")
    for counter in counters:
        yield from check_distinct(counter, "group_by")
        yield from check_distinct(counter, "windows", format_duration)
        yield from check_distinct(counter, "measures", lambda measure: Measure(*measure).name)
        yield from _check_multiples(counter)
        if stream is not None:
            yield from _check_keep(counter, stream)
    if browser is not None:
        yield from check_distinct(browser, "origins")
    yield from _check_paths(list(_used_paths(stream, counters)))
    yield from check_alarm_relations(document)


def _check_multiples(counter: Table) -> Iterator[Problem]:
    windows = items(counter, "windows")
    finest_ms = min((size_ms for _, size_ms in windows), default=1)
    for key, size_ms in windows:
        if size_ms % finest_ms:
            yield Problem(
                key,
                show(format_duration(size_ms)),
                f"multiples of the smallest window, {format_duration(finest_ms)}: coarser windows are added up from it",
                "change one of the two, or use two counters",
            )


def _check_keep(counter: Table, stream: Table) -> Iterator[Problem]:
    keep_ms, retention_ms = counter.values["keep"], stream.values["retention"]
    if keep_ms is not None and retention_ms is not None and keep_ms <= retention_ms:
        yield Problem(
            counter.at("keep"),
            show(format_duration(keep_ms)),
            f"longer than {stream.at('retention')}, {format_duration(retention_ms)}: what is counted must outlive its events",
            "keep rows longer, or shorten the retention",
        )


def _used_paths(stream: Table | None, counters: list[Table]) -> Iterator[tuple[str, str]]:
    if stream is not None:
        for name in ("event_time", "event_id", "partition_key"):
            if stream.values[name] is not None:
                yield stream.at(name), stream.values[name]
    for counter in counters:
        yield from items(counter, "group_by")
        yield from ((key, field) for key, (_, field) in items(counter, "measures") if field is not None)
        if counter.values["where"] is not None:
            yield from ((counter.at("where"), path) for path in sorted(counter.values["where"].fields))


def _check_paths(used: list[tuple[str, str]]) -> Iterator[Problem]:
    first = {path: key for key, path in reversed(used)}
    for key, path in used:
        segments = path.split(".")
        for parent in (".".join(segments[:length]) for length in range(1, len(segments))):
            if parent in first:
                yield Problem(
                    key,
                    f"{show(path)}, while {first[parent]} reads {show(parent)} as a value",
                    "paths that do not lead through one another: one value cannot be an object and a text or number",
                    f"use {show(parent)} or fields inside it, not both",
                )
