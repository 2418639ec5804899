"""Fixtures of emulators of AWS, which real clients talk to over HTTP. tests/conftest.py hands them to all tests."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from scripts.emulator import client_environment, running_emulator, running_kinesalite
from tallystream.aws.client import DynamoDBClient, make_client
from tests.aws.proxy import FaultyProxy

_numbers = count()


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running emulator."""
    with running_emulator(tmp_path_factory.mktemp("ministack")) as url:
        yield url


@pytest.fixture
def aws_environment(ministack: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An environment in which AWS's clients find the emulator; its address."""
    for name, value in client_environment(ministack).items():
        monkeypatch.setenv(name, value)
    return ministack


@pytest.fixture(scope="session")
def kinesalite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running emulator of Kinesis, which splits and merges shards as AWS does."""
    with running_kinesalite(tmp_path_factory.mktemp("kinesalite")) as url:
        yield url


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
    return create_table(dynamodb, f"table-{next(_numbers)}")


def create_table(dynamodb: Any, name: str) -> str:
    """Make a table as the template makes it; return its name."""
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
