"""Explore and Health treat what producers and definitions call things as text: it is shown, asked for and saved, never run."""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import now_text
from tests.e2e.hostile import COUNTS, HOSTILE, NAMES, send_hostile_events, shown
from tests.server import TallyServer
from tests.waiting import wait_until

# Fields and texts that a definition may name; each goes on from one of HOSTILE as far as the definition allows.
FIELDS = [*HOSTILE[:2], "'single' `back` &amp;", *HOSTILE[3:7], "long, \u202e" + "x" * 119]
SHOWN_FIELDS = [field.replace("\u202e", "\\u{202e}") for field in FIELDS]
WHERE = "event != '<img src=x onerror=alert(4)>' and `</script><script>alert(2)</script>` != 4 and `__proto__` != '&amp;<b>'"


@pytest.fixture
def hostile(server: TallyServer) -> TallyServer:
    """The server with events of all the hostile names."""
    send_hostile_events(server)
    return server


def nothing_was_made_of_it(page: Page) -> None:
    """Assert that no name became an element; the fixture `dashboard` sees what one would have run."""
    assert page.locator("img, main script, main b, iframe, main a[href^='javascript:']").count() == 0


def totals(page: Page) -> dict[str, str]:
    rows = page.get_by_role("table", name="Numbers by group").locator("tbody tr").all()
    return {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows}


def legend(page: Page) -> Locator:
    return page.get_by_role("list", name="Legend").locator("li:not(.legend-note)")


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def plain(name: Any) -> str:
    return name if isinstance(name, str) else json.dumps(name)


def filter_parameter(name: Any) -> tuple[str, str]:
    """Return what the address holds for a name: its text, where no other name reads the same, else its JSON."""
    if isinstance(name, str) and not is_json(name):
        return "group.event", name
    return "exact.event", json.dumps(name)


@pytest.mark.parametrize("chart", ["bars", "area", "line"])
def test_the_legend_the_chart_and_the_tables_show_them_as_text(hostile: TallyServer, dashboard: Page, chart: str) -> None:
    dashboard.goto(f"{hostile.url}/explore?top=50&compare=previous&chart={chart}")
    expect(legend(dashboard)).to_have_count(len(NAMES))
    assert [item.strip() for item in legend(dashboard).all_inner_texts()] == [shown(name) for name in COUNTS]
    assert totals(dashboard) == {shown(name): str(count) for name, count in COUNTS.items()}
    dashboard.get_by_role("button", name="event", exact=True).click()
    # By code points, in which JavaScript and Python agree on these.
    assert list(totals(dashboard)) == sorted(shown(name) for name in NAMES)
    dashboard.locator(".chart").hover()
    expect(dashboard.locator(".tooltip")).to_contain_text(HOSTILE[0])
    nothing_was_made_of_it(dashboard)

    dashboard.get_by_role("radio", name="Windows").check()
    heads = dashboard.get_by_role("table", name="Numbers by window").locator("thead th")
    expect(heads).to_have_count(1 + len(NAMES))
    assert {text.strip() for text in heads.all_inner_texts()[1:]} == {shown(name) for name in NAMES}
    nothing_was_made_of_it(dashboard)


def test_each_is_found_by_a_search_and_all_are_filtered_by_at_once(hostile: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{hostile.url}/explore?top=50")
    dashboard.get_by_role("button", name="Filter event").click()
    choices = dashboard.get_by_role("group", name="Values of event")
    labels = choices.locator("label")
    expect(labels).to_have_count(len(NAMES))
    assert sorted(labels.all_inner_texts()) == sorted(shown(name) for name in NAMES)
    for name in HOSTILE:
        dashboard.get_by_role("searchbox").fill(name)
        expect(labels).to_have_text([shown(name)])
        choices.get_by_role("checkbox").check()
    dashboard.keyboard.press("Escape")
    expected = {shown(name): str(COUNTS[name]) for name in HOSTILE}
    expect(legend(dashboard)).to_have_text(list(expected))
    assert totals(dashboard) == expected
    assert parse_qs(urlsplit(dashboard.url).query)["group.event"] == HOSTILE
    nothing_was_made_of_it(dashboard)

    dashboard.reload()
    chips = dashboard.locator(".chips li .value")
    expect(chips).to_have_text(list(expected))
    expect(legend(dashboard)).to_have_text(list(expected))
    dashboard.get_by_role("button", name=f"Remove the filter {HOSTILE[0]}", exact=True).click()
    expect(chips).to_have_text(list(expected)[1:])
    expect(legend(dashboard)).to_have_text(list(expected)[1:])
    dashboard.go_back()
    expect(chips).to_have_text(list(expected))
    expect(legend(dashboard)).to_have_text(list(expected))
    nothing_was_made_of_it(dashboard)


def test_the_address_brings_each_back(hostile: TallyServer, dashboard: Page) -> None:
    for name in NAMES:
        parameter, text = filter_parameter(name)
        query = urlencode({"counter": "events", parameter: text, "chart": "line"})
        dashboard.goto(f"{hostile.url}/explore?{query}")
        expect(legend(dashboard)).to_have_text([shown(name)])
        assert totals(dashboard) == {shown(name): str(COUNTS[name])}
        expect(dashboard.locator(".chips li")).to_have_count(1)
        # What the page writes is what it read: another choice keeps the filter.
        dashboard.get_by_role("radio", name="Bars").check()
        dashboard.wait_for_url(lambda url: "chart=" not in url)
        asked = parse_qs(urlsplit(dashboard.url).query, keep_blank_values=True)
        assert asked == {"counter": ["events"], parameter: [text]}
        nothing_was_made_of_it(dashboard)


def test_the_csv_file_holds_them_and_no_formula(hostile: TallyServer, dashboard: Page, tmp_path: Path) -> None:
    dashboard.goto(f"{hostile.url}/explore?top=50")
    expect(legend(dashboard)).to_have_count(len(NAMES))
    with dashboard.expect_download() as download:
        dashboard.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "events-1m.csv"
    download.value.save_as(tmp_path / "events.csv")
    text = (tmp_path / "events.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    found: Counter[str] = Counter()
    for row in rows:
        found[row["event"]] += int(row["count"])
    expected: Counter[str] = Counter()
    for name, count in COUNTS.items():  # in a file, the string 3 reads like the number
        expected["'=HYPERLINK(1)" if name == "=HYPERLINK(1)" else "NULL" if name is None else plain(name)] += count
    assert found == expected


def test_the_picture_is_drawn_with_them(hostile: TallyServer, dashboard: Page, tmp_path: Path) -> None:
    dashboard.goto(f"{hostile.url}/explore?top=50")
    expect(legend(dashboard)).to_have_count(len(NAMES))
    with dashboard.expect_download() as download:
        dashboard.get_by_role("button", name="PNG").click()
    assert download.value.suggested_filename == "events-1m.png"
    download.value.save_as(tmp_path / "events.png")
    # Of the browser, which alone can say that the whole picture can be read.
    width, height = dashboard.evaluate(
        """async bytes => {
            const picture = await createImageBitmap(new Blob([new Uint8Array(bytes)], { type: "image/png" }));
            return [picture.width, picture.height];
        }""",
        list((tmp_path / "events.png").read_bytes()),
    )
    chart = dashboard.locator(".chart canvas").bounding_box()
    assert chart is not None
    assert abs(width - (chart["width"] + 40)) <= 2, "a long name must not widen the picture"
    assert height > chart["height"] + 60
    nothing_was_made_of_it(dashboard)


def test_names_of_a_definition_are_text_too(tally_server: StartServer, dashboard: Page) -> None:
    def toml(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    measures = ["count", f"sum({FIELDS[1]})"]
    server = tally_server(f"""
name = "safe"
[stream]
event_time = "utc_timestamp"
[[counter]]
name = "named"
where = {toml(WHERE)}
group_by = {toml(FIELDS)}
windows = ["1m"]
measures = {toml(measures)}
""")
    values = {field: f"<b>{number}</b>" for number, field in enumerate(FIELDS)} | {FIELDS[0]: 2, FIELDS[1]: 3}
    server.send([{"event": "x", "utc_timestamp": now_text(), **values}])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 1, "the event to be counted")

    dashboard.goto(f"{server.url}/health")
    cells = dashboard.get_by_role("region", name="Counters", exact=True).locator("tbody td")
    expect(cells.nth(2)).to_have_text(", ".join(SHOWN_FIELDS))
    expect(cells.nth(3)).to_have_text(WHERE)
    expect(cells.nth(5)).to_have_text(", ".join(measures))
    nothing_was_made_of_it(dashboard)

    dashboard.goto(f"{server.url}/explore")
    expect(legend(dashboard)).to_have_text(" · ".join(str(values[field]) for field in FIELDS))
    dashboard.get_by_label("Measure", exact=True).select_option(measures[1])
    expect(dashboard.get_by_role("table", name="Numbers by group").locator("td").first).to_have_text("3")
    for field in SHOWN_FIELDS[1:-1]:
        dashboard.get_by_role("checkbox", name=field, exact=True).uncheck()
    expect(legend(dashboard)).to_have_text(f"2 · {values[FIELDS[-1]]}")
    dashboard.reload()  # a name with a comma comes back from the address, too
    expect(legend(dashboard)).to_have_text(f"2 · {values[FIELDS[-1]]}")
    expect(dashboard.get_by_role("button", name=f"Filter {SHOWN_FIELDS[-1]}")).to_be_visible()
    dashboard.get_by_role("checkbox", name=SHOWN_FIELDS[-1], exact=True).uncheck()
    expect(legend(dashboard)).to_have_text("2")
    dashboard.get_by_role("button", name=f"Filter {FIELDS[4]}").click()
    dashboard.get_by_role("group", name=f"Values of {FIELDS[4]}").get_by_role("checkbox", name="<b>4</b>").check()
    asked = {"counter": ["named"], "measure": [measures[1]], "by": [FIELDS[0]], f"group.{FIELDS[4]}": ["<b>4</b>"]}
    assert parse_qs(urlsplit(dashboard.url).query) == asked
    dashboard.reload()
    expect(dashboard.locator(".chips li .value")).to_have_text("<b>4</b>")
    expect(dashboard.get_by_role("table", name="Numbers by group").locator("td").first).to_have_text("3")
    nothing_was_made_of_it(dashboard)
