"""tally.js on a real page of another origin: what it sends is counted, what it must not send is not sent."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conftest import StartServer
from tests.server import TallyServer
from tests.waiting import wait_until

DEFINITION = """
name = "site"

[stream]
event_time = "time"
event_id = "id"

[browser]
key = "pub-web"
origins = ["{origin}"]

[[counter]]
name = "views"
where = "event == 'page view'"
group_by = ["path", "url", "referrer", "title", "language", "screen"]
windows = ["1m"]

[[counter]]
name = "clicks"
where = "event == 'click'"
group_by = ["target", "path"]
windows = ["1m"]
"""

PAGE = """<!doctype html><html lang="en"><title>Café “Ünïcode” & co</title>
<script src="{server}/tally.js" data-key="pub-web" {attributes} defer></script>
<a href="/next" data-tally="to the next page">next</a>
<button data-tally="buy"><span>Buy</span></button>
<button onclick="history.pushState(null, '', '/spa?secret=1')">Go</button>
<button onclick="history.replaceState(null, '', location.pathname + '?filter=2')">Filter</button>
<button>Unmarked</button>"""


class Site:
    """A web site of somebody, which asks for tally.js with the attributes that a test sets."""

    def __init__(self) -> None:
        site = self
        self.tally_url = ""
        self.attributes = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = PAGE.format(server=site.tally_url, attributes=site.attributes).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://localhost:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()
    yield served
    served.http.shutdown()
    served.http.server_close()


@pytest.fixture
def listed(site: Site, tally_server: StartServer) -> TallyServer:
    """A server that takes events from the site."""
    server = tally_server(DEFINITION.format(origin=site.origin))
    site.tally_url = server.url
    return server


@pytest.fixture
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB", screen={"width": 1280, "height": 720}, viewport={"width": 800, "height": 600})
    yield context
    assert context.cookies() == []
    context.close()


def groups(server: TallyServer, counter: str) -> dict[tuple[Any, ...], int]:
    answer = server.get("/v1/query", counter=counter, window="1m")
    return {tuple(series["group"].values()): series["total"] for series in answer["series"]}


def counted(server: TallyServer, count: int) -> None:
    wait_until(lambda: server.get("/v1/ledger")["counted"] == count, f"{count} events to be counted")


def test_a_view_and_clicks_are_counted(site: Site, listed: TallyServer, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto(f"{site.origin}/shop?campaign=secret#part", referer="https://search.example/?q=private")
    counted(listed, 1)
    title = "Café “Ünïcode” & co"
    assert groups(listed, "views") == {
        ("/shop", f"{site.origin}/shop", "https://search.example", title, "en-GB", "1280x720"): 1
    }
    page.get_by_text("Buy").click()
    page.get_by_text("Unmarked").click()
    page.get_by_text("next").click()  # the page goes away while its click is being sent
    counted(listed, 4)
    assert groups(listed, "clicks") == {("buy", "/shop"): 1, ("to the next page", "/shop"): 1}
    views = {view[0]: view[2] for view in groups(listed, "views")}
    assert views == {"/shop": "https://search.example", "/next": site.origin}
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0


def test_the_view_is_on_the_dashboard(site: Site, listed: TallyServer, visitor: BrowserContext, dashboard: Page) -> None:
    dashboard.goto(listed.url)
    visitor.new_page().goto(f"{site.origin}/shop")
    expect(dashboard.get_by_role("region", name="views").locator(".top-groups")).to_contain_text("/shop")


def test_navigation_within_a_page_counts_once_for_each_path(site: Site, listed: TallyServer, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    page.goto(f"{site.origin}/start")
    page.get_by_text("Go").click()
    counted(listed, 2)
    page.get_by_text("Filter").click()
    page.get_by_text("Go").click()
    page.evaluate("history.go(-2)")
    counted(listed, 3)
    views = groups(listed, "views")
    assert {view[0]: count for view, count in views.items()} == {"/start": 2, "/spa": 1}
    assert all("secret" not in view[1] for view in views)


def test_the_query_string_goes_along_where_asked(site: Site, listed: TallyServer, visitor: BrowserContext) -> None:
    site.attributes = "data-query"
    visitor.new_page().goto(f"{site.origin}/shop?campaign=spring")
    counted(listed, 1)
    [view] = groups(listed, "views")
    assert view[1] == f"{site.origin}/shop?campaign=spring"


@pytest.mark.parametrize("wish", ["navigator.doNotTrack = '1'", "navigator.globalPrivacyControl = true"])
def test_a_visitor_who_wants_no_tracking_has_none(site: Site, listed: TallyServer, visitor: BrowserContext, wish: str) -> None:
    name, value = wish.removeprefix("navigator.").split(" = ")
    visitor.add_init_script(f"Object.defineProperty(Navigator.prototype, '{name}', {{ get: () => {value} }})")
    page = visitor.new_page()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/v1/" in request.url else None)
    page.goto(f"{site.origin}/quiet", wait_until="load")
    page.get_by_text("Buy").click()
    page.get_by_text("Go").click()
    site.attributes = "data-ignore-dnt"
    page.goto(f"{site.origin}/counted")
    counted(listed, 1)
    assert [view[0] for view in groups(listed, "views")] == ["/counted"]
    assert len(sent) == 1


def test_an_origin_that_is_not_listed_is_refused(site: Site, tally_server: StartServer, visitor: BrowserContext) -> None:
    server = tally_server(DEFINITION.format(origin="https://elsewhere.example"))
    site.tally_url = server.url
    page = visitor.new_page()
    with page.expect_response("**/v1/events*") as refused:
        page.goto(f"{site.origin}/shop")
    assert refused.value.status == 403
    assert server.get("/v1/ledger")["received"] == 0


def test_sends_without_beacons_too(site: Site, listed: TallyServer, visitor: BrowserContext) -> None:
    visitor.add_init_script("Navigator.prototype.sendBeacon = () => false")
    visitor.new_page().goto(f"{site.origin}/shop")
    counted(listed, 1)


def test_an_event_that_arrives_twice_counts_once(site: Site, listed: TallyServer, visitor: BrowserContext) -> None:
    page = visitor.new_page()
    with page.expect_request("**/v1/events*") as sent:
        page.goto(f"{site.origin}/shop")
    counted(listed, 1)
    body = sent.value.post_data
    assert body is not None
    again = listed.client.post(
        "/v1/events?key=pub-web", content=body.encode(), headers={"Origin": site.origin, "Content-Type": "text/plain"}
    )
    assert again.status_code == 202
    wait_until(lambda: listed.get("/v1/ledger")["duplicate"] == 1, "the copy to be known for one")
    assert sum(groups(listed, "views").values()) == 1
