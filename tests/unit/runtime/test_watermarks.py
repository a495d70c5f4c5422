"""Asking for a partition's ends while Kafka is busy with itself."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from runtime.kafka import passing, watermarks
from schemas.errors import Retriable

PLACE = TopicPartition("topic", 3)


class Reader:
    """Answers with what it was given, one thing a question; an error is raised."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)

    def get_watermark_offsets(self, _place: TopicPartition, timeout: float) -> Any:
        assert timeout > 0
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, int):
            raise KafkaException(KafkaError(answer))
        return answer


def ask(*answers: object, timeout_s: float = 5) -> tuple[int, int]:
    return watermarks(Reader(*answers), PLACE, timeout_s)  # type: ignore[arg-type]


def test_a_leader_that_is_being_chosen_is_asked_again() -> None:
    assert ask(KafkaError.NOT_LEADER_FOR_PARTITION, None, KafkaError._TRANSPORT, (4, 9)) == (4, 9)


def test_who_never_answers_may_be_asked_another_time() -> None:
    with pytest.raises(Retriable, match="topic 3"):
        ask(KafkaError.LEADER_NOT_AVAILABLE, timeout_s=0.2)


def test_a_topic_that_is_not_there_is_not_waited_for() -> None:
    with pytest.raises(KafkaException):
        ask(KafkaError.UNKNOWN_TOPIC_OR_PART)


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._FATAL])
def test_what_waiting_does_not_mend_does_not_pass(code: int) -> None:
    assert not passing(KafkaError(code))
