"""Facts in, an outbox of records out: normalise, price and the owner's decision, stitched together. No Kafka in here.

Each page passes two timed stages, normalise and price, and then the decision; contents and terms whose values were met
before need neither, and are taken together. A stone that fails a stage, or takes it over a second of processor time
(not of the clock: a process that was paused is not a slow stone), goes to the dead letters; the stone itself, where it
is known, becomes unavailable, because we no longer know what is true of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from schemas.errors import Invalid
from schemas.facts import Complete, FactHeaders, Kind, Restore, Retire, Withdraw
from schemas.feeds import FEEDS, stone_id
from schemas.headers import from_headers
from schemas.receipt import Outcome, Receipt, receipt_key
from schemas.stone import (
    Availability,
    Cause,
    Content,
    Position,
    encode,
    position_key,
)
from streams.dead_letters import Refusal, Source, dead_letter
from streams.memory import Known, Memory, Version, retired
from streams.normalise import Normaliser, is_plain
from streams.outbox import Letter, Outbox
from streams.owner import Fact, decide
from streams.pages import UNREADABLE, PageReader
from streams.pricing import PriceBook
from streams.records import Frame, content_of
from streams.terms import TermsOf
from streams.versions import Ready, hash_of, hashes_of, version_of

log = structlog.stdlib.get_logger(__name__)

STAGE_LIMIT_S: Final = 1.0
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
    frame: Frame
    source: Source
    now_ms: int
    seen_s: int


class _Encoded(NamedTuple):
    """A content as it stands in a record; the object, where it was one, else its entries (see `Contents`)."""

    json: bytes | memoryview
    content: Content | None = None
    entries: bytes | None = None


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
        self._normalisers = normalisers
        self._clock = clock
        self._receipted = receipted
        self._terms: dict[str, TermsOf] = {}

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
            out.add(FEEDS[stone.partition(":")[0]].slot, version)

    def _fact(self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int, out: Outbox) -> None:
        if headers.kind in (Kind.PAGE, Kind.ITEM):
            self._page(self._read_page(raw, headers, book, now_ms), book, out)
        elif headers.kind is Kind.COMPLETE:
            self._complete(raw, headers, out)
        elif headers.kind is Kind.RETIRE:
            self._retire(raw, out)
        elif headers.kind is Kind.WITHDRAW:
            self._withdraw(self._read_page(raw, headers, book, now_ms), book, out)
        elif headers.kind is Kind.RESTORE:
            self._restore(raw, headers, book, now_ms, out)

    def _read_page(self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int) -> _Page:
        mapper = self._normalisers[headers.feed].version
        run = self._memory.run_code(headers.run)
        return _Page(
            raw,
            headers,
            FEEDS[headers.feed].slot,
            Fact(headers.seq, mapper, book.number, raw.offset, run, _may_create(headers, now_ms)),
            Frame(headers.seq, mapper, book.number, raw.offset, headers.run),
            Source(
                *(headers.feed, raw.partition, raw.offset, raw.key, headers.seq, headers.run),
                origin=headers.origin,
                redriven=headers.redriven,
                granted_at=headers.granted_at,
            ),
            now_ms,
            # Not our clock: whoever reads the fact again finds the same.
            raw.written_s if headers.granted_at is None else headers.granted_at // 1000,
        )

    def _page(self, page: _Page, book: PriceBook, out: Outbox) -> None:
        feed = page.headers.feed
        ready = self._ready(page, self._terms_of(feed, book), out)
        ids = self._ids(page, ready)
        outcomes = self._decide(page, ids, ready, book, out)
        begin = len(stone_id(feed, ""))
        stones = tuple([stone and stone[begin:] for stone in ids])
        self._receipt(page, stones, tuple(outcomes), out)
        out.count(feed, outcomes)
        if page.headers.redriven is not None:
            # What an operator sent again says nothing about the feed.
            out.last = None

    def _terms_of(self, feed: str, book: PriceBook) -> TermsOf:
        terms = self._terms.get(feed)
        if terms is None or terms.book is not book:
            terms = self._terms[feed] = TermsOf(book, self._normalisers[feed].transcriber)
        return terms

    def _ready(self, page: _Page, terms: TermsOf, out: Outbox) -> list[Any]:
        """A `Ready` for each item, or a `Refusal`."""
        normaliser, value = self._normalisers[page.headers.feed], page.raw.value
        plain = is_plain(value)
        read = normaliser.content_of_plain if plain else normaliser.content

        def normalise(item: Any) -> _Encoded:
            content = read(item)
            return _Encoded(encode(content), content)

        def price(encoded: _Encoded) -> Ready:
            json, content = encoded.json, encoded.content or content_of(encoded.json)
            (age,) = self._ages(page, [content.id], terms.book, out) or (None,)
            given = terms.of(content, age, encoded.entries)
            return Ready(content.id, content.cost_cents, json, hash_of(json), given)

        if not plain or normaliser.transcriber is None:
            items = _refused(normaliser.pages.decode(value))
            return self._stage("price", price, self._stage("normalise", normalise, items))
        raw = normaliser.pages.split(value)
        made = normaliser.transcriber.transcribe(raw, terms.fields)
        known: list[Any] = terms.known(made.entries, self._ages(page, made.ids, terms.book, out))
        hashes = hashes_of(made.jsons)
        ready: list[Any] = [*map(Ready, made.ids, made.costs, made.jsons, hashes, known)]
        left = [place for place, stone in enumerate(made.ids) if not stone]
        items = _refused(normaliser.pages.item(raw[place]) for place in left)
        anew = dict(zip(left, self._stage("normalise", normalise, items), strict=True))
        if None in known:
            for place, given in enumerate(known):
                if given is None and place not in anew:
                    anew[place] = _Encoded(made.jsons[place], entries=made.entries[place])
        for place, found in zip(anew, self._stage("price", price, [*anew.values()]), strict=True):
            ready[place] = found
        return ready

    def _ages(
        self, page: _Page, stones: Sequence[str], book: PriceBook, out: Outbox
    ) -> list[int | None] | None:
        """Ages that count as those of the stones, which may come with this page; null where the rule set does not ask."""
        if not book.asks_age:
            return None
        known = map(self._with_overlay, stones, self._memory.lookup(stones), repeat(out))
        return [
            book.age_alike(page.seen_s if before is None or before.retired else before.first_seen_s)
            for before in known
        ]

    def _with_overlay(self, stone: str, known: Known | None, out: Outbox) -> Known | None:
        version = out.overlay.get(stone)
        return known if version is None else self._known_from(version)

    def _stage(self, stage: str, work: Callable[[Any], Any], inputs: Sequence[Any]) -> list[Any]:
        """Results in order, a `Refusal` in the place of each that failed here or earlier."""
        if not inputs:
            return []
        started = self._clock()
        results = _attempt(stage, work, inputs)
        if self._clock() - started > STAGE_LIMIT_S:
            # Which one was it? Only a stone that is slow again on its own is at fault.
            results = [
                self._timed(stage, work, given, result) for given, result in zip(inputs, results, strict=True)
            ]
        return results

    def _timed(self, stage: str, work: Callable[[Any], Any], given: Any, result: Any) -> Any:
        started = self._clock()
        _attempt(stage, work, [given])
        took_s = self._clock() - started
        if took_s <= STAGE_LIMIT_S:
            return result
        took_ms = round(took_s * 1000)
        rule = f"took {took_ms} ms in {stage}; a stone is given {STAGE_LIMIT_S * 1000:g}"
        return Refusal(stage, Invalid("item", rule, "too_slow"), took_ms)

    def _ids(self, page: _Page, ready: list[Any]) -> list[str | None]:
        if Refusal not in set(map(type, ready)):
            return [made.id for made in ready]
        reader = self._reader(page)
        parts = reader.split(page.raw.value)
        ids: list[str | None] = []
        for made, part in zip(ready, parts, strict=True):
            if type(made) is not Refusal:
                ids.append(made.id)
                continue
            vendor_id = reader.stone(part)
            ids.append(stone_id(page.headers.feed, vendor_id) if vendor_id and vendor_id.strip() else None)
        return ids

    def _reader(self, page: _Page) -> PageReader:
        return self._normalisers[page.headers.feed].pages

    def _decide(
        self, page: _Page, ids: list[str | None], ready: list[Any], book: PriceBook, out: Outbox
    ) -> list[Outcome]:
        outcomes = []
        seen: set[str | None] = set()
        known = self._memory.lookup(ids)
        for index, (stone, made, before) in enumerate(zip(ids, ready, known, strict=True)):
            if stone in out.overlay:
                before = self._known_from(out.overlay[stone])
            if type(made) is Refusal:
                self._dead(page, index, stone, made, before, book, out)
                outcomes.append(Outcome.DEAD)
            elif stone in seen:
                # The page brings the stone twice under one seq: the first stands (see `owner`).
                outcomes.append(Outcome.DUPLICATE)
            else:
                seen.add(stone)
                outcomes.append(_write(page, made, before, out, understood=True))
        return outcomes

    def _known_from(self, version: Version) -> Known:
        return Known(
            *(version.seq, version.mapper, version.rules, version.content_hash, version.price_cents),
            version.updated_ms,
            version.raw_offset,
            version.first_seen_s,
            version.changed,
            self._memory.run_code(version.run),
            -1 if version.body is None else len(version.body),
        )

    def _dead(
        self,
        page: _Page,
        index: int,
        stone: str | None,
        refusal: Refusal,
        before: Known | None,
        book: PriceBook,
        out: Outbox,
    ) -> None:
        if not page.headers.too_large:
            payload = bytes(self._reader(page).split(page.raw.value)[index])
            out.dead.append(dead_letter(page.source, refusal, payload, index=index, stone=stone))
        if stone is not None:
            self._make_unavailable(page, stone, before, book, out, understood=False)

    def _make_unavailable(
        self, page: _Page, stone: str, before: Known | None, book: PriceBook, out: Outbox, *, understood: bool
    ) -> None:
        """Whatever else was known of a stone stays; nothing happens to one that is not in stock."""
        if before is None or before.retired:
            return
        held = out.overlay.get(stone)
        body = held.body if held is not None else self._memory.body(stone)
        if body is None:
            return
        content = msgspec.structs.replace(content_of(body), availability=Availability.UNAVAILABLE)
        json, age = encode(content), book.age(before.first_seen_s)
        terms = book.margin(content, age), book.rating(content, age)
        ready = Ready(content.id, content.cost_cents, json, hash_of(json), terms)
        _write(page, ready, before, out, understood=understood)

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
        out.count(feed, [Outcome.DEAD] * max(1, rows))
        if headers and headers.kind in (Kind.PAGE, Kind.ITEM):
            fact = Fact(headers.seq, 0, 0, raw.offset, 0)
            frame = Frame(headers.seq, 0, 0, raw.offset, headers.run)
            page = _Page(raw, headers, raw.partition, fact, frame, source, 0, 0)
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
        withdraw = _read(_decode_withdraw, page.raw.value)
        if withdraw.feed != page.headers.feed:
            raise Invalid("feed", "must be the feed of the headers", "wrong_feed_in_fact")
        stone = stone_id(withdraw.feed, withdraw.stone)
        before = self._with_overlay(stone, self._memory.lookup([stone])[0], out)
        self._make_unavailable(page, stone, before, book, out, understood=True)

    def _restore(
        self, raw: RawRecord, headers: FactHeaders, book: PriceBook, now_ms: int, out: Outbox
    ) -> None:
        """Give stones their content of before a replay back, where nothing has come after what the replay wrote.

        The version stays the replay's: another reading of the same facts by the same mapper is then silent, and any
        later fact or mapper is higher.
        """
        for stone in _read(_decode_restore, raw.value).stones:
            known = out.overlay.get(stone.id) or self._memory.latest(stone.id)
            if known is None or known.body is None or (known.seq, known.mapper) != (stone.seq, stone.mapper):
                continue
            if stone.content is None:
                out.add(raw.partition, retired(stone.id, stone.seq))
                continue
            if stone.content.id != stone.id or stone.content.feed != headers.feed:
                raise Invalid("stones[].content.id", "must be the stone's", "wrong_stone_in_fact")
            json = encode(stone.content)
            content_hash = hash_of(json)
            if content_hash == known.content_hash:
                continue
            age = book.age(known.first_seen_s)
            margin = book.margin(stone.content, age)
            version = version_of(
                Ready(
                    stone.id,
                    stone.content.cost_cents,
                    json,
                    content_hash,
                    (margin, book.rating(stone.content, age)),
                ),
                Frame(known.seq, known.mapper, max(known.rules, book.number), known.raw_offset, known.run),
                Cause.RESTORED,
                known.price_cents,
                margin.price(stone.content.cost_cents),
                now_ms,
                known.first_seen_s,
            )
            out.add(raw.partition, version)

    def _complete(self, raw: RawRecord, headers: FactHeaders, out: Outbox) -> None:
        complete = _read(_decode_complete, raw.value)
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
        retire = _read(_decode_retire, raw.value)
        if retire.feed not in FEEDS or FEEDS[retire.feed].slot != raw.partition:
            raise Invalid("feed", "must be a feed of this partition", "wrong_feed_in_fact")
        fresh = {version.id for _, version in out.stones if version.id.startswith(f"{retire.feed}:")}
        stones = fresh.union(self._memory.ids_below_seq(retire.feed, retire.below))
        for stone in sorted(stones):
            held = out.overlay.get(stone)
            if held is None or (held.body is not None and held.seq < retire.below):
                out.add(raw.partition, retired(stone, retire.below))


def _may_create(headers: FactHeaders, now_ms: int) -> bool:
    # The raw log keeps 14 days, and whoever writes an older fact again tells when it was granted.
    return headers.granted_at is None or now_ms - headers.granted_at <= CREATES_FOR_MS


def _refused(items: Iterable[Any]) -> list[Any]:
    return [Refusal("decode", item) if isinstance(item, Invalid) else item for item in items]


def _attempt(stage: str, work: Callable[[Any], Any], inputs: Sequence[Any]) -> list[Any]:
    results: list[Any] = []
    waiting = iter(inputs)
    while len(results) < len(inputs):
        # One `try` for as many as succeed: entering it for each is a tenth of what a stone costs here.
        try:
            results.extend(given if type(given) is Refusal else work(given) for given in waiting)
        except Invalid as error:
            # A copy: the one that was raised holds the frames it went through, and by them its page and the whole batch
            # until the collector looks for cycles.
            results.append(Refusal(stage, Invalid(error.field, error.rule, error.code)))
        except Exception as error:
            # A mistake of ours that one item brings out must not stop the feed; the item waits in the dead letters.
            log.exception("process.stage_failed", stage=stage)
            results.append(Refusal(stage, Invalid("item", f"raised {type(error).__name__}", "unexpected")))
    return results


def _write(page: _Page, made: Ready, before: Known | None, out: Outbox, *, understood: bool) -> Outcome:
    """Decide on an item and add what is to be written."""
    content_hash = made.content_hash
    cause, outcome = decide(before, page.fact, content_hash, understood=understood)
    if cause is None:
        return outcome
    price = made.terms[0].price(made.cost_cents)
    previous, updated_ms, first_seen_s = None, page.now_ms, page.seen_s
    if before is not None and not before.retired:
        previous, first_seen_s = before.price_cents, before.first_seen_s
        if price == previous and content_hash == before.content_hash:
            updated_ms = before.updated_ms
    out.add(page.slot, version_of(made, page.frame, cause, previous, price, updated_ms, first_seen_s))
    return outcome


def _read(decode: Callable[[bytes], Any], value: bytes) -> Any:
    try:
        return decode(value)
    except UNREADABLE as error:
        raise Invalid("body", f"is not what its kind says: {error}", "bad_fact") from error
