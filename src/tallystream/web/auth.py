"""
Who may read and who may write: tokens, browser keys, origins, hosts. Pure decisions on a request's headers.

Two attacks come through the browser of somebody who may: another site's page sends requests (told by `Origin`), and another
site's name is pointed at this machine (told by `Host`). The first is refused always, the second where no token guards.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pybase64

from tallystream.core.definition import Browser
from tallystream.web.errors import RequestRefusedError
from tallystream.web.services import Tokens

SESSION_COOKIE: Final = "tally_session"
SESSION_SECONDS: Final = 30 * 24 * 3600

Headers = Mapping[bytes, bytes]
"""Lower-case names → values."""


class WritePermit(NamedTuple):
    """A request may send events."""

    browser: bool = False  # known by the browser key alone, so its clock and size are not trusted
    cors_origin: bytes | None = None  # whom to tell that the answer may be read


_PERMITTED = WritePermit()


class Access:
    """The rules of one server."""

    def __init__(self, tokens: Tokens, browser: Browser | None) -> None:
        self._write = tokens.write.encode() if tokens.write else None
        self._read = tokens.read.encode() if tokens.read else None
        self._browser_key = browser.key.encode() if browser else None
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in browser.origins) if browser else frozenset()

    def permit_write(self, headers: Headers, query: bytes = b"") -> WritePermit:
        """
        Permit a request to send events: by the write token, by the browser key from a listed origin, or on loopback.

        The token or key is `Authorization: Bearer TOKEN`, the user name of `Authorization: Basic`; the key also `?key=`. Where
        no token is set, loopback is enough for programs and for the server's own pages; pages of other origins need the key.

        Raises:
            RequestRefusedError: 401 for a missing or wrong token or key, 403 for a foreign origin or host.
        """
        origin = headers.get(b"origin")
        listed = origin is not None and self.is_listed(origin)
        is_foreign = origin is not None and not is_same_origin(origin, headers.get(b"host", b""))
        if origin is not None and is_foreign and not listed:
            raise _foreign_origin(origin)
        cors_origin = origin if listed else None
        key = _query_key(query) if query else None
        if key is not None:
            return self._permit_key(key, origin, cors_origin)
        if self._write is None and not is_foreign:
            _check_loopback(headers.get(b"host", b""), "TALLY_WRITE_TOKEN")
            return WritePermit(cors_origin=cors_origin) if cors_origin else _PERMITTED
        shown = _shown_secret(headers)
        if shown is not None and self._write is not None and hmac.compare_digest(shown, self._write):
            return WritePermit(cors_origin=cors_origin) if cors_origin else _PERMITTED
        if self._write is None or (shown is not None and self._is_browser_key(shown)):
            return self._permit_key(shown or b"", origin, cors_origin)
        raise _unauthorized("sending events", "write token (TALLY_WRITE_TOKEN)")

    def _permit_key(self, key: bytes, origin: bytes | None, cors_origin: bytes | None) -> WritePermit:
        if not self._is_browser_key(key):
            raise _unauthorized("sending events from a browser", "key of [browser] in the definition")
        if origin is None:
            message = "a browser key was sent without an Origin header; send from a page, or with the write token"
            raise RequestRefusedError(403, "forbidden", message)
        return WritePermit(browser=True, cors_origin=cors_origin)

    def _is_browser_key(self, key: bytes) -> bool:
        return self._browser_key is not None and hmac.compare_digest(key, self._browser_key)

    def permit_read(self, headers: Headers) -> None:
        """
        Permit a request to read: by the read token, by the session cookie, or on loopback.

        Raises:
            RequestRefusedError: 401 for a missing or wrong token, 403 for a foreign host.
        """
        if self._read is None:
            _check_loopback(headers.get(b"host", b""), "TALLY_READ_TOKEN")
            return
        shown = _shown_secret(headers)
        if shown is not None and hmac.compare_digest(shown, self._read):
            return
        cookie = _session_cookie(headers)
        if cookie is not None and hmac.compare_digest(cookie.encode(), self._session().encode()):
            return
        raise _unauthorized("reading", "read token (TALLY_READ_TOKEN)")

    def sign_in(self, headers: Headers, token: str) -> str | None:
        """
        Return the session cookie's value for whoever knows the read token; None where reading needs none.

        Raises:
            RequestRefusedError: 401 for a wrong token, 403 for a foreign origin or host.
        """
        origin = headers.get(b"origin")
        if origin is not None and not is_same_origin(origin, headers.get(b"host", b"")):
            raise _foreign_origin(origin)
        if self._read is None:
            _check_loopback(headers.get(b"host", b""), "TALLY_READ_TOKEN")
            return None
        if not hmac.compare_digest(token.encode(errors="surrogatepass"), self._read):
            raise _unauthorized("reading", "read token (TALLY_READ_TOKEN)")
        return self._session()

    def is_listed(self, origin: bytes) -> bool:
        """Return whether pages of this origin may send events."""
        return origin.lower() in self._origins

    def _session(self) -> str:
        # A keyed hash: the cookie does not give the token away, every worker knows it, and a new token ends all sessions.
        assert self._read is not None
        return hmac.new(self._read, b"tallystream session", hashlib.sha256).hexdigest()


def is_same_origin(origin: bytes, host: bytes) -> bool:
    """Return whether an Origin is the server itself. Schemes are not compared: TLS may end at a proxy before us."""
    return bool(host) and origin.lower().partition(b"://")[2] == host.lower()


@lru_cache(maxsize=256)
def is_loopback(host: bytes) -> bool:
    """Return whether a Host header names this machine for itself: localhost, or a loopback address, with any port."""
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _check_loopback(host: bytes, variable: str) -> None:
    if not is_loopback(host):
        shown = host.decode("latin-1")[:100]
        raise RequestRefusedError(
            403,
            "forbidden",
            f'Host is "{shown}"; without a token only localhost and loopback addresses are allowed; set {variable}',
        )


def _shown_secret(headers: Headers) -> bytes | None:
    """Return the token of `Bearer`, or the user name of `Basic`, which is where Segment's libraries put the write key."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return pybase64.b64decode(value.strip(), validate=True).partition(b":")[0]
        except ValueError:
            return None
    return None


def _session_cookie(headers: Headers) -> str | None:
    try:
        cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
    except CookieError:
        return None
    return cookies[SESSION_COOKIE].value if SESSION_COOKIE in cookies else None


def _query_key(query: bytes) -> bytes | None:
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("key")
    return values[0].encode() if values else None


def _foreign_origin(origin: bytes) -> RequestRefusedError:
    shown = origin.decode("latin-1")[:100]
    message = f'Origin is "{shown}"; allowed are this server and the origins of [browser] in the definition; add it there'
    return RequestRefusedError(403, "forbidden", message)


def _unauthorized(doing: str, secret: str) -> RequestRefusedError:
    message = f"{doing} needs the {secret}, and what came is missing or wrong; send Authorization: Bearer TOKEN"
    return RequestRefusedError(401, "unauthorized", message, headers={"WWW-Authenticate": 'Bearer realm="tallystream"'})
