"""The alarm endpoints as the OpenAPI document describes them."""

from typing import Final

from tallystream.web import alarm_types as types
from tallystream.web.operation import TEXT, TIME, Operation, Parameter

_NAME: Final = Parameter("name", "Name of an alarm.", TEXT, required=True, where="path")
_KEY: Final = Parameter("key", "Which group, with group_by = each: the key of one of its states.", TEXT)
_ID: Final = {"type": "integer", "minimum": 0}
_CHANGING: Final = (400, 401, 403, 413, 503)

ALARM_OPERATIONS: Final = [
    Operation("/v1/alarms", "get", "All alarms, and where they stand.", types.AlarmsAnswer),
    Operation(
        "/v1/alarms/{name}",
        "get",
        "One alarm, and where it stands.",
        types.AlarmAnswer,
        parameters=[_NAME],
        errors=(401, 403, 404),
    ),
    Operation(
        "/v1/alarms/{name}/chart",
        "get",
        "Datapoints, the bounds that they are judged by, and changes of state.",
        types.ChartAnswer,
        parameters=[
            _NAME,
            _KEY,
            Parameter("from", "Start of the range; default: 60 windows ago.", TIME),
            Parameter("to", "End of the range, exclusive; default: now.", TIME),
        ],
        errors=(400, 401, 403, 404, 503),
    ),
    Operation(
        "/v1/alarms/{name}/test",
        "post",
        "When the alarm, as it is or with other values, would have fired over stored history. Changes nothing.",
        types.BacktestAnswer,
        access="write",
        parameters=[_NAME],
        body=types.BacktestRequest,
        errors=(*_CHANGING, 404),
    ),
    Operation(
        "/v1/alarms/{name}/acknowledge",
        "post",
        "Note that somebody takes care of an ALARM. Ends with it.",
        None,
        access="write",
        status=204,
        parameters=[_NAME],
        body=types.AcknowledgeRequest,
        errors=(*_CHANGING, 404, 409),
    ),
    Operation(
        "/v1/alarms/history",
        "get",
        "What happened, newest first.",
        types.HistoryAnswer,
        parameters=[
            Parameter("alarm", "Only to this alarm.", TEXT),
            Parameter("before", "Only with a lower id.", _ID),
            Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        ],
    ),
    Operation("/v1/alarms/mutes", "get", "Mutes that are under way or to come, and schedules.", types.MutesAnswer),
    Operation(
        "/v1/alarms/mutes",
        "post",
        "Mute alarms for a time: they are evaluated, and nobody is told.",
        types.MuteAnswer,
        access="write",
        status=201,
        body=types.MuteRequest,
        errors=_CHANGING,
    ),
    Operation(
        "/v1/alarms/mutes/{id}",
        "delete",
        "End a mute now.",
        None,
        access="write",
        status=204,
        parameters=[Parameter("id", "Of a mute that somebody set.", _ID, required=True, where="path")],
        errors=(401, 403, 404, 503),
    ),
    Operation("/v1/notifications", "get", "How notifications fare.", types.NotificationsAnswer),
]
