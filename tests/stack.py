"""A stack deployed on the emulator, for tests that look at it from outside."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3

from scripts.emulator import local_target, run_locally
from tallystream.aws.deploy import Account, Summary
from tallystream.aws.package import build_package
from tallystream.aws.template import make_stack
from tallystream.aws.template_function import StackSettings
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition


class DeployedStack(NamedTuple):
    """A stack whose functions run on this machine's Python."""

    name: str
    definition: Definition
    summary: Summary

    def put(self, *events: bytes | dict[str, Any]) -> None:
        """Put events into the stream, a few in each record."""
        lines = [event if isinstance(event, bytes) else json.dumps(event).encode() for event in events]
        records = [
            {"Data": b"\n".join(lines[start : start + 3]), "PartitionKey": str(start)} for start in range(0, len(lines), 3)
        ]
        kinesis = boto3.client("kinesis")
        for start in range(0, len(records), 500):
            answer = kinesis.put_records(StreamName=self.summary.outputs["StreamName"], Records=records[start : start + 500])
            assert answer["FailedRecordCount"] == 0


@contextmanager
def deployed_stack(name: str, definition: str, **settings: Any) -> Iterator[DeployedStack]:
    """Deploy a definition in the environment's AWS, and destroy it at the end."""
    parsed, target = parse_definition(definition), local_target()
    template = make_stack(parsed, StackSettings(batch_window_s=1, architecture=target.architecture, **settings)).template
    run_locally(template, target)
    account = Account(pause=lambda _: None)
    package = build_package(parsed, target, pages=bool(settings.get("dashboard")))
    _exhaust(account.execute(name, account.plan(name, template, package, parsed.name), package))
    summary = account.summary(name)
    assert summary is not None
    try:
        yield DeployedStack(name, parsed, summary)
    finally:
        _exhaust(account.destroy(name))


def _exhaust(happening: Iterable[Any]) -> None:
    for _ in happening:
        pass
