"""Health: the ledger adds up before everybody's eyes."""

from playwright.sync_api import Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import DEFINITION, events, is_live
from tests.server import TallyServer
from tests.waiting import wait_until


def terms(page: Page) -> dict[str, int]:
    return {
        term.locator("dt").inner_text(): int(term.locator("dd.figure").inner_text().replace(",", ""))
        for term in page.locator(".equation .term").all()
    }


def test_the_ledger_is_an_equation_that_adds_up(tally_server: StartServer, dashboard: Page) -> None:
    server = tally_server(DEFINITION.replace('name = "events"', 'name = "events"\nwhere = "event != \'ping\'"'))
    once = events("click", 1, id="the same")
    old = {"event": "click", "utc_timestamp": "2001-01-01T00:00:00Z"}
    server.send([*events("click", 5), *once, *once, *events("ping", 2), old, {"event": "no time"}])
    expected = {"received": 11, "counted": 6, "unmatched": 2, "late": 1, "rejected": 1, "duplicate": 1}
    wait_until(lambda: server.get("/v1/ledger") == expected, "the events to be judged")
    dashboard.goto(f"{server.url}/health")
    expect(dashboard.get_by_text("✓ Every event is accounted for")).to_be_visible()
    assert terms(dashboard) == expected
    is_live(dashboard)
    server.send(events("click", 4))
    expect(dashboard.locator(".equation .figure").first).to_have_text("15")


def test_names_shards_disk_version_and_generations(tally_server: StartServer, dashboard: Page) -> None:
    first = tally_server(DEFINITION)
    first.send(events("click", 3))
    wait_until(lambda: first.get("/v1/ledger")["counted"] == 3, "the events to be counted")
    first.stop()
    second = tally_server(DEFINITION.replace('group_by = ["event"]', 'group_by = ["event", "page"]'), data=first.data)
    dashboard.goto(f"{second.url}/health")
    health = second.get("/v1/health")
    expect(dashboard.locator(".page-head")).to_contain_text(f"Tallystream {health['version']}")
    shards = dashboard.get_by_role("region", name="Shards").locator("tbody tr")
    expect(shards).to_have_count(len(health["shards"]))
    stored = [int(row.locator("td").first.inner_text()) for row in shards.all()]
    assert stored == [shard["next_sequence"] for shard in health["shards"]]
    expect(dashboard.get_by_role("region", name="Disk")).to_contain_text("KiB")
    counters = dashboard.get_by_role("region", name="Counters", exact=True)
    rows = counters.locator("tbody tr").all()
    generations = {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows}
    assert generations == {"events": "2", "donations": "1"}


def test_throughput_shows_what_just_arrived(server: TallyServer, dashboard: Page) -> None:
    server.send(events("click", 12))
    dashboard.goto(f"{server.url}/health")
    chart = dashboard.get_by_role("region", name="Throughput").locator(".chart")
    chart.focus()
    dashboard.keyboard.press("End")
    tooltip = dashboard.locator(".tooltip")
    tooltip.wait_for()
    if "12" not in tooltip.inner_text():  # the minute ended just now
        dashboard.keyboard.press("ArrowLeft")
    expect(tooltip).to_contain_text("12")
