"""
Lines into a Kinesis stream: many in a record, as fast as the shards take them, and only what was refused is sent again.

Kinesis has no idempotent producer. A request whose answer is lost may have taken effect; it is sent again, for a lost event is
not to be found again, and a doubled one can be named: `Producer.doubtful` says how many lines may be in the stream twice.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from tallystream.aws.refusals import DeployError, refusals
from tallystream.core.errors import TallystreamError

RECORD_BYTES: Final = 256 * 1024
"""What lines are packed up to. Small beside the 1 MiB of a record, so that the limits of a shard are used evenly."""

LINE_BYTES_MAX: Final = 1024 * 1024 - 256
"""A record has 1 MiB, its partition key included, unless a stream was set to more."""

_REQUEST_RECORDS_MAX: Final = 500
_REQUEST_BYTES_MAX: Final = 4 * 1024 * 1024  # of the 5 MiB that PutRecords took when it was made; it takes 10 by now
_BURST_S: Final = 0.5  # how far a request may run ahead of a shard's rate
_DELAY_S: Final = 0.1
_DELAY_S_MAX: Final = 10.0
_PARTITION_KEY: Final = "tallystream"  # the explicit hash key decides
_PASSING: Final = frozenset({
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "ThrottlingException",
    "KMSThrottlingException",
    "InternalFailure",
    "ServiceUnavailable",
})  # fmt: skip


class ProducerError(TallystreamError):
    """Kinesis does not take records."""


class Limits(NamedTuple):
    """How much is sent to each shard; Kinesis takes 1 MB and 1,000 records a second of all producers together."""

    bytes_per_s: float = 1_000_000
    records_per_s: float = 1_000


class Record(NamedTuple):
    """Lines that are sent as one."""

    data: bytes
    lines: int


def pack(lines: Sequence[bytes]) -> Iterator[Record]:
    """Yield records of RECORD_BYTES at most, or of one line; no line may be longer than LINE_BYTES_MAX."""
    start = size = 0
    for index, line in enumerate(lines):
        if size and size + len(line) > RECORD_BYTES:
            yield Record(b"\n".join(lines[start:index]), index - start)
            start, size = index, 0
        size += len(line) + 1
    if start < len(lines):
        yield Record(b"\n".join(lines[start:]), len(lines) - start)


class Pace:
    """When each of some shards takes the next record: at its rate, and a burst ahead of it at most."""

    def __init__(self, shards: int, limits: Limits) -> None:
        self._free_at_s = [0.0] * shards
        self._limits = limits

    def next_shard(self) -> tuple[int, float]:
        """Return the shard that is free first, and when it is."""
        free_at_s = min(self._free_at_s)
        return self._free_at_s.index(free_at_s), free_at_s

    def take(self, shard: int, size_bytes: int, now_s: float) -> None:
        """Note that a record goes to a shard."""
        cost_s = max(size_bytes / self._limits.bytes_per_s, 1 / self._limits.records_per_s)
        self._free_at_s[shard] = max(now_s, self._free_at_s[shard]) + cost_s


class Producer:
    """Sends to one stream. `created_ms` tells it from an earlier stream of the same name."""

    def __init__(
        self,
        stream: str,
        region: str | None,
        limits: Limits,
        on_retry: Callable[[str], None],
        patience_s: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise DeployError("boto3 is not installed; install it with: pip install 'tallystream[aws]'") from None
        self.doubtful = 0  # lines that may be in the stream twice
        self._stream = stream
        self._patience_s = patience_s
        self._on_retry = on_retry
        self._pause = pause
        with refusals():
            session = boto3.Session(region_name=region)
            looking = session.client("kinesis", config=Config(retries={"mode": "standard"}))
            summary = looking.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
            self.created_ms = int(summary["StreamCreationTimestamp"].timestamp() * 1_000)
            self._hash_keys = list(_hash_keys(looking, stream))
            # It sends a request once: it is known here alone which records to send again, and whether they may be doubled.
            self._kinesis = session.client(
                "kinesis", config=Config(retries={"total_max_attempts": 1}, connect_timeout=10, read_timeout=30)
            )
        self._pace = Pace(len(self._hash_keys), limits)

    def send(self, lines: Sequence[bytes]) -> None:
        """
        Put lines into the stream; return when Kinesis has acknowledged all of them.

        Raises:
            ProducerError: it took none for as long as the patience lasts. Some of the lines may be in the stream.
            DeployError: AWS refused.
        """
        waiting = deque(pack(lines))
        attempt, taken_at_s = 0, time.monotonic()
        while waiting:
            _, free_at_s = self._pace.next_shard()
            if (wait_s := free_at_s - time.monotonic()) > 0:
                self._pause(wait_s)
            request = self._gather(waiting)
            refused, why = self._put(request)
            waiting.extendleft(reversed(refused))
            if len(refused) < len(request):
                attempt, taken_at_s = 0, time.monotonic()
            if refused:
                if time.monotonic() - taken_at_s > self._patience_s:
                    raise ProducerError(
                        f"the stream {self._stream} took nothing for {self._patience_s:.0f} s ({why}); "
                        "run again: it goes on behind the last block that was acknowledged"
                    )
                delay_s = random.uniform(0, min(_DELAY_S_MAX, _DELAY_S * 2**attempt))  # noqa: S311  # no secret
                attempt += 1
                self._on_retry(f"{len(refused)} of {len(request)} records are sent again in {delay_s:.1f} s: {why}")
                self._pause(delay_s)

    def _gather(self, waiting: deque[Record]) -> list[tuple[Record, int]]:
        """Take from the records that wait as many as a request holds and the shards take now, one at least."""
        request: list[tuple[Record, int]] = []
        now_s = time.monotonic()
        room = _REQUEST_BYTES_MAX
        while waiting and len(request) < _REQUEST_RECORDS_MAX and len(waiting[0].data) <= room:
            shard, free_at_s = self._pace.next_shard()
            if request and free_at_s > now_s + _BURST_S:
                break
            record = waiting.popleft()
            self._pace.take(shard, len(record.data), now_s)
            request.append((record, shard))
            room -= len(record.data) + len(_PARTITION_KEY)
        return request

    def _put(self, request: Sequence[tuple[Record, int]]) -> tuple[list[Record], str]:
        """Send a request; return what of it is to be sent again, and why."""
        from botocore.exceptions import ClientError, EndpointConnectionError, HTTPClientError
        from botocore.exceptions import ConnectionError as NoConnectionError
        from botocore.parsers import ResponseParserError

        everything = [record for record, _ in request]
        entries = [
            {"Data": record.data, "PartitionKey": _PARTITION_KEY, "ExplicitHashKey": self._hash_keys[shard]}
            for record, shard in request
        ]
        with refusals():
            try:
                answer: dict[str, Any] = self._kinesis.put_records(StreamName=self._stream, Records=entries)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                    self._doubt(everything)
                elif code not in _PASSING:
                    raise
                return everything, code
            except EndpointConnectionError as error:
                return everything, str(error)
            except (HTTPClientError, NoConnectionError, ResponseParserError) as error:
                self._doubt(everything)
                return everything, f"no answer ({type(error).__name__})"
        refused, reasons = [], set()
        for record, outcome in zip(everything, answer["Records"], strict=True):
            if code := outcome.get("ErrorCode"):
                if code not in _PASSING:
                    raise ProducerError(f"the stream {self._stream} refuses records: {code}: {outcome.get('ErrorMessage')}")
                refused.append(record)
                reasons.add(code)
        return refused, ", ".join(sorted(reasons))

    def _doubt(self, records: Sequence[Record]) -> None:
        self.doubtful += sum(record.lines for record in records)


def _hash_keys(kinesis: Any, stream: str) -> Iterator[str]:
    """Yield a hash key of each shard that is open."""
    for page in kinesis.get_paginator("list_shards").paginate(StreamName=stream):
        for shard in page["Shards"]:
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]:
                yield shard["HashKeyRange"]["StartingHashKey"]
