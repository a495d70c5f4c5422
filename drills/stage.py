"""A stack of a drill's own: real Kafka and Postgres in a temporary folder, members that can be killed at will."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import asyncpg
from confluent_kafka import ConsumerGroupTopicPartitions, Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from adamas.children import Child, launch
from adamas.embedded.kafka import EmbeddedKafka
from adamas.embedded.postgres import EmbeddedPostgres
from adamas.ports import free_ports
from adamas.stack import Member, Options, Ports, Stack
from adamas.supervisor import Supervisor, in_background
from migrations import runner
from runtime.kafka import admin, ensure_topics, producer
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.feeds import FEEDS, SLOTS
from schemas.stone import position_key
from schemas.topics import CANONICAL, RAW, TOPICS
from streams.rules.store import ensure_default

POLL_S: Final = 0.2
"""Asking a process for its metrics costs it milliseconds; oftener would disturb what is measured."""


class Stage:
    """Kafka, Postgres, topics, tables and the default rule set; members are started one by one.

    Args:
        process: how many `process` workers may be started (`process`, `process-2`, …).
        kafka_overrides: broker properties that differ from the embedded server's.
    """

    def __init__(self, *, process: int = 1, kafka_overrides: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="adamas-stage-"))
        self._kafka_overrides = kafka_overrides or {}
        self._options = Options(
            stones=1, seed=0, fresh=True, port_base=3000, api=1, process=process, data=self.folder
        )

    def __enter__(self) -> Self:
        (self.folder / "logs").mkdir()
        self._supervisor = Supervisor(self.folder / "logs")
        kafka_port, controller_port, postgres_port, *rest = free_ports(40)
        kafka = EmbeddedKafka(self.folder / "kafka", kafka_port, controller_port, self._kafka_overrides)
        postgres = EmbeddedPostgres(self.folder / "postgres", postgres_port)
        for preparing in [in_background(server.prepare) for server in (kafka, postgres)]:
            preparing.result()
        self._supervisor.start_server("kafka", kafka)
        self._supervisor.start_server("postgres", postgres)
        kafka.wait_ready()
        postgres.wait_ready()
        self._free_ports = rest
        self.kafka = KafkaSettings(bootstrap=kafka.bootstrap)
        self.dsn = postgres.dsn
        # One client for all questions: one that is let go before its answer came never gives it.
        self._admin = admin(self.kafka)
        ensure_topics(self.kafka, TOPICS)
        runner.upgrade(self.dsn)
        asyncio.run(self._publish_default_rules())
        stack = Stack(self._options, Ports(3000), kafka.bootstrap, postgres.dsn)
        self.environment = {**stack.environment(), "ADAMAS_LOG_FORMAT": "json"}
        self.ports: dict[str, int] = {}
        self.gateways: dict[str, int] = {}
        self.children: dict[str, Child] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children.values():
            if child.exit_code is None:
                child.process.send_signal(signal.SIGCONT)
            child.stop(10)
        # It would go on looking for the broker, and say so behind the line of figures that must be the last.
        del self._admin
        self._supervisor.stop()
        if error is None or isinstance(error, SystemExit):
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"the stage's logs are kept in {self.folder}", file=sys.stderr)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name, the servers' too."""
        return {**self._supervisor.pids(), **{name: child.pid for name, child in self.children.items()}}

    def start(
        self, name: str, environment: Mapping[str, str] | None = None, *, module: str = "adamas.cli"
    ) -> Child:
        """Start a member (`monitor`, `process`, `process-2`, `sink`, `api`, `ingest`) on ports of its own; its log goes on."""
        command = name.partition("-")[0]
        port = self._port(self.ports, name)
        own = {
            **dict.fromkeys(("ADAMAS_HEALTH_PORT", "ADAMAS_API_PORT", "ADAMAS_MONITOR_PORT"), str(port)),
            **(environment or {}),
        }
        if command == "ingest":
            own = {"ADAMAS_GATEWAY_PORT": str(self._port(self.gateways, name)), **own}
        member = Member(name, command, port, {**self.environment, **own})
        command_line = [sys.executable, "-m", module, member.command]
        child = launch(
            name,
            command_line,
            self.folder / "logs" / f"{name}.log",
            environment={**_plain_environment(), **member.environment},
        )
        self.children[name] = child
        return child

    def _port(self, ports: dict[str, int], name: str) -> int:
        """A member's port, the same whenever it is started."""
        if name not in ports:
            ports[name] = self._free_ports.pop()
        return ports[name]

    def wait_ready(self, name: str, timeout_s: float = 60) -> None:
        """Block until a member says it is ready."""
        self.wait(
            lambda: self._get(name, "/health/ready") is not None, timeout_s, f"{name} to be ready", name
        )

    def metric(self, name: str, metric: str, **labels: str) -> float:
        """Sum of a metric over the series with these labels, 0 where there is none (yet)."""
        text = self._get(name, "/metrics") or ""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in text.splitlines() if line.startswith((metric + " ", metric + "{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in wanted))

    def wait(
        self,
        until: Callable[[], bool],
        timeout_s: float,
        what: str,
        member: str | None = None,
        *,
        every_s: float = POLL_S,
    ) -> float:
        """Block until something holds, looked at every so often; the seconds it took.

        Raises:
            TimeoutError: it did not within `timeout_s`.
            ChildDied: the member that was to bring it about has ended.
        """
        start = time.monotonic()
        while not until():
            if member is not None:
                self.children[member].check()
            if time.monotonic() - start > timeout_s:
                raise TimeoutError(f"waited {timeout_s:g} s for {what}")
            time.sleep(every_s)
        return time.monotonic() - start

    async def _publish_default_rules(self) -> None:
        connection = await asyncpg.connect(self.dsn)
        try:
            await ensure_default(connection, self.kafka)
        finally:
            await connection.close()

    def raw_ends(self) -> dict[int, int]:
        """End offset of each raw partition."""
        return self.ends(RAW.name)

    def committed(self, group: str) -> dict[int, int]:
        """A group's committed offset by partition, over the topics it reads."""
        request = ConsumerGroupTopicPartitions(group)
        answer = self._admin.list_consumer_group_offsets([request])[group].result(10)
        return {part.partition: part.offset for part in answer.topic_partitions if part.offset >= 0}

    def lag(self, group: str) -> int:
        """Records a group has not acknowledged, over the partitions that hold any."""
        topic = CANONICAL.name if group == "adamas-sink" else RAW.name
        committed = self.committed(group)
        return sum(end - committed.get(slot, 0) for slot, end in self.ends(topic).items())

    def count_canonical(self) -> int:
        """Records in the canonical topic, as a fresh reader meets them."""
        counted = 0

        def count(messages: list[Message]) -> None:
            nonlocal counted
            counted += len(messages)

        tail = Tail(self.kafka, CANONICAL.name, count)
        tail.start()
        tail.wait_caught_up(120)
        tail.stop()
        return counted

    def roll_canonical(self) -> None:
        """Give every feed's partition a new segment, so that the cleaner may touch what came before."""
        writer = producer(self.kafka)
        for _ in range(3):
            time.sleep(1.5)
            for feed in FEEDS.values():
                key = position_key(f"drill-{feed.name}")
                writer.produce(CANONICAL.name, key=key, value=None, partition=feed.slot)
            writer.flush(10)

    def wait_settled(self, quiet_s: float = 5, timeout_s: float = 120) -> None:
        """Block until the canonical topic has not grown for `quiet_s`: repairs have been written."""
        last, since = self.ends(CANONICAL.name), time.monotonic()
        deadline = since + timeout_s
        while time.monotonic() - since < quiet_s:
            if time.monotonic() > deadline:
                raise TimeoutError("the canonical topic kept growing")
            time.sleep(0.5)
            now = self.ends(CANONICAL.name)
            if now != last:
                last, since = now, time.monotonic()

    def ends(self, topic: str) -> dict[int, int]:
        """End offset of each partition of a topic."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets({TopicPartition(topic, slot): latest for slot in range(SLOTS)})
        return {part.partition: future.result(10).offset for part, future in futures.items()}

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        """Rows of a query on the stage's Postgres."""
        connection = await asyncpg.connect(self.dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
        finally:
            await connection.close()
        return rows

    def get_json(self, name: str, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """A member's JSON answer."""
        request = urllib.request.Request(self._url(name, path), headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def _url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def _get(self, name: str, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._url(name, path), timeout=2) as reply:
                return str(reply.read().decode())
        except OSError:
            return None


def _plain_environment() -> dict[str, str]:

    return {key: value for key, value in os.environ.items() if not key.startswith("ADAMAS_")}
