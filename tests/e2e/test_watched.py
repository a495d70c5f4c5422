"""What people watch us by: traces from end to end, and a real Prometheus for which every panel has something to draw."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from adamas.ports import free_ports
from adamas.stack import Ports
from monitor.rules import RULES
from tests.e2e.collector import Collector, Exported
from tests.e2e.conftest import Running

EXPORTED_WITHIN_S = 90
"""Spans leave a process every 5 s."""
WAY = {
    ("ingest", "ingest.run"),
    ("ingest", "ingest.page"),
    ("ingest", "diamonds.raw send"),
    ("process", "process.batch"),
    ("sink", "sink.batch"),
    ("api", "api.apply"),
}


def _await_trace(collector: Collector, holds: Callable[[list[Exported]], bool], what: str) -> list[Exported]:
    deadline = time.monotonic() + EXPORTED_WITHIN_S
    while True:
        traces = collector.traces()
        for spans in traces.values():
            if holds(spans):
                return spans
        best = max(traces.values(), key=lambda spans: len({span.process for span in spans}), default=[])
        assert time.monotonic() < deadline, f"{what}; the widest trace: {_steps(best)}"
        time.sleep(0.2)


def _steps(spans: list[Exported]) -> set[tuple[str, str]]:
    return {(span.process, span.name) for span in spans}


def _ancestors(spans: list[Exported], of: Exported) -> list[str]:
    by_id = {span.span: span for span in spans}
    names, here = [], by_id.get(of.parent)
    while here is not None:
        names.append(here.name)
        here = by_id.get(here.parent)
    return names


def _let_the_vendor_change_something(running: Running) -> None:
    """New media of some stones: nothing that another test compares."""
    for rates in ({"media": 50}, {}):
        httpx.post(f"{running.simulator}/_sim/life", json=rates).raise_for_status()
        time.sleep(1)


def test_a_run_is_one_trace_from_its_beginning_to_the_apis_memory(
    running: Running, collector: Collector
) -> None:
    # What the first sweep brought was there before the API was: nobody waited for it.
    _let_the_vendor_change_something(running)
    asked = running.adamas("runs", "start", "nivoda-natural", "incremental")
    assert asked.returncode == 0, asked.stderr
    spans = _await_trace(collector, lambda spans: _steps(spans) >= WAY, "no trace went all the way")
    for name in ("sink.batch", "api.apply"):
        last = next(span for span in spans if span.name == name)
        way = [step for step in _ancestors(spans, last) if step in {name for _, name in WAY}]
        assert way == ["process.batch", "diamonds.raw send", "ingest.page", "ingest.run"], name
    page = next(span for span in spans if span.name == "ingest.page")
    assert page.attributes["run"].startswith("nivoda-natural")
    assert any("ingest.page" in _ancestors(spans, span) for span in spans if span.name == "POST"), (
        f"the vendor's request is not in the page's trace: {_steps(spans)}"
    )
    assert any("sink.batch" in _ancestors(spans, span) for span in spans), (
        f"the sink's database spans have not joined: {_steps(spans)}"
    )


def test_a_request_is_one_trace_from_the_api_through_the_gateway_to_the_vendor(
    running: Running, collector: Collector
) -> None:
    stone = running.get("/v1/diamonds", limit=1, feed="nivoda-natural")["items"][0]["id"]
    mine = "4bf92f3577b34da6a3ce929d0e0e4736"
    reply = httpx.get(
        f"{running.api}/v1/diamonds/{stone}/availability",
        headers={"X-API-Key": running.key, "traceparent": f"00-{mine}-00f067aa0ba902b7-01"},
        timeout=15,
    )
    assert reply.status_code == 200
    assert reply.headers["X-Trace-Id"] == mine

    def went_through(spans: list[Exported]) -> bool:
        return spans[0].trace == mine and {span.process for span in spans} >= {"api", "ingest"}

    spans = _await_trace(collector, went_through, "the request's trace did not reach ingest")
    _await_trace(
        collector, lambda spans: spans[0].trace == mine and _asks(spans), "the vendor was not asked in it"
    )
    door = next(span for span in spans if span.name == "gateway.availability")
    assert door.process == "ingest"


def _asks(spans: list[Exported]) -> bool:
    return any("gateway.availability" in _ancestors(spans, span) for span in spans if span.name == "POST")


OBSERVABILITY = Path(__file__).parents[2] / "observability"
SCRAPED_WITHIN_S = 120
NOT_YET = {
    "adamas_monitor_group_catches_up_seconds": "a reader that does not come nearer has no forecast",
}
"""Queries that may rightly have nothing to say of a stack at rest, and why."""


class Prometheus:
    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, **parameters: str) -> Any:
        reply = httpx.get(f"{self._url}/api/v1/{path}", params=parameters, timeout=10)
        body = reply.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    def answers(self, query: str) -> bool:
        """Whether a query gives a number."""
        samples: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return any(sample["value"][1] != "NaN" for sample in samples)


@pytest.fixture
def prometheus(running: Running, tmp_path: Path) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus; on Debian: apt-get install prometheus")
    ports = Ports(urlsplit(running.api).port or 0)
    members = {
        "api": ports.api(1),
        "ingest": ports.ingest,
        "process": ports.process(1),
        "sink": ports.sink,
        "monitor": ports.monitor,
    }
    (port,) = free_ports(1)
    scrapes = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]}
        for name, at in members.items()
    ]
    file = tmp_path / "prometheus.yml"
    file.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(OBSERVABILITY / "prometheus" / "rules.yml")],
                "scrape_configs": scrapes,
            }
        )
    )
    log = tmp_path / "prometheus.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={file}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=output,
        )
    try:
        made = Prometheus(f"http://127.0.0.1:{port}")
        _await(lambda: _all_up(made, len(members)), server, log)
        yield made
    finally:
        server.terminate()
        server.wait(15)


def _all_up(prometheus: Prometheus, members: int) -> bool:
    try:
        targets = prometheus.ask("targets")["activeTargets"]
    except (httpx.TransportError, ValueError):
        return False
    return [target["health"] for target in targets] == ["up"] * members


def _await(holds: Any, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + SCRAPED_WITHIN_S
    while not holds():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.3)


def _queries() -> dict[str, str]:
    """Every query of every board, with the panel that asks it."""
    return {
        target["expr"]: f"{file.stem}: {panel['title']}"
        for file in sorted((OBSERVABILITY / "grafana").glob("*.json"))
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    }


def test_every_panel_has_data_and_every_rule_is_evaluated(running: Running, prometheus: Prometheus) -> None:
    queries = _queries()
    assert len(queries) > 40
    assert set(NOT_YET) <= set(queries)
    deadline = time.monotonic() + SCRAPED_WITHIN_S
    empty = set(queries)
    while empty - set(NOT_YET):
        # Somebody must ask for there to be answer times.
        running.get("/v1/diamonds", limit=1)
        empty = {query for query in empty if not prometheus.answers(query)}
        told = [f"{queries[query]}: {query}" for query in sorted(empty - set(NOT_YET))]
        assert time.monotonic() < deadline, "no data in\n" + "\n".join(told)
        time.sleep(1)
    (group,) = prometheus.ask("rules")["groups"]
    assert len(group["rules"]) == len(RULES)
    assert [rule["name"] for rule in group["rules"] if rule["health"] != "ok"] == []
