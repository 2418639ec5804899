"""Our client of DynamoDB: signed as botocore signs, and clear about what failed."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from tallystream.aws.client import Credentials, DynamoDBClient, DynamoDBError, NoAnswerError
from tests.aws.proxy import FaultyProxy

NOW = datetime(2026, 11, 23, 9, 5, 7, tzinfo=UTC)


@pytest.mark.parametrize("token", [None, "FwoGZXIvYXdzEBYaD/+=token"])
@pytest.mark.parametrize(
    ("region", "endpoint", "url"),
    [
        ("eu-west-1", None, "https://dynamodb.eu-west-1.amazonaws.com/"),
        ("cn-north-1", None, "https://dynamodb.cn-north-1.amazonaws.com.cn/"),
        ("us-east-1", "http://127.0.0.1:4566", "http://127.0.0.1:4566/"),
    ],
)
@pytest.mark.parametrize("body", [b"{}", '{"TableName":"Zähler","Key":{"pk":{"S":"ü"}}}'.encode()])
def test_requests_are_signed_as_botocore_signs_them(
    monkeypatch: pytest.MonkeyPatch, region: str, endpoint: str | None, url: str, token: str | None, body: bytes
) -> None:
    own = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", token)
    client = DynamoDBClient(region, lambda: own, endpoint, lambda: NOW)
    ours = client.sign("UpdateItem", body)

    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None))
    headers = {"Content-Type": ours["content-type"], "X-Amz-Target": ours["x-amz-target"]}
    request = AWSRequest("POST", url, headers, body)
    credentials = BotocoreCredentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCY", token)
    SigV4Auth(credentials, "dynamodb", region).add_auth(request)
    assert ours["x-amz-date"] == request.headers["X-Amz-Date"]
    assert ours["authorization"] == request.headers["Authorization"]
    assert ours.get("x-amz-security-token") == request.headers.get("X-Amz-Security-Token")


def test_what_dynamodb_refuses_says_why(connect: Callable[[], DynamoDBClient]) -> None:
    with pytest.raises(DynamoDBError, match="ResourceNotFoundException") as raised:
        connect().call("GetItem", {"TableName": "none", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}}})
    assert raised.value.status == 400
    assert raised.value.code == "ResourceNotFoundException"


def test_an_answer_that_is_no_json_is_none(proxy: FaultyProxy, connect: Callable[[], DynamoDBClient]) -> None:
    proxy.fault = lambda operation: "answer nonsense"
    with pytest.raises(NoAnswerError, match=r"GetItem was answered with status 502 and no JSON: b'<html>"):
        connect().call("GetItem", {})


def test_a_connection_that_broke_is_opened_again(proxy: FaultyProxy, connect: Callable[[], DynamoDBClient]) -> None:
    faults = iter(["lose the answer"])
    proxy.fault = lambda operation: next(faults, None)  # type: ignore[arg-type]
    client = connect()
    with pytest.raises(NoAnswerError, match="no answer of 127"):
        client.call("ListTables", {})
    assert "TableNames" in client.call("ListTables", {})


def test_a_host_that_is_not_there_is_no_answer(monkeypatch: pytest.MonkeyPatch, connect: Callable[[], DynamoDBClient]) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    with pytest.raises(NoAnswerError, match="refused"):
        connect().call("ListTables", {})
