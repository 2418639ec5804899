"""[[alarm]], [[notify]] and [[mute]] of tally.toml: what they become, and every mistake told at once."""

import tomllib
from decimal import Decimal
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from tallystream.core.alarm import (
    Actions,
    Alarm,
    Band,
    CompositeAlarm,
    CounterSource,
    FixedThreshold,
    MetricAlarm,
    RelativeThreshold,
    SystemSource,
    alarm_fingerprint,
)
from tallystream.core.channel import Channel, CommandChannel, EmailChannel, SlackChannel, WebhookChannel
from tallystream.core.definition_text import definition_schema, parse_definition
from tallystream.core.errors import DefinitionError, Problem
from tallystream.core.mute import WEEKDAYS, MuteSchedule

HEAD = """
name = "x"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["10s", "1m", "1h"]
keep = "40d"
[[counter]]
name = "gifts"
group_by = ["user.country", "plan"]
windows = ["20s", "40s"]
measures = ["sum(amount)"]
[[counter]]
name = "all"
windows = ["1m", "1d"]
[[notify]]
name = "ops"
type = "command"
command = ["true"]
"""
LOW = 'counter = "all"\nwindow = "1m"\ncomparison = "<"\nthreshold = 5\n'
EACH = LOW.replace('"all"', '"events"') + 'group_by = "each"\n'
DISK = 'system = "disk_free_percent"\ncomparison = "<"\nthreshold = 5\n'


def alarm_of(text: str) -> Alarm:
    return parse_definition(f'{HEAD}[[alarm]]\nname = "a"\n{text}').alarms[0]


def metric_of(text: str) -> MetricAlarm:
    alarm = alarm_of(text)
    assert isinstance(alarm, MetricAlarm)
    return alarm


def channel_of(text: str) -> Channel:
    return parse_definition(f'{HEAD}[[notify]]\nname = "c"\n{text}').channels[1]


def mute_of(text: str) -> MuteSchedule:
    return parse_definition(f'{HEAD}[[mute]]\nname = "m"\n{text}').mutes[0]


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(DefinitionError) as raised:
        parse_definition(HEAD + text)
    return list(raised.value.problems)


# What good ones become.


def test_an_alarm_with_the_least_that_it_needs() -> None:
    assert alarm_of(LOW) == MetricAlarm(
        name="a",
        description="",
        source=CounterSource(counter="all", window_ms=60_000, measure="count", group=(), groups_max=100),
        condition=FixedThreshold(comparison="<", value=Decimal(5), clear=Decimal(5)),
        evaluation_periods=1,
        datapoints_to_alarm=1,
        treat_missing_data="missing",
        wait="early",
        delay_ms=0,
        actions=Actions(),
    )


def test_an_alarm_with_everything() -> None:
    text = """
    description = "Is the site down?"
    counter = "events"
    window = "60s"
    measure = "count"
    group = { event = "page view" }
    comparison = ">="
    threshold = 7.50
    clear_threshold = -2
    evaluation_periods = 5
    datapoints_to_alarm = 2
    treat_missing_data = "notBreaching"
    wait = "complete"
    delay = "90s"
    notify = { alarm = ["ops"], insufficient_data = ["ops"] }
    """
    assert alarm_of(text) == MetricAlarm(
        name="a",
        description="Is the site down?",
        source=CounterSource(counter="events", window_ms=60_000, measure="count", group=("page view",), groups_max=100),
        condition=FixedThreshold(comparison=">=", value=Decimal("7.5"), clear=Decimal(-2)),
        evaluation_periods=5,
        datapoints_to_alarm=2,
        treat_missing_data="notBreaching",
        wait="complete",
        delay_ms=90_000,
        actions=Actions(alarm=("ops",), insufficient_data=("ops",)),
    )


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (
            'comparison = "<"\nthreshold_percent = -50\nbaseline = "7d"',
            RelativeThreshold(comparison="<", percent=Decimal(-50), clear_percent=Decimal(-50), baseline_ms=604_800_000),
        ),
        (
            'comparison = ">"\nthreshold_percent = 12.5\nclear_threshold_percent = 0\nbaseline = "120s"',
            RelativeThreshold(comparison=">", percent=Decimal("12.5"), clear_percent=Decimal(0), baseline_ms=120_000),
        ),
        (
            'comparison = "outside"\nband = 3',
            Band(comparison="outside", deviations=Decimal(3), clear_deviations=Decimal(3), weeks=4),
        ),
        (
            'comparison = "<"\nband = 3\nclear_band = 0.5\nweeks = 26',
            Band(comparison="<", deviations=Decimal(3), clear_deviations=Decimal("0.5"), weeks=26),
        ),
    ],
)
def test_conditions(text: str, condition: Any) -> None:
    assert metric_of(f'counter = "all"\nwindow = "1m"\n{text}').condition == condition


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("5.0", "5"),
        ("100", "100"),
        ("1e2", "100"),
        ("0.1", "0.1"),
        ("-0.0", "0"),
        ("-1.50", "-1.5"),
        ("1e30", "1" + "0" * 30),
        ("0.000000000000000001", "0.000000000000000001"),
    ],
)
def test_numbers_are_what_is_written(written: str, number: str) -> None:
    condition = metric_of(LOW.replace("5", written)).condition
    assert isinstance(condition, FixedThreshold)
    assert str(condition.value) in (number, f"{Decimal(number)}")
    assert condition.value == Decimal(number)


@pytest.mark.parametrize(
    ("written", "group"),
    [
        ('group = { "user.country" = "GB", plan = "pro" }', ("GB", "pro")),
        ("group = { plan = 3, user.country = true }", (True, 3)),
        ("group.plan = 2.0\ngroup.user.country = 0.5", (0.5, 2)),
        ('group_by = "each"', None),
    ],
)
def test_groups(written: str, group: Any) -> None:
    text = f'counter = "gifts"\nwindow = "20s"\nmeasure = "sum(amount)"\ncomparison = "<"\nthreshold = 1\n{written}'
    source = metric_of(text).source
    assert source == CounterSource(counter="gifts", window_ms=20_000, measure="sum(amount)", group=group, groups_max=100)
    assert [type(value) for value in source.group or ()] == [type(value) for value in group or ()]


def test_a_number_of_groups() -> None:
    source = metric_of(
        'counter = "events"\nwindow = "1h"\ngroup_by = "each"\ngroups_max = 10000\ncomparison = "<"\nthreshold = 1'
    ).source
    assert isinstance(source, CounterSource)
    assert source.groups_max == 10_000


def test_alarms_on_tallystream_itself() -> None:
    assert metric_of(DISK).source == SystemSource(metric="disk_free_percent", window_ms=60_000)
    assert metric_of(DISK + 'window = "10s"').source == SystemSource(metric="disk_free_percent", window_ms=10_000)


def test_composite_alarms() -> None:
    text = f'{LOW}[[alarm]]\nname = "b"\nwhen = " a and not c "\nnotify = ["ops"]\n[[alarm]]\nname = "c"\nwhen = "a"'
    assert parse_definition(f'{HEAD}[[alarm]]\nname = "a"\n{text}').alarms[1:] == (
        CompositeAlarm(name="b", description="", when="a and not c", actions=Actions(alarm=("ops",), ok=("ops",))),
        CompositeAlarm(name="c", description="", when="a", actions=Actions()),
    )


EMAIL = 'type = "email"\nto = ["a@b.example", "c.d+e@x-y.example"]\nfrom = "t@b.example"\nhost = "smtp.b.example"\n'


@pytest.mark.parametrize(
    ("more", "port", "tls"),
    [
        ("", 587, "starttls"),
        ('tls = "starttls"', 587, "starttls"),
        ('tls = "tls"', 465, "tls"),
        ('tls = "none"', 25, "none"),
        ('tls = "none"\nport = 2525', 2525, "none"),
    ],
)
def test_email(more: str, port: int, tls: Any) -> None:
    assert channel_of(EMAIL + more) == EmailChannel(
        name="c",
        group_wait_ms=10_000,
        to=("a@b.example", "c.d+e@x-y.example"),
        sender="t@b.example",
        host="smtp.b.example",
        port=port,
        tls=tls,
        username=None,
        password_env=None,
    )


def test_email_with_login() -> None:
    channel = channel_of(f'{EMAIL}username = "me @ home"\npassword_env = "SMTP_PASSWORD"\ngroup_wait = "1m"')
    assert isinstance(channel, EmailChannel)
    assert (channel.username, channel.password_env, channel.group_wait_ms) == ("me @ home", "SMTP_PASSWORD", 60_000)


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1", "mail_1.example.", "::1", "2001:db8::25"])
def test_hosts(host: str) -> None:
    channel = channel_of(EMAIL.replace("smtp.b.example", host))
    assert isinstance(channel, EmailChannel)
    assert channel.host == host


def test_other_channels() -> None:
    assert channel_of('type = "webhook"\nurl = "HTTPS://example.com:8443/a?b=c"\nsecret_env = "S"') == WebhookChannel(
        name="c", group_wait_ms=0, url="HTTPS://example.com:8443/a?b=c", url_env=None, secret_env="S", allow_private=False
    )
    assert channel_of('type = "webhook"\nurl_env = "U"\nallow_private = true\ngroup_wait = "5s"') == WebhookChannel(
        name="c", group_wait_ms=5_000, url=None, url_env="U", secret_env=None, allow_private=True
    )
    assert channel_of('type = "slack"\nurl_env = "U"') == SlackChannel(
        name="c", group_wait_ms=10_000, url=None, url_env="U", allow_private=False
    )
    assert channel_of('type = "command"\ncommand = ["/bin/echo", "", "a b"]\ngroup_wait = "00m"'.replace('"", ', "")) == (
        CommandChannel(name="c", group_wait_ms=0, command=("/bin/echo", "a b"))
    )


def test_mutes() -> None:
    assert mute_of("") == MuteSchedule(name="m", alarms=(), days=WEEKDAYS, from_minute=0, to_minute=0, timezone="UTC", note="")
    text = 'days = ["sun", "sat"]\nfrom = "22:00"\nto = "06:05"\ntimezone = "Europe/London"\nnote = "Quiet."'
    assert mute_of(text) == MuteSchedule(
        name="m", alarms=(), days=("sat", "sun"), from_minute=1320, to_minute=365, timezone="Europe/London", note="Quiet."
    )
    named = parse_definition(f'{HEAD}[[mute]]\nname = "m"\nalarms = ["a"]\n[[alarm]]\nname = "a"\n{DISK}')
    assert named.mutes[0].alarms == ("a",)


# Mistakes. Each row is an alarm.


@pytest.mark.parametrize(
    ("text", "key", "found", "allowed", "remedy"),
    [
        ("", "", "none of them", "exactly one of counter, system and when", 'counter = "events"'),
        (LOW + DISK.partition("\n")[0], "", "counter and system", "exactly one", "keep one of them"),
        ('when = "b"\n' + DISK, "", "system and when", "exactly one", "keep one of them"),
        (LOW.replace("counter", "countr"), ".countr", "an unknown key", "counter", "did you mean counter?"),
        (LOW.replace('"all"', '"alll"'), ".counter", '"alll"', "[[counter]]: one of events, gifts, all", "did you mean all?"),
        (LOW.replace('"all"', '"x"'), ".counter", '"x"', "one of events", 'add [[counter]] with name = "x"'),
        (LOW.replace('"all"', '"a b"'), ".counter", '"a b"', "1 to 64 letters", "events"),
        (
            LOW.replace('"1m"', '"1h"'),
            ".window",
            '"1h"',
            'of counter "all": 1m, 1d',
            'or add 1h to the windows of counter "all"',
        ),
        (LOW.replace('window = "1m"', ""), ".window", "nothing", "one of the counter's windows", "add it"),
        (LOW.replace('"1m"', '"7m"'), ".window", '"7m"', "divides a day", 'write "6m" or "8m"'),
        (LOW + 'measure = "sum(fee)"', ".measure", '"sum(fee)"', "a measure of", 'add "sum(fee)" to the measures of'),
        (LOW + 'measure = "average(fee)"', ".measure", '"average(fee)"', '"mean(field)"', 'write "mean(fee)"'),
        (LOW + 'group = { event = "x" }', ".group", "where there are no groups", "neither", "remove it"),
        (LOW + 'group_by = "each"', ".group_by", "where there are no groups", "neither", "remove it"),
        (LOW + 'group = "x"', ".group", '"x"', "a table with a value", "event"),
        (LOW + "groups_max = 5", ".groups_max", "without group_by", "together", "add group_by"),
        (LOW.replace('comparison = "<"', ""), ".comparison", "nothing", '"<"', "add it"),
        (LOW.replace('"<"', '"=<"'), ".comparison", '"=<"', '"<" or "<=" or', "did you mean"),
        (LOW.replace('"<"', '"outside"'), ".comparison", '"outside"', 'with threshold, "<"', "use band"),
        (
            LOW.replace("threshold = 5", ""),
            ".threshold",
            "nothing",
            "one of threshold, threshold_percent, band",
            "threshold = 5",
        ),
        (LOW + "band = 3", "", "threshold and band", "exactly one of", "keep one of them"),
        (LOW + 'baseline = "1d"', ".baseline", "without threshold_percent", "alone", "write threshold_percent instead of"),
        (LOW + "weeks = 3", ".weeks", "weeks without band", "alone", "remove it"),
        (LOW.replace("5", '"5"'), ".threshold", '"5"', "a number from -10^30 to 10^30", "without quotes"),
        (LOW.replace("5", "true"), ".threshold", "true", "a number", "without quotes"),
        (LOW.replace("5", "nan"), ".threshold", "NaN", "a number", "without quotes"),
        (LOW.replace("5", "-inf"), ".threshold", "-Infinity", "a number", "without quotes"),
        (LOW.replace("5", "1.1e30"), ".threshold", "1.1E+30", "a number", "without quotes"),
        (LOW.replace("5", "1e-19"), ".threshold", "1E-19", "at most 18 decimals", "without quotes"),
        (LOW + "clear_threshold = 4", ".clear_threshold", "4", "at least threshold, 5", "larger"),
        (LOW.replace("<", ">=") + "clear_threshold = 5.5", ".clear_threshold", "5.5", "at most threshold, 5", "smaller"),
        (LOW + "evaluation_periods = 0", ".evaluation_periods", "0", "from 1 to", "without quotes"),
        (LOW + "datapoints_to_alarm = 2", ".datapoints_to_alarm", "2", "at most evaluation_periods, 1", "smaller number"),
        (LOW + "evaluation_periods = 1441", ".evaluation_periods", "1441 windows of 1m", "at most 1d", "write 1440 or less"),
        (LOW.replace("1m", "1d") + "evaluation_periods = 8", ".evaluation_periods", "8 windows of 1d", "at most 7d", "write 7"),
        (
            EACH + "groups_max = 10000\nevaluation_periods = 26",
            ".groups_max",
            "10000 groups of 26 windows",
            "at most 250000 datapoints",
            "write 9615 or less",
        ),
        (EACH + 'evaluation_periods = 1400\ndelay = "1d"', ".groups_max", "100 groups of 2840 windows", "250000", "88 or less"),
        (LOW + 'treat_missing_data = "notbreaching"', ".treat_missing_data", "notb", '"notBreaching"', 'mean "notBreaching"?'),
        (LOW + 'wait = "late"', ".wait", '"late"', '"complete" or "early"', 'did you mean "complete"?'),
        (LOW + 'delay = "2d"', ".delay", '"2d"', "to 1d", 'write "1d" or less'),
        (LOW + f'description = "{"x" * 1025}"', ".description", "xxx", "1,024", "a sentence"),
        (LOW + 'notify = ["op"]', ".notify[0]", '"op"', "[[notify]]: one of ops", "did you mean ops?"),
        (LOW + 'notify = ["ops", "ops"]', ".notify[1]", '"ops", the same', "each value once", "remove"),
        (LOW + 'notify = "ops"', ".notify", '"ops"', "or a table of such lists", "in square brackets"),
        (LOW + 'notify = ["o p"]', ".notify[0]", '"o p"', "1 to 64 letters", "support"),
        (LOW + 'notify = { alarm = ["x"] }', ".notify.alarm[0]", '"x"', "one of ops", 'add [[notify]] with name = "x"'),
        (LOW + 'notify = { alert = ["ops"] }', ".notify.alert", "an unknown key", "alarm, ok, insufficient_data", "alarm?"),
        (LOW + "notify = { ok = 1 }", ".notify.ok", "1", "a list, each", "in square brackets"),
        (DISK + 'measure = "count"', ".measure", "measure beside system", "the keys name, description", "remove it"),
        (DISK + 'clear_threshold = 4\nbaseline = "1d"', ".baseline", "baseline beside system", "keys", "remove it"),
        (DISK.replace("threshold = 5", ""), ".threshold", "nothing", "a number", "add it"),
        (DISK.replace("free", "used"), ".system", '"disk_used_percent"', '"disk_free_percent"', 'mean "disk_free_percent"?'),
        (DISK + 'window = "40s"', ".window", '"40s"', "10s, 20s, 30s or whole minutes", "another"),
        ('when = "b"', ".when", '"b"', "the name of a [[alarm]]: one of a", 'add [[alarm]] with name = "b"'),
        ('when = "a"', ".when", "a circle: a reads a", "read themselves", "take one of these names out"),
        ('when = "a or"', ".when, character 5", "nothing", "names of alarms", "name an alarm here"),
        ('when = ""', ".when", '""', "names of alarms", "page-views-low"),
        (
            DISK.replace("system", 'when = "b"\nsystem').replace("system", "#"),
            ".comparison",
            "beside when",
            "when",
            "remove it",
        ),
    ],
)
def test_mistakes_in_an_alarm(text: str, key: str, found: str, allowed: str, remedy: str) -> None:
    problems = problems_of(f'[[alarm]]\nname = "a"\n{text}')
    problem = problems[0]
    assert problem.key == f'alarm "a"{key}'
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


@pytest.mark.parametrize("name", ["history", "mutes"])
def test_no_alarm_is_called_like_what_the_api_has_beside_alarms(name: str) -> None:
    (problem,) = problems_of(f'[[alarm]]\nname = "{name}"\n{LOW}')
    assert problem.key == f'alarm "{name}".name'
    assert problem.remedy == f"choose another name: /v1/alarms/{name} is something else"


GIFTS = 'counter = "gifts"\nwindow = "20s"\ncomparison = "<"\n'
EVENTS = 'counter = "events"\nwindow = "1m"\ngroup_by = "each"\ncomparison = "<"\n'


@pytest.mark.parametrize(
    ("text", "key", "found", "allowed", "remedy"),
    [
        (GIFTS, ".group", "nothing", 'user.country, plan, or group_by = "each"', '{ "user.country" = "…", plan = "…" }'),
        (GIFTS + 'group_by = "each"\ngroup = { plan = 1 }', ".group", "group and group_by", "or", "remove one of them"),
        (GIFTS + "group = { plan = 1 }", ".group", "no user.country", "each of user.country, plan", "add user.country"),
        (GIFTS + "group = {}", ".group", "no user.country and no plan", "each of", "add user.country and plan"),
        (GIFTS + "group = { plan = 1, user.country = 1, x = 1 }", ".group.x", "an unknown field", "each of", "remove it"),
        (
            GIFTS + 'group = { plan = 1, "user.contry" = 1 }',
            '.group."user.contry"',
            "an unknown field",
            "each of",
            "did you mean user.country?",
        ),
        (GIFTS + "group = { plan = [], user.country = 1 }", ".group.plan", "an empty list", "text of", "as the events"),
        (GIFTS + "group = { plan = inf, user.country = 1 }", ".group.plan", "Infinity", "a number", "as the events"),
        (GIFTS + "group = { plan = 1e400, user.country = 1 }", ".group.plan", "1E+400", "a number", "as the events"),
        (GIFTS + f"group = {{ plan = {2**64}, user.country = 1 }}", ".group.plan", str(2**64), "a number", "as the events"),
        (GIFTS + f'group = {{ plan = "{"x" * 1025}", user.country = 1 }}', ".group.plan", "xx", "1,024", "as the events"),
        (
            GIFTS + 'group = { plan = 1, user.country = 1, "user.country" = 2 }',
            '.group."user.country"',
            "the same field",
            "once",
            "remove",
        ),
        (GIFTS + 'group_by = "all"', ".group_by", '"all"', '"each"', "write one of them"),
    ],
)
def test_mistakes_in_groups(text: str, key: str, found: str, allowed: str, remedy: str) -> None:
    (problem,) = problems_of(f'[[alarm]]\nname = "a"\nthreshold = 1\n{text}')
    assert problem.key == f'alarm "a"{key}'
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("text", "key", "found", "allowed", "remedy"),
    [
        ("threshold_percent = -50", ".baseline", "nothing", "how long ago", '"7d"'),
        ('threshold_percent = -101\nbaseline = "7d"', ".threshold_percent", "-101", "from -100 to 1000000", "without quotes"),
        ('threshold_percent = 5\nbaseline = "90s"', ".baseline", '"90s"', "a multiple of window, 1m", '"7d"'),
        ('threshold_percent = 5\nbaseline = "400d"', ".baseline", '"400d"', "to 366d", '"366d" or less'),
        (
            'threshold_percent = 5\nbaseline = "40d"',
            ".baseline",
            "a look back by 40d",
            'counter "events".keep, 40d',
            "keep rows",
        ),
        (
            'threshold_percent = -50\nclear_threshold_percent = -60\nbaseline = "7d"',
            ".clear_threshold_percent",
            "-60",
            "at least threshold_percent, -50",
            "larger",
        ),
        ("band = 0.4", ".band", "0.4", "from 0.5 to 100", "without quotes"),
        ("band = 3\nclear_band = 4", ".clear_band", "4", "at most band, 3: a band that clears is narrower", "smaller"),
        ("band = 3\nweeks = 6", ".weeks", "a look back by 42d", "less than", "shorten it"),
        ("band = 3\nweeks = 27", ".weeks", "27", "from 1 to 26", "without quotes"),
        ("band = 3\nclear_threshold = 4", ".clear_threshold", "without threshold", "alone", "instead of band"),
    ],
)
def test_mistakes_in_conditions_on_the_past(text: str, key: str, found: str, allowed: str, remedy: str) -> None:
    (problem,) = problems_of(f'[[alarm]]\nname = "a"\n{EVENTS}{text}')
    assert problem.key == f'alarm "a"{key}'
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


def test_a_band_is_learnt_from_enough_windows() -> None:
    (problem,) = problems_of(f'[[alarm]]\nname = "a"\n{EVENTS.replace("1m", "1h")}band = 3\nweeks = 2')
    allowed = "from 3 up: a band is learnt from at least 8 windows, and windows are few"
    assert problem == Problem('alarm "a".weeks', "2, with windows of 1h", allowed, "write 3")


def test_a_band_has_no_comparison_with_its_edge() -> None:
    (problem,) = problems_of(f'[[alarm]]\nname = "a"\n{EVENTS.replace("<", ">=")}band = 3')
    assert problem == Problem('alarm "a".comparison', '">="', 'with a band, "<", ">" or "outside"', 'write ">"')


def test_alarms_that_read_each_other_in_circles() -> None:
    rules = {"a": "b", "b": "c or x", "c": "a", "d": "d", "e": "a and d", "x": "e"}
    problems = problems_of("".join(f'[[alarm]]\nname = "{name}"\nwhen = "{rule}"\n' for name, rule in rules.items()))
    assert problems
    assert {problem.found.partition(":")[0] for problem in problems} == {"a circle"}
    assert {name for problem in problems for name in problem.found.removeprefix("a circle: ").split(" reads ")} >= set("abcd")


# Mistakes in channels and mutes.


@pytest.mark.parametrize(
    ("text", "key", "found", "allowed", "remedy"),
    [
        ("", ".type", "nothing", '"email" or "webhook"', "add it"),
        ('type = "mail"', ".type", '"mail"', '"email" or', 'did you mean "email"?'),
        ("type = 5", ".type", "5", '"command"', "write one of them"),
        ('type = "command"', ".command", "nothing", "a list, each text", "add it"),
        ('type = "command"\ncommand = "x"', ".command", '"x"', "a list, each text", "in square brackets"),
        ('type = "command"\ncommand = []', ".command", "an empty list", "at least 1", "add one"),
        ('type = "command"\ncommand = ["x"]\nurl = "x"', ".url", "an unknown key", "type, name, command", "remove it"),
        ('type = "command"\ncommand = ["x"]\ngroup_wait = "2d"', ".group_wait", '"2d"', "from 0s to 1d", '"1d" or less'),
        ('type = "command"\ncommand = ["x"]\ngroup_wait = 0', ".group_wait", "0", "from 0s to 1d", "for example"),
        ('type = "slack"', ".url", "nothing", "exactly one of url and url_env", "url_env"),
        ('type = "slack"\nurl = "https://x"\nurl_env = "X"', ".url", "url and url_env", "exactly one", "remove one"),
        ('type = "slack"\nurl_env = "$SLACK"', ".url_env", '"$SLACK"', "an environment variable", 'write "SLACK"'),
        ('type = "slack"\nurl_env = "a b"', ".url_env", '"a b"', "an environment variable", "put the secret itself"),
        ('type = "webhook"\nurl = "example.com"', ".url", '"example.com"', "begins with https://", "for example"),
        ('type = "webhook"\nurl = "https://"', ".url", '"https://"', "a URL", "for example"),
        ('type = "webhook"\nurl = "https:///x"', ".url", '"https:///x"', "a URL", "write a host"),
        ('type = "webhook"\nurl = "https://h:0/"', ".url", ":0/", "a URL", "a port from 1 to 65535"),
        ('type = "webhook"\nurl = "https://h:99999/"', ".url", ":99999", "a URL", "a port from 1 to 65535"),
        ('type = "webhook"\nurl = "https://me:secret@h/"', ".url", "@h", "a URL", "name that one in url_env"),
        ('type = "webhook"\nurl = "https://a b"', ".url", "a b", "without blanks", "for example"),
        (
            'type = "webhook"\nurl_env = "U"\nallow_private = "yes"',
            ".allow_private",
            '"yes"',
            "true or false",
            "without quotes",
        ),
        (EMAIL.replace('["a@b.example", "c.d+e@x-y.example"]', "[]"), ".to", "an empty list", "at least 1", "add one"),
        (EMAIL.replace("c.d+e@x-y.example", "a@b.example"), ".to[1]", "the same as", "each value once", "remove"),
        (EMAIL.replace("a@b.example", "Ann <a@b.example>"), ".to[0]", "Ann", "an e-mail address", 'write "a@b.example"'),
        (EMAIL.replace("t@b.example", "t"), ".from", '"t"', "an e-mail address", "support@example.com"),
        (EMAIL.replace("t@b.example", "tö@b.example"), ".from", "tö", "in ASCII", "support@example.com"),
        (EMAIL.replace("t@b.example", "t@b\\r\\nBcc: x@y"), ".from", "Bcc", "an e-mail address", "support@example.com"),
        (EMAIL.replace('from = "t@b.example"\n', ""), ".from", "nothing", "an e-mail address", "add it"),
        (
            EMAIL.replace("smtp.b.example", "smtp.b.example:25"),
            ".host",
            ":25",
            "server",
            'host = "smtp.b.example" and port = 25',
        ),
        (EMAIL.replace("smtp.b.example", "smtps://b/"), ".host", "smtps", "server", 'write host = "b"'),
        (EMAIL.replace("smtp.b.example", "abc:25"), ".host", "abc:25", "server", "a port goes into port"),
        (EMAIL.replace("smtp.b.example", "a b"), ".host", "a b", "server", "for example"),
        (EMAIL + 'username = "x"', ".password_env", "username alone", "together", "add password_env, or remove username"),
        (EMAIL + 'password_env = "X"', ".username", "password_env alone", "together", "add username"),
        (EMAIL + "port = 65536", ".port", "65536", "from 1 to 65535", "without quotes"),
        (EMAIL + 'tls = "ssl"', ".tls", '"ssl"', '"starttls"', '"tls"'),
    ],
)
def test_mistakes_in_a_channel(text: str, key: str, found: str, allowed: str, remedy: str) -> None:
    (problem,) = problems_of(f'[[notify]]\nname = "c"\n{text}')
    assert problem.key == f'notify "c"{key}'
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


@pytest.mark.parametrize(
    ("text", "key", "found", "allowed", "remedy"),
    [
        ('alarms = ["b"]', ".alarms[0]", '"b"', "the name of a [[alarm]]: there is none yet", 'add [[alarm]] with name = "b"'),
        ("alarms = []", ".alarms", "an empty list", "at least 1", "add one"),
        ("days = []", ".days", "an empty list", "at least 1", "add one"),
        ('days = "sun"', ".days", '"sun"', 'a list, each "fri"', "in square brackets"),
        ('days = ["sunday"]', ".days[0]", '"sunday"', '"sun"', 'did you mean "sun"?'),
        ('days = ["sun", "sun"]', ".days[1]", '"sun", the same', "each value once", "remove"),
        ('from = "22:00"', ".to", "from alone", "from and to together", "add to"),
        ('to = "22:00"', ".from", "to alone", "from and to together", "add from"),
        ('from = "22:00"\nto = "22:00"', ".to", "the same time as from", "that differ", "remove both"),
        ('from = "8:00"\nto = "09:00"', ".from", '"8:00"', "from 00:00 to 23:59", 'write "08:00"'),
        ('from = "08:00"\nto = "24:00"', ".to", '"24:00"', "from 00:00 to 23:59", 'write "00:00"'),
        ('from = "08:00"\nto = "24:01"', ".to", '"24:01"', "from 00:00 to 23:59", "for example"),
        ('from = "08:00"\nto = "10pm"', ".to", '"10pm"', "from 00:00 to 23:59", 'write "22:00"'),
        ('from = "08:00"\nto = "12.30 AM"', ".to", '"12.30 AM"', "from 00:00 to 23:59", 'write "00:30"'),
        ('from = "08:00"\nto = "noon"', ".to", '"noon"', "from 00:00 to 23:59", "for example"),
        ('timezone = "Europe/Londn"', ".timezone", '"Europe/Londn"', "the IANA name", '"Europe/London"'),
        ('timezone = "Europe"', ".timezone", '"Europe"', "the IANA name", '"Europe/London"'),
        ('timezone = "/etc/passwd"', ".timezone", '"/etc/passwd"', "the IANA name", '"Europe/London"'),
        ('timezone = "../x"', ".timezone", '"../x"', "the IANA name", '"Europe/London"'),
        ('timezone = "a b"', ".timezone", '"a b"', "the IANA name", '"Europe/London"'),
    ],
)
def test_mistakes_in_a_mute(text: str, key: str, found: str, allowed: str, remedy: str) -> None:
    (problem,) = problems_of(f'[[mute]]\nname = "m"\n{text}')
    assert problem.key == f'mute "m"{key}'
    assert found in problem.found
    assert allowed in problem.allowed
    assert remedy in problem.remedy


@pytest.mark.parametrize("value", ["5", "[]", '"ops"'])
@pytest.mark.parametrize("kind", ["alarm", "notify", "mute"])
def test_what_is_no_table(kind: str, value: str) -> None:
    head = HEAD.partition("[[notify]]")[0] if kind == "notify" else HEAD
    with pytest.raises(DefinitionError) as raised:
        parse_definition(f"{kind} = [{value}]\n{head}")
    (problem,) = raised.value.problems
    assert (problem.key, problem.allowed, problem.remedy) == (f"{kind}[0]", "a table", f"write [[{kind}]] above its keys")


def test_of_many_names_some_are_listed() -> None:
    many = "".join(f'[[alarm]]\nname = "alarm-{number}"\n{DISK}' for number in range(100, 200))
    (problem,) = problems_of(f'{many}[[mute]]\nname = "m"\nalarms = ["alarm-99"]')
    assert problem.allowed.endswith("one of " + ", ".join(f"alarm-{number}" for number in range(100, 112)) + " …")
    assert problem.remedy == "did you mean alarm-199?"


def test_names_are_their_own() -> None:
    twice = "".join(
        2 * f'[[{kind}]]\nname = "x"\n{text}\n'
        for kind, text in {"alarm": DISK, "notify": 'type = "slack"\nurl_env = "U"', "mute": ""}.items()
    )
    problems = problems_of(twice)
    assert [problem.key for problem in problems] == ["alarm[1].name", "notify[2].name", "mute[1].name"]
    assert [problem.allowed for problem in problems] == [
        f"a name of its own for each {what}" for what in ("alarm", "channel", "mute")
    ]


def test_one_mistake_is_not_told_as_another() -> None:
    # What is refused may be what others refer to, so nothing is said of those.
    text = f"""
    [[notify]]
    name = "pager"
    type = "pigeon"
    [[alarm]]
    name = "a"
    {DISK}
    notify = ["pager"]
    [[alarm]]
    nam = "b"
    {DISK}
    [[alarm]]
    name = "c"
    when = "a and b"
    [[mute]]
    name = "m"
    alarms = ["b"]
    """
    assert [problem.key for problem in problems_of(text)] == ["alarm[1].nam", 'notify "pager".type']


def test_all_mistakes_are_told_at_once() -> None:
    text = """
    [[alarm]]
    name = "a"
    counter = "gifts"
    window = "40s"
    group = { plan = 1 }
    measure = "sum(fee)"
    threshold = "5"
    evaluation_periods = 2
    datapoints_to_alarm = 3
    notify = { alarm = ["x"], ok = ["y"] }
    [[alarm]]
    when = "a && b"
    [[notify]]
    name = "n"
    type = "webhook"
    allow_private = 1
    [[mute]]
    days = ["sun", "someday"]
    from = "1:00"
    """
    assert [problem.key for problem in problems_of(text)] == [
        'alarm "a".threshold',
        "alarm[1].name",
        "alarm[1].when, character 3",
        'notify "n".allow_private',
        "mute[0].name",
        "mute[0].days[1]",
        "mute[0].from",
        'alarm "a".comparison',
        'alarm "a".datapoints_to_alarm',
        'alarm "a".window',
        'alarm "a".measure',
        'alarm "a".group',
        'alarm "a".notify.alarm[0]',
        'alarm "a".notify.ok[0]',
        'notify "n".url',
        "mute[0].to",
    ]


@pytest.mark.parametrize(
    ("counter", "alarm"),
    [
        ('windows = ["7m"]', 'window = "1m"\n'),
        ('windows = ["1m"]\nmeasures = ["avg(a)"]', 'window = "1m"\nmeasure = "sum(b)"\n'),
        ('windows = ["1m"]\ngroup_by = [""]', 'window = "1m"\ngroup = { a = 1 }\n'),
    ],
)
def test_nothing_is_said_of_what_the_counter_has_wrong(counter: str, alarm: str) -> None:
    text = f'[[counter]]\nname = "k"\n{counter}\n[[alarm]]\nname = "a"\ncounter = "k"\ncomparison = "<"\nthreshold = 1\n{alarm}'
    assert [problem.key.partition(".")[0] for problem in problems_of(text)] == ['counter "k"']


# The schema for editors, and the fingerprint.


@pytest.mark.parametrize(
    "change",
    [
        {"alarm": [{"name": "a b"}]},
        {"alarm": [{"name": "a", "threshold": "5"}]},
        {"alarm": [{"name": "a", "group": {"x": []}}]},
        {"alarm": [{"name": "a", "notify": "ops"}]},
        {"alarm": [{"name": "a", "notify": {"alert": []}}]},
        {"alarm": [{"name": "a", "notify": ["a", "b", "c", "d", "e", "f"]}]},
        {"alarm": [{"name": "a", "comparison": "="}]},
        {"notify": [{"name": "a", "type": "pigeon"}]},
        {"notify": [{"name": "a", "type": "command"}]},
        {"notify": [{"name": "a", "type": "slack", "url": "example.com"}]},
        {"mute": [{"name": "a", "from": "25:00"}]},
    ],
)
def test_the_schema_refuses_what_a_pattern_can_tell(change: dict[str, Any]) -> None:
    document = tomllib.loads(HEAD)
    assert jsonschema.Draft202012Validator(definition_schema()).is_valid(document)
    assert not jsonschema.Draft202012Validator(definition_schema()).is_valid(document | change)


@pytest.mark.parametrize(
    "text",
    [
        LOW.replace("5", "6"),
        LOW.replace("<", "<="),
        LOW + 'notify = ["ops"]',
        LOW + 'description = "x"',
        LOW + 'delay = "1s"',
        LOW + "evaluation_periods = 2",
        DISK,
    ],
)
def test_an_edited_alarm_has_another_fingerprint(text: str) -> None:
    assert alarm_fingerprint(alarm_of(text)) != alarm_fingerprint(alarm_of(LOW))


def test_one_that_is_written_in_another_way_has_the_same() -> None:
    same = LOW.replace("5", "5.0").replace("1m", "60s") + 'measure = "count"\nevaluation_periods = 1\nclear_threshold = 5'
    assert alarm_fingerprint(alarm_of(same)) == alarm_fingerprint(alarm_of(LOW))
    assert len(alarm_fingerprint(alarm_of(LOW))) == 64
