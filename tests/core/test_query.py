"""Parameters become a query, or one clear error."""

import re

import pytest

from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import QueryError
from tallystream.core.query import Query, UnknownCounterError, parse_groups_query, parse_query
from tallystream.core.relative_time import TIME_MS_MIN
from tallystream.core.window import Window

MINUTE_MS = 60_000
NOW_MS = 1_790_000_055_500
DEFINITION = parse_definition("""
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event", "user.country"]
windows = ["1m", "15m", "1h"]
measures = ["count", "sum(amount)", "mean(amount)", "max(total amount)"]
[[counter]]
name = "all"
windows = ["10s"]
""")


def parse(query: str = "", window: str = "1m", counter: str = "events") -> Query:
    pairs = [("counter", counter), ("window", window)]
    return parse_query(
        pairs + [(name, text) for name, _, text in (part.partition("=") for part in query.split("&") if part)],
        DEFINITION,
        NOW_MS,
    )


def refusal(query: str = "", window: str = "1m", counter: str = "events") -> str:
    with pytest.raises(QueryError) as refused:
        parse(query, window, counter)
    message = str(refused.value)
    assert message.startswith(f"{refused.value.parameter}: ")
    return message


def test_what_is_not_asked_for_has_a_default() -> None:
    query = parse()
    assert query.counter.name == "events"
    assert query.measure.name == "count"
    assert query.to_ms - query.from_ms == 60 * MINUTE_MS
    assert query.to_ms - MINUTE_MS <= NOW_MS < query.to_ms  # the window that now falls into is the last
    assert query.by == ("event", "user.country")
    assert (query.top, query.series_max, query.other, query.compare, query.fill) == (None, 1_000, False, False, False)
    assert (query.over_ms, query.lead_ms, query.show, query.format) == (MINUTE_MS, 0, "value", "json")
    assert (query.filters, query.periods) == ({}, (Window(query.from_ms, query.to_ms),))


def test_the_range_holds_the_windows_that_start_in_it() -> None:
    query = parse("from=60001&to=180000")
    assert (query.from_ms, query.to_ms) == (120_000, 180_000)
    query = parse("from=60000&to=180001")
    assert (query.from_ms, query.to_ms) == (60_000, 240_000)
    query = parse("from=-90000&to=-30000")
    assert (query.from_ms, query.to_ms) == (-60_000, 0)


def test_without_from_sixty_windows_before_to_are_meant() -> None:
    assert parse("to=2026-09-21T10:00:00Z").from_ms == parse("from=2026-09-21T09:00:00Z").from_ms
    assert parse("to=0001-01-02", window="1h").from_ms == TIME_MS_MIN


@pytest.mark.parametrize(
    ("window", "stored"),
    [("1m", "1m"), ("60s", "1m"), ("5m", "1m"), ("15m", "15m"), ("30m", "15m"), ("1h", "1h"), ("90m", "15m"), ("366d", "1h")],
)
def test_the_coarsest_stored_window_that_divides_is_read(window: str, stored: str) -> None:
    assert parse(window=window).stored_ms == parse(window=stored).window_ms


def test_fields_stay_apart_in_the_order_of_the_counter() -> None:
    assert parse("by=user.country, event").by == ("event", "user.country")
    assert parse("by=user.country").by == ("user.country",)
    assert parse("by=").by == ()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("page view", {"page view"}),
        ("null", {"null", None}),
        ('"null"', {'"null"', "null"}),
        ("3", {"3", 3}),
        ("3.0", {"3.0", 3}),
        ("1.5", {"1.5", 1.5}),
        ("true", {"true", True}),
        ("1e999", {"1e999"}),
        ("[1]", {"[1]"}),
        ('{"a":1}', {'{"a":1}'}),
        ("\ud800", {"\ud800"}),
        ("[" * 10_000, {"[" * 10_000}),
        ("", {""}),
    ],
)
def test_a_filter_means_its_text_and_its_json_literal(text: str, values: set[object]) -> None:
    query = parse_query([("counter", "events"), ("window", "1m"), ("group.event", text)], DEFINITION, NOW_MS)
    assert query.filters["event"] == {(type(value), value) for value in values}


@pytest.mark.parametrize(
    ("text", "value"),
    [('"page view"', "page view"), ('"3"', "3"), ("3", 3), ("3.0", 3), ("null", None), ('"null"', "null"), ("true", True)],
)
def test_an_exact_filter_means_its_json_literal_alone(text: str, value: object) -> None:
    query = parse_query([("counter", "events"), ("window", "1m"), ("exact.event", text)], DEFINITION, NOW_MS)
    assert query.filters == {"event": {(type(value), value)}}


def test_exact_filters_and_others_of_a_field_are_alternatives() -> None:
    filters = parse("group.event=a&exact.event=3&exact.event=null").filters
    assert filters == {"event": {(str, "a"), (int, 3), (type(None), None)}}


def test_a_field_may_be_called_anything() -> None:
    text = """name = "odd"
    stream = { event_time = "time" }
    [[counter]]
    name = "odd"
    group_by = ["a", "b", "a,b", " c"]
    windows = ["1m"]"""

    def by(*texts: str) -> tuple[str, ...]:
        asked = [("counter", "odd"), ("window", "1m"), *(("by", each) for each in texts)]
        return parse_query(asked, parse_definition(text), NOW_MS).by

    assert by("a,b") == ("a,b",)
    assert by("a", "b") == by("b, a") == ("a", "b")
    assert by(" c", "a,b") == ("a,b", " c")


def test_one_and_true_are_different_values() -> None:
    assert parse("group.event=1").filters["event"].isdisjoint(parse("group.event=true").filters["event"])


def test_several_values_of_a_field_are_alternatives() -> None:
    filters = parse("group.event=a&group.event=b&group.user.country=de").filters
    assert filters == {"event": {(str, "a"), (str, "b")}, "user.country": {(str, "de")}}


def test_a_measure_of_a_field_with_a_space_is_found_by_its_name() -> None:
    assert parse("measure=max(total amount)").measure.name == "max(total amount)"


def test_everything_can_be_asked_for() -> None:
    query = parse("measure=sum( amount )&top=5&other=true&over=15m&show=rate&compare=previous&fill=zero&format=csv&from=-1h")
    assert (query.measure.name, query.top, query.other, query.over_ms, query.lead_ms) == (
        "sum(amount)",
        5,
        True,
        900_000,
        840_000,
    )
    assert (query.show, query.compare, query.has_previous, query.fill, query.format) == ("rate", True, True, True, "csv")
    assert query.periods == (Window(query.from_ms, query.to_ms), Window(query.from_ms - 3_600_000, query.from_ms))
    change = parse("show=change&compare=previous")
    assert (len(change.periods), change.has_previous) == (2, False)
    assert parse("compare=none&fill=none&other=false").compare is False


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("frm=-1h", "frm: is not a parameter; did you mean from? known are counter, window, from, to, "),
        ("event=click", "event: is not a parameter; did you mean group.event? known are "),
        ("country=de", "country: is not a parameter; did you mean group.user.country? known are "),
        ("zzz=1", "zzz: is not a parameter; known are "),
        ("top=1&top=2", "top: is given twice; give it once"),
        (
            "measure=sum(amont)",
            'measure: counter "events" has no measure "sum(amont)"; it has count, sum(amount), mean(amount)',
        ),
        ("from=yesterday", 'from: "yesterday" is not a time; allowed are now, '),
        ("to=later", 'to: "later" is not a time; allowed are now, '),
        ("from=-1h&to=-2h", "from: 2026-09-21T13:14:15.500Z is not before to, 2026-09-21T12:14:15.500Z; "),
        ("from=now&to=now", "from: 2026-09-21T14:14:15.500Z is not before to, "),
        ("group.evnt=a", 'group.evnt: counter "events" is not grouped by "evnt"; did you mean event? it is grouped by event, '),
        ("exact.evnt=1", 'exact.evnt: counter "events" is not grouped by "evnt"; did you mean event? '),
        ("exact.event=a", "exact.event: a is no such value; allowed are a JSON string, number, true, false and null; "),
        ("exact.event=[1]", "exact.event: [1] is no such value; "),
        ("by=event,country", 'by: counter "events" is not grouped by "country"; '),
        ("top=0", 'top: "0" is not a whole number from 1 to 1,000'),
        ("top=1001", 'top: "1001" is not a whole number from 1 to 1,000'),
        ("top=many", 'top: "many" is not a whole number from 1 to 1,000'),
        ("top=٣", 'top: "٣" is not a whole number from 1 to 1,000'),
        ("top=-1", 'top: "-1" is not a whole number from 1 to 1,000'),
        (f"top={'9' * 5000}", f'top: "{"9" * 60}" is not a whole number from 1 to 1,000'),
        ("other=true", "other: holds the groups that top leaves out; add top=10, or leave other out"),
        ("other=yes&top=1", 'other: "yes" is not one of false, true'),
        ("over=90s", 'over: "90s" is not a multiple of the window, 1m, up to 366d; write for example over=15m'),
        ("over=400d", 'over: "400d" is not a multiple of the window, '),
        ("over=long", "over: a duration is a whole number "),
        ("show=percent", 'show: "percent" is not one of value, rate, share, change'),
        ("show=rate&measure=mean(amount)", "show: a rate of mean(amount) means nothing; it is for count and sum, "),
        ("show=share&measure=mean(amount)", "show: a share of mean(amount) means nothing; "),
        ("compare=next", 'compare: "next" is not one of none, previous'),
        ("fill=null", 'fill: "null" is not one of none, zero'),
        ("format=xml", 'format: "xml" is not one of json, csv'),
        ("from=0001-01-01&to=0001-01-02&compare=previous", "from: the range reads windows outside 0001-01-01T00:00:00Z to "),
    ],
)
def test_each_mistake_is_one_clear_error(query: str, message: str) -> None:
    assert refusal(query).startswith(message), refusal(query)


@pytest.mark.parametrize("window", ["7s", "90s", "367d", "0m", "minute", ""])
def test_a_window_must_be_a_multiple_of_a_stored_one(window: str) -> None:
    message = refusal(window=window)
    assert message.startswith("window: ")
    assert "1m, 15m, 1h" in message or "a duration is a whole number" in message


def test_counter_and_window_are_required() -> None:
    with pytest.raises(QueryError, match=r"^counter: is missing; name one of events, all$"):
        parse_query([("window", "1m")], DEFINITION, NOW_MS)
    with pytest.raises(
        QueryError, match=r'^window: is missing; counter "events" has windows of 1m, 15m, 1h; allowed are these'
    ):
        parse_query([("counter", "events")], DEFINITION, NOW_MS)


def test_an_unknown_counter_is_told_apart() -> None:
    with pytest.raises(
        UnknownCounterError, match=r'^counter: there is no "evnets"; did you mean events[?] the definition has events, all$'
    ):
        parse(counter="evnets")


def test_a_counter_without_groups_says_so() -> None:
    assert refusal("group.event=a", "10s", "all") == 'group.event: counter "all" is not grouped by "event"; it has no group_by'
    assert parse("", "10s", "all").by == ()


def test_too_many_points_are_refused_with_a_window_that_is_wide_enough() -> None:
    message = refusal("from=-365d", "1m")
    assert "525,600 windows of 1m a series" in message
    assert "choose window=1h or wider, or a range of at most 7d" in message
    suggested = re.search(r"window=(\w+)", message)
    assert suggested is not None
    assert parse("from=-365d", suggested[1]).window_ms == 3_600_000
    assert parse("from=-11000m&to=2026-09-21T14:14:15Z").window_ms == MINUTE_MS
    assert "the range and over hold" in refusal("from=-11000m&to=2026-09-21T14:14:15Z&over=2m")


def test_too_many_cells_behind_few_points_are_refused() -> None:
    message = refusal("from=-200d", "1d", "all")
    assert "200 windows of 1d a series, read from 10s ones; allowed are 11,000 a series and 1,000,000 read" in message
    assert message.endswith("choose a range of at most 115d")


def test_groups_are_asked_for_by_counter_and_field() -> None:
    asked = parse_groups_query([("counter", "events"), ("field", "event"), ("q", "Pa"), ("limit", "3")], DEFINITION)
    assert (asked.counter.name, asked.field, asked.containing, asked.limit) == ("events", "event", "Pa", 3)
    asked = parse_groups_query([("counter", "events"), ("field", "user.country")], DEFINITION)
    assert (asked.containing, asked.limit) == ("", 50)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "counter: is missing; "),
        ({"counter": "events"}, "field: is missing; name one of event, user.country"),
        ({"counter": "events", "field": "evnt"}, 'field: counter "events" is not grouped by "evnt"; did you mean event?'),
        ({"counter": "events", "field": "event", "limit": "0"}, 'limit: "0" is not a whole number from 1 to 1,000'),
        (
            {"counter": "events", "field": "event", "query": "a"},
            "query: is not a parameter; known are counter, field, q, limit",
        ),
    ],
)
def test_mistakes_about_groups_are_clear_too(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
        parse_groups_query(parameters.items(), DEFINITION)
