"""What handlers read of a request: small JSON bodies, and parameters that are numbers or times."""

import json
from decimal import Decimal
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request

from tallystream.core.relative_time import parse_time
from tallystream.web.errors import RequestRefusedError

T = TypeVar("T")

_BODY_BYTES_MAX: Final = 4 * 1024
ID_MAX: Final = 2**63 - 1


async def read_json(request: Request, kind: type[T], bytes_max: int = _BODY_BYTES_MAX) -> T:
    """
    Return a small JSON body as a type; an absent one is taken for {}. Untyped numbers with a point are Decimal, as in TOML.

    Raises:
        RequestRefusedError: 400; it is not one. 413: it is not small.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > bytes_max:
            raise RequestRefusedError(413, "body_too_large", f"the body has over {bytes_max:,} bytes; send less")
    try:
        return msgspec.json.Decoder(kind, float_hook=Decimal).decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestRefusedError(400, "invalid_body", f"the body is not as expected: {error}") from None


def invalid(name: str, found: object, allowed: str) -> RequestRefusedError:
    """Return the refusal of a parameter."""
    shown = json.dumps(found if isinstance(found, int) else str(found)[:60])
    return RequestRefusedError(400, "invalid_parameter", f"{name} is {shown}; allowed is {allowed}")


def read_integer(request: Request, name: str, least: int, most: int) -> int | None:
    """
    Return a parameter of the query that is a whole number; None: it is not there.

    Raises:
        RequestRefusedError: 400; it is something else, or out of bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise invalid(name, text, f"a whole number from {least} to {most}")
    return int(text)


def read_time(name: str, text: str | int, now_ms: int) -> int:
    """
    Return the UTC milliseconds of a time parameter.

    Raises:
        RequestRefusedError: 400; it is none.
    """
    try:
        return parse_time(str(text), now_ms)
    except ValueError as error:
        raise RequestRefusedError(400, "invalid_parameter", f"{name}: {error}") from None
