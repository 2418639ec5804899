"""Channels: where notifications go. Secrets are not here, only the names of the environment variables that hold them."""

from typing import Literal

import msgspec


class EmailChannel(msgspec.Struct, frozen=True, kw_only=True, tag="email"):
    """An SMTP server, and whom it is to bring the mail to."""

    name: str
    group_wait_ms: int  # how long the first notification waits for others; 0: each is a message of its own
    to: tuple[str, ...]
    sender: str  # `from` in the definition
    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    username: str | None  # None: no login
    password_env: str | None  # given with a username, and only then


class WebhookChannel(msgspec.Struct, frozen=True, kw_only=True, tag="webhook"):
    """A URL that takes each alarm as JSON in the format of SNS."""

    name: str
    group_wait_ms: int
    url: str | None  # exactly one of the two is given
    url_env: str | None
    secret_env: str | None  # the key of the signature; None: messages are not signed
    allow_private: bool  # whether the host may resolve to a private, loopback or link-local address


class SlackChannel(msgspec.Struct, frozen=True, kw_only=True, tag="slack"):
    """An incoming webhook of Slack, or of a chat that takes the same messages."""

    name: str
    group_wait_ms: int
    url: str | None  # exactly one of the two is given
    url_env: str | None
    allow_private: bool


class CommandChannel(msgspec.Struct, frozen=True, kw_only=True, tag="command"):
    """A program that is run without a shell and handed the message."""

    name: str
    group_wait_ms: int
    command: tuple[str, ...]  # the program and its arguments


Channel = EmailChannel | WebhookChannel | SlackChannel | CommandChannel
