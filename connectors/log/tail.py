"""Follows a topic by its batches, without a group: first what stands there, then what comes.

Of a compacted topic's reader who keeps the last record of each key, most of what compaction has not got at yet is
nothing to look at, if the newest come first; whoever must know what each record met reads them in order. Like
`runtime.tail`, it is caught up once it has the end offsets that stood when it started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog
import uvloop

from connectors.log.fetching import EARLIEST, LATEST, Cursor, Log
from connectors.log.records import NO_RECORDS, Batch, Records, Room, read
from runtime.settings import KafkaSettings
from runtime.stretches import Stretches
from runtime.tail import Following, SameTopic
from schemas.errors import Retriable

log = structlog.stdlib.get_logger(__name__)

Apply = Callable[[Records, dict[int, int]], None]

_STRETCH: Final = 16_000
"""Records of the stretches in which a topic is loaded, about."""
_LONGEST: Final = 4 * _STRETCH
_PIECE: Final = 2_000
_LOADED_AT_ONCE: Final = 4 << 20
_FOLLOWED_AT_ONCE: Final = 1 << 20
_WAIT_S: Final = 0.25
_FLOW: Final = 100
"""More records than this say that more are on their way: the next ones are then waited for, to be worth their overhead."""
_GATHER_S: Final = 0.1
_RETRY_S: Final = 1.0


class _Stretch(NamedTuple):
    """The batches with the offsets of a partition in [low, behind)."""

    slot: int
    low: int
    behind: int
    batches: list[Batch]


class LogTail(Following):
    """Follows every partition of a topic.

    Args:
        kafka: where Kafka is.
        topic: the topic's name; waited for while it is missing.
        apply: called in one thread, with records and the next offset of each partition that is read up to there.
            While the topic is loaded, each call's records are older than those of the calls before; behind that they
            come in log order. What it raises ends the tail and is kept in `failure`.
        start: first offset to read by partition, the beginning where none is named; everything comes in log order then.
        own: what the caller writes to the topic itself and so knows without reading it back.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        apply: Apply,
        *,
        start: Mapping[int, int] | None = None,
        own: Stretches | None = None,
    ) -> None:
        super().__init__(kafka, topic, start, self._run)
        self._apply = apply
        self._own = own or Stretches()
        self._left: dict[int, int] = {}
        self._room = Room()
        self._worker = ThreadPoolExecutor(1, f"apply-{topic}")
        self._applying: asyncio.Future[None] | None = None

    def stop(self) -> None:
        """Stop reading and wait for what is being applied."""
        super().stop()
        self._worker.shutdown()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._read())
        except Exception as error:
            log.exception("tail.failed", topic=self._topic)
            self._failure = error

    async def _read(self) -> None:
        same = SameTopic(self._kafka, self._topic)
        async with Log(self._kafka, self._topic) as source:
            while not self._stop.is_set():
                try:
                    if not self._ends:
                        await self._take_offsets(source)
                    if self._start is None and not self.caught_up:
                        await self._load(source)
                    await self._follow(source, same)
                except Retriable as error:
                    log.warning("tail.kafka_away", topic=self._topic, error=str(error))
                    await asyncio.sleep(_RETRY_S)
            if self._applying is not None:
                await self._applying

    async def _take_offsets(self, source: Log) -> None:
        slots = await source.slots()
        lows, ends = await source.offsets(slots, EARLIEST), await source.offsets(slots, LATEST)
        self._left = dict(ends)
        self._begin(lows, ends)
        self._note_progress()

    async def _load(self, source: Log) -> None:
        """What stands in the log, stretch by stretch from the end of each partition to its beginning."""
        stretches = self._stretches(source)
        coming = asyncio.ensure_future(anext(stretches, None))
        try:
            while (stretch := await coming) is not None:
                # Fetched while this one is applied.
                coming = asyncio.ensure_future(anext(stretches, None))
                slot = stretch.slot
                for piece in _pieces(stretch.batches):
                    if self._stop.is_set():
                        return
                    records = read(piece, {slot: self._begins[slot]}, {slot: stretch.behind}, self._room)
                    await self._hand_over(records, {})
                self._left[slot] = stretch.low
        finally:
            coming.cancel()
            await asyncio.wait([coming])
        await self._hand_over(NO_RECORDS, self._ends)

    async def _stretches(self, source: Log) -> AsyncIterator[_Stretch]:
        """What is left to be loaded, `_STRETCH` records at once, about."""
        for slot, begin in self._begins.items():
            behind, length = self._left[slot], _STRETCH
            while behind > begin:
                some = await self._fetch(source, slot, max(begin, behind - length), behind)
                found = sum(batch.size for batch in some)
                if found > _LONGEST:
                    length = max(1, (some[-1].behind - some[0].base) * _STRETCH // found)
                    continue
                # A batch that begins before the stretch belongs to it.
                low = max(begin, min([behind - length, *(batch.base for batch in some[:1])]))
                yield _Stretch(slot, low, behind, some)
                behind = low
                # Where compaction has been, few records have many offsets.
                length = max(1, min(2 * length, length * _STRETCH // max(1, found)))

    async def _fetch(self, source: Log, slot: int, begin: int, behind: int) -> list[Batch]:
        """The batches with the offsets in [begin, behind), or the first of them if they hold more than `_LONGEST` records."""
        some: list[Batch] = []
        while begin < behind and sum(batch.size for batch in some) <= _LONGEST:
            fetched = (await source.fetch({slot: begin}, most_bytes=_LOADED_AT_ONCE))[slot].batches
            if not fetched:
                break
            some += [batch for batch in fetched if batch.base < behind]
            begin = fetched[-1].behind
        return some

    async def _follow(self, source: Log, same: SameTopic) -> None:
        if self._applying is not None:
            await self._applying
        cursor, flows = Cursor(source, self._positions), False
        while not self._stop.is_set():
            if same.is_due:
                await asyncio.to_thread(same.refuse_another)
            known = await self._skip(cursor)
            if len(known) == len(cursor.positions):
                await asyncio.sleep(_GATHER_S)
                continue
            low = cursor.positions
            some = await cursor.read_on(
                most_bytes=_FOLLOWED_AT_ONCE,
                least_bytes=_FOLLOWED_AT_ONCE if flows else 1,
                within_s=_GATHER_S if flows else _WAIT_S,
                without=known,
            )
            records = read(some, low, room=self._room)
            flows = len(records) > _FLOW
            if not flows:
                self._room = Room()
            if cursor.positions != low:
                await self._hand_over(records, cursor.positions)

    async def _skip(self, cursor: Cursor) -> Collection[int]:
        """Go on behind what the caller has written; the partitions of which nothing else is new."""
        known = self._own.skips(cursor.positions)
        moved = {slot: offset for slot, offset in known.items() if offset > cursor.positions[slot]}
        if moved:
            cursor.positions = cursor.positions | moved
            await self._hand_over(NO_RECORDS, moved)
        return known

    async def _hand_over(self, records: Records, reached: dict[int, int]) -> None:
        """Have records applied while the next ones are fetched, once those before them are."""
        if self._applying is not None:
            await self._applying
        loop = asyncio.get_running_loop()
        self._applying = loop.run_in_executor(self._worker, self._take, records, reached)

    def _take(self, records: Records, reached: dict[int, int]) -> None:
        self._apply(records, reached)
        self._positions.update(reached)
        self._note_progress()

    def _done(self, slot: int) -> int:
        return max(self._ends[slot] - self._left[slot], super()._done(slot))


def _pieces(some: list[Batch]) -> Iterator[list[Batch]]:
    """Batches of so many records at once as the processor's caches hold while they are worked on; the last ones first."""
    piece: list[Batch] = []
    for batch in reversed(some):
        piece.insert(0, batch)
        if sum(batch.size for batch in piece) >= _PIECE:
            yield piece
            piece = []
    if piece:
        yield piece
