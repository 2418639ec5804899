"""
Stand-ins for what surrounds counting on AWS, with every fault that it has: a table, a stream, an event source mapping.

They hold no thread and no clock: an invocation advances by one operation at a time, and chance comes from the caller's seed.
So overlapping invocations meet in any order, and a schedule that failed is run again by its seed. The table passes the same
tests as the one in DynamoDB.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol

from tallystream.aws.count import Counting, Delivery, Memory
from tallystream.aws.records import Batch
from tallystream.aws.table import Admit, At, Below, Find, Item, Key, Operation, PutAll, Steps, Update, item_key

ITEM_BYTES_MAX = 400 * 1024


class MemoryTable:
    """The counter table in memory, with DynamoDB's conditions and limits."""

    def __init__(self) -> None:
        self.items: dict[Key, Item] = {}

    def perform(self, operation: Operation) -> Any:
        match operation:
            case Update(key, condition, add, assign, begin):
                return self._update(key, condition, add, assign, begin)
            case Find(keys):
                return {key for key in keys if key in self.items}
            case Admit(head, item, items_max):
                return self._admit(head, item, items_max)
            case PutAll(items):
                for item in items:
                    self._store(item_key(item), item)
                return None

    def query(
        self,
        pk: str,
        from_sk: str = "",
        to_sk: str | None = None,
        *,
        descending: bool = False,
        at_once: int | None = None,  # noqa: ARG002  # here, all costs the same
    ) -> Iterator[Item]:
        for key in sorted(self.items, reverse=descending):
            if key.pk == pk and from_sk <= key.sk and (to_sk is None or key.sk < to_sk):
                yield dict(self.items[key])

    def holds(self, condition: Below | At, mark: str | None, assign: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return whether an update's condition holds on a row's mark; a test weakens it to see what it is for."""
        match condition:
            case Below(first):
                return mark is None or mark < first
            case At(known):
                return mark == known

    def _update(
        self, key: Key, condition: Below | At, add: dict[str, int], assign: dict[str, Any], begin: Mapping[str, Any]
    ) -> Item | None:
        row = self.items.get(key)
        if not self.holds(condition, row.get("hwm") if row else None, assign):
            return dict(row) if row else {}
        changed: Item = {**begin, "pk": key.pk, "sk": key.sk, **(row or {})}
        for name, number in add.items():
            changed[name] = changed.get(name, 0) + number
        for name, value in assign.items():
            if value is None:
                changed.pop(name, None)
            else:
                changed[name] = value
        self.items[key] = changed
        return None

    def _admit(self, head: Key, item: Item, items_max: int) -> bool:
        if item_key(item) in self.items:
            return True
        entered = self.items.get(head, {}).get("entered", 0)
        if entered >= items_max:
            return False
        self._store(head, {"pk": head.pk, "sk": head.sk, "entered": entered + 1})
        self._store(item_key(item), item)
        return True

    def _store(self, key: Key, item: Item) -> None:
        if not (0 < len(key.pk.encode()) <= 2_048 and 0 < len(key.sk.encode()) <= 1_024):
            raise ValueError(f"DynamoDB takes keys of up to 2,048 and 1,024 bytes, not {key}")
        if (size := _size(item)) > ITEM_BYTES_MAX:
            raise ValueError(f"DynamoDB takes items of up to {ITEM_BYTES_MAX:,} bytes; {key} has {size:,}")
        self.items[key] = item


def _size(value: Any) -> int:
    match value:
        case dict():
            return 3 + sum(len(name.encode()) + 1 + _size(below) for name, below in value.items())
        case bytes():
            return len(value)
        case int() if abs(value) < 10**38:
            return 21
        case str():
            return len(value.encode())
        case _:
            raise ValueError(f"DynamoDB has no such value: {value!r}")


class Record(NamedTuple):
    sequence: str
    arrival_ms: int
    data: bytes


def batch_of(shard: str, records: Sequence[Record]) -> Batch:
    """Return records of a shard as the function reads them from a payload."""
    sequences, arrivals_ms, data = zip(*records, strict=True)
    texts = [b64encode(of_record).decode() for of_record in data]
    return Batch(shard, list(sequences), texts, arrivals_ms, lambda arrival_ms: arrival_ms / 1_000)


class MemoryShard:
    """Records in order; closed when it was split or merged into others."""

    def __init__(self, name: str, parents: tuple["MemoryShard", ...] = ()) -> None:
        self.name = name
        self.parents = parents
        self.records: list[Record] = []
        self.is_open = True


class MemoryStream:
    """A Kinesis stream in memory: sequence numbers that grow by leaps and in length, shards that split and merge."""

    def __init__(self, random: Random, shards: int) -> None:
        self._random = random
        self._sequence = 10**56 - random.randrange(1, 2_000)
        self.shards = [MemoryShard(f"{number:012d}") for number in range(shards)]

    def put(self, data: bytes, arrival_ms: int) -> None:
        """Append a record to any open shard."""
        self._sequence += self._random.randrange(1, 100)
        shard = self._random.choice([shard for shard in self.shards if shard.is_open])
        shard.records.append(Record(str(self._sequence), arrival_ms, data))

    def split(self) -> None:
        """Replace an open shard by two children."""
        parent = self._random.choice([shard for shard in self.shards if shard.is_open])
        parent.is_open = False
        for _ in range(2):
            self.shards.append(MemoryShard(f"{len(self.shards):012d}", (parent,)))

    def merge(self) -> None:
        """Replace two open shards, if there are two, by one child."""
        opened = [shard for shard in self.shards if shard.is_open]
        if len(opened) >= 2:
            parents = tuple(self._random.sample(opened, 2))
            for parent in parents:
                parent.is_open = False
            self.shards.append(MemoryShard(f"{len(self.shards):012d}", parents))


class Invocation(Protocol):
    """One run of the function with a batch."""

    def advance(self, *, fails: bool) -> bool:
        """
        Perform one more operation; return False when there is none left: it has succeeded.

        With `fails`, the operation is performed, but its answer is lost, and the invocation with it.
        """
        ...


class CountInvocation:
    """A counting invocation whose operations are performed one by one, those of different rows in any order."""

    def __init__(self, delivery: Delivery, table: MemoryTable, random: Random) -> None:
        self._delivery = delivery
        self._table = table
        self._random = random
        self._is_admitted = False
        self._running: list[tuple[Steps, Operation]] = []
        self._start([delivery.admission()])

    def advance(self, *, fails: bool) -> bool:
        while not self._running:
            if self._is_admitted:
                return False
            self._is_admitted = True
            self._start(self._delivery.writes())
        steps, operation = self._running.pop(self._random.randrange(len(self._running)))
        answer = self._table.perform(operation)
        if fails:
            return True
        if self._random.random() < 0.05:  # the client did not hear the answer, and asked again
            answer = self._table.perform(operation)
        self._go_on(steps, answer)
        return True

    def _start(self, several: list[Steps]) -> None:
        for steps in several:
            self._go_on(steps, None)

    def _go_on(self, steps: Steps, answer: Any) -> None:
        try:
            self._running.append((steps, steps.send(answer)))
        except StopIteration:
            return


class Containers:
    """The function's containers: a batch goes to any that is idle, or to a new one."""

    def __init__(self, counting: Counting, table: MemoryTable, random: Random) -> None:
        self._counting = counting
        self._table = table
        self._random = random
        self._idle: list[Memory] = []

    def invoke(self, shard: str, records: Sequence[Record], now_ms: int) -> tuple[Invocation, Callable[[], None]]:
        """Return a new invocation, and what hands its container back."""
        idle = self._idle
        memory = idle.pop(self._random.randrange(len(idle))) if idle and self._random.random() < 0.8 else Memory()
        delivery = Delivery(self._counting, memory, batch_of(shard, records), now_ms)
        return CountInvocation(delivery, self._table, self._random), lambda: idle.append(memory)


class _Run(NamedTuple):
    invocation: Invocation
    end: int  # where the shard stands when it has succeeded
    release: Callable[[], None]


class EventSourceMapping:
    """
    Delivers a stream's records as Lambda does, at least once, one batch of a shard at a time, parents before children.

    Faults: an invocation fails, or times out after any operation, and its batch is delivered again, alike, larger, smaller or
    in halves; one that timed out may go on beside the next ones, to its end or not; a mapping that was made anew begins
    further back.
    """

    def __init__(
        self,
        stream: MemoryStream,
        invoke: Callable[[str, Sequence[Record], int], tuple[Invocation, Callable[[], None]]],
        random: Random,
        now_ms: int,
    ) -> None:
        self._stream = stream
        self._invoke = invoke
        self._random = random
        self._now_ms = now_ms
        self._position = dict.fromkeys(stream.shards, 0)
        self._runs: dict[MemoryShard, _Run] = {}
        self._zombies: list[_Run] = []
        self._bisected: dict[MemoryShard, list[int]] = {}  # where the next batches have to end
        self.faults = 0

    def run(self, faults_max: int) -> None:
        """Deliver until every record was counted, with at most so many faults."""
        random = self._random.random
        while True:
            if not self._runs or random() < 0.2:
                ready = [shard for shard in self._stream.shards if shard not in self._runs and self._is_due(shard)]
                if ready:
                    self._deliver(self._random.choice(ready))
                elif not self._runs:
                    break
            if self._zombies and random() < 0.3:
                self._advance_zombie()
                continue
            shard = self._random.choice([*self._runs])
            may_fail = self.faults < faults_max
            if may_fail and random() < 0.08:
                self._fail(shard)
            elif not self._runs[shard].invocation.advance(fails=False):
                self._succeed(shard)
                if may_fail and random() < 0.1:
                    self._begin_again(shard)
        while self._zombies:
            self._advance_zombie()

    def _is_due(self, shard: MemoryShard) -> bool:
        return self._position[shard] < len(shard.records) and all(
            self._position[parent] == len(parent.records) for parent in _ancestors(shard)
        )

    def _deliver(self, shard: MemoryShard) -> None:
        start = self._position[shard]
        bisected = self._bisected.get(shard)
        end = bisected.pop(0) if bisected else self._random.randint(start + 1, len(shard.records))
        self._now_ms += 1_000
        self._runs[shard] = _Run(*self._started(shard, start, end))

    def _started(self, shard: MemoryShard, start: int, end: int) -> tuple[Invocation, int, Callable[[], None]]:
        invocation, release = self._invoke(shard.name, shard.records[start:end], self._now_ms)
        return invocation, end, release

    def _succeed(self, shard: MemoryShard) -> None:
        run = self._runs.pop(shard)
        self._position[shard] = run.end
        run.release()

    def _begin_again(self, shard: MemoryShard) -> None:
        """Go back to an earlier record, as a mapping does that is deleted and made again."""
        self.faults += 1
        self._position[shard] = self._random.randrange(self._position[shard] + 1)
        self._bisected.pop(shard, None)

    def _fail(self, shard: MemoryShard) -> None:
        self.faults += 1
        run = self._runs.pop(shard)
        match self._random.choice(("raises", "dies", "dies after a write", "goes on")):
            case "raises":  # the container lives, and remembers
                run.invocation.advance(fails=True)
                run.release()
            case "dies after a write":
                run.invocation.advance(fails=True)
            case "goes on":
                self._zombies.append(run)
            case _:
                pass
        start = self._position[shard]
        match self._random.choice(("alike", "bisect", "any")):
            case "alike":
                self._bisected[shard] = [run.end]
            case "bisect" if run.end - start >= 2:
                self._bisected[shard] = [(start + run.end) // 2, run.end]
            case _:
                self._bisected.pop(shard, None)

    def _advance_zombie(self) -> None:
        zombie = self._random.choice(self._zombies)
        if self._random.random() < 0.02 or not zombie.invocation.advance(fails=False):
            self._zombies.remove(zombie)


def _ancestors(shard: MemoryShard) -> Iterator[MemoryShard]:
    for parent in shard.parents:
        yield parent
        yield from _ancestors(parent)
