"""The Faust app: the consumer group over `diamonds.raw`, and nothing else of Faust.

No tables (they lose data and hang in recovery), no changelog, no leader topic, no web server, no Faust producer: the
group spreads the feeds over the workers, delivers pages in order and keeps the acknowledged offsets.
"""

from __future__ import annotations

from typing import Any, Final

import faust

from runtime.settings import KafkaSettings
from streams.delivery import TopicNames

GROUP: Final = "adamas-process"
SESSION_TIMEOUT_S: Final = 10.0
HEARTBEAT_S: Final = 3.0
COMMIT_EVERY_S: Final = 1.0
FETCH_BYTES: Final = 4 * 1024 * 1024


def make_app(kafka: KafkaSettings, group: str = GROUP) -> Any:
    """An app of one consumer group."""
    return faust.App(
        group,
        broker=[f"aiokafka://{address}" for address in kafka.bootstrap.split(",")],
        autodiscover=False,
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
        # Buffered pages are memory: 256 of them are some 30 MB.
        stream_buffer_maxsize=256,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )


def raw_topic(app: Any, topics: TopicNames) -> Any:
    """The raw log as a Faust topic whose keys and values stay bytes."""
    return app.topic(
        topics.raw, key_type=bytes, value_type=bytes, value_serializer="raw", key_serializer="raw"
    )
