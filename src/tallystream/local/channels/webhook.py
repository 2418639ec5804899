"""The channel webhook: SNS's alarm JSON, signed, to a URL."""

import hashlib
import hmac
from collections.abc import Mapping

from tallystream.core.channel import WebhookChannel
from tallystream.core.definition import Definition
from tallystream.engine.message_json import message_json
from tallystream.local.channels.connection import DELIVERY_S_MAX
from tallystream.local.channels.post import Target, post
from tallystream.local.channels.secret import read_variable
from tallystream.local.clock import now_ms
from tallystream.ports.alarms import Message


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a request: `sha256=` and the HMAC of the timestamp, a dot and the body, in hexadecimal."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


class WebhookSender:
    """See engine.notify.Sender and docs/alarms.md."""

    def __init__(
        self,
        channel: WebhookChannel,
        definition: Definition,
        environment: Mapping[str, str],
        configured_ms: Mapping[str, int],
        seconds: float = DELIVERY_S_MAX,
    ) -> None:
        self._channel = channel
        self._definition = definition
        self._environment = environment
        self._configured_ms = configured_ms
        self._seconds = seconds

    def send(self, message: Message) -> None:
        """See engine.notify.Sender."""
        channel = self._channel
        target = Target.parse(channel.url or read_variable(self._environment, channel.url_env or ""))
        body = message_json(message, self._definition, self._configured_ms)
        timestamp = str(now_ms() // 1_000)  # of this attempt: receivers refuse old ones, which may be somebody's replay
        headers = {
            "Content-Type": "application/json",
            "Tallystream-Message-Id": message.id,
            "Tallystream-Timestamp": timestamp,
        }
        if channel.secret_env is not None:
            secret = read_variable(self._environment, channel.secret_env)
            headers["Tallystream-Signature"] = sign(secret, timestamp, body)
            target = target._replace(secrets=(*target.secrets, secret))
        post(target, body, headers, allow_private=channel.allow_private, seconds=self._seconds)
