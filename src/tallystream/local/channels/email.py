"""The channel email: text and HTML through an SMTP server."""

import base64
import contextlib
import hashlib
import re
import smtplib
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final

from tallystream.core.channel import EmailChannel
from tallystream.core.definition import Definition
from tallystream.engine.message import describe, subject, text
from tallystream.engine.message_html import html
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels.connection import DELIVERY_S_MAX, Deadline, cut_off, describe_failure, open_connection, secure
from tallystream.local.channels.secret import excerpt, read_variable
from tallystream.ports.alarms import Message

_REMEMBERED_MAX: Final = 1_000  # messages that some of their recipients have got
_REPLIES_BYTES_MAX: Final = 256 * 1024  # of one conversation
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9.-]{1,253}")


class EmailSender:
    """
    See engine.notify.Sender.

    Where a server takes a message for some recipients and refuses others, a further attempt goes to the others alone. What a
    crash makes it forget, some may get twice.
    """

    def __init__(
        self, channel: EmailChannel, definition: Definition, environment: Mapping[str, str], seconds: float = DELIVERY_S_MAX
    ) -> None:
        self._channel = channel
        self._definition = definition
        self._environment = environment
        self._seconds = seconds
        self._taken: dict[str, set[str]] = {}  # message id → recipients who have got it

    def send(self, message: Message) -> None:
        """See engine.notify.Sender."""
        taken = self._taken.setdefault(message.id, set())
        recipients = [recipient for recipient in self._channel.to if recipient not in taken]
        mail = compose(message, self._channel, self._definition)
        refused = self._deliver(mail, recipients)
        taken.update(set(recipients) - set(refused))
        while len(self._taken) > _REMEMBERED_MAX:
            del self._taken[next(iter(self._taken))]
        if refused:
            recipient, answer = next(iter(refused.items()))
            raise DeliveryError(f"the server refused {len(refused)} of {len(recipients)} recipients; {recipient}: {answer}")
        del self._taken[message.id]

    def _deliver(self, mail: EmailMessage, recipients: Sequence[str]) -> dict[str, str]:
        """Return the recipients that were refused, each with the server's answer, where it has taken the mail for others."""
        channel = self._channel
        password = read_variable(self._environment, channel.password_env) if channel.password_env is not None else None
        deadline = Deadline(self._seconds)
        secrets = self._secrets(password)
        connection = open_connection(channel.host, channel.port, deadline, allow_private=True)
        with contextlib.closing(connection), cut_off(connection, deadline):
            try:
                refused = self._converse(connection, mail, recipients, password)
                return {recipient: _quote(*answer, secrets) for recipient, answer in refused.items()}
            except smtplib.SMTPException as error:
                deadline.check()
                raise DeliveryError(_describe(error, secrets)) from None
            except OSError as error:
                deadline.check()
                raise DeliveryError(f"the delivery failed: {describe_failure(error)}") from None

    def _converse(
        self, connection: socket.socket, mail: EmailMessage, recipients: Sequence[str], password: str | None
    ) -> Mapping[str, tuple[int, bytes]]:
        channel = self._channel
        if channel.tls == "tls":
            connection = secure(connection, channel.host)
        session = _Session(connection, channel.host)
        with contextlib.closing(session):
            session.greet()
            if channel.tls == "starttls":
                session.start_tls()
            if channel.username is not None:
                session.log_in(channel.username, password or "")
            refused = session.send_message(mail, channel.sender, recipients)
            with contextlib.suppress(smtplib.SMTPException, OSError):  # the server has the mail
                session.quit()
        return refused

    def _secrets(self, password: str | None) -> list[str]:
        channel = self._channel
        username, password = channel.username or "", password or ""
        encoded = [
            base64.b64encode(each.encode()).decode() for each in (username, password, f"\0{username}\0{password}") if each
        ]
        return [channel.host, username, password, *encoded]


class _Replies:
    """What a server says, line by line, up to a bound: an answer of endless lines must not fill the memory."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")
        self._left = _REPLIES_BYTES_MAX

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("too many replies")
        return line

    def close(self) -> None:
        self._file.close()


class _Session(smtplib.SMTP):
    """A conversation over a connection that is there already."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        # A name of its own: the standard library would ask the name server for it, and wait.
        name = socket.gethostname()
        super().__init__(
            local_hostname=name if _HOST_NAME.fullmatch(name) else "localhost", timeout=connection.gettimeout() or 1
        )
        self.sock = connection
        self.file = _Replies(connection)
        self._server = host

    def greet(self) -> None:
        """Wait for the server to begin."""
        code, answer = self.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, answer)

    def start_tls(self) -> None:
        """Go on encrypted, or not at all: without this, whoever stands between could talk us out of it."""
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError
        code, answer = self.docmd("STARTTLS")
        if code != 220:
            raise smtplib.SMTPResponseException(code, answer)
        assert self.sock is not None
        self.sock = secure(self.sock, self._server)
        # What was said before counts for nothing now.
        self.file = _Replies(self.sock)
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def log_in(self, username: str, password: str) -> None:
        """Log in as the server likes it best; in UTF-8, by RFC 4616, where the standard library knows only ASCII."""
        if (username + password).isascii():
            self.login(username, password)
            return
        self.ehlo_or_helo_if_needed()
        code, answer = self.docmd("AUTH", f"PLAIN {_plain(username, password)}")
        if code != 235:
            raise smtplib.SMTPAuthenticationError(code, answer)


def _plain(username: str, password: str) -> str:
    return base64.b64encode(f"\0{username}\0{password}".encode()).decode()


def compose(message: Message, channel: EmailChannel, definition: Definition) -> EmailMessage:
    """Return the mail of a message; the same for each attempt, so that a reader's program can tell that it is the same."""
    changes = describe(message, definition)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Subject"] = subject(changes, definition)
    mail["Date"] = datetime.fromtimestamp(message.created_ms // 1_000, UTC)
    # A hash: an id may hold what a header must not.
    mail["Message-ID"] = f"<{hashlib.sha256(message.id.encode()).hexdigest()[:32]}@{channel.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's "out of office" answers
    mail["Tallystream-Message-Id"] = re.sub(r"[^A-Za-z0-9._-]", "", message.id)
    mail.set_content(text(changes, definition), cte="quoted-printable")
    mail.add_alternative(html(changes, definition), subtype="html", cte="quoted-printable")
    return mail


def _describe(error: smtplib.SMTPException, secrets: Sequence[str]) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            recipient, answer = next(iter(error.recipients.items()))
            return f"the server refused all recipients; {recipient}: {_quote(*answer, secrets)}"
        case smtplib.SMTPAuthenticationError():
            return f"the server refused the login: {_quote(error.smtp_code, error.smtp_error, secrets)}"
        case smtplib.SMTPSenderRefused():
            return f"the server refused the sender: {_quote(error.smtp_code, error.smtp_error, secrets)}"
        case smtplib.SMTPResponseException():
            return f"the server refused: {_quote(error.smtp_code, error.smtp_error, secrets)}"
        case smtplib.SMTPNotSupportedError():
            return "the server cannot do what is asked of it, STARTTLS or a login; mend tls or username of the channel"
        case smtplib.SMTPServerDisconnected():
            return "the server closed the connection before it had taken the mail"
        case _:
            return "the server does not speak SMTP as it should"


def _quote(code: int, answer: bytes | str, secrets: Sequence[str]) -> str:
    return f"{code} {excerpt(answer.encode() if isinstance(answer, str) else answer, secrets)}".strip()
