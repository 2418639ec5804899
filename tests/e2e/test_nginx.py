"""Real logs: Debian's nginx writes its access log as examples/nginx says, and every request in it is counted."""

import http.client
import json
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.server import ROOT, TALLY, tally_environment
from tests.waiting import wait_until

EXAMPLE = ROOT / "examples" / "nginx"
CONFIG = """
{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{example}
    server {{
        listen 127.0.0.1:{port};
        root {directory}/www;
        location /fails {{ return 503; }}
    }}
}}
"""


class Nginx:
    """A running nginx with the example's log format."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.log = directory / "access.json"
        self.log.touch()
        (directory / "www").mkdir()
        (directory / "www" / "index.html").write_text("hello")
        example = (EXAMPLE / "tally.conf").read_text().replace("/var/log/nginx/access.json", str(self.log))
        config = directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # else its workers could not read the test's directory
        config.write_text(CONFIG.format(user=user, directory=directory, port=port, example=example))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        assert Path(program).exists(), (
            "no nginx to test its log with; install it with `make setup`, or: apt-get install nginx-light"
        )
        self.process = subprocess.Popen([program, "-p", str(directory), "-c", str(config)], stderr=subprocess.DEVNULL)
        wait_until(self._listens, "nginx to listen")

    def _listens(self) -> bool:
        assert self.process.poll() is None
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path: str, user_agent: bytes = b"test") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection):
            connection.putrequest("GET", path)
            connection.putheader("User-Agent", user_agent)
            connection.endheaders()
            response = connection.getresponse()
            response.read()
            return response.status


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    directory = tmp_path / "nginx"
    directory.mkdir()
    running = Nginx(directory, port)
    yield running
    running.process.terminate()
    running.process.wait(10)


def test_every_request_in_the_log_is_counted(nginx: Nginx, tally_server: StartServer) -> None:
    server = tally_server((EXAMPLE / "tally.toml").read_text())
    statuses = Counter[int]()
    with ExitStack() as pipe:
        tail = pipe.enter_context(subprocess.Popen(["tail", "-n", "+1", "-F", str(nginx.log)], stdout=subprocess.PIPE))
        ingest = pipe.enter_context(
            subprocess.Popen(
                [*TALLY, "ingest", "-", "--url", server.url],
                stdin=tail.stdout,
                env=tally_environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        pipe.callback(ingest.terminate)
        pipe.callback(tail.terminate)
        for number in range(300):
            path = ("/", f"/missing/{number % 7}", '/a"b\\c?q=<script>', "/fails", "/%E2%82%AC", "/%00", "/index.html")[
                number % 7
            ]
            statuses[nginx.get(path, b'say "hi" \\ \xe2\x82\xac')] += 1
        assert nginx.get("/", b"latin-1: \xe9") == 200  # such bytes are no JSON text
        logged = wait_until(lambda: complete_log(nginx.log, requests=301), "the log")
        wait_until(lambda: server.get("/v1/ledger")["received"] == len(logged), "the log to be counted")

    ledger = server.get("/v1/ledger")
    assert ledger == {
        "received": len(logged), "counted": len(logged) - 1, "unmatched": 0, "late": 0, "rejected": 1, "duplicate": 0,
    }  # fmt: skip
    answer = server.get("/v1/query", counter="requests", window="1h", to="now", **{"from": "-2h"})
    found = {series["group"]["status"]: series["total"] for series in answer["series"]}
    assert {status: count for status, count in found.items() if status != 0} == statuses
    assert server.get("/v1/rejected")["reasons"] == {"invalid_utf8": 1}


def read(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines()


def complete_log(log: Path, requests: int) -> list[bytes]:
    """Return the log's lines once it holds so many requests; a connection that closed without one has a line with status 0."""
    lines = read(log)
    return lines if sum(b'"status":0,' not in line for line in lines) == requests else []


def test_the_example_reads_back_what_was_asked_for(nginx: Nginx) -> None:
    nginx.get('/a"b\\c', b'say "hi"')
    (line,) = wait_until(lambda: [found for found in read(nginx.log) if b'"status":0,' not in found], "the log")
    event = json.loads(line)
    assert (event["event"], event["method"], event["path"], event["status"]) == ("request", "GET", '/a"b\\c', 404)
    assert event["user_agent"] == 'say "hi"'
