"""How far a run is: which pages are in the log, and which reads are due next. Pure; time and I/O are elsewhere.

What ends a partition, and what makes a page trustworthy, is decided here:

- pages within the vendor's count are read side by side, at a fixed stride;
- a page with fewer stones than its size is read again until a read brings nothing that the earlier ones had not, and
  the page after it once more, one after the other: vendors filter after slicing, and lose now these, now those;
- a partition ends behind its last page with items when the next page was empty twice and the one after it is empty
  too: an empty page with more behind it is a fault of the vendor, not an end;
- a partition with twice the stones it was planned for is cut into smaller ones, which take its place;
- a partition may be opened again: every page is then read once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.facts import PART_STEP, FactHeaders, Kind, Plan, PlanPartition, Split

MOST_READS: Final = 5
"""Reads of a page that brings something else each time, or stays empty although a later one has items."""
OUTGROWN: Final = 2
"""A partition with so many times its estimate is cut while it is read."""
WORTH_CUTTING: Final = 20
"""Pages below which a partition is never cut: reading on is cheaper than counting."""


@dataclass(frozen=True, slots=True)
class Read:
    """One read that is due."""

    partition: int
    page: int
    reread: int


@dataclass(slots=True)
class PartitionProgress:
    """A partition's pages: how often each was read and what it brought.

    Attributes:
        closed: its end, or its split, is in the log.
        whole: it cannot be cut, or is being cut already.
        split: smaller partitions took its place.
    """

    plan: PlanPartition
    page_size: int
    closed: bool = False
    whole: bool = False
    split: bool = False
    _again: set[int] = field(default_factory=set)
    _reads: dict[int, int] = field(default_factory=dict)
    _rows: dict[int, int] = field(default_factory=dict)
    _short: set[int] = field(default_factory=set)
    _stones: dict[int, set[str]] = field(default_factory=dict)
    _agreed: set[int] = field(default_factory=set)
    _under_way: set[int] = field(default_factory=set)
    _last: int = -1
    _unread_from: int = 0

    @property
    def end_page(self) -> int:
        """The page behind the last one with items."""
        return self._last + 1

    @property
    def rows(self) -> int:
        """Items of the fullest read of each page."""
        return sum(self._rows.values())

    @property
    def pages(self) -> int:
        """Pages with items."""
        return sum(1 for rows in self._rows.values() if rows)

    @property
    def ended(self) -> bool:
        """Nothing is under way and nothing is due."""
        return not self._under_way and self.next_page() is None

    @property
    def outgrown(self) -> bool:
        """Whether it is to be cut: it has brought at least twice what was planned, and there is more."""
        most = max(OUTGROWN * self.plan.estimate, WORTH_CUTTING * self.page_size)
        return not self.closed and not self.whole and self.rows >= most

    def empty_before_end(self) -> list[int]:
        """Pages that stayed empty although a later one has items."""
        return [page for page in range(self.end_page) if not self._rows.get(page)]

    def reopen(self) -> None:
        """Read every page once more, and the end."""
        self.closed = False
        self._again = set(range(self.end_page + 1)) - self._under_way

    def next_page(self) -> int | None:
        """The page to read now; none while one under way must be waited for, or at the end."""
        if self.closed:
            return None
        if self._again:
            return min(self._again)
        unread = self._next_unread()
        if unread is not None or self._under_way:
            return unread
        return next((page for page in range(self.end_page + 1) if self._is_doubtful(page)), None)

    def begin(self, page: int) -> Read:
        """A read of this page is under way."""
        self._again.discard(page)
        self._under_way.add(page)
        return Read(self.plan.number, page, self._reads.get(page, 0))

    def abandon(self) -> None:
        """Whatever was under way will not come."""
        self._under_way.clear()
        self._unread_from = 0

    def done(
        self,
        page: int,
        rows: int,
        ids: Iterable[str | None] | None = None,
        reread: int = 0,
        nameless: int = 0,
    ) -> int:
        """A read of this page is in the log (or was empty, and is not); `ids` are unknown of one found in the log.

        Returns:
            How many rows more it brought than every read of the page before.
        """
        stones = None if ids is None else {stone for stone in ids if stone is not None}
        self._under_way.discard(page)
        # Empty reads are not in the log: after a restart the number of the last one that is there counts.
        self._reads[page] = max(self._reads.get(page, 0), reread) + 1
        before = self._rows.get(page, 0)
        self._rows[page] = max(rows, before)
        if (rows - nameless if stones is None else len(stones)) < self.page_size:
            self._short.add(page)
        if stones is not None:
            self._compare(page, stones)
        if rows:
            self._last = max(self._last, page)
        return max(0, rows - before)

    def _compare(self, page: int, stones: set[str]) -> None:
        known = self._stones.get(page)
        # An empty read agrees with an empty one only: of a page with stones it is the vendor's fault, not its news.
        says_something = bool(stones) or not known
        if len(stones) == self.page_size or (known is not None and stones <= known and says_something):
            self._agreed.add(page)
        self._stones[page] = stones | (known or set())

    def _next_unread(self) -> int | None:
        planned = -(-self.plan.estimate // self.page_size)
        # The page behind the last and the one after it are both needed to see the end.
        while self._unread_from < max(planned, self.end_page + 2):
            page = self._unread_from
            if page not in self._reads and page not in self._under_way:
                return page
            self._unread_from += 1
        return None

    def _is_doubtful(self, page: int) -> bool:
        reads = self._reads.get(page, 0)
        if reads >= MOST_READS:
            return False
        if page < self._last and self._rows.get(page, 0) == 0:
            return True
        if page in self._short:
            return page not in self._agreed
        return reads < 2 and page - 1 in self._short


class RunProgress:
    """A run's plan and what of it is in the log.

    Attributes:
        rereads: partition, page and number of every further read of a page that is in the log.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rereads: set[tuple[int, int, int]] = set()
        self.partitions: dict[int, PartitionProgress] = {}
        self._free = 0
        self._add(plan.partitions)

    def _add(self, partitions: Iterable[PlanPartition]) -> None:
        for partition in partitions:
            self.partitions.setdefault(partition.number, PartitionProgress(partition, self.plan.page_size))

    def split(self, split: Split) -> None:
        """Smaller partitions take the place of one; what it has brought stays."""
        self.partitions[split.partition].closed = True
        self.partitions[split.partition].split = True
        self._add(split.into)

    def take_numbers(self, many: int = 1_000) -> int:
        """The first of many numbers that no partition has and none will get."""
        self._free = max(self._free, max(self.partitions) + 1)
        first, self._free = self._free, self._free + many
        return first

    @property
    def complete(self) -> bool:
        """Every partition has ended and its end is in the log."""
        return all(partition.closed for partition in self.partitions.values())

    @property
    def pages(self) -> int:
        """Pages with items, over all partitions."""
        return sum(partition.pages for partition in self.partitions.values())

    @property
    def rows(self) -> int:
        """Items over all pages."""
        return sum(partition.rows for partition in self.partitions.values())

    def next_read(self) -> Read | None:
        """The next read due, earlier partitions first; none while those under way must be waited for."""
        for partition in self.partitions.values():
            page = partition.next_page()
            if page is not None:
                return partition.begin(page)
        return None

    def abandon(self) -> None:
        """Whatever was under way will not come: it is due again."""
        for partition in self.partitions.values():
            partition.abandon()

    def replay(self, facts: Iterable[FactHeaders]) -> None:
        """Take over what the log already holds of this run."""
        parts: dict[tuple[int, int, int], dict[int, FactHeaders]] = {}
        for fact in facts:
            partition = self.partitions.get(fact.partition) if fact.partition is not None else None
            if fact.run != self.plan.run or partition is None:
                continue
            if fact.kind is Kind.EMPTY:
                partition.closed = True
            elif fact.kind is Kind.PAGE and fact.page is not None:
                # A delivery that was repeated is one read, and so are the parts of a large page.
                part, reread = divmod(fact.reread, PART_STEP)
                read = (partition.plan.number, fact.page, reread)
                parts.setdefault(read, {}).setdefault(part, fact)
        for (number, page, reread), facts_of in parts.items():
            rows = sum(fact.rows or 0 for fact in facts_of.values())
            nameless = sum(fact.nameless or 0 for fact in facts_of.values())
            self.logged(self.partitions[number], page, reread, rows, nameless=nameless)

    def logged(
        self,
        partition: PartitionProgress,
        page: int,
        reread: int,
        rows: int,
        ids: Iterable[str | None] | None = None,
        nameless: int = 0,
    ) -> int:
        """A read of this page is in the log; `ids` are unknown of one found there, but how many are no stone's.

        Returns:
            How many rows more it brought than every read of the page before.
        """
        if reread:
            self.rereads.add((partition.plan.number, page, reread))
        return partition.done(page, rows, ids, reread, nameless)
