"""Records of the canonical topic that cannot become a row, to `diamonds.dead`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from confluent_kafka import KafkaError, Producer

from connectors.postgres.fold import Refused
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.errors import Retriable
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.topics import DEAD

_FLUSH_S: Final = 35.0
_FEED_OF_SLOT: Final = {feed.slot: feed.name for feed in FEEDS.values()}


def dead_letter(topic: str, refused: Refused) -> DeadLetter:
    """The headers that say where a record of a topic came from and why it was refused."""
    cause, key, value = refused.cause, refused.key or b"", refused.value or b""
    cut = len(value) > MAX_PAYLOAD_BYTES
    return DeadLetter(
        topic=topic,
        partition=refused.slot,
        offset=refused.offset,
        stage="write",
        error=cause.code,
        field=cause.field,
        reason=cause.rule,
        feed=_FEED_OF_SLOT.get(refused.slot, "unknown"),
        stone=key.decode(errors="replace") or None,
        size=len(value) if cut else None,
        sha256=sha256(value).hexdigest() if cut else None,
    )


def send_refused(producer: Producer, topic: str, refused: Sequence[Refused]) -> None:
    """Deliver the dead letters of a topic's batch before its offsets may move.

    Raises:
        Retriable: one was not delivered; sending them again is harmless, a letter is known by its place.
    """
    failures: list[KafkaError] = []

    def _on_delivery(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    for one in refused:
        producer.produce(
            DEAD.name,
            key=one.key,
            value=(one.value or b"")[:MAX_PAYLOAD_BYTES],
            partition=one.slot,
            headers=[*to_headers(dead_letter(topic, one))],
            on_delivery=_on_delivery,
        )
    undelivered = producer.flush(_FLUSH_S)
    if failures or undelivered:
        raise Retriable(f"{len(failures) + undelivered} dead letters were not delivered")
