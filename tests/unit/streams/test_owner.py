"""The decision table, and that a duplicate never depends on what was written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import NULL_INT
from schemas.receipt import Outcome
from schemas.stone import Cause
from streams.owner import weigh
from streams.transcription.decision import CAUSES, KNOWN, NO_RUN, OUTCOMES, Fact
from streams.versions import NO_NUMBER

C, U, S, D, X = Outcome.CANONICAL, Outcome.UNCHANGED, Outcome.SUPERSEDED, Outcome.DUPLICATE, Outcome.DEAD
HASH, OTHER = 11, 22


class Known(NamedTuple):
    """A row of `streams.transcription.decision.KNOWN`."""

    seq: int = 10
    mapper: int = 2
    rules: int = 3
    content_hash: int = HASH
    price_cents: int = 100
    updated_ms: int = 0
    raw_offset: int = 50
    first_seen_s: int = 0
    changed: int = 1
    run: int = 1
    length: int = 900


NOBODY = Known(*[NULL_INT] * len(KNOWN))
GONE = Known(mapper=NO_NUMBER, rules=NO_NUMBER, length=-1, content_hash=0, run=0)


def decide(
    before: Known, fact: Fact, content_hash: int, *, understood: bool = True
) -> tuple[Cause | None, Outcome]:
    hashes = np.array([content_hash])
    made = weigh(np.array([before]), np.array([fact]), hashes, np.array([100]), understood=understood)
    causes = [CAUSES[code] for code in made.causes.tolist()]
    return causes[0] if causes else None, OUTCOMES[made.outcomes[0]]


def slow_decide(
    before: Known, fact: Fact, content_hash: int, understood: bool
) -> tuple[Cause | None, Outcome]:
    """By the letter of `streams.owner`."""
    version, held = (fact.seq, fact.mapper, fact.rules), before[:3]
    if version > held and before.length < 0:
        return (Cause.NEW, C) if fact.may_create else (None, S)
    same, cause = content_hash == before.content_hash, None
    if version > held:
        if not same and not understood:
            cause = Cause.NOT_UNDERSTOOD
        elif not same:
            cause = Cause.REMAPPED if version[:1] == held[:1] and version[1] > held[1] else Cause.CHANGED
        elif version[2] != held[2]:
            cause = Cause.REPRICED
        else:
            cause = Cause.REMAPPED if version[1] != held[1] else Cause.SEEN
    if not understood:
        return cause, X
    this_record = (fact.seq, fact.raw_offset) == (before.seq, before.raw_offset)
    if fact.run == before.run != NO_RUN and not this_record:
        return cause, D
    if version > held:
        return cause, U if cause is Cause.SEEN else C
    if version < held:
        return cause, S
    return cause, D if not same else C if before.changed else U


@pytest.mark.parametrize(
    ("before", "fact", "content", "cause", "outcome"),
    [
        (NOBODY, Fact(5, 2, 3, 51, 2), HASH, Cause.NEW, C),
        (NOBODY, Fact(5, 2, 3, 51, 2, may_create=False), HASH, None, S),
        (Known(), Fact(11, 2, 3, 51, 2), HASH, Cause.SEEN, U),
        (Known(), Fact(11, 2, 3, 51, 2), OTHER, Cause.CHANGED, C),
        (Known(), Fact(11, 2, 3, 51, 1), OTHER, Cause.CHANGED, D),
        (Known(), Fact(11, 2, 3, 51, 1), HASH, Cause.SEEN, D),
        (Known(), Fact(11, 2, 4, 51, 2), HASH, Cause.REPRICED, C),
        (Known(), Fact(11, 1, 3, 51, 2), HASH, Cause.REMAPPED, C),
        (Known(), Fact(10, 3, 3, 50, 1), OTHER, Cause.REMAPPED, C),
        (Known(), Fact(10, 3, 3, 50, 1), HASH, Cause.REMAPPED, C),
        (Known(), Fact(10, 2, 4, 50, 1), HASH, Cause.REPRICED, C),
        (Known(), Fact(10, 2, 3, 50, 1), HASH, None, C),
        (Known(changed=0), Fact(10, 2, 3, 50, 1), HASH, None, U),
        (Known(), Fact(10, 2, 3, 50, 1), OTHER, None, D),
        (Known(), Fact(10, 1, 3, 50, 1), HASH, None, S),
        (Known(), Fact(10, 2, 2, 50, 1), HASH, None, S),
        (Known(), Fact(9, 9, 9, 40, 2), HASH, None, S),
        (Known(), Fact(9, 2, 3, 40, 1), HASH, None, D),
        (Known(run=0), Fact(9, 2, 3, 40, 0), HASH, None, S),
        (Known(run=0), Fact(11, 2, 3, 51, 0), HASH, Cause.SEEN, U),
        (GONE, Fact(11, 1, 1, 51, 2), HASH, Cause.NEW, C),
        (GONE, Fact(11, 1, 1, 51, 2, may_create=False), HASH, None, S),
        (GONE, Fact(10, 9, 9, 51, 2), HASH, None, S),
        (GONE, Fact(9, 2, 3, 51, 2), HASH, None, S),
    ],
)
def test_decisions(before: Known, fact: Fact, content: int, cause: Cause | None, outcome: Outcome) -> None:
    assert decide(before, fact, content) == (cause, outcome)


@pytest.mark.parametrize(
    ("fact", "cause"),
    [
        (Fact(11, 2, 3, 51, 2), Cause.NOT_UNDERSTOOD),
        (Fact(10, 2, 3, 50, 1), None),
        (Fact(9, 2, 3, 49, 1), None),
    ],
)
def test_what_is_not_understood_is_dead_and_never_goes_back(fact: Fact, cause: Cause | None) -> None:
    assert decide(Known(), fact, OTHER, understood=False) == (cause, X)


FEW = st.integers(0, 2)
KNOWNS = st.one_of(
    st.just(NOBODY),
    st.builds(
        Known,
        *(FEW, FEW, FEW, FEW, FEW, FEW, FEW, FEW, st.integers(0, 1), FEW),
        st.sampled_from([-1, 900]),
    ),
)
FACTS = st.builds(Fact, FEW, FEW, FEW, FEW, FEW, st.booleans(), st.just(5), st.just(6))


@given(st.lists(st.tuples(KNOWNS, FACTS, FEW, FEW), min_size=1, max_size=9), st.booleans())
def test_many_stones_are_weighed_each_by_the_letter(
    stones: list[tuple[Known, Fact, int, int]], understood: bool
) -> None:
    known, facts, hashes, prices = (np.array(column, np.int64) for column in zip(*stones, strict=True))
    made = weigh(known, facts, hashes, prices, understood=understood)
    slow = [slow_decide(before, fact, content, understood) for before, fact, content, _ in stones]
    assert [OUTCOMES[code] for code in made.outcomes.tolist()] == [outcome for _, outcome in slow]
    written = [place for place, (cause, _) in enumerate(slow) if cause is not None]
    assert made.places.tolist() == written
    assert [CAUSES[code] for code in made.causes.tolist()] == [slow[place][0] for place in written]
    for place, numbers, previous in zip(written, made.numbers.tolist(), made.previous.tolist(), strict=True):
        before, fact, content, price = stones[place]
        in_stock = before.length > 0
        same = in_stock and (content, price) == (before.content_hash, before.price_cents)
        assert previous == (before.price_cents if in_stock else NULL_INT)
        assert numbers == [
            *(fact.seq, fact.mapper, fact.rules, content, price),
            before.updated_ms if same else fact.now_ms,
            fact.raw_offset,
            before.first_seen_s if in_stock else fact.seen_s,
            slow[place][0] is not Cause.SEEN,
        ]
