"""`seq`: when a fact's request was granted, the only order of facts there is.

A seq is (lease epoch, counter) packed in one integer, so that it sorts the same in Python, numpy, Kafka headers
and Postgres. It is given when the budget grants the request, before it is sent: a reply that was slow is an old fact.
"""

from __future__ import annotations

from typing import Final, NewType

Seq = NewType("Seq", int)

_COUNTER_BITS: Final = 40
_COUNTER_MAX: Final = (1 << _COUNTER_BITS) - 1
_EPOCH_MAX: Final = (1 << (63 - _COUNTER_BITS)) - 1


def make_seq(epoch: int, counter: int) -> Seq:
    """Pack a lease epoch (1 to 2**23 - 1) and a counter (0 to 2**40 - 1).

    Raises:
        ValueError: either is out of range.
    """
    if not 0 < epoch <= _EPOCH_MAX:
        raise ValueError(f"lease epoch {epoch} is not in 1..{_EPOCH_MAX}")
    if not 0 <= counter <= _COUNTER_MAX:
        raise ValueError(f"counter {counter} is not in 0..{_COUNTER_MAX}")
    return Seq(epoch << _COUNTER_BITS | counter)


def epoch_of(seq: int) -> int:
    """The lease epoch under which the request was granted."""
    return seq >> _COUNTER_BITS


def counter_of(seq: int) -> int:
    """The request's number within its lease epoch."""
    return seq & _COUNTER_MAX
