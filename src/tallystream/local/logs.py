"""Log lines on standard error, as text for people or as JSON for machines. Tokens and events' contents never get into them."""

import logging
import sys
import time
from typing import Any

import msgspec

FORMATS = ("text", "json")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class LogFormatter(logging.Formatter):
    """
    Writes a record as one line: time (UTC), level, process, message, and the fields given as `extra`.

    A traceback follows the line in text, and is the field `traceback` in JSON.
    """

    def __init__(self, log_format: str, process: str) -> None:
        super().__init__()
        self._json = log_format == "json"
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        fields: dict[str, Any] = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if self._json:
            line = {"time": at, "level": record.levelname.lower(), "process": self._process, "message": record.getMessage()}
            line |= fields
            if record.exc_info:
                line["traceback"] = self.formatException(record.exc_info)
            return msgspec.json.encode(line, enc_hook=str).decode()
        text = f"{at} {record.levelname.lower():7} {self._process}: {_one_line(record.getMessage())}"
        text += "".join(f" {name}={_one_line(str(value))}" for name, value in fields.items())
        return text + "\n" + self.formatException(record.exc_info) if record.exc_info else text


def set_up_logs(log_format: str, process: str) -> None:
    """
    Send this process's log to standard error.

    Args:
        log_format: one of FORMATS.
        process: who writes: `supervisor`, `web-1`, `counter`, …
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(log_format, process))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _one_line(text: str) -> str:
    # What a stranger sent must not be able to forge a line of the log.
    return text if text.isprintable() else text.encode("unicode_escape").decode()
