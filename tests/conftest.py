"""A real Kafka and a real Postgres, started once for a worker and only when a test asks for one.

kafka           bootstrap address of the worker's broker
kafka_settings  the same as settings
postgres        DSN of the superuser
database        DSN of a fresh, migrated database of this test's own
topic_name      makes names no other test uses
make_topic      makes such a topic, by default a small one with one partition
"""

import asyncio
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import asyncpg
import hypothesis
import pytest
import structlog

from adamas.embedded.kafka import EmbeddedKafka
from adamas.embedded.postgres import EmbeddedPostgres
from adamas.ports import free_ports
from migrations import runner
from runtime import logs, tracing
from runtime.kafka import ensure_topics
from runtime.settings import KafkaSettings
from schemas.topics import Topic
from tests.spans import Spans

# Here every run looks for new examples; where a change is judged, chance must not.
# How long drawing an example takes says how busy the machine is, nothing about the code.
BUSY = (hypothesis.HealthCheck.too_slow,)
hypothesis.settings.register_profile("here", deadline=None, suppress_health_check=BUSY)
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=BUSY)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

# A test's data need not survive the machine, and tests wait for the cleaner.
FAST_POSTGRES = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}
FAST_KAFKA = {"log.cleaner.backoff.ms": "200", "log.initial.task.delay.ms": "500"}
TEMPLATE = "migrated"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Side by side, tests go to their workers by id: of two with the same one would never run, and nobody would know.
    doubled = [name for name, times in Counter(item.nodeid for item in items).items() if times > 1]
    if doubled:
        raise pytest.UsageError(f"these ids stand for more than one test: {', '.join(doubled)}")


class TopicMaker(Protocol):
    """Creates a topic and returns it as it exists."""

    def __call__(
        self, like: Topic | None = None, *, partitions: int | None = None, **config: str
    ) -> Topic: ...


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command that is tried in this process sets logs up for good; the next test expects to find nothing set up."""
    root = logging.getLogger()
    handlers, level, process = root.handlers, root.level, logs._process
    yield
    logs._process = process
    root.handlers = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    # Not pytest's own folder: it keeps the last three sessions', and this is some hundred megabytes.
    folder = Path(tempfile.mkdtemp(prefix="adamas-tests-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(servers_folder: Path) -> Iterator[str]:
    port, controller_port = free_ports(2)
    server = EmbeddedKafka(servers_folder / "kafka", port, controller_port, FAST_KAFKA)
    server.prepare()
    server.launch()
    try:
        server.wait_ready()
        yield server.bootstrap
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kafka_settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka)


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[str]:
    server = EmbeddedPostgres(servers_folder / "postgres", free_ports(1)[0], FAST_POSTGRES)
    server.prepare()
    server.launch()
    try:
        server.wait_ready()
        yield server.dsn
    finally:
        server.stop()


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    _execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    runner.upgrade(_dsn_of(postgres, TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database(postgres: str, migrated_template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {migrated_template}")
    yield _dsn_of(postgres, name)
    _execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def topic_name() -> Callable[[str], str]:
    return lambda about: f"{about}-{uuid4().hex[:12]}"


@pytest.fixture
def make_topic(kafka_settings: KafkaSettings, topic_name: Callable[[str], str]) -> TopicMaker:
    def make(like: Topic | None = None, *, partitions: int | None = None, **config: str) -> Topic:
        base = like or Topic(name="test", key="any", record="any", partitions=1)
        named = {key.replace("_", "."): value for key, value in config.items()}
        topic = replace(
            base,
            name=topic_name(base.name),
            partitions=partitions or base.partitions,
            config={**base.config, **named},
        )
        ensure_topics(kafka_settings, [topic])
        return topic

    return make


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    made = Spans(monkeypatch, share=True)
    tracing.exported(True)
    yield made
    tracing.exported(False)
    made.provider.shutdown()


def _dsn_of(admin_dsn: str, database: str) -> str:
    return f"{admin_dsn.rpartition('/')[0]}/{database}"


def _execute(dsn: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
