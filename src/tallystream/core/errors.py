"""Errors that a user sees as one clear message: what was wrong, what was found, what is allowed, how to mend it."""

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake in a definition, in words for the person who wrote it."""

    key: str  # where it is: `counter "events".windows[1]`; positions count from 0
    found: str
    allowed: str
    remedy: str


class TallystreamError(Exception):
    """Base of all errors that are shown to a user as a message, without a traceback."""


class DefinitionError(TallystreamError):
    """A definition cannot be used; `problems` holds every mistake in it, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return render_problems(self.problems)


class StorageError(TallystreamError):
    """Storage failed (full, read-only, corrupt, in use); the message says which file and how to mend it."""


class QueryError(TallystreamError):
    """A query cannot be answered as asked; `parameter` names the one to mend."""

    def __init__(self, parameter: str, message: str) -> None:
        self.parameter = parameter
        self.message = message
        super().__init__(parameter, message)

    def __str__(self) -> str:
        return self.message


def render_problems(problems: Iterable[Problem]) -> str:
    """Return the problems as text for a terminal: a block for each, the key first, blocks apart by an empty line."""
    return "\n\n".join(
        f"{problem.key}\n  found:   {problem.found}\n  allowed: {problem.allowed}\n  remedy:  {problem.remedy}"
        for problem in problems
    )
