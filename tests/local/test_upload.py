"""Uploading: what a bad network does to requests must not show in the counts."""

import http.client
import http.server
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tallystream.local.blocks import PIECE_BYTES_MAX
from tallystream.local.ingest import PositionError, ingest
from tallystream.local.source import FileSource
from tallystream.local.upload import UploadError, UploadSink
from tallystream.ports.stream import SourcePosition, SourceRange
from tests.conftest import StartServer
from tests.plain import DEFINITION, line
from tests.server import TALLY, TallyServer, tally_environment
from tests.waiting import wait_until


class Misfortune:
    """A proxy that spoils requests: every one on the first try, in turn by another of its ways."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target).netloc
        self._tries: dict[bytes, int] = {}
        self.spoiled: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.pass_on(self, self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                proxy.pass_on(self, b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def pass_on(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        first = body not in self._tries
        self._tries[body] = self._tries.get(body, 0) + 1
        way = ["lose the answer", "lose the request", "busy", "broken"][len(self.spoiled) % 4] if first and body else None
        if way:
            self.spoiled.append(way)
        if way == "lose the request":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        if way in {"busy", "broken"}:
            request.send_response(429 if way == "busy" else 503)
            request.send_header("Retry-After", "0")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        with closing(http.client.HTTPConnection(self._target)) as connection:
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            text = answer.read()
        if way == "lose the answer":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
            return
        request.send_response(answer.status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(tally_server: StartServer) -> TallyServer:
    return tally_server(DEFINITION)


@pytest.fixture
def misfortune(server: TallyServer) -> Iterator[Misfortune]:
    with closing(Misfortune(server.url)) as made:
        yield made


def wait_counted(server: TallyServer, events: int) -> None:
    wait_until(lambda: server.get("/v1/ledger")["received"] == events, "the events to be counted")


def test_a_file_through_a_bad_network_is_counted_once(tmp_path: Path, server: TallyServer, misfortune: Misfortune) -> None:
    events = 100_000
    path = tmp_path / "e"
    path.write_bytes(b"".join(line(number) + b"\n" for number in range(events)) + b"nonsense\n")
    said: list[str] = []
    with closing(UploadSink(misfortune.url, None, 60, said.append)) as sink:
        outcome = ingest(FileSource(path), sink, again=False, on_progress=lambda _: None)
        assert outcome.events == events + 1
        assert sink.rejected == {"invalid_json": 1}
    wait_counted(server, events + 1)
    assert server.get("/v1/ledger")["counted"] == events
    assert len(set(misfortune.spoiled)) == 4
    assert len(said) == len(misfortune.spoiled)


def test_lines_of_a_pipe_through_a_bad_network_are_counted_once(server: TallyServer, misfortune: Misfortune) -> None:
    with closing(UploadSink(misfortune.url, None, 60, lambda _: None)) as sink:
        for number in range(8):
            sink.store([line(number)], None)
    wait_counted(server, 8)
    assert len(misfortune.spoiled) == 8


def test_blank_stretches_of_a_pipe_are_passed_over(server: TallyServer) -> None:
    text = line(0) + b"\n" + b"\n" * 4 * PIECE_BYTES_MAX + line(1)
    command = [*TALLY, "ingest", "--url", server.url, "-"]
    for body, events in ((text, 2), (b"[]", 0)):
        done = subprocess.run(command, input=body, env=tally_environment(), check=False, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"%d events" % events)


def test_equal_lines_of_a_pipe_are_all_counted(server: TallyServer) -> None:
    with closing(UploadSink(server.url, None, 60, lambda _: None)) as sink:
        for _ in range(3):
            sink.store([line(0)], None)
    wait_counted(server, 3)


def test_lines_that_compress_very_well_are_no_bomb(server: TallyServer) -> None:
    with closing(UploadSink(server.url, None, 60, lambda _: None)) as sink:
        sink.store([line(0)] * 15_000, None)
    wait_counted(server, 15_000)


@pytest.mark.parametrize("text", [b"{}\n" * 250_000, b"[" + b"1," * 250_000 + b"1]"], ids=["lines", "array"])
def test_so_many_tiny_events_that_a_block_of_them_takes_two_requests(tmp_path: Path, server: TallyServer, text: bytes) -> None:
    (tmp_path / "e").write_bytes(text)
    events = text.count(b"{}") or text.count(b"1")
    with closing(UploadSink(server.url, None, 60, lambda _: None)) as sink:
        assert ingest(FileSource(tmp_path / "e"), sink, again=False, on_progress=lambda _: None).events == events
        assert sum(sink.rejected.values()) == events  # also those that the answers do not list
    wait_counted(server, events)


def test_a_source_that_stands_elsewhere_is_refused(server: TallyServer) -> None:
    with closing(UploadSink(server.url, None, 60, lambda _: None)) as sink:
        sink.store([line(0)], SourceRange("s", 0, 10, "mark"))
        assert sink.position("s") == SourcePosition(10, "mark")
        with pytest.raises(PositionError, match="up to byte 10 already"):
            sink.store([line(1)], SourceRange("s", 5, 20))
    wait_counted(server, 1)


def test_tokens(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, environment={"TALLY_WRITE_TOKEN": "write", "TALLY_READ_TOKEN": "read"})
    with closing(UploadSink(server.url, "write", 60, lambda _: None)) as sink:
        assert sink.position("s") == SourcePosition()
        sink.store([line(0)], SourceRange("s", 0, 10))
    stranger = UploadSink(server.url, None, 60, lambda _: None)
    with closing(stranger), pytest.raises(UploadError, match=r"answered 401: .*--token-env"):
        stranger.store([line(0)], None)


def test_gives_up_with_the_reason(server: TallyServer) -> None:
    server.stop()
    sink = UploadSink(server.url, None, 0.3, lambda _: None)
    with closing(sink), pytest.raises(UploadError, match=r"cannot be reached .*goes on where it stopped"):
        sink.store([line(0)], None)


def test_killed_while_it_sends_and_run_again(tmp_path: Path, server: TallyServer) -> None:
    events = 60_000
    (tmp_path / "e").write_bytes(b"".join(line(number) + b"\n" for number in range(events)))
    command = [*TALLY, "ingest", "e", "--url", server.url]
    running = subprocess.Popen(command, cwd=tmp_path, env=tally_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with running:
        wait_until(lambda: server.get("/v1/ledger")["received"] > 0, "it to get on")
        running.send_signal(signal.SIGKILL)
    done = subprocess.run(command, cwd=tmp_path, env=tally_environment(), check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    wait_counted(server, events)
    done = subprocess.run(command, cwd=tmp_path, env=tally_environment(), check=True, capture_output=True)
    assert done.stdout.startswith(b"0 events in ")
