"""The whole process: started, asked, told to stop."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import pytest

from adamas.ports import free_ports
from api.keys import ALL_SCOPES, Scope, create_key
from runtime.kafka import ensure_topics, producer
from runtime.settings import KafkaSettings
from schemas.stone import encode
from schemas.topics import CANONICAL
from tests.unit.schemas.stones import make_stone


@pytest.fixture
def environment(kafka_settings: KafkaSettings, database: str, tmp_path: Path) -> dict[str, str]:
    ensure_topics(kafka_settings, [CANONICAL])
    return os.environ | {
        "ADAMAS_KAFKA_BOOTSTRAP": kafka_settings.bootstrap,
        "ADAMAS_POSTGRES_DSN": database,
        "ADAMAS_DATA_DIR": str(tmp_path),
        "ADAMAS_GATEWAY_URL": "http://127.0.0.1:9",
        "ADAMAS_GATEWAY_TOKEN": "a token for these tests",
        "ADAMAS_API_PORT": str(free_ports(1)[0]),
    }


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = start(environment)
    yield process
    process.kill()
    process.communicate()


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adamas.cli", "api"]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_ready(base: str) -> None:
    deadline = monotonic() + 200  # the first start on a machine compiles the kernels
    while True:
        assert monotonic() < deadline, "not ready in time"
        try:
            if httpx.get(f"{base}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            sleep(0.1)


def test_it_answers_and_stops_when_told(
    environment: dict[str, str], server: subprocess.Popen[str], kafka_settings: KafkaSettings
) -> None:
    base = f"http://127.0.0.1:{environment['ADAMAS_API_PORT']}"
    stone = make_stone(id="nivoda-natural:served")
    client = producer(kafka_settings)
    client.produce(CANONICAL.name, key=stone.id.encode(), value=encode(stone), partition=0)
    assert client.flush(30) == 0
    key = create_key(environment["ADAMAS_POSTGRES_DSN"], "shop", ALL_SCOPES, "tester")
    wait_ready(base)

    headers = {"X-API-Key": key}
    deadline = monotonic() + 60
    while httpx.get(f"{base}/v1/diamonds/{stone.id}", headers=headers).status_code != 200:
        assert monotonic() < deadline
        sleep(0.05)
    assert httpx.get(f"{base}/v1/diamonds", headers=headers).json()["total"] >= 1
    assert httpx.get(f"{base}/v1/diamonds").status_code == 401
    assert "adamas_api_stones" in httpx.get(f"{base}/metrics").text

    server.send_signal(signal.SIGTERM)
    _, lines = server.communicate(timeout=60)
    assert server.returncode == 0, lines
    assert "api.answered" in lines
    assert key not in lines


MANY_SHAPES = ",".join(f"S{number}" for number in range(10_000))
LONG_TEXT = "x" * 1_000_000
BAD_SEARCHES = {
    f"shape={MANY_SHAPES}": "shape",
    f"q={LONG_TEXT}": "q",
    f"squircle={LONG_TEXT}": "query",
    "shape=SQUIRCLE": "shape",
    "color=ZZ": "color",
    "carat_min=2&carat_max=1": "carat_min",
    "color_min=G&color_max=D": "color_min",
    "price_cents_min=1e3": "price_cents_min",
    "updated_at_min=yesterday": "updated_at_min",
    "offset=10000": "offset",
    "limit=251": "limit",
    "sort=beauty": "sort",
    "cursor=AAAA": "cursor",
    "fields=%ff": "query",
}


def test_what_is_wrong_with_a_search_is_said_however_long_it_is(
    environment: dict[str, str], server: subprocess.Popen[str]
) -> None:
    port = int(environment["ADAMAS_API_PORT"])
    key = create_key(environment["ADAMAS_POSTGRES_DSN"], "shop", [Scope.READ_DIAMONDS], "tester")
    wait_ready(f"http://127.0.0.1:{port}")
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as link:

        def ask(method: str, path: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
            link.request(method, path, body, {"X-API-Key": key})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())

        for query, field in BAD_SEARCHES.items():
            status, problem = ask("GET", f"/v1/diamonds?{query}")
            assert (status, problem.get("field")) == (422, field), (query[:40], problem)
            assert problem["rule"]
            assert "nearest" in problem
        many = [{"shape": MANY_SHAPES.split(",")}, {"q": LONG_TEXT}, {LONG_TEXT: "1"}]
        status, told = ask("POST", "/v1/diamonds/batch", json.dumps({"searches": many}))
    assert status == 200
    assert [problem["status"] for problem in told["answers"]] == [422] * 3
    assert [problem["field"] for problem in told["answers"]][:2] == ["shape", "q"]


def test_a_taken_port_is_said_in_plain_words(
    environment: dict[str, str], server: subprocess.Popen[str]
) -> None:
    wait_ready(f"http://127.0.0.1:{environment['ADAMAS_API_PORT']}")
    second = start(environment)
    _, lines = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "cannot listen" in lines
