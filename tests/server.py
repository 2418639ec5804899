"""A real `tally up` for tests: `TallyServer`, made by the fixture `tally_server` of tests/conftest.py."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx
import msgspec

ROOT = Path(__file__).resolve().parent.parent
TALLY = [sys.executable, "-P", "-c", "from tallystream.cli import main; main()"]
READY_S_MAX = 30.0
STOP_S_MAX = 15.0


def tally_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a `tally` of this checkout, without the tester's own TALLY_* settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    paths = [str(ROOT / "src"), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)} | dict(extra or {})


class TallyServer:
    """
    One running `tally up`; a context manager that stops it.

    Attributes:
        url: where it listens, "http://127.0.0.1:PORT", without a slash at the end.
        data: its data directory; start another TallyServer on it to test a restart.
        client: an httpx.Client for that url; it sends the tokens only if a test gives them.
        process: the supervisor's process.
    """

    def __init__(
        self,
        definition: Path | None,
        data: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """
        Start it, and return when it is ready.

        Args:
            definition: path of the tally.toml; None: neither it nor the data directory is for this `tally up`.
            data: its data directory; made if need be.
            arguments: more of `tally up`, such as ["--workers", "2"].
            environment: added to it, such as {"TALLY_READ_TOKEN": "…"}.
            cwd: the directory that it runs in.

        Raises:
            AssertionError: it ended, or was not ready in time; the message holds its log.
        """
        self.data = data
        self._log = data.with_name(f"{data.name}.{time.monotonic_ns()}.log")
        self._log.parent.mkdir(parents=True, exist_ok=True)
        own = ["--config", str(definition), "--data", str(data)] if definition else []
        command = [*TALLY, "up", *own, "--port", "0", *arguments]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=cwd,
                env=tally_environment(environment),
            )
        try:
            self.url = self._read_url()
            self.client = httpx.Client(base_url=self.url, timeout=30.0, trust_env=False)
            ready = self.client.get("/readyz")
            assert ready.status_code == 200, f"it said that it is ready, but GET /readyz: {ready.status_code} {ready.text}"
        except BaseException:
            self.kill()
            raise

    def send(self, events: Iterable[Mapping[str, Any]], **headers: str) -> dict[str, Any]:
        """POST events as NDJSON to /v1/events; return the answer, which must be a 202."""
        lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
        answer = self.client.post("/v1/events", content=lines, headers={"Content-Type": "application/x-ndjson", **headers})
        assert answer.status_code == 202, f"POST /v1/events: {answer.status_code} {answer.text}"
        decoded = answer.json()
        assert isinstance(decoded, dict)
        return decoded

    def get(self, path: str, **parameters: str) -> Any:
        """GET a path; return the decoded JSON of the answer, which must be a 200."""
        answer = self.client.get(path, params=parameters or None)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def stop(self) -> int:
        """End it with SIGTERM, as a service manager would; return its exit code, 0 if all is well."""
        self.process.terminate()
        try:
            code = self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {STOP_S_MAX:.0f} s of SIGTERM; its log:\n{self.log()}") from None
        self._close()
        return code

    def kill(self) -> None:
        """End it and its children with SIGKILL, as the kernel would when memory runs out."""
        # The supervisor first, so that it starts no child again.
        children = children_of(self.process.pid)
        for pid in [self.process.pid, *children]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def children(self) -> dict[str, list[int]]:
        """Return module → process ids of the supervisor's children."""
        found: dict[str, list[int]] = {}
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):  # it ended since it was listed
                continue
            if b"-m" in words:  # one that has ended, and was not waited for yet, has no command line
                found.setdefault(words[words.index(b"-m") + 1].decode().rpartition(".")[2], []).append(int(child))
        return found

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> str:
        """Return what it has written to its log (standard error)."""
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.is_running:
            code = self.stop()
            assert code == 0, f"tally up ended with exit code {code}; its log:\n{self.log()}"
        self._close()

    def _read_url(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        said = b""
        deadline_s = time.monotonic() + READY_S_MAX
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not (found := re.search(rb" on (http://\S+)\n", said)):
                if not selector.select(max(0.0, deadline_s - time.monotonic())):
                    raise AssertionError(f"tally up was not ready within {READY_S_MAX:.0f} s; its log:\n{self.log()}")
                more = os.read(stdout.fileno(), 65_536)
                if not more:
                    raise AssertionError(f"tally up ended with exit code {self.process.wait()}; its log:\n{self.log()}")
                said += more
        return found[1].decode()

    def _close(self) -> None:
        stdout: IO[bytes] | None = self.process.stdout
        if stdout is not None:
            stdout.close()
        if hasattr(self, "client"):
            self.client.close()


def children_of(pid: int) -> list[int]:
    """Return the process ids of all descendants."""
    try:
        direct = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [found for child in direct for found in (child, *children_of(child))]
