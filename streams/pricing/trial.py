"""A gradual publish under watch: what its stones do beside the others, and when that is more than was allowed. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np

from schemas.ruleset import HOME_CURRENCY, RATE_ONE, WHOLE_BPS, PublishedRuleSet, Side, TrialLimits
from streams.pricing.engine import in_share
from streams.pricing.guards import Guards, least_cents
from streams.pricing.preview import preview
from streams.pricing.shelf import Shelf


class Arm(msgspec.Struct, frozen=True):
    """The stones of the share, or the others.

    Attributes:
        mean_move_bps: by how much their present prices together differ from what the former rule set asks for them.
        below_floor: how many are priced below cost and least margin at present.
        dead_letters: how many could not be priced since the number was published.
    """

    stones: int
    mean_move_bps: int
    below_floor: int
    dead_letters: int


class Arms(msgspec.Struct, frozen=True):
    """Both of them."""

    number: int
    share_bps: int
    inside: Arm
    outside: Arm


def measure(published: PublishedRuleSet, shelf: Shelf, guards: Guards, dead: Collection[str]) -> Arms:
    """What both arms do now.

    Args:
        published: the number on trial.
        shelf: with the columns of `streams.pricing.shelf.attributes_of(published)`.
        guards: tells the least margin.
        dead: the stones that could not be priced.
    """
    rest = published.rest
    if rest is None:
        raise ValueError("a number that all stones have is on no trial")
    inside = shelf.buckets < published.share_bps
    dead_inside = sum(in_share(stone, published.share_bps) for stone in dead)
    own = Side.model_construct(number=published.number, content=published.content, rate=published.rate)
    return Arms(
        published.number,
        published.share_bps,
        _arm(published, own, shelf.where(inside), guards, dead_inside),
        _arm(published, rest, shelf.where(~inside), guards, len(dead) - dead_inside),
    )


def fault(arms: Arms, limits: TrialLimits) -> str | None:
    """Why the trial must end; null while it may go on."""
    inside = arms.inside
    if abs(inside.mean_move_bps) > limits.mean_move_bps:
        return f"mean move of {inside.mean_move_bps} bps is over the limit of {limits.mean_move_bps}"
    if inside.below_floor > limits.below_floor:
        return f"{inside.below_floor} stones below the floor are over the limit of {limits.below_floor}"
    if inside.dead_letters > limits.dead_letters:
        return f"{inside.dead_letters} stones that could not be priced are over the limit of {limits.dead_letters}"
    return None


def _arm(published: PublishedRuleSet, side: Side, shelf: Shelf, guards: Guards, dead: int) -> Arm:
    former = published.model_copy(
        update={
            "content": published.rest and published.rest.content,
            "rate": published.rest and published.rest.rate,
            "share_bps": WHOLE_BPS,
            "rest": None,
        }
    )
    report = preview(former, shelf, guards, published)
    # Tried the other way round: `after` is what the former rule set asks, `before` what is asked now.
    move = report.before_cents - report.after_cents
    ppm = RATE_ONE if side.content.currency == HOME_CURRENCY or side.rate is None else side.rate.ppm
    own = [code for code, text in enumerate(shelf.texts["currency"]) if text == side.content.currency]
    least = least_cents(shelf.arrays["cost_cents"], guards.min_margin_bps, ppm)
    below = (shelf.arrays["price_cents"] < least) & np.isin(shelf.arrays["currency"], own)
    return Arm(
        stones=len(shelf),
        mean_move_bps=move * WHOLE_BPS // report.after_cents if report.after_cents else 0,
        below_floor=int(np.count_nonzero(below)),
        dead_letters=dead,
    )
