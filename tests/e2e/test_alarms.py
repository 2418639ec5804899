"""Alarms: what is in ALARM is seen from every page; people look into it, mute, acknowledge and test, and are told by mail."""

import contextlib
import email
import email.policy
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import at, events, is_live
from tests.e2e.hostile import HOSTILE, NAMES, send_hostile_events, shown
from tests.e2e.test_appearance import problems
from tests.peers import MailServer, mail_server
from tests.server import TallyServer
from tests.waiting import wait_until

STREAM = """
name = "web-analytics"

[stream]
event_time = "utc_timestamp"

[[counter]]
name = "events"
group_by = ["event"]
windows = ["10s", "1m"]

[[counter]]
name = "all"
windows = ["10s", "1m"]
"""

# Of each state one from the start: a window without data is a datapoint that breaches, none at all, or a rule.
ALARMS = (
    STREAM
    + """
[[alarm]]
name = "views-low"
description = "Open the site; if it works, <b>ask</b>."
counter = "events"
window = "10s"
group = { event = "page view" }
comparison = "<"
threshold = 5
evaluation_periods = 3
datapoints_to_alarm = 2
treat_missing_data = "breaching"

[[alarm]]
name = "clicks-high"
counter = "events"
window = "10s"
group = { event = "click" }
comparison = ">="
threshold = 5

[[alarm]]
name = "site-down"
when = "views-low and not clicks-high"

[[alarm]]
name = "both"
when = "views-low and clicks-high"
"""
)

EACH = """
[[alarm]]
name = "each"
counter = "events"
window = "10s"
group_by = "each"
comparison = ">"
threshold = 0
"""


def row(page: Page, name: str) -> Locator:
    return (
        page.get_by_role("list", name="Alarms", exact=True)
        .get_by_role("listitem")
        .filter(has=page.get_by_role("link", name=name))
    )


def names(page: Page) -> list[str]:
    return page.get_by_role("list", name="Alarms", exact=True).get_by_role("heading").all_inner_texts()


def states(server: TallyServer) -> dict[str, str]:
    return {alarm["name"]: alarm["state"] for alarm in server.get("/v1/alarms")["alarms"]}


@pytest.fixture
def alarmed(tally_server: StartServer) -> TallyServer:
    """A server of ALARMS, two of which are in ALARM, since nothing has come."""
    server = tally_server(ALARMS)
    wait_until(lambda: states(server)["site-down"] == "ALARM", "the first evaluation")
    return server


# The list.


def test_without_alarms_it_says_how_to_have_one(tally_server: StartServer, dashboard: Page) -> None:
    server = tally_server(STREAM)
    dashboard.goto(f"{server.url}/alarms")
    expect(dashboard.get_by_text("No alarm is defined")).to_be_visible()
    expect(dashboard.get_by_text("Nobody is told")).to_be_visible()
    example = dashboard.get_by_label("An alarm, as the definition has it").inner_text()
    with_it = tally_server(f"{STREAM}\n{example}")  # what the page shows can be used as it is
    assert list(states(with_it)) == ["too-few"]


def test_the_list_says_what_is_in_alarm_and_finds_alarms(alarmed: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{alarmed.url}/alarms")
    expect(row(dashboard, "views-low")).to_contain_text("In alarm")
    assert sorted(names(dashboard)[:2]) == ["site-down", "views-low"]
    assert names(dashboard)[2:] == ["clicks-high", "both"]
    expect(row(dashboard, "views-low")).to_contain_text("count < 5 for 2 of 3 windows of 10s")
    expect(row(dashboard, "views-low")).to_contain_text("page view")
    expect(row(dashboard, "views-low")).to_contain_text("no datapoint in the last full window")
    expect(row(dashboard, "clicks-high")).to_contain_text("Insufficient data")
    expect(row(dashboard, "both")).to_contain_text("OK")
    assert dashboard.locator("main b").count() == 0

    dashboard.get_by_role("radio", name="In alarm 2").check()
    expect(row(dashboard, "both")).to_have_count(0)
    dashboard.get_by_role("searchbox", name="Search alarms").fill("PAGE view")
    expect(row(dashboard, "site-down")).to_have_count(0)
    assert names(dashboard) == ["views-low"]
    dashboard.reload()
    expect(row(dashboard, "views-low")).to_be_visible()
    assert names(dashboard) == ["views-low"]
    dashboard.get_by_role("searchbox", name="Search alarms").fill("nothing of that")
    expect(dashboard.get_by_text("No alarm like that")).to_be_visible()


def test_title_icon_and_badge_say_it_on_every_page(alarmed: TallyServer, dashboard: Page) -> None:
    icon = dashboard.locator("link[rel=icon]")
    for path, title in (("/", "Overview"), ("/health", "Health"), ("/alarms?name=views-low", "views-low · Alarms")):
        dashboard.goto(f"{alarmed.url}{path}")
        expect(dashboard).to_have_title(f"(2) {title} · web-analytics · Tallystream")
        expect(dashboard.get_by_role("link", name="Alarms 2 in alarm")).to_be_visible()
        expect(icon).to_have_attribute("href", re.compile("icon-alarm"))
        image = dashboard.request.get(dashboard.evaluate("document.querySelector('link[rel=icon]').href"))
        assert image.headers["content-type"].startswith("image/svg+xml")

    alarmed.send(events("page view", 50))
    since_ms = alarmed.get("/v1/health")["now"]
    alarmed.send([{"event": "page view", "utc_timestamp": at(since_ms - 10_000 * back)} for back in range(6) for _ in range(5)])
    news = dashboard.get_by_role("status", name="Alarms")
    expect(news).to_contain_text("views-low: OK.", timeout=15_000)
    expect(dashboard).to_have_title("views-low · Alarms · web-analytics · Tallystream")
    expect(icon).to_have_attribute("href", re.compile("icon-(?!alarm)"))
    expect(dashboard.locator("header .badge")).to_have_count(0)


def test_a_page_in_the_background_still_says_it_in_its_title(tally_server: StartServer, dashboard: Page) -> None:
    server = tally_server(ALARMS.replace('treat_missing_data = "breaching"', ""))
    dashboard.clock.install()
    dashboard.goto(server.url)
    is_live(dashboard)
    expect(dashboard).to_have_title("Overview · web-analytics · Tallystream")
    dashboard.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    expect(dashboard.locator("header .live")).to_have_text("Paused")
    server.send(events("click", 9))
    wait_until(lambda: states(server)["clicks-high"] == "ALARM", "the alarm")
    dashboard.clock.fast_forward(16_000)
    expect(dashboard).to_have_title("(1) Overview · web-analytics · Tallystream")


# One alarm.


def test_an_alarm_has_its_chart_its_history_and_its_configuration(alarmed: TallyServer, dashboard: Page) -> None:
    now = alarmed.get("/v1/health")["now"]
    alarmed.send([{"event": "page view", "utc_timestamp": at(now - 120_000)} for _ in range(7)])
    dashboard.goto(f"{alarmed.url}/alarms")
    row(dashboard, "views-low").get_by_role("link").click()
    expect(dashboard).to_have_url(f"{alarmed.url}/alarms?name=views-low")
    expect(dashboard.get_by_role("heading", name="views-low", exact=True)).to_be_visible()
    expect(dashboard.get_by_text("Open the site; if it works, <b>ask</b>.")).to_be_visible()
    chart = dashboard.get_by_role("region", name="Chart").locator(".chart")
    expect(chart).to_have_accessible_name(
        re.compile(r"page view: highest 7.*Alarm views-low: once in ALARM; breaches below 5\.")
    )
    chart.focus()
    dashboard.keyboard.press("Home")
    expect(dashboard.locator(".tooltip")).to_contain_text("below 5")

    history = dashboard.get_by_role("region", name="History")
    item = history.get_by_role("listitem").filter(has_text="In alarm")
    expect(item).to_contain_text("3 missing ones taken as breaching")
    item.get_by_text("3 datapoints decided it").click()
    cells = item.get_by_role("row").nth(1)
    expect(cells).to_contain_text("missing")
    expect(cells).to_contain_text("filled in")
    facts = dashboard.get_by_role("region", name="Configuration")
    for text in ("evaluation_periods", "datapoints_to_alarm", "counts as breaching", "nobody"):
        expect(facts).to_contain_text(text)
    assert dashboard.locator("main b").count() == 0

    dashboard.get_by_role("button", name="Range: Last 60 windows").click()
    dashboard.get_by_role("button", name="Last 15 minutes").click()
    expect(dashboard).to_have_url(re.compile("range=15m"))
    dashboard.go_back()
    dashboard.get_by_role("link", name="Alarms", exact=True).last.click()
    expect(row(dashboard, "views-low")).to_be_visible()


def test_a_rule_shows_when_it_held_and_leads_to_what_it_names(alarmed: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{alarmed.url}/alarms?name=site-down")
    expect(dashboard.get_by_role("img", name="site-down: once in alarm")).to_be_visible()
    expect(dashboard.get_by_role("region", name="Backtest")).to_contain_text("Test the alarms that it names")
    dashboard.get_by_role("region", name="Configuration").get_by_role("link", name="clicks-high").click()
    expect(dashboard.get_by_role("heading", name="clicks-high", exact=True)).to_be_visible()


def test_an_alarm_that_is_not_there_any_more(alarmed: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{alarmed.url}/alarms?name={'%3Cimg%20src=x%20onerror=alert(1)%3E'}")
    expect(dashboard.get_by_text("There is no such alarm")).to_be_visible()
    expect(dashboard.get_by_text("Nothing has happened yet")).to_be_visible()
    assert dashboard.locator("img").count() == 0
    dashboard.get_by_role("link", name="To all alarms").click()
    expect(row(dashboard, "views-low")).to_be_visible()


def test_names_of_groups_are_text(tally_server: StartServer, dashboard: Page) -> None:
    server = tally_server(STREAM + EACH)
    send_hostile_events(server)
    wait_until(lambda: server.get("/v1/alarms")["in_alarm"] == 1, "the alarm")
    wait_until(lambda: server.get("/v1/alarms/each")["groups"] == len(NAMES), "every group")
    dashboard.goto(f"{server.url}/alarms?name=each")
    table = dashboard.get_by_role("table", name="States of the groups")
    dashboard.get_by_role("button", name=f"Show all {len(NAMES)} rows").click()
    found = [text.strip() for text in table.locator("tbody th").all_inner_texts()]
    assert sorted(found) == sorted(shown(name) for name in NAMES)
    for name in (HOSTILE[0], HOSTILE[1], "NULL", None):
        dashboard.goto(f"{server.url}/alarms?name=each")
        expect(table).to_be_visible()
        dashboard.get_by_role("button", name=f"Show all {len(NAMES)} rows").click()
        table.get_by_role("link", name=shown(name), exact=True).click()
        expect(dashboard.get_by_role("region", name="Chart").locator(".card-note")).to_have_text(
            re.compile(f"{re.escape(shown(name))}$")
        )
        expect(dashboard.get_by_role("region", name="Chart").locator(".legend li").first).to_have_text(shown(name))
    for path in ("/alarms", "/explore?chart=line&top=50", "/"):
        dashboard.goto(f"{server.url}{path}")
        expect(dashboard.get_by_text("each").first).to_be_visible()
        dashboard.locator(".skeleton").first.wait_for(state="detached")
        assert dashboard.locator("img, main script, main b, iframe").count() == 0


# What people do.


def test_somebody_acknowledges(alarmed: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{alarmed.url}/alarms?name=views-low")
    dashboard.get_by_role("button", name="Acknowledge…").click()
    dialog = dashboard.get_by_role("dialog", name="Acknowledge views-low")
    dialog.get_by_label("Your name").fill("Ann <i>")
    dialog.get_by_label("Note").fill("restarting <b>it</b>")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(dialog).to_have_count(0)
    expect(dashboard.locator(".note-acknowledged")).to_contain_text("by Ann <i>: restarting <b>it</b>")
    expect(dashboard.get_by_role("region", name="History")).to_contain_text("Ann <i>")
    expect(dashboard.get_by_role("button", name="Acknowledge…")).to_be_focused()

    dashboard.goto(f"{alarmed.url}/alarms")
    expect(row(dashboard, "views-low")).to_contain_text("Acknowledged by Ann <i>")
    assert names(dashboard)[:2] == ["site-down", "views-low"], "what nobody has seen to comes first"
    dashboard.get_by_role("button", name="Mute all…").click()
    expect(dashboard.get_by_label("Your name")).to_have_value("Ann <i>")


def test_somebody_mutes_and_unmutes(alarmed: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{alarmed.url}/alarms?name=views-low")
    button = dashboard.get_by_role("button", name="Mute…")
    button.click()
    dialog = dashboard.get_by_role("dialog", name="Mute views-low")
    expect(dialog).to_be_visible()
    dashboard.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    assert alarmed.get("/v1/alarms/mutes")["mutes"] == []

    button.click()
    dialog.get_by_label("For").select_option("8 hours")
    dialog.get_by_label("Note").fill("deployment")
    dialog.get_by_role("button", name="Mute", exact=True).click()
    expect(dashboard.locator(".note-muted")).to_contain_text("deployment")
    (mute,) = alarmed.get("/v1/alarms/mutes")["mutes"]
    assert (mute["alarms"], mute["until"] - mute["from"]) == (["views-low"], 8 * 3_600_000)
    dashboard.get_by_role("button", name="Unmute views-low").click()
    expect(dashboard.locator(".note-muted")).to_have_count(0)
    assert alarmed.get("/v1/alarms/mutes")["mutes"] == []


def test_all_are_muted_until_a_time(alarmed: TallyServer, page: Page) -> None:
    page.goto(f"{alarmed.url}/alarms")
    page.get_by_role("button", name="Mute all…").click()
    dialog = page.get_by_role("dialog", name="Mute all alarms")
    dialog.get_by_label("For").select_option("until a time")
    dialog.get_by_label("Until (UTC)").fill("2001-01-01T00:00")
    dialog.get_by_role("button", name="Mute", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("yet to come")
    tomorrow = time.strftime("%Y-%m-%dT12:00", time.gmtime(time.time() + 86_400))
    dialog.get_by_label("Until (UTC)").fill(tomorrow)
    dialog.get_by_role("button", name="Mute", exact=True).click()
    mutes = page.get_by_role("region", name="Mutes")
    expect(mutes).to_contain_text(f"All alarms until {tomorrow.replace('T', ' ')}")
    expect(row(page, "both")).to_contain_text("Muted until")
    mutes.get_by_role("button", name="Unmute all alarms").click()
    expect(mutes).to_have_count(0)
    expect(row(page, "both")).not_to_contain_text("Muted")


def test_changing_something_takes_the_write_token(tally_server: StartServer, page: Page) -> None:
    server = tally_server(ALARMS, environment={"TALLY_WRITE_TOKEN": "write-token-of-the-test"})
    page.goto(f"{server.url}/alarms?name=views-low")
    page.get_by_role("button", name="Mute…").click()
    mute = page.get_by_role("dialog").get_by_role("button", name="Mute", exact=True)
    mute.click()
    token = page.get_by_label("Write token")
    expect(token).to_be_focused()
    token.fill("wrong")
    mute.click()
    expect(page.get_by_role("alert")).to_contain_text("token")
    token.fill("write-token-of-the-test")
    mute.click()
    expect(page.locator(".note-muted")).to_be_visible()

    backtest = page.get_by_role("region", name="Backtest")
    backtest.get_by_role("button", name="Test").click()
    backtest.get_by_label("Write token").fill("write-token-of-the-test")
    backtest.get_by_role("button", name="Test").click()
    expect(backtest).to_contain_text("would have fired")
    assert "write-token" not in page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")


def test_what_would_have_happened(alarmed: TallyServer, page: Page) -> None:
    now = alarmed.get("/v1/health")["now"] // 10_000 * 10_000
    alarmed.send(
        [{"event": "click", "utc_timestamp": at(now - minutes * 60_000)} for minutes in (10, 20, 30) for _ in range(minutes)]
    )
    wait_until(lambda: alarmed.get("/v1/ledger")["counted"] == 60, "the events to be counted")
    page.goto(f"{alarmed.url}/alarms?name=clicks-high")
    backtest = page.get_by_role("region", name="Backtest")
    backtest.get_by_label("Over").select_option("last hour")
    backtest.get_by_role("button", name="Test").click()
    figures = backtest.locator(".figure")
    expect(figures.first).to_have_text("3×")
    rows = backtest.get_by_role("table", name="Episodes").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("(10 at")
    expect(rows.last).to_contain_text("(30 at")
    expect(backtest.locator(".chart")).to_have_accessible_name(re.compile("Alarm tested: 3 times in ALARM; breaches 5 or more"))

    backtest.get_by_label("threshold", exact=True).fill("15")
    backtest.get_by_role("button", name="Test").click()
    expect(figures.first).to_have_text("2×")
    expect(backtest).to_contain_text("with threshold 15")
    expect(backtest.locator(".chart")).to_have_accessible_name(re.compile("2 times in ALARM; breaches 15 or more"))
    backtest.get_by_label("threshold", exact=True).fill("31")
    backtest.get_by_role("button", name="Test").click()
    expect(backtest).to_contain_text("It would not have fired")

    backtest.get_by_label("clear_threshold").fill("100")
    backtest.get_by_role("button", name="Test").click()
    expect(backtest.get_by_role("alert")).to_contain_text("clear_threshold is 100")
    backtest.get_by_role("button", name="As defined").click()
    expect(backtest.get_by_label("threshold", exact=True)).to_have_value("5")


# Alarms on other charts.


def watched(page: Page | Locator) -> Locator:
    return page.get_by_role("list", name="Alarms on this chart").get_by_role("link")


RED_PIXELS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) count += data[at] > 180 && data[at + 1] < 60 && data[at + 2] < 60;
    return count;
}"""


def test_overview_and_explore_show_the_alarms_on_what_they_show(tally_server: StartServer, dashboard: Page) -> None:
    alarm = "[[alarm]]\nname = 'all-high'\ncounter = 'all'\nwindow = '10s'\ncomparison = '>='\nthreshold = 5\n"
    server = tally_server(ALARMS + alarm)
    server.send(events("click", 6))
    wait_until(lambda: states(server)["all-high"] == "ALARM", "the alarm")

    dashboard.goto(server.url)
    card = dashboard.get_by_role("region", name="all", exact=True)
    expect(card.locator(".chart")).to_have_accessible_name(re.compile("Alarm all-high: once in ALARM; breaches 5 or more"))
    assert card.locator("canvas").evaluate(RED_PIXELS) > 100
    # Of several groups upon each other, what is seen is the sum: there the bound of one of them would mislead.
    card = dashboard.get_by_role("region", name="events", exact=True)
    expect(watched(card)).to_have_text(["In alarmclicks-high"])
    expect(card.locator(".chart")).to_have_accessible_name(
        re.compile(r"Alarm clicks-high: once in ALARM; breaches 5 or more\.")
    )
    server.send(events("page view", 1))
    expect(card.locator(".chart")).to_have_accessible_name(re.compile(r"Alarm clicks-high: once in ALARM\."))
    watched(card).filter(has_text="clicks-high").click()
    expect(dashboard.get_by_role("heading", name="clicks-high", exact=True)).to_be_visible()

    chart = dashboard.locator(".explore-chart .chart")
    dashboard.goto(f"{server.url}/explore?counter=events&chart=line")
    expect(chart).to_have_accessible_name(re.compile(r"clicks-high: once in ALARM; breaches 5 or more\."))
    expect(watched(dashboard)).to_have_count(2)
    dashboard.goto(f"{server.url}/explore?counter=events&group.event=click&by=")
    expect(watched(dashboard)).to_have_text(["In alarmclicks-high"])
    expect(chart).to_have_accessible_name(re.compile("breaches 5 or more"))
    # In other windows the threshold means nothing; that it was in ALARM then is as true.
    dashboard.get_by_label("Window", exact=True).select_option("1m")
    expect(chart).to_have_accessible_name(re.compile(r"clicks-high: once in ALARM\."))
    dashboard.get_by_label("Show", exact=True).select_option("Per second")
    expect(watched(dashboard)).to_have_count(0)


# What can go wrong.


def test_what_is_not_delivered_is_shown(tally_server: StartServer, dashboard: Page) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    # Nobody listens on the port now.
    server = tally_server(mailing(port))
    server.send(events("page view", 5))
    dashboard.goto(f"{server.url}/alarms")
    notifications = dashboard.get_by_role("region", name="Notifications")
    expect(notifications).to_contain_text("Not delivered", timeout=20_000)
    expect(notifications).to_contain_text("✗ 1 waiting")
    expect(notifications).to_contain_text("is tried again")
    expect(notifications).to_contain_text("tally notify test support")


def test_an_error_says_so_and_can_be_tried_again(alarmed: TallyServer, page: Page) -> None:
    page.route("**/v1/live", lambda route: None)  # never answered: no news mends the page before the button is pressed
    page.route(
        "**/v1/alarms",
        lambda route: route.fulfill(status=503, json={"error": "storage", "message": "alarms.db cannot be read"}),
    )
    page.goto(f"{alarmed.url}/alarms")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("alarms.db cannot be read")
    page.unroute("**/v1/alarms")
    alert.get_by_role("button", name="Try again").click()
    expect(row(page, "views-low")).to_be_visible()
    expect(alert).to_have_count(0)


def test_it_asks_to_sign_in(tally_server: StartServer, page: Page) -> None:
    server = tally_server(ALARMS, environment={"TALLY_READ_TOKEN": "read-token-of-the-test"})
    page.goto(f"{server.url}/alarms")
    page.get_by_label("Read token").fill("read-token-of-the-test")
    page.keyboard.press("Enter")
    expect(row(page, "views-low")).to_contain_text("In alarm")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(tally_server: StartServer, browser: Browser, scheme: str) -> None:
    server = tally_server(ALARMS + EACH)
    long = ["an-unbroken-name-" * 12, "日本語のとても長い名前" * 9]
    now = server.get("/v1/health")["now"]
    for name in ("click", "page view", *long):
        server.send([*events(name, 6), {"event": name, "utc_timestamp": at(now - 60_000)}])
    server.client.post("/v1/alarms/mutes", json={"alarms": [], "for": "2h", "by": "Ann", "note": "z" * 300})
    wait_until(lambda: states(server)["each"] == "ALARM", "the alarm")
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    page = context.new_page()
    found = {}
    wide = {}
    for path in ("/alarms", "/alarms?name=views-low", "/alarms?name=each", "/alarms?name=site-down", "/explore?chart=line"):
        page.goto(f"{server.url}{path}")
        is_live(page)
        expect(page.locator(".skeleton")).to_have_count(0)
        if path.endswith("each"):
            page.get_by_role("button", name="Test").click()
            page.get_by_role("table", name="Episodes").wait_for()
        found[path] = problems(page)
        for width in (2560, 768, 360):
            page.set_viewport_size({"width": width, "height": 900})
            wide[path, width] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Alarms").click()
    page.get_by_role("button", name="Mute all…").click()
    page.get_by_role("dialog").wait_for()
    found["dialog"] = problems(page)
    assert found == {place: [] for place in found}
    assert {place: beyond for place, beyond in wide.items() if beyond > 0} == {}
    context.close()


# The blog's walk-through.


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as other:
        # Playwright's event loop runs in this thread, which can start no other.
        yield other.submit(stack.enter_context, mail_server()).result()


def mailing(port: int) -> str:
    return f"""{STREAM}
[[alarm]]
name = "page-views"
description = "Five page views in a window."
counter = "events"
window = "10s"
group = {{ event = "page view" }}
comparison = ">="
threshold = 5
treat_missing_data = "notBreaching"
notify = ["support"]

[[notify]]
name = "support"
type = "email"
to = ["support@example.com"]
from = "tally@example.com"
host = "127.0.0.1"
port = {port}
tls = "none"
group_wait = "0s"
"""


def subjects(server: MailServer) -> list[str]:
    mails = [email.message_from_bytes(envelope.content, policy=email.policy.default) for envelope in server.box.mails]  # type: ignore[arg-type]
    return [str(message["subject"]) for message in mails]


def test_from_page_views_to_an_alarm_a_mail_and_back(tally_server: StartServer, dashboard: Page, mail: MailServer) -> None:
    server = tally_server(mailing(mail.port))
    dashboard.goto(f"{server.url}/alarms?name=page-views")
    is_live(dashboard)
    standing = dashboard.get_by_label("State", exact=True)
    expect(standing).to_contain_text("OK")

    # Five in the newest but one of the windows that are over: it is looked at for another 10 to 20 s.
    now = server.get("/v1/health")["now"]
    server.send([{"event": "page view", "utc_timestamp": at(now // 10_000 * 10_000 - 20_000 + number)} for number in range(5)])
    expect(standing).to_contain_text("In alarm")
    expect(dashboard).to_have_title("(1) page-views · Alarms · web-analytics · Tallystream")
    wait_until(lambda: len(mail.box.mails) == 1, "the mail")
    assert "ALARM" in subjects(mail)[0] and "page-views" in subjects(mail)[0]
    history = dashboard.get_by_role("region", name="History").get_by_role("listitem")
    expect(history.filter(has_text="In alarm")).to_contain_text("the last datapoint was >= 5 (5 at")
    expect(history.filter(has_text="Told support").first).to_be_visible(timeout=10_000)

    # No more traffic.
    expect(standing).to_contain_text("OK", timeout=30_000)
    expect(dashboard).to_have_title("page-views · Alarms · web-analytics · Tallystream")
    wait_until(lambda: len(mail.box.mails) == 2, "the second mail")
    assert "OK" in subjects(mail)[1]
    expect(history.filter(has_text="Told support")).to_have_count(2, timeout=10_000)
    chart = dashboard.get_by_role("region", name="Chart").locator(".chart")
    expect(chart).to_have_accessible_name(re.compile(r"page view: highest 5, .*once in ALARM; breaches 5 or more"))
