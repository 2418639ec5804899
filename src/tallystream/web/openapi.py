"""`GET /v1/openapi.json`: an OpenAPI 3.1 document. Schemas come from the types of the answers, paths from the table below."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystream.core.event import REASONS
from tallystream.web import answer_types as answers
from tallystream.web.alarm_operations import ALARM_OPERATIONS
from tallystream.web.operation import DURATION, OBJECT, TEXT, TIME, Operation, Parameter
from tallystream.web.rejected import RetryRequest
from tallystream.web.session import SignIn

OPENAPI_PATH: Final = "/v1/openapi.json"


_REASON: Final = {"type": "string", "enum": list(REASONS)}

_IDEMPOTENCY: Final = Parameter(
    "Idempotency-Key",
    "A repeated request with this key and body counts once.",
    {"type": "string", "maxLength": 255},
    where="header",
)
_ENCODING: Final = Parameter(
    "Content-Encoding", "How the body is compressed.", {"type": "string", "enum": ["gzip", "zstd", "identity"]}, where="header"
)
_SENDING_ERRORS: Final = (400, 401, 403, 408, 413, 415, 422, 429, 503)

_SENDING: Final = [
    Operation(
        "/v1/events",
        "post",
        "Send events. 202 means: on disk.",
        answers.EventsAnswer,
        access="write",
        status=202,
        parameters=[
            _IDEMPOTENCY,
            _ENCODING,
            Parameter("key", "The browser key of the definition, for pages of listed origins.", TEXT),
            Parameter("Tally-Source", "Name of a file that is read bit by bit.", TEXT, where="header"),
            Parameter("Tally-Source-Range", "START-END: bytes of the file, half-open.", TEXT, where="header"),
            Parameter("Tally-Source-Mark", "What the sender will know the file by.", TEXT, where="header"),
        ],
        body={
            "application/json": {"oneOf": [OBJECT, {"type": "array", "items": OBJECT, "minItems": 1}]},
            "application/x-ndjson": TEXT,
            "application/cloudevents+json": OBJECT,
            "application/cloudevents-batch+json": {"type": "array", "items": OBJECT, "minItems": 1},
        },
        errors=(*_SENDING_ERRORS, 409),
    ),
    *(
        Operation(
            f"/v1/{call}",
            "post",
            f"Segment's {call} call.",
            answers.SegmentAnswer,
            access="write",
            parameters=[_IDEMPOTENCY, _ENCODING],
            body={"application/json": OBJECT},
            errors=_SENDING_ERRORS,
        )
        for call in ("track", "page", "screen", "identify", "group", "alias", "batch")
    ),
    Operation(
        "/v1/sources/{source}",
        "get",
        "How far a file has been read.",
        answers.SourceAnswer,
        parameters=[Parameter("source", "As sent in Tally-Source.", TEXT, required=True, where="path")],
    ),
]

_QUERYING: Final = [
    Operation("/v1/definition", "get", "What is counted.", answers.DefinitionAnswer),
    Operation(
        "/v1/query",
        "get",
        "Points of a counter's groups. `group.FIELD=value` and `exact.FIELD=JSON` keep only groups with this value of a field.",
        answers.QueryAnswer,
        parameters=[
            Parameter("counter", "Name of a counter.", TEXT, required=True),
            Parameter("window", "One of its windows, or a multiple of one.", DURATION, required=True),
            Parameter("from", "First window start; default: 60 windows ago.", TIME),
            Parameter("to", "End of the range, exclusive; default: now.", TIME),
            Parameter("measure", "One of its measures; default: count.", TEXT),
            Parameter("by", "Fields to keep apart, comma-separated or repeated; the others are merged.", TEXT),
            Parameter("top", "Only the groups with the largest totals.", {"type": "integer", "minimum": 1}),
            Parameter("other", "With top: one more series with the rest.", {"type": "boolean"}),
            Parameter("over", "Sliding: what each point covers.", DURATION),
            Parameter("show", "What the points are.", {"type": "string", "enum": ["value", "rate", "share", "change"]}),
            Parameter("compare", "Also the period before.", {"type": "string", "enum": ["previous"]}),
            Parameter("fill", "Windows without a row.", {"type": "string", "enum": ["zero", "none"]}),
            Parameter("format", "Of the answer.", {"type": "string", "enum": ["json", "csv"]}),
        ],
        errors=(400, 401, 403, 404, 503),
    ),
    Operation(
        "/v1/groups",
        "get",
        "Values that a field of group_by has.",
        answers.GroupsAnswer,
        parameters=[
            Parameter("counter", "Name of a counter.", TEXT, required=True),
            Parameter("field", "One of its group_by.", TEXT, required=True),
            Parameter("q", "Only values that contain this.", TEXT),
            Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1}),
        ],
        errors=(400, 401, 403, 404, 503),
    ),
    Operation(
        "/v1/live",
        "get",
        "Server-sent events: which windows changed. The data of each is a ChangeMessage.",
        "text/event-stream",
        parameters=[Parameter("Last-Event-ID", "The version that was seen last.", TEXT, where="header")],
    ),
]

_REJECTED: Final = [
    Operation(
        "/v1/rejected",
        "get",
        "Rejected events, newest first.",
        answers.RejectedAnswer,
        parameters=[
            Parameter("reason", "Only of this reason.", _REASON),
            Parameter("before", "Only with a lower id.", {"type": "integer", "minimum": 0}),
            Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        ],
    ),
    Operation(
        "/v1/rejected/export",
        "get",
        "All rejected events as a download.",
        "application/x-ndjson",
        parameters=[
            Parameter("reason", "Only of this reason.", _REASON),
            Parameter("format", "With all fields, or their bytes alone.", {"type": "string", "enum": ["ndjson", "raw"]}),
        ],
    ),
    Operation(
        "/v1/rejected/retry",
        "post",
        "Judge rejected events again under the present definition.",
        answers.RetryAnswer,
        access="write",
        body=RetryRequest,
        errors=(400, 401, 403, 413, 503),
    ),
]

_OPERATING: Final = [
    Operation("/v1/ledger", "get", "How events ended.", answers.LedgerAnswer),
    Operation("/v1/health", "get", "How the server fares.", answers.HealthAnswer),
    Operation(
        "/v1/session",
        "post",
        "Sign in with the read token: sets a cookie.",
        None,
        None,
        204,
        body=SignIn,
        errors=(400, 401, 403),
    ),
    Operation("/v1/session", "delete", "Sign out.", None, None, 204, errors=()),
    Operation(OPENAPI_PATH, "get", "This document.", "application/json", None, errors=()),
    Operation("/healthz", "get", "Whether the process answers.", "application/json", None, errors=()),
    Operation("/readyz", "get", "Whether events can be taken and counted.", "application/json", None, errors=(503,)),
    Operation("/metrics", "get", "Prometheus' text format.", "text/plain", errors=(401, 403)),
]

OPERATIONS: Final = [*_SENDING, *_QUERYING, *_REJECTED, *ALARM_OPERATIONS, *_OPERATING]

_ERROR_TEXTS: Final = {
    400: "Something in the request is wrong; the message says what.",
    401: "The token is missing or wrong.",
    403: "The origin or the host is not allowed.",
    404: "There is no such counter, alarm or mute.",
    408: "The body did not come whole in time.",
    409: "The source stands elsewhere (the answer holds `position`), or the alarm is not in ALARM.",
    413: "The body is too large, before or after decompression.",
    415: "The Content-Type or Content-Encoding is not supported.",
    422: "The Idempotency-Key came before with another body.",
    429: "Counting is behind; see Retry-After.",
    503: "The storage cannot be used at present; nothing of the request was accepted.",
}


def openapi_document(version: str, operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """Return the document."""
    types: dict[type, None] = {answers.ErrorAnswer: None, answers.ChangeMessage: None}
    for operation in operations:
        for kind in (operation.answer, operation.body):
            if isinstance(kind, type):
                types[kind] = None
    references, components = _as_numbers(msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}"))
    schemas = dict(zip(types, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallystream",
            "version": version,
            "description": "Counts JSON events per group and time window, exactly once, the moment they arrive.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "read": {"type": "http", "scheme": "bearer", "description": "TALLY_READ_TOKEN, where one is set."},
                "write": {"type": "http", "scheme": "bearer", "description": "TALLY_WRITE_TOKEN, where one is set."},
            },
        },
    }


def _as_numbers(schema: Any) -> Any:
    """Return schemas in which decimals are what `status.answer` makes of them."""
    match schema:
        case {"type": "string", "format": "decimal", **more}:
            return {**more, "type": "number"}
        case dict():
            return {name: _as_numbers(value) for name, value in schema.items()}
        case list() | tuple():
            return [_as_numbers(value) for value in schema]
        case _:
            return schema


def _describe(operation: Operation, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": _operation_id(operation),
        "security": [{operation.access: []}, {}] if operation.access else [],
        "responses": {str(operation.status): _success(operation.answer, schemas)},
    }
    if operation.parameters:
        described["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "description": parameter.description,
                "required": parameter.required,
                "schema": parameter.schema,
            }
            for parameter in operation.parameters
        ]
    if operation.body is not None:
        content = {"application/json": schemas[operation.body]} if isinstance(operation.body, type) else operation.body
        described["requestBody"] = {
            "required": True,
            "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
        }
    for status in sorted(operation.errors):
        described["responses"][str(status)] = {
            "description": _ERROR_TEXTS[status],
            "content": {"application/json": {"schema": schemas[answers.ErrorAnswer]}},
        }
    return described


def _success(answer: type | str | None, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    if answer is None:
        return {"description": "Done."}
    if isinstance(answer, str):
        return {"description": "The answer.", "content": {answer: {"schema": {}}}}
    return {"description": (answer.__doc__ or "").strip(), "content": {"application/json": {"schema": schemas[answer]}}}


def _operation_id(operation: Operation) -> str:
    words = "".join(character if character.isalnum() else " " for character in operation.path.removeprefix("/v1")).split()
    return "_".join([operation.method, *words])


def openapi_route(version: str, operations: Sequence[Operation] = OPERATIONS) -> Route:
    """Return the route of the document, which is made once."""
    body = msgspec.json.encode(openapi_document(version, operations))

    async def openapi(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Route(OPENAPI_PATH, openapi)
