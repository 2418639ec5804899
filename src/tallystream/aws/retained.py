"""The records that a Kinesis stream still holds, shard by shard, no faster than Kinesis lets anybody read."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from tallystream.aws.recount import Record

_CALL_S: Final = 0.25  # apart: a shard takes 5 calls a second of all its readers, and the count function is one
_PAGE_RECORDS: Final = 10_000


class Page(NamedTuple):
    """Consecutive records of a shard."""

    records: list[Record]
    behind_ms: int  # how far the end of the page is behind the newest record


class RetainedStream:
    """Reads a stream through a client of Kinesis, from any threads."""

    def __init__(self, kinesis: Any, name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self._kinesis = kinesis
        self._name = name
        self._pause = pause
        summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        self.created_ms = int(summary["StreamCreationTimestamp"].timestamp() * 1_000)
        self.retention_ms = int(summary["RetentionPeriodHours"]) * 3_600_000

    def shards(self) -> list[str]:
        """Return the ids of all shards that may still hold records, closed ones too."""
        pages = self._kinesis.get_paginator("list_shards").paginate(StreamName=self._name)
        return [shard["ShardId"] for page in pages for shard in page["Shards"]]

    def pages(self, shard: str, after: str | None = None) -> Iterator[Page]:
        """
        Yield a shard's records from the oldest on, or behind a sequence number, to the newest as of then.

        The shard's parents and children are other shards: each is read by itself.
        """
        iterator: str | None = self._iterator(shard, after)
        while iterator is not None:
            called_s = time.monotonic()
            try:
                answer = self._kinesis.get_records(ShardIterator=iterator, Limit=_PAGE_RECORDS)
            except self._kinesis.exceptions.ExpiredIteratorException:  # after five minutes, such as on a machine that slept
                iterator = self._iterator(shard, after)
                continue
            records = [
                Record(each["SequenceNumber"], round(each["ApproximateArrivalTimestamp"].timestamp() * 1_000), each["Data"])
                for each in answer["Records"]
            ]
            if records:
                after = records[-1].sequence
            yield Page(records, answer["MillisBehindLatest"])
            iterator = answer.get("NextShardIterator")
            if not records and not answer["MillisBehindLatest"]:
                return
            self._pause(max(0.0, called_s + _CALL_S - time.monotonic()))

    def _iterator(self, shard: str, after: str | None) -> str:
        where = {"ShardIteratorType": "TRIM_HORIZON"}
        if after is not None:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": after}
        found: str = self._kinesis.get_shard_iterator(StreamName=self._name, ShardId=shard, **where)["ShardIterator"]
        return found
