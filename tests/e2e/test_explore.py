"""Explore: every choice is in the address, and every number is the API's."""

import csv
import io
import struct
import zlib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import at, events, is_live
from tests.server import TallyServer
from tests.waiting import wait_until


@pytest.fixture
def filled(server: TallyServer) -> TallyServer:
    """The server with donations of three countries in the last minutes."""
    minute = server.get("/v1/health")["now"] // 60_000 * 60_000
    sent = []
    for number in range(90):
        country = ["GB", "DE", None][number % 3]
        sent.append({
            "event": "donation", "utc_timestamp": at(minute - (1 + number % 30) * 60_000), "country": country,
            "channel": "web" if number % 2 else "app", "amount": number / 10,
        })  # fmt: skip
    server.send([*sent, *events("page view", 7)])
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 97, "the events to be counted")
    return server


def parameters(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def table_rows(page: Page) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("\t")] for row in page.locator("table.data tbody tr").all_inner_texts()]


def test_choices_go_into_the_address_and_come_back(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{filled.url}/explore")
    dashboard.get_by_label("Counter", exact=True).select_option("donations")
    dashboard.get_by_label("Measure", exact=True).select_option("sum(amount)")
    dashboard.get_by_role("button", name="Range: Last 60 windows").click()
    dashboard.get_by_role("button", name="Last 6 hours").click()
    dashboard.get_by_label("Window", exact=True).select_option("5m")
    dashboard.get_by_label("Each point covers").select_option("15m")
    dashboard.get_by_label("Show", exact=True).select_option("rate")
    dashboard.get_by_role("checkbox", name="channel").uncheck()
    dashboard.get_by_label("Groups shown").select_option("3")
    dashboard.get_by_label("Compare with the period before").check()
    dashboard.get_by_role("radio", name="Lines").check()
    dashboard.get_by_role("radio", name="Windows").check()
    chosen = {
        "counter": ["donations"], "measure": ["sum(amount)"], "range": ["6h"], "window": ["5m"], "over": ["15m"],
        "show": ["rate"], "by": ["country"], "top": ["3"], "compare": ["previous"], "chart": ["line"], "table": ["windows"],
    }  # fmt: skip
    assert parameters(dashboard) == chosen
    heading = dashboard.get_by_role("heading", level=2).first
    said = heading.inner_text()
    assert said == "sum(amount) of donations per 5m, over the last 15m, per second, by country"

    dashboard.reload()
    expect(heading).to_have_text(said)
    expect(dashboard.get_by_label("Show", exact=True)).to_have_value("rate")
    assert parameters(dashboard) == chosen

    dashboard.go_back()
    expect(dashboard.get_by_role("radio", name="Groups")).to_be_checked()
    dashboard.go_forward()
    expect(dashboard.get_by_role("radio", name="Windows")).to_be_checked()


def test_the_table_is_the_api_s_and_sorts(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations&measure=sum(amount)&by=country&range=1h")
    expect(dashboard.locator("table.data tbody tr")).to_have_count(3)
    answer = filled.get("/v1/query", counter="donations", window="1m", measure="sum(amount)", by="country")
    expected = {series["group"]["country"] or "NULL": f"{series['total']:g}" for series in answer["series"]}
    assert {row[0]: row[1] for row in table_rows(dashboard)} == expected
    assert [row[0] for row in table_rows(dashboard)] == [series["group"]["country"] or "NULL" for series in answer["series"]]

    dashboard.get_by_role("button", name="country", exact=True).click()
    assert [row[0] for row in table_rows(dashboard)] == ["DE", "GB", "NULL"]
    expect(dashboard.get_by_role("columnheader", name="country")).to_have_attribute("aria-sort", "ascending")
    total = dashboard.get_by_role("button", name="sum(amount)", exact=True)
    total.focus()
    dashboard.keyboard.press("Enter")
    assert [float(row[1]) for row in table_rows(dashboard)] == sorted(map(float, expected.values()), reverse=True)


def test_the_table_of_windows_is_the_api_s(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations&by=&table=windows&range=1h")
    expect(dashboard.locator("table.data tbody tr")).to_have_count(60)
    [series] = filled.get("/v1/query", counter="donations", window="1m", by="", fill="zero")["series"]
    shown = [int(row[1]) for row in table_rows(dashboard)]
    assert sum(shown) == 90
    # A new minute may begin between the two: the newest windows are the same but for a shift.
    values = [value for _, value in reversed(series["points"])]
    assert shown[:55] in (values[:55], values[1:56])
    assert "still filling" in table_rows(dashboard)[0][0]


def test_filters_by_values_found_with_a_search(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations")
    expect(dashboard.locator("table.data tbody tr")).to_have_count(6)
    dashboard.get_by_role("button", name="Filter country").click()
    values = dashboard.get_by_role("group", name="Values of country")
    expect(values.get_by_role("checkbox")).to_have_count(3)
    dashboard.get_by_role("searchbox").fill("g")
    expect(values.get_by_role("checkbox")).to_have_count(1)
    values.get_by_role("checkbox", name="GB").check()
    expect(dashboard.locator("table.data tbody tr")).to_have_count(2)
    dashboard.get_by_role("searchbox").fill("")
    values.get_by_role("checkbox", name="NULL").check()
    expect(dashboard.locator("table.data tbody tr")).to_have_count(4)
    assert (parameters(dashboard)["group.country"], parameters(dashboard)["exact.country"]) == (["GB"], ["null"])
    dashboard.keyboard.press("Escape")
    expect(values).to_have_count(0)
    dashboard.get_by_role("button", name="Remove the filter GB").click()
    expect(dashboard.locator("table.data tbody tr")).to_have_count(2)
    assert "group.country" not in parameters(dashboard)
    assert parameters(dashboard)["exact.country"] == ["null"]


def test_custom_range_by_form_and_by_dragging(filled: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations")
    dashboard.get_by_role("button", name="Range: ").click()
    dashboard.get_by_label("From").fill("2026-03-04T10:15:00")
    dashboard.get_by_label("To", exact=True).fill("2026-03-04T09:15:00")
    dashboard.get_by_role("button", name="Apply").click()
    expect(dashboard.get_by_role("alert")).to_have_text("From must be a time before To.")
    dashboard.get_by_label("To", exact=True).fill("2026-03-04T11:15:00")
    dashboard.get_by_role("button", name="Apply").click()
    assert parameters(dashboard)["range"] == ["2026-03-04T10:15Z/2026-03-04T11:15Z"]
    expect(dashboard.get_by_text("Nothing in this range")).to_be_visible()

    dashboard.go_back()
    box = dashboard.locator(".u-over").bounding_box()
    assert box is not None
    dashboard.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 50)
    dashboard.mouse.down()
    dashboard.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 50, steps=5)
    dashboard.mouse.up()
    dashboard.wait_for_url("**range=*")
    expect(dashboard.locator(".chart")).to_be_visible()
    start, end = (part.rstrip("Z") for part in parameters(dashboard)["range"][0].split("/"))
    assert start < end


def test_csv_holds_what_the_table_shows(filled: TallyServer, dashboard: Page, tmp_path: Path) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations&measure=sum(amount)&by=country")
    expect(dashboard.locator("table.data tbody tr")).to_have_count(3)
    with dashboard.expect_download() as download:
        dashboard.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "donations-1m.csv"
    download.value.save_as(tmp_path / "donations.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "donations.csv").read_text("utf-8-sig"))))
    head, body = rows[0], rows[1:]
    assert "country" in head
    country, value = head.index("country"), len(head) - 1
    total = sum(float(row[value]) for row in body if row[country] == "GB")
    shown = {row[0]: row[1] for row in table_rows(dashboard)}
    assert f"{total:g}" == shown["GB"]


def test_png_is_a_picture_of_the_chart(filled: TallyServer, dashboard: Page, tmp_path: Path) -> None:
    dashboard.goto(f"{filled.url}/explore?counter=donations&by=country")
    expect(dashboard.locator("table.data tbody tr")).to_have_count(3)
    with dashboard.expect_download() as download:
        dashboard.get_by_role("button", name="PNG").click()
    assert download.value.suggested_filename == "donations-1m.png"
    download.value.save_as(tmp_path / "chart.png")
    data = (tmp_path / "chart.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > 400
    assert height > 250
    assert _has_color(data, 0x37, 0x59, 0xE8), "the first group's color is not in the picture"


def _has_color(png: bytes, red: int, green: int, blue: int) -> bool:
    """Return whether a PNG of 8-bit RGB(A), as Chromium writes it, holds a run of pixels of a color."""
    width, _, _, kind = struct.unpack(">IIBB", png[16:26])
    size = {2: 3, 6: 4}[kind]
    packed, position = b"", 8
    while position < len(png):
        length, name = struct.unpack(">I4s", png[position : position + 8])
        if name == b"IDAT":
            packed += png[position + 8 : position + 8 + length]
        position += 12 + length
    raw, stride = zlib.decompress(packed), width * size
    previous = bytearray(stride)
    wanted = bytes((red, green, blue, 255)[:size])
    for row in range(0, len(raw), stride + 1):
        line = _unfilter(raw[row], bytearray(raw[row + 1 : row + 1 + stride]), previous, size)
        if wanted * 3 in line:
            return True
        previous = line
    return False


def _unfilter(kind: int, line: bytearray, above: bytearray, size: int) -> bytearray:
    """Undo the filter of one line: RFC 2083, section 6."""
    for place in range(len(line)):
        left = line[place - size] if place >= size else 0
        up = above[place]
        corner = above[place - size] if place >= size else 0
        if kind == 1:
            line[place] = (line[place] + left) & 255
        elif kind == 2:
            line[place] = (line[place] + up) & 255
        elif kind == 3:
            line[place] = (line[place] + (left + up) // 2) & 255
        elif kind == 4:
            guess = left + up - corner
            nearest = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            line[place] = (line[place] + nearest) & 255
    return line


def test_shows_new_events_live_whatever_is_asked(filled: TallyServer, dashboard: Page) -> None:
    for question, before, after in (
        ("counter=events", "90", "91"),
        ("counter=donations&by=&measure=mean(amount)", "5.384615", "6.298913"),
        ("counter=donations&by=&over=5m", "92", "93"),
    ):
        dashboard.goto(f"{filled.url}/explore?{question}")
        is_live(dashboard)
        figure = dashboard.locator("table.data tbody tr").first.locator("td").first
        expect(figure).to_have_text(before)
        filled.send(events("donation", country="GB", channel="web", amount=89.5))
        expect(figure).to_have_text(after)
