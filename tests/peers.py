"""Servers that channels talk to: real ones for mail, and peers that behave in any way a test wants."""

import asyncio
import contextlib
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.waiting import wait_until

Talk = Callable[[socket.socket, threading.Event], None]
"""What a peer does with a connection; the event is set when the peer is to end."""


class Peer:
    """A server on a socket, whose behaviour is a function; a context manager."""

    def __init__(self, talk: Talk, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self._talk = talk
        self._tls = tls
        self._listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as open_ones:
            open_ones.enter_context(connection)
            connection.settimeout(10)
            if self._tls is not None:
                connection = open_ones.enter_context(self._tls.wrap_socket(connection, server_side=True))
            self._talk(connection, self._ended)


class Request(NamedTuple):
    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes


def read_request(connection: socket.socket) -> Request:
    """Read an HTTP request whole."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += _received(connection)
    return Request(line, headers, body)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65_536)
    if not data:
        raise ConnectionError
    return data


def answering(status: str, body: bytes = b"", headers: str = "", requests: list[Request] | None = None) -> Talk:
    """Return what an ordinary HTTP server does."""

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        request = read_request(connection)
        if requests is not None:
            requests.append(request)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)

    return talk


def hanging(greeting: bytes = b"") -> Talk:
    """Return what a server does that says something, or nothing, and then no more."""

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(greeting)
        ended.wait(10)

    return talk


def dripping(piece: bytes, every_s: float = 0.02) -> Talk:
    """Return what a server does that never ends, and is never still."""

    def talk(connection: socket.socket, ended: threading.Event) -> None:
        while not ended.wait(every_s):
            connection.sendall(piece)

    return talk


class Certificates:
    """A certificate authority of its own; `pem` is the file that makes others trust it."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.pem = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.pem))

    def server(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


class Mailbox:
    """
    A handler of aiosmtpd that keeps what it gets.

    Attributes:
        refused: recipient → the answer to it.
        data_answer: the answer to a whole mail; one that does not begin with 250 refuses it.
    """

    def __init__(self) -> None:
        self.mails: list[Envelope] = []
        self.were_secure: list[bool] = []
        self.refused: dict[str, str] = {}
        self.data_answer = "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802  # aiosmtpd's
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data_answer.startswith("250"):
            self.mails.append(envelope)
            self.were_secure.append(session.ssl is not None)
        return self.data_answer


class MailServer(NamedTuple):
    port: int
    box: Mailbox


@contextlib.contextmanager
def mail_server(
    host: str = "127.0.0.1",
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: tuple[str, str] | None = None,
) -> Iterator[MailServer]:
    """Run aiosmtpd in a thread; with `login`, whoever sends must have logged in."""
    box = Mailbox()
    loop = asyncio.new_event_loop()

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == login, handled=False)  # aiosmtpd answers

    def make() -> SMTP:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it asks for a login without STARTTLS: TLS is there already
            return SMTP(
                box,
                loop=loop,
                hostname="mail.test",
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=login is not None,
                auth_require_tls=tls is None,
                authenticator=authenticate,
                enable_SMTPUTF8=True,
            )

    server = loop.run_until_complete(loop.create_server(make, host, 0, ssl=tls))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def close() -> None:
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield MailServer(port, box)
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        wait_until(lambda: not loop.is_running(), "the mail server to end")
        loop.close()
