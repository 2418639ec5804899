"""Alarms with other values of some keys."""

from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from msgspec.structs import replace

from tallystream.core.alarm import Actions, Alarm, CounterSource, FixedThreshold, MetricAlarm
from tallystream.core.alarm_edit import edit_alarm
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import DefinitionError

TEXT = """
name = "test"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event", "user.country"]
windows = ["1m", "1h"]
measures = ["sum(amount)"]
[[counter]]
name = "all"
windows = ["10s"]
[[notify]]
name = "log"
type = "command"
command = ["/bin/cat"]

[[alarm]]
name = "fixed"
counter = "events"
window = "1m"
measure = "sum(amount)"
group = { event = "a", "user.country" = 1.5 }
comparison = "<"
threshold = 5.25
clear_threshold = 8
evaluation_periods = 3
datapoints_to_alarm = 2
treat_missing_data = "breaching"
wait = "complete"
delay = "30s"
notify = ["log"]

[[alarm]]
name = "relative"
counter = "all"
window = "10s"
comparison = ">="
threshold_percent = 40
baseline = "1d"

[[alarm]]
name = "band"
counter = "events"
window = "1h"
group_by = "each"
groups_max = 7
comparison = "outside"
band = 3
clear_band = 2
weeks = 6

[[alarm]]
name = "system"
system = "disk_free_percent"
comparison = "<"
threshold = 5

[[alarm]]
name = "composite"
when = "fixed and not system"
notify = { ok = ["log"] }
"""
DEFINITION = parse_definition(TEXT)
EXAMPLE = parse_definition(files("tallystream").joinpath("example.toml").read_text(encoding="utf-8"))


def alarm(name: str) -> Alarm:
    return next(each for each in DEFINITION.alarms if each.name == name)


@pytest.mark.parametrize(
    ("definition", "name"), [(each, alarm.name) for each in (DEFINITION, EXAMPLE) for alarm in each.alarms]
)
def test_without_changes_it_is_the_same(definition: Definition, name: str) -> None:
    assert edit_alarm(definition, name, {}) == next(each for each in definition.alarms if each.name == name)


def test_keys_are_changed_added_and_taken_away() -> None:
    edited = edit_alarm(
        DEFINITION,
        "fixed",
        {
            "name": "fixed",
            "threshold": Decimal("7.5"),
            "clear_threshold": None,
            "group": None,
            "group_by": "each",
            "notify": [],
        },
    )
    before = alarm("fixed")
    assert isinstance(before, MetricAlarm)
    assert edited == replace(
        before,
        source=CounterSource(counter="events", window_ms=60_000, measure="sum(amount)", group=None, groups_max=100),
        condition=FixedThreshold(comparison="<", value=Decimal("7.5"), clear=Decimal("7.5")),
    )
    assert edited.actions == Actions(alarm=("log",), ok=("log",))


def test_a_composite_alarm_reads_the_others() -> None:
    assert edit_alarm(DEFINITION, "composite", {"when": "system"}) == replace(alarm("composite"), when="system")


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"threshold": "x", "window": "7m", "unknown": 1}, ["unknown", "window", "threshold"]),
        ({"threshold": 10}, ["clear_threshold"]),
        ({"group": {"event": "a"}}, ["group"]),
        ({"name": "other"}, ["name"]),
    ],
)
def test_all_mistakes_are_told_at_once(changes: dict[str, Any], keys: list[str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        edit_alarm(DEFINITION, "fixed", changes)
    assert [problem.key for problem in refused.value.problems] == [f'alarm "fixed".{key}' for key in keys]


def test_an_unknown_alarm_is_refused() -> None:
    with pytest.raises(KeyError):
        edit_alarm(DEFINITION, "absent", {})
