"""The Faust app: the consumer group over `diamonds.raw`, and nothing else of Faust.

No tables (they lose data and hang in recovery), no changelog, no leader topic, no web server, no Faust producer: the
group spreads the feeds over the workers, delivers pages in order and keeps the acknowledged offsets.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka as driver
from mode.services import WaitResults

from runtime.settings import KafkaSettings
from schemas.topics import PROCESS_GROUP
from streams.delivery import TopicNames

GROUP: Final = PROCESS_GROUP
SESSION_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 3.0
COMMIT_EVERY_S: Final = 1.0
FETCH_BYTES: Final = 1024 * 1024
FETCH_WAIT_MS: Final = 50
POLL_WAIT_S: Final = 0.05


class _PromptThread(driver.AIOKafkaConsumerThread):
    """Two waits of Faust's, made short: both let a busy feed stand still for the sake of a quiet one.

    A fetch waits 1.5 s for more, and only one is under way at a time. A poll waits 1 s, and a partition whose buffer
    was full when it began is left out of it even if the buffer has long been drained.
    """

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """As Faust's, with a short wait."""
        return await super().getmany(active_partitions, min(timeout, POLL_WAIT_S))

    def _create_worker_consumer(self, transport: Any) -> Any:
        made = super()._create_worker_consumer(transport)
        made._fetch_max_wait_ms = FETCH_WAIT_MS
        return made


class _PromptConsumer(driver.Consumer):
    """The group's consumer with prompt fetches."""

    def _new_consumer_thread(self) -> Any:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)

    async def wait_first(self, *waited: Any, timeout: Any = None) -> Any:
        """As Faust's, but without a task for each awaited where it hands a message over.

        It waits for the handing over or for the flow to be suspended, with four tasks a page, two thirds of all that a
        page costs in Faust. But a stream's queue takes every message at once (what is fetched ahead is limited by
        pausing partitions), so that there is nothing to wait for.
        """
        if len(waited) != 2:
            return await super().wait_first(*waited, timeout=timeout)
        handed_over, suspended = waited
        suspended.close()
        return WaitResults([handed_over], [await handed_over], False)


def make_app(kafka: KafkaSettings, group: str = GROUP, folder: Path | None = None) -> Any:
    """An app of one consumer group; what Faust keeps of itself goes into `folder`, or the system's temporary one."""
    app = faust.App(
        group,
        broker=[f"aiokafka://{address}" for address in kafka.bootstrap.split(",")],
        autodiscover=False,
        # It makes one although it has no tables, by default wherever the process was started.
        datadir=(folder or Path(tempfile.gettempdir())) / f"{group}-faust",
        broker_commit_interval=COMMIT_EVERY_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_session_timeout=SESSION_TIMEOUT_S,
        # A batch is a fraction of a second; a wait for the tail or for Kafka may be minutes, and heartbeats go on.
        broker_max_poll_interval=600.0,
        broker_request_timeout=60.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCH_BYTES,
        key_serializer="raw",
        value_serializer="raw",
        # Buffered pages are memory: 512 of them are some 60 MB.
        stream_buffer_maxsize=512,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    transport: Any = app.transport
    transport.Consumer = _PromptConsumer
    return app


def leave_unread(app: Any, message: Any) -> None:
    """Let a message pass without an acknowledgement: the committed offset stays before it, and nobody waits for it."""
    # Faust commits what was handed to its `ack` without gaps, and hands over what does not say that it was.
    message.acked = True
    app.consumer.pause_partitions({message.tp})


def raw_topic(app: Any, topics: TopicNames) -> Any:
    """The raw log as a Faust topic whose keys and values stay bytes."""
    return app.topic(
        topics.raw, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw"
    )
