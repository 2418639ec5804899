"""The alarm step over real databases: what is decided when, who is told, and what is read again."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from tallystream.core.alarm import State
from tallystream.core.definition_text import parse_definition
from tallystream.datapoints import read_columns
from tallystream.engine import alarm_values
from tallystream.engine.alarms import AlarmStep, counted_until, measure_system
from tallystream.engine.count import CountStep
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.stream import SQLiteStream
from tallystream.ports.alarms import AlarmKey, AlarmStore, ChannelTiming
from tallystream.ports.counters import CounterStore
from tallystream.ports.stream import Append

NOW_MS = 1_795_433_580_000  # 2026-11-23T11:33:00Z, a Monday
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

COUNTER = """
name = "test"
[stream]
event_time = "t"
shards = 2
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m", "1h"]
measures = ["sum(amount)", "mean(amount)"]
[[notify]]
name = "mail"
type = "command"
command = ["/bin/mail"]
"""


def on_events(
    name: str = "low", settings: str = 'comparison = "<"\nthreshold = 3', group: str = 'group = { event = "a" }'
) -> str:
    return f'[[alarm]]\nname = "{name}"\ncounter = "events"\nwindow = "1m"\nnotify = ["mail"]\n{group}\n{settings}\n'


class Plane:
    """A stream, its counters and their alarms, at a time."""

    def __init__(self, directory: Path, alarms: str) -> None:
        self.definition = parse_definition(COUNTER + alarms)
        self.stream = SQLiteStream(directory / "stream.db", self.definition.stream)
        self.store = SQLiteCounterStore(directory / "counters.db")
        self.store.declare(self.definition, self.store.positions(), NOW_MS)
        self.alarms = SQLiteAlarmStore(directory / "alarms.db")
        self.counting = CountStep(self.stream, self.store, self.definition)
        self.now_ms = NOW_MS
        self.restart()

    def restart(self, alarms: Any = None) -> None:
        self.step = AlarmStep(self.definition, self.store, self.stream, alarms or self.alarms)

    def send(self, event: Any, *, ago: float = 0, times: int = 1, **more: Any) -> None:
        """Send events of a time so many minutes ago; they arrive now, and wait to be counted."""
        lines = [json.dumps({"event": event, "t": self.now_ms - int(ago * MINUTE_MS)} | more).encode()] * times
        self.stream.append([Append(lines)], self.now_ms)

    def count(self, event: Any = None, *, ago: float = 0, times: int = 1, **more: Any) -> None:
        if event is not None:
            self.send(event, ago=ago, times=times, **more)
        while self.counting.step(self.now_ms):
            pass

    def evaluate(self, after_ms: int = 0) -> dict[str, State]:
        """Return the states that an evaluation leads to: alarm/group → state."""
        self.now_ms += after_ms
        self.step.step(self.now_ms)
        return self.states()

    def states(self) -> dict[str, State]:
        return {"/".join(filter(None, key)): status.state for key, status in self.alarms.statuses().items()}

    def told(self) -> list[str]:
        """Return the states that were sent since the last call, oldest first."""
        self.session = self.alarms.open_session(self.now_ms)
        messages = self.alarms.lease(self.session, {"mail": ChannelTiming(0, 100)}, self.now_ms, 100)
        for message in messages:
            self.alarms.mark_sent(self.session, message.id, self.now_ms)
        return [
            f"{item.key.alarm} {item.transition.new_state}" for message in messages for item in message.items if item.transition
        ]

    def close(self) -> None:
        self.alarms.close()
        self.store.close()
        self.stream.close()


MakePlane = Callable[..., Plane]


@pytest.fixture
def make_plane(tmp_path: Path) -> Iterator[MakePlane]:
    planes: list[Plane] = []

    def make(*alarms: str) -> Plane:
        planes.append(Plane(tmp_path, "".join(alarms)))
        return planes[-1]

    yield make
    for plane in planes:
        plane.close()


def test_states_follow_what_is_counted(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    assert plane.evaluate() == {}  # INSUFFICIENT_DATA, as it began
    plane.count("a", times=5)
    plane.count("b", times=1)
    assert plane.evaluate() == {}
    assert plane.evaluate(MINUTE_MS) == {"low": "OK"}
    plane.count("a", times=2)
    assert plane.evaluate(MINUTE_MS - 1) == {"low": "OK"}
    assert plane.evaluate(1) == {"low": "ALARM"}
    (change,) = (item.transition for item in plane.alarms.history(limit=1))
    assert change is not None
    assert change.reason == "the last datapoint was < 3 (2 at 11:34 UTC)"
    assert [(point.window_start_ms, point.value) for point in change.datapoints] == [(NOW_MS + MINUTE_MS, Decimal(2))]
    # Late events change a window that is complete.
    plane.count("a", ago=1)
    assert plane.evaluate() == {"low": "OK"}
    # It goes on when nothing comes any more.
    assert plane.evaluate(4 * MINUTE_MS) == {"low": "INSUFFICIENT_DATA"}


def test_an_open_window_raises_and_a_new_group_is_noticed(make_plane: MakePlane) -> None:
    high = 'comparison = ">="\nthreshold = 3\ntreat_missing_data = "notBreaching"'
    plane = make_plane(on_events("early", high), on_events("patient", high + '\nwait = "complete"'))
    assert plane.evaluate() == {"early": "OK", "patient": "OK"}
    plane.count("a", times=2)
    assert plane.evaluate(1_000) == {"early": "OK", "patient": "OK"}
    plane.count("a")
    assert plane.evaluate(1_000) == {"early": "ALARM", "patient": "OK"}
    assert plane.evaluate(MINUTE_MS) == {"early": "ALARM", "patient": "ALARM"}


def test_a_backlog_holds_alarms_up_and_makes_none_fire(make_plane: MakePlane) -> None:
    plane = make_plane(on_events(settings='comparison = "<"\nthreshold = 3\ntreat_missing_data = "breaching"'))
    plane.count("a", times=5)
    assert plane.evaluate(MINUTE_MS) == {"low": "OK"}
    plane.send("a", times=5)
    waiting_since_ms = plane.now_ms
    assert plane.evaluate(10 * MINUTE_MS) == {"low": "OK"}
    assert counted_until(plane.stream, plane.store, plane.now_ms) == waiting_since_ms
    assert counted_until(plane.stream, plane.store, waiting_since_ms - 5) == waiting_since_ms - 5
    plane.count()
    assert counted_until(plane.stream, plane.store, plane.now_ms) == plane.now_ms
    assert plane.evaluate() == {"low": "ALARM"}


def test_each_group_has_a_state_of_its_own_up_to_a_number(make_plane: MakePlane) -> None:
    plane = make_plane(on_events(group='group_by = "each"\ngroups_max = 2'))
    plane.count("b", times=5)
    plane.count(7, times=1)
    plane.count("late", times=1)
    assert plane.evaluate(MINUTE_MS) == {'low/["b"]': "OK", "low/[7]": "ALARM"}
    assert plane.told() == ["low ALARM"]


def test_states_that_nothing_watches_any_more_go(make_plane: MakePlane) -> None:
    each = on_events(group='group_by = "each"')
    plane = make_plane(each)
    plane.count("a", times=5)
    plane.count("b", times=5)
    assert set(plane.evaluate(MINUTE_MS)) == {'low/["a"]', 'low/["b"]'}
    plane.definition = parse_definition(COUNTER + on_events())
    plane.restart()
    assert plane.evaluate() == {"low": "OK"}


def test_only_what_changed_is_read_again(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make_plane(*(on_events(f"low-{at}", "comparison = '<'\nthreshold = 3\nwait = 'complete'") for at in range(20)))
    plane.count("a", times=5)
    plane.evaluate(MINUTE_MS)
    reads: list[Any] = []

    def read(store: CounterStore, *asked: Any) -> Any:
        reads.append(asked[3])
        return read_columns(store, *asked)

    monkeypatch.setattr(alarm_values, "read_columns", read)
    plane.evaluate(1_000)
    assert reads == []
    plane.count("a", times=5, ago=1)
    plane.count("a", times=5, ago=100)  # nobody looks at that window
    plane.evaluate(1_000)
    assert reads == [(NOW_MS, NOW_MS + MINUTE_MS)]  # once, for twenty alarms
    plane.evaluate(MINUTE_MS)
    assert reads[1:] == [(NOW_MS + MINUTE_MS, NOW_MS + 2 * MINUTE_MS)]


def test_one_that_looks_far_back_does_not_make_others_read_as_far(
    make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = 'comparison = "<"\nthreshold = 3\nevaluation_periods = 500'
    plane = make_plane(on_events("far", far), on_events("each", group='group_by = "each"'))
    for event in ("a", "b", "c"):
        plane.count(event, times=5)
    read: dict[int, int] = {}

    def remember(store: CounterStore, *asked: Any) -> Any:
        windows = (asked[3].end_ms - asked[3].start_ms) // MINUTE_MS
        read[windows] = len(asked[4])
        return read_columns(store, *asked)

    monkeypatch.setattr(alarm_values, "read_columns", remember)
    plane.evaluate(MINUTE_MS)
    assert read == {502: 1, 3: 3}


def test_other_measures_are_evaluated_too(make_plane: MakePlane) -> None:
    plane = make_plane(
        on_events("total", 'measure = "sum(amount)"\ncomparison = ">"\nthreshold = 2.5'),
        on_events("usual", 'measure = "mean(amount)"\ncomparison = ">"\nthreshold = 2.5'),
    )
    plane.count("a", amount=1.5, times=2)
    assert plane.evaluate(MINUTE_MS) == {"total": "ALARM", "usual": "OK"}
    plane.count("a")  # without an amount: a sum of nothing is 0, a mean of nothing is missing
    assert plane.evaluate(MINUTE_MS) == {"total": "OK", "usual": "OK"}
    assert plane.evaluate(3 * MINUTE_MS)["usual"] == "INSUFFICIENT_DATA"


def test_a_relative_threshold_compares_with_the_window_before(make_plane: MakePlane) -> None:
    plane = make_plane(on_events(settings='comparison = "<"\nthreshold_percent = -50\nbaseline = "7d"'))
    week = 7 * DAY_MS / MINUTE_MS
    plane.count("a", times=10, ago=week)
    plane.count("a", times=4)
    plane.count("a", times=4, ago=1)
    assert plane.evaluate(MINUTE_MS) == {"low": "ALARM"}
    plane.count("a", ago=1)
    assert plane.evaluate() == {"low": "OK"}
    plane.count("a", ago=week + 1, times=4)  # the past may change, too
    assert plane.evaluate() == {"low": "ALARM"}
    assert plane.evaluate(3 * MINUTE_MS) == {"low": "INSUFFICIENT_DATA"}


BAND = 'comparison = "outside"\nband = 3\nweeks = 2\nwait = "complete"'


def fill_weeks(plane: Plane, *events: str) -> None:
    for event in events:
        for week in (1, 2):
            for minute in range(27):
                plane.send(event, ago=week * 7 * DAY_MS / MINUTE_MS - minute, times=99 + minute % 3)
    plane.count()


@pytest.mark.parametrize("strays", [0, 1], ids=["alone", "with a stray event of 1970"])
def test_a_band_is_learnt_from_the_weeks_before(make_plane: MakePlane, strays: int) -> None:
    plane = make_plane(on_events(settings=BAND))
    plane.now_ms = NOW_MS
    plane.count("a", ago=NOW_MS / MINUTE_MS, times=strays)
    fill_weeks(plane, "a")
    # The series began at 11:33 two weeks ago; a week ago nothing came from 11:00 to 11:33, which counts as 0, but rarely so.
    plane.count("a", times=110)
    assert plane.evaluate(MINUTE_MS) == {"low": "OK"}
    plane.count("a", times=69)
    assert plane.evaluate(MINUTE_MS) == {"low": "ALARM"}
    (change,) = (item.transition for item in plane.alarms.history(limit=1))
    assert change is not None
    assert "outside of the band of 3 deviations (69 against 69.1504 to 128.85 at 11:34 UTC)" in change.reason


def test_many_bands_are_learnt_bit_by_bit(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make_plane(on_events(group='group_by = "each"', settings=BAND))
    fill_weeks(plane, "a", "b", "c")
    for event in ("a", "b", "c"):
        plane.count(event, times=100)
    monkeypatch.setattr(alarm_values, "LEARNT_CELLS_MAX", 1)
    monkeypatch.setattr(plane.step, "_expectations", alarm_values.Expectations(plane.definition, plane.store))
    learnt = [len(plane.evaluate(MINUTE_MS if at == 0 else 1_000)) for at in range(4)]
    assert learnt == [1, 2, 3, 3]


def test_composites_combine_what_the_same_step_decided(make_plane: MakePlane) -> None:
    low, high = on_events("low"), on_events("high", 'comparison = ">"\nthreshold = 8')
    composites = "".join(
        f"[[alarm]]\nname = '{name}'\nwhen = '{when}'\nnotify = ['mail']\n"
        for name, when in [("second", "not first"), ("first", "low and not high"), ("groups", "each")]
    )
    each = on_events("each", group='group_by = "each"')
    plane = make_plane(composites, low, high, each)
    states = plane.evaluate()
    assert (states["first"], states["second"], states["groups"]) == ("OK", "ALARM", "OK")
    plane.count("a", times=2)
    plane.count("b", times=5)
    assert plane.evaluate(MINUTE_MS) == {
        "low": "ALARM",
        "high": "OK",
        "first": "ALARM",
        "second": "OK",
        "groups": "ALARM",
        'each/["a"]': "ALARM",
        'each/["b"]': "OK",
    }
    reasons = {item.key.alarm: item.transition.reason for item in reversed(plane.alarms.history()) if item.transition}
    assert reasons["first"] == "low and not high holds: low is in ALARM; high is not"
    assert reasons["second"] == "not first does not hold: first is in ALARM"


def test_the_first_ok_is_no_news(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    plane.count("a", times=5)
    plane.evaluate(MINUTE_MS)
    assert [item.kind for item in plane.alarms.history()] == ["StateUpdate"]
    assert plane.told() == []
    plane.count("a", times=1)
    plane.evaluate(MINUTE_MS)
    assert plane.told() == ["low ALARM"]
    plane.count("a", times=5)
    plane.evaluate(MINUTE_MS)
    assert plane.told() == ["low OK"]


def test_a_mute_keeps_quiet_and_its_end_tells_what_still_stands(make_plane: MakePlane) -> None:
    plane = make_plane(on_events(), on_events("other"))
    for event_times, expected in [(5, "OK"), (1, "ALARM")]:
        if expected == "ALARM":
            plane.alarms.add_mute(["low"], plane.now_ms, plane.now_ms + 3 * MINUTE_MS, "me", "")
        plane.count("a", times=event_times)
        assert plane.evaluate(MINUTE_MS)["low"] == expected
    assert plane.told() == ["other ALARM"]
    status = plane.alarms.statuses()[AlarmKey("low")]
    assert (status.state, status.announced) == ("ALARM", "OK")
    assert plane.evaluate(MINUTE_MS)["low"] == "ALARM" and plane.told() == []
    plane.evaluate(MINUTE_MS)
    assert plane.told() == ["low ALARM"]
    assert plane.step.step(plane.now_ms) == 0 and plane.told() == []


def test_what_passed_during_a_mute_is_not_told(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    plane.count("a", times=5)
    plane.evaluate(MINUTE_MS)
    mute = plane.alarms.add_mute([], plane.now_ms, plane.now_ms + HOUR_MS, "me", "")
    for times in (1, 5):
        plane.count("a", times=times)
        plane.evaluate(MINUTE_MS)
    assert [item.transition.new_state for item in plane.alarms.history() if item.transition] == ["OK", "ALARM", "OK"]
    plane.alarms.end_mute(mute.id, plane.now_ms)
    plane.evaluate(1_000)
    assert plane.told() == []


@pytest.mark.parametrize(("before", "meanwhile"), [(5, 1), (1, 5)])
def test_what_comes_back_as_a_mute_ends_is_no_news(make_plane: MakePlane, before: int, meanwhile: int) -> None:
    plane = make_plane(on_events())
    for times in (5, before):
        plane.count("a", times=times)
        plane.evaluate(MINUTE_MS)
    plane.told()
    plane.alarms.add_mute([], plane.now_ms, plane.now_ms + 2 * MINUTE_MS, "me", "")
    for times in (meanwhile, before):  # the mute ends with the second
        plane.count("a", times=times)
        plane.evaluate(MINUTE_MS)
    assert len([item for item in plane.alarms.history() if item.transition]) == (3 if before == 5 else 4)
    assert plane.told() == []
    plane.count("a", times=meanwhile)
    plane.evaluate(MINUTE_MS)
    assert plane.told() == ["low ALARM" if meanwhile == 1 else "low OK"]


def test_a_new_alarm_that_came_and_went_in_a_mute_is_no_news(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    mute = plane.alarms.add_mute([], plane.now_ms, plane.now_ms + HOUR_MS, "me", "")
    for times in (1, 5):
        plane.count("a", times=times)
        plane.evaluate(MINUTE_MS)
    plane.alarms.end_mute(mute.id, plane.now_ms)
    assert plane.evaluate(1_000) == {"low": "OK"}
    assert plane.told() == []


def test_a_mute_that_is_to_come_mutes_nothing_yet(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    plane.alarms.add_mute([], plane.now_ms + HOUR_MS, plane.now_ms + 2 * HOUR_MS, "me", "")
    plane.count("a", times=1)
    plane.evaluate(MINUTE_MS)
    assert plane.told() == ["low ALARM"]


@pytest.mark.parametrize(("days", "told"), [("mon", []), ("tue", ["low ALARM"])])
def test_a_schedule_mutes_on_its_days(make_plane: MakePlane, days: str, told: list[str]) -> None:
    plane = make_plane(on_events(), f'[[mute]]\nname = "monday"\nalarms = ["low"]\ndays = ["{days}"]\n')
    plane.count("a", times=1)
    plane.evaluate(MINUTE_MS)
    assert plane.told() == told


def test_what_somebody_else_decided_is_decided_anew(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    other = AlarmStep(plane.definition, plane.store, plane.stream, plane.alarms)
    plane.count("a", times=5)
    plane.evaluate(MINUTE_MS)
    plane.count("a", times=1)

    class Overtaken:
        """The store, where somebody is always faster by one commit."""

        def __getattr__(self, name: str) -> Any:
            return getattr(plane.alarms, name)

        def commit(self, changes: Any, now_ms: int) -> bool:
            assert other.step(now_ms) == 1
            return plane.alarms.commit(changes, now_ms)

    plane.restart(cast("AlarmStore", Overtaken()))
    plane.now_ms += MINUTE_MS
    assert plane.step.step(plane.now_ms) == 0
    assert plane.step.step(plane.now_ms) == 0
    assert plane.told() == ["low ALARM"]


def test_after_an_error_everything_is_read_again(make_plane: MakePlane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane = make_plane(on_events())
    plane.count("a", times=1)
    with monkeypatch.context() as broken:
        broken.setattr(plane.alarms, "commit", lambda *_: (_ for _ in ()).throw(OSError("disk")))
        with pytest.raises(OSError, match="disk"):
            plane.evaluate(MINUTE_MS)
    assert plane.evaluate() == {"low": "ALARM"}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_leaves_nothing_stale(make_plane: MakePlane, hours: int) -> None:
    plane = make_plane(on_events(settings='comparison = "<"\nthreshold = 3\ntreat_missing_data = "ignore"'))
    plane.count("a", times=5)
    assert plane.evaluate(MINUTE_MS) == {"low": "OK"}
    plane.now_ms += hours * HOUR_MS
    plane.count("a", times=1)
    assert plane.evaluate(MINUTE_MS) == {"low": "ALARM"}


def test_a_new_generation_is_noticed(make_plane: MakePlane) -> None:
    plane = make_plane(on_events(group='group_by = "each"'))
    plane.count("a", times=5)
    assert plane.evaluate(MINUTE_MS) == {'low/["a"]': "OK"}
    changed = parse_definition((COUNTER + on_events(group='group_by = "each"')).replace('"1m", "1h"', '"1m", "2h"'))
    plane.store.declare(changed, plane.store.positions(), plane.now_ms)
    plane.counting = CountStep(plane.stream, plane.store, changed)
    plane.count("b", times=5)
    assert plane.evaluate(MINUTE_MS) == {'low/["b"]': "OK"}


def test_what_a_new_generation_has_not_seen_is_not_taken_for_silence(make_plane: MakePlane) -> None:
    silent = 'comparison = "<"\nthreshold = 3\nevaluation_periods = 3\ntreat_missing_data = "breaching"'
    busy = (
        'comparison = ">"\nthreshold = 8\nevaluation_periods = 3\ndatapoints_to_alarm = 1\ntreat_missing_data = "notBreaching"'
    )
    alarms = on_events("silent", silent) + on_events("busy", busy)
    plane = make_plane(alarms)
    for _ in range(3):
        plane.count("a", times=5)
        plane.evaluate(MINUTE_MS)
    assert plane.states() == {"silent": "OK", "busy": "OK"}
    # The counter is edited in the middle of a minute: what was counted before stays apart.
    plane.count("a", times=5)
    plane.now_ms += MINUTE_MS // 2
    changed = parse_definition((COUNTER + alarms).replace('"1m", "1h"', '"1m", "2h"'))
    plane.store.declare(changed, plane.store.positions(), plane.now_ms)
    plane.counting = CountStep(plane.stream, plane.store, changed)
    plane.restart()
    assert plane.evaluate() == {"silent": "OK", "busy": "OK"}
    plane.now_ms += MINUTE_MS // 2
    for _ in range(2):
        assert plane.evaluate()["silent"] == "OK"
        plane.count("a", times=1)
        plane.now_ms += MINUTE_MS
    assert plane.evaluate()["silent"] == "OK"
    plane.count("a", times=9)  # too many are too many, however little was seen before
    assert plane.evaluate() == {"silent": "OK", "busy": "ALARM"}
    for _ in range(6):
        plane.evaluate(MINUTE_MS)
    assert plane.states() == {"silent": "ALARM", "busy": "OK"}


def test_a_group_that_is_still_to_be_counted_again_keeps_its_state(make_plane: MakePlane, tmp_path: Path) -> None:
    settings = 'comparison = ">="\nthreshold = 3\nevaluation_periods = 5\ndatapoints_to_alarm = 1\n'
    plane = make_plane(on_events(settings=settings, group='group_by = "each"'))
    plane.count("a", times=5)
    assert plane.evaluate(MINUTE_MS) == {'low/["a"]': "ALARM"}
    assert plane.told() == ["low ALARM"]
    # A loss of power, or a backup whose counters are older than its alarms: the group is in the stream alone.
    lost = SQLiteCounterStore(tmp_path / "restored.db")
    plane.store.close()
    plane.store = lost
    lost.declare(plane.definition, {}, NOW_MS)
    plane.counting = CountStep(plane.stream, lost, plane.definition)
    plane.restart()
    assert plane.evaluate(1_000) == {'low/["a"]': "ALARM"}
    plane.count()
    assert plane.evaluate(1_000) == {'low/["a"]': "ALARM"}
    assert plane.told() == []


def test_without_alarms_nothing_is_read(make_plane: MakePlane) -> None:
    plane = make_plane()
    plane.step = AlarmStep(plane.definition, cast("CounterStore", None), plane.stream, cast("AlarmStore", None))
    assert plane.step.step(NOW_MS) == 0


# What Tallystream measures of itself.

SYSTEM = '[[alarm]]\nname = "{0}"\nsystem = "{0}"\nwindow = "10s"\ncomparison = "{1}"\nthreshold = {2}\n'


def samples(plane: Plane) -> dict[str, Decimal]:
    measure_system(plane.store, plane.stream, plane.alarms, Decimal("12.5"), plane.now_ms)
    names = ("seconds_without_events", "rejected_percent", "counting_lag_seconds", "disk_free_percent", "failed_notifications")
    found = {name: plane.alarms.samples(name, plane.now_ms, plane.now_ms + 1) for name in names}
    return {name: rows[0][1] for name, rows in found.items() if rows}


def test_what_is_measured_of_itself(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    assert samples(plane) == {
        "rejected_percent": 0,
        "counting_lag_seconds": 0,
        "disk_free_percent": Decimal("12.5"),
        "failed_notifications": 0,
    }
    plane.count("a", times=3)
    plane.stream.append([Append([b"broken"])], plane.now_ms)
    plane.now_ms += 90_500
    found = samples(plane)
    assert (found["seconds_without_events"], found["counting_lag_seconds"]) == (Decimal("90.5"), Decimal("90.5"))
    plane.count()
    plane.now_ms += 1_000
    found = samples(plane)
    assert (found["seconds_without_events"], found["counting_lag_seconds"]) == (Decimal("91.5"), Decimal(0))
    assert found["rejected_percent"] == 25
    plane.now_ms += 10 * MINUTE_MS
    assert samples(plane)["rejected_percent"] == 0
    plane.count("a", times=1, ago=10)
    plane.evaluate(0)
    plane.now_ms -= 20 * MINUTE_MS
    assert samples(plane)["seconds_without_events"] == 0


def test_failed_notifications_are_counted(make_plane: MakePlane) -> None:
    plane = make_plane(on_events())
    plane.count("a", times=1)
    plane.evaluate(MINUTE_MS)
    session = plane.alarms.open_session(plane.now_ms)
    (message,) = plane.alarms.lease(session, {"mail": ChannelTiming(0, 100)}, plane.now_ms, 100)
    plane.alarms.mark_failed(session, message.id, "refused", plane.now_ms + 5_000, plane.now_ms)
    assert samples(plane)["failed_notifications"] == 1


def test_alarms_on_itself_do_not_wait_for_counting(make_plane: MakePlane) -> None:
    plane = make_plane(SYSTEM.format("counting_lag_seconds", ">", 60), SYSTEM.format("seconds_without_events", ">", 100))
    assert plane.evaluate() == {}
    plane.send("a")
    for seconds, expected in [(5, "OK"), (80, "ALARM")]:
        plane.now_ms = NOW_MS + seconds * 1_000
        samples(plane)
        assert plane.evaluate(10_000)["counting_lag_seconds"] == expected
    plane.count()
    plane.now_ms = NOW_MS + 120_000
    samples(plane)
    assert plane.evaluate(10_000) == {"counting_lag_seconds": "OK", "seconds_without_events": "ALARM"}
