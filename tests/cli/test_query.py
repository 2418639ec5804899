"""`tally query`, asked of a data directory and of a running server."""

import contextlib
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tallystream.cli import main
from tallystream.core.definition_text import parse_definition
from tallystream.local.counters import SQLiteCounterStore
from tests.conftest import StartServer
from tests.counted import count_events
from tests.server import TALLY, tally_environment
from tests.waiting import wait_until

DEFINITION = """
name = "test"
[stream]
event_time = "t"
[[counter]]
name = "events"
group_by = ["event", "country"]
windows = ["1m", "1h"]
measures = ["count", "sum(amount)"]
"""
START_MS = 1_790_000_040_000  # 2026-09-21T14:14:00Z
RANGE = ["--from", "2026-09-21T14:14:00Z", "--to", "2026-09-21T14:24:00Z"]
# Clears the screen, sets the window's title, turns the direction, and means red to rich.
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202elive[red]\r\n\t"
HOSTILE_SHOWN = r"\x1b[2J\x1b]0;owned\x07\x9b31m\u202elive[red]\r\n\t"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory with a definition, and a data directory in which events are counted."""
    (tmp_path / "tally.toml").write_text(DEFINITION)
    (tmp_path / "tally-data").mkdir()
    with contextlib.chdir(tmp_path):
        yield tmp_path


def count(place: Path, events: Sequence[dict[str, Any]], definition: str = DEFINITION) -> None:
    parsed = parse_definition(definition)
    with contextlib.closing(SQLiteCounterStore(place / "tally-data" / "counters.db")) as store:
        store.declare(parsed, {}, 0)
        count_events(store, parsed, [{"t": START_MS} | event for event in events])


def views(minutes: int = 10) -> list[dict[str, Any]]:
    return [
        {"event": event, "country": "de", "t": START_MS + minute * 60_000}
        for minute in range(minutes)
        for event in ["page view"] * (10 + minute) + ["click"] * 3
    ]


def tally(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["query", *arguments], env=environment, catch_exceptions=False)


def output(*arguments: str, **environment: str) -> str:
    result = tally(*arguments, **environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def on_terminal(place: Path, *arguments: str, columns: int = 100, **environment: str) -> str:
    """Run the command on a real pseudo-terminal and return all that it wrote to it."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen(
            [*TALLY, "query", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=place,
            env=tally_environment({"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}),
        )
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # a terminal that was left is an error to read
            while piece := screen.read(65_536):
                said += piece
        assert process.wait(30) == 0, said.decode()
    return said.decode()


def test_a_table_has_windows_down_and_groups_across(place: Path) -> None:
    count(place, views(3))
    assert output("events", "--window", "1m", "--by", "event", *RANGE).splitlines() == [
        "events · count · windows of 1m · 2026-09-21 14:14 to 2026-09-21 14:24 UTC",
        "",
        "window (UTC)       page view   click",
        "────────────────────────────────────",
        "2026-09-21 14:14          10       3",
        "2026-09-21 14:15          11       3",
        "2026-09-21 14:16          12       3",
        "                                    ",
        "total                     33       9",
    ]


def test_null_numbers_and_windows_without_a_row_look_different(place: Path) -> None:
    count(place, [{"event": None}, {"event": "NULL", "t": START_MS + 60_000}, {"event": 7}, {"event": True}, {"event": ""}])
    lines = output("events", "--window", "1m", "--by", "event", *RANGE).splitlines()
    assert sorted(lines[2].split()) == sorted(["window", "(UTC)", "NULL", "NULL", "7", "true", '""'])
    assert lines[4].split() == ["2026-09-21", "14:14", "1", "1", "1", "1"]
    drawn = on_terminal(place, "events", "--window", "1m", "--by", "event", *RANGE)
    assert "\x1b[1;2;3mNULL\x1b[0m" in drawn  # the missing field is dim and italic
    assert "\x1b[1mNULL\x1b[0m" in drawn  # the text is not


def test_many_groups_go_down(place: Path) -> None:
    count(place, [{"event": f"e{number}", "country": None} for number in range(20)])
    lines = output("events", "--window", "1m", *RANGE).splitlines()
    assert lines[2].split() == ["window", "(UTC)", "event", "country", "count"]
    assert lines[4].split() == ["2026-09-21", "14:14", "e0", "NULL", "1"]
    assert len(lines) == 24
    rest = output("events", "--window", "1m", "--top", "15", "--other", *RANGE).splitlines()
    assert rest[-1].split() == ["2026-09-21", "14:14", "other", "other", "5"]


def test_a_narrow_terminal_gets_rows_instead_of_cut_columns(place: Path) -> None:
    count(place, [{"event": f"a rather long event name {number}", "country": None} for number in range(4)])
    wide = on_terminal(place, "events", "--window", "1m", "--by", "event", *RANGE, columns=200, NO_COLOR="1")
    narrow = on_terminal(place, "events", "--window", "1m", "--by", "event", *RANGE, columns=60, NO_COLOR="1")
    assert "total" in wide
    assert "…" not in narrow
    assert all(f"a rather long event name {number}" in narrow for number in range(4))
    table = re.sub(r"\x1b\[[0-9;]*m", "", narrow).splitlines()[2:]
    assert max(map(len, table)) <= 60


@pytest.mark.parametrize("form", ["table", "csv", "json", "chart"])
@pytest.mark.parametrize("groups", [1, 20])
def test_no_event_name_steers_a_terminal(place: Path, form: str, groups: int) -> None:
    count(place, [{"event": HOSTILE, "country": number} for number in range(groups)])
    drawn = on_terminal(place, "events", "--window", "1m", "--format", form, *RANGE, columns=120)
    ours = drawn.replace("\r\n", "\n")
    assert "live[red]" in ours  # what looks like markup is text
    for steering in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e", "\t"):
        assert steering not in ours
    if form in ("table", "chart"):
        assert HOSTILE_SHOWN in ours
    if form == "json":
        assert json.loads(ours)["series"][0]["group"]["event"] == HOSTILE


def test_a_pipe_gets_the_bytes_of_the_server(place: Path) -> None:
    count(place, [{"event": HOSTILE, "amount": 0.1}, {"event": "ünï", "amount": 10**17}, {"event": "ünï", "amount": 0.3}])
    asked = ["events", "--window", "1m", "--by", "event", "--measure", "sum(amount)", *RANGE]
    found = json.loads(output(*asked, "--format", "json"))
    assert [series["group"]["event"] for series in found["series"]] == ["ünï", HOSTILE]
    assert '"total":100000000000000000.3,' in output(*asked, "--format", "json")
    lines = tally(*asked, "--format", "csv").stdout_bytes.decode().split("\r\n")
    assert lines[:2] == ['"window_start","event","sum(amount)"', '2026-09-21T14:14:00Z,"ünï",100000000000000000.3']


def test_shares_changes_and_rates_can_be_read(place: Path) -> None:
    count(
        place,
        [{"event": "a"}] * 3
        + [{"event": "b"}, {"event": "a", "t": START_MS - 600_000}, {"event": "a", "t": START_MS - 600_000}],
    )
    assert "75.0 %" in output("events", "--window", "1m", "--by", "event", "--show", "share", *RANGE)
    assert "+50.0 %" in output("events", "--window", "1m", "--by", "event", "--show", "change", *RANGE)
    assert "0.050" in output("events", "--window", "1m", "--by", "event", "--show", "rate", *RANGE)
    lines = output("events", "--window", "1m", "--by", "event", "--compare", "previous", "--top", "1", *RANGE).splitlines()
    assert lines[2].split() == ["window", "(UTC)", "a", "before"]
    assert lines[-1].split() == ["total", "3", "2"]


def test_filters_sliding_and_filling(place: Path) -> None:
    count(place, views(2))
    sliding = output("events", "--window", "1m", "--group", "event=click", "--group", "country=de", "--over", "2m", *RANGE)
    lines = sliding.splitlines()
    assert "over 2m, every 1m" in lines[0]
    assert [line.split()[-1] for line in lines[4:7]] == ["3", "6", "3"]
    exact = ("--exact", 'event="click"', "--exact", 'country="de"', "--by", "country", "--by", "event")
    assert output("events", "--window", "1m", *exact, "--over", "2m", *RANGE) == sliding
    filled = output("events", "--window", "1m", "--by", "", "--group", "event=nothing", "--fill", "zero", *RANGE)
    assert filled.count(" 0\n") == 10 + 1


def test_nothing_counted_is_said(place: Path) -> None:
    count(place, [])
    assert "nothing was counted there" in output("events", "--window", "1m", *RANGE)
    assert "nothing was counted there" in output("events", "--window", "1m", "--format", "chart", *RANGE)


def test_more_groups_than_are_shown_are_said(place: Path) -> None:
    count(place, [{"event": number} for number in range(1_001)])
    assert "the 1,000 largest of 1,001 groups" in output("events", "--window", "1m", *RANGE)


# Charts.


def test_a_chart_has_axes_and_a_line(place: Path) -> None:
    count(place, views())
    lines = output(
        "events", "--window", "1m", "--group", "event=page view", "--format", "chart", *RANGE, COLUMNS="60"
    ).splitlines()
    plot = [line for line in lines if "┤" in line or "│" in line]
    assert len(plot) == 16
    assert plot[0].startswith("20 ┤")
    assert plot[-1].startswith(" 0 ┤")
    assert max(map(len, lines[1:])) <= 60
    times = lines[lines.index(next(line for line in lines if "└" in line)) + 1].split()
    assert (times[0], times[-1]) == ("14:14", "14:23")
    # It rises from left to right: from 10 to 19.
    columns = [[row for row, line in enumerate(plot) if line[4 + at :][:1].strip()] for at in range(54)]
    drawn = [rows[0] for rows in columns if rows]
    assert drawn == sorted(drawn, reverse=True)
    assert (drawn[0], drawn[-1]) == (8, 1)


def test_lines_are_told_apart_by_colour_and_without_colour_by_place(place: Path) -> None:
    count(place, views())
    asked = ["events", "--window", "1m", "--by", "event", "--format", "chart", *RANGE]
    coloured = on_terminal(place, *asked)
    assert coloured.count("└") == 1
    assert "\x1b[36m━━ \x1b[0mpage view" in coloured
    assert "\x1b[33m━━ \x1b[0mclick" in coloured
    plain = on_terminal(place, *asked, NO_COLOR="1")
    assert plain.count("└") == 2
    assert "\x1b[3" not in plain
    piped = output(*asked)
    assert piped.count("└") == 2
    assert "\x1b" not in piped


def test_a_chart_without_unicode_is_ascii(place: Path) -> None:
    count(place, views())
    drawn = on_terminal(
        place, "events", "--window", "1m", "--by", "event", "--format", "chart", *RANGE, PYTHONIOENCODING="ascii:replace"
    )
    assert "*****" in drawn
    assert "+-----" in drawn
    assert "-- page view" in re.sub(r"\x1b\[[0-9;]*m", "", drawn)
    assert drawn.isascii()


def test_one_point_one_window_and_negative_values_can_be_drawn(place: Path) -> None:
    count(place, [{"event": "a", "amount": -5, "t": START_MS + 120_000}])
    minutes = ["--from", "2026-09-21T14:16:00Z", "--to", "2026-09-21T14:17:00Z"]
    drawn = output("events", "--window", "1m", "--measure", "sum(amount)", "--format", "chart", *minutes)
    assert "-5 ┤" in drawn
    assert "14:16" in drawn
    daily = output("events", "--window", "1d", "--format", "chart", "--from", "2026-09-20", "--to", "2026-09-23")
    assert "2026-09-20" in daily
    share = output("events", "--window", "1m", "--show", "share", "--format", "chart", *RANGE)
    assert "100 % ┤" in share


def test_only_as_many_lines_are_drawn_as_can_be_told_apart(place: Path) -> None:
    count(place, [{"event": number} for number in range(11)])
    drawn = output("events", "--window", "1m", "--format", "chart", *RANGE)
    assert drawn.count("└") == 8
    assert "3 smaller groups are not drawn" in drawn


# Errors.


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["evnts", "--window", "1m"], 1, 'counter: there is no "evnts"; did you mean events?'),
        (["events"], 2, "Missing option '--window'"),
        (["events", "--window", "7s"], 1, 'window: cannot be "7s": '),
        (["events", "--window", "1m", "--top", "x"], 1, 'top: "x" is not a whole number'),
        (["events", "--window", "1m", "--group", "evnt=a"], 1, "group.evnt: "),
        (["events", "--window", "1m", "--group", "click"], 2, "--group is FIELD=VALUE, got"),
        (["events", "--window", "1m", "--exact", "3"], 2, "--exact is FIELD=VALUE, got"),
        (["events", "--window", "1m", "--exact", "event=click"], 1, "exact.event: click is no such value; "),
        (["events", "--window", "1m", "--data", "elsewhere"], 1, "elsewhere/counters.db does not exist"),
        (["events", "--window", "1m", "--url", "http://127.0.0.1:1", "--data", "x"], 2, "leave out --data"),
        (["events", "--window", "1m", "--url", "http://127.0.0.1:1"], 1, "cannot be reached"),
    ],
)
def test_a_mistake_is_one_message(place: Path, arguments: list[str], code: int, message: str) -> None:
    count(place, views(1))
    result = tally(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_definition_that_the_data_does_not_count_is_refused(place: Path) -> None:
    count(place, views(1))
    (place / "tally.toml").write_text(DEFINITION.replace('"event", "country"', '"country", "event"'))
    result = tally("events", "--window", "1m")
    assert result.exit_code == 1
    assert 'tally.toml defines "events" otherwise than tally-data counts it' in result.stderr


# The server.


def test_a_server_and_its_data_directory_give_the_same_answers(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, environment={"TALLY_READ_TOKEN": "secret"})
    events = [*views(), {"event": HOSTILE, "amount": 0.1, "t": START_MS}, {"t": START_MS}]
    server.send(events)
    reading = {"Authorization": "Bearer secret"}
    wait_until(
        lambda: server.client.get("/v1/ledger", headers=reading).json()["counted"] == len(events), "the events to be counted"
    )
    config = next(server.data.parent.glob("tally-*.toml"))
    for asked in (
        ["--window", "1m", *RANGE],
        ["--window", "5m", "--by", "event", "--top", "2", "--other", "--compare", "previous", *RANGE],
        ["--window", "1m", "--group", "event=page view", "--measure", "sum(amount)", "--fill", "zero", *RANGE],
    ):
        for form in ("table", "csv", "json", "chart"):
            here = output("events", *asked, "--format", form, "--config", str(config), "--data", str(server.data))
            there = output("events", *asked, "--format", form, "--url", server.url, TALLY_READ_TOKEN="secret")
            assert here == there
            assert here
    refused = tally("events", "--window", "1m", "--url", server.url, TALLY_READ_TOKEN="wrong")
    assert refused.exit_code == 1
    assert "401" in refused.stderr
    refused = tally("events", "--window", "7s", "--url", server.url, TALLY_READ_TOKEN="secret")
    assert 'window: cannot be "7s"' in refused.stderr
    named = output(
        "events", "--window", "1m", *RANGE, "--format", "csv", "--url", server.url, "--token-env", "MINE", MINE="secret"
    )
    assert named.startswith('"window_start"')
