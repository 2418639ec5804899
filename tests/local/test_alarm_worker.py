"""The process of the alarms, as `tally up` runs it: from an event to a receiver, through kills and receivers that hang."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from tallystream.core.definition_text import parse_definition
from tallystream.local import alarm_worker
from tallystream.local.channels import make_senders
from tallystream.local.data import DataDirectory
from tallystream.ports.alarms import AlarmKey
from tests.conftest import StartServer
from tests.server import TallyServer
from tests.waiting import wait_until

NOW_MS = 1_795_433_580_000
KILLS = 5  # the supervisor takes eight in a row for a sign that something is broken
GROUPS = 60
RSS_BYTES_MAX = 40e6

DEFINITION = """
name = "test"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
[[alarm]]
name = "seen"
counter = "events"
window = "1m"
group_by = "each"
groups_max = 1000
comparison = ">="
threshold = 1
treat_missing_data = "ignore"
notify = {{ alarm = ["{channel}"] }}
"""
HOOK = """
[[notify]]
name = "hook"
type = "webhook"
url = "{url}"
allow_private = true
group_wait = "0s"
"""


class Receiver:
    """An HTTP server that remembers which message told of which group."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []  # (group, message id)
        self.before_answer: Callable[[int], None] = lambda _: None  # with how many requests there were
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
                (dimension,) = body["Trigger"]["Dimensions"]
                with receiver._lock:
                    receiver.told.append((dimension["value"], self.headers["Tallystream-Message-Id"]))
                    receiver.before_answer(len(receiver.told))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def groups(self) -> set[str]:
        return {group for group, _ in self.told}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with closing(Receiver()) as made:
        yield made


def alarm_process(server: TallyServer) -> int | None:
    """Return the id of the process that evaluates and delivers; None: it has ended, and is started again."""
    found = server.children().get("alarm_worker")
    return found[0] if found else None


def send_groups(server: TallyServer, groups: range) -> None:
    server.send([{"event": f"e{number}", "time": time.time()} for number in groups])


def test_kills_in_the_midst_of_deliveries_lose_none_and_double_those_alone(
    tally_server: StartServer, receiver: Receiver
) -> None:
    server = tally_server(DEFINITION.format(channel="hook") + HOOK.format(url=receiver.url))
    killed: list[int] = []
    kill_at = 0  # somewhere among the deliveries; the receiver has taken the message, and its sender does not know

    def kill(requests: int) -> None:
        if requests == kill_at:
            pid = alarm_process(server)
            assert pid is not None
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    receiver.before_answer = kill
    for number in range(KILLS):
        kill_at = len(receiver.told) + 10 + 7 * number
        send_groups(server, range(number * GROUPS, (number + 1) * GROUPS))
        wait_until(lambda: len(killed) == number + 1, "the process to be killed", 30)  # noqa: B023
        wait_until(lambda: alarm_process(server) not in [None, *killed], "the process to be started again")
    expected = {f"e{number}" for number in range(KILLS * GROUPS)}
    wait_until(lambda: receiver.groups() == expected, "all notifications to arrive", 60)
    assert server.log().count("alarms ended with SIGKILL") == KILLS
    assert server.stop() == 0

    # One message tells of a group, however often it came.
    messages = set(receiver.told)
    assert len(messages) == len({message_id for _, message_id in messages}) == len(expected)
    assert len(receiver.told) - len(messages) == KILLS
    with closing(DataDirectory(server.data).open_alarms(read_only=True)) as alarms:
        updates = Counter(item.key for item in alarms.history(limit=10_000) if item.kind == "StateUpdate")
        actions = Counter(item.key for item in alarms.history(limit=10_000) if item.kind == "Action")
        assert updates == actions == {AlarmKey("seen", f'["{group}"]'): 1 for group in expected}


def test_a_channel_without_its_secret_says_so_and_leaves_the_others_alone(
    tally_server: StartServer, receiver: Receiver
) -> None:
    definition = DEFINITION.format(channel="hook").replace('"hook"', '"hook", "chat"') + HOOK.format(url=receiver.url)
    server = tally_server(definition + '\n[[notify]]\nname = "chat"\ntype = "slack"\nurl_env = "CHAT_URL"\ngroup_wait = "0s"\n')
    send_groups(server, range(1))
    wait_until(lambda: receiver.groups() == {"e0"}, "the notification to arrive")
    (failed,) = wait_until(lambda: server.get("/v1/notifications")["undelivered"], "the failure to be shown")
    assert failed["channel"] == "chat"
    assert "CHAT_URL is not set" in failed["error"]
    assert "through chat was not delivered, tried again in" in server.log()


def test_a_receiver_that_hangs_delays_neither_others_nor_the_end(tally_server: StartServer, receiver: Receiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # it accepts, and never answers
        url = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
        definition = DEFINITION.format(channel="hook").replace('"hook"', '"stuck", "hook"') + HOOK.format(url=receiver.url)
        server = tally_server(definition + HOOK.format(url=url).replace('"hook"', '"stuck"'))
        send_groups(server, range(1))
        connection, _ = hanging.accept()
        with connection:
            send_groups(server, range(1, 20))
            wait_until(lambda: len(receiver.groups()) == 20, "the other channel's notifications to arrive")
            stopped_s = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - stopped_s < 10
    assert "it is made again at the next start" in server.log()
    again = tally_server(definition + HOOK.format(url=receiver.url).replace('"hook"', '"stuck"'), data=server.data)
    wait_until(lambda: len(receiver.told) == 40, "what the other receiver did not take to arrive here")
    assert again.get("/v1/notifications")["undelivered"] == []


def test_a_disk_that_takes_nothing_for_a_while_loses_and_doubles_nothing(tally_server: StartServer, receiver: Receiver) -> None:
    server = tally_server(DEFINITION.format(channel="hook") + HOOK.format(url=receiver.url))
    pid = alarm_process(server)
    assert pid is not None
    # As on a full disk, every commit fails; but for this process only, and its log, which is short, goes on.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8_000, resource.RLIM_INFINITY))
    send_groups(server, range(5))
    wait_until(lambda: "alarms wait, none is lost" in server.log(), "the failure to be logged")
    assert receiver.told == []
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: len(receiver.told) == 5, "the notifications to arrive")
    assert len(receiver.groups()) == 5
    assert alarm_process(server) == pid


def test_it_stays_small(tally_server: StartServer, receiver: Receiver) -> None:
    server = tally_server(DEFINITION.format(channel="hook") + HOOK.format(url=receiver.url))
    send_groups(server, range(100))
    wait_until(lambda: len(receiver.groups()) == 100, "the notifications to arrive", 30)
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{alarm_process(server)}/status").read_text())
    assert found
    assert int(found[1]) * 1_024 < RSS_BYTES_MAX


def test_it_loads_nothing_of_the_web() -> None:
    code = "import sys, tallystream.local.alarm_worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tallystream.engine.notify" in loaded
    assert {"starlette", "uvicorn", "prometheus_client", "rich", "click", "smtplib"} & set(loaded) == set()


def test_each_window_of_ten_seconds_has_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = parse_definition(DEFINITION.format(channel="hook") + HOOK.format(url="http://127.0.0.1:1"))
    data = DataDirectory(tmp_path / "data")
    data.path.mkdir()
    stop = threading.Event()
    clock_ms = NOW_MS

    def pass_time(*_: object) -> None:
        nonlocal clock_ms
        clock_ms += 700  # a round; 15 of them are a little longer than ten seconds
        if clock_ms >= NOW_MS + 600_000:
            stop.set()

    monkeypatch.setattr(alarm_worker, "now_ms", lambda: clock_ms)
    monkeypatch.setattr(alarm_worker, "_wait", pass_time)
    monkeypatch.setattr(alarm_worker, "time", SimpleNamespace(monotonic=lambda: clock_ms / 1_000))
    stream, store = data.open(definition)
    with closing(stream), closing(store), closing(data.open_alarms()) as alarms:
        data.declare(definition)
        delivery = alarm_worker.Delivery(alarms, definition, make_senders(definition, {}), stop)
        delivery.start()
        alarm_worker.run(definition, data, stream, store, alarms, delivery, stop)
        assert delivery.end(10)
        samples = alarms.samples("disk_free_percent", NOW_MS, NOW_MS + 600_000)
    assert [at_ms // 10_000 for at_ms, _ in samples] == list(range(NOW_MS // 10_000, NOW_MS // 10_000 + 60))
