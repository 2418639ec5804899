"""`tally up --aws` in a real browser, over a stack on the emulator: the same pages with the same numbers as the local plane."""

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import StartServer
from tests.e2e.conftest import DEFINITION, at, events, is_live
from tests.server import TALLY, TallyServer, tally_environment
from tests.stack import DeployedStack, deployed_stack
from tests.waiting import wait_until

ON_AWS = DEFINITION.replace('event_id = "id"\n', "")
SENT = 250


@pytest.fixture
def stack(aws_environment: str) -> Iterator[DeployedStack]:
    with deployed_stack("pages", ON_AWS) as stack:
        yield stack


@pytest.fixture
def server(stack: DeployedStack, tmp_path: Path) -> Iterator[TallyServer]:
    with TallyServer(None, tmp_path / "up", ["--aws", stack.name]) as server:
        yield server


def draw_events(now_ms: int, seed: int = 7) -> list[bytes]:
    """Return events of the last two hours, some of which cannot be counted."""
    chance = random.Random(seed)
    drawn: list[Any] = [
        {
            "utc_timestamp": at(now_ms - chance.randrange(7_200_000)),
            "event": chance.choice(["click", "page view", "donation", None, "(other)", 1, "1"]),
            "country": chance.choice(["GB", "Österreich"]),
            "amount": chance.randrange(1, 999) / 100,
        }
        for _ in range(SENT)
    ]
    return [json.dumps(event).encode() for event in drawn] + [b"{", b'{"event": "no time"}', b"\xff"]


QUERIES = [
    "counter=events&window=1m&from=-2h&fill=zero",
    "counter=events&window=1h&from=-1d&by=",
    "counter=events&window=5m&from=-1h&top=2&other=true&compare=previous&show=share",
    "counter=donations&window=1m&from=-2h&measure=sum(amount)",
    "counter=donations&window=1h&from=-1d&measure=mean(amount)&by=country",
    "counter=events&window=1m&from=-2h&exact.event=1&format=csv",
]


def test_the_numbers_are_those_of_the_local_plane(
    server: TallyServer, stack: DeployedStack, tally_server: StartServer, dashboard: Page
) -> None:
    local = tally_server(ON_AWS)
    now_ms = local.get("/v1/health")["now"]
    lines = draw_events(now_ms)
    local.client.post("/v1/events", content=b"\n".join(lines), headers={"Content-Type": "application/x-ndjson"})
    stack.put(*lines)
    expected = {"received": SENT + 3, "counted": SENT, "unmatched": 0, "late": 0, "rejected": 3, "duplicate": 0}
    wait_until(lambda: local.get("/v1/ledger") == expected, "the local plane to count")
    wait_until(lambda: server.get("/v1/ledger") == expected, "the stack to count", timeout_s=60)
    for query in QUERIES:
        asked = f"/v1/query?{query}&to={now_ms // 3_600_000 * 3_600_000 + 3_600_000}"

        def answers(asked: str = asked) -> list[str]:
            found = [each.client.get(asked) for each in (server, local)]
            assert [answer.status_code for answer in found] == [200, 200], found[0].text
            return [answer.text for answer in found]

        # A batch's rows may be written after its ledger, and a minute may end between the two questions.
        wait_until(lambda: len(set(answers())) == 1, f"the same answer to {asked}", timeout_s=20)
    kept = [each.get("/v1/rejected") for each in (server, local)]
    assert kept[0]["reasons"] == kept[1]["reasons"]
    assert sorted(event["data"] for event in kept[0]["events"]) == sorted(event["data"] for event in kept[1]["events"])
    assert server.get("/v1/groups", counter="events", field="event") == local.get("/v1/groups", counter="events", field="event")

    shown = []
    for each in (server, local):
        dashboard.goto(f"{each.url}/explore?counter=events&range=1d&window=1h&table=windows")
        table = dashboard.locator("table.data").first
        expect(table).to_be_visible()
        shown.append(table.inner_text())
    assert shown[0] == shown[1]


def test_the_pages_say_what_is_on_aws(server: TallyServer, stack: DeployedStack, dashboard: Page) -> None:
    dashboard.goto(server.url)
    expect(dashboard.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
    expect(dashboard.locator(".first-run")).to_contain_text(stack.summary.outputs["StreamName"])
    is_live(dashboard)
    stack.put(*events("click", 5), *events("donation", 1, country="GB", channel="web", amount=3), b"nonsense")
    total = dashboard.get_by_role("region", name="events").locator(".headline .figure").first
    expect(total).to_have_text("6", timeout=30_000)
    stack.put(*events("click", 4))
    expect(total).to_have_text("10", timeout=30_000)  # without a reload

    dashboard.get_by_role("link", name="Rejected").click()
    expect(dashboard.locator(".rejected-event")).to_have_count(1)
    expect(dashboard.locator(".rejected-event")).to_contain_text("invalid_json")
    expect(dashboard.get_by_role("button", name="Retry now")).to_have_count(0)
    expect(dashboard.get_by_role("region", name="Count them after all")).to_contain_text(
        f"--stack {stack.name} \\\n  --region eu-west-1"
    )

    dashboard.get_by_role("link", name="Health").click()
    expect(dashboard.get_by_text("✓ Every event is accounted for")).to_be_visible()
    expect(dashboard.locator(".equation .figure").first).to_have_text("11")
    rows = dashboard.get_by_role("region", name="Shards").locator("tbody tr")
    expect(rows).to_have_count(2)
    assert sum(int(row.locator("td").first.inner_text()) for row in rows.all()) == 11
    expect(dashboard.get_by_role("region", name="Shards")).to_contain_text("nothing waiting", timeout=15_000)
    expect(dashboard.get_by_role("region", name="Disk")).to_have_count(0)
    expect(dashboard.get_by_role("region", name="Throughput")).to_have_count(0)

    dashboard.get_by_role("link", name="Alarms").click()
    expect(dashboard.get_by_role("list", name="Alarms")).to_contain_text("stack/count-errors")
    expect(dashboard.get_by_role("link", name="Open CloudWatch")).to_have_attribute(
        "href", "https://eu-west-1.console.aws.amazon.com/cloudwatch/home?region=eu-west-1#alarmsV2:?search=pages%2F"
    )


def test_what_is_not_there_says_where_it_is(server: TallyServer) -> None:
    for method, path, words in [
        ("POST", "/v1/events", "Kinesis stream"),
        ("POST", "/v1/track", "tally aws backfill"),
        ("POST", "/v1/rejected/retry", "not judged again on AWS"),
        ("GET", "/v1/sources/file", "tally aws backfill"),
        ("POST", "/v1/alarms/mutes", "CloudWatch"),
        ("GET", "/v1/notifications", "CloudWatch"),
    ]:
        answer = server.client.request(method, path)
        assert (answer.status_code, answer.json()["error"]) == (501, "elsewhere")
        assert words in answer.json()["message"]
    assert "tallystream_events_received_total 0.0" in server.client.get("/metrics").text
    assert set(server.get("/v1/openapi.json")["paths"]) & {"/v1/events", "/v1/query"} == {"/v1/query"}


def test_tokens_are_asked_for(stack: DeployedStack, tmp_path: Path, page: Page) -> None:
    token = {"TALLY_READ_TOKEN": "secret-1"}
    with TallyServer(None, tmp_path / "up", ["--aws", stack.name, "--host", "0.0.0.0"], token) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert server.client.get(f"{url}/v1/ledger").status_code == 401
        assert server.client.get(f"{url}/v1/ledger", headers={"Authorization": "Bearer secret-1"}).status_code == 200
        page.goto(url)
        expect(page.locator("header .live.signed-out")).to_have_text("Signed out")
        page.get_by_label("Read token").fill("secret-1")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Waiting for the first event")).to_be_visible()
        assert "secret-1" not in server.log()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TALLY, "up", *arguments], env=tally_environment(environment), capture_output=True, text=True, check=False, timeout=60
    )


def test_what_it_cannot_do_is_refused(aws_environment: str, tmp_path: Path) -> None:
    for arguments, words in [
        (["--aws", "x", "--data", str(tmp_path)], "leave out --data"),
        (["--aws", "x", "--workers", "2"], "leave out --workers"),
        (["--region", "eu-west-1"], "without --aws"),
    ]:
        done = run(*arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    for arguments, words in [
        (["--aws", "no-such-stack"], "there is no stack no-such-stack in eu-west-1"),
        (["--aws", "not a name"], "a stack's name is"),
        (["--aws", "x", "--host", "0.0.0.0"], "nothing is set for TALLY_READ_TOKEN: anybody could read the counts"),
    ]:
        done = run(*arguments)
        assert (done.returncode, words in done.stderr) == (1, True), done.stderr


def test_a_definition_that_the_stack_does_not_count_by_is_told(stack: DeployedStack, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(ON_AWS.replace('group_by = ["event"]', 'group_by = ["event", "page"]'))
    with TallyServer(None, tmp_path / "up", ["--aws", stack.name, "--config", str(config)]) as server:
        warning = f"{config} and the stack {stack.name} do not count the same: events; shown is what the stack counts"
        assert warning in server.log()
        events_counter, _ = server.get("/v1/definition")["counters"]
        assert events_counter["group_by"] == ["event"]
