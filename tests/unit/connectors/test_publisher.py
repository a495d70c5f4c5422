from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from connectors.publisher import _by_fate, _TooLarge
from schemas.errors import AdamasError, Fatal, Retriable


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (KafkaError(KafkaError._MSG_TIMED_OUT), Retriable),
        (KafkaError(KafkaError._TRANSPORT), Retriable),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), _TooLarge),
        (KafkaError(KafkaError._FENCED, fatal=True), Fatal),
    ],
)
def test_each_failed_delivery_has_its_fate(error: KafkaError, fate: type[AdamasError]) -> None:
    assert type(_by_fate(error)) is fate
