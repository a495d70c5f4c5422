"""How long a stone has been in stock: when it was first seen, and rules that ask for its age."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.stone import Cause, decode_stone, encode
from streams.pricing.engine import DAY_S, PriceBook
from streams.versions import read_version
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED, STONE, Log, raw_page, raw_retire, raw_withdraw, rules, stone

OLD = "old"


def test_when_a_stone_was_first_seen_stays_until_it_is_retired() -> None:
    log = Log()
    log.take(raw_page(item(1), item(2), seq=5, written_s=1_000_000_007))
    log.take(
        raw_page(item(1, price=100), seq=6, run="run-2"), raw_page(item(1, price=100), seq=7, run="run-3")
    )
    log.take(raw_withdraw(8, item(1)["diamond"]["id"]))
    log.take(raw_page(item(1, price=None), seq=9, run="run-4"))
    log.reprice(rules(2, natural_bps=5_000))
    versions = [decode_stone(entry.body or b"") for entry in log.entries if entry.id == STONE]
    assert [version.cause for version in versions] == [
        *(Cause.NEW, Cause.CHANGED, Cause.SEEN, Cause.CHANGED, Cause.SEEN, Cause.REPRICED)
    ]
    assert {version.first_seen for version in versions} == {datetime(2001, 9, 9, 1, 46, 47, tzinfo=UTC)}
    again = raw_page(item(1), seq=11, run="run-5", written_s=2_000_000_000)
    log.take(raw_retire(10, below=10), again)
    assert stone(log).first_seen == datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    written = len(log.entries)
    log.take(again)
    assert len(log.entries) == written


def test_a_fact_that_tells_when_it_was_granted_is_as_old_as_that() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5, written_s=9_000, granted_at=b"7999"))
    assert stone(log).first_seen == datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)


def test_a_stone_of_before_version_3_never_says_when_it_was_first_seen() -> None:
    log = Log()
    former = Log()
    former.take(raw_page(item(1), seq=5))
    (version,) = former.entries
    assert version.body is not None
    assert b'"first_seen":"1970-01-01T00:05:00Z",' in version.body
    log.append(read_version(version.body.replace(b'"first_seen":"1970-01-01T00:05:00Z",', b"")))
    log.take(raw_page(item(1), seq=6, run="run-2"))
    log.reprice(rules(2, natural_bps=5_000))
    assert (stone(log).cause, stone(log).first_seen) == (Cause.REPRICED, None)


def by_age(number: int, day: int) -> PublishedRuleSet:
    """Stones of ten days and more get another margin, counted on a day."""
    row = {"name": OLD, "priority": 1, "when": {"age": {"min": 10}}, "margin_bps": 100}
    content = RuleSet.model_validate({"rules": [row]})
    return rules(number).model_copy(update={"content": content, "valid_at": 1000 * DAY_S * day})


def rules_of(log: Log) -> list[str]:
    return [last.rule for _, last in sorted(log.last().items()) if last is not None]


def test_fresh_facts_are_priced_by_the_age_that_the_number_counts() -> None:
    log = Log()
    log.book = PriceBook(by_age(1, day=10))
    one, two = item(1), item(2, diamond__certificate__comments="not plain: é")
    assert f"{FEED}:{item(2)['diamond']['id']}" > STONE
    log.take(raw_page(one, two, seq=5, written_s=1), raw_page(item(3), item(4), seq=6, written_s=0))
    assert rules_of(log) == ["base:natural", "base:natural", OLD, OLD]
    log.book = PriceBook(by_age(2, day=11))
    log.take(raw_page(one, two, item(5), seq=7, run="run-2", written_s=10 * DAY_S))
    assert rules_of(log) == [OLD, OLD, OLD, OLD, "base:natural"]
    log.take(raw_withdraw(8, item(1)["diamond"]["id"]), raw_withdraw(8, item(5)["diamond"]["id"]))
    assert rules_of(log) == [OLD, OLD, OLD, OLD, "base:natural"]
    log.take(raw_page(item(2, price=7), seq=9, run="run-3", written_s=11 * DAY_S))
    assert rules_of(log) == [OLD, OLD, OLD, OLD, "base:natural"]


def test_a_stone_that_came_and_went_in_a_batch_is_as_old_as_its_last_coming() -> None:
    log = Log()
    log.book = PriceBook(by_age(1, day=10))
    log.take(
        *(raw_page(item(1), seq=5, written_s=0), raw_page(item(1), seq=6, run="run-2", written_s=9 * DAY_S)),
        *(raw_retire(7, below=7), raw_page(item(1), seq=8, run="run-3", written_s=9 * DAY_S)),
    )
    assert [decode_stone(entry.body).rule for entry in log.entries if entry.body] == [
        OLD,
        OLD,
        "base:natural",
    ]


def test_repricing_by_age_moves_what_has_passed_the_limit_and_nothing_else() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5, written_s=0), raw_page(item(2), seq=6, written_s=3 * DAY_S))
    former = decode_stone(log.entries[-1].body or b"")
    log.append(read_version(encode(msgspec.structs.replace(former, id=f"{FEED}:former", first_seen=None))))
    assert len(log.reprice(by_age(2, day=9))) == 3
    log.reprice(by_age(3, day=10))
    assert sorted(rules_of(log)) == ["base:natural", "base:natural", OLD]
    log.reprice(by_age(4, day=500))
    assert sorted(rules_of(log)) == ["base:natural", OLD, OLD]


def test_a_stone_that_came_back_as_it_was_is_young_to_the_next_number() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5, written_s=0))
    log.reprice(by_age(2, day=20))
    assert stone(log).rule == OLD
    log.book = PriceBook(by_age(2, day=20))
    log.take(raw_retire(6, below=6), raw_page(item(1), seq=7, run="run-2", written_s=19 * DAY_S))
    assert stone(log).rule == "base:natural"
    log.reprice(by_age(3, day=21))
    assert stone(log).rule == "base:natural"
    log.reprice(by_age(4, day=29))
    assert stone(log).rule == OLD
