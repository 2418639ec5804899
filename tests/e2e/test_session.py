"""Signing in where a read token is set."""

from playwright.sync_api import Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import DEFINITION, is_live

TOKENS = {"TALLY_READ_TOKEN": "read-token-of-the-test", "TALLY_WRITE_TOKEN": "write-token-of-the-test"}


def test_sign_in_read_and_sign_out(tally_server: StartServer, page: Page) -> None:
    server = tally_server(DEFINITION, environment=TOKENS)
    page.goto(f"{server.url}/health")
    token = page.get_by_label("Read token")
    token.fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    token.fill(TOKENS["TALLY_READ_TOKEN"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Ledger")).to_be_visible()
    is_live(page)
    assert page.evaluate("document.cookie") == "", "a script could read the session"
    assert TOKENS["TALLY_READ_TOKEN"] not in page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")

    page.reload()
    expect(page.get_by_role("heading", name="Ledger")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator("header .live")).to_have_text("Signed out")
