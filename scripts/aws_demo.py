"""
`make aws-demo`: the stack of the example definition on an emulator of AWS on this machine. It needs no account and no Docker.

Packages and deploys as `tally aws deploy` does, sends the traffic of `tally demo` to Kinesis, and shows what has become of it
in DynamoDB, in CloudWatch and of the alarms, until Ctrl-C. Everything that it makes is gone when it ends.
"""

import os
import random
import signal
import tempfile
import time
from collections import Counter as Counts
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
import click
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scripts.emulator import EmulatorError, client_environment, local_target, run_locally, running_emulator
from tallystream.aws.client import make_client
from tallystream.aws.deploy import Account, Summary, stack_name
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.metric import dimensions, metric_name
from tallystream.aws.package import build_package
from tallystream.aws.reading import TableReader
from tallystream.aws.rows import Layout, ledger_key
from tallystream.aws.template import make_stack
from tallystream.aws.template_function import StackSettings
from tallystream.cli.definition import example_definition
from tallystream.cli.display import value_label
from tallystream.cli.traffic import Visitors, live
from tallystream.core.counting import Ledger
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import TallystreamError
from tallystream.core.group import GroupValue
from tallystream.local.clock import now_ms

COUNTER: Final = "events"  # of the example, by the field `event`
WINDOW_MS: Final = 60_000

_LOOK_S: Final = 1.0
_ARRIVAL_S_MAX: Final = 60.0

# The example has an alarm on silence; this one is on noise, so that there is one to see within a minute.
_MORE: Final = """
[[alarm]]
name = "page-views-many"
description = "More than 200 page views in a minute."
counter = "events"
window = "1m"
group = { event = "page view" }
comparison = ">"
threshold = 200
notify = ["you"]

[[notify]]
name = "you"
type = "email"
to = ["you@example.com"]
from = "tallystream@example.com"
host = "localhost"
"""


class Seen(NamedTuple):
    """What has become of it."""

    table: dict[GroupValue, int]
    metrics: dict[GroupValue, int]
    ledger: Ledger
    alarms: dict[str, str]


class Stop(BaseException):
    """Somebody asked us to end."""


class Demo:
    """A deployed stack with traffic."""

    def __init__(self, definition: Definition, account: Account, stack: str, deployed: Summary) -> None:
        self._counter = definition.counter(COUNTER)
        self._account = account
        self.stack = stack
        self._stream = deployed.outputs["StreamName"]
        self._table = DynamoDBTable(make_client(), deployed.outputs["TableName"])
        self._reader = TableReader(definition, Layout(), self._table)
        self._kinesis = boto3.client("kinesis")
        self._cloudwatch = boto3.client("cloudwatch")
        self._from_ms = now_ms() // WINDOW_MS * WINDOW_MS
        self.sent = Counts[str]()  # event → how many, of those that can be counted
        self.events = 0  # of all

    def send(self, events: Sequence[bytes]) -> None:
        """Put events into the stream, as one record of one a line."""
        answer = self._kinesis.put_records(
            StreamName=self._stream, Records=[{"Data": b"\n".join(events), "PartitionKey": str(self.events)}]
        )
        assert answer["FailedRecordCount"] == 0, answer
        self.events += len(events)
        for event in events:
            try:
                decoded = msgspec.json.decode(event)
            except msgspec.DecodeError:
                continue  # the traffic has a bug now and then
            if "utc_timestamp" in decoded:
                self.sent[decoded["event"]] += 1

    def look(self) -> Seen:
        """Read the table as the dashboard does, and ask CloudWatch for what was published."""
        table: dict[GroupValue, int] = {}
        metrics: dict[GroupValue, int] = {}
        to_ms = now_ms() + WINDOW_MS
        for series in self._reader.series(COUNTER):
            assert series.values is not None, "so many groups there are not"
            (name,) = series.values
            cells = self._reader.cells(self._counter, WINDOW_MS, series.group, self._from_ms, to_ms)
            table[name] = sum(cell.count for cell in cells.values())
            metrics[name] = self._published(series.values, to_ms)
        ledger = Ledger()
        for row in self._table.query(ledger_key("").pk):
            ledger = ledger.plus(Ledger(**{outcome: row.get(outcome, 0) for outcome in Ledger._fields}))
        summary = self._account.summary(self.stack)
        assert summary is not None
        return Seen(table, metrics, ledger, summary.alarms)

    def _published(self, group: tuple[GroupValue, ...], to_ms: int) -> int:
        """Return the sum of what CloudWatch has as the windows' totals: the largest that was published of each."""
        found: dict[str, Any] = self._cloudwatch.get_metric_statistics(
            Namespace=f"Tallystream/{self.stack}",
            MetricName=metric_name(COUNTER, "count", WINDOW_MS),
            Dimensions=dimensions(self._counter.group_by, group),
            Period=WINDOW_MS // 1_000,
            Statistics=["Maximum"],
            StartTime=datetime.fromtimestamp(self._from_ms / 1_000, UTC),
            EndTime=datetime.fromtimestamp(to_ms / 1_000, UTC),
        )
        return int(sum(point["Maximum"] for point in found["Datapoints"]))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--rate", type=click.FloatRange(1, 1_000), default=20.0, show_default=True, help="Events a second, on average over a day."
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Send for so long, see everything arrive, and end.")
def main(rate: float, seconds: float | None) -> None:
    """Show the stack of the example definition on an emulator of AWS, until Ctrl-C."""
    _stop_on_signals()
    console = Console(highlight=False)
    ends_well = True
    try:
        with tempfile.TemporaryDirectory(prefix="tally-aws-demo-") as directory:
            _step(console, "starting an emulator of AWS on this machine")
            with running_emulator(Path(directory)) as url:
                _use(url)
                demo = _deploy(console)
                console.print(_tour(url, demo.stack), markup=False, soft_wrap=True)
                seen = _watch(console, demo, rate, seconds)
                if seen is not None:
                    ends_well = _verdict(console, demo, seen)
    except Stop:
        console.print("\nstopped")
    except (EmulatorError, TallystreamError) as error:
        raise click.ClickException(str(error)) from error
    console.print("the emulator has ended, and everything in it is gone")
    if not ends_well:
        raise SystemExit(1)


def _stop_on_signals() -> None:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: object) -> None:  # noqa: ARG001
        for each in signals:  # impatience must not keep us from ending the emulator
            signal.signal(each, signal.SIG_IGN)
        raise Stop

    for each in signals:
        signal.signal(each, stop)


def _use(url: str) -> None:
    """Make everything from now on talk to the emulator, and nothing to the user's own AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(client_environment(url))
    os.environ.update({"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull})


def _deploy(console: Console) -> Demo:
    definition = parse_definition(example_definition() + _MORE)
    target = local_target()
    _step(console, "packaging the functions: our code, the definition, and libraries, which pip gets")
    package = build_package(definition, target)
    template = make_stack(definition, StackSettings(batch_window_s=1, architecture=target.architecture)).template
    run_locally(template, target)
    account, stack = Account(pause=lambda _: time.sleep(0.2)), stack_name(definition.name)
    plan = account.plan(stack, template, package, definition.name)
    _step(console, f"deploying the stack {stack}: {len(plan.changes)} resources")
    with console.status("") as status:
        for number, progress in enumerate(account.execute(stack, plan, package), 1):
            status.update(f"{number:3} {progress.status} {progress.logical_id}")
    deployed = account.summary(stack)
    assert deployed is not None
    return Demo(definition, account, stack, deployed)


def _watch(console: Console, demo: Demo, rate: float, seconds: float | None) -> Seen | None:
    """Send and show; return what is seen when all has arrived, None if that took too long."""
    visitors = Visitors(random.Random())  # made-up events need no secrets
    start_s = looked_s = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as display:

        def look() -> Seen:
            seen = demo.look()
            if console.is_terminal:
                display.update(_picture(demo, seen), refresh=True)
            else:
                console.print(_line(demo, seen))
            return seen

        try:
            for events in live(visitors, rate, now_ms()):
                if events:
                    demo.send(events)
                now_s = time.monotonic()
                if now_s - looked_s >= _LOOK_S:
                    look()
                    looked_s = time.monotonic()
                if seconds is not None and now_s - start_s >= seconds:
                    break
            deadline_s = time.monotonic() + _ARRIVAL_S_MAX
            while not _has_arrived(demo, seen := look()) and time.monotonic() < deadline_s:
                time.sleep(_LOOK_S / 2)
        except Stop:
            console.print(_picture(demo, demo.look()))
            raise
    console.print(_picture(demo, seen))
    return seen


def _has_arrived(demo: Demo, seen: Seen) -> bool:
    return (
        seen.ledger.received == demo.events and seen.metrics == seen.table and sum(seen.table.values()) == seen.ledger.counted
    )


def _verdict(console: Console, demo: Demo, seen: Seen) -> bool:
    """Say whether every event was counted once."""
    if _has_arrived(demo, seen) and seen.table == demo.sent:
        console.print(f"[green]{demo.events:,} events were sent, and each is accounted for once[/]")
        return True
    console.print("[red]what was sent and what was counted differ; report this[/]")
    return False


def _picture(demo: Demo, seen: Seen) -> Group:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("event")
    for title in ("sent to Kinesis", "counted in DynamoDB", "published to CloudWatch"):
        table.add_column(title, justify="right")
    for event, sent in demo.sent.most_common():
        table.add_row(value_label(event), f"{sent:,}", f"{seen.table.get(event, 0):,}", f"{seen.metrics.get(event, 0):,}")
    ledger = ", ".join(f"{number:,} {outcome}" for outcome, number in seen.ledger._asdict().items() if number)
    of_stack = Counts(state for name, state in seen.alarms.items() if "/stack/" in name)
    alarms = [f"alarm   {name}: {state}" for name, state in sorted(seen.alarms.items()) if "/stack/" not in name]
    alarms.append(
        "alarms  on the stack itself: " + ", ".join(f"{number} {state}" for state, number in sorted(of_stack.items()))
    )
    note = Text("        (as the emulator judges, which is not as AWS does: see above)", "dim")
    return Group("", table, Text(f"\nledger  {ledger or 'nothing yet'}"), *map(Text, alarms), note)


def _line(demo: Demo, seen: Seen) -> str:
    return f"sent {demo.events:,}, counted {seen.ledger.counted:,}, published {sum(seen.metrics.values()):,}"


def _step(console: Console, what: str) -> None:
    console.print(f"{datetime.now():%H:%M:%S}  {what}", soft_wrap=True)  # noqa: DTZ005  # the user's own clock


def _tour(url: str, stack: str) -> str:
    exports = " ".join(f"{name}={value}" for name, value in client_environment(url).items() if "METADATA" not in name)
    return f"""
Events are on their way: Kinesis → count function → DynamoDB → publish function → CloudWatch. Ctrl-C ends all of it.

Look around meanwhile, in another terminal
  export {exports}
  .venv/bin/tally aws status --stack {stack}
  .venv/bin/tally verify --aws --stack {stack}
  .venv/bin/tally up --aws {stack} --port 8081

Try next, with your own definition
  .venv/bin/tally init && .venv/bin/tally aws cost --events-per-second 50     what it would cost a month
  .venv/bin/tally aws deploy                                                  the same on AWS; asks first (docs/aws.md)

The emulator is not AWS. Counts and metrics are what AWS would have; but
- it judges an alarm by all groups of its metric together, whatever the alarm's dimensions are,
  and while the minute still fills; it looks neither at how many datapoints are to breach nor at missing ones.
  So an alarm's state here is not what CloudWatch would say. Trust `tally alarms test`, and AWS.
- nobody gets an e-mail, and nothing is slow, throttled or refused as it may be on AWS.
"""


if __name__ == "__main__":
    main()
