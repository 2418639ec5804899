"""
The pages function: the web application behind a function URL, put together from the environment.

TALLY_READ_TOKEN_SECRET names the secret in Secrets Manager that holds the read token; it is asked for when a container starts,
and now and then afterwards, so that a changed one takes effect. What else is in the environment: handlers.py.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

from mangum import Mangum

from tallystream.aws.client import make_client
from tallystream.aws.dynamodb import DynamoDBTable
from tallystream.aws.function import read_definition, read_layout
from tallystream.aws.site import FUNCTION_POLL_MS, StackPlace, stack_services
from tallystream.web.remote import RemoteApp
from tallystream.web.services import Tokens

TOKEN_FRESH_S: Final = 300.0
TOKEN_AGE_S_MAX: Final = 900.0  # of one that could not be asked for again
_ASK_AGAIN_S: Final = 30.0

_log = logging.getLogger("tallystream")

Handler = Callable[[Any, Any], dict[str, Any]]


class PagesFunction:
    """
    Answers requests with an application that knows the read token.

    A token that cannot be asked for again is taken for `TOKEN_AGE_S_MAX`; one whose secret was emptied, no longer.

    Args:
        read_token: asks for it.
        make: makes the application that asks for a token.
        clock_s: a clock that never goes back.

    Raises:
        ValueError: the token is empty.
    """

    def __init__(self, read_token: Callable[[], str], make: Callable[[str], Handler], clock_s: Callable[[], float]) -> None:
        self._read_token = read_token
        self._make = make
        self._clock_s = clock_s
        self._token: str | None = None
        self._ask_at_s = float("-inf")
        self._refresh()

    def __call__(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """
        Answer a request, payload format 2.0, with a response.

        Raises:
            RuntimeError: there is no token that may still be taken.
        """
        now_s = self._clock_s()
        if now_s - self._read_at_s > TOKEN_FRESH_S and now_s > self._ask_at_s:
            self._ask_at_s = now_s + _ASK_AGAIN_S
            try:
                self._refresh()
            except Exception:
                _log.exception("the read token could not be asked for again")
        if self._clock_s() - self._read_at_s > TOKEN_AGE_S_MAX:
            raise RuntimeError("the read token could not be asked for again in time; see the errors in the log before")
        return self._handler(event, context)

    def _refresh(self) -> None:
        token = self._read_token()
        if not token:
            self._read_at_s = float("-inf")  # whoever emptied it wants nobody to be let in
            raise ValueError("the secret that holds the read token is empty; put a token into it")
        if token != self._token:
            self._token, self._handler = token, self._make(token)
        self._read_at_s = self._clock_s()


def pages_handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer a request to the function URL."""
    return _function()(event, context)


@cache
def _function() -> PagesFunction:
    from botocore.session import get_session

    secrets, kinesis = (get_session().create_client(service) for service in ("secretsmanager", "kinesis"))
    secret = os.environ["TALLY_READ_TOKEN_SECRET"]
    place = StackPlace(os.environ["TALLY_STACK"], os.environ["AWS_REGION"], os.environ["TALLY_STREAM"])
    table = DynamoDBTable(make_client(), os.environ["TALLY_TABLE"])
    logging.getLogger("mangum").setLevel(logging.WARNING)  # or each request would be a line of the log
    asyncio.set_event_loop(asyncio.new_event_loop())  # on which every request of the container is answered

    # AWS grants asking for alarms on all of an account, or none: they are not asked.
    services = stack_services(place, read_definition(), read_layout(), table, kinesis, None, Tokens(), FUNCTION_POLL_MS)

    def make(token: str) -> Handler:
        # Its lifespan would begin and end with each request.
        return Mangum(RemoteApp(replace(services, tokens=Tokens(read=token))), lifespan="off")

    return PagesFunction(lambda: str(secrets.get_secret_value(SecretId=secret)["SecretString"]), make, time.monotonic)


# While a container starts, Lambda lends it more processor than it has afterwards.
if os.environ.get("_HANDLER", "").rpartition(".")[2] == "pages_handler":
    _function()
