"""The channels webhook and slack against real servers, well-behaved and other."""

import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tallystream.core.channel import SlackChannel, WebhookChannel
from tallystream.engine.message import describe
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels import make_senders
from tallystream.local.channels.connection import is_public
from tallystream.local.channels.post import Target
from tallystream.local.channels.slack import payload
from tallystream.local.channels.webhook import WebhookSender
from tallystream.ports.alarms import Message
from tests.alarm_messages import DEFINITION, HOSTILE, ONE, SEVERAL, definition_with, item, message
from tests.peers import Certificates, Peer, Request, Talk, answering, dripping, hanging, read_request

PATH = "/services/T0SECRET/B0SECRET?key=querysecret"


def webhook(url: str, *, allow_private: bool = True, secret_env: str | None = None) -> WebhookChannel:
    return WebhookChannel(
        name="support", group_wait_ms=0, url=None, url_env="HOOK_URL", secret_env=secret_env, allow_private=allow_private
    )


def send(url: str, sent: Message = ONE, *, allow_private: bool = True, secret: str | None = None, seconds: float = 20) -> None:
    channel = webhook(url, allow_private=allow_private, secret_env="HOOK_SECRET" if secret else None)
    environment = {"HOOK_URL": url, **({"HOOK_SECRET": secret} if secret else {})}
    WebhookSender(channel, DEFINITION, environment, {}, seconds).send(sent)


def failure(url: str, **options: Any) -> str:
    with pytest.raises(DeliveryError) as raised:
        send(url, **options)
    text = str(raised.value)
    assert "SECRET" not in text and "secret" not in text.replace("HOOK_SECRET", ""), text
    assert "127.0.0.1" not in text and "localhost" not in text, text
    assert text.isprintable() and len(text) < 500
    return text


def test_a_webhook_gets_the_alarm_signed() -> None:
    requests: list[Request] = []
    channel = webhook("", secret_env="HOOK_SECRET")
    with Peer(answering("204 No Content", requests=requests)) as peer:
        environment = {"HOOK_URL": f"http://127.0.0.1:{peer.port}{PATH}", "HOOK_SECRET": "sésame"}
        before_s = int(time.time())
        make_senders(definition_with(channel), environment)["support"].send(ONE)
    (request,) = requests
    assert request.line == f"POST {PATH} HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{peer.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["tallystream-message-id"] == ONE.id
    timestamp = request.headers["tallystream-timestamp"]
    assert before_s <= int(timestamp) <= time.time()
    signed = hmac.new("sésame".encode(), timestamp.encode() + b"." + request.body, hashlib.sha256).hexdigest()
    assert request.headers["tallystream-signature"] == f"sha256={signed}"
    assert json.loads(request.body)["AlarmName"] == "pageview-low"


def test_a_message_of_several_alarms_is_a_list_and_without_a_secret_not_signed() -> None:
    requests: list[Request] = []
    with Peer(answering("200 OK", requests=requests)) as peer:
        send(f"http://localhost:{peer.port}", SEVERAL)
    assert len(json.loads(requests[0].body)["Alarms"]) == len(SEVERAL.items)
    assert "tallystream-signature" not in requests[0].headers
    assert requests[0].line == "POST / HTTP/1.1"


def test_a_login_in_the_url_is_sent_and_never_told() -> None:
    requests: list[Request] = []
    with Peer(answering("401 Unauthorized", b"not you, user:s3cretpass c3NlY3JldA==", requests=requests)) as peer:
        text = failure(f"http://user:s3cretpass@127.0.0.1:{peer.port}/")
    assert requests[0].headers["authorization"] == "Basic dXNlcjpzM2NyZXRwYXNz"
    assert "s3cretpass" not in text


def test_ipv6() -> None:
    requests: list[Request] = []
    with Peer(answering("200 OK", requests=requests), host="::1") as peer:
        send(f"http://[::1]:{peer.port}/x")
        assert failure(f"http://[::1]:{peer.port}/x", allow_private=False).startswith("the server's address is a private one")
    assert len(requests) == peer.connections == 1
    assert requests[0].headers["host"] == f"[::1]:{peer.port}"


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    made = Certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.pem))
    return made


def test_https_names_the_host_and_checks_the_certificate(certificates: Certificates) -> None:
    requests: list[Request] = []
    asked: list[str | None] = []
    context = certificates.server("localhost")
    context.sni_callback = lambda connection, name, _: asked.append(name)
    with Peer(answering("200 OK", requests=requests), tls=context) as peer:
        send(f"https://localhost:{peer.port}/x")
        assert (
            failure(f"https://127.0.0.1:{peer.port}/x") == "the delivery failed: the server's certificate is for another host"
        )
    assert asked[0] == "localhost"
    assert [request.headers["host"] for request in requests] == [f"localhost:{peer.port}"]


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    requests: list[Request] = []
    with Peer(answering("200 OK", requests=requests), tls=Certificates(tmp_path).server("localhost")) as peer:
        assert failure(f"https://localhost:{peer.port}").startswith(
            "the delivery failed: the server's certificate is not trusted ("
        )
    assert requests == []


def test_https_to_a_server_without_tls_and_the_other_way_round(certificates: Certificates) -> None:
    with Peer(hanging(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as peer:
        assert "TLS failed" in failure(f"https://localhost:{peer.port}", seconds=2)
    with Peer(hanging(), tls=certificates.server("localhost")) as peer:
        assert "the server" in failure(f"http://localhost:{peer.port}", seconds=2)


def test_redirects_are_not_followed() -> None:
    with (
        Peer(answering("200 OK")) as inside,
        Peer(answering("307 x", headers=f"Location: http://127.0.0.1:{inside.port}/\r\n")) as peer,
    ):
        text = failure(f"http://127.0.0.1:{peer.port}{PATH}")
    assert text == "the server answered 307; redirects are not followed, so name the URL that it leads to"
    assert inside.connections == 0


def test_what_the_server_says_is_told_without_what_is_secret() -> None:
    def echo(connection: socket.socket, ended: threading.Event) -> None:
        request = read_request(connection)
        said = f"Cannot POST {request.line}\r\n\x1b[2J {request.headers} sha " + "x" * 10_000
        connection.sendall(b"HTTP/1.1 404 Not Found\r\n\r\n" + said.encode())

    with Peer(echo) as peer:
        text = failure(f"http://127.0.0.1:{peer.port}{PATH}")
    assert text.startswith("the server answered 404: Cannot POST POST …")
    assert text.endswith("…")


@pytest.mark.parametrize("status", ["100 Continue", "300 x", "400 x", "429 x", "500 x", "503 x", "600 x"])
def test_only_2xx_is_success(status: str) -> None:
    with Peer(answering(status)) as peer:
        text = failure(f"http://127.0.0.1:{peer.port}/")
    assert text.startswith(f"the server answered {status[:3]}" if status[0] != "1" else "the delivery failed")


def truncated(connection: socket.socket, ended: threading.Event) -> None:
    read_request(connection)
    connection.sendall(b"HTTP/1.1 2")


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (hanging(), "the server did not finish within 0.4 s"),
        (hanging(b"HTTP/1.1 "), "the server did not finish within 0.4 s"),
        (dripping(b"H"), "the server did not finish within 0.4 s"),
        (dripping(b"HTTP/1.1 100 Continue\r\n\r\n"), "the server did not finish within 0.4 s"),
        (lambda connection, ended: None, "the delivery failed: the server closed the connection"),
        (truncated, "the delivery failed: the server does not speak HTTP"),
        (hanging(b"220 mail.test ESMTP\r\n"), "the delivery failed: the server does not speak HTTP"),
    ],
    ids=["silent", "half a line", "dripping", "continuing", "closed", "closed in the line", "another protocol"],
)
def test_a_server_that_does_not_answer_as_it_should_holds_nobody(talk: Talk, expected: str) -> None:
    started_s = time.monotonic()
    with Peer(talk) as peer:
        text = failure(f"http://127.0.0.1:{peer.port}{PATH}", seconds=0.4)
    assert text.startswith(expected)
    assert time.monotonic() - started_s < 5


def test_a_body_that_hangs_delays_nothing() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nx")
        ended.wait(10)

    with Peer(talk) as peer:
        send(f"http://127.0.0.1:{peer.port}", seconds=5)


def test_an_error_with_a_body_that_drips_is_told_in_time() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
        dripping(b"a")(connection, ended)

    started_s = time.monotonic()
    with Peer(talk) as peer:
        assert failure(f"http://127.0.0.1:{peer.port}", seconds=0.4).startswith("the server answered 500")
    assert time.monotonic() - started_s < 5


def test_a_tls_handshake_that_hangs_or_drips_ends_in_time() -> None:
    for talk in (hanging(), dripping(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")):
        started_s = time.monotonic()
        with Peer(talk) as peer:
            failure(f"https://127.0.0.1:{peer.port}", seconds=0.4)
        assert time.monotonic() - started_s < 5


def test_a_slow_server_is_waited_for() -> None:
    def talk(connection: socket.socket, ended: threading.Event) -> None:
        read_request(connection)
        ended.wait(0.3)
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")

    with Peer(talk) as peer:
        send(f"http://127.0.0.1:{peer.port}")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}{PATH}") == "the server cannot be reached: Connection refused"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::]", "[::1]"],
)
def test_no_name_of_this_machine_leads_inside(host: str) -> None:
    with Peer(answering("200 OK")) as peer:
        text = failure(f"http://{host}:{peer.port}/", allow_private=False)
        assert peer.connections == 0
    assert text.startswith("the server's address is a private one")
    assert "allow_private = true" in text


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.0.1", "192.0.2.1"),
        *("192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "::ffff:1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)


def test_what_was_judged_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for a public address when it is judged, and for this machine when it is asked again."""
    answers = iter(["93.184.216.34", "127.0.0.1", "127.0.0.1"])
    connected: list[Any] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    class Recorder(socket.socket):
        def connect(self, address: Any) -> None:
            connected.append(address)
            raise ConnectionRefusedError(111, "Connection refused")

    with Peer(answering("200 OK")) as peer:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        monkeypatch.setattr(socket, "socket", Recorder)
        failure(f"http://rebind.test:{peer.port}/", allow_private=False)
        assert connected == [("93.184.216.34", peer.port)]
        assert "a private one" in failure(f"http://rebind.test:{peer.port}/", allow_private=False), "judged at every delivery"
        assert peer.connections == 0


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 80)) for host in ("93.184.216.34", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
    assert "a private one" in failure("http://mixed.test/", allow_private=False)


def test_of_several_addresses_the_first_that_answers_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()
    with Peer(answering("200 OK")) as peer:
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (closed, ("127.0.0.1", peer.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        send("http://two.test/")
        assert peer.connections == 1


def test_names_that_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_with(error: Exception) -> None:
        def resolve(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    fail_with(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert failure("http://nobody.test/") == "the server's name is unknown; mend the host"
    fail_with(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    assert "is the network at work?" in failure("http://nobody.test/")


def test_a_name_server_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(10))
    assert "not found in time" in failure("http://slow.test/", seconds=0.3)
    ended.set()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "example.com/secret", "http://", "http:///secret", "http://x:99999/secret"),
        *("http://x:0/", "http://[::1/secret", "file:///secret", "https://exa mple\r\n.com/secret", "http://a..b/secret"),
        f"http://{'a' * 70}.com/secret",
    ],
)
def test_urls_that_lead_nowhere(url: str) -> None:
    assert failure(url).startswith("the channel's URL must be like https://host/path")


def test_a_url_may_hold_any_text() -> None:
    target = Target.parse("https://Bücher.example:8443/a b/ü?q=ä b&x=%20")
    assert (target.host, target.host_header) == ("xn--bcher-kva.example", "xn--bcher-kva.example:8443")
    assert target.path == "/a%20b/%C3%BC?q=%C3%A4%20b&x=%20"
    assert Target.parse("https://example.com?x=1").path == "/?x=1"
    assert Target.parse("https://example.com:443").host_header == "example.com"


def test_a_variable_that_is_not_set_is_named() -> None:
    channel = webhook("", secret_env="HOOK_SECRET")
    for environment, name in (({}, "HOOK_URL"), ({"HOOK_URL": "http://127.0.0.1:1"}, "HOOK_SECRET")):
        with pytest.raises(DeliveryError, match=f"{name} is not set"):
            make_senders(definition_with(channel), environment)["support"].send(ONE)


# Slack


def test_slack_gets_text_and_blocks() -> None:
    requests: list[Request] = []
    channel = SlackChannel(name="support", group_wait_ms=0, url=None, url_env="SLACK_URL", allow_private=True)
    with Peer(answering("200 OK", b"ok", requests=requests)) as peer:
        environment = {"SLACK_URL": f"http://127.0.0.1:{peer.port}{PATH}"}
        make_senders(definition_with(channel), environment)["support"].send(ONE)
    body = json.loads(requests[0].body)
    assert body["text"].startswith(
        "🔴 ALARM: pageview-low (page view) in web-analytics\n2 of the last 3 datapoints were &lt; 5"
    )
    assert [block["type"] for block in body["blocks"]] == ["section", "context", "context"]
    assert "Condition: count &lt; 5 for 2 of 3 windows of 1m" in body["blocks"][1]["elements"][0]["text"]


def test_an_answer_of_slack_is_told() -> None:
    channel = SlackChannel(name="support", group_wait_ms=0, url=None, url_env="SLACK_URL", allow_private=True)
    with Peer(answering("404 Not Found", b"no_service")) as peer:
        sender = make_senders(definition_with(channel), {"SLACK_URL": f"http://127.0.0.1:{peer.port}{PATH}"})["support"]
        with pytest.raises(DeliveryError, match=r"^the server answered 404: no_service$"):
            sender.send(ONE)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, each in value.items() if key != "type" for text in texts(each)]
    return [text for each in value for text in texts(each)] if isinstance(value, list) else [value] * isinstance(value, str)


def test_slack_is_asked_to_do_nothing_by_a_name() -> None:
    hostile = f"{HOSTILE} *bold* _it_ ~no~ `code` @channel"
    sent = message(item("donations-odd", group=hostile, reason=hostile), *SEVERAL.items)
    body = payload(describe(sent, DEFINITION), DEFINITION)
    for text in texts(body):
        assert "<" not in text and ">" not in text
        assert "@channel" not in text and "@here" not in text and "`code`" not in text and " *bold*" not in text
    assert "&lt;!channel&gt;" in body["blocks"][1]["text"]["text"]
    assert body["unfurl_links"] is False
    assert all(block["text"]["verbatim"] for block in body["blocks"] if block["type"] == "section")


def test_slack_takes_fifty_blocks_of_three_thousand_characters() -> None:
    sent = message(*(item("donations-odd", group=f"{'&' * 80}{n}", reason="&" * 900) for n in range(200)))
    body = payload(describe(sent, DEFINITION), DEFINITION)
    assert len(body["blocks"]) <= 50
    assert max(map(len, texts(body))) <= 3_000


def test_the_tls_that_is_spoken_is_the_default_one() -> None:
    """What the channels rely on: certificates are demanded and names are checked."""
    context = ssl.create_default_context()
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
