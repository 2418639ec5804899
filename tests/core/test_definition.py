"""tally.toml: what it becomes, and every mistake told at once."""

import contextlib
import json
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.definition import Browser, Counter, Definition, Measure, Stream, fingerprint
from tallystream.core.definition_text import definition_schema, parse_definition
from tallystream.core.errors import DefinitionError, Problem, QueryError, TallystreamError, render_problems

EXAMPLE = resources.files("tallystream").joinpath("example.toml").read_text()
REFERENCE = Path(__file__).parents[2] / "docs" / "definition.md"
VALIDATOR = jsonschema.Draft202012Validator(definition_schema())

SMALLEST = """
name = "x"
[stream]
event_time = "t"
[[counter]]
name = "all"
windows = ["1m"]
"""

FULL = """
name = "web-analytics"
[stream]
event_time = "meta.utc timestamp"
missing_event_time = "arrival"
event_id = "id"
partition_key = "user.id"
shards = 64
retention = "30d"
allowed_lateness = "500ms"
allowed_future = "1h"
backlog_events_max = 1000
[[counter]]
name = "donations"
where = " event == 'donation' and amount > 0 "
group_by = ["country", "user.plan"]
windows = ["1d", "15m", "1h"]
measures = ["sum(amount)", "mean(amount)", "max(fee)", "min(amount)"]
keep = "31d"
[[counter]]
name = "all"
windows = ["10s"]
measures = ["min(a.b)", "count"]
[browser]
key = "site_1"
origins = ["HTTPS://WWW.Example.com:443", "http://localhost:5173", "http://[0::1]:80"]
"""

ALARMS = """
[[alarm]]
name = "low"
counter = "donations"
window = "15m"
measure = "sum(amount)"
group = { country = "GB", user.plan = 1.5 }
comparison = "<"
threshold_percent = -12.5
baseline = "7d"
notify = { alarm = ["mail"] }
[[alarm]]
name = "both"
when = "low and not disk"
notify = ["hook"]
[[alarm]]
name = "disk"
system = "disk_free_percent"
comparison = "<"
threshold = 5
[[notify]]
name = "mail"
type = "email"
to = ["a@example.com"]
from = "b@example.com"
host = "localhost"
[[notify]]
name = "hook"
type = "webhook"
url_env = "HOOK"
[[mute]]
name = "nights"
from = "22:00"
to = "06:00"
timezone = "Europe/London"
"""


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(DefinitionError) as raised:
        parse_definition(text)
    assert render_problems(raised.value.problems) == str(raised.value)
    return list(raised.value.problems)


# What a good definition becomes.


def test_defaults() -> None:
    assert parse_definition(SMALLEST) == Definition(
        name="x",
        stream=Stream(
            event_time="t",
            missing_event_time="reject",
            event_id=None,
            partition_key=None,
            shards=2,
            retention_ms=86_400_000,
            allowed_lateness_ms=None,
            allowed_future_ms=None,
            backlog_events_max=5_000_000,
        ),
        counters=(
            Counter(
                name="all", where=None, group_by=(), windows_ms=(60_000,), measures=(Measure("count", None),), keep_ms=None
            ),
        ),
        browser=None,
    )


def test_every_setting_is_read() -> None:
    definition = parse_definition(FULL)
    assert definition == Definition(
        name="web-analytics",
        stream=Stream(
            event_time="meta.utc timestamp",
            missing_event_time="arrival",
            event_id="id",
            partition_key="user.id",
            shards=64,
            retention_ms=30 * 86_400_000,
            allowed_lateness_ms=500,
            allowed_future_ms=3_600_000,
            backlog_events_max=1_000,
        ),
        counters=(
            Counter(
                name="donations",
                where="event == 'donation' and amount > 0",
                group_by=("country", "user.plan"),
                windows_ms=(900_000, 3_600_000, 86_400_000),
                measures=(
                    Measure("count", None),
                    Measure("sum", "amount"),
                    Measure("mean", "amount"),
                    Measure("max", "fee"),
                    Measure("min", "amount"),
                ),
                keep_ms=31 * 86_400_000,
            ),
            Counter(
                name="all",
                where=None,
                group_by=(),
                windows_ms=(10_000,),
                measures=(Measure("min", "a.b"), Measure("count", None)),
                keep_ms=None,
            ),
        ),
        browser=Browser("site_1", ("https://www.example.com", "http://localhost:5173", "http://[::1]")),
    )
    donations = definition.counter("donations")
    assert donations.measured_fields == ("amount", "fee")
    assert [measure.name for measure in donations.measures][:2] == ["count", "sum(amount)"]
    with pytest.raises(KeyError, match="clicks"):
        definition.counter("clicks")


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    assert parse_definition("\ufeff" + SMALLEST.replace("\n", "\r\n")) == parse_definition(SMALLEST)


def test_the_example_is_a_definition_and_shows_every_setting() -> None:
    assert parse_definition(EXAMPLE).name == "web-analytics"
    # With every "# setting = …" and "# [table]" taken as written, it is one too, and nothing of the schema is left out.
    settings = {key for table in definition_schema()["$defs"].values() for key in table["properties"]}
    lines = [
        line.removeprefix("# ") if line.startswith("# [") or line[2:].split(" = ")[0] in settings else line
        for line in EXAMPLE.splitlines()
    ]
    whole = "\n".join(lines)
    parse_definition(whole)
    assert set(keys_of(tomllib.loads(whole))) == settings


def keys_of(value: Any) -> Iterator[str]:
    """Yield the keys of a table and of those in it; what is in a `group` are fields of events."""
    if isinstance(value, list):
        for item in value:
            yield from keys_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from keys_of(item) if key != "group" else ()


# Mistakes. Each row changes one line of SMALLEST or adds to it.


@pytest.mark.parametrize(
    ("old", "new", "key", "found", "allowed", "remedy"),
    [
        ('name = "x"', "", "name", "nothing", "1 to 64 letters", "add it; write for example"),
        ('name = "x"', 'nmae = "x"', "nmae", "an unknown key", "name, stream, counter, browser", "did you mean name?"),
        ('name = "x"', 'name = "a b"', "name", '"a b"', "letters", "web-analytics"),
        ('name = "x"', 'name = "x\\n"', "name", '"x\\n"', "letters", "web-analytics"),
        ('name = "x"', "name = 5", "name", "5", "letters", "web-analytics"),
        ('name = "x"', 'name = "x"\n"a b" = 1', '"a b"', "an unknown key", "browser", "remove it"),
        ('name = "x"', 'name = "x"\n"\\u001b" = 1', '"\\u001b"', "an unknown key", "browser", "remove it"),
        (
            'name = "x"',
            'name = "x"\n[[alarms]]\nname = "low"',
            "alarms",
            "an unknown key",
            "notify, mute",
            "did you mean alarm?",
        ),
        ("[stream]", "[steam]", "steam", "an unknown key", "stream", "did you mean stream?"),
        ("[stream]", "[[stream]]", "stream", "a list of 1", "a table", "write [stream]"),
        ('event_time = "t"', "", "stream.event_time", "nothing", "a dotted path", "add it; write the name of a field"),
        ('event_time = "t"', 'event_time = ""', "stream.event_time", '""', "a dotted path", "name of a field"),
        ('event_time = "t"', 'event_time = "a..b"', "stream.event_time", '"a..b"', "a dotted path", "name of a field"),
        ('event_time = "t"', 'event_time = "a.b.c.d.e.f.g.h.i"', "stream.event_time", '"a.b', "8 field names", "name"),
        ('event_time = "t"', f'event_time = "{"x" * 129}"', "stream.event_time", "x…", "128 characters", "name"),
        ('event_time = "t"', "event_time = 'a\"b'", "stream.event_time", '"a\\"b"', "double quotes", "name"),
        ('event_time = "t"', "event_time = 'a\\b'", "stream.event_time", '"a\\\\b"', "backslashes", "name"),
        ('event_time = "t"', 'event_time = "a\\tb"', "stream.event_time", '"a\\tb"', "no control characters", "name"),
        ('"t"', '"t"\nmissing_event_time = "arival"', "stream.missing_event_time", '"arival"', '"arrival" or', '"arrival"?'),
        ('"t"', '"t"\nmissing_event_time = true', "stream.missing_event_time", "true", '"arrival" or "reject"', "one of them"),
        ('"t"', '"t"\nmissing_event_time = ["x"]', "stream.missing_event_time", "a list of 1", '"reject"', "one of them"),
        ('"t"', '"t"\nshards = 0', "stream.shards", "0", "from 1 to 64", "without quotes"),
        ('"t"', '"t"\nshards = 65', "stream.shards", "65", "from 1 to 64", "without quotes"),
        ('"t"', '"t"\nshards = "2"', "stream.shards", '"2"', "from 1 to 64", "without quotes"),
        ('"t"', '"t"\nshards = true', "stream.shards", "true", "from 1 to 64", "without quotes"),
        ('"t"', '"t"\nshards = 2.0', "stream.shards", "2.0", "from 1 to 64", "without quotes"),
        ('"t"', '"t"\nbacklog_events_max = 999', "stream.backlog_events_max", "999", "from 1000 up", "without quotes"),
        ('"t"', '"t"\nretention = "59s"', "stream.retention", '"59s"', "from 1m to 30d", 'write "1m" or more'),
        ('"t"', '"t"\nretention = "31d"', "stream.retention", '"31d"', "from 1m to 30d", 'write "30d" or less'),
        ('"t"', '"t"\nretention = 24', "stream.retention", "24", "from 1m to 30d", '"24h"'),
        ('"t"', '"t"\nretention = 2026-01-01', "stream.retention", "2026-01-01", "from 1m to 30d", '"24h"'),
        ('"t"', '"t"\nretention = "2 Hours"', "stream.retention", '"2 Hours"', "a duration", 'write "2h"'),
        ('"t"', '"t"\nretention = "2w"', "stream.retention", '"2w"', "a duration", 'write "14d"'),
        ('"t"', '"t"\nretention = "soon"', "stream.retention", '"soon"', "a duration", "for example"),
        ('"t"', '"t"\nallowed_lateness = "0s"', "stream.allowed_lateness", '"0s"', "a duration", "for example"),
        ('"t"', '"t"\nallowed_future = "99999d"', "stream.allowed_future", '"99999d"', "a duration", "for example"),
        ("[[counter]]", "[counter]", "counter", "a table", "one or more tables", "write [[counter]]"),
        ('name = "all"', "", "counter[0].name", "nothing", "1 to 64 letters", "add it"),
        ('name = "all"', 'name = ""', "counter[0].name", '""', "1 to 64 letters", "page_views"),
        ('name = "all"', 'name = "1a"', 'counter "1a".name', '"1a"', "beginning with a letter", "page_views"),
        ('name = "all"', 'name = "Tally_up"', 'counter "Tally_up".name', '"Tally_up"', "not with", "does not start with"),
        ('name = "all"', 'name = "a"\nwher = "b"', 'counter "a".wher', "an unknown key", "where", "did you mean where?"),
        ('windows = ["1m"]', "", 'counter "all".windows', "nothing", "a list, each a window", "in square brackets"),
        ('windows = ["1m"]', 'windows = "1m"', 'counter "all".windows', '"1m"', "a list, each a window", "in square brackets"),
        ('windows = ["1m"]', "windows = []", 'counter "all".windows', "an empty list", "at least 1", "add one"),
        ('["1m"]', '["1m", "7m"]', 'counter "all".windows[1]', '"7m"', "divides a day evenly", 'write "6m" or "8m"'),
        ('["1m"]', '["5s"]', 'counter "all".windows[0]', '"5s"', "from 10s", 'write "10s" or "12s"'),
        ('["1m"]', '["10800ms"]', 'counter "all".windows[0]', '"10800ms"', "whole seconds", 'write "10s" or "12s"'),
        ('["1m"]', '["2d"]', 'counter "all".windows[0]', '"2d"', "to 1d", 'write "1d"'),
        ('["1m"]', '["1 min"]', 'counter "all".windows[0]', '"1 min"', "from 10s to 1d", 'write "1m"'),
        ('["1m"]', "[60]", 'counter "all".windows[0]', "60", "from 10s to 1d", "for example"),
        (
            '["1m"]',
            '["1m", "1h", "60s"]',
            'counter "all".windows[2]',
            '"1m", the same as counter "all".windows[0]',
            "once",
            "rem",
        ),
        (
            '["1m"]',
            '["1m", "90s"]',
            'counter "all".windows[1]',
            '"90s"',
            "multiples of the smallest window, 1m",
            "two counters",
        ),
        (
            '["1m"]',
            '["10s","20s","30s","40s","50s","1m","2m","3m","4m"]',
            'counter "all".windows',
            "a list of 9",
            "at most 8",
            "take some out",
        ),
        ('["1m"]', '["1m"]\nwhere = "a = 1"', 'counter "all".where, character 3', "=", "and, or, not", "write =="),
        ('["1m"]', '["1m"]\nwhere = ""', 'counter "all".where', '""', "a condition", "for example"),
        ('["1m"]', '["1m"]\nwhere = true', 'counter "all".where', "true", "a condition", "for example"),
        ('["1m"]', '["1m"]\ngroup_by = "a"', 'counter "all".group_by', '"a"', "a list, each a dotted path", "in square"),
        ('["1m"]', '["1m"]\ngroup_by = [{}]', 'counter "all".group_by[0]', "a table", "a dotted path", "name of a field"),
        ('["1m"]', '["1m"]\ngroup_by = ["a", "a"]', 'counter "all".group_by[1]', '"a", the same as', "once", "remove"),
        ('["1m"]', f'["1m"]\ngroup_by = {list("abcdefghi")}', 'counter "all".group_by', "a list of 9", "at most 8", "take"),
        ('["1m"]', '["1m"]\nmeasures = ["avg(a)"]', 'counter "all".measures[0]', '"avg(a)"', '"mean(field)"', '"mean(a)"'),
        ('["1m"]', '["1m"]\nmeasures = ["Sum( a )"]', 'counter "all".measures[0]', '"Sum( a )"', '"sum(field)"', '"sum(a)"'),
        ('["1m"]', '["1m"]\nmeasures = ["max"]', 'counter "all".measures[0]', '"max"', '"max(field)"', '"max(amount)"'),
        ('["1m"]', '["1m"]\nmeasures = ["count(a)"]', 'counter "all".measures[0]', '"count(a)"', '"count"', "no field"),
        ('["1m"]', '["1m"]\nmeasures = ["median(a)"]', 'counter "all".measures[0]', '"median(a)"', '"count"', "for example"),
        ('["1m"]', '["1m"]\nmeasures = ["p99"]', 'counter "all".measures[0]', '"p99"', '"count"', "for example"),
        ('["1m"]', '["1m"]\nmeasures = ["count", "count"]', 'counter "all".measures[1]', '"count", the same', "once", "remove"),
        (
            '["1m"]',
            '["1m"]\nkeep = "24h"',
            'counter "all".keep',
            '"1d"',
            "longer than stream.retention, 1d",
            "keep rows longer",
        ),
        ('["1m"]', '["1m"]\n[browser]\nkey = "k"', "browser.origins", "nothing", "a list, each", "add it"),
        ('["1m"]', '["1m"]\n[browser]\nkey = "k"\norigins = []', "browser.origins", "an empty list", "at least 1", "add one"),
        ('["1m"]', '["1m"]\n[browser]\norigins = ["http://a"]', "browser.key", "nothing", "1 to 64", "add it"),
    ],
)
def test_mistakes(old: str, new: str, key: str, found: str, allowed: str, remedy: str) -> None:
    assert old in SMALLEST
    (problem,) = problems_of(SMALLEST.replace(old, new))
    assert problem.key == key
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("origin", "remedy"),
    [
        ("*", "a wildcard would let any page send events"),
        ("https://*.example.com", "a wildcard"),
        ("https://example.com/", 'write "https://example.com"'),
        ("https://example.com:8443/shop?x", 'write "https://example.com:8443"'),
        ("example.com", "for example"),
        ("null", "for example"),
        ("ftp://example.com", "for example"),
        ("https://me@example.com", "for example"),
        ("https://exämple.com", "for example"),
        ("https://example.com:99999", "a port from 1 to 65535"),
        ("https://example.com:0", "a port from 1 to 65535"),
        ("https://[::1", "for example"),
        ("https://[:::::]", "an IPv6 address in the brackets"),
    ],
)
def test_an_origin_is_what_a_browser_sends(origin: str, remedy: str) -> None:
    (problem,) = problems_of(f'{SMALLEST}[browser]\nkey = "k"\norigins = [{json.dumps(origin)}]')
    assert (problem.key, problem.found) == ("browser.origins[0]", json.dumps(origin, ensure_ascii=False))
    assert "no path" in problem.allowed
    assert remedy in problem.remedy


def test_origins_that_a_browser_sends_alike_are_the_same() -> None:
    origins = '["https://a.example", "https://A.example:443"]'
    (problem,) = problems_of(f'{SMALLEST}[browser]\nkey = "k"\norigins = {origins}')
    assert problem.key == "browser.origins[1]"


def test_counters_are_called_by_names_of_their_own() -> None:
    counter = '[[counter]]\nname = "a"\nwindows = ["7m"]\n'
    head = SMALLEST.partition("[[counter]]")[0]
    found = problems_of(head + counter + counter)
    assert [problem.key for problem in found] == ["counter[0].windows[0]", "counter[1].windows[0]", "counter[1].name"]
    assert found[-1].found == '"a", which is also counter[0].name'
    assert problems_of(f"counter = [1]\n{head}")[0] == Problem("counter[0]", "1", "a table", "write [[counter]] above its keys")


@pytest.mark.parametrize(
    ("more", "key", "reader"),
    [
        ('group_by = ["user", "user.id"]', 'counter "all".group_by[1]', 'counter "all".group_by[0]'),
        ('group_by = ["t.zone"]', 'counter "all".group_by[0]', "stream.event_time"),
        ('measures = ["sum(a.b)"]\nwhere = "a == 1"', 'counter "all".measures[0]', 'counter "all".where'),
        ('measures = ["sum(a)"]\nwhere = "a.b.c == 1"', 'counter "all".where', 'counter "all".measures[0]'),
    ],
)
def test_one_value_is_not_both_an_object_and_a_value(more: str, key: str, reader: str) -> None:
    (problem,) = problems_of(SMALLEST + more)
    assert problem.key == key
    assert f"while {reader} reads " in problem.found
    assert "not both" in problem.remedy


def test_all_mistakes_are_told_at_once() -> None:
    found = problems_of(
        """
        [stream]
        event_tme = "t"
        shards = 0
        retention = "1y"
        event_id = "a"
        [[counter]]
        name = "x"
        where = "a.b = 1 && c"
        group_by = ["a.b", "a.b"]
        windows = ["1m", "7m", "60s", "90s"]
        measures = ["sum(", "count", "count"]
        keep = 5
        [[counter]]
        name = "x"
        window = ["1m"]
        [browser]
        origins = ["*"]
        """
    )
    assert [problem.key for problem in found] == [
        "name",
        "stream.event_tme",
        "stream.shards",
        "stream.retention",
        "counter[0].where, character 5",
        "counter[0].where, character 9",
        "counter[0].windows[1]",
        "counter[0].measures[0]",
        "counter[0].keep",
        "counter[1].window",
        "browser.key",
        "browser.origins[0]",
        "counter[1].name",
        "counter[0].group_by[1]",
        "counter[0].windows[2]",
        "counter[0].measures[2]",
        "counter[0].windows[3]",
        "counter[0].group_by[0]",
        "counter[0].group_by[1]",
    ]


@pytest.mark.parametrize(
    ("text", "key", "found"),
    [
        ('name = "x"\nstream = = 3\n', "line 2, column 10", "Invalid value"),
        ("name = [", "the end of the file", "Invalid value"),
        ('name = "x"\nname = "y"\n', "line 2, column 11", "Cannot overwrite a value"),
        ("x = " + "[" * 100_000, "the file", "maximum recursion depth exceeded"),
        ("x = " + "1" * 5_000, "the file", "Exceeds the limit"),
        ("x = 1e99999999999999999999", "the file", "the number 1e99999999999999999999, whose exponent is too large"),
    ],
)
def test_what_is_no_toml(text: str, key: str, found: str) -> None:
    (problem,) = problems_of(text)
    assert problem.key == key
    assert found in problem.found
    assert problem.allowed == "TOML 1.0"


# Whatever is written.


def to_toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(to_toml, value)) + "]"
        case _:
            return json.dumps(value)


plain_texts = st.text(st.characters(max_codepoint=0x7E), max_size=5)
settings = st.sampled_from(sorted({key for table in definition_schema()["$defs"].values() for key in table["properties"]}))
good_texts = st.sampled_from(["1m", "15m", "1h", "40d", "count", "sum(a)", "a", "a.b", "event == 'x'", "reject", "http://a"])
leaves = st.booleans() | st.integers(-5, 5_000) | st.floats(0, 9) | good_texts | plain_texts
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(settings | plain_texts, inner, max_size=5),
    max_leaves=8,
)
WHOLE = tomllib.loads(FULL + ALARMS)
PLACES = [
    *((), ("stream",), ("counter", 0), ("counter", 1), ("browser",)),
    *(("alarm", 0), ("alarm", 0, "group"), ("alarm", 0, "notify"), ("alarm", 1), ("alarm", 2)),
    *(("notify", 0), ("notify", 1), ("mute", 0)),
]


@given(st.lists(st.tuples(st.sampled_from(PLACES), settings | plain_texts, st.just(None) | anything), max_size=4))
def test_any_change_of_a_definition_is_read_or_has_problems_in_words(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    document = json.loads(json.dumps(WHOLE))
    for place, key, value in changes:
        table: Any = document
        with contextlib.suppress(LookupError, TypeError):  # an earlier change may have taken the place away
            for step in place:
                table = table[step]
            if value is None:
                del table[key]
            else:
                table[key] = value
    text = "\n".join(f"{json.dumps(key)} = {to_toml(value)}" for key, value in document.items())
    definition: Definition | None = None
    problems: tuple[Problem, ...] = ()
    try:
        definition = parse_definition(text)
    except DefinitionError as error:
        problems = error.problems
    if definition is None:
        assert problems
        assert all(all(problem) for problem in problems)
        assert str(DefinitionError(problems)).replace("\n", "").isprintable()
    else:
        assert VALIDATOR.is_valid(document)  # an editor never marks what is right
        assert msgspec.convert(msgspec.to_builtins(definition), Definition) == definition


@given(anything | st.text())
def test_any_text_is_read_or_has_problems(value: Any) -> None:
    problems = problems_of(value if isinstance(value, str) else f"x = {to_toml(value)}")
    assert problems


# The schema for editors.


def test_the_schema_takes_what_is_right() -> None:
    jsonschema.Draft202012Validator.check_schema(definition_schema())
    for text in (EXAMPLE, SMALLEST, FULL, FULL + ALARMS):
        VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize("place", [place for place in PLACES if "notify" not in place and "group" not in place])
def test_the_schema_refuses_unknown_keys(place: tuple[Any, ...]) -> None:
    document = json.loads(json.dumps(WHOLE))
    table = document
    for step in place:
        table = table[step]
    table["colour"] = "red"
    (error,) = VALIDATOR.iter_errors(document)
    assert "'colour' was unexpected" in error.message


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a b"},
        {"counter": []},
        {"stream": {"event_time": "t", "shards": 65}},
        {"stream": {"event_time": "t", "retention": "soon"}},
        {"stream": {"event_time": "t", "missing_event_time": "drop"}},
        {"stream": {"event_time": "a..b"}},
        {"counter": [{"name": "tally", "windows": ["1m"]}]},
        {"counter": [{"name": "a", "windows": []}]},
        {"counter": [{"name": "a", "windows": ["1m", "1m"]}]},
        {"counter": [{"name": "a", "windows": ["1m"], "measures": ["avg(x)"]}]},
        {"browser": {"key": "k", "origins": ["*"]}},
    ],
)
def test_the_schema_refuses_what_a_pattern_can_tell(change: dict[str, Any]) -> None:
    document = tomllib.loads(SMALLEST) | change
    assert not VALIDATOR.is_valid(document)


def test_the_schema_explains_and_completes() -> None:
    schema = definition_schema()
    for table in schema["$defs"].values():
        for key, setting in table["properties"].items():
            if "$ref" not in setting:
                assert setting.get("description"), key
    stream = schema["$defs"]["StreamTable"]["properties"]
    assert stream["missing_event_time"]["enum"] == ["arrival", "reject"]
    assert (stream["shards"]["default"], stream["retention"]["default"]) == (2, "24h")


def test_every_setting_is_in_the_reference() -> None:
    reference = REFERENCE.read_text()
    for table in definition_schema()["$defs"].values():
        for key in table["properties"]:
            assert f"`{key}`" in reference, f"docs/definition.md does not say what {key} is"


# What starts a new generation.


def changed(old: str, new: str) -> str:
    assert old in FULL
    definition = parse_definition(FULL.replace(old, new))
    return fingerprint(definition.counters[0], definition.stream)


ORIGINAL = changed("", "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("meta.utc timestamp", "at"),
        ('missing_event_time = "arrival"', ""),
        ("amount > 0", "amount > 1"),
        ('["country", "user.plan"]', '["user.plan", "country"]'),
        ('["1d", "15m", "1h"]', '["1d", "15m"]'),
        ('"max(fee)", ', ""),
        ('"max(fee)", ', '"max(fee)", "max(tip)", '),
        ('"max(fee)", ', '"max(tip)", '),
    ],
)
def test_what_rows_mean_is_in_the_fingerprint(old: str, new: str) -> None:
    assert changed(old, new) != ORIGINAL


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "web-analytics"', 'name = "shop"'),
        ('name = "donations"', 'name = "gifts"'),
        ('event_id = "id"', ""),
        ('partition_key = "user.id"', ""),
        ("shards = 64", ""),
        ('retention = "30d"', ""),
        ('allowed_lateness = "500ms"', ""),
        ('allowed_future = "1h"', ""),
        ("backlog_events_max = 1000", ""),
        ('["1d", "15m", "1h"]', '["60m", "15m", "24h"]'),
        ('keep = "31d"', ""),
        (" event == 'donation' and amount > 0 ", "event == 'donation' and amount > 0"),
        ('measures = ["sum(amount)",', 'measures = ["count", "sum(amount)",'),
        ('["sum(amount)", "mean(amount)", "max(fee)", "min(amount)"]', '["sum(amount)", "mean(fee)"]'),
        ('["sum(amount)", "mean(amount)", "max(fee)", "min(amount)"]', '["max(fee)", "min(amount)", "mean(amount)"]'),
    ],
)
def test_nothing_else_is(old: str, new: str) -> None:
    assert changed(old, new) == ORIGINAL


def test_a_fingerprint_stays_the_same_from_release_to_release() -> None:
    assert ORIGINAL == "ad3a238aa4e02ee39d31507f8a7439c96c04f16998d2ff0ec9f1460eb6ea5344"


# Errors as a user meets them.


def test_problems_as_text() -> None:
    text = render_problems([Problem("a", "b", "c", "d"), Problem('counter "x".keep', '"1h"', "longer", "more")])
    assert text == (
        'a\n  found:   b\n  allowed: c\n  remedy:  d\n\ncounter "x".keep\n  found:   "1h"\n  allowed: longer\n  remedy:  more'
    )


def test_errors_are_messages() -> None:
    error = QueryError("window", "window must be 1m or 1h")
    assert (str(error), error.parameter) == ("window must be 1m or 1h", "window")
    assert isinstance(error, TallystreamError)
