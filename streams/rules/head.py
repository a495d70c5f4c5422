"""The head of the published rule sets, compiled: the highest number there is."""

from __future__ import annotations

import structlog
from confluent_kafka import Message
from pydantic import ValidationError

from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.ruleset import PublishedRuleSet
from schemas.topics import RULESETS
from streams.pricing.engine import PriceBook

log = structlog.stdlib.get_logger(__name__)


class RuleHead:
    """Follows `pricing.rulesets`.

    Attributes:
        book: the compiled rule set with the highest number; null until there is one. Replaced whole, so that whoever
            reads it once for a batch prices the batch under one number.
        published: what `book` was compiled from.
    """

    def __init__(self, kafka: KafkaSettings, topic: str = RULESETS.name) -> None:
        self.book: PriceBook | None = None
        self.published: PublishedRuleSet | None = None
        self.tail = Tail(kafka, topic, self._apply)

    def _apply(self, messages: list[Message]) -> None:
        for message in messages:
            value = message.value()
            if value is not None:
                self._take(value)

    def _take(self, value: bytes) -> None:
        try:
            published = PublishedRuleSet.model_validate_json(value)
        except ValidationError as error:
            # Files are checked before they are published; what slipped by all the same must not stop the prices.
            log.error("rules.unreadable", mistakes=error.error_count())
            return
        if self.book is None or published.number > self.book.number:
            self.book, self.published = PriceBook(published), published
            log.info("rules.head", number=published.number, rules=len(published.content.rules))
