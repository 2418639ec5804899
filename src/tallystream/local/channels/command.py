"""The channel command: a program of the operator's own, run without a shell."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Final, Self

from tallystream.core.channel import CommandChannel
from tallystream.core.definition import Definition
from tallystream.engine.message import describe, subject, text
from tallystream.engine.message_json import message_json
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels.connection import DELIVERY_S_MAX
from tallystream.local.channels.secret import excerpt
from tallystream.ports.alarms import Message

_ERRORS_BYTES_MAX: Final = 4_096
_TEXT_BYTES_MAX: Final = 60_000  # Linux takes 128 KiB for one variable
_NOT_PASSED: Final = ("TALLY_WRITE_TOKEN", "TALLY_READ_TOKEN", "TALLY_WRITE_TOKEN_FILE", "TALLY_READ_TOKEN_FILE")


class CommandSender:
    """See engine.notify.Sender and docs/cli.md."""

    def __init__(
        self,
        channel: CommandChannel,
        definition: Definition,
        environment: Mapping[str, str],
        configured_ms: Mapping[str, int],
        seconds: float = DELIVERY_S_MAX,
    ) -> None:
        self._channel = channel
        self._definition = definition
        self._environment = environment
        self._configured_ms = configured_ms
        self._seconds = seconds

    def send(self, message: Message) -> None:
        """See engine.notify.Sender. The program has taken the message when it ends with exit code 0."""
        with tempfile.TemporaryFile() as body:  # not a pipe: whether the program reads it or not, nobody waits
            body.write(message_json(message, self._definition, self._configured_ms))
            body.seek(0)
            try:
                process = subprocess.Popen(
                    self._channel.command,
                    stdin=body,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=self._variables(message),
                    start_new_session=True,  # so that what it starts can be ended with it
                )
            except OSError as error:
                program = self._channel.command[0]
                raise DeliveryError(f"the program {program!r} cannot be run: {error.strerror}; mend its path or mode") from None
        assert process.stderr is not None
        with process, _Tail(process.stderr) as errors:
            try:
                code = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise DeliveryError(f"the program did not end within {self._seconds:g} s, and was killed") from None
            except BaseException:
                _kill(process)
                raise
        if code != 0:
            said = excerpt(errors.data, ())
            how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
            raise DeliveryError(f"the program {how}{f': {said}' if said else ''}")

    def _variables(self, message: Message) -> dict[str, str]:
        changes = describe(message, self._definition)
        plain = text(changes, self._definition).encode()[:_TEXT_BYTES_MAX].decode("utf-8", "ignore")
        variables = {name: value for name, value in self._environment.items() if name not in _NOT_PASSED}
        return variables | {
            "TALLY_ALARM_NAME": ",".join(dict.fromkeys(change.name for change in changes)),
            "TALLY_ALARM_STATE": changes[0].state,  # the most urgent one
            "TALLY_ALARM_COUNT": str(len(changes)),
            "TALLY_ALARM_SUBJECT": subject(changes, self._definition),
            "TALLY_ALARM_TEXT": plain,
            "TALLY_ALARM_MESSAGE_ID": message.id,
        }


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Tail:
    """Reads what a program says, so that it never waits to be heard, and keeps the end of it: there it says why."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.data = b""
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="stderr", daemon=True)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while piece := os.read(self._stream.fileno(), _ERRORS_BYTES_MAX):
                self.data = (self.data + piece)[-_ERRORS_BYTES_MAX:]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join(1.0)  # longer only if the program has left something behind that goes on talking
