"""Sums over a stock that need no order, so that stores which keep stones differently can be compared.

Each stone gives a number made from what must be the same everywhere; a feed's stones are added up by the last two characters
of their ids. Where two stores disagree, only the endings that differ need to be listed to name the stones. A version
that says nothing new (cause `seen`) has no row and changes no item: neither its seq nor its run is summed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

MODULUS: Final = 1 << 60
"""A term is 15 hex digits; sums are taken modulo this, in any order and in any language."""
ENDING: Final = 2
"""Characters of an id that name a sum: 256 of them for ids in hex."""

SQL_TERM: Final = """('x' || left(encode(sha256(convert_to(concat_ws('|', id, cost_cents, price_cents, availability,
    (extract(epoch FROM updated_at) * 1000)::bigint), 'UTF8')), 'hex'), 15))::bit(60)::bigint"""
"""`term` of a row of `diamonds`."""


class Summed(msgspec.Struct, frozen=True, gc=False):
    """What is summed of a stone; a subset of `schemas.stone.Stone`, read from its bytes."""

    id: str
    feed: str
    cost_cents: int
    price_cents: int
    availability: str
    updated_at: datetime


decode_summed: Final = msgspec.json.Decoder(Summed).decode


def term(stone: Summed) -> int:
    """A stone's number."""
    updated_ms = round(stone.updated_at.timestamp() * 1000)
    text = f"{stone.id}|{stone.cost_cents}|{stone.price_cents}|{stone.availability}|{updated_ms}"
    return int(sha256(text.encode()).hexdigest()[:15], 16)


class Sum(msgspec.Struct, frozen=True):
    """So many stones, and their terms' sum."""

    stones: int = 0
    total: int = 0


@dataclass
class Sums:
    """A feed's stones by the ending of their ids."""

    by_ending: dict[str, Sum] = field(default_factory=dict)

    def add(self, stone: str, number: int) -> None:
        """Count a stone in."""
        self._move(stone, 1, number)

    def remove(self, stone: str, number: int) -> None:
        """Count a stone out that was counted in with this number."""
        self._move(stone, -1, -number)

    def _move(self, stone: str, stones: int, number: int) -> None:
        ending = stone[-ENDING:]
        held = self.by_ending.get(ending, Sum())
        moved = Sum(held.stones + stones, (held.total + number) % MODULUS)
        if moved.stones:
            self.by_ending[ending] = moved
        else:
            del self.by_ending[ending]

    @property
    def whole(self) -> Sum:
        """Over all endings."""
        return Sum(
            sum(held.stones for held in self.by_ending.values()),
            sum(held.total for held in self.by_ending.values()) % MODULUS,
        )

    def apart(self, other: Sums) -> set[str]:
        """Endings under which the two differ."""
        return {
            ending
            for ending in self.by_ending.keys() | other.by_ending.keys()
            if self.by_ending.get(ending) != other.by_ending.get(ending)
        }


def sums_of(stones: Iterable[Summed]) -> dict[str, Sums]:
    """By feed."""
    feeds: dict[str, Sums] = {}
    for stone in stones:
        feeds.setdefault(stone.feed, Sums()).add(stone.id, term(stone))
    return feeds
