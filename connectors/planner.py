"""The planner: cuts a feed into partitions of about equal size by price per carat, asking only for counts.

A vendor's offsets end somewhere and equal shares keep every worker busy to the end, but prices crowd: 770 000
of 900 000 lab-grown stones lie within 200 dollars a carat. So the cuts are searched, not assumed: between two known
points of the cumulated count the next probe is interpolated on a logarithmic price scale, and a cut is taken when it
is near enough to its share or the range has shrunk to one dollar. A single dollar that is still too full is cut
again by carats, and a single step of carats by shape.

The core takes an async count function and touches nothing else.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from connectors.feeds.protocol import Slice
from schemas.errors import Invalid
from schemas.facts import PlanPartition

Count = Callable[[Slice], Awaitable[int]]

TARGET: Final = 5_000
"""Stones in a partition: few enough to read while little shifts under the offsets, many enough that the three or four
requests which make sure of its end stay under 4 % of it."""
CAP_SHARE: Final = 3
"""A partition is planned for at most this part of the vendor's largest offset: counts drift, and one is read until it has
brought twice its estimate before it is cut anew."""
TOLERANCE: Final = 0.15
"""How far a cut may lie from its share, as a share of a partition."""
CROWDED: Final = 1.2
"""A span holding more than this many times the target is cut again: by price, or by carats where it is one dollar."""

CARAT_STEPS: Final = 1_000
"""Steps in a carat on the second axis."""
_MAX_CARAT: Final = 1_000

WHOLE: Final = Slice()
SHAPES: Final = (
    *("ROUND", "OVAL", "EMERALD", "PEAR", "PRINCESS", "CUSHION", "RADIANT", "MARQUISE", "ASSCHER", "HEART"),
    *("CUSHION B", "CUSHION MODIFIED", "CUSHION BRILLIANT", "ASCHER", "BAGUETTE", "BRIOLETTE", "BULLET"),
    *(
        "EUROPEAN",
        "EUROPEAN CUT",
        "FAN",
        "FLANDERS",
        "HALF MOON",
        "HALFMOON",
        "HEPTAGONAL",
        "HEXAGONAL",
        "KITE",
    ),
    *("LOZENGE", "NONAGONAL", "OCTAGONAL", "OLD EUROPEAN", "OLD MINER", "OTHER", "OVAL MIXED CUT"),
    *("PEAR MODIFIED BRILLIANT", "PENTAGONAL", "PRAD", "RECTANGLE", "RECTANGULAR", "ROSE"),
    *("ROUND MODIFIED BRILLIANT", "SHIELD", "SQUARE", "SQUARE EMERALD", "SQUARE RADIANT", "TAPERED BAGUETTE"),
    *("TETRAGONAL", "TRAPEZE", "TRAPEZOID", "TRIANGULAR", "TRILLIANT"),
)
"""Shapes of the third axis, common ones first; source: the vendor's list of accepted shapes."""
_STRANGE: Final = 0.02
"""Share of stones that the listed shapes may lack before the third axis is left alone."""


@dataclass(frozen=True, slots=True)
class _Span:
    """Stones counted between two integer positions of an axis, both inclusive."""

    low: int
    high: int
    stones: int


async def plan_partitions(
    count: Count, whole: Slice = WHOLE, *, offset_cap: int, target: int = TARGET, first_number: int = 0
) -> tuple[int, tuple[PlanPartition, ...]]:
    """Cut a slice into partitions which cover every price of it without gap or overlap.

    Args:
        count: asks the vendor for the stones in a slice. The same slice is asked for once.
        whole: what to cut; the whole feed without one.
        offset_cap: the vendor's largest offset, which no partition may reach.
        target: stones a partition should hold; fewer where the vendor's offsets end early.
        first_number: the first partition's number.

    Returns:
        The vendor's count of the whole, and the partitions in order of price; at least one, the last one as open-ended
        as the whole.

    Raises:
        Invalid: even one dollar, one step of carats and one shape hold more stones than the vendor's offsets reach.
    """
    target = min(target, offset_cap // CAP_SHARE)
    asked = Asked(count)
    low, high = whole.dollars_per_carat
    total = _Span(low, high, await asked(whole))
    if whole.carats or whole.shapes:
        pieces = await _by_carats(asked, whole, total.stones, target)
    else:

        async def by_price(low: int, high: int) -> int:
            return await asked(replace(whole, dollars_per_carat=(low, high)))

        spans = merged(await cut(by_price, total, target), target)
        slices = [(replace(whole, dollars_per_carat=(span.low, span.high)), span.stones) for span in spans]
        parts = await asyncio.gather(*(_by_carats(asked, *part, target) for part in slices))
        pieces = [piece for part in parts for piece in part]
    partitions = tuple(
        _partition(number, part, stones) for number, (part, stones) in enumerate(pieces, first_number)
    )
    _refuse_overfull(partitions, offset_cap)
    return total.stones, partitions


class Asked:
    """Counts by query: a slice that was counted is not counted again."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._known: dict[Slice, asyncio.Task[int]] = {}

    async def __call__(self, part: Slice) -> int:
        """Stones in a slice."""
        if part not in self._known:
            self._known[part] = asyncio.ensure_future(self._count(part))
        return await self._known[part]


def _partition(number: int, part: Slice, stones: int) -> PlanPartition:
    return PlanPartition(
        number=number,
        dollars_per_carat_from=part.dollars_per_carat[0],
        dollars_per_carat_to=part.dollars_per_carat[1],
        estimate=stones,
        carat_from=part.carats[0] if part.carats else None,
        carat_to=part.carats[1] if part.carats else None,
        shapes=part.shapes,
        gone=part.gone,
    )


async def cut(count: Callable[[int, int], Awaitable[int]], span: _Span, target: int) -> list[_Span]:
    """Cut a span into near-equal ones of about `target` stones; halves are searched side by side."""
    if span.stones <= CROWDED * target or span.low == span.high:
        return [span]
    pieces = max(2, round(span.stones / target))
    left, right = await _cut_in_two(count, span, (pieces // 2) / pieces, TOLERANCE * target)
    halves = await asyncio.gather(*(cut(count, half, target) for half in (left, right)))
    return [piece for half in halves for piece in half]


def merged(spans: list[_Span], target: int) -> list[_Span]:
    """Join neighbours that together hold no more than the target: what is left beside a crowded price."""
    joined = spans[:1]
    for span in spans[1:]:
        last = joined[-1]
        if last.stones + span.stones <= target:
            joined[-1] = _Span(last.low, span.high, last.stones + span.stones)
        else:
            joined.append(span)
    return joined


async def _cut_in_two(
    count: Callable[[int, int], Awaitable[int]], span: _Span, share: float, tolerance: float
) -> tuple[_Span, _Span]:
    """Find the position where `share` of the stones lie below, within `tolerance` stones or as near as it gets."""
    aim = span.stones * share
    # A cut at c puts c into the right part. Known: below span.low lies nothing, below span.high + 1 everything.
    low, below_low, high, below_high = span.low, 0, span.high + 1, span.stones
    interpolate = True
    while high - low > 1:
        at = _between(low, high, (aim - below_low) / (below_high - below_low) if interpolate else 0.5)
        # Counts drift: whatever the vendor says, the cumulated count must not fall.
        below = min(max(below_low + await count(low, at - 1), below_low), below_high)
        if abs(below - aim) <= tolerance:
            return _Span(span.low, at - 1, below), _Span(at, span.high, span.stones - below)
        shrunk_from = below_high - below_low
        if below < aim:
            low, below_low = at, below
        else:
            high, below_high = at, below
        # Interpolation creeps along a steep side: a probe that did not halve what is left is followed by a bisection.
        interpolate = not interpolate or 2 * (below_high - below_low) <= shrunk_from
    at, below = _nearer(span, aim, (low, below_low), (high, below_high))
    return _Span(span.low, at - 1, below), _Span(at, span.high, span.stones - below)


def _nearer(span: _Span, aim: float, *cuts: tuple[int, int]) -> tuple[int, int]:
    inner = [cut for cut in cuts if span.low < cut[0] <= span.high]
    return min(inner, key=lambda cut: abs(cut[1] - aim))


def _between(low: int, high: int, share: float) -> int:
    """A position strictly between two, at `share` of the way on a logarithmic scale."""
    share = min(max(share, 0.02), 0.98)
    at = math.exp(math.log(low + 1) * (1 - share) + math.log(high + 1) * share) - 1
    return min(max(round(at), low + 1), high - 1)


async def _by_carats(count: Count, part: Slice, stones: int, target: int) -> list[tuple[Slice, int]]:
    """One slice: itself, or cut by carats, and then by shape, where one dollar is too crowded."""
    low, high = part.dollars_per_carat
    if part.shapes or stones <= CROWDED * target or (low < high and part.carats is None):
        return [(part, stones)]

    async def by_carat(low: int, high: int) -> int:
        return await count(replace(part, carats=_carats(low, high)))

    steps = _steps(part.carats)
    spans = await cut(by_carat, _Span(*steps, stones), target)
    pieces = [
        (
            part
            if (piece.low, piece.high) == steps
            else replace(part, carats=_carats(piece.low, piece.high)),
            piece,
        )
        for piece in spans
    ]
    shaped = await asyncio.gather(*(_by_shape(count, slice_, piece, target) for slice_, piece in pieces))
    return [found for group in shaped for found in group]


async def _by_shape(count: Count, part: Slice, span: _Span, target: int) -> list[tuple[Slice, int]]:
    """One dollar and one step of carats that are still too full: shapes that fill a partition alone, or together."""
    if span.low < span.high or span.stones <= CROWDED * target:
        return [(part, span.stones)]
    groups: list[tuple[tuple[str, ...], int]] = []
    rest, rest_stones = list(SHAPES), span.stones
    while rest_stones > target and len(rest) > 1:
        shape = rest.pop(0)
        stones = await count(replace(part, shapes=(shape,)))
        if groups and groups[-1][1] + stones <= target:
            groups[-1] = ((*groups[-1][0], shape), groups[-1][1] + stones)
        else:
            groups.append(((shape,), stones))
        rest_stones -= stones
    others = replace(part, shapes=tuple(rest))
    counted = await count(others)
    if counted < rest_stones - _STRANGE * span.stones:
        # Shapes that are not in the list: no sum of known ones would bring them.
        return [(part, span.stones)]
    return [*((replace(part, shapes=shapes), stones) for shapes, stones in groups), (others, counted)]


def _carats(low: int, high: int) -> tuple[float, float]:
    """Carats of a span of steps. Neighbours meet half a step off the grid, where no stone's weight is rounded to."""
    return max(0.0, (low - 0.5) / CARAT_STEPS), (high + 0.5) / CARAT_STEPS


def _steps(carats: tuple[float, float] | None) -> tuple[int, int]:
    """The span of steps that these carats are; of all without any."""
    if carats is None:
        return 0, _MAX_CARAT * CARAT_STEPS
    low, high = carats
    return (0 if low == 0 else round(low * CARAT_STEPS + 0.5)), round(high * CARAT_STEPS - 0.5)


def _refuse_overfull(partitions: tuple[PlanPartition, ...], offset_cap: int) -> None:
    for partition in partitions:
        if partition.estimate >= offset_cap:
            raise Invalid(
                "partition",
                f"{partition.dollars_per_carat_from} dollars a carat and {partition.carat_from} to"
                f" {partition.carat_to} carats hold {partition.estimate} stones: more than the vendor's offsets reach",
                "overfull",
            )
