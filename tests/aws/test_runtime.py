"""Our Lambda runtime against a server that speaks the runtime API, and beside the stock runtime."""

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.lambda_api import Function, start

OURS = [sys.executable, "-m", "tallystream.aws.runtime"]
STOCK = [sys.executable, "-m", "awslambdaric", "task.handle"]
SOURCE = str(Path(__file__).parents[2] / "src")

TASK = """
import logging
import msgspec

class Record(msgspec.Struct):
    data: bytes

class Event(msgspec.Struct):
    records: list[Record]

DECODERS = {"handle": msgspec.json.Decoder(Event).decode}

def handle(event, context):
    logging.getLogger("task").info("working", extra={"request_id": context.aws_request_id})
    data = [record.data.decode() for record in event.records]
    if "fail" in data:
        raise LookupError("no such thing")
    if "leave" in data:
        raise SystemExit(3)
    return {
        "data": data,
        "request": context.aws_request_id,
        "left": context.get_remaining_time_in_millis() > 0,
        "arn": context.invoked_function_arn,
        "function": context.function_name,
    }

def echo(event, context):
    return [type(event).__name__, event]
"""


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "task.py").write_text(TASK, encoding="utf-8")
    return tmp_path


@pytest.fixture
def function(task: Path) -> Iterator[Function]:
    with start(OURS, "task.handle", task, PYTHONPATH=SOURCE) as function:
        yield function


def payload(*data: str) -> bytes:
    return json.dumps({"records": [{"data": b64encode(each.encode()).decode()} for each in data], "more": 1}).encode()


def log_lines(logged: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged.splitlines() if line.startswith("{")]


def test_payloads_are_decoded_into_the_type_that_the_module_asks_for(function: Function) -> None:
    answer = function.api.invoke(payload("a", "ü"))
    assert answer.kind == "response"
    assert json.loads(answer.body) == {
        "data": ["a", "ü"],
        "request": "request-1",
        "left": True,
        "arn": "arn:aws:lambda:eu-west-2:1:function:f",
        "function": "f",
    }


def test_an_invocation_after_another_is_answered(function: Function) -> None:
    for number in range(20):
        assert json.loads(function.api.invoke(payload(str(number))).body)["data"] == [str(number)]


def test_no_time_is_left_after_the_deadline(function: Function) -> None:
    function.api.deadline_ms = 1
    assert json.loads(function.api.invoke(payload()).body)["left"] is False


def test_an_error_is_told_and_logged_and_the_next_invocation_is_handled(function: Function) -> None:
    answer = function.api.invoke(payload("fail"))
    assert (answer.kind, answer.error_type) == ("error", "LookupError")
    document = json.loads(answer.body)
    assert (document["errorType"], document["errorMessage"]) == ("LookupError", "no such thing")
    assert "in handle" in "".join(document["stackTrace"])
    assert function.api.invoke(payload("fine")).kind == "response"
    logged = log_lines(function.stop())
    assert [line["message"] for line in logged[:2]] == ["working", "the invocation failed"]
    assert {line["requestId"] for line in logged[:2]} == {"request-1"}
    assert (logged[1]["level"], logged[1]["errorType"]) == ("ERROR", "LookupError")


@pytest.mark.parametrize("wrong", [b'{"records": [{"data": "!"}]}', b"{", b'{"records": 1}'])
def test_a_payload_that_is_none_is_an_error_of_the_invocation(function: Function, wrong: bytes) -> None:
    assert function.api.invoke(wrong).kind == "error"
    assert function.api.invoke(payload()).kind == "response"


def test_a_handler_that_leaves_ends_the_process(function: Function) -> None:
    function.api._payloads.put(payload("leave"))
    assert function.process.wait(30) == 3


def test_a_handler_without_a_type_gets_plain_json(task: Path) -> None:
    with start(OURS, "task.echo", task, PYTHONPATH=SOURCE) as function:
        assert json.loads(function.api.invoke(b'{"a": [1, null]}').body) == ["dict", {"a": [1, None]}]


def test_the_stock_runtime_takes_over_when_the_handler_cannot_be_loaded(task: Path) -> None:
    # Only the first import of the module fails, which is ours.
    (task / "task.py").write_text(
        "import sys\n"
        "if 'tallystream.aws.runtime' in sys.argv[0].replace('/', '.'): raise ImportError('not here')\n"
        "def handle(event, context): return ['stock', event]\n",
        encoding="utf-8",
    )
    with start([*OURS, *STOCK], "task.handle", task, PYTHONPATH=SOURCE) as function:
        assert json.loads(function.api.invoke(b'{"a": 1}').body) == ["stock", {"a": 1}]
        function.process.kill()
        logged = log_lines(function.stop())
    assert [(line["message"], line["errorMessage"]) for line in logged[:1]] == [("the handler cannot be loaded", "not here")]


def test_without_a_stock_runtime_the_start_fails_and_says_why(task: Path) -> None:
    with start(OURS, "task.missing", task, PYTHONPATH=SOURCE) as function:
        answer = function.api.answer()
        assert (answer.kind, answer.error_type) == ("init/error", "Runtime.AttributeError")
        assert "missing" in json.loads(answer.body)["errorMessage"]
        assert function.process.wait(30) == 1
