"""A rule desk with a real stock behind it; the fixture `shop` makes one."""

from __future__ import annotations

from typing import Any

import msgspec

from runtime.kafka import producer
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.ruleset import PublishedRuleSet
from schemas.stone import Stone, encode
from streams.pricing.engine import PriceBook
from streams.pricing.guards import Guards
from streams.pricing.shelves import Shelves
from streams.rules.desk import RuleDesk
from tests.unit.schemas.stones import make_stone

STONES = 300


def a_stone(number: int, **changes: Any) -> Stone:
    return make_stone(id=f"nivoda-natural:{number}", **changes)


class Shop:
    """A desk with a stock, and what a worker would do: re-price every stone under a number."""

    def __init__(self, database: Database, kafka: KafkaSettings, canonical: str, rulesets: str) -> None:
        self.kafka = kafka
        self.canonical = canonical
        self.desk = RuleDesk(database, kafka, Guards(), Shelves(kafka, canonical), rulesets)
        self.stones = {stone.id: stone for stone in map(a_stone, range(STONES))}

    def write(self) -> None:
        sender = producer(self.kafka)
        for stone in self.stones.values():
            sender.produce(self.canonical, encode(stone), stone.id.encode(), partition=0)
        assert sender.flush(20) == 0

    def reprice(self, published: PublishedRuleSet) -> None:
        book = PriceBook(published)
        for stone in self.stones.values():
            priced = book.price(stone)
            self.stones[stone.id] = msgspec.structs.replace(
                stone, price_cents=priced.price_cents, rule=priced.rule, rules_version=book.number
            )
        self.write()

    def prices(self) -> dict[str, int]:
        return {stone.id: stone.price_cents for stone in self.stones.values()}
