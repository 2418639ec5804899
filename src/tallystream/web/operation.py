"""How the OpenAPI document describes an operation, and the schemas that many parameters share."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple


class Parameter(NamedTuple):
    """One parameter of an operation."""

    name: str
    description: str
    schema: dict[str, Any]
    required: bool = False
    where: str = "query"


class Operation(NamedTuple):
    """One method of one path."""

    path: str
    method: str
    summary: str
    answer: type | str | None  # a type, a media type, or None for an empty answer
    access: str | None = "read"
    status: int = 200
    parameters: Sequence[Parameter] = ()
    body: dict[str, Any] | type | None = None  # media types → schemas, or a type for JSON
    errors: Sequence[int] = (400, 401, 403)


TEXT: Final = {"type": "string"}
OBJECT: Final = {"type": "object"}
TIME: Final = {"type": "string", "examples": ["2026-11-23T09:00:00Z", "1790000000000", "-3h", "now"]}
DURATION: Final = {"type": "string", "examples": ["10s", "1m", "15m", "1h", "1d"]}
