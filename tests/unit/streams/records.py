"""Raw records, rule sets and workers for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.nivoda.mapping import MAPPING
from schemas.facts import Complete, FactHeaders, Kind, Retire, RunKind, Withdraw, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.receipt import Outcome, Receipt
from schemas.ruleset import BaseMargins, PublishedRuleSet, RuleSet
from schemas.seq import make_seq
from schemas.stone import Stone, decode_stone, encode
from streams.background import Background
from streams.memory import Memory
from streams.normalise import Normaliser
from streams.outbox import Outbox
from streams.pricing.engine import PriceBook
from streams.tried import Tried
from streams.versions import Version, sheet_of
from streams.worker import RawRecord, Worker
from tests.unit.streams.items import item, page

FEED = "nivoda-natural"
STONE = f"{FEED}:{item(1)['diamond']['id']}"


def rules(number: int = 1, natural_bps: int = 4_000) -> PublishedRuleSet:
    content = RuleSet(base=BaseMargins(natural_bps=natural_bps))
    return PublishedRuleSet(number=number, published_at=0, actor="test", reason="test", content=content)


def book(number: int = 1, natural_bps: int = 4_000) -> PriceBook:
    return PriceBook(rules(number, natural_bps))


def raw_page(
    *items: object,
    seq: int,
    run: str | None = "run-1",
    number: int = 0,
    offset: int | None = None,
    value: bytes | None = None,
    written_s: int | None = None,
    **headers: Any,
) -> RawRecord:
    """A page fact; its offset and its time (in minutes) follow its seq unless they are named."""
    facts = FactHeaders(
        kind=Kind.PAGE,
        feed=FEED,
        epoch=1,
        seq=make_seq(1, seq),
        run=run,
        partition=0,
        page=number,
        rows=len(items),
    )
    pairs = dict(to_headers(facts)) | headers
    body = page(*items) if value is None else value
    place = seq if offset is None else offset
    written_s = 60 * seq if written_s is None else written_s
    return RawRecord(0, place, fact_key(FEED, run, 0), body, list(pairs.items()), written_s)


def raw_complete(seq: int, watermark: int, run: str = "run-1") -> RawRecord:
    body = Complete(run=run, feed=FEED, kind=RunKind.FULL, watermark=watermark, pages=1, rows=1)
    facts = FactHeaders(kind=Kind.COMPLETE, feed=FEED, epoch=1, seq=make_seq(1, seq), run=run)
    return RawRecord(0, seq, fact_key(FEED, run, None), encode(body), list(to_headers(facts)), 60 * seq)


def raw_retire(seq: int, below: int) -> RawRecord:
    body = Retire(feed=FEED, run="run-1", below=make_seq(1, below), actor="test")
    facts = FactHeaders(kind=Kind.RETIRE, feed=FEED, epoch=1, seq=make_seq(1, seq), run="run-1")
    return RawRecord(0, seq, fact_key(FEED, "run-1", None), encode(body), list(to_headers(facts)), 60 * seq)


def raw_withdraw(seq: int, vendor_id: str) -> RawRecord:
    body = Withdraw(feed=FEED, stone=vendor_id, reason="hold")
    facts = FactHeaders(kind=Kind.WITHDRAW, feed=FEED, epoch=1, seq=make_seq(1, seq))
    return RawRecord(0, seq, fact_key(FEED, None, None), encode(body), list(to_headers(facts)), 60 * seq)


def observe(memory: Memory, *entries: tuple[int, Version]) -> None:
    """Let a memory take in versions of different stones with their offsets."""
    offsets = np.array([offset for offset, _ in entries], np.int64)
    memory.observe(offsets, [sheet_of([version for _, version in entries])])


class Log:
    """A worker with a canonical log in memory: what it writes is delivered at once.

    Attributes:
        entries: every record ever written, in order: its offset is its place.
    """

    def __init__(self, mapper: int = 1, clock: Callable[[], float] | None = None) -> None:
        self.memory = Memory()
        self.entries: list[Version] = []
        self.normalisers = {
            info.name: Normaliser(MAPPING, mapper, info, NIVODA_FORM) for info in FEEDS.values()
        }
        self.receipted: set[int] = set()
        self.worker = self._worker(clock)
        self.tried = Tried(self.memory)
        self.background = Background(self.memory, self.worker, self.tried)
        self.book = book()
        self.now_ms = 1_000

    def _worker(self, clock: Callable[[], float] | None) -> Worker:
        def receipted(_slot: int, offset: int) -> bool:
            return offset in self.receipted

        if clock is None:
            return Worker(self.memory, self.normalisers, receipted=receipted)
        return Worker(self.memory, self.normalisers, clock=clock, receipted=receipted)

    def take(self, *records: RawRecord) -> Outbox:
        """One batch."""
        out = Outbox()
        for record in records:
            self.worker.take(record, self.book, self.now_ms, out)
        out.settle()
        self.deliver(out)
        return out

    def reprice(self, published: PublishedRuleSet) -> list[str]:
        """Try a rule set on all stones and write what it changes, in lots; the stones it leaves as they are."""
        while self.tried.read(published, [FEED], 100):
            pass
        written = len(self.entries)
        self.tried.look(published)
        out = Outbox()
        while self.background.fill([FEED], self.now_ms, out):
            self.deliver(out)
            out = Outbox()
        changed = {version.id for version in self.entries[written:]}
        stock = [stone for stone, last in self.last().items() if last is not None]
        return [stone for stone in stock if stone not in changed]

    def deliver(self, out: Outbox) -> None:
        begin = len(self.entries)
        self.entries += [version for _, version in out.versions()]
        if out.stones:
            offsets = np.arange(begin, len(self.entries))
            self.memory.observe(offsets, [sheet for _, sheet in out.stones])

    def append(self, version: Version) -> None:
        """Somebody else's record, as the tail brings it."""
        observe(self.memory, (len(self.entries), version))
        self.entries.append(version)

    def last(self) -> dict[str, Stone | None]:
        """What the last record of each stone says, as compaction keeps it."""
        return {
            version.id: None if version.body is None else decode_stone(version.body)
            for version in self.entries
        }


def outcomes_of(out: Outbox) -> list[list[Outcome]]:
    """The outcomes in each receipt, in order."""
    return [list(receipt.outcomes) for receipt in receipts_of(out)]


def receipts_of(out: Outbox) -> list[Receipt]:
    return [msgspec.json.decode(letter.value, type=Receipt) for letter in out.receipts]


def stone(log: Log, stone_id: str = STONE) -> Stone:
    """The last version of a stone that is in stock."""
    found = log.last()[stone_id]
    assert found is not None
    return found
