"""`GET /v1/query` and `GET /v1/groups`: what was counted."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tallystream.core.definition import Definition
from tallystream.core.errors import QueryError
from tallystream.core.query import UnknownCounterError, parse_groups_query, parse_query
from tallystream.core.series import find_values
from tallystream.ports.counters import CounterReader
from tallystream.web.answer import answer_query
from tallystream.web.answer_types import GroupsAnswer
from tallystream.web.csv_export import render_csv
from tallystream.web.errors import error_body
from tallystream.web.services import ReadServices

JSON_TYPE: Final = "application/json"
CSV_TYPE: Final = "text/csv; charset=utf-8"

# Decimals leave as JSON numbers with every digit they have: neither text nor the nearest double.
_encode = msgspec.json.Encoder(decimal_format="number").encode

Handler = Callable[[Request], Response]


def query_routes(services: ReadServices) -> list[Route]:
    """Return the routes. The handlers are plain functions, which Starlette runs in a thread: the event loop stays free."""

    @_refusing
    def query(request: Request) -> Response:
        parameters = request.query_params.multi_items()
        body, media_type = run_query(parameters, services.definition, services.store, services.now_ms())
        headers = {"cache-control": "no-store"}
        if media_type == CSV_TYPE:
            headers["content-disposition"] = f'attachment; filename="{_file_name(request)}.csv"'
        return Response(body, headers=headers, media_type=media_type)

    @_refusing
    def groups(request: Request) -> Response:
        asked = parse_groups_query(request.query_params.multi_items(), services.definition)
        values = find_values(services.store.series(asked.counter.name).values(), asked)
        answer = GroupsAnswer(counter=asked.counter.name, field=asked.field, values=values)
        return Response(_encode(answer), headers={"cache-control": "no-store"}, media_type=JSON_TYPE)

    return [Route("/v1/query", query, methods=["GET"]), Route("/v1/groups", groups, methods=["GET"])]


def run_query(
    parameters: Iterable[tuple[str, str]], definition: Definition, store: CounterReader, now_ms: int
) -> tuple[bytes, str]:
    """
    Return the body that answers a query, and its media type: the same bytes over HTTP and from `tally query --data`.

    Raises:
        QueryError: a parameter is wrong, or asks for too much.
        StorageError: the store cannot be read.
    """
    query = parse_query(parameters, definition, now_ms)
    answer = answer_query(query, store)
    return (render_csv(query, answer), CSV_TYPE) if query.format == "csv" else (_encode(answer), JSON_TYPE)


def _refusing(handler: Handler) -> Handler:
    """Turn a QueryError into an error answer."""

    @wraps(handler)
    def answer(request: Request) -> Response:
        try:
            return handler(request)
        except UnknownCounterError as error:
            return Response(error_body("unknown_counter", str(error)), 404, media_type=JSON_TYPE)
        except QueryError as error:
            return Response(error_body("invalid_parameter", str(error)), 400, media_type=JSON_TYPE)

    return answer


def _file_name(request: Request) -> str:
    parts = (request.query_params["counter"], request.query_params["window"])
    return "-".join("".join(c if c.isascii() and c.isalnum() else "_" for c in part) for part in parts)
