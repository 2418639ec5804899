"""Rejected: every refused event can be read, filtered, downloaded, and counted after all."""

import json
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import DEFINITION, events, is_live, now_text
from tests.server import TallyServer
from tests.waiting import wait_until

BAD_JSON = b'{"event": <b>bold</b> \xe2\x80\xae\n'
NO_TEXT = b'\xff\xfe{"event": 1}\n'


def send_raw(server: TallyServer, body: bytes) -> None:
    answer = server.client.post("/v1/events", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert answer.status_code == 202


def counted(server: TallyServer, count: int) -> None:
    wait_until(lambda: server.get("/v1/ledger")["received"] == count, "the events to be judged")


def test_none_rejected_says_so(server: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{server.url}/rejected")
    expect(dashboard.get_by_text("No event was rejected")).to_be_visible()


def test_bytes_are_shown_as_harmless_text_and_arrive_live(server: TallyServer, dashboard: Page) -> None:
    dashboard.goto(f"{server.url}/rejected")
    is_live(dashboard)
    send_raw(server, BAD_JSON + NO_TEXT)
    items = dashboard.locator(".rejected-event")
    expect(items).to_have_count(2)
    bad = items.filter(has_text="invalid_json")
    expect(bad.locator("pre")).to_have_text('{"event": <b>bold</b> \\u{202e}')
    expect(items.filter(has_text="invalid_utf8").locator("pre")).to_have_text('\\xff\\xfe{"event": 1}')
    assert items.locator("b").count() == 0
    expect(dashboard.locator("header .badge")).to_have_text("2")


def test_reasons_filter_and_pages_follow_each_other(server: TallyServer, dashboard: Page) -> None:
    send_raw(server, b"".join(b'{"n": %d}\n' % number for number in range(120)) + BAD_JSON)
    counted(server, 121)
    dashboard.goto(f"{server.url}/rejected")
    reasons = dashboard.get_by_role("navigation", name="Reasons")
    expect(reasons).to_contain_text("121")
    reasons.get_by_role("link", name="invalid_json").click()
    expect(dashboard.locator(".rejected-event")).to_have_count(1)
    reasons.get_by_role("link", name="missing_event_time").click()
    seen: list[str] = []
    for size in (50, 50, 20):
        expect(dashboard.locator(".rejected-event")).to_have_count(size)
        seen += dashboard.locator(".rejected-event pre").all_inner_texts()
        if size == 50:
            first = dashboard.locator(".rejected-event pre").first.inner_text()
            dashboard.get_by_role("link", name="Older").click()
            expect(dashboard.locator(".rejected-event pre").first).not_to_have_text(first)
    assert sorted(seen) == sorted(f'{{"n": {number}}}' for number in range(120))
    expect(dashboard.get_by_role("link", name="Older")).to_have_count(0)
    dashboard.go_back()
    expect(dashboard.locator(".rejected-event")).to_have_count(50)


def test_downloads(server: TallyServer, dashboard: Page, tmp_path: Path) -> None:
    send_raw(server, BAD_JSON + NO_TEXT)
    counted(server, 2)
    dashboard.goto(f"{server.url}/rejected")
    files = {}
    for link in ("Download with reasons", "Download bytes alone"):
        with dashboard.expect_download() as download:
            dashboard.get_by_role("link", name=link).click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        files[download.value.suggested_filename] = (tmp_path / download.value.suggested_filename).read_bytes()
    reasons = [json.loads(line)["reason"] for line in files["rejected.ndjson"].splitlines()]
    assert sorted(reasons) == ["invalid_json", "invalid_utf8"]
    assert sorted(files["rejected.txt"].splitlines(keepends=True)) == sorted([BAD_JSON, NO_TEXT])


def test_a_long_event_is_cut_until_asked_for(server: TallyServer, dashboard: Page) -> None:
    server.send([{"text": "y" * 5_000}])
    dashboard.goto(f"{server.url}/rejected")
    shown = dashboard.locator(".rejected-event pre")
    expect(shown).to_contain_text("yyy…")
    dashboard.get_by_role("button", name="Show more").click()
    expect(shown).to_have_text(f'{{"text":"{"y" * 5_000}"}}')


def test_counts_them_after_the_definition_was_mended(tally_server: StartServer, dashboard: Page) -> None:
    broken = tally_server(DEFINITION.replace('"utc_timestamp"', '"when"'))
    broken.send(events("click", 3))
    counted(broken, 3)
    broken.stop()
    mended = tally_server(DEFINITION, data=broken.data)
    dashboard.goto(f"{mended.url}/rejected?reason=missing_event_time")
    dashboard.get_by_role("button", name="Retry now").click()
    expect(dashboard.locator(".outcome")).to_contain_text("3 judged again: 3 counted")
    expect(dashboard.locator(".rejected-event")).to_have_count(0)
    assert mended.get("/v1/ledger") == {"received": 3, "counted": 3, "unmatched": 0, "late": 0, "rejected": 0, "duplicate": 0}


def test_a_retry_asks_for_the_write_token_where_one_is_set(tally_server: StartServer, page: Page) -> None:
    server = tally_server(DEFINITION, environment={"TALLY_WRITE_TOKEN": "write-token-of-the-test"})
    header = {"Authorization": "Bearer write-token-of-the-test"}
    server.send([{"event": "click"}, {"event": "click", "utc_timestamp": now_text()}], **header)
    page.goto(f"{server.url}/rejected")
    expect(page.locator(".rejected-event")).to_have_count(1)
    page.get_by_role("button", name="Retry now").click()
    page.get_by_label("Write token").fill("wrong")
    page.get_by_role("button", name="Retry now").click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Write token").fill("write-token-of-the-test")
    page.get_by_role("button", name="Retry now").click()
    expect(page.locator(".outcome")).to_contain_text("1 judged again: 0 counted")
    expect(page.locator(".outcome")).to_contain_text("1 still rejected")
