"""Stones whose next version somebody waits for: read your own writes, through the log.

A fact that went into the raw log is in the stock once the stone's canonical record carries its `seq` or a higher one;
also where that record says nothing new and the index skips it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from connectors.log.records import Records
from schemas.stone import decode_version


class Watch:
    """One stone that is watched."""

    def __init__(self) -> None:
        self._seq = -1
        self._news = asyncio.Event()

    def see(self, seq: int) -> None:
        """A record of the stone is in the index."""
        self._seq = max(self._seq, seq)
        self._news.set()

    async def until(self, seq: int, within_s: float) -> bool:
        """Wait until the index has a version with this seq or a higher one; false when it did not in time."""
        try:
            async with asyncio.timeout(within_s):
                while self._seq < seq:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True


class Awaited:
    """The stones that are watched. Belongs to an event loop; only `note` is called from another thread."""

    def __init__(self) -> None:
        self._watches: dict[bytes, list[Watch]] = {}

    @contextmanager
    def watch(self, stone_id: str) -> Iterator[Watch]:
        """Watch a stone; begin before its fact is written, so that the record cannot pass unseen."""
        key, watch = stone_id.encode(), Watch()
        self._watches.setdefault(key, []).append(watch)
        try:
            yield watch
        finally:
            self._watches[key].remove(watch)
            if not self._watches[key]:
                del self._watches[key]

    def note(self, records: Records, loop: asyncio.AbstractEventLoop) -> None:
        """These records are in the index by now. Called in the tail's thread."""
        if self._watches:
            keys = map(records.key, range(len(records)))
            watched = [(key, records.value(place)) for place, key in enumerate(keys) if key in self._watches]
            if watched:
                loop.call_soon_threadsafe(self._see, watched)

    def _see(self, records: list[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            for watch in self._watches.get(key, ()):
                watch.see(_seq_of(value))


def _seq_of(value: bytes | None) -> int:
    """A record's seq. A null or an unreadable record is no version that anybody waits for."""
    try:
        return -1 if value is None else decode_version(value).seq
    except msgspec.DecodeError:
        return -1
