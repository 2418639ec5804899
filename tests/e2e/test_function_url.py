"""The pages behind a function URL, in a real browser: they ask again and again where nobody can tell them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import boto3
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import launched_browser
from tests.e2e.conftest import DEFINITION, events
from tests.stack import DeployedStack, deployed_stack
from tests.tls import tls_front

ON_AWS = DEFINITION.replace('event_id = "id"\n', "")


@pytest.fixture(scope="module")
def browser(ministack: str) -> Iterator[Browser]:
    """A browser that finds every function URL at the emulator, which tells them apart by their hosts, over TLS as on AWS."""
    port = urlsplit(ministack).port
    assert port is not None
    with (
        tls_front("127.0.0.1", port, "*.lambda-url.eu-west-1.on.aws") as front,
        launched_browser(f"--host-resolver-rules=MAP *.on.aws 127.0.0.1:{front}", "--ignore-certificate-errors") as launched,
    ):
        yield launched


@pytest.fixture
def stack(aws_environment: str) -> Iterator[DeployedStack]:
    with deployed_stack("function", ON_AWS, dashboard=True) as stack:
        yield stack


@pytest.fixture
def url(stack: DeployedStack) -> str:
    return stack.summary.outputs["PagesUrl"].rstrip("/")


@pytest.fixture
def own_hosts(url: str) -> set[str | None]:
    return {urlsplit(url).hostname}


def test_pages_poll_and_show_what_is_counted(stack: DeployedStack, url: str, page: Page) -> None:
    token = boto3.client("secretsmanager").get_secret_value(SecretId=stack.summary.outputs["PagesToken"])["SecretString"]
    page.goto(url)
    page.get_by_label("Read token").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Read token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
    expect(page.locator("header .live.polling")).to_have_text("Every 5 s")

    stack.put(*events("click", 5), b"nonsense")
    total = page.get_by_role("region", name="events").locator(".headline .figure").first
    expect(total).to_have_text("5", timeout=30_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    stack.put(*events("click", 2))
    expect(total).to_have_text("7", timeout=30_000)
    assert "/v1/live" in asked
    assert "/v1/definition" not in asked, "each poll was taken for a new connection, and everything asked for anew"
    expect(page.locator(".banner")).to_have_count(0)

    page.get_by_role("link", name="Alarms").click()
    expect(page.get_by_role("link", name="Open CloudWatch")).to_be_visible()
    expect(page.get_by_role("list", name="Alarms")).to_have_count(0)
    page.get_by_role("link", name="Health").click()
    expect(page.locator(".equation .figure").first).to_have_text("8")
