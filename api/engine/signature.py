"""A stone's closed attributes as single bits of one 64-bit word, so that all their filters are one test together.

Each attribute has a bit for every value, or group of values, that is often asked for, and one for the rest. A query
forbids the bits of what it does not want. Where it wants only part of a group, the attribute's code is looked at too.

The word is kept as two halves. `FRONT` holds what nearly every query asks for; `REAR` what the clusters already
answer, and rarer filters: it is read only when a query forbids something there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GONE: Final = 1 << 31
"""The bit of the front half that a place without a stone has."""

_FINISH: Final = (("8X", "ID"), ("EX",), ("VG",))
_SHAPES: Final = (
    *("ROUND", "OVAL", "EMERALD", "CUSHION", "CUSHION BRILLIANT", "CUSHION MODIFIED", "ASSCHER", "RADIANT"),
    *("MARQUISE", "PEAR", "PRINCESS", "HEART"),
)


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


_FRONT: Final = {
    "color": _each(*"DEFGHIJKLM", "FANCY"),
    "clarity": _each("FL", "IF", "VVS1", "VVS2", "VS1", "VS2", "SI1", "SI2", "I1"),
    "cut": _each("8X", "ID", "EX", "VG", "G"),
    "availability": _each("available"),
}
_REAR: Final = {
    "shape": _each(*_SHAPES),
    "lab_grown": ((False,), (True,)),
    "polish": _FINISH,
    "symmetry": _FINISH,
    "fluorescence": (("NONE",), ("VERY_SLIGHT", "SLIGHT"), ("FAINT",), ("MEDIUM",), ("STRONG",)),
    "lab": _each("GIA", "IGI"),
}
_COMPLETE: Final = ("lab_grown",)
"""Attributes without a rest: they have no other value, and are never unknown."""


class Bits:
    """The bits of one attribute within its half."""

    def __init__(self, name: str, groups: Sequence[Sequence[Any]], offset: int) -> None:
        self.name = name
        self.offset = offset
        self.groups = len(groups) + (name not in _COMPLETE)
        self.mask = ((1 << self.groups) - 1) << offset
        self.rest = 1 << (offset + self.groups - 1)
        self._bit: dict[Any, int] = {}
        self._group: dict[int, frozenset[Any]] = {}
        for place, values in enumerate(groups):
            bit = 1 << (offset + place)
            self._bit.update(dict.fromkeys(values, bit))
            if len(values) > 1:
                self._group[bit] = frozenset(values)
        # What is answered by the bit alone.
        self._alone = {value: bit for value, bit in self._bit.items() if bit not in self._group}

    def of(self, value: Any) -> int:
        """The bit of a value; None is unknown."""
        return self._bit.get(value, self.rest)

    def forbid(self, wanted: Iterable[Any]) -> tuple[int, bool]:
        """The bits of what is not wanted, and whether they say it all."""
        allowed, whole = 0, True
        alone = self._alone
        for value in wanted:
            bit = alone.get(value)
            if bit is None:
                bit = self.of(value)
                whole = whole and bit in self._group and self._group[bit].issubset(wanted)
            allowed |= bit
        return self.mask & ~allowed, whole


def _half(attributes: dict[str, Any]) -> MappingProxyType[str, Bits]:
    found: dict[str, Bits] = {}
    offset = 0
    for name, groups in attributes.items():
        found[name] = Bits(name, groups, offset)
        offset += found[name].groups
    assert offset <= 32
    return MappingProxyType(found)


FRONT: Final = _half(_FRONT)
REAR: Final = _half(_REAR)
assert not any(bits.mask & GONE for bits in FRONT.values())


@lru_cache(maxsize=4096)
def forbidden(name: str, wanted: tuple[Any, ...]) -> tuple[int, int, bool]:
    """The bits of the front and of the rear half that one attribute's filter forbids, and whether they say it all.

    Remembered: shoppers ask for the same few shapes and grades again and again.
    """
    if name in FRONT:
        bits, whole = FRONT[name].forbid(wanted)
        return bits, 0, whole
    bits, whole = REAR[name].forbid(wanted)
    return 0, bits, whole


SIGNED: Final = frozenset((*FRONT, *REAR))
"""Attributes that have bits."""

_SHAPE: Final = REAR["shape"]
_LAB_GROWN: Final = REAR["lab_grown"]
CLUSTER: Final = _SHAPE.mask | _LAB_GROWN.mask
"""The bits of the rear half that make the cluster, with the weight."""

CLUSTERS: Final = 2 * _SHAPE.groups
"""Clusters there are; natural stones first, then lab-grown ones, each by shape."""

CLUSTER_BITS: Final = tuple(
    1 << (_LAB_GROWN.offset + lab_grown) | 1 << (_SHAPE.offset + shape)
    for lab_grown in (0, 1)
    for shape in range(_SHAPE.groups)
)
"""The two bits of the rear half that each cluster's stones have."""


def cluster_value(name: str, cluster: int) -> Any:
    """The shape or the truth of lab-grown that all stones of a cluster have; None where they differ."""
    lab_grown, shape = divmod(cluster, _SHAPE.groups)
    if name == "lab_grown":
        return bool(lab_grown)
    return _SHAPES[shape] if shape < len(_SHAPES) else None


def clusters_of(rear: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The cluster of each word."""
    found = np.zeros(len(rear), dtype=np.int64)
    for cluster, bits in enumerate(CLUSTER_BITS):
        found[(rear & np.uint32(bits)) == bits] = cluster
    return found
