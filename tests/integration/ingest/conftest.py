"""A simulated vendor and ingest itself, each a process of its own, as they run in production.

vendor   makes simulators: `vendor(stones=3000, seed=5)`
ingest   makes ingest processes that read a simulator into a raw log of this test's own
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from adamas.ports import free_ports
from runtime.kafka import consumer
from runtime.settings import KafkaSettings
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS, STANDARD
from schemas.headers import from_headers
from schemas.topics import RAW
from tests.conftest import TopicMaker

INGEST = """
import sys
from connectors.ingest.service import serve
from runtime import settings as s
groups = (
    s.KafkaSettings, s.PostgresSettings, s.FeedsSettings, s.VendorSettings, s.DemoSettings, s.IngestSettings, s.GatewaySettings, s.HealthSettings,
    s.LogSettings,
)
from runtime.logs import configure_logs
settings = s.load_settings(*groups)
configure_logs(settings.log, "ingest")
serve(settings, sys.argv[1])
"""
VENDOR_PASSWORD = "demo-vendor-password"
GATEWAY_TOKEN = "a token for these tests"
SIMULATE = """
from connectors.simulator.server import run
from connectors.simulator.settings import SimulatorSettings
run(SimulatorSettings())
"""


@dataclass
class Child:
    """A process of the test's own, its output in a file."""

    script: str
    environment: dict[str, str]
    arguments: tuple[str, ...] = ()
    log: Path = field(default_factory=lambda: Path(tempfile.mkstemp(suffix=".log")[1]))
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.script, *self.arguments],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.log.unlink()


@dataclass
class SimulatedVendor:
    child: Child
    base: str

    @property
    def url(self) -> str:
        return f"{self.base}/api/diamonds"

    def stats(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.base}/_sim/stats").raise_for_status().json())

    def set_faults(self, faults: dict[str, Any]) -> None:
        httpx.post(f"{self.base}/_sim/faults", json=faults).raise_for_status()

    def available(self, feed: str) -> set[str]:
        lines = httpx.get(f"{self.base}/_sim/stones", params={"feed": feed}, timeout=30).raise_for_status()
        stones = [_json(line) for line in lines.text.splitlines()]
        return {stone["id"] for stone in stones if stone["available"]}


def _json(line: str) -> dict[str, Any]:
    import msgspec

    return dict(msgspec.json.decode(line))


MakeVendor = Callable[..., SimulatedVendor]
MakeIngest = Callable[..., "Ingest"]


@pytest.fixture
def vendor() -> Iterator[MakeVendor]:
    with contextlib.ExitStack() as closing:

        def make(**settings: object) -> SimulatedVendor:
            port = free_ports(1)[0]
            named = {f"ADAMAS_SIM_{name.upper()}": str(value) for name, value in settings.items()}
            child = Child(SIMULATE, {**named, "ADAMAS_SIM_PORT": str(port)})
            closing.callback(child.close)
            made = SimulatedVendor(child, f"http://127.0.0.1:{port}")
            wait_for_answer(made)
            return made

        yield make


def wait_for_answer(made: SimulatedVendor) -> None:
    _wait_for(lambda: _answers(made), 60, made.child)


def _answers(made: SimulatedVendor) -> bool:
    try:
        return bool(made.stats())
    except httpx.HTTPError:
        return False


def _wait_for(done: Callable[[], bool], timeout_s: float, *children: Child) -> None:
    until = time.monotonic() + timeout_s
    while not done():
        for child in children:
            assert child.process.poll() is None, child.log.read_text()[-3000:]
        assert time.monotonic() < until, "\n".join(child.log.read_text()[-3000:] for child in children)
        time.sleep(0.1)


@dataclass
class Ingest:
    child: Child
    log: RawLog
    gateway: str

    def wait_until(self, done: Callable[[list[Fact]], bool], timeout_s: float) -> list[Fact]:
        _wait_for(lambda: done(self.log.read()), timeout_s, self.child)
        return self.log.facts

    def wait_for_facts(self, wanted: int, timeout_s: float) -> list[Fact]:
        return self.wait_until(lambda facts: len(facts) >= wanted, timeout_s)

    def wait_complete(self, timeout_s: float) -> list[Fact]:
        return self.wait_until(
            lambda facts: (
                {fact.headers.feed for fact in facts if fact.headers.kind is Kind.COMPLETE} == set(STANDARD)
            ),
            timeout_s,
        )


@dataclass(frozen=True)
class Fact:
    headers: FactHeaders
    value: bytes
    offset: int


class RawLog:
    """Everything in the test's raw log so far."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self.topic = topic
        self.facts: list[Fact] = []
        self._reader: Consumer = consumer(kafka)
        self._reader.assign([TopicPartition(topic, info.slot, 0) for info in FEEDS.values()])

    def read(self) -> list[Fact]:
        # Until it has seen the end or a time without it: a log that is being written never stands still.
        until = time.monotonic() + 1
        while (messages := self._reader.consume(2000, timeout=0.1)) and time.monotonic() < until:
            self.facts += map(_fact, messages)
        self.facts += map(_fact, messages)
        return self.facts

    def close(self) -> None:
        self._reader.close()


def _fact(message: Message) -> Fact:
    headers = message.headers()
    assert message.error() is None
    assert isinstance(headers, list)
    pairs = [(name, value) for name, value in headers if isinstance(value, bytes)]
    return Fact(from_headers(pairs, FactHeaders), message.value() or b"", message.offset() or 0)


@pytest.fixture
def ingest(kafka_settings: KafkaSettings, database: str, make_topic: TopicMaker) -> Iterator[MakeIngest]:
    with contextlib.ExitStack() as closing:

        def make(
            simulated: SimulatedVendor,
            incremental_every_s: float = 3600,
            patience_s: float = 900,
            password: str = VENDOR_PASSWORD,
        ) -> Ingest:
            topic, port = make_topic(RAW), free_ports(1)[0]
            child = Child(
                INGEST,
                {
                    "ADAMAS_KAFKA_BOOTSTRAP": kafka_settings.bootstrap,
                    "ADAMAS_POSTGRES_DSN": database,
                    "ADAMAS_VENDOR_URL": simulated.url,
                    "ADAMAS_VENDOR_USERNAME": "demo@adamas.test",
                    "ADAMAS_VENDOR_PASSWORD": password,
                    "ADAMAS_HEALTH_PORT": "0",
                    "ADAMAS_INGEST_INCREMENTAL_EVERY_S": str(incremental_every_s),
                    "ADAMAS_INGEST_PATIENCE_S": str(patience_s),
                    "ADAMAS_GATEWAY_PORT": str(port),
                    "ADAMAS_GATEWAY_TOKEN": GATEWAY_TOKEN,
                },
                (topic.name,),
            )
            closing.callback(child.close)
            log = RawLog(kafka_settings, topic.name)
            closing.callback(log.close)
            return Ingest(child, log, f"http://127.0.0.1:{port}")

        yield make
