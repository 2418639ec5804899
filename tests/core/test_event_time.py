"""Event times: one by one, and as columns, which must say the same."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystream.core.event_time import assign_slots, parse_event_time, slot_resolution

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_MS = 1_795_433_587_123  # 2026-11-23T11:33:07.123Z


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("2026-11-23T11:33:07Z", 1_795_433_587_000),
        ("2026-11-23T11:33:07", 1_795_433_587_000),  # no offset is UTC
        ("2026-11-23 11:33:07.1", 1_795_433_587_100),
        ("2026-11-23t11:33:07,123z", MOMENT_MS),
        ("2026-11-23T11:33:07.1239999", MOMENT_MS),  # .NET writes 7 digits; the rest is cut, never rounded up
        ("2026-11-23T11:33:59.999999999Z", 1_795_433_639_999),
        ("2026-11-23T11:33:07.12345678901234567890Z", MOMENT_MS),
        ("2026-11-23T17:03:07.123+05:30", MOMENT_MS),
        ("2026-11-23T17:03:07.123+0530", MOMENT_MS),
        ("2026-11-23T03:33:07.123-08", MOMENT_MS),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
        (1_795_433_587, 1_795_433_587_000),
        (1_795_433_587.123, MOMENT_MS),
        (MOMENT_MS, MOMENT_MS),
        (MOMENT_MS + 0.9, MOMENT_MS),
        (MOMENT_MS * 1_000 + 999, MOMENT_MS),
        (MOMENT_MS * 1_000_000 + 999_999, MOMENT_MS),
        ("1795433587", 1_795_433_587_000),
        ("1795433587.123", MOMENT_MS),  # nginx's $msec
        (str(MOMENT_MS), MOMENT_MS),
        (0, 0),
        (-1, -1_000),
        (-0.001, -1),
    ],
)
def test_reads_what_producers_write(value: object, expected_ms: int) -> None:
    assert parse_event_time(value) == expected_ms


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        [],
        {},
        "",
        "now",
        "2026-11-23",
        "2026-11-23T11:33",
        "2026-13-23T11:33:07Z",
        "2026-02-30T11:33:07Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T11:60:07Z",
        "2026-11-23T11:33:60Z",
        "2026-11-23T11:33:07.Z",
        "2026-11-23T11:33:07+5",
        "2026-11-23T11:33:07+05:60",
        "2026-11-23T11:33:07Z\n",
        " 2026-11-23T11:33:07Z",
        "２０２６-11-23T11:33:07Z",  # digits, but not ASCII
        "0000-01-01T00:00:00Z",
        "1e9",
        "nan",
        10**20,
        -(10**20),
        1e300,
        "9" * 21,
    ],
)
def test_refuses_what_is_no_time(value: object) -> None:
    assert parse_event_time(value) is None
    assert assign_slots([value, value], 60_000).slots == [None, None]


def test_the_resolution_is_the_coarsest_that_fits_all_windows() -> None:
    assert slot_resolution([60_000, 3_600_000]) == 60_000
    assert slot_resolution([10_000, 60_000]) == 10_000
    assert slot_resolution([15_000]) == 1_000


moments = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1))  # noqa: DTZ001
offsets = st.sampled_from(["", "Z", "z", "+00:00", "+05:30", "-08:00", "+0100", "-03"])


@st.composite
def iso_texts(draw: st.DrawFn, digits: int | None = None, offset: str | None = None) -> str:
    moment = draw(moments)
    count = draw(st.integers(0, 9)) if digits is None else digits
    fraction = f"{moment.microsecond:06d}999"[:count]
    suffix = draw(offsets) if offset is None else offset
    return moment.strftime("%Y-%m-%dT%H:%M:%S").zfill(19) + (f".{fraction}" if fraction else "") + suffix


values = st.one_of(
    iso_texts(),
    st.integers(-(10**21), 10**21),
    st.floats(allow_nan=False),
    st.none(),
    st.booleans(),
    st.text(max_size=30),
    iso_texts().map(lambda text: text[:-1]),
    iso_texts().map(lambda text: text.replace("1", "9")),
    iso_texts().map(lambda text: text.replace("T", "\n")),
)
one_layout = st.tuples(st.integers(0, 9), offsets).flatmap(
    lambda layout: st.lists(iso_texts(digits=layout[0], offset=layout[1]), min_size=1)
)
spoilt_layout = st.tuples(one_layout, st.integers(0, 30), st.characters()).map(
    lambda drawn: [*drawn[0], drawn[0][0][: drawn[1]] + drawn[2] + drawn[0][0][drawn[1] + 1 :]]
)


@st.composite
def in_order(draw: st.DrawFn) -> list[str]:
    """As live traffic is: many times in few slots, one after the other, but perhaps for one of them."""
    start = draw(st.integers(0, 2 * 10**12))
    pauses = draw(st.lists(st.sampled_from([0, 1, 700, 15_000]), min_size=1, max_size=300))
    times = list(accumulate(pauses, initial=start))
    times.insert(draw(st.integers(0, len(times))), draw(st.sampled_from(times)))
    return [f"{EPOCH + timedelta(milliseconds=time):%Y-%m-%dT%H:%M:%S.%f}" for time in times]


@given(
    st.one_of(st.lists(values), one_layout, spoilt_layout, st.lists(iso_texts()), in_order()),
    st.sampled_from([60_000, 10_000, 1_000]),
)
@example(["2026-11-23T11:33:07Z\n2026-11-23T11:33:07Z", ""], 60_000)
@example(["2026-11-23T11:33:07+01:00", "2026-11-23T11:33:07+02:00"], 60_000)
@example(["2026-11-23T11:33:07+01:00", "2026-11-23T11:33:07Z"], 60_000)
@example(["2026-11-23T11:33:07Z", "2026-11-23T11:33:0７Z"], 60_000)
@example(["2026-11-23T11:33:07Z", "2026-13-23T11:33:07Z"], 60_000)
@example(["2026-11-23T11:33:07Z", "2026-11-23T11:33:60Z"], 60_000)
@example([*[f"2026-11-23T11:33:07.{'1' * digits}Z" for digits in range(1, 10)]], 60_000)
def test_a_column_says_the_same_as_its_values(column: list[object], resolution_ms: int) -> None:
    slots = assign_slots(column, resolution_ms)
    times = [parse_event_time(value) for value in column]
    expected = [None if time is None else time - time % resolution_ms for time in times]
    assert [None if slot is None else slots.start_ms[slot] for slot in slots.slots] == expected
    assert slots.readable == (None not in expected)


@given(moments, st.integers(-14 * 60, 14 * 60))
def test_agrees_with_the_standard_library(moment: datetime, offset_minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_event_time(aware.isoformat()) == expected
