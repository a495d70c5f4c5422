"""Values that follow from a stone's number alone, so that 1.34 million stones need no memory for them.

A mixed 64-bit number per stone serves every minor field; identifiers carry the stone's number in a form that can be
turned back, so that looking one up needs no index.
"""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF
_ROW_FACTOR: Final = 0x85EBCA6B
_ROW_INVERSE: Final = pow(_ROW_FACTOR, -1, 1 << 32)
_NUMBER_FACTOR: Final = 387_420_489
_NUMBER_SPACE: Final = 10**9
_NUMBER_INVERSE: Final = pow(_NUMBER_FACTOR, -1, _NUMBER_SPACE)
_CERTIFICATES: Final = UUID("6f2c1e34-8d0b-5a77-9c41-0e8a5b2d7f10").bytes


def mixed(numbers: NDArray[np.integer], salt: int) -> NDArray[np.uint64]:
    """64 well mixed bits for each number (the finaliser of splitmix64)."""
    offset = np.uint64((salt * _GOLDEN) & _MASK64)
    bits = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(_GOLDEN) + offset
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def shares(numbers: NDArray[np.integer], salt: int) -> NDArray[np.float64]:
    """A share from 0 to 1 for each number: a coin that always falls the same way for the same stone."""
    return (mixed(numbers, salt) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


class Identifiers:
    """Ids of one inventory's stones (uuid version 4 in form), from row to id and back without an index."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._shift = (seed * 0x27D4EB2F + 0x165667B1) & _MASK32

    def of_rows(self, rows: NDArray[np.integer]) -> list[str]:
        """The ids of rows."""
        high = mixed(rows, 2 * self._seed).tolist()
        low = mixed(rows, 2 * self._seed + 1).tolist()
        return [self._format(row, a, b) for row, a, b in zip(rows.tolist(), high, low, strict=True)]

    def row_of(self, identifier: str, rows: int) -> int | None:
        """The row an id belongs to, or nothing when no stone of the first `rows` has it."""
        try:
            tail = UUID(identifier).int & _MASK32
        except ValueError:
            return None
        row = ((tail - self._shift) * _ROW_INVERSE) & _MASK32
        known = row < rows and self.of_rows(np.array([row]))[0] == identifier.lower()
        return row if known else None

    def _format(self, row: int, high: int, low: int) -> str:
        tail = (row * _ROW_FACTOR + self._shift) & _MASK32
        return (
            f"{high >> 32:08x}-{high >> 16 & 0xFFFF:04x}-4{high & 0xFFF:03x}"
            f"-{0x8000 | low & 0x3FFF:04x}-{low >> 14 & 0xFFFF:04x}{tail:08x}"
        )


def certificate_digits(identities: NDArray[np.integer]) -> list[int]:
    """Nine digits for each physical stone, different for different stones."""
    numbers: list[int] = (
        (identities.astype(np.int64) * _NUMBER_FACTOR + 123_456_789) % _NUMBER_SPACE
    ).tolist()
    return numbers


def identity_of_digits(number: str) -> int | None:
    """The physical stone whose certificate number ends with these nine digits."""
    tail = number[-9:]
    if len(tail) < 9 or not tail.isdigit():
        return None
    return (int(tail) - 123_456_789) * _NUMBER_INVERSE % _NUMBER_SPACE


def certificate_id(lab: str, number: str) -> str:
    """The vendor's certificate id: uuid version 5, so the same report has the same id at every supplier."""
    digest = hashlib.sha1(_CERTIFICATES + f"{lab}:{number}".encode(), usedforsecurity=False).digest()
    return str(UUID(bytes=digest[:16], version=5))
