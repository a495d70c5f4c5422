"""The decision table, and that a duplicate never depends on what was written."""

from __future__ import annotations

import pytest

from schemas.receipt import Outcome
from schemas.stone import Cause
from streams.memory import NO_NUMBER, Known
from streams.owner import Fact, decide

C, U, S, D, X = Outcome.CANONICAL, Outcome.UNCHANGED, Outcome.SUPERSEDED, Outcome.DUPLICATE, Outcome.DEAD
HASH, OTHER = 11, 22


def known(**changes: int) -> Known:
    made = Known(
        seq=10,
        mapper=2,
        rules=3,
        content_hash=HASH,
        price_cents=100,
        updated_ms=0,
        raw_offset=50,
        first_seen_s=0,
        changed=1,
        run=1,
        length=900,
    )
    return made._replace(**changes)


GONE = known(mapper=NO_NUMBER, rules=NO_NUMBER, length=-1, content_hash=0, run=0)


@pytest.mark.parametrize(
    ("before", "fact", "content", "cause", "outcome"),
    [
        (None, Fact(5, 2, 3, 51, 2), HASH, Cause.NEW, C),
        (None, Fact(5, 2, 3, 51, 2, may_create=False), HASH, None, S),
        (known(), Fact(11, 2, 3, 51, 2), HASH, Cause.SEEN, U),
        (known(), Fact(11, 2, 3, 51, 2), OTHER, Cause.CHANGED, C),
        (known(), Fact(11, 2, 3, 51, 1), OTHER, Cause.CHANGED, D),
        (known(), Fact(11, 2, 3, 51, 1), HASH, Cause.SEEN, D),
        (known(), Fact(11, 2, 4, 51, 2), HASH, Cause.REPRICED, C),
        (known(), Fact(11, 1, 3, 51, 2), HASH, Cause.REMAPPED, C),
        (known(), Fact(10, 3, 3, 50, 1), OTHER, Cause.REMAPPED, C),
        (known(), Fact(10, 3, 3, 50, 1), HASH, Cause.REMAPPED, C),
        (known(), Fact(10, 2, 4, 50, 1), HASH, Cause.REPRICED, C),
        (known(), Fact(10, 2, 3, 50, 1), HASH, None, C),
        (known(changed=0), Fact(10, 2, 3, 50, 1), HASH, None, U),
        (known(), Fact(10, 2, 3, 50, 1), OTHER, None, D),
        (known(), Fact(10, 1, 3, 50, 1), HASH, None, S),
        (known(), Fact(10, 2, 2, 50, 1), HASH, None, S),
        (known(), Fact(9, 9, 9, 40, 2), HASH, None, S),
        (known(), Fact(9, 2, 3, 40, 1), HASH, None, D),
        (known(run=0), Fact(9, 2, 3, 40, 0), HASH, None, S),
        (known(run=0), Fact(11, 2, 3, 51, 0), HASH, Cause.SEEN, U),
        (GONE, Fact(11, 1, 1, 51, 2), HASH, Cause.NEW, C),
        (GONE, Fact(11, 1, 1, 51, 2, may_create=False), HASH, None, S),
        (GONE, Fact(10, 9, 9, 51, 2), HASH, None, S),
        (GONE, Fact(9, 2, 3, 51, 2), HASH, None, S),
    ],
)
def test_decisions(
    before: Known | None, fact: Fact, content: int, cause: Cause | None, outcome: Outcome
) -> None:
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
    assert decide(known(), fact, OTHER, understood=False) == (cause, X)
