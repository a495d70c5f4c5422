"""Facts that are decided on together give what they give one after the other."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory import Memory
from streams.outbox import Outbox
from streams.pricing.engine import DAY_S, PriceBook
from streams.versions import Version
from streams.worker import RawRecord
from tests.unit.streams.items import item
from tests.unit.streams.records import (
    FEED,
    Log,
    book,
    raw_complete,
    raw_page,
    raw_retire,
    raw_withdraw,
)
from tests.unit.streams.test_age import by_age

STONES = range(1, 7)
IDS = [f"{FEED}:{item(number)['diamond']['id']}" for number in STONES]
ITEMS = st.builds(
    # The price without a number is refused, and the text with an accent goes the plain way.
    lambda number, price, town: item(number, price=price, diamond__location=town),
    st.sampled_from(STONES), st.sampled_from([100, 100, 200, None]), st.sampled_from(["INDIA", "INDIA", "Liège"]),
)  # fmt: skip
SEQS, RUNS = st.integers(1, 9), st.sampled_from(["run-1", "run-2", None])
FACTS = st.one_of(
    *[st.builds(lambda items, seq, run: raw_page(*items, seq=seq, run=run, written_s=DAY_S * seq), st.lists(ITEMS, min_size=1, max_size=4), SEQS, RUNS)] * 5,
    st.builds(lambda seq, below: raw_retire(seq, below=min(seq, below)), SEQS, SEQS),
    st.builds(lambda seq, number: raw_withdraw(seq, item(number)["diamond"]["id"]), SEQS, st.sampled_from(STONES)),
    st.builds(raw_complete, SEQS, st.integers(0, 9)),
)  # fmt: skip
BATCHES = st.lists(st.lists(FACTS, min_size=1, max_size=6), min_size=1, max_size=4)


def by_stone(versions: list[Version]) -> dict[str, list[Version]]:
    """Only the order of one stone's records counts."""
    found = defaultdict(list)
    for version in versions:
        found[version.id].append(version)
    return found


def told(out: Outbox) -> Any:
    return sorted(out.receipts), out.dead, out.positions, out.outcomes


def take(log: Log, batch: list[RawRecord], *, together: bool) -> Outbox:
    out = Outbox()
    for record in batch:
        log.worker.take(record, log.book, log.now_ms, out)
        if not together:
            out.settle()
    out.settle()
    log.deliver(out)
    return out


@pytest.mark.parametrize("prices", [book(1), PriceBook(by_age(1, day=15))], ids=["plain", "by age"])
@given(batches=BATCHES, mappers=st.lists(st.sampled_from([1, 1, 2]), min_size=4, max_size=4))
def test_a_batch_of_facts_gives_what_they_give_one_after_the_other(
    prices: PriceBook, batches: list[list[RawRecord]], mappers: list[int]
) -> None:
    logs = LOGS
    for log in logs:
        log.memory = log.worker._memory = Memory()
        log.entries, log.book = [], prices
    for now_ms, (batch, mapper) in enumerate(zip(batches, mappers, strict=False), start=1):
        outs = []
        for log in logs:
            log.now_ms, log.normalisers[FEED].version = now_ms, mapper
            outs.append(take(log, batch, together=log is logs[0]))
        assert told(outs[0]) == told(outs[1])
    together, apart = logs
    assert by_stone(together.entries) == by_stone(apart.entries)
    assert together.memory.repairs == set() == apart.memory.repairs
    assert [together.memory.latest(stone) for stone in IDS] == [apart.memory.latest(stone) for stone in IDS]


LOGS = Log(), Log()


def test_stones_of_several_pages_wait_and_are_one_sheet() -> None:
    log, out = Log(), Outbox()
    for seq in range(1, 4):
        log.worker.take(raw_page(item(seq), item(10 + seq), seq=seq), log.book, 1, out)
    assert (out.stones, out.receipts, out.unfed) == ([], [], 6)
    out.settle()
    assert [len(sheet.ids) for _, sheet in out.stones] == [6]
    assert (len(out.receipts), out.unfed, out.waiting) == (3, 6, set())
    # A stone that waits is decided on before the next page that brings it.
    for seq in (4, 5):
        log.worker.take(raw_page(item(1), item(20 + seq), seq=seq), log.book, 1, out)
    assert [len(sheet.ids) for _, sheet in out.stones] == [6, 2]
