"""The one form of all error answers."""

from typing import Any

import msgspec

from tallystream.core.errors import TallystreamError


class RequestRefusedError(TallystreamError):
    """A request cannot be carried out; nothing of it was stored. Holds the whole answer."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.more = more

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> bytes:
        """The answer's JSON body."""
        return error_body(self.code, self.message, **self.more)


def error_body(code: str, message: str, **more: Any) -> bytes:
    """Return the JSON body of an error answer; `more` are further members."""
    return msgspec.json.encode({"error": code, "message": message, **more})
