"""`tally up`: locks the data directory, listens, prepares the databases, and runs the processes that do the work."""

import contextlib
import errno
import ipaddress
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import TallystreamError
from tallystream.local.child import WorkerSettings
from tallystream.local.clock import now_ms
from tallystream.local.data import DataDirectory
from tallystream.local.lock import WAIT_S
from tallystream.local.supervisor import ChildSpec, Supervisor
from tallystream.ports.counters import Generation
from tallystream.web.services import Tokens

_BACKLOG = 2_048  # connections that may wait to be accepted

_log = logging.getLogger(__name__)


class StartError(TallystreamError):
    """`tally up` cannot start as asked."""


class PortInUseError(StartError):
    """Something else listens on the port."""


class Started(NamedTuple):
    """What `tally up` tells its user once every process is ready."""

    url: str
    definition: Definition
    generations: list[Generation]


class UpSettings(NamedTuple):
    """What `tally up` is asked to do. Port 0 takes any free port."""

    definition_text: str
    data: Path
    host: str
    port: int
    workers: int
    log_format: str
    tokens: Tokens


def default_workers() -> int:
    """Return how many web workers to start where nobody says: two, if there are as many processors."""
    return min(2, len(os.sched_getaffinity(0)))


def up(
    settings: UpSettings, on_ready: Callable[[Started], None], more: Callable[[str], Sequence[ChildSpec]] = lambda _: ()
) -> None:
    """
    Serve and count until SIGTERM or SIGINT.

    Args:
        settings: what to do.
        on_ready: called once, when events can be taken and counted.
        more: given the URL, further processes to run as long as the server (`tally demo` sends traffic).

    Raises:
        TallystreamError: the definition, the directory, the address or a process is not as it must be.
    """
    definition = parse_definition(settings.definition_text)
    refuse_open_address(settings.host, settings.tokens)
    data = DataDirectory(settings.data)
    with contextlib.ExitStack() as resources:
        lock = resources.enter_context(data.lock("tally up", WAIT_S))
        listener = resources.enter_context(listen(settings.host, settings.port))
        generations = data.declare(definition)
        data.declare_alarms(definition)
        worker = WorkerSettings(
            name="counter",
            definition=definition,
            data=str(settings.data),
            log_format=settings.log_format,
            socket_fd=listener.fileno(),
            write_token=settings.tokens.write,
            read_token=settings.tokens.read,
            started_ms=now_ms(),
        )
        url = address_of(listener)
        # Each ends when nothing more comes from those after it, and nobody else has open the databases that it writes.
        children = [
            ChildSpec("counter", "tallystream.local.counter_worker", worker, (lock.fd,), stage=0),
            # Events are taken and counted whatever becomes of the alarms.
            ChildSpec(
                "alarms",
                "tallystream.local.alarm_worker",
                replace(worker, name="alarms"),
                (lock.fd,),
                stage=1,
                is_essential=False,
            ),
        ]
        children += [
            ChildSpec(name, "tallystream.local.web_worker", replace(worker, name=name), (lock.fd, listener.fileno()), stage=2)
            for name in (f"web-{number}" for number in range(1, settings.workers + 1))
        ]
        children += more(url)
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = resources.enter_context(_shared_memory())
        _log.info("starting", extra={"url": url, "data": str(settings.data), "workers": settings.workers})
        Supervisor(children, lambda: on_ready(Started(url, definition, generations))).run()
        _log.info("stopped")


def _shared_memory() -> tempfile.TemporaryDirectory[str]:
    """Make a directory in which the web workers' own metrics meet: in memory, because a full disk must not end them."""
    memory = Path("/dev/shm")  # noqa: S108  # the directory in it has a name of its own
    return tempfile.TemporaryDirectory(prefix="tallystream-", dir=memory if os.access(memory, os.W_OK) else None)


def read_tokens(environment: Mapping[str, str]) -> Tokens:
    """
    Return the tokens from TALLY_WRITE_TOKEN and TALLY_READ_TOKEN, or from the files that …_FILE names.

    Raises:
        StartError: a file cannot be read or is empty, or a token is given both ways.
    """
    return Tokens(_read_token(environment, "TALLY_WRITE_TOKEN"), _read_token(environment, "TALLY_READ_TOKEN"))


def _read_token(environment: Mapping[str, str], name: str) -> str | None:
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if file:
        if value:
            raise StartError(f"both {name} and {name}_FILE are set; unset one of them")
        try:
            value = Path(file).read_text().strip()
        except OSError as error:
            raise StartError(
                f"{name}_FILE names {file}, which cannot be read: {error.strerror}; mend that or unset it"
            ) from error
        if not value:
            raise StartError(f"{name}_FILE names {file}, which is empty; write the token into it, or unset {name}_FILE")
    return value or None


def refuse_open_address(host: str, tokens: Tokens, *, is_read_only: bool = False) -> None:
    """
    Raise StartError if an address that others can reach would be served without both tokens, or the host is unknown.

    Where nothing can be written, the read token is enough.
    """
    needed = {"TALLY_WRITE_TOKEN": tokens.write, "TALLY_READ_TOKEN": tokens.read}
    if is_read_only:
        del needed["TALLY_WRITE_TOKEN"]
    missing = [name for name, token in needed.items() if not token]
    if missing and not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in _resolve(host, 0)):
        can, both, files = "send events or read", "both", "files with TALLY_WRITE_TOKEN_FILE and"
        if is_read_only:
            can, both, files = "read", "it", "a file with"
        raise StartError(
            f"--host {host} can be reached from other machines, but nothing is set for {' and '.join(missing)}: "
            f"anybody could {can} the counts. Set {both} in the environment (or name {files} TALLY_READ_TOKEN_FILE), "
            "or listen on 127.0.0.1"
        )


_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


def _resolve(host: str, port: int) -> Sequence[_AddressInfo]:
    """Return what a name or address stands for; see socket.getaddrinfo."""
    try:
        return socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"--host {host} is no address of this machine: {reason}; give one, such as 127.0.0.1") from error


def listen(host: str, port: int) -> socket.socket:
    """
    Return a socket that listens, for the web workers to inherit.

    Raises:
        StartError: the address is not ours, or the port is in use or not allowed.
    """
    family, kind, protocol, _, address = _resolve(host, port)[0]
    try:
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except PermissionError as error:
        raise StartError(f"this user may not listen on port {port}; give one from 1024 on with --port") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} on {host} is in use; give another with --port, or 0 for any that is free"
            ) from error
        raise StartError(f"cannot listen on {host} port {port}: {error.strerror}; give another --host or --port") from error
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of who listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
