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

from schemas.receipt import Outcome
from schemas.stone import Cause
from streams.memory import Known


class Fact(NamedTuple):
    """A raw record about stones, and the numbers under which it is read now.

    Attributes:
        run: the run's code in the memory.
        may_create: false for a fact granted so long ago that the null of a retired stone may be gone: it never
            brings a stone into being.
    """

    seq: int
    mapper: int
    rules: int
    raw_offset: int
    run: int
    may_create: bool = True


class Decision(NamedTuple):
    """What to do: the cause to write with, or null for nothing to write, and the item's outcome."""

    cause: Cause | None
    outcome: Outcome


NEW = Decision(Cause.NEW, Outcome.CANONICAL)
_NOT_CREATED = Decision(None, Outcome.SUPERSEDED)
NO_RUN = 0
"""Code of no run: facts outside a run are never duplicates of one another."""


def decide(known: Known | None, fact: Fact, content_hash: int, *, understood: bool = True) -> Decision:
    """Weigh a fact against what is known of its stone."""
    if known is None:
        return NEW if fact.may_create else _NOT_CREATED
    version, held = (fact.seq, fact.mapper, fact.rules), known[:3]
    if known.retired and version > held:
        return NEW if fact.may_create else _NOT_CREATED
    same = content_hash == known.content_hash
    cause = _cause(known, fact, same, understood) if version > held else None
    if not understood:
        return Decision(cause, Outcome.DEAD)
    return Decision(cause, _outcome(known, fact, cause, is_lower=version < held, same=same))


def _cause(known: Known, fact: Fact, same: bool, understood: bool) -> Cause:
    if not same:
        if not understood:
            return Cause.NOT_UNDERSTOOD
        return Cause.REMAPPED if fact.seq == known.seq and fact.mapper > known.mapper else Cause.CHANGED
    if fact.rules != known.rules:
        return Cause.REPRICED
    return Cause.REMAPPED if fact.mapper != known.mapper else Cause.SEEN


def _outcome(known: Known, fact: Fact, cause: Cause | None, *, is_lower: bool, same: bool) -> Outcome:
    this_record = known.seq == fact.seq and known.raw_offset == fact.raw_offset
    if fact.run == known.run != NO_RUN and not this_record:
        return Outcome.DUPLICATE
    if cause is not None:
        return Outcome.UNCHANGED if cause is Cause.SEEN else Outcome.CANONICAL
    if is_lower:
        return Outcome.SUPERSEDED
    if not same:
        return Outcome.DUPLICATE
    return Outcome.CANONICAL if known.changed else Outcome.UNCHANGED
