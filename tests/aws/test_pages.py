"""The pages function: requests to a function URL, as Lambda hands them over, and who is let in."""

import io
import json
import os
import sys
import zipfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from tallystream.aws.function import DEFINITION
from tallystream.aws.package import build_package
from tallystream.aws.pages import TOKEN_AGE_S_MAX, TOKEN_FRESH_S, PagesFunction
from tallystream.aws.template_function import WRAPPER
from tests.aws.lambda_api import Function, start
from tests.aws.test_package import EXAMPLE, THIS_MACHINE, kinesis_payload

HANDLER = "tallystream.aws.pages.pages_handler"
HOST = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.eu-west-1.on.aws"
TOKEN = "a-token-of-many-letters"


def request(
    path: str, method: str = "GET", query: str = "", body: str | None = None, cookies: list[str] | None = None, **headers: str
) -> dict[str, Any]:
    """
    Return a request to a function URL, payload format 2.0.

    Source: AWS, "Invoking Lambda function URLs".
    """
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "host": HOST,
            "x-forwarded-proto": "https",
            "x-forwarded-port": "443",
            "x-forwarded-for": "198.51.100.7",
            "user-agent": "a browser",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        "requestContext": {
            "accountId": "anonymous",
            "apiId": HOST.partition(".")[0],
            "domainName": HOST,
            "domainPrefix": HOST.partition(".")[0],
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "198.51.100.7",
                "userAgent": "a browser",
            },
            "requestId": "request-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "23/Nov/2026:11:33:00 +0000",
            "timeEpoch": 1_795_433_580_000,
        },
        "isBase64Encoded": body is not None,
    }
    if cookies:
        event["cookies"] = cookies
    if body is not None:
        event["body"] = b64encode(body.encode()).decode()
    return event


def ask(function: Function, path: str, **more: Any) -> dict[str, Any]:
    """Return the response, its body as bytes."""
    answer = function.api.invoke(json.dumps(request(path, **more)).encode())
    assert answer.kind == "response", answer
    response: dict[str, Any] = json.loads(answer.body)
    body = response.get("body") or ""
    response["body"] = b64decode(body) if response.get("isBase64Encoded") else body.encode()
    return response


@pytest.fixture(scope="module")
def task_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with the pages, unpacked as Lambda unpacks it."""
    root = tmp_path_factory.mktemp("pages")
    with zipfile.ZipFile(io.BytesIO(build_package(EXAMPLE, THIS_MACHINE, pages=True).data)) as archive:
        archive.extractall(root)
        for entry in archive.infolist():
            (root / entry.filename).chmod(entry.external_attr >> 16 & 0o777)
    assert (root / DEFINITION).is_file()
    return root


@pytest.fixture
def environment(task_root: Path, table_name: str, aws_environment: str) -> dict[str, str]:
    """What the template puts into the function's environment."""
    secret = boto3.client("secretsmanager").create_secret(Name=f"token-{table_name}", SecretString=TOKEN)["ARN"]
    stream = f"stream-{table_name}"
    boto3.client("kinesis").create_stream(StreamName=stream, ShardCount=1)
    variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return variables | {
        "PYTHONPATH": str(task_root),
        "TALLY_TABLE": table_name,
        "TALLY_STACK": "shop",
        "TALLY_STREAM": stream,
        "TALLY_READ_TOKEN_SECRET": secret,
    }


@pytest.fixture(params=["our own", "stock"])
def function(request: pytest.FixtureRequest, task_root: Path, environment: Mapping[str, str]) -> Iterator[Function]:
    """The function in either runtime, over a table in which three clicks were counted."""
    stock = [sys.executable, "-m", "awslambdaric", "tallystream.aws.handlers.count_handler"]
    with start(stock, stock[-1], task_root, **environment) as counting:
        event = b'{"event": "click", "utc_timestamp": "2026-11-23T11:33:00Z"}'
        assert counting.api.invoke(kinesis_payload(event, event, event)).kind == "response"
    stock[-1] = HANDLER
    command = [str(task_root / WRAPPER), *stock] if request.param == "our own" else stock
    with start(command, HANDLER, task_root, **environment) as function:
        yield function
        logged = function.stop()
        assert TOKEN not in logged
        assert "the invocation failed" not in logged


def test_pages_and_queries_are_served_to_whoever_has_the_token(function: Function) -> None:
    page = ask(function, "/explore")
    assert page["statusCode"] == 200
    assert page["headers"]["content-type"].startswith("text/html")
    assert "default-src 'none'" in page["headers"]["content-security-policy"]
    script = page["body"].decode().partition('src="')[2].partition('"')[0]
    assert b"EventSource" in ask(function, script)["body"]

    query = "counter=events&window=1h&from=2026-11-23T11:00:00Z&to=2026-11-23T12:00:00Z"
    refused = ask(function, "/v1/query", query=query)
    assert (refused["statusCode"], json.loads(refused["body"])["error"]) == (401, "unauthorized")
    wrong = ask(function, "/v1/query", query=query, authorization="Bearer guess")
    assert wrong["statusCode"] == 401
    answer = ask(function, "/v1/query", query=query, authorization=f"Bearer {TOKEN}")
    assert answer["statusCode"] == 200, answer
    assert [(series["group"], series["total"]) for series in json.loads(answer["body"])["series"]] == [({"event": "click"}, 3)]
    ledger = ask(function, "/v1/ledger", authorization=f"Bearer {TOKEN}")
    assert json.loads(ledger["body"])["counted"] == 3

    signed_in = ask(
        function, "/v1/session", method="POST", body=json.dumps({"token": TOKEN}), origin=f"https://{HOST}",
        content_type="application/json",
    )  # fmt: skip
    assert signed_in["statusCode"] == 204
    (cookie,) = signed_in["cookies"]
    assert {"HttpOnly", "Secure", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert ask(function, "/v1/definition", cookies=[cookie.partition(";")[0]])["statusCode"] == 200
    foreign = ask(function, "/v1/session", method="POST", body=json.dumps({"token": TOKEN}), origin="https://evil.example")
    assert foreign["statusCode"] == 403


def test_live_changes_are_a_message_at_a_time(function: Function) -> None:
    first = ask(function, "/v1/live", authorization=f"Bearer {TOKEN}")
    assert first["headers"]["content-type"] == "text/event-stream"
    retry, identity, event, data, *_ = first["body"].decode().splitlines()
    assert (retry, event) == ("retry: 5000", "event: change")
    message = json.loads(data.removeprefix("data: "))
    assert (message["poll_ms"], message["changed"], message["ledger"]["received"]) == (5_000, [], 3)
    again = ask(function, "/v1/live", authorization=f"Bearer {TOKEN}", last_event_id="1")
    changed = json.loads(again["body"].decode().splitlines()[3].removeprefix("data: "))["changed"]
    assert {change["counter"] for change in changed} == {counter.name for counter in EXAMPLE.counters}
    assert identity.startswith("id: ")


def test_what_is_not_there_says_so(function: Function) -> None:
    sent = ask(function, "/v1/events", method="POST", body="{}", content_type="application/json")
    assert (sent["statusCode"], json.loads(sent["body"])["error"]) == (501, "elsewhere")
    alarms = ask(function, "/v1/aws/alarms", authorization=f"Bearer {TOKEN}")
    assert json.loads(alarms["body"]) == {"alarms": None}
    health = json.loads(ask(function, "/v1/health", authorization=f"Bearer {TOKEN}")["body"])
    # What was counted did not come from this stream.
    assert [(shard["shard"], shard["counted_sequence"]) for shard in health["shards"]] == [(0, 3)]
    assert ask(function, "/v1/nothing", authorization=f"Bearer {TOKEN}")["statusCode"] == 404


# The token.


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def answering(token: str) -> Callable[[Any, Any], dict[str, Any]]:
    return lambda event, context: {"statusCode": 200, "body": f"knows {token}"}


def test_a_changed_token_takes_effect_while_the_container_lives() -> None:
    clock, tokens = Clock(), ["first"]
    function = PagesFunction(lambda: tokens[-1], answering, clock)
    tokens.append("second")
    clock.now_s = TOKEN_FRESH_S
    assert function({}, None)["body"] == "knows first"
    clock.now_s = TOKEN_FRESH_S + 1
    assert function({}, None)["body"] == "knows second"


def test_a_token_that_cannot_be_asked_for_again_stays_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock, asked = Clock(), []

    def read_token() -> str:
        asked.append(clock.now_s)
        if len(asked) > 1:
            raise ConnectionError("Secrets Manager does not answer")
        return TOKEN

    function = PagesFunction(read_token, answering, clock)
    for clock.now_s in (TOKEN_FRESH_S + 1, TOKEN_FRESH_S + 2, TOKEN_AGE_S_MAX):
        assert function({}, None)["body"] == f"knows {TOKEN}"
    assert asked == [0, TOKEN_FRESH_S + 1, TOKEN_AGE_S_MAX]  # not with each request
    assert "Secrets Manager does not answer" in caplog.text
    assert TOKEN not in caplog.text
    clock.now_s += 1
    with pytest.raises(RuntimeError, match="could not be asked for again"):
        function({}, None)


def test_an_emptied_secret_shuts_everybody_out_at_once() -> None:
    clock, tokens = Clock(), [TOKEN]
    function = PagesFunction(lambda: tokens[-1], answering, clock)
    tokens.append("")
    clock.now_s = TOKEN_FRESH_S + 1
    with pytest.raises(RuntimeError, match="could not be asked for again"):
        function({}, None)


def test_without_a_token_nothing_is_served() -> None:
    with pytest.raises(ValueError, match="the secret that holds the read token is empty"):
        PagesFunction(lambda: "", answering, Clock())
