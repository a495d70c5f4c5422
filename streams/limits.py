"""When too much of a feed is refused to go on: 100 items in a row, or more than 5 % of what came lately. Pure.

The share counts once 10 000 items were seen; before that, only a share that chance does not explain does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Final

IN_A_ROW: Final = 100
SHARE: Final = 0.05
WINDOW_ITEMS: Final = 10_000
_LEAST_ITEMS: Final = 500
_SIGMAS: Final = 5.0


@dataclass(slots=True)
class _Feed:
    pages: deque[tuple[int, int]] = field(default_factory=deque)
    items: int = 0
    dead: int = 0
    row: int = 0


class Limits:
    """Counts what is refused of each feed's items."""

    def __init__(self) -> None:
        self._feeds: dict[str, _Feed] = {}

    def count(self, feed: str, refused: Sequence[bool]) -> str | None:
        """Count which of a page's items were refused; why the feed must stop, if it must."""
        seen = self._feeds.setdefault(feed, _Feed())
        dead = refused.count(True)
        longest = _count_row(seen, refused, dead)
        seen.pages.append((len(refused), dead))
        seen.items += len(refused)
        seen.dead += dead
        while seen.items - seen.pages[0][0] >= WINDOW_ITEMS:
            items, gone = seen.pages.popleft()
            seen.items -= items
            seen.dead -= gone
        if longest >= IN_A_ROW:
            return f"{longest} items in a row were refused"
        if seen.items >= _LEAST_ITEMS and seen.dead > _most(seen.items):
            return f"{seen.dead} of the last {seen.items} items were refused"
        return None

    def forget(self, feeds: Collection[str]) -> None:
        """Begin anew with these feeds."""
        for feed in feeds:
            self._feeds.pop(feed, None)


def _count_row(seen: _Feed, refused: Sequence[bool], dead: int) -> int:
    if not dead:
        seen.row = 0
        return 0
    longest = seen.row
    for is_refused in refused:
        seen.row = seen.row + 1 if is_refused else 0
        longest = max(longest, seen.row)
    return longest


def _most(items: int) -> float:
    """How many of so many may be refused."""
    chance = 0.0 if items >= WINDOW_ITEMS else _SIGMAS * sqrt(items * SHARE * (1 - SHARE))
    return SHARE * items + chance
