"""The alarms over HTTP: where they stand, what happened, acknowledging, muting."""

import asyncio
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystream.core.definition import Definition
from tallystream.core.window import UNITS_MS, parse_duration
from tallystream.ports.alarms import Acknowledgement, AlarmKey, AlarmStore, Mute
from tallystream.web.alarm_answers import (
    describe_alarm,
    describe_alarms,
    describe_history,
    describe_mute,
    describe_mutes,
    describe_notifications,
    find_alarm,
)
from tallystream.web.alarm_backtest import describe_backtest
from tallystream.web.alarm_chart import describe_chart
from tallystream.web.alarm_types import AcknowledgeRequest, BacktestRequest, MuteRequest
from tallystream.web.errors import RequestRefusedError
from tallystream.web.parameters import ID_MAX, invalid, read_integer, read_json, read_time
from tallystream.web.paths import ALARMS_PATH
from tallystream.web.services import Services
from tallystream.web.status import answer

HISTORY_ITEMS: Final = 50
HISTORY_ITEMS_MAX: Final = 500

BODY_BYTES_MAX: Final = 64 * 1024
_MUTE_MS_MAX: Final = 366 * UNITS_MS["d"]


def alarm_routes(services: Services) -> list[Route]:
    """Return the routes. Names of alarms come after the fixed paths, which would otherwise be taken for names."""
    definition, store, now_ms = services.definition, services.store, services.now_ms
    alarms = services.alarms
    one_backtest = asyncio.Semaphore()  # it keeps a processor busy, and this process has other things to do

    def list_all(_: Request) -> Response:
        return answer(describe_alarms(definition, store, alarms, now_ms()))

    def show(request: Request) -> Response:
        return answer(describe_alarm(request.path_params["name"], definition, store, alarms, now_ms()))

    def history(request: Request) -> Response:
        before = read_integer(request, "before", 0, ID_MAX)
        limit = read_integer(request, "limit", 1, HISTORY_ITEMS_MAX) or HISTORY_ITEMS
        return answer(describe_history(definition, alarms, request.query_params.get("alarm"), before, limit))

    def chart(request: Request) -> Response:
        asked = request.query_params
        name, key = request.path_params["name"], asked.get("key", "")
        described = describe_chart(name, key, asked.get("from"), asked.get("to"), definition, store, alarms, now_ms())
        return answer(described)

    async def test(request: Request) -> Response:
        wanted = await read_json(request, BacktestRequest, BODY_BYTES_MAX)
        async with one_backtest:
            name = request.path_params["name"]
            return answer(await run_in_threadpool(describe_backtest, name, wanted, definition, store, alarms, now_ms()))

    async def acknowledge(request: Request) -> Response:
        wanted = await read_json(request, AcknowledgeRequest, BODY_BYTES_MAX)
        await run_in_threadpool(acknowledge_alarm, request.path_params["name"], wanted, definition, alarms, now_ms())
        return Response(status_code=204)

    def mutes(_: Request) -> Response:
        return answer(describe_mutes(definition, alarms, now_ms()))

    async def mute(request: Request) -> Response:
        wanted = await read_json(request, MuteRequest, BODY_BYTES_MAX)
        added = await run_in_threadpool(add_mute, wanted, definition, alarms, now_ms())
        return answer(describe_mute(added), status=201)

    def unmute(request: Request) -> Response:
        end_mute(request.path_params["id"], alarms, now_ms())
        return Response(status_code=204)

    def notifications(_: Request) -> Response:
        return answer(describe_notifications(definition, alarms, now_ms()))

    return [
        Route(ALARMS_PATH, list_all),
        Route(f"{ALARMS_PATH}/history", history),
        Route(f"{ALARMS_PATH}/mutes", mutes),
        Route(f"{ALARMS_PATH}/mutes", mute, methods=["POST"]),
        Route(f"{ALARMS_PATH}/mutes/{{id}}", unmute, methods=["DELETE"]),
        Route(f"{ALARMS_PATH}/{{name}}", show),
        Route(f"{ALARMS_PATH}/{{name}}/chart", chart),
        Route(f"{ALARMS_PATH}/{{name}}/test", test, methods=["POST"]),
        Route(f"{ALARMS_PATH}/{{name}}/acknowledge", acknowledge, methods=["POST"]),
        Route("/v1/notifications", notifications),
    ]


def acknowledge_alarm(name: str, wanted: AcknowledgeRequest, definition: Definition, alarms: AlarmStore, at_ms: int) -> None:
    """
    Note that somebody takes care of an alarm.

    Raises:
        RequestRefusedError: 404; there is no such alarm. 409: it, or the group of this key, is not in ALARM.
    """
    find_alarm(definition, name)
    if not alarms.acknowledge(AlarmKey(name, wanted.key), Acknowledgement(at_ms, wanted.by.strip(), wanted.note.strip())):
        which = f"the group {wanted.key[:100]} of alarm {name}" if wanted.key else f"alarm {name}"
        message = (
            f"{which} is not in ALARM, so there is nothing to acknowledge;"
            f" where each group has a state of its own, name the one that is: GET {ALARMS_PATH}/{name} has the `key` of each"
        )
        raise RequestRefusedError(409, "not_in_alarm", message)


def add_mute(wanted: MuteRequest, definition: Definition, alarms: AlarmStore, now_ms: int) -> Mute:
    """
    Mute alarms; return the mute.

    Raises:
        RequestRefusedError: 400; something in the request is wrong.
    """
    names = {alarm.name for alarm in definition.alarms}
    unknown = [name for name in wanted.alarms if name not in names]
    if unknown:
        raise invalid("alarms", unknown[0], f"names of alarms: {', '.join(sorted(names)) or 'there are none'}"[:2_000])
    from_ms = max(now_ms, read_time("from", wanted.from_, now_ms))
    if (wanted.until is None) == (wanted.for_ is None):
        raise RequestRefusedError(400, "invalid_parameter", 'give either until, a time, or for, a duration such as "2h"')
    if wanted.for_ is not None:
        try:
            until_ms = from_ms + parse_duration(wanted.for_)
        except ValueError as error:
            raise RequestRefusedError(400, "invalid_parameter", f"for: {error}") from None
    else:
        assert wanted.until is not None
        until_ms = read_time("until", wanted.until, now_ms)
    if not from_ms < until_ms <= now_ms + _MUTE_MS_MAX:
        raise invalid("until" if wanted.for_ is None else "for", wanted.until or wanted.for_, _MUTE_ALLOWED)
    return alarms.add_mute(tuple(dict.fromkeys(wanted.alarms)), from_ms, until_ms, wanted.by.strip(), wanted.note.strip())


_MUTE_ALLOWED: Final = "an end that is yet to come, after the start and within 366 days from now"


def end_mute(mute_id: str, alarms: AlarmStore, now_ms: int) -> None:
    """
    End a mute now.

    Raises:
        RequestRefusedError: 404; there is none of this id that is under way or to come.
    """
    is_number = mute_id.isascii() and mute_id.isdecimal() and len(mute_id) < 20 and int(mute_id) <= ID_MAX
    if not is_number or not alarms.end_mute(int(mute_id), now_ms):
        message = f"there is no mute {mute_id[:40]} that is under way or to come; GET {ALARMS_PATH}/mutes lists those"
        raise RequestRefusedError(404, "unknown_mute", message)
