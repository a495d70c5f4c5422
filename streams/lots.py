"""Pages that are decided on together: what is done with a stone costs less than being called for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

from schemas.columns import NULL_INT
from schemas.receipt import Outcome
from streams.owner import weigh
from streams.records import repriced, sheet
from streams.terms import TermsOf
from streams.transcription.decision import KNOWN, OUTCOMES, Fact
from streams.transcription.record import texts
from streams.versions import HASH_TYPE, Sheet


class Items(NamedTuple):
    """What items say, an entry an item in each: id, cost in US cents, encoded content, number of their terms."""

    ids: list[str]
    costs: list[int]
    jsons: list[bytes | memoryview]
    terms: list[int]

    def only(self, places: Sequence[int]) -> Items:
        """Some of them."""
        ids, costs, jsons, terms = self
        return Items(
            [ids[place] for place in places],
            [costs[place] for place in places],
            [jsons[place] for place in places],
            [terms[place] for place in places],
        )


class Brought(NamedTuple):
    """Different stones that a fact brings.

    Attributes:
        slot: the partition of their feed.
        fact: the fact.
        run: its run.
        ids, costs, terms: as in `Items`.
        contents: one behind the other, each as long as `lengths` says.
        hashes: of the contents, one behind the other.
    """

    slot: int
    fact: Fact
    run: str | None
    ids: list[str]
    costs: list[int]
    terms: list[int]
    contents: bytes
    lengths: list[int]
    hashes: bytes


def brought(slot: int, fact: Fact, run: str | None, items: Items) -> Brought:
    """What a fact brings; the items' contents may be written over afterwards."""
    ids, costs, jsons, terms = items
    hashes = b"".join(map(xxh3_64_digest, jsons))
    return Brought(slot, fact, run, ids, costs, terms, b"".join(jsons), [*map(len, jsons)], hashes)


def decide(
    lot: Sequence[Brought], known: NDArray[np.int64], terms: TermsOf, *, understood: bool = True
) -> tuple[Sheet | None, list[list[Outcome]]]:
    """What is written of facts that all bring different stones, and the outcomes of each.

    Args:
        known: what is known of all these stones in order (`Memory.known`).
        terms: those that the stones' numbers are of.
        understood: see `streams.owner.weigh`.
    """
    counts = [len(each.ids) for each in lot]
    facts = np.repeat(np.array([each.fact for each in lot], np.int64), counts, axis=0)
    numbers = np.array([*chain.from_iterable(each.terms for each in lot)], np.int64)
    prices = terms.prices(numbers.tolist(), chain.from_iterable(each.costs for each in lot))
    hashes = np.frombuffer(b"".join([each.hashes for each in lot]), HASH_TYPE).astype(np.int64)
    decided = weigh(known, facts, hashes, prices, understood=understood)
    outcomes = _cut([OUTCOMES[code] for code in decided.outcomes.tolist()], counts)
    if not len(decided.places):
        return None, outcomes
    ids = [*chain.from_iterable(each.ids for each in lot)]
    runs = [*chain.from_iterable([each.run] * len(each.ids) for each in lot)]
    lengths = np.array([*chain.from_iterable(each.lengths for each in lot)], np.int64)
    ends = np.cumsum(lengths)
    begins = ends - lengths
    if len(decided.places) < len(ids):
        places = decided.places
        ids, runs = ([column[place] for place in places.tolist()] for column in (ids, runs))
        begins, ends, numbers = begins[places], ends[places], numbers[places]
    contents = [each.contents for each in lot]
    return sheet(ids, runs, contents, begins, ends, decided, numbers, terms.texts), outcomes


def _cut(outcomes: list[Outcome], counts: Sequence[int]) -> list[list[Outcome]]:
    parts, begin = [], 0
    for count in counts:
        parts.append(outcomes[begin : begin + count])
        begin += count
    return parts


def warm_up() -> None:
    """Have the kernels ready: compiling them anew takes seconds."""
    zero = np.zeros(1, np.int64)
    known = np.full((1, len(KNOWN)), NULL_INT, np.int64)
    decided = weigh(known, np.ones((1, len(Fact._fields)), np.int64), zero, zero)
    named_terms = texts([b""] * 3)
    written = sheet([""], [None], [b"{}"], zero, zero + 2, decided, zero, named_terms)
    repriced(written, zero, zero, named_terms, 1, 1)
