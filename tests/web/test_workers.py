"""Several worker processes behind one address: a real `tally up --workers 2`."""

import json

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartServer
from tests.server import TallyServer
from tests.waiting import wait_until
from tests.web.conftest import DEFINITION
from tests.web.test_ingest import event


def answered(server: TallyServer) -> float:
    page = httpx.get(f"{server.url}/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "tallystream_http_requests_total" and sample.labels["route"] == "/v1/events"
    )


def test_metrics_are_those_of_all_workers(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, "--workers", "2")
    for number in range(40):
        # A connection each, so that both workers get some.
        assert httpx.post(f"{server.url}/v1/events", content=event(id=number), trust_env=False).status_code == 202
    assert [answered(server) for _ in range(10)] == [40] * 10


def test_a_change_is_told_by_whichever_worker_one_listens_to(tally_server: StartServer) -> None:
    server = tally_server(DEFINITION, "--workers", "2")
    for number in range(4):
        with httpx.stream("GET", f"{server.url}/v1/live", timeout=10, trust_env=False) as live:
            data = (json.loads(line.removeprefix("data: ")) for line in live.iter_lines() if line.startswith("data: "))
            assert next(data)["changed"] == []
            assert httpx.post(f"{server.url}/v1/events", content=event(id=number), trust_env=False).status_code == 202
            assert [change["window"] for change in next(data)["changed"]] == ["1m", "1h"]
    wait_until(lambda: server.get("/v1/ledger")["counted"] == 4, "all to be counted")
