"""What the web application is handed of a stack, where it is served from a machine and where from a function."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final, Generic, NamedTuple, TypeVar

import tallystream
import tallystream.web
from tallystream.aws.client import Credentials, DynamoDBClient
from tallystream.aws.refusals import refusals
from tallystream.aws.rows import Layout
from tallystream.aws.store import REJECTED_ID_MAX, ShardLedger, TableCounterReader
from tallystream.aws.table import Table
from tallystream.core.definition import Definition
from tallystream.core.errors import StorageError, TallystreamError
from tallystream.web.answer_types import AwsAnswer, CloudAlarmAnswer, ShardAnswer
from tallystream.web.services import Begun, RemoteServices, ShardsBehind, Tokens

FUNCTION_POLL_MS: Final = 5_000
"""How often a page asks a function for changes, which cannot hold a connection open."""

_FRESH_S: Final = 5.0  # a shard takes 5 calls a second of all its readers, and the count function is one


class StackPlace(NamedTuple):
    """Where a stack is, and what its parts are called."""

    stack: str
    region: str
    stream: str


def now_ms() -> int:
    """Return the present time in UTC milliseconds."""
    return time.time_ns() // 1_000_000


def stack_services(
    place: StackPlace,
    definition: Definition,
    layout: Layout,
    table: Table,
    kinesis: Any,
    cloudwatch: Any | None,
    tokens: Tokens,
    poll_ms: int | None = None,
) -> RemoteServices:
    """
    Return what the application is handed.

    Args:
        place: of the stack.
        definition: what the stack counts.
        layout: how it spreads its rows.
        table: where they are.
        kinesis: a client, to ask how far counting is behind.
        cloudwatch: a client, to ask how the alarms stand; None: they are not asked.
        tokens: who may read.
        poll_ms: see RemoteServices.
    """
    store = TableCounterReader(definition, layout, table, now_ms)
    return RemoteServices(
        definition=definition,
        store=store,
        now_ms=now_ms,
        static_dir=Path(tallystream.web.__file__).parent / "static",
        version=tallystream.__version__,
        started_ms=now_ms(),
        tokens=tokens,
        aws=AwsAnswer(place.stack, place.region, place.stream, _console(place.region)),
        generations=lambda: {
            counter.name: Begun(store.generation(counter.name), store.since_ms(counter.name)) for counter in definition.counters
        },
        shards=_Fresh(lambda: shards_behind(store.shards(), kinesis, place.stream, now_ms())),
        alarms=_Fresh(lambda: cloud_alarms(cloudwatch, place.stack)) if cloudwatch else None,
        rejected_id_max=REJECTED_ID_MAX,
        poll_ms=poll_ms,
    )


def session_client(session: Any) -> DynamoDBClient:
    """
    Return a client with the credentials of a boto3 session, renewed when they expire.

    Raises:
        DeployError: there are none, or no region.
    """
    with refusals():
        address = session.client("dynamodb").meta.endpoint_url
        session_credentials = session.get_credentials()

    def credentials() -> Credentials:
        try:
            with refusals():
                frozen = session_credentials.get_frozen_credentials()
        except TallystreamError as error:
            raise StorageError(str(error)) from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return DynamoDBClient(session.region_name, credentials, address)


T = TypeVar("T")


class _Fresh(Generic[T]):
    """Asks at most every few seconds, for any number of requests."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._known: tuple[float, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _FRESH_S:
                self._known = time.monotonic(), self._ask()
            return self._known[1]


# How far counting is behind.


def shards_behind(counted: list[ShardLedger], kinesis: Any, stream: str, at_ms: int) -> ShardsBehind:
    """
    Return how far each shard is counted, and how old its oldest record is that is not.

    Kinesis does not say how many records wait. Cost: two requests for each shard that is open, and one to know them.
    """
    by_shard = {each.shard: each for each in counted}
    lags: Mapping[str, int] | None = None
    warnings: list[str] = []
    try:
        with refusals():
            lags = {
                shard: _lag_ms(kinesis, stream, shard, starts, by_shard.get(shard), at_ms)
                for shard, starts in _shards(kinesis, stream).items()
            }
    except TallystreamError as error:
        warnings.append(f"how far counting is behind is not known: {error}")
    shards = []
    for shard in sorted({*by_shard, *(lags or ())}):
        received = by_shard[shard].ledger.received if shard in by_shard else 0
        lag_ms = None if lags is None else lags.get(shard, 0)  # one that Kinesis has no more holds nothing
        shards.append(ShardAnswer(int(shard), None, received, 0 if lag_ms == 0 else None, lag_ms, 0))
    return ShardsBehind(shards, warnings)


def _shards(kinesis: Any, stream: str) -> dict[str, str]:
    """Return shard → the sequence number that it starts with."""
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=stream)
    return {
        shard["ShardId"].removeprefix("shardId-"): shard["SequenceNumberRange"]["StartingSequenceNumber"]
        for page in pages
        for shard in page["Shards"]
    }


def _lag_ms(kinesis: Any, stream: str, shard: str, starts: str, counted: ShardLedger | None, at_ms: int) -> int:
    """Return the age of a shard's oldest record behind the mark; 0 if there is none."""
    where = {"ShardIteratorType": "TRIM_HORIZON"}
    if counted is not None:
        # As long as the shard's own, which an emulator writes with leading zeros.
        mark = counted.mark.lstrip("0").zfill(len(starts))
        where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": mark}
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=f"shardId-{shard}", **where)["ShardIterator"]
    answer = kinesis.get_records(ShardIterator=iterator, Limit=1)
    if answer["Records"]:
        arrived_ms = int(answer["Records"][0]["ApproximateArrivalTimestamp"].timestamp() * 1_000)
        return max(1, at_ms - arrived_ms)
    return int(answer.get("MillisBehindLatest", 0))


# Alarms.


def cloud_alarms(cloudwatch: Any, stack: str) -> list[CloudAlarmAnswer]:
    """
    Return a stack's alarms, those in ALARM first. Cost: a request for each 100 alarms.

    Raises:
        StorageError: CloudWatch does not say.
    """
    try:
        with refusals():
            pages = cloudwatch.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=f"{stack}/", AlarmTypes=["MetricAlarm", "CompositeAlarm"]
            )
            found = [
                CloudAlarmAnswer(
                    alarm["AlarmName"].removeprefix(f"{stack}/"),
                    alarm["StateValue"],
                    int(alarm["StateUpdatedTimestamp"].timestamp() * 1_000),
                    alarm.get("StateReason", ""),
                )
                for page in pages
                for alarm in [*page.get("MetricAlarms", []), *page.get("CompositeAlarms", [])]
            ]
    except TallystreamError as error:
        raise StorageError(str(error)) from error
    return sorted(found, key=lambda alarm: (alarm.state != "ALARM", alarm.state == "OK", alarm.name))


def _console(region: str) -> str:
    if region.startswith("cn-"):
        return f"https://{region}.console.amazonaws.cn/cloudwatch/home?region={region}"
    return f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
