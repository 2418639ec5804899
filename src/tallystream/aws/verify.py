"""
`tally verify --aws`: the retained stream counted once more, and compared with the table, while the stack counts on.

What is read when decides what may be said. First the ledgers: each says how far its shard was counted. The stream is counted up
to there, and once more behind it if that took long. Then the rows; then the catalogues, so that of every group that a row has
counted it is known whether it has rows of its own; then how far rows have come that were counted further meanwhile, in the
stream. What may have been under way is read again until it is right, or until any batch that wrote a ledger must have ended.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from decimal import Decimal
from threading import Event
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from tallystream.aws.deploy import Account
from tallystream.aws.deployed import Deployed, read_deployed
from tallystream.aws.differences import Catalogue, Comparison, Shard
from tallystream.aws.records import pad_sequence
from tallystream.aws.recount import ShardRecount
from tallystream.aws.refusals import refusals
from tallystream.aws.retained import RetainedStream
from tallystream.aws.rows import (
    OVERFLOW,
    Layout,
    catalogue_head,
    generation_of,
    ledger_key,
    read_cell_key,
    rejected_key,
    series_prefix,
    spreads,
    stored_group,
    window_key,
)
from tallystream.aws.table import Item, Key, item_key
from tallystream.core.comparison import Difference
from tallystream.core.definition import Definition

UNDER_WAY_S: Final = 150.0
"""A batch has ended so long after it wrote a ledger: the function has 120 s."""

_AGAIN_S: Final = 3.0
_CATCH_UP_S: Final = 20.0  # reading that took longer is followed by more of it, before the rows are read
_PASSES_MAX: Final = 10
_THREADS_MAX: Final = 16
_CHANGED_SLACK_MS: Final = 60_000  # what arrived sooner after a change may have been counted by an invocation from before it
_CLOCK_SLACK_MS: Final = 300_000  # our clock may be behind Kinesis'

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Reading(NamedTuple):
    """How far the stream is read."""

    events: int
    rejected: int  # of them
    part: float  # of the retained time, 0 to 1


OnProgress = Callable[[Reading], None]


class Rows(Protocol):
    """The counter table, to be read; see Table."""

    def query(self, pk: str, from_sk: str = "", to_sk: str | None = None) -> Iterator[Item]: ...


class Range(NamedTuple):
    """Items of one partition, from_sk <= sk < to_sk."""

    pk: str
    from_sk: str = ""
    to_sk: str | None = None


class Clock(NamedTuple):
    """What tells the time, and waits."""

    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    monotonic_s: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


SYSTEM_CLOCK: Final = Clock()


class Verification(NamedTuple):
    """What was compared, and what came of it."""

    events: int  # read again
    rows: int  # compared
    gone: int  # events that are no longer in the stream
    differences: list[Difference]


class Verifier:
    """Verifies one stack."""

    def __init__(
        self,
        deployed: Deployed,
        stream: RetainedStream,
        table: Rows,
        on_progress: OnProgress,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._definition: Definition = deployed.definition
        self._layout: Layout = deployed.layout
        self._deployed = deployed
        self._stream = stream
        self._table = table
        self._on_progress = on_progress
        self._clock = clock
        self._stopped = Event()
        from_ms = None if deployed.changed_ms is None else deployed.changed_ms + _CHANGED_SLACK_MS
        self._ids = {shard_id.removeprefix("shardId-"): shard_id for shard_id in stream.shards()}
        self._recounts = {name: ShardRecount(self._definition, name, from_ms) for name in self._ids}
        self._parts = dict.fromkeys(self._ids, 0.0)  # of the retained time that is read
        self._events = dict.fromkeys(self._ids, 0)
        self._generations = {
            counter.name: generation_of(counter, self._definition.stream, self._layout) for counter in self._definition.counters
        }

    def verify(self) -> Verification:
        """Read everything, and compare. Ends early, with what stopped it, when it is interrupted."""
        with ThreadPoolExecutor(_THREADS_MAX) as pool:
            try:
                return self._verify(pool)
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _verify(self, pool: ThreadPoolExecutor) -> Verification:
        ledgers, began_s = self._recount_to_ledgers(pool)
        trimmed_ms = self._trimmed_ms()
        is_untrimmed = self._stream.created_ms > trimmed_ms
        items = self._items(pool, self._ranges(everything=is_untrimmed))
        read_s = self._clock.monotonic_s()
        while True:
            catalogues = self._catalogues()
            newest = _marks(self._ledgers())
            _all(pool, self._recount_on, _furthest(items).items())
            shards = [
                Shard(recount, ledgers.get(name), newest.get(name), is_untrimmed, trimmed_ms)
                for name, recount in self._recounts.items()
            ]
            comparison = Comparison(self._definition, self._layout, shards, catalogues, items, self._clock.now_ms())
            findings = list(comparison.findings())
            # What has written a ledger ends so long after that was read; what has written a row that is ahead, after the row.
            is_late = self._clock.monotonic_s() - began_s > UNDER_WAY_S
            again = set() if is_late else {finding.again for finding in findings if finding.again is not None}
            is_ahead = any(finding.is_ahead for finding in findings)
            if not again and not (is_ahead and self._clock.monotonic_s() - read_s <= UNDER_WAY_S):
                break
            self._clock.pause(_AGAIN_S)
            if again:
                for key in again:
                    items.pop(key, None)
                items |= self._items(pool, [Range(pk, sk, f"{sk} ") for pk, sk in again])
                read_s = self._clock.monotonic_s()
        received = sum(ledger.get("received", 0) for ledger in ledgers.values())
        gone = max(0, received - sum(recount.received for recount in self._recounts.values()))
        return Verification(sum(self._events.values()), comparison.rows, gone, [each.difference for each in findings])

    def _trimmed_ms(self) -> int:
        """Return by when everything had arrived that Kinesis may have dropped until now."""
        by_retention_ms = self._clock.now_ms() - self._stream.retention_ms
        return max(by_retention_ms, self._deployed.kept_before_ms or by_retention_ms) + _CLOCK_SLACK_MS

    # The stream.

    def _recount_to_ledgers(self, pool: ThreadPoolExecutor) -> tuple[dict[str, Item], float]:
        """Count each shard to where its ledger is; return the ledgers, and when (monotonic seconds) they were read."""
        passes = 0
        while True:
            ledgers, began_s = self._ledgers(), self._clock.monotonic_s()
            for name, mark in _marks(ledgers).items():
                if name in self._recounts:
                    self._recounts[name].advance(mark)
            _all(pool, self._recount_to_mark, self._recounts.values())
            passes += 1
            if passes == _PASSES_MAX or self._clock.monotonic_s() - began_s < _CATCH_UP_S:
                return ledgers, began_s

    def _recount_to_mark(self, recount: ShardRecount) -> list[None]:
        if recount.mark is not None:
            self._read(recount, recount.mark)
        self._parts[recount.shard] = 1.0
        self._report()
        return []

    def _recount_on(self, furthest: tuple[str, str]) -> list[None]:
        """Count a shard on to the mark of a row that was counted further than the ledger was."""
        name, mark = furthest
        recount = self._recounts.get(name)
        if recount is not None and (recount.mark is None or mark > recount.mark):
            self._read(recount, mark)
        return []

    def _read(self, recount: ShardRecount, to: str) -> None:
        if recount.end is not None and recount.end >= to:
            return
        for page in self._stream.pages(self._ids[recount.shard], recount.last_sequence):
            # So near to where Kinesis drops records, some may have gone between two pages.
            if page.records and page.records[0].arrival_ms < self._trimmed_ms():
                recount.first = None
            records = [record for record in page.records if pad_sequence(record.sequence) <= to]
            self._events[recount.shard] += recount.count(records)
            if self._stopped.is_set() or len(records) < len(page.records) or (recount.end is not None and recount.end >= to):
                return
            self._parts[recount.shard] = max(0.0, 1 - page.behind_ms / self._stream.retention_ms)
            self._report()

    def _report(self) -> None:
        rejected = sum(recount.ledger.rejected for recount in self._recounts.values())
        self._on_progress(Reading(sum(self._events.values()), rejected, sum(self._parts.values()) / len(self._parts)))

    # The table.

    def _ledgers(self) -> dict[str, Item]:
        return {item["sk"]: item for item in self._table.query(ledger_key("").pk)}

    def _catalogues(self) -> dict[str, Catalogue]:
        catalogues = {}
        for counter, generation in self._generations.items():
            head = catalogue_head(counter, generation)
            items = {item_key(item): item for item in self._table.query(head.pk)}
            entered = items.pop(head, {}).get("entered", 0)
            catalogues[counter] = Catalogue(frozenset(key.sk for key in items), entered)
        return catalogues

    def _items(self, pool: ThreadPoolExecutor, ranges: Iterable[Range]) -> dict[Key, Item]:
        return {item_key(item): item for item in _all(pool, lambda each: list(self._table.query(*each)), ranges)}

    def _ranges(self, *, everything: bool) -> Iterator[Range]:
        """Yield where the rows and rejected events lie of what was counted again; or where all rows lie."""
        for (counter, window_ms, group), span in self._spans(everything=everything).items():
            prefix = series_prefix(counter, self._generations[counter], window_ms)
            for spread in spreads(self._layout):
                yield Range(prefix + group + spread, *(() if span is None else (window_key(span[0]), window_key(span[1] + 1))))
        for recount in self._recounts.values():
            yield Range(rejected_key(recount.shard), recount.first.mark if recount.first else recount.mark or "")

    def _spans(self, *, everything: bool) -> dict[tuple[str, int, str], tuple[int, int] | None]:
        """Return from which window start to which each series was counted again: (counter, window_ms, group as in keys)."""
        catalogues = self._catalogues()
        if everything:
            return {
                (counter.name, window_ms, group): None
                for counter in self._definition.counters
                for group in (*catalogues[counter.name].groups, OVERFLOW)
                for window_ms in counter.windows_ms
            }
        spans: dict[tuple[str, int, str], tuple[int, int] | None] = {}
        for recount in self._recounts.values():
            for counter, cell in recount.cells:
                group, start_ms = stored_group(cell.group), cell.window_start_ms
                series = counter, cell.window_ms, group if group in catalogues[counter].groups else OVERFLOW
                first_ms, last_ms = spans.get(series) or (start_ms, start_ms)
                spans[series] = min(first_ms, start_ms), max(last_ms, start_ms)
        return spans


def _marks(ledgers: Mapping[str, Item]) -> dict[str, str]:
    """Return how far each shard is counted."""
    return {name: ledger.get("hwm", "") for name, ledger in ledgers.items()}


def _furthest(items: Mapping[Key, Item]) -> dict[str, str]:
    """Return the highest mark among the rows of each shard."""
    found: dict[str, str] = {}
    for key, item in items.items():
        cell = read_cell_key(key)
        if cell is not None:
            found[cell.shard] = max(found.get(cell.shard, ""), item.get("hwm", ""))
    return found


def _all(pool: ThreadPoolExecutor, work: Callable[[Argument], list[Result]], arguments: Iterable[Argument]) -> list[Result]:
    """Return the results of work on each of the arguments, done side by side; raise its first failure."""
    futures: list[Future[list[Result]]] = [pool.submit(work, argument) for argument in arguments]
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    return [result for future in futures for result in future.result()]


class DynamoDBRows:
    """The table in DynamoDB, through boto3's client."""

    def __init__(self, client: Any, name: str) -> None:
        from boto3.dynamodb.types import TypeDeserializer

        self._pages = client.get_paginator("query")
        self._name = name
        self._decode = TypeDeserializer().deserialize

    def query(self, pk: str, from_sk: str = "", to_sk: str | None = None) -> Iterator[Item]:
        values = {":pk": {"S": pk}, ":from": {"S": from_sk or " "}}
        condition = "pk = :pk AND sk >= :from"
        if to_sk is not None:  # BETWEEN takes both of its ends
            values[":to"] = {"S": to_sk}
            condition = "pk = :pk AND sk BETWEEN :from AND :to"
        for page in self._pages.paginate(
            TableName=self._name, ConsistentRead=True, KeyConditionExpression=condition, ExpressionAttributeValues=values
        ):
            for encoded in page["Items"]:
                item = {name: _plain(self._decode(value)) for name, value in encoded.items()}
                if item["sk"] != to_sk:
                    yield item


def _plain(value: Any) -> Any:
    """Return a value as Item has them."""
    match value:
        case Decimal():
            return int(value)
        case dict():
            return {name: _plain(below) for name, below in value.items()}
        case str():
            return value
        case _:
            return bytes(value)


def verify(account: Account, stack: str, on_progress: OnProgress) -> Verification:
    """
    Verify a stack.

    Raises:
        DeployError: there is no such stack, it is not ours, or AWS refused; the message names a missing permission.
    """
    import boto3
    from botocore.config import Config

    deployed = read_deployed(account, stack)
    with refusals():
        session = boto3.Session(region_name=account.region)
        # Throttling means that others read, too: wait for them.
        config = Config(retries={"mode": "standard", "total_max_attempts": 10}, max_pool_connections=_THREADS_MAX)
        stream = RetainedStream(session.client("kinesis", config=config), deployed.stream)
        rows = DynamoDBRows(session.client("dynamodb", config=config), deployed.table)
        return Verifier(deployed, stream, rows, on_progress).verify()
