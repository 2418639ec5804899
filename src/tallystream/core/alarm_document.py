"""The shape of alarms, channels and mutes in tally.toml: [[alarm]], [[notify]] and [[mute]] as types."""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tallystream.core.alarm import Comparison, SystemMetric, TreatMissingData
from tallystream.core.alarm_setting import (
    URL,
    Address,
    AlarmName,
    Argument,
    Baseline,
    ChannelName,
    Clock,
    CounterName,
    Delay,
    Deviations,
    EnvironmentName,
    GroupWait,
    Host,
    LoginName,
    MuteName,
    Note,
    Number,
    PastPercent,
    RuleText,
    Zone,
)
from tallystream.core.mute import Weekday
from tallystream.core.setting import DISTINCT, MeasureName, WindowSize

CHANNELS_MAX: Final = 5  # of a state, as in CloudWatch
_CHANNELS = Meta(max_length=CHANNELS_MAX, extra_json_schema=DISTINCT)


class NotifyTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which channels are told when the alarm enters a state."""

    alarm: Annotated[tuple[ChannelName, ...], _CHANNELS, Meta(description="Told when it goes to ALARM.")] = ()
    ok: Annotated[tuple[ChannelName, ...], _CHANNELS, Meta(description="Told when it goes back to OK.")] = ()
    insufficient_data: Annotated[
        tuple[ChannelName, ...], _CHANNELS, Meta(description="Told when it has nothing to judge by any more.")
    ] = ()


class AlarmTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """An alarm: on a counter, on Tallystream itself (`system`), or on other alarms (`when`)."""

    name: Annotated[AlarmName, Meta(description="Name of the alarm, unique.")]
    description: Annotated[
        Note, Meta(description="What it means and what to do; it is in every notification.", examples=["Is the site down?"])
    ] = ""
    counter: Annotated[CounterName, Meta(description="The counter that it watches.")] | UnsetType = UNSET
    system: (
        Annotated[SystemMetric, Meta(description="What it watches of Tallystream itself, instead of a counter.")] | UnsetType
    ) = UNSET
    when: (
        Annotated[
            RuleText,
            Meta(
                description="A rule over other alarms, instead of a counter: in ALARM while it holds.",
                examples=["page-views-low and not (site-down or maintenance)"],
            ),
        ]
        | UnsetType
    ) = UNSET
    window: (
        Annotated[
            WindowSize,
            Meta(description="One of the counter's windows: 10s, 20s, 30s or whole minutes. With system, 1m if left out."),
        ]
        | UnsetType
    ) = UNSET
    measure: (
        Annotated[
            MeasureName,
            Meta(description="One of the counter's measures.", extra_json_schema={"default": "count"}),
        ]
        | UnsetType
    ) = UNSET
    group: (
        Annotated[
            dict[str, Any],
            Meta(
                description="The one group that it watches: a value for each field of the counter's group_by.",
                examples=[{"event": "page view"}],
                extra_json_schema={"additionalProperties": {"type": ["string", "number", "boolean", "object"]}},
            ),
        ]
        | UnsetType
    ) = UNSET
    group_by: (
        Annotated[Literal["each"], Meta(description='"each": every group of the counter has a state of its own.')] | UnsetType
    ) = UNSET
    groups_max: (
        Annotated[
            int,
            Meta(ge=1, le=10_000, description="How many groups are watched, at most.", extra_json_schema={"default": 100}),
        ]
        | UnsetType
    ) = UNSET
    comparison: (
        Annotated[
            Comparison,
            Meta(description='A datapoint breaches when "datapoint comparison threshold" holds; "outside" is for a band.'),
        ]
        | UnsetType
    ) = UNSET
    threshold: Annotated[Number, Meta(description="A fixed bound.")] | UnsetType = UNSET
    clear_threshold: (
        Annotated[Number, Meta(description="While in ALARM, datapoints are held against this bound instead.")] | UnsetType
    ) = UNSET
    threshold_percent: (
        Annotated[
            PastPercent,
            Meta(description="A bound relative to the past: -50 is half of the window `baseline` ago."),
        ]
        | UnsetType
    ) = UNSET
    clear_threshold_percent: (
        Annotated[PastPercent, Meta(description="While in ALARM, this percentage holds instead.")] | UnsetType
    ) = UNSET
    baseline: (
        Annotated[
            Baseline,
            Meta(description="How long ago the window is that is compared with: a multiple of window.", examples=["7d"]),
        ]
        | UnsetType
    ) = UNSET
    band: (
        Annotated[
            Deviations,
            Meta(description="A band learnt from the same hours of past weeks: expected ± so many deviations."),
        ]
        | UnsetType
    ) = UNSET
    clear_band: Annotated[Deviations, Meta(description="While in ALARM, the band is as wide as this.")] | UnsetType = UNSET
    weeks: (
        Annotated[
            int,
            Meta(ge=1, le=26, description="Weeks that the band is learnt from.", extra_json_schema={"default": 4}),
        ]
        | UnsetType
    ) = UNSET
    evaluation_periods: (
        Annotated[
            int,
            Meta(ge=1, le=8_640, description="N: how many of the newest windows decide.", extra_json_schema={"default": 1}),
        ]
        | UnsetType
    ) = UNSET
    datapoints_to_alarm: (
        Annotated[
            int,
            Meta(ge=1, le=8_640, description="M: how many of the N must breach. Left out: all of them."),
        ]
        | UnsetType
    ) = UNSET
    treat_missing_data: (
        Annotated[
            TreatMissingData,
            Meta(description="What a window without data stands for.", extra_json_schema={"default": "missing"}),
        ]
        | UnsetType
    ) = UNSET
    wait: (
        Annotated[
            Literal["early", "complete"],
            Meta(
                description='"early": an open window counts once nothing can undo its breach; "complete": only after its end.',
                extra_json_schema={"default": "early"},
            ),
        ]
        | UnsetType
    ) = UNSET
    delay: (
        Annotated[
            Delay,
            Meta(description="How long after its end a window still waits for late events. Left out: not at all."),
        ]
        | UnsetType
    ) = UNSET
    notify: (
        Annotated[
            Annotated[tuple[ChannelName, ...], _CHANNELS] | NotifyTable,
            Meta(description="Channels to tell of ALARM and of OK, or a table of channels for each state."),
        ]
        | UnsetType
    ) = UNSET


class EmailTable(Struct, forbid_unknown_fields=True, kw_only=True, tag="email", tag_field="type"):
    """A channel: e-mail through an SMTP server."""

    name: Annotated[ChannelName, Meta(description="Name of the channel, unique.")]
    to: Annotated[
        tuple[Address, ...], Meta(min_length=1, max_length=50, extra_json_schema=DISTINCT, description="Who gets the mail.")
    ]
    sender: Annotated[Address, Meta(description="The address that it comes from.")] = field(name="from")
    host: Annotated[Host, Meta(description="The SMTP server.")]
    port: (
        Annotated[int, Meta(ge=1, le=65_535, description="Its port. Left out: 587 with starttls, 465 with tls, 25 with none.")]
        | UnsetType
    ) = UNSET
    tls: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description='"starttls": encrypted after a greeting; "tls": from the first byte; "none": not encrypted.'),
    ] = "starttls"
    username: (
        Annotated[
            LoginName,
            Meta(description="Name to log in with. Left out: no login."),
        ]
        | UnsetType
    ) = UNSET
    password_env: (
        Annotated[EnvironmentName, Meta(description="Name of the environment variable that holds the password.")] | UnsetType
    ) = UNSET
    group_wait: Annotated[
        GroupWait, Meta(description="How long the first notification waits for others; 0s: each is sent alone.")
    ] = "10s"


class WebhookTable(Struct, forbid_unknown_fields=True, kw_only=True, tag="webhook", tag_field="type"):
    """A channel: JSON in the format of SNS, sent to a URL."""

    name: Annotated[ChannelName, Meta(description="Name of the channel, unique.")]
    url: Annotated[URL, Meta(description="Where it is sent.")] | UnsetType = UNSET
    url_env: (
        Annotated[EnvironmentName, Meta(description="Name of the environment variable that holds the URL, if it is a secret.")]
        | UnsetType
    ) = UNSET
    secret_env: (
        Annotated[EnvironmentName, Meta(description="Name of the environment variable that holds the key of the signature.")]
        | UnsetType
    ) = UNSET
    allow_private: Annotated[bool, Meta(description="Whether the host may be in a private network.")] = False
    group_wait: Annotated[
        GroupWait, Meta(description="How long the first notification waits for others; 0s: each is sent alone.")
    ] = "0s"


class SlackTable(Struct, forbid_unknown_fields=True, kw_only=True, tag="slack", tag_field="type"):
    """A channel: an incoming webhook of Slack, or of a chat that takes the same."""

    name: Annotated[ChannelName, Meta(description="Name of the channel, unique.")]
    url_env: (
        Annotated[EnvironmentName, Meta(description="Name of the environment variable that holds the URL.")] | UnsetType
    ) = UNSET
    url: Annotated[URL, Meta(description="The URL itself. Who has it can post there: url_env is better.")] | UnsetType = UNSET
    allow_private: Annotated[bool, Meta(description="Whether the host may be in a private network.")] = False
    group_wait: Annotated[
        GroupWait, Meta(description="How long the first notification waits for others; 0s: each is sent alone.")
    ] = "10s"


class CommandTable(Struct, forbid_unknown_fields=True, kw_only=True, tag="command", tag_field="type"):
    """A channel: a program that is run, without a shell."""

    name: Annotated[ChannelName, Meta(description="Name of the channel, unique.")]
    command: Annotated[
        tuple[Argument, ...],
        Meta(min_length=1, max_length=64, description="The program and its arguments.", examples=[["/usr/local/bin/on-alarm"]]),
    ]
    group_wait: Annotated[
        GroupWait, Meta(description="How long the first notification waits for others; 0s: each is sent alone.")
    ] = "10s"


ChannelTable = EmailTable | WebhookTable | SlackTable | CommandTable


class MuteTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """Times of the week at which alarms tell nobody. They are evaluated all the same."""

    name: Annotated[MuteName, Meta(description="Name of the mute, unique.")]
    alarms: (
        Annotated[
            tuple[AlarmName, ...],
            Meta(min_length=1, description="The alarms that it mutes. Left out: all.", extra_json_schema=DISTINCT),
        ]
        | UnsetType
    ) = UNSET
    days: (
        Annotated[
            tuple[Weekday, ...],
            Meta(min_length=1, description="The days on which it begins. Left out: every day.", extra_json_schema=DISTINCT),
        ]
        | UnsetType
    ) = UNSET
    start: Annotated[Clock, Meta(description="When it begins, such as 22:00. Left out, with to: whole days.")] | UnsetType = (
        field(default=UNSET, name="from")
    )
    end: (
        Annotated[Clock, Meta(description="When it ends; if that is not later than from, it is on the next day.")] | UnsetType
    ) = field(default=UNSET, name="to")
    timezone: Annotated[Zone, Meta(description="Whose clock and days are meant: an IANA name.")] = "UTC"
    note: Annotated[Note, Meta(description="Why; shown with the alarms that it mutes.")] = ""
