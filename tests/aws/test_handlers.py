"""What a container of the count function starts with: no more than it needs."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from tallystream.aws import handlers
from tallystream.aws.records import KinesisEvent
from tests.contracts.plane import DEFINITION


def test_the_count_function_imports_no_sdk_and_nothing_of_the_other_planes() -> None:
    program = "import sys, tallystream.aws.handlers; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    unneeded = ("boto3", "botocore", "urllib3", "asyncio", "sqlite3", "click", "rich", "starlette", "uvicorn", "mangum")
    assert [name for name in loaded if name.split(".")[0] in unneeded] == []
    assert [name for name in loaded if name.startswith(("tallystream.web", "tallystream.engine", "tallystream.local"))] == []
    assert "tallystream.aws.package" not in loaded


def test_a_container_makes_what_it_needs_while_it_starts(tmp_path: os.PathLike[str]) -> None:
    environment = {**os.environ, "_HANDLER": "tallystream.aws.handlers.count_handler", "LAMBDA_TASK_ROOT": str(tmp_path)}
    failed = subprocess.run(
        [sys.executable, "-c", "import tallystream.aws.handlers"], env=environment, check=False, capture_output=True, text=True
    )
    assert "definition.json" in failed.stderr  # it was asked for at once, not by the first payload
    assert failed.returncode == 1


def test_a_container_keeps_the_garbage_collector_from_payloads(tmp_path: Path) -> None:
    (tmp_path / "definition.json").write_bytes(msgspec.json.encode(DEFINITION))
    aws = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "TALLY_TABLE": "counters"}
    handler = {"_HANDLER": "tallystream.aws.handlers.count_handler", "LAMBDA_TASK_ROOT": str(tmp_path)}
    program = "import gc, tallystream.aws.handlers; print(gc.get_threshold()[0], gc.get_freeze_count() > 0)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={**os.environ, **aws, **handler}, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(handlers.GC_THRESHOLD), "True"]


def test_our_runtime_decodes_payloads_to_structs() -> None:
    event = b'{"Records": [{"eventID": "shardId-0:1", "kinesis": {"data": "YQ==", "approximateArrivalTimestamp": 1}}]}'
    decoded = handlers.DECODERS["count_handler"](event)
    assert isinstance(decoded, KinesisEvent)
    assert decoded.records[0].kinesis.data == "YQ=="
