"""A process that serves HTTP: `python -m tallystream.local.web_worker`, started by `tally up`."""

import gc
import logging
import signal
import socket
from pathlib import Path

import tallystream
import tallystream.web
from tallystream.engine.retry import retry_rejected
from tallystream.local.child import WorkerSettings, announce_ready, end_with_parent, read_settings
from tallystream.local.clock import now_ms
from tallystream.local.data import DataDirectory
from tallystream.local.logs import set_up_logs
from tallystream.web.app import create_app
from tallystream.web.server import Server
from tallystream.web.services import Services, Tokens

STATIC_DIR = Path(tallystream.web.__file__).parent / "static"


def main() -> None:
    """Serve until told to stop; then take no more requests, finish those under way, and end."""
    settings = read_settings(WorkerSettings)
    set_up_logs(settings.log_format, settings.name)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the supervisor tells of starts and ends
    # The server raises the signal that ended it once more when it is done; by then its work is done.
    signal.signal(signal.SIGTERM, lambda *_: None)
    with socket.socket(fileno=settings.socket_fd) as listener:
        server = _Server(create_app(_services(settings)))
        gc.freeze()  # what is there now stays: no need to look through it again and again for garbage
        server.run(sockets=[listener])


class _Server(Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        end_with_parent()
        if self.started:
            announce_ready()


def _services(settings: WorkerSettings) -> Services:
    definition = settings.definition
    data = DataDirectory(Path(settings.data))
    stream, store = data.open(definition)
    return Services(
        definition=definition,
        stream=stream,
        store=store,
        alarms=data.open_alarms(),
        now_ms=now_ms,
        disk_usage=data.disk_usage,
        retry_rejected=lambda reason, at_ms: retry_rejected(store, definition, reason, at_ms),
        static_dir=STATIC_DIR,
        version=tallystream.__version__,
        started_ms=settings.started_ms,
        tokens=Tokens(settings.write_token, settings.read_token),
    )


if __name__ == "__main__":
    main()
