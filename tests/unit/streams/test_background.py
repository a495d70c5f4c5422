"""What is done while no fact waits: a new number tried on all stones, its lots, and what was cancelled of it."""

from __future__ import annotations

import pytest

from schemas.ruleset import PublishedRuleSet
from streams.outbox import Outbox
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED, Log, raw_page, rules


def stock(count: int = 3) -> Log:
    log = Log()
    log.take(raw_page(*(item(number) for number in range(1, count + 1)), seq=5))
    return log


async def try_all(log: Log, published: PublishedRuleSet) -> None:
    while await log.background.try_rules(published, [FEED], quiet=False):
        pass


def write(log: Log) -> int:
    """Have one lot written; of how many stones."""
    out = Outbox()
    log.background.fill([FEED], 2_000, out)
    log.deliver(out)
    return len([*out.versions()])


async def test_a_number_is_tried_on_all_stones_before_any_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.background._READ_STONES", 2)
    log, newer = stock(3), rules(2, natural_bps=9_000)
    assert await log.background.try_rules(newer, [FEED], quiet=False)
    assert (write(log), log.background.has_tried(2, [FEED])) == (0, False)
    assert not await log.background.try_rules(newer, [FEED], quiet=False)
    assert log.background.has_tried(2, [FEED])
    assert not log.background.has_tried(2, [FEED, "nivoda-labgrown"])
    assert (log.background.todo, write(log), log.background.todo) == (3, 3, 0)


async def test_what_is_tried_is_read_again_only_while_it_is_quiet() -> None:
    log, newer = stock(3), rules(2, natural_bps=9_000)
    await try_all(log, newer)
    write(log)
    log.take(raw_page(item(1, price=7), seq=6))
    read = log.tried.read
    asked: list[int] = []

    def note(published: PublishedRuleSet, feeds: list[str], limit: int) -> int:
        asked.append(published.number)
        return read(published, feeds, limit)

    log.tried.read = note  # type: ignore[method-assign, assignment]
    await log.background.try_rules(newer, [FEED], quiet=False)
    assert asked == []
    await log.background.try_rules(newer, [FEED], quiet=True)
    assert asked == [2]


async def test_a_cancelled_number_leaves_its_feed_as_it_is_until_the_next() -> None:
    log, newer = stock(3), rules(2, natural_bps=9_000)
    await try_all(log, newer)
    log.background.cancel(FEED, 2)
    assert (log.background.todo, write(log)) == (0, 0)
    assert log.background.left(FEED, 2) == 3
    newest = rules(3, natural_bps=1_000)
    await try_all(log, newest)
    assert (log.background.todo, write(log)) == (3, 3)
    assert {stone.rules_version for stone in log.last().values() if stone} == {3}
