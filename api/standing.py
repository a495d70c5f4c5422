"""How far this replica is behind, told to the metrics and, under a group of its own, to every tool that shows lag.

The group is never subscribed to: it only carries the replica's offsets.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from api.follower import Follower
from runtime.kafka import consumer
from runtime.metrics import gauge
from runtime.settings import KafkaSettings
from schemas.standing import standing_metadata
from schemas.topics import CANONICAL

log = structlog.stdlib.get_logger(__name__)

LAG: Final = gauge("adamas_api_lag_records")

_EVERY_S: Final = 0.1
"""So often a place that has moved is told: owners pace their background work by it (`streams.pace`)."""
_LAG_EVERY_S: Final = 5.0
_TIMEOUT_S: Final = 4.0


def replica_group(port: int) -> str:
    """The group that carries a replica's offsets."""
    return f"adamas-api-{socket.gethostname()}-{port}"


async def tell_standing(kafka: KafkaSettings, follower: Follower, group: str) -> None:
    """Tell offsets as they move, and lag and offsets every few seconds, until cancelled.

    Kafka away: the lag stays as last known.
    """
    client = consumer(kafka, group)
    told: Mapping[int, int] = {}
    lag_due = 0.0
    try:
        while True:
            await asyncio.sleep(_EVERY_S)
            positions, now_s = follower.positions, time.monotonic()
            if now_s >= lag_due and positions:
                lag_due = now_s + _LAG_EVERY_S
                await asyncio.to_thread(_note_lag, client, positions)
            elif positions == told:
                continue
            told = positions
            await asyncio.to_thread(_tell, client, positions)
    finally:
        await asyncio.to_thread(client.close)


def _note_lag(client: Consumer, positions: Mapping[int, int]) -> None:
    try:
        lag = 0
        for slot, offset in positions.items():
            _, end = client.get_watermark_offsets(TopicPartition(CANONICAL.name, slot), timeout=_TIMEOUT_S)
            lag += max(0, end - offset)
        LAG.set(lag)
    except KafkaException as error:
        log.warning("api.kafka_away", error=str(error))


def _tell(client: Consumer, positions: Mapping[int, int]) -> None:
    try:
        at = standing_metadata(int(time.time() * 1000))
        places = [
            TopicPartition(CANONICAL.name, slot, offset, metadata=at) for slot, offset in positions.items()
        ]
        client.commit(offsets=places, asynchronous=False)
    except KafkaException as error:
        log.warning("api.kafka_away", error=str(error))
