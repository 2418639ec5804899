"""An emulator of AWS, which real clients talk to over HTTP."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import botocore.session
import httpx
import pytest
from botocore.config import Config

from tallystream.aws.client import DynamoDBClient, make_client
from tests.aws.proxy import FaultyProxy
from tests.waiting import wait_until

MINISTACK = Path(__file__).resolve().parents[2] / ".venv-ministack" / "bin" / "ministack"
REGION = "eu-west-1"
_numbers = count()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running emulator."""
    assert MINISTACK.exists(), "the emulator of AWS is not installed; run: make .venv-ministack/.installed"
    directory = tmp_path_factory.mktemp("ministack")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "HOME": str(directory)}
    url = f"http://127.0.0.1:{port}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([MINISTACK], cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(f"{url}/_ministack/health", process), "the emulator to answer", timeout_s=60)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the emulator ended by itself"
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def aws_environment(ministack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment in which AWS's clients find the emulator; its address."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": ministack,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return ministack


@pytest.fixture
def connect(aws_environment: str) -> Iterator[Callable[[], DynamoDBClient]]:
    """Make clients of the environment as it is at the time; they are closed when the test ends."""
    clients: list[DynamoDBClient] = []

    def connect() -> DynamoDBClient:
        clients.append(make_client())
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def dynamodb(aws_environment: str) -> Any:
    """A plain client of the emulator, to look at tables with."""
    config = Config(retries={"total_max_attempts": 1})
    return botocore.session.get_session().create_client("dynamodb", config=config, endpoint_url=aws_environment)


@pytest.fixture
def table_name(dynamodb: Any) -> str:
    """The name of a new table, made as the template makes it."""
    name = f"table-{next(_numbers)}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


@pytest.fixture
def proxy(aws_environment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the emulator, through which all clients go that are made from now on."""
    with FaultyProxy(aws_environment) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy
