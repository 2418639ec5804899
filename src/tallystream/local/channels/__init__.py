"""The ways that notifications leave by: a Sender for each [[notify]] of a definition."""

from collections.abc import Mapping

from tallystream.core.channel import Channel, CommandChannel, EmailChannel, SlackChannel, WebhookChannel
from tallystream.core.definition import Definition
from tallystream.engine.notify import Sender

_NOTHING: Mapping[str, int] = {}


def make_senders(
    definition: Definition, environment: Mapping[str, str], configured_ms: Mapping[str, int] = _NOTHING
) -> dict[str, Sender]:
    """
    Return channel name → its Sender. Nothing is connected, and nothing is read, before the first message.

    Each Sender delivers one message at a time; several may be used at once, each in a thread.

    Args:
        definition: with the channels, and the alarms that messages are about.
        environment: holds what the definition names: passwords, secrets and URLs. A variable that is missing fails each
            delivery, and not the start: alarms that are evaluated and shown are better than none.
        configured_ms: alarm → when it was last configured, for the SNS JSON; looked at with each message.
    """
    return {channel.name: _make_sender(channel, definition, environment, configured_ms) for channel in definition.channels}


def _make_sender(
    channel: Channel, definition: Definition, environment: Mapping[str, str], configured_ms: Mapping[str, int]
) -> Sender:
    # Loaded when there is such a channel: together they take several megabytes.
    match channel:
        case EmailChannel():
            from tallystream.local.channels.email import EmailSender

            return EmailSender(channel, definition, environment)
        case WebhookChannel():
            from tallystream.local.channels.webhook import WebhookSender

            return WebhookSender(channel, definition, environment, configured_ms)
        case SlackChannel():
            from tallystream.local.channels.slack import SlackSender

            return SlackSender(channel, definition, environment)
        case CommandChannel():
            from tallystream.local.channels.command import CommandSender

            return CommandSender(channel, definition, environment, configured_ms)


def required_variables(channel: Channel) -> list[str]:
    """Return the names of the environment variables that a channel needs."""
    names = (getattr(channel, field, None) for field in ("url_env", "secret_env", "password_env"))
    return [name for name in names if name is not None]
