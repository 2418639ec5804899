"""Who may do what, decided without a server."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystream.core.definition import Browser
from tallystream.web.auth import Access, WritePermit, is_loopback, is_same_origin
from tallystream.web.errors import RequestRefusedError
from tallystream.web.services import Tokens

WRITE, READ, KEY = "write-token", "read-token", "browser-key"
BROWSER = Browser(key=KEY, origins=("https://shop.example",))
OPEN = Access(Tokens(), BROWSER)
CLOSED = Access(Tokens(write=WRITE, read=READ), BROWSER)
LOCAL = {b"host": b"127.0.0.1:8080"}
PUBLIC = {b"host": b"tally.example"}
LISTED = {b"origin": b"https://shop.example"}


def bearer(token: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + token.encode()}


def basic(user: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Basic " + base64.b64encode(f"{user}:".encode())}


@pytest.mark.parametrize(
    ("access", "headers", "query", "permit"),
    [
        (OPEN, LOCAL, b"", WritePermit()),
        (OPEN, {**LOCAL, b"origin": b"http://127.0.0.1:8080"}, b"", WritePermit()),
        (OPEN, {**LOCAL, **basic("anything")}, b"", WritePermit()),
        (OPEN, {**LOCAL, **LISTED}, b"key=browser-key", WritePermit(True, b"https://shop.example")),
        (OPEN, {**LOCAL, **LISTED, **basic(KEY)}, b"", WritePermit(True, b"https://shop.example")),
        (OPEN, {b"host": b"localhost:1", b"origin": b"http://localhost:1"}, b"", WritePermit()),
        (CLOSED, {**PUBLIC, **bearer(WRITE)}, b"", WritePermit()),
        (CLOSED, {**PUBLIC, **basic(WRITE)}, b"", WritePermit()),
        (CLOSED, {**PUBLIC, **LISTED, **bearer(WRITE)}, b"", WritePermit(cors_origin=b"https://shop.example")),
        (CLOSED, {**PUBLIC, **LISTED}, b"key=browser-key", WritePermit(True, b"https://shop.example")),
        (CLOSED, {**PUBLIC, **LISTED, **basic(KEY)}, b"", WritePermit(True, b"https://shop.example")),
        (CLOSED, {**PUBLIC, b"origin": b"https://tally.example"}, b"key=browser-key", WritePermit(True, None)),
    ],
)
def test_may_write(access: Access, headers: dict[bytes, bytes], query: bytes, permit: WritePermit) -> None:
    assert access.permit_write(headers, query) == permit


@pytest.mark.parametrize(
    ("access", "headers", "query", "status"),
    [
        (OPEN, PUBLIC, b"", 403),
        (OPEN, {}, b"", 403),
        (OPEN, {**LOCAL, b"origin": b"https://evil.example"}, b"", 403),
        (OPEN, {**LOCAL, b"origin": b"null"}, b"", 403),
        (OPEN, {**LOCAL, **LISTED}, b"", 401),
        (OPEN, {**LOCAL, **LISTED, **bearer("other")}, b"", 401),
        (OPEN, {**LOCAL, **LISTED}, b"key=other", 401),
        (CLOSED, LOCAL, b"", 401),
        (CLOSED, {**LOCAL, **bearer(READ)}, b"", 401),
        (CLOSED, {**LOCAL, **bearer("")}, b"", 401),
        (CLOSED, {**LOCAL, b"authorization": b"Basic !!!"}, b"", 401),
        (CLOSED, {**LOCAL, **LISTED}, b"", 401),
        (CLOSED, {**LOCAL, **LISTED}, b"key=", 401),
        (CLOSED, {**LOCAL, **LISTED}, b"key=other", 401),
        (CLOSED, LOCAL, b"key=browser-key", 403),
        (CLOSED, {**LOCAL, **basic(KEY)}, b"", 403),
        (CLOSED, {**LOCAL, **bearer(WRITE), b"origin": b"https://evil.example"}, b"", 403),
        (Access(Tokens(), None), {**LOCAL, **LISTED}, b"key=browser-key", 403),
        (Access(Tokens(), None), LOCAL, b"key=browser-key", 401),
    ],
)
def test_may_not_write(access: Access, headers: dict[bytes, bytes], query: bytes, status: int) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        access.permit_write(headers, query)
    assert caught.value.status == status
    for secret in (WRITE, READ, KEY):
        assert secret not in caught.value.message


def test_may_read() -> None:
    OPEN.permit_read(LOCAL)
    CLOSED.permit_read({**PUBLIC, **bearer(READ)})
    cookie = CLOSED.sign_in({**PUBLIC, b"origin": b"https://tally.example"}, READ)
    assert cookie is not None and READ not in cookie
    CLOSED.permit_read({**PUBLIC, b"cookie": f"other=1; tally_session={cookie}".encode()})
    assert OPEN.sign_in(LOCAL, "anything") is None


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        (OPEN, PUBLIC, 403),
        (CLOSED, LOCAL, 401),
        (CLOSED, {**LOCAL, **bearer(WRITE)}, 401),
        (CLOSED, {**LOCAL, b"cookie": b"tally_session=" + READ.encode()}, 401),
        (CLOSED, {**LOCAL, b"cookie": b"tally_session=\xff; ="}, 401),
    ],
)
def test_may_not_read(access: Access, headers: dict[bytes, bytes], status: int) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        access.permit_read(headers)
    assert caught.value.status == status


def test_a_new_token_ends_sessions() -> None:
    old = CLOSED.sign_in(PUBLIC, READ)
    new = Access(Tokens(read="new-token"), None)
    with pytest.raises(RequestRefusedError):
        new.permit_read({**PUBLIC, b"cookie": f"tally_session={old}".encode()})


@pytest.mark.parametrize("headers", [{**PUBLIC, b"origin": b"https://evil.example"}, PUBLIC])
def test_signing_in_needs_the_token_and_no_foreign_page(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(RequestRefusedError):
        CLOSED.sign_in(headers, READ if b"origin" in headers else WRITE)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.9.9.9:1", "[::1]:8080", "[::1]"])
def test_loopback_names(host: str) -> None:
    assert is_loopback(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[::2]",
        "[",
        "::1",
        "\xff",
        "a@127.0.0.2x",
    ],
)
def test_other_names(host: str) -> None:
    assert not is_loopback(host.encode("latin-1"))


def test_origins() -> None:
    assert is_same_origin(b"https://Tally.example", b"tally.example")
    assert not is_same_origin(b"https://tally.example", b"tally.example:8443")
    assert not is_same_origin(b"null", b"") and not is_same_origin(b"null", b"null")


def status_of(call: Callable[..., Any], *arguments: Any) -> int:
    try:
        call(*arguments)
    except RequestRefusedError as refusal:
        return refusal.status
    return 200


@given(st.dictionaries(st.sampled_from([b"host", b"origin", b"cookie", b"authorization"]), st.binary(max_size=40)), st.binary())
def test_any_headers_are_permitted_or_refused(headers: dict[bytes, bytes], query: bytes) -> None:
    for access in (OPEN, CLOSED):
        assert status_of(access.permit_write, headers, query) in (200, 401, 403)
        assert status_of(access.permit_read, headers) in (200, 401, 403)
