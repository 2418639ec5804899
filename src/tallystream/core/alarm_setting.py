"""What a single value of an alarm, a channel or a mute may be, beyond the kinds of setting.py."""

import re
from ipaddress import ip_address
from typing import Annotated, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from msgspec import Meta

from tallystream.core.composite import RULE_CHARACTERS_MAX, parse_rule
from tallystream.core.setting import DAY_MS, duration_kind, name_kind, text_kind

NUMBER_MAX: Final = 10**30

RESERVED_NAMES: Final = ("history", "mutes")
"""No alarm is called like these: GET /v1/alarms/{name} could not tell them apart from what is there."""

_URL = r"^[Hh][Tt][Tt][Pp][Ss]?://[!-~]{1,2000}$"


def _parse_alarm_name(text: str) -> str:
    if text in RESERVED_NAMES:
        raise ValueError(f"choose another name: /v1/alarms/{text} is something else")
    return text


def _parse_url(text: str) -> str:
    try:
        url = urlsplit(text)
        is_right = bool(url.hostname) and url.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError('write a host, for example "https://example.com/alarms", and a port from 1 to 65535 or none')
    if "@" in text.split("/")[2]:
        raise ValueError("put the URL, which holds a password, into an environment variable and name that one in url_env")
    return text


def _mend_environment_name(text: str) -> str | None:
    match = re.fullmatch(r"\$?\{?([A-Za-z_][A-Za-z0-9_]{0,127})\}?", text)
    return f'write "{match[1]}": the name alone' if match else None


def _mend_address(text: str) -> str | None:
    match = re.search(r"<([^<>\s@]+@[^<>\s@]+)>", text)
    return f'write "{match[1]}": the address alone' if match else None


def _parse_host(text: str) -> str:
    if ":" in text:
        try:
            return str(ip_address(text))
        except ValueError:
            raise ValueError("write the host alone; a port goes into port") from None
    return text


def _mend_host(text: str) -> str | None:
    match = re.fullmatch(r"(?:[a-z]+://)?([A-Za-z0-9_.-]+)(?::([0-9]{1,5}))?/?", text)
    return f'write host = "{match[1]}"' + (f" and port = {match[2]}" if match[2] else "") if match else None


def _parse_clock(text: str) -> int:
    hour, _, minute = text.partition(":")
    return 60 * int(hour) + int(minute)


def _mend_clock(text: str) -> str | None:
    if match := re.fullmatch(r"\s*([0-9]{1,2})(?:[:.h]([0-9]{2}))?\s*([AaPp][Mm])?\s*", text):
        hour, minute = int(match[1]), int(match[2] or 0)
        if match[3] and 1 <= hour <= 12:
            hour = hour % 12 + (12 if match[3].lower() == "pm" else 0)
        if hour <= 23 and minute <= 59:
            return f'write "{hour:02d}:{minute:02d}"'
        if (hour, minute) == (24, 0):
            return 'write "00:00"'
    return None


def _parse_zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except (LookupError, ValueError, OSError):  # of an unknown name, of what is no name, of a folder of names
        raise ValueError('write "UTC", or the name of the IANA database, such as "Europe/London"; not CET+1 or BST') from None


AlarmName = Annotated[
    str,
    text_kind(
        r"^[A-Za-z0-9_-]{1,64}$",
        '1 to 64 letters, digits, _ and -, but neither "history" nor "mutes"',
        'write for example "page-views-low"',
        _parse_alarm_name,
    ),
    Meta(extra_json_schema={"not": {"enum": list(RESERVED_NAMES)}}),
]
ChannelName = Annotated[str, name_kind("support")]
CounterName = Annotated[str, name_kind("events")]
MuteName = Annotated[str, name_kind("nights")]
Note = Annotated[
    str,
    text_kind(r"^[\s\S]{0,1024}$", "text of up to 1,024 characters", "write a sentence or two"),
]
RuleText = Annotated[
    str,
    text_kind(
        rf"^[\s\S]{{1,{RULE_CHARACTERS_MAX}}}$",
        f"names of alarms joined by and, or, not and brackets, at most {RULE_CHARACTERS_MAX:,} characters",
        'write for example "page-views-low and not site-down"',
        parse_rule,
    ),
]
EnvironmentName = Annotated[
    str,
    text_kind(
        r"^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        "the name of an environment variable: letters, digits and _, not beginning with a digit",
        'write the name, for example "ALARM_SECRET", and put the secret itself into that variable',
        mend=_mend_environment_name,
    ),
]
URL = Annotated[
    str,
    text_kind(
        _URL,
        "a URL that begins with https:// or http://, without blanks, at most 2,000 characters",
        'write for example "https://example.com/alarms"',
        _parse_url,
    ),
]
Address = Annotated[
    str,
    text_kind(
        r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,188}[A-Za-z0-9])?$",
        "an e-mail address, name@host, in ASCII",
        'write for example "support@example.com"',
        mend=_mend_address,
    ),
]
Host = Annotated[
    str,
    text_kind(
        r"^([A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40})$",
        "the name or IP address of a server",
        'write for example "smtp.example.com"',
        _parse_host,
        _mend_host,
    ),
]
Argument = Annotated[
    str,
    text_kind(r"^[^\u0000]{1,4096}$", "text of 1 to 4,096 characters", 'write for example "/usr/local/bin/on-alarm"'),
]
Clock = Annotated[
    str,
    text_kind(
        r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        "a time of day from 00:00 to 23:59",
        'write for example "22:00"',
        _parse_clock,
        _mend_clock,
    ),
]
Zone = Annotated[
    str,
    text_kind(
        r"^[A-Za-z0-9_+./-]{1,64}$",
        "the IANA name of a time zone that this machine knows",
        'write for example "Europe/London" or "UTC"',
        _parse_zone,
    ),
]
Number = Annotated[float, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
PastPercent = Annotated[float, Meta(ge=-100, le=1_000_000)]
Deviations = Annotated[float, Meta(ge=0.5, le=100)]
GroupWait = Annotated[str, duration_kind(0, DAY_MS)]
Baseline = Annotated[str, duration_kind(1_000, 366 * DAY_MS)]
Delay = Annotated[str, duration_kind(1, DAY_MS)]
LoginName = Annotated[
    str,
    text_kind(r"^[^\u0000-\u001f\u007f]{1,256}$", "a name of 1 to 256 characters", "write it as the provider gave it"),
]
