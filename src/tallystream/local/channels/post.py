"""POST to a URL that somebody typed in: guarded against leading inside, against hanging, and against telling the URL."""

import base64
import contextlib
import http.client
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import tallystream
from tallystream.engine.notify import DeliveryError
from tallystream.local.channels.connection import DELIVERY_S_MAX, Deadline, cut_off, describe_failure, open_connection, secure
from tallystream.local.channels.secret import excerpt

_ANSWER_BYTES_MAX: Final = 4_096
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._?"


class Target(NamedTuple):
    """Where to post to."""

    is_secure: bool
    host: str
    port: int
    host_header: str
    path: str  # with the query
    authorization: str | None
    secrets: tuple[str, ...]  # parts of the URL, and other text, that no error may hold

    @classmethod
    def parse(cls, url: str) -> Self:
        """
        Return the target that a URL means.

        Raises:
            DeliveryError: it is no http or https URL.
        """
        wrong = DeliveryError("the channel's URL must be like https://host/path, with http or https; mend it")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            if ":" not in host:
                host = host.encode("idna").decode()
        except ValueError:  # also what IDNA refuses
            raise wrong from None
        if parts.scheme not in {"http", "https"} or not host or port == 0 or not url.isprintable():
            raise wrong
        is_secure = parts.scheme == "https"
        standard = 443 if is_secure else 80
        name = f"[{host}]" if ":" in host else host
        path = quote(parts.path or "/", safe=_PATH_SAFE) + (f"?{quote(parts.query, safe=_PATH_SAFE)}" if parts.query else "")
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username is not None else None
        authorization = f"Basic {base64.b64encode(login.encode()).decode()}" if login is not None else None
        pieces = [url, path, unquote(path), *re.split(r"[/?&=;]", path), *re.split(r"[/?&=;]", unquote(path)), host]
        pieces += [parts.username or "", parts.password or "", *(authorization or "").split()[1:]]
        return cls(
            is_secure,
            host,
            port or standard,
            name if port in (None, standard) else f"{name}:{port}",
            path,
            authorization,
            tuple(filter(None, pieces)),
        )


def post(
    target: Target, body: bytes, headers: Mapping[str, str], *, allow_private: bool, seconds: float = DELIVERY_S_MAX
) -> None:
    """
    Send a body and return when the server has taken it: has answered 2xx. Redirects are not followed.

    Raises:
        DeliveryError: anything else.
    """
    deadline = Deadline(seconds)
    connection = open_connection(target.host, target.port, deadline, allow_private=allow_private)
    with contextlib.closing(connection), cut_off(connection, deadline):
        try:
            if target.is_secure:
                connection = secure(connection, target.host)
            with contextlib.closing(connection):
                client = http.client.HTTPConnection(target.host, target.port)
                client.sock = connection
                _exchange(client, target, body, headers)
        except OSError as error:
            deadline.check()
            raise DeliveryError(f"the delivery failed: {describe_failure(error)}") from None
        except http.client.HTTPException as error:
            deadline.check()
            # Its own text may hold what the server sent, or the URL.
            is_cut = isinstance(error, http.client.IncompleteRead)
            problem = "closed the connection before it had answered" if is_cut else "does not speak HTTP"
            raise DeliveryError(f"the delivery failed: the server {problem}") from None


def _exchange(client: http.client.HTTPConnection, target: Target, body: bytes, headers: Mapping[str, str]) -> None:
    own = {"Host": target.host_header, "User-Agent": f"Tallystream/{tallystream.__version__}", "Connection": "close"}
    if target.authorization is not None:
        own["Authorization"] = target.authorization
    client.request("POST", target.path, body, {**own, **headers})
    with contextlib.closing(client.getresponse()) as response:
        if 200 <= response.status < 300:
            return  # its body says nothing that we need
        answer = b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            answer = response.read(_ANSWER_BYTES_MAX)
    said = excerpt(answer, target.secrets)
    remedy = "; redirects are not followed, so name the URL that it leads to" if 300 <= response.status < 400 else ""
    raise DeliveryError(f"the server answered {response.status}{f': {said}' if said else ''}{remedy}")
