"""`tally aws backfill`, as a user types it: files and a local stream into the stream of a stack."""

import gzip
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from tallystream.cli import main
from tallystream.core.definition_text import parse_definition
from tallystream.local.blocks import PIECE_BYTES_MAX
from tallystream.local.data import DataDirectory
from tallystream.ports.stream import Append
from tests.aws.test_backfill import events, sent_to
from tests.waiting import wait_until

DEFINITION = """
name = "web_shop"
[stream]
event_time = "t"
shards = 2
missing_event_time = "arrival"
allowed_lateness = "1h"
[[counter]]
name = "events"
windows = ["1m"]
"""
TEMPLATE = {
    "Resources": {"Stream": {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": "web-shop-events", "ShardCount": 1}}},
    "Outputs": {"StreamName": {"Value": {"Ref": "Stream"}}},
}
STREAM = "web-shop-events"


@pytest.fixture
def directory(aws_environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a definition, whose stack is no more than a stream; it is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tally.toml").write_text(DEFINITION, encoding="utf-8")
    stacks = boto3.client("cloudformation")
    stacks.create_stack(
        StackName="web-shop", TemplateBody=json.dumps(TEMPLATE), Tags=[{"Key": "tallystream", "Value": "web_shop"}]
    )
    wait_until(lambda: STREAM in boto3.client("kinesis").list_streams()["StreamNames"], "the stream")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)
    stacks.delete_stack(StackName="web-shop")
    wait_until(lambda: STREAM not in boto3.client("kinesis").list_streams()["StreamNames"], "the stream to go")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["aws", "backfill", *arguments])


def test_a_file_is_sent_once_and_what_is_added_to_it_later(directory: Path) -> None:
    first, second = events(3_000)[:2_000], events(3_000)[2_000:]
    log = directory / "events.ndjson"
    log.write_bytes(b"\n".join(first) + b"\n")
    result = run("events.ndjson")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"sent 2,000 events to {STREAM} in ")
    assert "warning: allowed_lateness is 1h: events older than that when sent will be rejected" in result.stderr
    assert "warning: events without t are counted at the time at which they are sent" in result.stderr

    result = run("events.ndjson")
    assert result.exit_code == 0
    assert "events.ndjson: nothing new since an earlier run" in result.stderr
    assert sent_to(STREAM) == Counter(first)

    with log.open("ab") as file:
        file.write(b"\n".join(second) + b"\n")
    result = run("events.ndjson")
    assert "events.ndjson: went on where an earlier run had stopped" in result.stderr
    assert result.stdout.startswith("sent 1,000 events ")
    assert sent_to(STREAM) == Counter([*first, *second])

    result = run("events.ndjson", "--again")
    assert result.stdout.startswith("sent 3,000 events ")
    assert sent_to(STREAM) == Counter([*first, *second] * 2)


def test_a_compressed_array_with_its_end_cut_off_is_sent_as_far_as_it_goes(directory: Path) -> None:
    lines = events(100)
    (directory / "events.json.gz").write_bytes(gzip.compress(b"[" + b",\n".join(lines)))
    result = run("events.json.gz")
    assert result.exit_code == 1
    assert "events.json.gz: the JSON array is not closed" in result.stderr
    assert sent_to(STREAM) == Counter(lines[:-1])


def test_an_event_that_no_record_holds_is_left_out_and_said(directory: Path) -> None:
    (directory / "events.ndjson").write_bytes(b'{"a": 1}\n{"a": "' + b"x" * 1024 * 1024 + b'"}\n{"a": 2}\n')
    result = run("events.ndjson")
    assert result.exit_code == 1
    assert result.stdout.startswith("sent 2 events ")
    assert result.stdout.endswith("left out, since no Kinesis record holds so much (1 MiB): 1\n")
    assert sent_to(STREAM) == Counter([b'{"a": 1}', b'{"a": 2}'])


def test_a_local_stream_is_sent_and_what_comes_later(directory: Path) -> None:
    definition = parse_definition(DEFINITION)
    lines = events(6_000)
    stream, store = DataDirectory(directory).open(definition)
    try:
        stream.append([Append(lines[:2_500])], 1_000)
        stream.append([Append(lines[2_500:4_000])], 2_000)
        result = run("--data", ".")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("sent 4,000 events ")
        assert sent_to(STREAM) == Counter(lines[:4_000])

        stream.append([Append(lines[4_000:])], 3_000)
        assert run("--data", ".").stdout.startswith("sent 2,000 events ")
        assert sent_to(STREAM) == Counter(lines)

        # What is no longer kept cannot be sent, and that is said.
        stream.prune(definition.stream.retention_ms + 2_500, {0: 9_999, 1: 9_999})
        result = run("--data", ".", "--checkpoint", "new.jsonl")
        assert result.stdout.startswith("sent 2,000 events ")
        assert result.stderr.count("events are no longer kept and were not sent") == 2
        assert sent_to(STREAM) == Counter([*lines, *lines[4_000:]])
    finally:
        store.close()
        stream.close()


def test_another_local_stream_in_its_place_is_not_gone_on_with(directory: Path) -> None:
    definition = parse_definition(DEFINITION)
    results = []
    for name in ("a", "b"):
        (directory / "data").mkdir()
        stream, store = DataDirectory(directory / "data").open(definition)
        stream.append([Append([f'{{"a": "{name}"}}'.encode()] * 10)], 1_000)
        store.close()
        stream.close()
        results.append(run("--data", "data"))
        (directory / "data").rename(directory / name)
    assert [result.exit_code for result in results] == [0, 1]
    assert "was read up to event 10 before, and it holds other events now" in results[1].stderr
    assert sent_to(STREAM) == {b'{"a": "a"}': 10}


def interrupt(directory: Path, lines: list[bytes], number: signal.Signals) -> subprocess.CompletedProcess[bytes]:
    """Send a file of lines, and signal the process when it has noted a block, which is before the end."""
    (directory / "events.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    command = [sys.executable, "-m", "tallystream.cli", "aws", "backfill", "events.ndjson", "--shard-bytes", "3000000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    checkpoint = directory / "tally-backfill.jsonl"
    wait_until(lambda: checkpoint.exists() and checkpoint.stat().st_size > 0, "a block to be noted", timeout_s=30)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert 0 < sent_to(STREAM).total() < len(lines)
    return subprocess.CompletedProcess(command, process.returncode, b"", said)


def test_an_interrupt_ends_it_where_nothing_is_doubled(directory: Path) -> None:
    lines = events(12_000, 200)
    process = interrupt(directory, lines, signal.SIGINT)
    assert process.returncode == 1
    assert b"tally: stopped; run it again and it goes on where it stopped" in process.stderr
    assert run("events.ndjson").exit_code == 0
    assert sent_to(STREAM) == Counter(lines)


def test_a_kill_loses_nothing_and_doubles_a_block_at_most(directory: Path) -> None:
    lines = events(12_000, 200)
    assert interrupt(directory, lines, signal.SIGKILL).returncode == -signal.SIGKILL
    assert run("events.ndjson").exit_code == 0
    sent = sent_to(STREAM)
    assert set(sent) == set(lines)
    assert sum(len(line) * (number - 1) for line, number in sent.items()) <= PIECE_BYTES_MAX


def test_what_is_sent_must_be_named(directory: Path) -> None:
    for arguments in ([], ["events.ndjson", "--data", "."]):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "name what to send: files (or - for standard input), or a data directory with --data" in result.stderr


def test_there_must_be_a_stack(directory: Path) -> None:
    (directory / "events.ndjson").write_bytes(b"{}\n")
    result = run("events.ndjson", "--stack", "other")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        1,
        "tally: there is no stack other in eu-west-1; make it with: tally aws deploy",
    )
