"""Facts in, an outbox of records out: reading, pricing and the owner's decision, stitched together. No Kafka in here.

Each page is read and then decided on, many stones together. An item that is refused goes to the dead letters; the stone
itself, where it is known, becomes unavailable, because we no longer know what is true of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from schemas.errors import Invalid
from schemas.facts import Complete, FactHeaders, Kind, Restore, Retire, Withdraw
from schemas.feeds import FEEDS, stone_id
from schemas.headers import from_headers
from schemas.receipt import Outcome, Receipt, receipt_key
from schemas.stone import Availability, Position, encode, position_key
from schemas.stone import content_hash as hash_of
from streams.dead_letters import Refusal, Source, dead_letter
from streams.lots import Brought, Items, brought, decide
from streams.memory import Memory
from streams.normalise import Normaliser
from streams.outbox import Letter, Outbox
from streams.owner import Decided
from streams.pages import UNREADABLE
from streams.pricing.engine import PriceBook
from streams.reading import Read, Reading
from streams.records import content_of, sheet
from streams.stages import Stages
from streams.terms import TermsOf
from streams.transcription.decision import FIRST_SEEN, LENGTH, RESTORED, Fact
from streams.versions import numbers_of, retired, signed

log = structlog.stdlib.get_logger(__name__)

CREATES_FOR_MS: Final = 30 * 24 * 3_600_000
"""A fact granted longer ago never brings a stone into being: the null of a retired one is kept for 35 days only."""

_decode_complete: Final = msgspec.json.Decoder(Complete).decode
_decode_retire: Final = msgspec.json.Decoder(Retire).decode
_decode_restore: Final = msgspec.json.Decoder(Restore).decode
_decode_withdraw: Final = msgspec.json.Decoder(Withdraw).decode
_POSITION_HEADERS: Final = [("kind", b"position")]


class RawRecord(NamedTuple):
    """A record of `diamonds.raw` as it came; `written_s` is its timestamp, seconds since 1970."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]
    written_s: int


class _Page(NamedTuple):
    """One raw record with stones, and the numbers under which it is read."""

    raw: RawRecord
    headers: FactHeaders
    slot: int
    fact: Fact
    source: Source


class Worker:
    """Turns raw records into an outbox.

    Args:
        memory: what is known of every stone.
        normalisers: the compiled mapping of each feed.
        clock: seconds of processor time, for the limit on a stone.
        receipted: whether the receipt of this partition's and offset's record is in the log already.
    """

    def __init__(
        self,
        memory: Memory,
        normalisers: Mapping[str, Normaliser],
        *,
        clock: Callable[[], float] = time.thread_time,
        receipted: Callable[[int, int], bool] = lambda partition, offset: False,
    ) -> None:
        self._memory = memory
        stages = Stages(clock)
        self._readings = {feed: Reading(feed, each, stages) for feed, each in normalisers.items()}
        self._receipted = receipted

    def take(self, raw: RawRecord, book: PriceBook, now_ms: int, out: Outbox) -> None:
        """Add what a raw record gives to the outbox. No input makes it raise."""
        try:
            headers = from_headers(raw.headers, FactHeaders)
            if headers.feed not in FEEDS or FEEDS[headers.feed].slot != raw.partition:
                raise Invalid("headers.feed", "must be a feed of this partition", "wrong_feed")
            self._fact(raw, headers, book, now_ms, out)
        except Invalid as error:
            self._refuse_record(raw, error, out)

    def repair(self, stone: str, out: Outbox) -> None:
        """Append again what is known of a stone whose last record in the log is lower."""
        version = self._memory.latest(stone)
        if version is not None and stone not in out.overlay:
            out.add_one(FEEDS[stone.partition(":")[0]].slot, version)

    def _fact(self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int, out: Outbox) -> None:
        if headers.kind in (Kind.PAGE, Kind.ITEM):
            self._page(self._page_of(raw, headers, book, now_ms), book, out)
            return
        # Everything else is about what stands in the log by then.
        out.settle()
        if headers.kind is Kind.COMPLETE:
            self._complete(raw, headers, out)
        elif headers.kind is Kind.RETIRE:
            self._retire(raw, out)
        elif headers.kind is Kind.WITHDRAW:
            self._withdraw(self._page_of(raw, headers, book, now_ms), book, out)
        elif headers.kind is Kind.RESTORE:
            self._restore(raw, headers, book, now_ms, out)

    def _page_of(self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int) -> _Page:
        mapper = self._readings[headers.feed].mapper
        run = self._memory.run_code(headers.run)
        # Not our clock: whoever reads the fact again finds the same.
        seen_s = raw.written_s if headers.granted_at is None else headers.granted_at // 1000
        may_create = _may_create(headers, now_ms)
        return _Page(
            raw,
            headers,
            FEEDS[headers.feed].slot,
            Fact(headers.seq, mapper, book.number, raw.offset, run, may_create, now_ms, seen_s),
            Source(
                *(headers.feed, raw.partition, raw.offset, raw.key, headers.seq, headers.run),
                origin=headers.origin,
                redriven=headers.redriven,
                granted_at=headers.granted_at,
            ),
        )

    def _page(self, page: _Page, book: PriceBook, out: Outbox) -> None:
        feed = page.headers.feed
        terms = self._readings[feed].terms(book)
        ages = partial(self._ages, page, book, out)
        ids, items, refused, part = read = self._readings[feed].read(page.raw.value, terms, ages)
        if page.headers.redriven is None:
            # What an operator sent again says nothing about the feed.
            out.last = feed, [place in refused for place in range(len(ids))]
        tell = partial(self._tell, page, ids, refused, out)
        if len(set(ids)) < len(ids):
            tell(self._one_by_one(page, read, terms, out))
            return
        for place in sorted(refused):
            self._dead(page, place, ids[place], refused[place], part(place), terms, out)
        good = items.only([place for place in range(len(ids)) if place not in refused]) if refused else items
        if not out.waiting.isdisjoint(good.ids):
            out.settle()
        out.waiting.update(good.ids)
        out.lots.setdefault(terms, []).append((_brought(page, good), tell))
        out.settler = self._settle

    def _settle(self, out: Outbox) -> None:
        """Decide on all that waits in an outbox."""
        lots, out.lots = out.lots, {}
        out.waiting.clear()
        for terms, lot in lots.items():
            outcomes = self._write([each for each, _ in lot], terms, out)
            for (_, tell), own in zip(lot, outcomes, strict=True):
                tell(own)

    def _ages(
        self, page: _Page, book: PriceBook, out: Outbox, stones: Sequence[str]
    ) -> list[int | None] | None:
        """Ages that count as those of the stones, which may come with this page; null where the rule set does not ask."""
        if not book.asks_age:
            return None
        known = self._known(stones, out)
        seen_s = np.where(known[:, LENGTH] < 0, page.fact.seen_s, known[:, FIRST_SEEN])
        return [book.age_alike(moment) for moment in seen_s.tolist()]

    def _known(self, stones: Sequence[str], out: Outbox) -> NDArray[np.int64]:
        """What is known of stones, also by what is not delivered yet; see `Memory.known`."""
        if not out.waiting.isdisjoint(stones):
            out.settle()
        known = self._memory.known(stones)
        if not out.overlay.keys().isdisjoint(stones):
            for place, stone in enumerate(stones):
                version = out.held(stone)
                if version is not None:
                    known[place] = self._memory.known_of(version)
        return known

    def _one_by_one(self, page: _Page, read: Read, terms: TermsOf, out: Outbox) -> list[Outcome]:
        """Decide on a page that brings a stone twice under one seq; the outcomes of what was not refused.

        The first stands (see `owner`).
        """
        out.settle()
        outcomes = []
        seen: set[str | None] = set()
        for place, stone in enumerate(read.stones):
            if place in read.refused:
                self._dead(page, place, stone, read.refused[place], read.part(place), terms, out)
            elif stone in seen:
                outcomes.append(Outcome.DUPLICATE)
            else:
                seen.add(stone)
                ((outcome,),) = self._write([_brought(page, read.items.only([place]))], terms, out)
                outcomes.append(outcome)
        return outcomes

    def _write(
        self, lot: Sequence[Brought], terms: TermsOf, out: Outbox, *, understood: bool = True
    ) -> list[list[Outcome]]:
        """Decide on what facts of one feed bring, all of it different stones, and add what is to be written."""
        known = self._known([*chain.from_iterable(each.ids for each in lot)], out)
        written, outcomes = decide(lot, known, terms, understood=understood)
        if written is not None:
            out.add(lot[0].slot, written)
        return outcomes

    def _tell(
        self,
        page: _Page,
        ids: list[str | None],
        refused: Mapping[int, Refusal],
        out: Outbox,
        outcomes: list[Outcome],
    ) -> None:
        """Tell the outcomes of a page, of which some items were refused."""
        if refused:
            others = iter(outcomes)
            outcomes = [Outcome.DEAD if place in refused else next(others) for place in range(len(ids))]
        begin = len(stone_id(page.headers.feed, ""))
        self._receipt(page, tuple([stone and stone[begin:] for stone in ids]), tuple(outcomes), out)
        out.count(page.headers.feed, outcomes)

    def _dead(
        self,
        page: _Page,
        index: int,
        stone: str | None,
        refusal: Refusal,
        part: bytes | msgspec.Raw,
        terms: TermsOf,
        out: Outbox,
    ) -> None:
        if not page.headers.too_large:
            out.dead.append(dead_letter(page.source, refusal, bytes(part), index=index, stone=stone))
        if stone is not None:
            self._make_unavailable(page, stone, terms, out, understood=False)

    def _make_unavailable(
        self, page: _Page, stone: str, terms: TermsOf, out: Outbox, *, understood: bool
    ) -> None:
        """Whatever else was known of a stone stays; nothing happens to one that is not in stock."""
        if stone in out.waiting:
            out.settle()
        held = out.held(stone) or self._memory.latest(stone)
        if held is None or held.body is None:
            return
        content = msgspec.structs.replace(content_of(held.body), availability=Availability.UNAVAILABLE)
        number = terms.of(content, terms.book.age(held.first_seen_s))
        items = Items([content.id], [content.cost_cents], [encode(content)], [number])
        self._write([_brought(page, items)], terms, out, understood=understood)

    def _refuse_record(self, raw: RawRecord, error: Invalid, out: Outbox) -> None:
        """A whole record goes to the dead letters; a page's receipt counts the rows that its writer saw in it."""
        stage = "headers" if error.code in ("bad_headers", "wrong_feed") else "decode"
        feed = next((name for name, info in FEEDS.items() if info.slot == raw.partition), "unknown")
        source = Source(feed, raw.partition, raw.offset, raw.key)
        headers = None
        if stage == "decode":
            headers = from_headers(raw.headers, FactHeaders)
            source = source._replace(
                seq=headers.seq,
                run=headers.run,
                origin=headers.origin,
                redriven=headers.redriven,
                granted_at=headers.granted_at,
            )
        out.dead.append(dead_letter(source, Refusal(stage, error), raw.value))
        rows = (headers.rows or 0) if headers else 0
        out.last = feed, [True] * max(1, rows)
        out.count(feed, [Outcome.DEAD] * max(1, rows))
        if headers and headers.kind in (Kind.PAGE, Kind.ITEM):
            page = _Page(raw, headers, raw.partition, Fact(headers.seq, 0, 0, raw.offset, 0), source)
            self._receipt(page, (None,) * rows, (Outcome.DEAD,) * rows, out)

    def _receipt(
        self, page: _Page, stones: tuple[str | None, ...], outcomes: tuple[Outcome, ...], out: Outbox
    ) -> None:
        headers = page.headers
        receipt = Receipt(
            feed=headers.feed,
            run=headers.run,
            partition=headers.partition,
            page=headers.page,
            reread=headers.reread,
            epoch=headers.epoch,
            seq=headers.seq,
            raw_offset=page.raw.offset,
            replayed=self._receipted(page.slot, page.raw.offset),
            stones=stones,
            outcomes=outcomes,
        )
        out.receipts.append(Letter(page.slot, receipt_key(receipt), encode(receipt)))

    def _withdraw(self, page: _Page, book: PriceBook, out: Outbox) -> None:
        withdraw = _decoded(_decode_withdraw, page.raw.value)
        if withdraw.feed != page.headers.feed:
            raise Invalid("feed", "must be the feed of the headers", "wrong_feed_in_fact")
        stone, terms = stone_id(withdraw.feed, withdraw.stone), self._readings[withdraw.feed].terms(book)
        self._make_unavailable(page, stone, terms, out, understood=True)

    def _restore(
        self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int, out: Outbox
    ) -> None:
        """Give stones their content of before a replay back, where nothing has come after what the replay wrote.

        The version stays the replay's: another reading of the same facts by the same mapper is then silent, and any
        later fact or mapper is higher.
        """
        terms = self._readings[headers.feed].terms(book)
        for stone in _decoded(_decode_restore, raw.value).stones:
            known = out.held(stone.id) or self._memory.latest(stone.id)
            if known is None or known.body is None or (known.seq, known.mapper) != (stone.seq, stone.mapper):
                continue
            if stone.content is None:
                out.add_one(raw.partition, retired(stone.id, stone.seq))
                continue
            if stone.content.id != stone.id or stone.content.feed != headers.feed:
                raise Invalid("stones[].content.id", "must be the stone's", "wrong_stone_in_fact")
            json = encode(stone.content)
            content_hash = signed(hash_of(json))
            if content_hash == known.content_hash:
                continue
            number = terms.of(stone.content, book.age(known.first_seen_s))
            version = msgspec.structs.replace(
                known,
                rules=max(known.rules, book.number),
                content_hash=content_hash,
                price_cents=terms.prices([number], [stone.content.cost_cents])[0],
                updated_ms=now_ms,
                changed=True,
            )
            (first, cause, former), numbers = (
                np.array([[0], [RESTORED], [known.price_cents]]),
                numbers_of([version]),
            )
            decided = Decided(first, first, cause, numbers, former)
            written = sheet(
                *([stone.id], [known.run], [json], first, np.array([len(json)]), decided),
                *(np.array([number]), terms.texts),
            )
            out.add(raw.partition, written)

    def _complete(self, raw: RawRecord, headers: FactHeaders, out: Outbox) -> None:
        complete = _decoded(_decode_complete, raw.value)
        known = self._memory.positions.get(headers.feed)
        if complete.forced or (known and (known.seq, known.raw_offset) >= (headers.seq, raw.offset)):
            return
        position = Position(
            feed=headers.feed,
            # A sweep ends after incremental runs that began after it: the data is as fresh as the freshest.
            as_of=max(complete.watermark, known.as_of if known else 0),
            run=complete.run,
            raw_offset=raw.offset,
            seq=headers.seq,
        )
        out.positions.append(
            Letter(raw.partition, position_key(headers.feed), encode(position), _POSITION_HEADERS)
        )

    def _retire(self, raw: RawRecord, out: Outbox) -> None:
        retire = _decoded(_decode_retire, raw.value)
        if retire.feed not in FEEDS or FEEDS[retire.feed].slot != raw.partition:
            raise Invalid("feed", "must be a feed of this partition", "wrong_feed_in_fact")
        fresh = {stone for stone in out.overlay if stone.startswith(f"{retire.feed}:")}
        stones = fresh.union(self._memory.ids_below_seq(retire.feed, retire.below))
        for stone in sorted(stones):
            held = out.held(stone)
            if held is None or (held.body is not None and held.seq < retire.below):
                out.add_one(raw.partition, retired(stone, retire.below))


def _brought(page: _Page, items: Items) -> Brought:
    return brought(page.slot, page.fact, page.headers.run, items)


def _may_create(headers: FactHeaders, now_ms: int) -> bool:
    # The raw log keeps 14 days, and whoever writes an older fact again tells when it was granted.
    return headers.granted_at is None or now_ms - headers.granted_at <= CREATES_FOR_MS


def _decoded(decode: Callable[[bytes], Any], value: bytes) -> Any:
    try:
        return decode(value)
    except UNREADABLE as error:
        raise Invalid("body", f"is not what its kind says: {error}", "bad_fact") from error
