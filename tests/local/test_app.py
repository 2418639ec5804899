"""`tally up` as its users meet it: starting, refusing to start, going on after anything, ending."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import TallystreamError
from tallystream.local.app import listen, read_tokens, refuse_open_address
from tallystream.local.data import DataDirectory
from tallystream.local.verify import verify
from tallystream.web.services import Tokens
from tests.conftest import StartServer
from tests.server import TALLY, tally_environment
from tests.waiting import wait_until

DEFINITION = """
name = "test"
[stream]
event_time = "time"
[[counter]]
name = "events"
group_by = ["event"]
windows = ["1m"]
"""
EVENT = {"event": "a", "time": 1_790_000_000}


def up(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a `tally up` that is to end by itself."""
    (directory / "tally.toml").write_text(DEFINITION)
    return subprocess.run(
        [*TALLY, "up", "--port", "0", *arguments],
        cwd=directory,
        env=tally_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_is_ready_quickly_counts_and_ends_well(tally_server: StartServer) -> None:
    started_s = time.monotonic()
    server = tally_server(DEFINITION, "--workers", "2")
    assert {module: len(pids) for module, pids in server.children().items()} == {
        "counter_worker": 1,
        "alarm_worker": 1,
        "web_worker": 2,
    }
    server.send([EVENT])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 1, "the event to be counted")
    # Promised are 3 s; the machine of the tests may be busy.
    assert time.monotonic() - started_s < 20
    stopped_s = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - stopped_s < 10
    # Whoever copies the three files of a stopped server has everything.
    assert sorted(path.name for path in server.data.iterdir()) == ["alarms.db", "counters.db", "lock", "stream.db"]


def test_the_whole_server_stays_small(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    for _ in range(20):
        server.send([{"event": f"e{n}", "time": 1_790_000_000 + n} for n in range(5_000)])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 100_000, "the events to be counted", 60)
    pids = [server.process.pid, *(pid for pids in server.children().values() for pid in pids)]
    assert sum(resident_bytes(pid) for pid in pids) < 250e6


def resident_bytes(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1_024


def test_a_second_server_is_refused_with_directory_and_process(tmp_path: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    second = up(tmp_path, "--data", str(server.data))
    assert second.returncode == 1
    assert f"{server.data} is in use by tally up (process {server.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr


def test_goes_on_at_once_after_sigkill_of_the_supervisor(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    server.send([EVENT])
    server.process.kill()
    again = tally_server(DEFINITION, data=server.data)
    again.send([EVENT])
    wait_until(lambda: again.get("/v1/ledger")["counted"] == 2, "both events to be counted")


@pytest.mark.parametrize("module", ["counter_worker", "web_worker"])
def test_a_killed_child_is_replaced_and_nothing_is_lost(tally_server: StartServer, module: str) -> None:
    server = tally_server(DEFINITION, "--workers", "1")
    server.send([EVENT])
    (pid,) = server.children()[module]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.children().get(module, [pid]) != [pid], "another child")
    server.client.close()  # its connection ended with the web worker
    server.client = httpx.Client(base_url=server.url, timeout=30.0, trust_env=False)
    server.send([EVENT])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 2, "both events to be counted")
    assert f"{'counter' if module == 'counter_worker' else 'web-1'} ended with SIGKILL" in server.log()


def test_a_disk_that_takes_nothing_for_a_while_loses_nothing(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, "--workers", "1")
    accepted = server.send([EVENT] * 10)["accepted"]
    wait_until(lambda: server.get("/v1/ledger")["counted"] == accepted, "the events to be counted")
    workers = [pid for pids in server.children().values() for pid in pids]
    # As on a full disk, every write fails; but for these processes only.
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    for _ in range(3):
        refused = server.client.post("/v1/events", json=EVENT)
        assert (refused.status_code, refused.json()["error"]) == (503, "storage")
    (counter,) = server.children()["counter_worker"]
    (web,) = server.children()["web_worker"]
    resource.prlimit(web, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    accepted += server.send([EVENT] * 10)["accepted"]
    assert sum(shard["lag_events"] for shard in server.get("/v1/health")["shards"]) == 10
    resource.prlimit(counter, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    wait_until(lambda: server.get("/v1/ledger")["counted"] == accepted == 20, "counting to go on by itself")
    assert sorted(workers) == sorted(pid for pids in server.children().values() for pid in pids)
    assert verify(DataDirectory(server.data), parse_definition(DEFINITION)).differences == []


def test_says_what_it_counts_and_when_a_counter_changed(tmp_path: Path, tally_server: StartServer) -> None:
    server = tally_server(DEFINITION)
    server.send([EVENT])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 1, "the event to be counted")
    server.stop()
    changed = DEFINITION.replace('windows = ["1m"]', 'windows = ["1h"]\nwhere = "n > 1"')
    said = greeting(tmp_path, changed, server.data)
    assert "events: count by event, every 1h" in said
    assert "counter 'events' changed: generation 2 starts now; its earlier counts stay, apart" in said
    assert "generation" not in greeting(tmp_path, changed, server.data)


def greeting(directory: Path, definition: str, data: Path) -> str:
    """Start a server, end it, and return what it said."""
    (directory / "tally.toml").write_text(definition)
    command = [*TALLY, "up", "--port", "0", "--data", str(data)]
    with subprocess.Popen(command, cwd=directory, env=tally_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.terminate()
        return first + process.stdout.read()


def test_the_log_as_json_is_json(tally_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "tally.toml").write_text(DEFINITION)
    command = [*TALLY, "up", "--port", "0", "--log-format", "json"]
    with subprocess.Popen(command, cwd=tmp_path, env=tally_environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[dict[str, Any]] = []
        while not lines or lines[-1]["message"] != "ready":
            lines.append(json.loads(process.stderr.readline()))
        process.terminate()
        lines += [json.loads(line) for line in process.stderr]
    assert lines[-1]["message"] == "stopped"
    ready = next(line for line in lines if line["message"] == "ready")
    assert ready["counters"] == {"events": 1}
    assert ready["url"].startswith("http://127.0.0.1:")


# What it refuses.


def test_mistakes_in_the_definition(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(DEFINITION.replace('"1m"', '"7m"').replace('"time"', "5"))
    done = up(tmp_path, "--config", "wrong.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("tally: the definition has 2 mistakes:\n\nstream.event_time\n")


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = up(tmp_path, "--port", str(port))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"port {port} on 127.0.0.1 is in use; give another with --port" in done.stderr
        demo = subprocess.run(
            [*TALLY, "demo", "--port", str(port)],
            cwd=tmp_path,
            env=tally_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert demo.returncode == 1
        assert f"make demo PORT={port + 1}" in demo.stderr


def test_an_address_for_others_without_tokens(tmp_path: Path) -> None:
    done = up(tmp_path, "--host", "0.0.0.0")  # it is refused
    assert done.returncode == 1
    assert "nothing is set for TALLY_WRITE_TOKEN and TALLY_READ_TOKEN" in done.stderr
    done = up(tmp_path, "--host", "::", environment={"TALLY_READ_TOKEN": "x"})
    assert "nothing is set for TALLY_WRITE_TOKEN:" in done.stderr


def test_an_address_for_others_with_tokens(tally_server: StartServer) -> None:
    tokens = {"TALLY_WRITE_TOKEN": "write-secret", "TALLY_READ_TOKEN": "read-secret"}
    server = tally_server(DEFINITION, "--host", "0.0.0.0", environment=tokens)
    port = server.url.rpartition(":")[2]
    url = f"http://127.0.0.1:{port}/v1/ledger"
    assert server.client.get(url).status_code == 401
    assert server.client.get(url, headers={"Authorization": "Bearer read-secret"}).status_code == 200
    arguments = "".join(
        Path(f"/proc/{pid}/{name}").read_text(errors="replace")
        for pids in server.children().values()
        for pid in pids
        for name in ("cmdline",)
    )
    assert "secret" not in arguments
    assert "secret" not in server.log()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_loopback_needs_no_tokens(host: str) -> None:
    refuse_open_address(host, Tokens())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5"])
def test_other_addresses_need_both_tokens(host: str) -> None:
    for tokens in (Tokens(), Tokens(write="w"), Tokens(read="r")):
        with pytest.raises(TallystreamError, match=r"or listen on 127\.0\.0\.1"):
            refuse_open_address(host, tokens)
    refuse_open_address(host, Tokens("w", "r"))


def test_tokens_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    assert read_tokens({}) == Tokens()
    assert read_tokens({"TALLY_WRITE_TOKEN": "w", "TALLY_READ_TOKEN_FILE": str(file)}) == Tokens("w", "from-file")
    for environment, message in [
        ({"TALLY_READ_TOKEN": "r", "TALLY_READ_TOKEN_FILE": str(file)}, "both TALLY_READ_TOKEN and TALLY_READ_TOKEN_FILE"),
        ({"TALLY_WRITE_TOKEN_FILE": str(tmp_path / "absent")}, "cannot be read: No such file"),
        ({"TALLY_WRITE_TOKEN_FILE": "/dev/null"}, "which is empty"),
    ]:
        with pytest.raises(TallystreamError, match=message):
            read_tokens(environment)


@pytest.mark.parametrize("host", ["nonsense.invalid", "a" * 70, ""])
def test_a_host_that_does_not_exist_is_said_to_be_that(host: str) -> None:
    with pytest.raises(TallystreamError, match=f"--host {host} is no address of this machine: "):
        refuse_open_address(host, Tokens())
    with pytest.raises(TallystreamError, match=f"--host {host} is no address of this machine: "):
        listen(host, 0)


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(TallystreamError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "tally-data").mkdir()
    (tmp_path / "tally-data" / "stream.db").write_bytes(b"this is no database, and long enough to see that" * 100)
    done = up(tmp_path)
    assert done.returncode == 1
    assert re.search(
        r"^tally: .*stream\.db: file is not a database; the file is damaged: restore a backup", done.stderr, re.MULTILINE
    )
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = up(tmp_path, "--data", "file/data")
    assert done.returncode == 1
    assert "file/data cannot be used: Not a directory; give another with --data" in done.stderr
