"""The functions' package: small, the same from the same input, and what Lambda can start."""

import io
import json
import os
import platform
import subprocess
import sys
import zipfile
from base64 import b64encode
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tallystream.aws.function import DEFINITION
from tallystream.aws.package import BYTES_MAX, Package, PackageError, Target, build_package, imported_modules
from tallystream.aws.template_function import WRAPPER
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tests.aws.lambda_api import start

EXAMPLE = parse_definition(resources.files("tallystream").joinpath("example.toml").read_text(encoding="utf-8"))
THIS_MACHINE = Target(
    "arm64" if platform.machine() == "aarch64" else "x86_64", f"{sys.version_info.major}.{sys.version_info.minor}"
)


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return {name: build_package(EXAMPLE, Target(name)) for name in ("arm64", "x86_64")}


@pytest.fixture(scope="module")
def task_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package for this machine, unpacked as Lambda unpacks it."""
    root = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(io.BytesIO(build_package(EXAMPLE, THIS_MACHINE).data)) as archive:
        archive.extractall(root)
        for entry in archive.infolist():
            (root / entry.filename).chmod(entry.external_attr >> 16 & 0o777)
    return root


def names(package: Package) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_a_package_has_the_wheels_of_its_processor(packages: dict[str, Package]) -> None:
    for package, machine in ((packages["arm64"], "aarch64"), (packages["x86_64"], "x86_64")):
        compiled = [name for name in names(package) if name.endswith(".so")]
        assert len(compiled) == 2
        assert all(name.endswith(f".cpython-313-{machine}-linux-gnu.so") for name in compiled)
        assert len(package.data) < BYTES_MAX / 5


def test_the_same_input_makes_the_same_bytes(packages: dict[str, Package]) -> None:
    assert build_package(EXAMPLE, Target("arm64")).sha256 == packages["arm64"].sha256
    changed = msgspec.structs.replace(EXAMPLE, name="another")
    assert build_package(changed, Target("arm64")).sha256 != packages["arm64"].sha256
    with zipfile.ZipFile(io.BytesIO(packages["arm64"].data)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())


def test_nothing_is_in_it_that_handlers_do_not_need(packages: dict[str, Package]) -> None:
    within = {name.split("/")[1] for name in names(packages["arm64"]) if name.startswith("tallystream/")}
    assert within.isdisjoint({"cli", "local", "web"})
    ours = {Path(name).stem for name in names(packages["arm64"]) if name.startswith("tallystream/aws/")}
    assert {"handlers", "runtime", "count", "rows"} <= ours
    assert ours.isdisjoint({"template", "package", "cost", "prices"})
    assert not any(name.endswith((".pyi", ".pyc")) for name in names(packages["arm64"]))
    assert not any(name.startswith(("boto", "click", "rich", "uvicorn")) for name in names(packages["arm64"]))


def test_the_definition_in_it_is_what_is_counted_by(packages: dict[str, Package]) -> None:
    with zipfile.ZipFile(io.BytesIO(packages["arm64"].data)) as archive:
        definition = msgspec.json.decode(archive.read(DEFINITION), type=Definition)
    assert (definition.counters, definition.stream) == (EXAMPLE.counters, EXAMPLE.stream)
    assert (definition.alarms, definition.channels) == ((), ())


def test_everything_that_the_handlers_import_is_in_it(task_root: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(task_root), "LAMBDA_TASK_ROOT": str(task_root)}
    code = "import importlib, sys\nfor name in sys.argv[1:]: found = importlib.import_module(name)\nprint(found.__file__)"
    modules = sorted(imported_modules(["tallystream.aws.handlers", "tallystream.aws.runtime"]))
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], cwd=task_root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(task_root / "tallystream")


def test_pages_are_in_it_where_they_are_asked_for(packages: dict[str, Package]) -> None:
    package = build_package(EXAMPLE, Target("arm64"), pages=True)
    more = set(names(package)) - set(names(packages["arm64"]))
    assert len(package.data) < BYTES_MAX / 2
    assert {"tallystream/web/static/index.html", "tallystream/aws/pages.py", "mangum/adapter.py", "anyio/__init__.py"} <= more
    assert {Path(name).parts[1] for name in more if name.startswith("tallystream/")}.isdisjoint({"cli", "local", "engine"})
    assert not any(name.startswith(("boto", "click", "rich", "uvicorn", "zstandard")) for name in more)
    assert set(names(packages["arm64"])) <= set(names(package))


def test_wheels_that_there_are_none_of_are_told() -> None:
    with pytest.raises(PackageError, match=r"no wheels of msgspec==.* for Python 2\.7 on aarch64"):
        build_package(EXAMPLE, Target("arm64", "2.7"))


# As Lambda starts it.

STOCK = [sys.executable, "-m", "awslambdaric", "tallystream.aws.handlers.count_handler"]


def kinesis_payload(*lines: bytes) -> bytes:
    sequences = [str(49_000_000_000_000_000_000 + number) for number in range(len(lines))]
    records = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": "p",
                "sequenceNumber": sequence,
                "data": b64encode(line).decode(),
                "approximateArrivalTimestamp": 1_795_433_580.25,
            },
            "eventSource": "aws:kinesis",
            "eventID": f"shardId-000000000000:{sequence}",
            "eventSourceARN": "arn:aws:kinesis:eu-west-2:1:stream/s",
        }
        for sequence, line in zip(sequences, lines, strict=True)
    ]
    return json.dumps({"Records": records}).encode()


@pytest.mark.parametrize("runtime", ["our own", "stock"])
def test_the_package_counts_with_either_runtime(
    runtime: str, task_root: Path, dynamodb: Any, table_name: str, aws_environment: str
) -> None:
    command = [str(task_root / WRAPPER), *STOCK] if runtime == "our own" else STOCK
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    environment |= {"TALLY_TABLE": table_name, "PYTHONPATH": str(task_root)}
    event = b'{"event": "click", "utc_timestamp": "2026-11-23T11:33:00Z"}'
    with start(command, STOCK[-1], task_root, **environment) as function:
        for _ in range(2):  # the second time changes nothing
            answer = function.api.invoke(kinesis_payload(event, event, event))
            assert (answer.kind, answer.body) == ("response", b"null")
        started = Path(f"/proc/{function.process.pid}/cmdline").read_bytes().split(b"\0")
        assert (b"tallystream.aws.runtime" in started) == (runtime == "our own")
    rows = dynamodb.scan(TableName=table_name)["Items"]
    counts = {row["pk"]["S"]: row["count"]["N"] for row in rows if row["pk"]["S"].endswith('["click"]') and "count" in row}
    assert {key.split("#")[0] for key in counts} == {"events"}
    assert set(counts.values()) == {"3"}
