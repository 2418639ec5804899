"""The short way through uvicorn: the same answers as the long one, whatever a connection does."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tallystream.ports.stream import Append, Appended
from tests.waiting import wait_until
from tests.web.conftest import StartWeb, Web
from tests.web.test_ingest import FailingStream, event, raw_connection


class Connection:
    """A keep-alive connection that has gone the short way before."""

    def __init__(self, web: Web, sock: socket.socket) -> None:
        self._web = web
        self.sock = sock
        self._received = b""
        self.short: list[bytes] = []  # bodies that went the short way

    def send(self, body: bytes, *headers: str) -> None:
        lines = ["POST /v1/events HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def receive(self) -> tuple[int, bytes]:
        """Return status and body of the next answer."""
        while True:
            head, separator, rest = self._received.partition(b"\r\n\r\n")
            if separator:
                length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
                if len(rest) >= length:
                    self._received = rest[length:]
                    return int(head.split(b" ")[1]), rest[:length]
            piece = self.sock.recv(65_536)
            if not piece:
                raise ConnectionError(f"closed after {self._received!r}")
            self._received += piece


@contextlib.contextmanager
def warm_connection(web: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """Yield a connection once the server knows its backlog, without which nothing goes the short way."""
    with raw_connection(web) as sock:
        connection = Connection(web, sock)
        submit = web.app.ingest.submit

        def observed(headers: Any, body: bytes) -> Any:
            connection.short.append(body)
            return submit(headers, body)

        monkeypatch.setattr(web.app.ingest, "submit", observed)

        def goes_the_short_way() -> bool:
            connection.send(event(warm=True))
            assert connection.receive()[0] == 202
            return bool(connection.short)

        wait_until(goes_the_short_way, "a request to go the short way")
        connection.short.clear()
        yield connection


def sent(web: Web) -> list[bytes]:
    return sorted(line for line in web.lines() if b"warm" not in line)


def test_answers_are_those_of_the_long_way(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [event(), b'{"a": 1}', event() + b"\n{broken", b"[" + event() + b", 7]", b"hello", b'{"cut']
    with warm_connection(web, monkeypatch) as connection:
        for content_type in ("application/json", "application/x-ndjson; charset=utf-8", "text/plain"):
            for body in bodies:
                connection.send(body, f"Content-Type: {content_type}")
                short = connection.receive()
                # Asked for with a header that is unusual enough, the same goes the long way.
                long = web.post(body, Content_Type=content_type, Idempotency_Key=f"k{len(connection.short)}")
                assert short == (long.status_code, long.content)
        assert connection.short == bodies * 3
        metrics = web.client.get("/metrics").text
    statuses = re.findall(r'http_requests_total{method="POST",route="/v1/events",status="(\d+)"} (\S+)', metrics)
    assert sum(float(count) for _, count in statuses) >= 2 * len(connection.short)


@pytest.mark.parametrize(
    "headers",
    [
        ["Origin: https://shop.example", "Authorization: Bearer browser-key-1"],
        ["Content-Encoding: identity"],
        ["Idempotency-Key: k"],
        ["Tally-Source: s", "Tally-Source-Range: 0-1"],
        ["Expect: 100-continue"],
        ["Connection: close"],
        ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /s", "ce-type: t"],
    ],
)
def test_what_is_unusual_goes_the_long_way(web: Web, monkeypatch: pytest.MonkeyPatch, headers: list[str]) -> None:
    with warm_connection(web, monkeypatch) as connection:
        connection.send(event(), *headers)
        received = b""
        while b'"rejected":' not in received:
            received += connection.sock.recv(65_536)
        assert b" 202 " in received
        assert connection.short == []
    assert len(sent(web)) == 1


def test_cloudevents_go_the_long_way(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_connection(web, monkeypatch) as connection:
        connection.send(b'{"specversion": "1.0"}', "Content-Type: application/cloudevents+json")
        assert b'"invalid_cloudevent"' in connection.receive()[1]
        connection.send(event(), "Content-Type: image/png")
        assert b'"unsupported_media_type"' in connection.receive()[1]
        assert connection.short == []


def test_a_request_that_comes_bit_by_bit(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_connection(web, monkeypatch) as connection:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = event()
        request = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for cut in (10, 60, len(request) - len(body), len(request) - len(body) + 1, len(request) - 1):
            connection.sock.sendall(request[:cut])
            read = web.client.get("/healthz")  # by now the first part has been read
            assert read.status_code == 200
            connection.sock.sendall(request[cut:])
            assert connection.receive() == (202, b'{"accepted":1,"rejected":[]}')
    assert sent(web) == [event()] * 5


def test_pipelined_requests_keep_their_order(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_connection(web, monkeypatch) as connection:
        for _ in range(20):
            connection.send(event(n=1))
            connection.send(b"hello")
            connection.send(event(n=2), "Idempotency-Key: pipelined")
            connection.send(b"{}")
        answers = [connection.receive() for _ in range(80)]
    assert [status for status, _ in answers] == [202, 400, 202, 202] * 20
    assert all(b"missing_event_time" in body for _, body in answers[3::4])


def test_many_connections_at_once(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with warm_connection(web, monkeypatch) as first:

        def send_some(number: int) -> list[int]:
            with raw_connection(web) as sock:
                connection = Connection(web, sock)
                statuses = []
                for n in range(10):
                    connection.send(event(id=f"{number}-{n}"))
                    statuses.append(connection.receive()[0])
                return statuses

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(send_some, range(16))) == [[202] * 10] * 16
        assert first.short
    assert len(set(sent(web))) == 160


class GatedStream(FailingStream):
    """A stream whose appends wait while `gate` is closed."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def append(self, appends: Sequence[Append], now_ms: int) -> list[Appended]:
        self.entered.set()
        assert self.gate.wait(20)
        return super().append(appends, now_ms)


@pytest.fixture
def gated(start_web: StartWeb) -> tuple[Web, GatedStream]:
    streams: list[GatedStream] = []

    def wrap(stream: Any) -> GatedStream:
        streams.append(GatedStream(stream))
        return streams[0]

    web = start_web(wrap_stream=wrap)
    return web, streams[0]


def test_a_full_disk_is_told_and_the_connection_lives_on(
    gated: tuple[Web, GatedStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    web, stream = gated
    with warm_connection(web, monkeypatch) as connection:
        stream.is_full = True
        connection.send(event(n=1))
        status, body = connection.receive()
        assert status == 503 and b'"storage"' in body
        stream.is_full = False
        connection.send(event(n=2))
        assert connection.receive()[0] == 202
        assert len(connection.short) == 2
    assert sent(web) == [event(n=2)]


def test_nothing_is_answered_before_it_is_stored(gated: tuple[Web, GatedStream], monkeypatch: pytest.MonkeyPatch) -> None:
    web, stream = gated
    with warm_connection(web, monkeypatch) as connection:
        stream.gate.clear()
        connection.send(event())
        wait_until(lambda: connection.short, "the request to be taken")
        connection.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.receive()
        assert sent(web) == []
        connection.sock.settimeout(10)
        stream.gate.set()
        assert connection.receive()[0] == 202


def test_a_client_that_does_not_wait_for_its_answer(gated: tuple[Web, GatedStream], monkeypatch: pytest.MonkeyPatch) -> None:
    web, stream = gated
    with warm_connection(web, monkeypatch) as connection:
        stream.gate.clear()
        connection.send(event(n=1))
        wait_until(lambda: connection.short, "the request to be taken")
    stream.gate.set()
    wait_until(lambda: sent(web) == [event(n=1)], "what was taken to be stored")
    assert web.post(event(n=2)).status_code == 202


def test_a_server_that_stops_answers_first(gated: tuple[Web, GatedStream], monkeypatch: pytest.MonkeyPatch) -> None:
    web, stream = gated
    with warm_connection(web, monkeypatch) as connection:
        stream.gate.clear()
        connection.send(event())
        wait_until(lambda: connection.short, "the request to be taken")
        web.server.should_exit = True
        wait_until(lambda: not connection_is_accepted(web), "the server to stop listening")
        stream.gate.set()
        assert connection.receive()[0] == 202
        with pytest.raises(ConnectionError):
            connection.receive()


def connection_is_accepted(web: Web) -> bool:
    try:
        raw_connection(web).close()
    except ConnectionRefusedError:
        return False
    return True
