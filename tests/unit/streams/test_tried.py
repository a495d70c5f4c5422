"""What columns say of a new number is what the engine gives each stone; what the owner wrote need not be read again."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.columns import epoch_s
from schemas.ruleset import PublishedRuleSet, Rate, RuleSet, Side
from schemas.stone import Stone
from streams.outbox import Outbox
from streams.pricing.engine import PriceBook
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED, Log, book, raw_page, rules

EUR = Rate(id="eur", currency="EUR", ppm=917_431, at=1, source="test")


def stock(count: int = 40) -> Log:
    log = Log()
    log.take(raw_page(*(item(number, price=1_000 * number) for number in range(1, count + 1)), seq=5))
    return log


def a_share(number: int = 2) -> PublishedRuleSet:
    rows = [
        {
            "name": "dear", "priority": 1, "when": {"cost_cents": {"min": 1_500_000}}, "margin_bps": 2_000,
            "rounding": {"to_cents": 100, "ending_cents": 99},
        }
    ]  # fmt: skip
    rated = {"base": 5, "rules": [{"name": "r", "priority": 1, "when": {"shape": "ROUND"}, "rating": 9}]}
    content = RuleSet.model_validate({"rules": rows, "ratings": rated, "currency": "EUR"})
    return PublishedRuleSet(
        number=number,
        published_at=0,
        actor="test",
        reason="test",
        content=content,
        rate=EUR,
        share_bps=5_000,
        rest=Side(number=1, content=RuleSet()),
    )


def terms(stone: Stone) -> tuple[Any, ...]:
    return (stone.price_cents, stone.currency, stone.rule, stone.margin_bps, stone.rate_id, stone.rating)


def expected(stone: Stone, book: PriceBook) -> tuple[Any, ...]:
    age = book.age(epoch_s(stone.first_seen))
    margin = book.margin(stone, age)
    euro = b'"EUR"' in margin.sale_json
    price = margin.price(stone.cost_cents)
    return (
        price,
        "EUR" if euro else "USD",
        margin.rule,
        margin.bps,
        "eur" if euro else None,
        book.rating(stone, age),
    )


def test_what_columns_say_is_what_the_engine_gives() -> None:
    log, published = stock(), a_share()
    left = log.reprice(published)
    changed = [stone for stone in log.last().values() if stone and stone.id not in left]
    assert left
    assert changed
    for stone in log.last().values():
        assert stone is not None
        assert stone.rules_version == (1 if stone.id in left else 2)
        assert terms(stone) == expected(stone, PriceBook(published))


def test_what_was_written_as_foretold_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    log = stock()
    log.reprice(a_share())

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(log.tried, "_put", refuse)
    back = rules(3)
    log.reprice(back)
    for stone in log.last().values():
        assert stone is not None
        assert terms(stone) == expected(stone, PriceBook(back))


def test_a_stone_that_moved_on_since_it_was_tried_is_left_alone_and_tried_again() -> None:
    log = stock(3)
    newer = rules(2, natural_bps=9_000)
    log.tried.read(newer, [FEED], 100)
    log.tried.look(newer)
    log.take(raw_page(item(1, price=7), seq=6))
    out = Outbox()
    assert log.background.fill([FEED], 2_000, out)
    log.deliver(out)
    assert len([*out.versions()]) == 2
    log.book = book(2, natural_bps=9_000)
    log.take(raw_page(item(2, price=70_000), seq=7))
    log.reprice(newer)
    log.reprice(rules(3, natural_bps=1_000))
    for stone in log.last().values():
        assert stone is not None
        assert stone.rules_version == 3
        assert terms(stone) == expected(stone, book(3, natural_bps=1_000))
