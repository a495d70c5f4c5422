"""What is done with each of many facts, compiled; `streams.owner` says by which rules.

What is known of a stone is a row of numbers, `KNOWN` names them; one that nobody knows is a row of `NULL_INT`, which is
below any fact and, like that of a retired one, without a record.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from schemas.columns import NULL_INT
from schemas.receipt import Outcome
from schemas.stone import Cause
from streams.transcription.words import compiled

NUMBERS: Final = (
    *("seq", "mapper", "rules", "content_hash", "price_cents", "updated_ms", "raw_offset", "first_seen_s"),
    "changed",
)
"""A version's numbers, by their names in `streams.versions.Version`."""
KNOWN: Final = (*NUMBERS, "run", "length")
"""What is known of a stone: its numbers, its run's code and the bytes of its record, below 0 where it has none."""
SEQ, MAPPER, RULES, HASH, PRICE, UPDATED, RAW_OFFSET, FIRST_SEEN, CHANGED, RUN, LENGTH = range(len(KNOWN))

CAUSES: Final = (
    *(Cause.NEW, Cause.CHANGED, Cause.REPRICED, Cause.SEEN),
    *(Cause.REMAPPED, Cause.NOT_UNDERSTOOD, Cause.REPAIRED, Cause.RESTORED),
)
"""Causes by code."""
NEW, CHANGED_CONTENT, REPRICED, SEEN, REMAPPED, NOT_UNDERSTOOD, REPAIRED, RESTORED = range(len(CAUSES))
SILENT: Final = -1
"""Stands for a cause where nothing is written."""
OUTCOMES: Final = (
    *(Outcome.CANONICAL, Outcome.UNCHANGED, Outcome.SUPERSEDED),
    *(Outcome.DUPLICATE, Outcome.DEAD),
)
"""Outcomes by code."""
_CANONICAL, _UNCHANGED, _SUPERSEDED, _DUPLICATE, _DEAD = range(len(OUTCOMES))
NO_RUN: Final = 0
"""Code of no run: facts outside a run are never duplicates of one another."""


class Fact(NamedTuple):
    """A raw record about stones, and the numbers under which it is read now.

    Attributes:
        run: the run's code in the memory.
        may_create: false for a fact granted so long ago that the null of a retired stone may be gone: it never
            brings a stone into being.
        now_ms: when a version that it changes counts as updated, milliseconds since 1970.
        seen_s: when a stone that it brings counts as first seen, seconds since 1970.
    """

    seq: int
    mapper: int
    rules: int
    raw_offset: int
    run: int
    may_create: bool = True
    now_ms: int = 0
    seen_s: int = 0


_FACT_SEQ, _FACT_MAPPER, _FACT_RULES, _FACT_OFFSET, _FACT_RUN, _MAY_CREATE, _NOW, _SEEN_S = range(
    len(Fact._fields)
)


@compiled
def decide(known: Any, fact: Any, content_hash: int, understood: bool) -> tuple[int, int]:
    """Weigh a fact against what is known of its stone: the codes of cause and outcome."""
    seq, mapper, rules = known[SEQ], known[MAPPER], known[RULES]
    # Numbers that are equal so far leave it to the next one.
    above = fact[_FACT_SEQ] - seq or fact[_FACT_MAPPER] - mapper or fact[_FACT_RULES] - rules
    if seq == NULL_INT or (known[LENGTH] < 0 and above > 0):
        return (NEW, _CANONICAL) if fact[_MAY_CREATE] else (SILENT, _SUPERSEDED)
    same = content_hash == known[HASH]
    cause = _cause(known, fact, same, understood) if above > 0 else SILENT
    if not understood:
        return cause, _DEAD
    this_record = seq == fact[_FACT_SEQ] and known[RAW_OFFSET] == fact[_FACT_OFFSET]
    if fact[_FACT_RUN] == known[RUN] and fact[_FACT_RUN] != NO_RUN and not this_record:
        return cause, _DUPLICATE
    if cause != SILENT:
        return cause, _UNCHANGED if cause == SEEN else _CANONICAL
    if above < 0:
        return cause, _SUPERSEDED
    if not same:
        return cause, _DUPLICATE
    return cause, _CANONICAL if known[CHANGED] else _UNCHANGED


@compiled
def _cause(known: Any, fact: Any, same: bool, understood: bool) -> int:
    if not same:
        if not understood:
            return NOT_UNDERSTOOD
        return (
            REMAPPED
            if fact[_FACT_SEQ] == known[SEQ] and fact[_FACT_MAPPER] > known[MAPPER]
            else CHANGED_CONTENT
        )
    if fact[_FACT_RULES] != known[RULES]:
        return REPRICED
    return REMAPPED if fact[_FACT_MAPPER] != known[MAPPER] else SEEN


@compiled
def decide_all(
    known: Any,
    facts: Any,
    hashes: Any,
    prices: Any,
    understood: bool,
    outcomes: Any,
    places: Any,
    causes: Any,
    numbers: Any,
    previous: Any,
) -> int:
    """Weigh facts about many different stones; how many of them are written.

    Args:
        known: a row of `KNOWN` a stone.
        facts: a `Fact` as a row, likewise.
        hashes: of the contents they bring.
        prices: what those cost.
        understood: whether they do bring them.
        outcomes, places, causes, numbers, previous: the parts of a `streams.owner.Decided`, as long as there are stones.
    """
    written = 0
    for place in range(len(hashes)):
        fact, held = facts[place], known[place]
        cause, outcome = decide(held, fact, hashes[place], understood)
        outcomes[place] = outcome
        if cause == SILENT:
            continue
        own, former = numbers[written], NULL_INT
        own[SEQ], own[MAPPER], own[RULES] = fact[_FACT_SEQ], fact[_FACT_MAPPER], fact[_FACT_RULES]
        own[HASH], own[PRICE] = hashes[place], prices[place]
        own[RAW_OFFSET], own[CHANGED] = fact[_FACT_OFFSET], cause != SEEN
        own[UPDATED], own[FIRST_SEEN] = fact[_NOW], fact[_SEEN_S]
        if held[LENGTH] >= 0:
            former, own[FIRST_SEEN] = held[PRICE], held[FIRST_SEEN]
            if prices[place] == former and hashes[place] == held[HASH]:
                own[UPDATED] = held[UPDATED]
        previous[written], causes[written], places[written] = former, cause, place
        written += 1
    return written
