"""The whole process: started, asked, told to stop."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx
import pytest

from api.keys import ALL_SCOPES, create_key
from runtime.kafka import ensure_topics, producer
from runtime.ports import free_ports
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
    command = [sys.executable, "-m", "runtime.cli", "api"]
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


def test_a_taken_port_is_said_in_plain_words(
    environment: dict[str, str], server: subprocess.Popen[str]
) -> None:
    wait_ready(f"http://127.0.0.1:{environment['ADAMAS_API_PORT']}")
    second = start(environment)
    _, lines = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "cannot listen" in lines
