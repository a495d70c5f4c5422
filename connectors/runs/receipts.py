"""Receipts into Postgres: one row a page, its items as arrays. The first receipt of a raw record counts.

Lives in the sink: what `process` did is counted by who writes what it did, not by who fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Thread
from typing import Final

import msgspec
import structlog
import uvloop
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from runtime.kafka import admin, topic_id
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from runtime.shutdown import Shutdown
from runtime.tail import Tail
from schemas.errors import Retriable
from schemas.receipt import Outcome, Receipt
from schemas.topics import RECEIPTS

log = structlog.stdlib.get_logger(__name__)

CODES: Final[dict[Outcome, int]] = {outcome: code for code, outcome in enumerate(Outcome)}
"""What stands for an outcome in Postgres: its place in `Outcome`."""

_RETRY_S: Final = 1.0
_LOOK_S: Final = 0.5
_GATHER_S: Final = 0.2
"""What comes within this time of a transaction shares the next one: it costs more than the few receipts in it."""
_decode: Final = msgspec.json.Decoder(Receipt).decode

_KEEP: Final = """
INSERT INTO receipts (run, raw_offset, feed, partition, page, reread, seq, stones, outcomes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING"""
_POSITION: Final = """
INSERT INTO log_positions (topic, kafka_partition, topic_id, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (topic, kafka_partition) DO UPDATE SET topic_id = excluded.topic_id, next_offset = excluded.next_offset"""


class ReceiptKeeper:
    """Follows the receipts' topic on a thread of its own; what it cannot write it tries again until told to stop.

    Args:
        kafka: where Kafka is.
        dsn: where Postgres is.
        shutdown: told when the topic cannot be read any more; asked whether to go on trying.
        topic: the receipts' topic.
    """

    def __init__(
        self, kafka: KafkaSettings, dsn: str, shutdown: Shutdown, topic: str = RECEIPTS.name
    ) -> None:
        self._kafka = kafka
        # The position is in the same log as its receipts: what a crash of Postgres loses is read again.
        self._database = Database(dsn, "adamas-ledger", size=1, settings={"synchronous_commit": "off"})
        self._shutdown = shutdown
        self._topic = topic
        self._topic_id = ""
        self._next: dict[int, int] = {}
        self._thread = Thread(target=self._run, name="receipts", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait for the end after a stop was requested."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._follow(runner)
                runner.run(self._database.close())
        except Exception as error:
            log.exception("ledger.failed")
            self._shutdown.fail(error)

    def _follow(self, runner: asyncio.Runner) -> None:
        if not self._patiently(lambda: runner.run(self._open(admin(self._kafka)))):
            return
        # The tail's thread takes the loop over; this one only waits from here on.
        tail = Tail(
            self._kafka,
            self._topic,
            lambda messages: self._apply(runner, messages),
            start=self._next,
        )
        tail.start()
        while not self._shutdown.wait(_LOOK_S):
            if tail.failure is not None:
                raise tail.failure
        tail.stop()

    def _apply(self, runner: asyncio.Runner, messages: list[Message]) -> None:
        self._patiently(lambda: runner.run(self._keep(messages)))
        self._shutdown.wait(_GATHER_S)

    def _patiently(self, work: Callable[[], object]) -> bool:
        """Do it, or try again until it is done; false when the process stops before."""
        while not self._shutdown.requested:
            try:
                work()
            except Retriable as error:
                log.warning("ledger.waits", reason=str(error))
                self._shutdown.wait(_RETRY_S)
            else:
                return True
        return False

    async def _open(self, client: AdminClient) -> None:
        self._topic_id = topic_id(client, self._topic)
        async with self._database.link() as link:
            rows = await link.fetch(
                "SELECT kafka_partition, next_offset FROM log_positions WHERE topic = $1 AND topic_id = $2",
                *(self._topic, self._topic_id),
            )
        self._next = {row["kafka_partition"]: row["next_offset"] for row in rows}

    async def _keep(self, messages: list[Message]) -> None:
        rows, ends = [], dict[int, int]()
        for message in messages:
            slot, value = message.partition() or 0, message.value()
            ends[slot] = (message.offset() or 0) + 1
            receipt = _decode(value) if value is not None else None
            if receipt is not None and receipt.run is not None and receipt.partition is not None:
                rows.append(_row(receipt))
        async with self._database.transaction() as link:
            await link.executemany(_KEEP, rows)
            await link.executemany(
                _POSITION, [(self._topic, slot, self._topic_id, end) for slot, end in ends.items()]
            )


def _row(receipt: Receipt) -> tuple[object, ...]:
    outcomes = [CODES[outcome] for outcome in receipt.outcomes]
    return (
        *(receipt.run, receipt.raw_offset, receipt.feed, receipt.partition, receipt.page or 0),
        *(receipt.reread, receipt.seq, list(receipt.stones), outcomes),
    )
