"""Runs the application with uvicorn, and stops it without waiting for the live streams."""

import socket

import uvicorn

from tallystream.web.app import App
from tallystream.web.protocol import IngestProtocol
from tallystream.web.site import Site

_KEEP_ALIVE_S = 75  # longer than the usual proxy keeps an idle connection, so that it is the proxy that closes it
_SHUTDOWN_S = 5


class Server(uvicorn.Server):
    """Serves an application until `should_exit` is set, or SIGINT or SIGTERM comes."""

    def __init__(self, app: Site) -> None:
        self._app = app
        super().__init__(
            uvicorn.Config(
                app,
                http=IngestProtocol if isinstance(app, App) else "httptools",
                loop="uvloop",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=2048,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_SHUTDOWN_S,
            )
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests under way, and stop."""
        self._app.close_streams()
        await super().shutdown(sockets)
