"""What ends a verification early, and what it says meanwhile."""

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tallystream.aws.deployed import Deployed
from tallystream.aws.records import pad_sequence
from tallystream.aws.recount import Record
from tallystream.aws.retained import Page
from tallystream.aws.rows import Layout, ledger_key
from tallystream.aws.verify import Reading, Verifier
from tallystream.core.definition_text import parse_definition
from tallystream.testing import MemoryTable

DEFINITION = parse_definition("""
name = "read"
[stream]
event_time = "t"
[[counter]]
name = "events"
windows = ["1m"]
""")


class Endless:
    """A stream of three shards, of which one never ends."""

    created_ms = 0
    retention_ms = 1_000_000

    def __init__(self) -> None:
        self.pages_read = 0

    def shards(self) -> list[str]:
        return ["shardId-0", "shardId-1", "shardId-2"]

    def pages(self, shard: str, after: str | None = None) -> Iterator[Page]:
        yield Page([Record("1", 0, b"no event"), Record("2", 0, b"{}\n{}")], 250_000)
        while shard == "shardId-1":
            self.pages_read += 1
            yield Page([], 250_000)


def verifier(table: MemoryTable, on_progress: Any) -> Verifier:
    for shard in "012":
        key = ledger_key(shard)
        table.items[key] = {**key._asdict(), "hwm": pad_sequence("3"), "received": 3}
    deployed = Deployed("stream", "table", DEFINITION, Layout(), None, None)
    return Verifier(deployed, Endless(), table, on_progress)  # type: ignore[arg-type]


def test_an_interrupt_ends_it_in_the_middle_of_a_shard() -> None:
    readings: list[Reading] = []
    mains = iter([threading.main_thread().ident])  # once: the shard that does not end goes on reporting until it is told

    def interrupt_at_the_end_of_the_others(reading: Reading) -> None:
        readings.append(reading)
        if reading.part == pytest.approx((1 + 0.75 + 1) / 3) and (main := next(mains, None)) is not None:
            signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        verifier(MemoryTable(), interrupt_at_the_end_of_the_others).verify()
    assert readings[-1][:2] == (9, 9)


def test_a_failure_of_one_shard_ends_the_others() -> None:
    def fail(reading: Reading) -> None:
        if reading.part == pytest.approx((1 + 0.75 + 1) / 3):
            raise OSError("standard error is closed")

    with pytest.raises(OSError, match="standard error is closed"):
        verifier(MemoryTable(), fail).verify()
