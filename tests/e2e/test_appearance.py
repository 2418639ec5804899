"""Every page for every screen, eye and hand."""

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import events, is_live
from tests.server import ROOT, TallyServer
from tests.waiting import wait_until

PAGES = ["/", "/explore?compare=previous&top=50", "/explore?table=windows&chart=line", "/alarms", "/rejected", "/health"]
AXE = ROOT / "dashboard/node_modules/axe-core/axe.min.js"


@pytest.fixture
def filled(server: TallyServer) -> TallyServer:
    """The server with groups of long and short names, and rejected events with long lines."""
    names = ["click", "an-unbroken-name-" * 12, "page view", "日本語のとても長い名前" * 9, "<b>bold</b>"]
    names += [f"event {number}" for number in range(9)]
    sent = [event for number, name in enumerate(names) for event in events(name, 1 + number)]
    server.send([*sent, *events("donation", 5, country="GB", channel="web", amount=12.5)])
    server.client.post("/v1/events", content=b'{"unbroken": "' + b"z" * 3_000 + b'"}\n{bad\n')
    wait_until(lambda: server.get("/v1/ledger")["received"] > 100, "the events to be judged")
    return server


def test_no_page_is_wider_than_the_screen(filled: TallyServer, dashboard: Page) -> None:
    for path in PAGES:
        dashboard.goto(f"{filled.url}{path}")
        is_live(dashboard)
        dashboard.locator(".skeleton").first.wait_for(state="detached")
        for width, height in ((2560, 1440), (768, 1024), (360, 740)):
            dashboard.set_viewport_size({"width": width, "height": height})
            beyond = dashboard.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert beyond <= 0, f"{path} is {beyond} px wider than {width} px"


def test_charts_grow_with_the_screen(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(filled.url)
    dashboard.locator(".chart canvas").first.wait_for()
    areas = []
    for width, height in ((360, 740), (1280, 800), (2560, 1440)):
        dashboard.set_viewport_size({"width": width, "height": height})
        canvas = dashboard.locator(".chart canvas").first
        dashboard.wait_for_function(
            "() => { const chart = document.querySelector('.chart');"
            " return Math.abs(chart.querySelector('canvas').clientWidth - chart.clientWidth) < 2; }"
        )
        box = canvas.bounding_box()
        assert box is not None
        areas.append(box["width"] * box["height"])
    assert areas == sorted(areas)
    assert areas[2] > 1.5 * areas[1]


def test_dark_and_light_follow_the_system_and_the_choice(filled: TallyServer, browser: Browser) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    brightness = "Math.max(...getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number))"
    page.goto(filled.url)
    is_live(page)
    assert page.evaluate(brightness) < 60
    page.get_by_label("Colors").select_option("light")
    assert page.evaluate(brightness) > 200
    page.reload()
    is_live(page)
    assert page.evaluate(brightness) > 200, "the choice was not kept"
    page.get_by_label("Colors").select_option("auto")
    assert page.evaluate(brightness) < 60
    context.close()


def test_times_are_utc_or_local(filled: TallyServer, browser: Browser) -> None:
    context = browser.new_context(timezone_id="Asia/Kathmandu")  # + 5:45
    page = context.new_page()
    page.goto(f"{filled.url}/health")
    since = page.get_by_role("region", name="Counters", exact=True).locator("tbody td:nth-child(3)").first
    utc = since.inner_text()
    page.get_by_role("radio", name="Local").check()
    local = since.inner_text()
    minutes = {text: int(text[11:13]) * 60 + int(text[14:16]) for text in (utc, local)}
    assert (minutes[local] - minutes[utc]) % (24 * 60) == 5 * 60 + 45
    page.reload()
    expect(since).to_have_text(local)
    context.close()


def test_every_page_by_keyboard_alone(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(filled.url)
    is_live(dashboard)
    dashboard.keyboard.press("Tab")
    skip = dashboard.get_by_role("link", name="Skip to the numbers")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    dashboard.keyboard.press("Enter")
    expect(dashboard.locator("main")).to_be_focused()

    tab_to(dashboard, "Explore", back=True)
    dashboard.keyboard.press("Enter")
    expect(dashboard.get_by_role("heading", name="Explore")).to_be_visible()
    expect(dashboard.locator("main")).to_be_focused()
    tab_to(dashboard, "Show")
    dashboard.keyboard.press("ArrowDown")
    dashboard.wait_for_url("**show=rate*")
    tab_to(dashboard, "Lines, Stacked area, Bars")
    dashboard.keyboard.press("ArrowLeft")
    dashboard.wait_for_url("**chart=area*")
    tab_to(dashboard, "Chart of what was asked")
    dashboard.keyboard.press("End")
    expect(dashboard.locator(".tooltip")).to_be_visible()


FOCUSED = """() => {
    const element = document.activeElement;
    if (element.closest('.chart')) return 'Chart of what was asked';
    if (element.type === 'radio') {
        return [...element.closest('fieldset').querySelectorAll('label')].map(label => label.textContent).join(', ');
    }
    return (element.labels?.[0]?.textContent ?? element.textContent).trim();
}"""

OUTLINED = """() => {
    const element = document.activeElement;
    const shown = element.type === 'radio' ? element.nextElementSibling : element;
    const style = getComputedStyle(shown);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
}"""


def tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until the named control has the focus; each stop on the way must show that it has."""
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        found = page.evaluate(FOCUSED)
        if found != "" and page.evaluate("document.activeElement !== document.body"):
            assert page.evaluate(OUTLINED), f"the focus on {found[:60]!r} cannot be seen"
        if found == name:
            return
    raise AssertionError(f"{name!r} cannot be reached with the Tab key")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_shuts_out_a_screen_reader(filled: TallyServer, browser: Browser, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    found = {}
    for path in PAGES:
        page.goto(f"{filled.url}{path}")
        is_live(page)
        page.locator(".skeleton").first.wait_for(state="detached")
        found[path] = problems(page)
    assert found == {path: [] for path in PAGES}
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_shuts_out_a_screen_reader_before_the_first_event(server: TallyServer, browser: Browser, scheme: Any) -> None:
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(server.url)
    expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
    assert problems(page) == []
    context.close()


def problems(page: Page) -> list[str]:
    """Return what axe-core finds against WCAG 2.2 A and AA and good practice."""
    assert AXE.is_file(), f"{AXE} is not there; run: npm ci --prefix dashboard"
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
