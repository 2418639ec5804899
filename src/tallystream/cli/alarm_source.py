"""Where `tally alarms` asks: a running server, or a data directory. Both give the JSON of the HTTP API."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from tallystream.cli.options import read_definition
from tallystream.cli.server import Server
from tallystream.core.alarm_document import AlarmTable
from tallystream.core.definition_text import parse_definition
from tallystream.local.alarms import SQLiteAlarmStore
from tallystream.local.clock import now_ms
from tallystream.local.counters import SQLiteCounterStore
from tallystream.local.data import DataDirectory
from tallystream.web.alarm_answers import (
    describe_alarm,
    describe_alarms,
    describe_history,
    describe_mute,
    find_alarm,
)
from tallystream.web.alarm_backtest import describe_backtest
from tallystream.web.alarm_types import AcknowledgeRequest, BacktestRequest, MuteRequest
from tallystream.web.alarms import acknowledge_alarm, add_mute, end_mute
from tallystream.web.paths import ALARMS_PATH
from tallystream.web.status import encode


class AlarmSource(Protocol):
    """What can be asked of alarms. Each method raises a TallystreamError for what cannot be done."""

    def all(self) -> bytes: ...
    def one(self, name: str) -> bytes: ...
    def history(self, name: str | None, before: int | None, limit: int) -> bytes: ...
    def test(self, name: str, wanted: Mapping[str, Any], edited: Path | None) -> bytes: ...
    def mute(self, wanted: Mapping[str, Any]) -> bytes: ...
    def unmute(self, mute_id: int) -> None: ...
    def acknowledge(self, name: str, wanted: Mapping[str, Any]) -> None: ...


class ServedAlarms:
    """Those of a running server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def all(self) -> bytes:
        return self._get("", {})

    def one(self, name: str) -> bytes:
        return self._get(f"/{quote(name, safe='')}", {})

    def history(self, name: str | None, before: int | None, limit: int) -> bytes:
        return self._get("/history", {"alarm": name, "before": before, "limit": limit})

    def test(self, name: str, wanted: Mapping[str, Any], edited: Path | None) -> bytes:
        changes = {} if edited is None else read_changes(edited, name)
        return self._send("POST", f"/{quote(name, safe='')}/test", {**wanted, "changes": changes})

    def mute(self, wanted: Mapping[str, Any]) -> bytes:
        return self._send("POST", "/mutes", wanted)

    def unmute(self, mute_id: int) -> None:
        self._send("DELETE", f"/mutes/{mute_id}")

    def acknowledge(self, name: str, wanted: Mapping[str, Any]) -> None:
        self._send("POST", f"/{quote(name, safe='')}/acknowledge", wanted)

    def _get(self, path: str, parameters: Mapping[str, Any]) -> bytes:
        return b"".join(self._server.pieces(ALARMS_PATH + path, parameters))

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        return self._server.send(method, ALARMS_PATH + path, body)


class StoredAlarms:
    """Those of a data directory, whether a server runs there or not: what is changed, the server sees at once."""

    def __init__(self, data: Path, config: Path) -> None:
        self._directory = DataDirectory(data)
        self._definition = parse_definition(read_definition(config))

    def all(self) -> bytes:
        with self._open() as (store, alarms):
            return encode(describe_alarms(self._definition, store, alarms, now_ms()))

    def one(self, name: str) -> bytes:
        with self._open() as (store, alarms):
            return encode(describe_alarm(name, self._definition, store, alarms, now_ms()))

    def history(self, name: str | None, before: int | None, limit: int) -> bytes:
        with self._open() as (_, alarms):
            return encode(describe_history(self._definition, alarms, name, before, limit))

    def test(self, name: str, wanted: Mapping[str, Any], edited: Path | None) -> bytes:  # noqa: ARG002  # it is the definition
        with self._open() as (store, alarms):
            asked = msgspec.convert(wanted, BacktestRequest)
            return encode(describe_backtest(name, asked, self._definition, store, alarms, now_ms()))

    def mute(self, wanted: Mapping[str, Any]) -> bytes:
        with self._open(read_only=False) as (_, alarms):
            return encode(describe_mute(add_mute(msgspec.convert(wanted, MuteRequest), self._definition, alarms, now_ms())))

    def unmute(self, mute_id: int) -> None:
        with self._open(read_only=False) as (_, alarms):
            end_mute(str(mute_id), alarms, now_ms())

    def acknowledge(self, name: str, wanted: Mapping[str, Any]) -> None:
        with self._open(read_only=False) as (_, alarms):
            acknowledge_alarm(name, msgspec.convert(wanted, AcknowledgeRequest), self._definition, alarms, now_ms())

    @contextmanager
    def _open(self, *, read_only: bool = True) -> Iterator[tuple[SQLiteCounterStore, SQLiteAlarmStore]]:
        # Without counts the directory is refused. Where only `tally ingest` has counted, there are no states yet.
        is_there = self._directory.alarms_path.exists()
        with (
            closing(SQLiteCounterStore(self._directory.counters_path, read_only=True)) as store,
            closing(self._directory.open_alarms(read_only=read_only and is_there)) as alarms,
        ):
            yield store, alarms


def read_changes(path: Path, name: str) -> dict[str, Any]:
    """
    Return the keys of an alarm in a definition, to be tried by a server; those that it does not have are None.

    Raises:
        DefinitionError: the definition has mistakes.
        RequestRefusedError: it has no such alarm.
    """
    text = read_definition(path)
    find_alarm(parse_definition(text), name)
    table = next(each for each in tomllib.loads(text.removeprefix("\ufeff"))["alarm"] if each["name"] == name)
    keys = {field.encode_name for field in msgspec.structs.fields(AlarmTable)} - {"name", "notify"}
    return {key: table.get(key) for key in sorted(keys)}
