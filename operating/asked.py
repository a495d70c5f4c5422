"""What the vendor was asked for when it gave a page, for programs and in words for whoever sets prices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connectors.feeds.protocol import NO_UPPER_END
from schemas.facts import PlanPartition
from schemas.feeds import FEEDS

_KINDS: Final = {True: "lab-grown diamonds", False: "natural diamonds", None: "diamonds"}


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked of the vendor; each condition narrows it, and null is none. Ranges count both ends.

    Attributes:
        page: the first is 0.
        page_size: stones on a full page.
        dollars_per_carat: whole US dollars of the vendor's price; the upper end is null where it is open.
        gone: stones that are no longer for sale, instead of those that are.
        updated_from: only what changed since then, by the vendor's clock.
        began_at: when the reading began that the page belongs to.
        text: all of this in a sentence.
    """

    feed: str
    page: int
    page_size: int
    dollars_per_carat: tuple[int, int | None]
    carats: tuple[float, float] | None
    shapes: tuple[str, ...] | None
    gone: bool
    updated_from: datetime | None
    began_at: datetime
    text: str


def asked(
    feed: str,
    part: PlanPartition,
    page: int,
    page_size: int,
    updated_from: datetime | None,
    began_at: datetime,
    answered_at: datetime | None,
) -> Query:
    """A page's query, from the plan that it belongs to.

    Args:
        feed: whose page it is.
        part: the part of the plan.
        page: its number there; the first is 0.
        page_size: stones on a full page.
        updated_from: the run's lower bound of changes; null where it reads everything.
        began_at: when the run began.
        answered_at: when the page was written; null where it is not shown, and the sentence then tells of the run.
    """
    low, high = part.dollars_per_carat_from, part.dollars_per_carat_to
    top = None if high == NO_UPPER_END else high
    low_carat, high_carat = part.carat_from, part.carat_to
    carats = None if low_carat is None or high_carat is None else (low_carat, high_carat)
    conditions = [
        f"{_KINDS[FEEDS[feed].lab_grown]} {'no longer' if part.gone else 'that are'} for sale (feed {feed})",
        _dollars(low, top),
        carats and f"{carats[0]:g} to {carats[1]:g} carats",
        part.shapes and f"of the shape {' or '.join(part.shapes)}",
        updated_from and f"changed since {_shown(updated_from)}",
    ]
    first = page * page_size
    when = (
        f"answered {_shown(answered_at)}" if answered_at else f"in the reading that began {_shown(began_at)}"
    )
    text = (
        f"{', '.join(one for one in conditions if one)}; of these, stones {first + 1} to {first + page_size}"
        f" (page {page + 1}), {when}"
    )
    return Query(
        *(feed, page, page_size, (low, top), carats, part.shapes, part.gone, updated_from, began_at, text)
    )


def _dollars(low: int, top: int | None) -> str | None:
    if top is None:
        return f"from {low:,} US dollars a carat on" if low else None
    return f"at {low:,} to {top:,} US dollars a carat"


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
