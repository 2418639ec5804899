"""What a line of the log looks like."""

import json
import logging
import sys

import pytest

from tallystream.local.logs import LogFormatter


def record(message: str, *values: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("tallystream", logging.WARNING, "file.py", 1, message, values, None)
    made.created, made.msecs = 1_790_000_000.5, 500.0
    made.__dict__.update(fields)
    return made


def test_text() -> None:
    line = LogFormatter("text", "web-1").format(record("stopped %s", "well", url="http://127.0.0.1"))
    assert line == "2026-09-21T14:13:20.500Z warning web-1: stopped well url=http://127.0.0.1"


def test_json() -> None:
    line = LogFormatter("json", "web-1").format(record("stopped %s", "well", workers=2, path=sys))
    assert json.loads(line) == {
        "time": "2026-09-21T14:13:20.500Z",
        "level": "warning",
        "process": "web-1",
        "message": "stopped well",
        "workers": 2,
        "path": str(sys),
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_message_cannot_forge_a_second_line(log_format: str) -> None:
    line = LogFormatter(log_format, "web-1").format(record("%s", "a\n2026 error: \x1b[31mforged", path="x\ny"))
    assert "\n" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_kept(log_format: str) -> None:
    made = record("failed")
    try:
        raise LookupError("why")
    except LookupError:
        made.exc_info = sys.exc_info()
    line = LogFormatter(log_format, "web-1").format(made)
    assert "LookupError: why" in line
    assert log_format == "text" or "LookupError: why" in json.loads(line)["traceback"]
