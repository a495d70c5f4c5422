"""The whole stack, as `make up` starts it, once for this folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from adamas.ports import free_block
from adamas.stack import PORT_SPAN
from tests.e2e.collector import Collector, collecting

STONES = 3_000
START_TIMEOUT_S = 200
STOP_TIMEOUT_S = 60


@dataclass
class Running:
    """A running stack and how to ask it."""

    api: str
    monitor: str
    simulator: str
    kafka: str
    postgres: str
    key: str
    pids: dict[str, int]
    output: Path

    def get(self, path: str, **parameters: Any) -> Any:
        """A JSON answer of the API, with the demo key; who is told to come back later does, for half a minute."""
        deadline = time.monotonic() + 30
        while True:
            reply = httpx.get(self.api + path, params=parameters, headers={"X-API-Key": self.key}, timeout=30)
            if reply.status_code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                break
            time.sleep(float(reply.headers["Retry-After"]))
        assert reply.is_success, reply.text
        return reply.json()

    def walk(self) -> Iterator[dict[str, Any]]:
        """Every available stone, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get("/v1/diamonds", limit=250, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        """Rows from Postgres."""
        connection = await asyncpg.connect(self.postgres)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query)
        finally:
            await connection.close()
        return rows

    def adamas(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command against this stack."""
        settings = {"ADAMAS_KAFKA_BOOTSTRAP": self.kafka, "ADAMAS_POSTGRES_DSN": self.postgres}
        return subprocess.run(
            [sys.executable, "-m", "adamas.cli", *arguments],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("up")
    output = data / "screen.txt"
    traced = {"ADAMAS_OTLP_ENDPOINT": collector.url, "ADAMAS_OTLP_SAMPLED_SHARE": "1"}
    command = ["up", "--stones", str(STONES), "--seed", "5", "--port-base", str(free_block(PORT_SPAN))]
    with output.open("w") as screen:
        up = subprocess.Popen(
            [sys.executable, "-m", "adamas.cli", *command, "--data", str(data / "data")],
            env=os.environ | traced,
            stdout=screen,
            stderr=screen,
        )
    try:
        stack = _wait_ready(up, data / "data" / "up.json", output)
        _wait_complete(stack)
        yield stack
    finally:
        up.send_signal(signal.SIGINT)
        try:
            up.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            up.kill()
            raise


def _wait_ready(up: "subprocess.Popen[bytes]", file: Path, output: Path) -> Running:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not file.exists():
        assert up.poll() is None, f"`adamas up` ended:\n{output.read_text()}"
        assert time.monotonic() < deadline, f"`adamas up` was not ready in time:\n{output.read_text()}"
        time.sleep(0.1)
    return Running(**json.loads(file.read_text()), output=output)


def _wait_complete(stack: Running) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while stack.get("/v1/diamonds", limit=1)["as_of"] is None:
        assert time.monotonic() < deadline, stack.output.read_text()
        time.sleep(0.2)
