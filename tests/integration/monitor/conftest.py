"""Kafka's own tool, for the monitor to be compared with."""

from collections.abc import Callable

import pytest

from drills.kafka_tool import Described, describe

Describe = Callable[[str], dict[tuple[str, int], Described]]


@pytest.fixture
def describe_group(kafka: str) -> Describe:
    return lambda group: describe(kafka, group)
