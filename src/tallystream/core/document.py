"""The shape of tally.toml: its tables as types, for the reader and for editors alike."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from tallystream.core.alarm_document import AlarmTable, ChannelTable, MuteTable
from tallystream.core.setting import (
    DAY_MS,
    DISTINCT,
    DottedPath,
    Duration,
    Expression,
    MeasureName,
    Origin,
    WindowSize,
    duration_kind,
    name_kind,
    text_kind,
)
from tallystream.core.window import UNITS_MS

RETENTION_MS_MIN: Final = UNITS_MS["m"]
RETENTION_MS_MAX: Final = 30 * DAY_MS  # rejected events are kept for 30 days, and `tally verify` compares them with the stream

_COUNTER_NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"


def _parse_counter_name(text: str) -> str:
    if text.lower().startswith("tally"):
        raise ValueError('choose a name that does not start with "tally": such names are Tallystream\'s own')
    return text


class StreamTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """The stream: where an event's time is, how long raw events stay, and which events come too late or too early."""

    event_time: Annotated[
        DottedPath,
        Meta(
            description="Dotted path of the event's time: ISO 8601 (no offset means UTC), or epoch s, ms, us or ns.",
            examples=["utc_timestamp"],
        ),
    ]
    missing_event_time: Annotated[
        Literal["reject", "arrival"],
        Meta(description='What becomes of an event without a time: "reject" it, or give it the time of its "arrival".'),
    ] = "reject"
    event_id: (
        Annotated[
            DottedPath,
            Meta(description="Dotted path of an id; a second event with the same id is a duplicate and is not counted."),
        ]
        | UnsetType
    ) = UNSET
    partition_key: (
        Annotated[
            DottedPath,
            Meta(description="Dotted path of the value that chooses the shard. Left out: the shards take turns."),
        ]
        | UnsetType
    ) = UNSET
    shards: Annotated[int, Meta(ge=1, le=64, description="How many shards the stream has.")] = 2
    retention: Annotated[
        str,
        duration_kind(RETENTION_MS_MIN, RETENTION_MS_MAX),
        Meta(description="How long raw events stay readable, 1m to 30d."),
    ] = "24h"
    allowed_lateness: (
        Annotated[
            Duration,
            Meta(description="An event older than this on arrival is late and is not counted. Left out: no bound."),
        ]
        | UnsetType
    ) = UNSET
    allowed_future: (
        Annotated[
            Duration,
            Meta(description="An event further ahead than this on arrival is rejected. Left out: no bound."),
        ]
        | UnsetType
    ) = UNSET
    backlog_events_max: Annotated[
        int,
        Meta(ge=1_000, description="New events are refused (429) while more than this many wait to be counted."),
    ] = 5_000_000


class CounterTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """A counter: which events it counts, in which groups and windows, and what it measures."""

    name: Annotated[
        str,
        text_kind(
            _COUNTER_NAME,
            '1 to 64 letters, digits, _ and -, beginning with a letter or _, but not with "tally"',
            'write for example "page_views"',
            _parse_counter_name,
        ),
        Meta(
            description='Name of the counter, unique; it does not begin with "tally".',
            extra_json_schema={"not": {"pattern": "^[Tt][Aa][Ll][Ll][Yy]"}},
        ),
    ]
    where: (
        Annotated[
            Expression,
            Meta(
                description="Condition on the event's fields. Left out: every event is counted.",
                examples=["event == 'donation' and amount > 0"],
            ),
        ]
        | UnsetType
    ) = UNSET
    group_by: Annotated[
        tuple[DottedPath, ...],
        Meta(
            max_length=8,
            description="Dotted paths; each combination of their values is counted apart. Empty: one total.",
            extra_json_schema=DISTINCT,
        ),
    ] = ()
    windows: Annotated[
        tuple[WindowSize, ...],
        Meta(
            min_length=1,
            max_length=8,
            description="Window sizes from 10s to 1d, each a divisor of a day and a multiple of the smallest.",
            examples=[["1m", "1h"]],
            extra_json_schema=DISTINCT,
        ),
    ]
    measures: Annotated[
        tuple[MeasureName, ...],
        Meta(
            max_length=16,
            description="What is kept for each group and window. The count always is.",
            extra_json_schema=DISTINCT,
        ),
    ] = ("count",)
    keep: (
        Annotated[
            Duration,
            Meta(description="How long a row lives after its last write; longer than the retention. Left out: for ever."),
        ]
        | UnsetType
    ) = UNSET


class BrowserTable(Struct, forbid_unknown_fields=True, kw_only=True):
    """Events straight from web pages, with tally.js."""

    key: Annotated[
        str,
        name_kind("my-site"),
        Meta(description="The data-key of the script element. Anyone can read it: it protects nothing."),
    ]
    origins: Annotated[
        tuple[Origin, ...],
        Meta(
            min_length=1,
            description="The sites whose pages may send events.",
            examples=[["https://www.example.com"]],
            extra_json_schema=DISTINCT,
        ),
    ]


class Document(Struct, forbid_unknown_fields=True, kw_only=True):
    """A tally.toml: what Tallystream counts, and how."""

    name: Annotated[
        str,
        name_kind("web-analytics"),
        Meta(description="Name of this definition, shown on the dashboard."),
    ]
    stream: StreamTable
    counter: Annotated[tuple[CounterTable, ...], Meta(min_length=1, description="The counters, at least one.")]
    browser: BrowserTable | UnsetType = UNSET
    alarm: Annotated[tuple[AlarmTable, ...], Meta(description="The alarms.")] = ()
    notify: Annotated[tuple[ChannelTable, ...], Meta(description="The channels that alarms notify.")] = ()
    mute: Annotated[tuple[MuteTable, ...], Meta(description="Times of the week at which alarms tell nobody.")] = ()


def document_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of tally.toml, made of the types above."""
    schema = msgspec.json.schema(Document)
    for table in schema["$defs"].values():
        if "type" in table["properties"]:  # the tag of a channel, which is no field that could have a description
            table["properties"]["type"]["description"] = "Which kind of channel it is."
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
