"""What messages say, to people and to programs."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tallystream.engine.message import DETAILS_MAX, LINES_MAX, describe, number, subject, text
from tallystream.engine.message_html import html
from tallystream.engine.message_json import message_json
from tallystream.ports.alarms import Message
from tests.alarm_messages import AT_MS, DEFINITION, HOSTILE, ONE, SEVERAL, item, message, points


def document(sent: Message) -> Any:
    return json.loads(message_json(sent, DEFINITION, {"pageview-low": AT_MS - 86_400_000}))


def test_one_alarm_is_sent_as_the_json_of_sns() -> None:
    assert document(ONE) == {
        "AlarmName": "pageview-low",
        "AlarmDescription": "Visitors may see an empty page.\nRunbook: https://wiki.example.com/pageviews",
        "AWSAccountId": "000000000000",
        "AlarmConfigurationUpdatedTimestamp": "2026-11-22T10:00:00.000+0000",
        "NewStateValue": "ALARM",
        "NewStateReason": "2 of the last 3 datapoints were < 5 (3 at 09:57, 1 at 09:59 UTC)",
        "StateChangeTime": "2026-11-23T10:00:00.000+0000",
        "Region": "local",
        "AlarmArn": "arn:tallystream:alarms:local:000000000000:alarm:pageview-low",
        "OldStateValue": "OK",
        "OKActions": ["support"],
        "AlarmActions": ["support"],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "events.count",
            "Namespace": "Tallystream/web-analytics",
            "StatisticType": "Statistic",
            "Statistic": "SAMPLE_COUNT",
            "Unit": None,
            "Dimensions": [{"name": "event", "value": "page view"}],
            "Period": 60,
            "EvaluationPeriods": 3,
            "DatapointsToAlarm": 2,
            "ComparisonOperator": "LessThanThreshold",
            "Threshold": 5,
            "TreatMissingData": "breaching",
            "EvaluateLowSampleCountPercentile": "",
        },
    }


def test_several_alarms_are_sent_in_the_order_of_their_changes() -> None:
    alarms = document(SEVERAL)["Alarms"]
    assert [alarm["AlarmName"] for alarm in alarms] == [item.key.alarm for item in SEVERAL.items]
    assert [alarm["NewStateValue"] for alarm in alarms if alarm["AlarmName"] == "pageview-low"] == ["ALARM", "OK", "ALARM"]


def test_a_band_of_each_group_names_the_group() -> None:
    trigger = document(SEVERAL)["Alarms"][1]["Trigger"]
    assert trigger["MetricName"] == "donations.sum(amount)"
    assert trigger["Statistic"] == "SUM"
    assert trigger["Dimensions"] == [{"name": "country", "value": HOSTILE}]
    assert trigger["ComparisonOperator"] == "LessThanLowerOrGreaterThanUpperThreshold"
    assert trigger["Threshold"] is None


def test_a_relative_threshold_is_the_bound_that_the_newest_datapoint_was_held_against() -> None:
    trigger = document(message(item("donations-half", datapoints=points(7, 3, lower="5.25"))))["Trigger"]
    assert (trigger["ComparisonOperator"], trigger["Threshold"]) == ("LessThanThreshold", 5.25)
    assert document(message(item("donations-half")))["Trigger"]["Threshold"] is None


def test_a_system_alarm_has_no_dimensions_and_a_composite_alarm_a_rule() -> None:
    disk = document(message(item("disk-full")))
    assert (disk["Trigger"]["MetricName"], disk["Trigger"]["Dimensions"]) == ("disk_free_percent", [])
    assert disk["Trigger"]["Threshold"] == 10.5
    assert disk["AlarmConfigurationUpdatedTimestamp"] is None
    composite = document(message(item("site-down")))
    assert composite["AlarmRule"] == "pageview-low and not disk-full"
    assert "Trigger" not in composite


def test_an_alarm_that_is_defined_no_more_is_still_told_of() -> None:
    gone = message(item("gone", group="GB", datapoints=points(1, lower="5")))
    assert document(gone)["Trigger"] is None
    changes = describe(gone, DEFINITION)
    assert subject(changes, DEFINITION) == "ALARM: gone (GB) in web-analytics"
    assert "group 1 = GB" in text(changes, DEFINITION)
    assert "Datapoints" in html(changes, DEFINITION)


def test_a_group_of_fields_that_the_counter_has_no_more_is_still_told_of() -> None:
    counters = (replace(DEFINITION.counters[0], group_by=("event", "country")), *DEFINITION.counters[1:])
    assert describe(ONE, replace(DEFINITION, counters=counters))[0].group == (("group 1", "page view"),)


def test_an_alarm_that_changed_several_times_is_told_of_once_as_it_stands() -> None:
    changes = describe(SEVERAL, DEFINITION)
    labels = [(change.state, change.name) for change in changes]
    assert labels == [
        ("ALARM", "donations-odd"),
        ("ALARM", "pageview-low"),
        ("ALARM", "site-down"),
        ("INSUFFICIENT_DATA", "disk-full"),
        ("OK", "donations-odd"),
    ]
    assert changes[1].earlier == (("ALARM", AT_MS), ("OK", AT_MS + 1_000))
    assert subject(changes, DEFINITION) == (
        "3 ALARM, 1 INSUFFICIENT DATA, 1 OK in web-analytics: donations-odd, pageview-low, site-down, disk-full"
    )


def test_the_text_says_what_and_why() -> None:
    assert text(describe(ONE, DEFINITION), DEFINITION) == (
        "ALARM: pageview-low (page view)\n"
        "===============================\n"
        "\n"
        "2 of the last 3 datapoints were < 5 (3 at 09:57, 1 at 09:59 UTC)\n"
        "\n"
        "Visitors may see an empty page.\n"
        "Runbook: https://wiki.example.com/pageviews\n"
        "\n"
        "count, windows of 1m, 2026-11-23 UTC\n"
        "  09:55       12\n"
        "  09:56        9\n"
        "  09:57        3  breaches\n"
        "  09:58  no data  breaches\n"
        "  09:59        1  breaches\n"
        "\n"
        "Changed    2026-11-23 10:00:00 UTC, from OK to ALARM\n"
        "Group      event = page view\n"
        "Condition  count < 5 for 2 of 3 windows of 1m\n"
        "\n"
        "\n"
        "-- \n"
        "Tallystream watches web-analytics.\n"
        "To hear nothing of it for two hours: tally alarms mute pageview-low --for 2h\n"
    )


def test_a_large_message_stays_readable() -> None:
    many = message(
        *(item("donations-odd", group=f"{'x' * 900}{n}", datapoints=points(*range(40), upper="800")) for n in range(300))
    )
    changes = describe(many, DEFINITION)
    assert len(changes) == 300
    shown = text(changes, DEFINITION)
    assert f"… and {300 - LINES_MAX} more\nThe first {DETAILS_MAX} follow in full.\n" in shown
    assert shown.count("===\n") == DETAILS_MAX
    assert len(subject(changes, DEFINITION)) < 150
    assert len(html(changes, DEFINITION).encode()) < 100_000, "Gmail cuts off what is longer"


def test_what_comes_from_outside_is_shown_and_does_nothing() -> None:
    changes = describe(SEVERAL, DEFINITION)
    for shown in (text(changes, DEFINITION), html(changes, DEFINITION)):
        assert "".join(shown.split("\n")).isprintable()
        assert r"\u202egnp.exe" in shown
    page = html(changes, DEFINITION)
    assert "<img" not in page and "&lt;img src=x onerror=alert(1)&gt;&quot;" in page
    assert subject(describe(message(SEVERAL.items[1]), DEFINITION), DEFINITION).isprintable()


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_name_breaks_a_message(group: str, reason: str) -> None:
    sent = message(item("donations-odd", group=group, reason=reason))
    changes = describe(sent, DEFINITION)
    assert subject(changes, DEFINITION).isprintable()
    assert html(changes, DEFINITION).count("<tr>") == html(
        describe(message(item("donations-odd", group="x", reason="y")), DEFINITION), DEFINITION
    ).count("<tr>")
    alarm = document(sent)
    assert (alarm["NewStateReason"], alarm["Trigger"]["Dimensions"][0]["value"]) == (reason, group)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0", "0"),
        ("1234567", "1,234,567"),
        ("100", "100"),
        ("-0.5", "-0.5"),
        ("1290.33333333", "1,290.3333"),
        ("0.00001234", "0.00001234"),
        ("1E+3", "1,000"),
        ("999999999999.99", "999,999,999,999.99"),
        ("-1000000000000000000", "-1.00000e+18"),
        ("1E-12", "1e-12"),
    ],
)
def test_numbers_are_short_and_readable(value: str, shown: str) -> None:
    assert number(Decimal(value)) == shown


@given(
    st.lists(st.one_of(st.none(), st.decimals(-(10**18), 10**18, places=3)), min_size=1, max_size=8),
    st.decimals(-100, 100, places=2),
)
def test_any_datapoints_can_be_drawn(values: list[Decimal | None], bound: Decimal) -> None:
    sent = message(
        item("donations-odd", group="GB", datapoints=points(*map(_text, values), lower=str(bound), upper=str(bound + 1)))
    )
    page = html(describe(sent, DEFINITION), DEFINITION)
    assert 'width="-' not in page and 'width="0%"' not in page


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)
