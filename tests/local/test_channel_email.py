"""The channel email against real mail servers, well-behaved and other."""

import email
import email.policy
import socket
import threading
import time
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

import hypothesis
import pytest
from aiosmtpd.smtp import Envelope
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.channel import EmailChannel
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels import make_senders
from tallystream.local.channels.email import EmailSender, compose
from tallystream.ports.alarms import Message
from tests.alarm_messages import DEFINITION, HOSTILE, ONE, SEVERAL, definition_with, item, message
from tests.peers import Certificates, Peer, Talk, dripping, hanging, mail_server

PASSWORD = "pässword-s3cret"
ENVIRONMENT = {"SMTP_PASSWORD": PASSWORD}


def channel(
    port: int,
    *,
    host: str = "localhost",
    tls: Literal["starttls", "tls", "none"] = "none",
    to: tuple[str, ...] = ("support@example.com",),
    username: str | None = None,
) -> EmailChannel:
    return EmailChannel(
        name="support",
        group_wait_ms=10_000,
        to=to,
        sender="tally@example.org",
        host=host,
        port=port,
        tls=tls,
        username=username,
        password_env="SMTP_PASSWORD" if username else None,
    )


def send(through: EmailChannel, sent: Message = ONE, environment: Mapping[str, str] = ENVIRONMENT, seconds: float = 20) -> None:
    EmailSender(through, DEFINITION, environment, seconds).send(sent)


def failure(through: EmailChannel, seconds: float = 20) -> str:
    with pytest.raises(DeliveryError) as raised:
        send(through, seconds=seconds)
    text = str(raised.value)
    assert "s3cret" not in text and "localhost" not in text and "127.0.0.1" not in text, text
    assert text.isprintable() and len(text) < 500
    return text


def parse(envelope: Envelope) -> EmailMessage:
    content = envelope.content
    assert isinstance(content, bytes)
    return email.message_from_bytes(content, policy=email.policy.default)


def parts(mail: EmailMessage) -> tuple[str, str]:
    plain, page = mail.iter_parts()
    assert (plain.get_content_type(), page.get_content_type()) == ("text/plain", "text/html")
    return plain.get_content().replace("\r\n", "\n"), page.get_content()


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    made = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.pem))
    return made


def test_a_mail_arrives_as_text_and_html() -> None:
    with mail_server() as server:
        through = channel(server.port, to=("support@example.com", "boss@example.com"))
        make_senders(definition_with(through), {})["support"].send(ONE)
    (envelope,) = server.box.mails
    assert envelope.mail_from == "tally@example.org"
    assert envelope.rcpt_tos == ["support@example.com", "boss@example.com"]
    mail = parse(envelope)
    assert mail["From"] == "tally@example.org"
    assert mail["To"] == "support@example.com, boss@example.com"
    assert mail["Subject"] == "ALARM: pageview-low (page view) in web-analytics"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime.timestamp() * 1_000 == ONE.created_ms
    plain, page = parts(mail)
    assert plain.startswith("ALARM: pageview-low (page view)\n")
    assert "the line is at 5" in page
    assert max(map(len, envelope.content.splitlines())) <= 998, "RFC 5322"  # type: ignore[union-attr]


def test_a_mail_that_is_sent_again_is_the_same() -> None:
    with mail_server() as server:
        for attempts in (0, 3):
            send(channel(server.port), ONE._replace(attempts=attempts))
        send(channel(server.port), ONE._replace(id="another"))
    first, again, other = map(parse, server.box.mails)
    for name in ("Message-ID", "Date", "Subject", "Tallystream-Message-Id"):
        assert first[name] == again[name]
    assert first["Message-ID"] != other["Message-ID"]
    assert first["Message-ID"].endswith("@example.org>")


def test_starttls_and_login(certificates: Certificates) -> None:
    with mail_server(starttls=certificates.server("localhost"), login=("tally", PASSWORD)) as server:
        send(channel(server.port, tls="starttls", username="tally"))
        assert server.box.were_secure == [True]
        for wrong in ("somebody", "jemänd"):
            through = channel(server.port, tls="starttls", username=wrong)
            assert failure(through).startswith("the server refused the login: 535 ")
        assert failure(channel(server.port, tls="starttls")).startswith("the server refused the sender: 530 ")
        assert failure(channel(server.port)).startswith("the server refused the sender: 530 ")
    assert len(server.box.mails) == 1


def test_login_in_plain_letters(certificates: Certificates) -> None:
    with mail_server(starttls=certificates.server("localhost"), login=("tally", "letters-s3cret")) as server:
        send(channel(server.port, tls="starttls", username="tally"), environment={"SMTP_PASSWORD": "letters-s3cret"})
        assert failure(channel(server.port, tls="starttls", username="tally")).startswith("the server refused the login: 535 ")
    assert len(server.box.mails) == 1


def test_tls_from_the_first_byte(certificates: Certificates) -> None:
    with mail_server(tls=certificates.server("localhost"), login=("tally", PASSWORD)) as server:
        send(channel(server.port, tls="tls", username="tally"))
        assert len(server.box.mails) == 1
        assert failure(channel(server.port, host="127.0.0.1", tls="tls")) == (
            "the delivery failed: the server's certificate is for another host"
        )


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, tls: Literal["starttls", "tls"]) -> None:
    context = Certificates(tmp_path).server("localhost")
    with mail_server(starttls=context) if tls == "starttls" else mail_server(tls=context) as server:
        assert failure(channel(server.port, tls=tls)).startswith(
            "the delivery failed: the server's certificate is not trusted ("
        )
    assert server.box.mails == []


def test_a_server_without_starttls_gets_no_mail_and_no_password() -> None:
    with mail_server() as server:
        assert "STARTTLS" in failure(channel(server.port, tls="starttls", username="tally"))
    assert server.box.mails == []


def test_what_a_stranger_says_before_tls_counts_for_nothing(certificates: Certificates) -> None:
    """A reply that is slipped in before the handshake is not taken for one of after it."""

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"220 mail.test ESMTP\r\n")
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b"250-mail.test\r\n250 STARTTLS\r\n")
        lines.readline()
        connection.sendall(b"220 go ahead\r\n250 slipped in\r\n")
        ended.wait(10)

    with Peer(talk) as peer:
        assert failure(channel(peer.port, tls="starttls"), seconds=0.4) == "the server did not finish within 0.4 s"


def test_ipv6() -> None:
    with mail_server(host="::1") as server:
        send(channel(server.port, host="::1"))
    assert len(server.box.mails) == 1


def test_a_password_that_is_not_set_is_named() -> None:
    with mail_server() as server, pytest.raises(DeliveryError, match="SMTP_PASSWORD is not set"):
        send(channel(server.port, username="tally"), environment={})


def test_refusals_are_told() -> None:
    with mail_server() as server:
        server.box.refused["support@example.com"] = "550 5.1.1 no such user at localhost\x1b"
        assert failure(channel(server.port)) == (
            r"the server refused all recipients; support@example.com: 550 5.1.1 no such user at …\x1b"
        )
        server.box.refused.clear()
        server.box.data_answer = "451 try later"
        assert failure(channel(server.port)) == "the server refused: 451 try later"
    assert server.box.mails == []


def test_who_has_the_mail_does_not_get_it_again_for_the_sake_of_others() -> None:
    to = ("a@example.com", "b@example.com", "c@example.com")
    with mail_server() as server:
        server.box.refused["b@example.com"] = "450 mailbox busy"
        sender = EmailSender(channel(server.port, to=to), DEFINITION, {})
        with pytest.raises(DeliveryError, match=r"refused 1 of 3 recipients; b@example.com: 450 mailbox busy"):
            sender.send(ONE)
        with pytest.raises(DeliveryError, match="refused all recipients"):
            sender.send(ONE)
        server.box.refused.clear()
        sender.send(ONE._replace(attempts=2))
        sender.send(ONE._replace(id="next"))
    assert [envelope.rcpt_tos for envelope in server.box.mails] == [
        ["a@example.com", "c@example.com"],
        ["b@example.com"],
        list(to),
    ]
    assert parse(server.box.mails[1])["To"] == ", ".join(to)


def after(commands: int, then: Talk) -> Talk:
    """Return a mail server that answers the first commands, and then does something else."""

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"220 mail.test ESMTP\r\n")
        lines = connection.makefile("rb")
        for _ in range(commands):
            line = lines.readline()
            connection.sendall(b"354 go\r\n" if line.upper().startswith(b"DATA") else b"250 OK\r\n")
        then(connection, ended)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        hanging(),
        dripping(b"2"),
        dripping(b"220-x\r\n"),
        hanging(b"220 mail.test ESMTP\r\n"),
        after(1, hanging()),
        after(3, dripping(b"2")),
        after(4, hanging()),
        after(4, dripping(b"250-still\r\n")),
    ],
    ids=[
        "silent",
        "dripping",
        "greeting for ever",
        "no EHLO",
        "no MAIL",
        "dripping after RCPT",
        "after DATA",
        "for ever after DATA",
    ],
)
def test_a_server_that_hangs_or_drips_holds_nobody(talk: Talk) -> None:
    started_s = time.monotonic()
    with Peer(talk) as peer:
        assert failure(channel(peer.port), seconds=0.4) == "the server did not finish within 0.4 s"
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_tls_handshake_that_hangs_holds_nobody(tls: Literal["starttls", "tls"]) -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        if tls == "starttls":
            connection.sendall(b"220 mail.test ESMTP\r\n")
            lines = connection.makefile("rb")
            lines.readline()
            connection.sendall(b"250-mail.test\r\n250 STARTTLS\r\n")
            lines.readline()
            connection.sendall(b"220 go ahead\r\n")
        dripping(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")(connection, ended)

    started_s = time.monotonic()
    with Peer(talk) as peer:
        failure(channel(peer.port, tls=tls), seconds=0.4)
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (lambda connection, ended: None, "the server closed the connection before it had taken the mail"),
        (dripping(b"220-x\r\n" * 10_000, every_s=0), "the server closed the connection"),
        (hanging(b"554 go away\r\n"), "the server refused: 554 go away"),
        (hanging(b"HTTP/1.1 400 Bad Request\r\n"), "the server"),
        (after(4, lambda connection, ended: None), "the "),
    ],
    ids=["closed", "talkative", "unwelcome", "another protocol", "closed after DATA"],
)
def test_a_server_that_does_not_do_as_it_should(talk: Talk, expected: str) -> None:
    with Peer(talk) as peer:
        assert failure(channel(peer.port), seconds=5).startswith(expected)


def test_a_mail_that_was_taken_is_delivered_however_the_server_ends() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"220 mail.test ESMTP\r\n")
        lines = connection.makefile("rb")
        while lines.readline().strip().upper() != b"DATA":
            connection.sendall(b"250 OK\r\n")
        connection.sendall(b"354 go\r\n")
        while lines.readline() != b".\r\n":
            pass
        connection.sendall(b"250 taken\r\n")
        ended.wait(10)  # and never a word to QUIT

    with Peer(talk) as peer:
        send(channel(peer.port), seconds=1)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(channel(port)) == "the server cannot be reached: Connection refused"


def test_a_server_that_repeats_the_password_does_not_get_it_told() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(b"220 mail.test ESMTP\r\n")
        lines = connection.makefile("rb")
        lines.readline()
        connection.sendall(b"250-mail.test\r\n250 AUTH PLAIN\r\n")
        line = lines.readline()
        connection.sendall(b"535 what is " + line.strip() + f" or {PASSWORD}\r\n".encode())
        ended.wait(10)

    with Peer(talk) as peer:
        text = failure(channel(peer.port, username="tally-user"), seconds=5)
    assert text == "the server refused the login: 535 what is AUTH PLAIN … or …"


def test_no_name_begins_another_header() -> None:
    with mail_server() as server:
        send(channel(server.port), message(item("donations-odd", group=HOSTILE)))
        send(channel(server.port), SEVERAL._replace(id="a\r\nBcc: eve@example.com"))
    for envelope in server.box.mails:
        mail = parse(envelope)
        assert mail["Bcc"] is None
        assert envelope.rcpt_tos == ["support@example.com"]
        assert [name for name, _ in mail.items()] == [
            *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Tallystream-Message-Id"),
            *("MIME-Version", "Content-Type"),
        ]
    assert r"\u202egnp.exe" in parse(server.box.mails[0])["Subject"]


def test_any_language_arrives() -> None:
    with mail_server() as server:
        send(channel(server.port, to=("müller@example.com",)), message(item("donations-odd", group="Zürich · 東京 · 🎉")))
    (envelope,) = server.box.mails
    mail = parse(envelope)
    assert mail["Subject"] == "ALARM: donations-odd (Zürich · 東京 · 🎉) in web-analytics"
    assert all("Zürich · 東京 · 🎉" in part for part in parts(mail))


@hypothesis.settings(max_examples=30)
@given(st.text(max_size=100))
def test_any_name_survives_the_journey(name: str) -> None:
    sent = message(item("donations-odd", group=name, reason=name))
    mail = compose(sent, channel(25), DEFINITION)
    again = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert again["Subject"].strip() == mail["Subject"].strip()  # a long one is folded before its first word
    assert len(again.defects) == 0
    assert {key for key, _ in again.items()} == {key for key, _ in mail.items()}


def test_smtp_traffic_is_not_asked_about_private_addresses() -> None:
    """A mail server in one's own network is the usual case."""
    with mail_server() as server:
        send(channel(server.port, host="127.0.0.1"))
    assert len(server.box.mails) == 1
