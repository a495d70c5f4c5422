"""What the owner of a feed does with a fact about a stone: write it, stay silent, or refuse it. Pure.

A version is (`seq`, mapper number, rule number), totally ordered. Against what is known of the stone, a fact is

- higher: written. The cause says what is new: `new` where the stone was not in stock, `changed` for other content
  under a newer seq, `remapped` for a newer mapper, `repriced` for a newer rule set, else `seen`.
- equal, with equal content: silent. This is what makes a replay harmless.
- equal, with other content: refused as a duplicate. One grant brought the stone twice (or a mapper changed without
  its number): whichever stood first in the log stays, so that a replay does not swap them back and forth.
- lower: refused as superseded.

The outcome that the receipt tells, first match wins: `dead`, not understood; `duplicate`, another page of the same run
(or this one) has brought the stone before, written or not; what this very record did when it was processed before;
`superseded`, refused; `canonical` or `unchanged`, written with or without news.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.transcription.decision import NUMBERS, decide_all


class Decided(NamedTuple):
    """What is done with stones; an entry a stone, but in all but the first only of those that are written.

    Attributes:
        outcomes: codes of outcomes, of all.
        places: which of the stones.
        causes: codes of causes.
        numbers: a row of `NUMBERS`.
        previous: the former price, or `NULL_INT`.
    """

    outcomes: NDArray[np.int64]
    places: NDArray[np.int64]
    causes: NDArray[np.int64]
    numbers: NDArray[np.int64]
    previous: NDArray[np.int64]


def weigh(
    known: NDArray[np.int64],
    facts: NDArray[np.int64],
    hashes: NDArray[np.int64],
    prices: NDArray[np.int64],
    *,
    understood: bool = True,
) -> Decided:
    """Weigh facts against what is known of their stones, which are all different.

    Args:
        known: a row a stone; see `Memory.known`.
        facts: a row of `Fact` a stone.
        hashes: of the contents that they bring.
        prices: their prices.
        understood: false where the contents are what is left of a fact that cannot be read.
    """
    count = len(hashes)
    outcomes, places, causes, previous = np.empty((4, count), np.int64)
    numbers = np.empty((count, len(NUMBERS)), np.int64)
    made = Decided(outcomes, places, causes, numbers, previous)
    written = decide_all(known, facts, hashes, prices, understood, *made)
    return Decided(outcomes, *(column[:written] for column in made[1:]))
