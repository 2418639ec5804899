"""`tally notify`: which channels there are, and whether one works."""

import os
import secrets
from decimal import Decimal
from pathlib import Path
from typing import Final

import click
from msgspec.structs import replace

from tallystream.cli.definition import told_channels
from tallystream.cli.options import config_option, read_definition
from tallystream.core.alarm import Actions, CounterSource, DecidingDatapoint, FixedThreshold, MetricAlarm, State, Transition
from tallystream.core.channel import Channel
from tallystream.core.definition import Definition
from tallystream.core.definition_text import parse_definition
from tallystream.core.errors import TallystreamError
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels import make_senders, required_variables
from tallystream.local.clock import now_ms
from tallystream.ports.alarms import AlarmKey, HistoryItem, Message

TEST_ALARM: Final = "test-message"

_THRESHOLD: Final = Decimal(5)
_VALUES: Final = (12, 9, 3, None, 1)  # of the chart


class NotifyError(TallystreamError):
    """There is no such channel, or it does not deliver."""


@click.group()
def notify() -> None:
    """List the channels of a definition, or try one."""


@notify.command("list")
@config_option
def list_(config: Path) -> None:
    """List the channels, how many alarms use each, and what it lacks."""
    definition = parse_definition(read_definition(config))
    if not definition.channels:
        click.echo("no channels, so nobody is told of alarms; add a [[notify]]: what `tally init` writes has one of each type")
    width = max((len(channel.name) for channel in definition.channels), default=0)
    for channel in definition.channels:
        users = sum(channel.name in told_channels(alarm.actions) for alarm in definition.alarms)
        missing = [name for name in required_variables(channel) if not os.environ.get(name)]
        lacks = f"; not set in this environment: {', '.join(missing)}" if missing else ""
        click.echo(f"{channel.name:{width}}  {_type(channel):7}  {users} {'alarm' if users == 1 else 'alarms'}{lacks}")


@notify.command()
@click.argument("name")
@config_option
@click.option(
    "--state",
    type=click.Choice(["ALARM", "OK"], case_sensitive=False),
    default="ALARM",
    show_default=True,
    help="What the message says; OK closes what a test with ALARM has opened, where a program receives them.",
)
def test(name: str, config: Path, state: State) -> None:
    """
    Send a test message through the channel NAME.

    It is sent now, and the command says what became of it. It is about an alarm called test-message and says that it is a
    test. No server is needed; passwords and secrets are taken from the environment of this command.
    """
    definition = parse_definition(read_definition(config))
    channels = {channel.name: channel for channel in definition.channels}
    if name not in channels:
        known = f"there are {', '.join(channels)}" if channels else "add a [[notify]] to the definition"
        raise NotifyError(f"there is no channel {name!r}; {known}")
    message = make_test_message(name, definition, state, now_ms())
    told = replace(definition, alarms=(*definition.alarms, _test_alarm(name, definition)))
    try:
        make_senders(told, os.environ)[name].send(message)
    except DeliveryError as error:
        raise NotifyError(f"{name} has not delivered: {error}") from error
    click.echo(f"{name} has delivered a test message; its id is {message.id}")


def make_test_message(channel: str, definition: Definition, state: State, at_ms: int) -> Message:
    """Return a message that says of itself that it is a test."""
    window_ms = _window_ms(definition)
    start_ms = at_ms // window_ms * window_ms
    values = _VALUES if state == "ALARM" else (*_VALUES[1:], 8)
    datapoints = tuple(
        DecidingDatapoint(
            window_start_ms=start_ms - (len(values) - index) * window_ms,
            value=None if value is None else Decimal(value),
            breaching=value is None or value < _THRESHOLD,
            filled=value is None,
            lower=_THRESHOLD,
        )
        for index, value in enumerate(values)
    )
    old_state: State = "OK" if state == "ALARM" else "ALARM"
    transition = Transition(old_state, state, "This is a test, sent by `tally notify test`: nothing has happened.", datapoints)
    item = HistoryItem(0, AlarmKey(TEST_ALARM), at_ms, "StateUpdate", "Test", transition)
    return Message(f"test-{secrets.token_hex(8)}", channel, [item], 0, at_ms)


def _test_alarm(channel: str, definition: Definition) -> MetricAlarm:
    return MetricAlarm(
        name=TEST_ALARM,
        description="The numbers below are made up.",
        source=CounterSource(
            counter=definition.counters[0].name, window_ms=_window_ms(definition), measure="count", group=None, groups_max=1
        ),
        condition=FixedThreshold(comparison="<", value=_THRESHOLD, clear=_THRESHOLD),
        evaluation_periods=3,
        datapoints_to_alarm=3,
        treat_missing_data="breaching",
        wait="complete",
        delay_ms=0,
        actions=Actions(alarm=(channel,), ok=(channel,)),
    )


def _window_ms(definition: Definition) -> int:
    return definition.counters[0].windows_ms[0]


def _type(channel: Channel) -> str:
    return str(channel.__struct_config__.tag)
