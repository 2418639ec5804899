"""What series are called in CloudWatch: within its rules, and never two alike."""

from hypothesis import given
from hypothesis import strategies as st

from tallystream.aws.metric import (
    OTHER,
    dimension_name,
    dimension_value,
    dimensions,
    metric_name,
    statistic,
    storage_resolution,
)
from tallystream.core.group import GroupValue, canonical_value

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False).map(canonical_value),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(["null", "true", "12", "-0.5", '"', '"12"', ":x", " ", "", "%41", "A", "%", "%25", "50 %", OTHER]),
)


def is_accepted(text: str, characters_max: int) -> bool:
    return text.isascii() and text.isprintable() and text.strip() != "" and text[0] != ":" and len(text) <= characters_max


def test_names_are_readable() -> None:
    assert metric_name("donations", "sum(amount)", 900_000) == "donations sum(amount) 15m"
    assert dimensions(("event", "user.plan"), ("page view", None)) == [
        {"Name": "event", "Value": "page view"},
        {"Name": "user.plan", "Value": "null"},
    ]
    assert dimensions(("event",), None) == [{"Name": "event", "Value": OTHER}]
    assert [dimension_value(value) for value in ("Zürich", "12", 12, True, "", "50 %", OTHER)] == [
        *("Z%C3%BCrich", '"12"', "12", "true", '""', "50 %", '"(other)"'),
    ]


def test_the_statistic_gives_the_last_of_what_only_grows_or_falls() -> None:
    growing = ["count", "sum(a)", "max(a)"]
    assert [statistic(measure) for measure in growing] == ["Maximum"] * 3
    assert [statistic(measure) for measure in ("min(a)", "mean(a)")] == ["Minimum", "Average"]


def test_resolution_is_fine_only_where_windows_are() -> None:
    assert [storage_resolution(ms) for ms in (10_000, 45_000, 60_000, 3_600_000)] == [1, 1, 60, 60]


@given(values, values)
def test_values_are_accepted_and_stay_apart(a: GroupValue, b: GroupValue) -> None:
    named = dimension_value(a)
    assert is_accepted(named, 1_024)
    assert named != OTHER
    same = (type(a), a) == (type(b), b)
    assert (named == dimension_value(b)) == same


def test_long_values_are_cut_and_stay_apart() -> None:
    long = "x" * 5_000
    assert len({dimension_value(long), dimension_value(long + "y"), dimension_value(long[:1_024])}) == 3
    assert is_accepted(dimension_value(long), 1_024)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=1_000))
def test_names_are_accepted(field: str) -> None:
    assert is_accepted(dimension_name(field), 255)
    assert is_accepted(metric_name("c", f"sum({field})", 60_000), 255)
