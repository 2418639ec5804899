"""What a channel takes from the environment, and how what a stranger answered is quoted without it."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tallystream.core.printable import printable
from tallystream.engine.notify import DeliveryError

EXCERPT_CHARACTERS_MAX: Final = 200

_SECRET_CHARACTERS_MIN: Final = 4  # what is shorter is in every answer


def read_variable(environment: Mapping[str, str], name: str) -> str:
    """
    Return an environment variable that a definition names.

    Raises:
        DeliveryError: it is not set, or empty.
    """
    value = environment.get(name, "").strip()
    if not value:
        raise DeliveryError(f"the environment variable {name} is not set; set it where `tally up` is started")
    return value


def excerpt(answer: bytes, secrets: Iterable[str]) -> str:
    """
    Return the beginning of an answer as one printable line, with … for each secret.

    Servers like to repeat what they were sent. Secrets of fewer than four characters are left in.
    """
    line = " ".join(answer.decode("utf-8", "replace").split())
    hidden = sorted({secret for secret in secrets if len(secret) >= _SECRET_CHARACTERS_MIN}, key=len, reverse=True)
    if hidden:
        line = re.sub("|".join(map(re.escape, hidden)), "…", line, flags=re.IGNORECASE)
    line = printable(line)
    return line if len(line) <= EXCERPT_CHARACTERS_MAX else line[: EXCERPT_CHARACTERS_MAX - 1] + "…"
