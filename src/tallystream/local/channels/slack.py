"""The channel slack: an incoming webhook of Slack, or of a chat that takes the same JSON (Mattermost, Rocket.Chat, …)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tallystream.core.channel import SlackChannel
from tallystream.core.definition import Definition
from tallystream.engine.message import DETAILS_MAX, STATE_WORDS, Change, describe, facts, footer, overview, subject
from tallystream.local.channels.connection import DELIVERY_S_MAX
from tallystream.local.channels.post import Target, post
from tallystream.local.channels.secret import read_variable
from tallystream.ports.alarms import Message

_TEXT_CHARACTERS_MAX: Final = 2_950  # of a block; Slack takes 3,000
_SIGNS: Final = {"ALARM": "🔴", "OK": "🟢", "INSUFFICIENT_DATA": "⚪"}
_INVISIBLE: Final = "\u200b"  # zero width space


class SlackSender:
    """See engine.notify.Sender."""

    def __init__(
        self,
        channel: SlackChannel,
        definition: Definition,
        environment: Mapping[str, str],
        seconds: float = DELIVERY_S_MAX,
    ) -> None:
        self._channel = channel
        self._definition = definition
        self._environment = environment
        self._seconds = seconds

    def send(self, message: Message) -> None:
        """See engine.notify.Sender."""
        channel = self._channel
        target = Target.parse(channel.url or read_variable(self._environment, channel.url_env or ""))
        body = msgspec.json.encode(payload(describe(message, self._definition), self._definition))
        headers = {"Content-Type": "application/json", "Tallystream-Message-Id": message.id}
        post(target, body, headers, allow_private=channel.allow_private, seconds=self._seconds)


def payload(changes: Sequence[Change], definition: Definition) -> dict[str, Any]:
    """Return the JSON of a message: `text` for notifications and for chats that know no blocks, `blocks` for the rest."""
    title = f"{_SIGNS[changes[0].state]} {subject(changes, definition)}"
    blocks = [block for change in changes[:DETAILS_MAX] for block in _blocks(change)]
    if len(changes) > 1:
        blocks.insert(0, _section(_fit([f"*{_plain(title)}*", *map(_plain, overview(changes))])))
    blocks.append(_context(footer(changes, definition)))
    reasons = [f"{change.label}: {change.reason}" for change in changes] if len(changes) > 1 else [changes[0].reason]
    return {
        "text": _fit(map(_plain, [title, *reasons])),
        "blocks": blocks,
        "unfurl_links": False,  # a name that is an address is not asked for
        "unfurl_media": False,
    }


def _blocks(change: Change) -> list[dict[str, Any]]:
    lines = [f"{_SIGNS[change.state]} *{STATE_WORDS[change.state]}*  {_plain(change.label)}", _plain(change.reason)]
    lines += [f"_{_plain(line)}_" for line in change.description[:5] if line.strip()]
    return [_section(_fit(lines)), _context([f"{name}: {value}" for name, value in facts(change)])]


def _section(markdown: str) -> dict[str, Any]:
    return {"type": "section", "text": _markdown(markdown)}


def _context(lines: Sequence[str]) -> dict[str, Any]:
    return {"type": "context", "elements": [_markdown(_fit(map(_plain, lines)))]}


def _markdown(markdown: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": markdown, "verbatim": True}  # makes no links of what looks so


def _fit(lines: Iterable[str]) -> str:
    """Return as many lines as a block takes, whole: half of an escape would be another text."""
    shown: list[str] = []
    left = _TEXT_CHARACTERS_MAX
    for line in lines:
        left -= len(line) + 1
        if left < 0:
            return "\n".join([*shown, "…"])
        shown.append(line)
    return "\n".join(shown)


def _plain(text: str) -> str:
    """
    Return text that means itself: no mention of people or channels, no formatting.

    Slack's own signs are & < >. The others are read by it or by chats like it: a space of no width takes them their meaning.
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[@*~`]|(?<![a-zA-Z0-9])_|_(?![a-zA-Z0-9])", rf"{_INVISIBLE}\g<0>{_INVISIBLE}", escaped)
