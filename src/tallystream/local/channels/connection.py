"""
Connections to servers that somebody else runs: where they may lead, and how long they may take in all.

What is raised here names no host and no address: it is shown to whoever may see the alarms.
"""

import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tallystream.engine.notify import DeliveryError

DELIVERY_S_MAX: Final = 30.0
"""For everything of one delivery together: looking up the name, connecting, sending, the answer."""

_CONNECT_S_MAX: Final = 10.0  # for one of several addresses
_HOSTNAME_MISMATCH: Final = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class Deadline:
    """A moment by which a delivery has ended."""

    def __init__(self, seconds: float = DELIVERY_S_MAX) -> None:
        self._seconds = seconds
        self._at_s = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """
        Return how many seconds are left, > 0.

        Raises:
            DeliveryError: none.
        """
        left_s = self._at_s - time.monotonic()
        if left_s <= 0:
            raise DeliveryError(f"the server did not finish within {self._seconds:g} s")
        return left_s

    def check(self) -> None:
        """Raise DeliveryError if no time is left."""
        _ = self.left_s


def is_public(address: str) -> bool:
    """
    Return whether an IP address is one of the public internet.

    Private, loopback, link-local, multicast, unspecified, reserved and shared (CGNAT) ones are not, and no IPv6 address that
    stands for such an IPv4 address is: mapped, NAT64, 6to4, Teredo.
    """
    ip: _Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            ip = ipaddress.IPv4Address(ip.packed[-4:])
        elif ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip.sixtofour is not None or ip.teredo is not None or ip.is_site_local:
            return False  # tunnels that nobody uses any more, other than to come in by the back door
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def open_connection(host: str, port: int, deadline: Deadline, *, allow_private: bool) -> socket.socket:
    """
    Return a connected socket.

    The name is looked up once, and what is judged is what is connected to: a name that answers differently each time it is
    asked leads nowhere else.

    Raises:
        DeliveryError: the name is unknown, an address of it is not public and that is not allowed, or nobody answers.
    """
    addresses = _resolve(host, port, deadline)
    if not allow_private and not all(is_public(address[0]) for *_, address in addresses):
        raise DeliveryError(
            "the server's address is a private one, of this machine or of its network, which is not allowed; "
            "if that is meant, set allow_private = true for the channel"
        )
    problem = ""
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(min(_CONNECT_S_MAX, deadline.left_s))
            connection.connect(address)
            connection.settimeout(deadline.left_s)
        except OSError as error:
            connection.close()
            problem = describe_failure(error)
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise DeliveryError(f"the server cannot be reached: {problem}")


def _resolve(host: str, port: int, deadline: Deadline) -> Sequence[_AddressInfo]:
    # The system's resolver takes no timeout, so it is left behind when it takes too long.
    answers: queue.SimpleQueue[Sequence[_AddressInfo] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # told to whoever waits
            answers.put(error)

    threading.Thread(target=look_up, name="resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=deadline.left_s)
    except queue.Empty:
        raise DeliveryError("the server's name was not found in time; is the name server at work?") from None
    if isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN:
        raise DeliveryError("the server's name cannot be looked up at present; is the network at work?")
    if isinstance(answer, Exception):
        raise DeliveryError("the server's name is unknown; mend the host")
    return answer


def secure(connection: socket.socket, host: str) -> ssl.SSLSocket:
    """Return the connection with TLS, once the server's certificate was found to be of this host. See describe_failure."""
    return ssl.create_default_context().wrap_socket(connection, server_hostname=host)


@contextlib.contextmanager
def cut_off(connection: socket.socket, deadline: Deadline) -> Iterator[None]:
    """
    End a connection when the deadline has come, whatever waits for it then.

    A timeout of a socket begins anew with each byte, so a server that sends one now and then could go on for ever.
    """
    twin = connection.dup()  # stays the same connection when TLS takes the other over

    def shut() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline.left_s, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        twin.close()


def describe_failure(error: OSError) -> str:
    """Return what went wrong with a connection, in a few words without a name or an address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _HOSTNAME_MISMATCH:
            return "the server's certificate is for another host"
        return f"the server's certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "the server closed the connection before it had answered"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'unknown reason'}); is that the right port?"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    return error.strerror or type(error).__name__
