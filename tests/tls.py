"""TLS in front of a server on this machine that speaks none."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator

import trustme


@contextlib.contextmanager
def tls_front(host: str, port: int, *names: str) -> Iterator[int]:
    """Pass on what comes over TLS to a port and what it answers; yield the port of the front, which is known by names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(*names).configure_cert(context)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.connection, server_side=True) as outer,
                socket.create_connection((host, port)) as inner,
            ):
                back = threading.Thread(target=_pass_on, args=(inner, outer), daemon=True)
                back.start()
                _pass_on(outer, inner)
                back.join()

    class Front(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Front(("127.0.0.1", 0), Handler) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        try:
            yield front.server_address[1]
        finally:
            front.shutdown()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
