"""A Kinesis stream whose shards split and merge, and who reads it as an event source mapping does."""

from base64 import b64encode
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.waiting import wait_until

HASH_KEYS = 2**128


class Stream:
    """A stream on an emulator that splits and merges."""

    def __init__(self, kinesis: Any, name: str, shards: int) -> None:
        self.kinesis = kinesis
        self.name = name
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        self._wait()

    def put(self, data: list[bytes], random: Random) -> None:
        """Put records into any open shards."""
        entries = [{"Data": each, "PartitionKey": "any", "ExplicitHashKey": str(random.randrange(HASH_KEYS))} for each in data]
        assert self.kinesis.put_records(StreamName=self.name, Records=entries)["FailedRecordCount"] == 0

    def shards(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.kinesis.list_shards(StreamName=self.name)["Shards"]
        return found

    def open_shards(self) -> list[dict[str, Any]]:
        """Return the open shards in the order of their hash keys: neighbours can be merged."""
        is_open = (shard for shard in self.shards() if "EndingSequenceNumber" not in shard["SequenceNumberRange"])
        return sorted(is_open, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    def split(self) -> None:
        """Split the first open shard in the middle."""
        shard = self.open_shards()[0]
        first, last = (int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        middle = str((first + last) // 2)
        self.kinesis.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=middle)
        self._wait()

    def merge(self) -> None:
        """Merge the last two open shards."""
        shard, neighbour = (shard["ShardId"] for shard in self.open_shards()[-2:])
        self.kinesis.merge_shards(StreamName=self.name, ShardToMerge=shard, AdjacentShardToMerge=neighbour)
        self._wait()

    def _wait(self) -> None:
        def is_active() -> bool:
            summary = self.kinesis.describe_stream_summary(StreamName=self.name)["StreamDescriptionSummary"]
            return bool(summary["StreamStatus"] == "ACTIVE")

        wait_until(is_active, "the stream to be active")


class Poller:
    """Reads a stream as an event source mapping does: in batches of a shard, in order, children when parents are drained."""

    def __init__(self, stream: Stream, random: Random) -> None:
        self._stream = stream
        self._random = random
        self._iterators: dict[str, str | None] = {}  # None: drained
        self.order: list[str] = []  # the shards, as their records came

    def poll(self) -> Iterator[dict[str, Any]]:
        """Yield a payload of each shard that has records now."""
        for shard in self._stream.shards():
            name = shard["ShardId"]
            parents = [shard[key] for key in ("ParentShardId", "AdjacentParentShardId") if key in shard]
            if name not in self._iterators and all(self._iterators.get(parent, "") is None for parent in parents):
                where = {"StreamName": self._stream.name, "ShardId": name, "ShardIteratorType": "TRIM_HORIZON"}
                self._iterators[name] = self._stream.kinesis.get_shard_iterator(**where)["ShardIterator"]
            iterator = self._iterators.get(name)
            if iterator is None:
                continue
            answer = self._stream.kinesis.get_records(ShardIterator=iterator, Limit=self._random.randint(1, 30))
            self._iterators[name] = answer.get("NextShardIterator")
            if answer["Records"]:
                self.order.append(name)
                yield {"Records": [_in_payload(name, record) for record in answer["Records"]]}


def _in_payload(shard: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventID": f"{shard}:{record['SequenceNumber']}",
        "kinesis": {
            "sequenceNumber": record["SequenceNumber"],
            "partitionKey": record["PartitionKey"],
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
            "data": b64encode(record["Data"]).decode(),
        },
    }
