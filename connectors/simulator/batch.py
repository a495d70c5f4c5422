"""The rows of one page, and the columns its fields are made of, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import vocabulary as words
from .columns import CLAIMS
from .hashing import certificate_digits, mixed
from .inventory import Inventory, Rows
from .minor import CERTIFICATE, LISTING, pick

_LISTING_POSITION: Final = {name: position for position, name in enumerate(LISTING)}
_CERTIFICATE_POSITION: Final = {name: position for position, name in enumerate(CERTIFICATE)}
_SALT_LISTING, _SALT_CERTIFICATE = 1_001, 1_002

Affects = Callable[[str, Rows], NDArray[np.bool_]]


def _nobody(_name: str, rows: Rows) -> NDArray[np.bool_]:
    return np.zeros(len(rows), dtype=np.bool_)


@dataclass
class Batch:
    """Stones about to be served.

    Args:
        rows: row numbers in the order served.
        holds: row to the hold ids this viewer has.
        affects: which rows a fault switch works on (a stone is affected as long as the switch is on).
    """

    inventory: Inventory
    rows: Rows
    holds: Mapping[int, str] = field(default_factory=dict)
    affects: Affects = _nobody

    def __post_init__(self) -> None:
        self._columns: dict[str, list[Any]] = {}
        self._picked: dict[str, list[Any]] = {}

    def column(self, name: str) -> list[Any]:
        """The raw values of a stored column."""
        if name not in self._columns:
            self._columns[name] = self.inventory[name][self.rows].tolist()
        return self._columns[name]

    def words(self, name: str, vocabulary: Sequence[Any]) -> list[Any]:
        """The words of a coded column; null where the code is null."""
        return [None if code == words.NULL else vocabulary[code] for code in self.column(name)]

    def listing(self, name: str) -> list[Any]:
        """A minor field of the supplier's listing."""
        if name not in self._picked:
            self._picked[name] = pick(LISTING[name], self._row_bits, _LISTING_POSITION[name])
        return self._picked[name]

    def certificate(self, name: str) -> list[Any]:
        """A minor field of the report."""
        if name not in self._picked:
            self._picked[name] = pick(CERTIFICATE[name], self._identity_bits, _CERTIFICATE_POSITION[name])
        return self._picked[name]

    @cached_property
    def ids(self) -> list[str]:
        """Bare uuids."""
        return self.inventory.ids.of_rows(self.rows)

    @cached_property
    def digits(self) -> list[int]:
        """The nine digits of the certificate numbers."""
        return certificate_digits(self.inventory["identity"][self.rows])

    @cached_property
    def laboratories(self) -> list[str]:
        """Labs' codes."""
        return self.words("laboratory", words.LABS)

    @cached_property
    def certificate_numbers(self) -> list[str]:
        """Report numbers in the form each lab gives them; every one ends with the stone's nine digits."""
        return [
            _number(lab, digits, labgrown, style)
            for lab, digits, labgrown, style in zip(
                self.laboratories,
                self.digits,
                self.column("lab"),
                self.certificate("number_style"),
                strict=True,
            )
        ]

    @cached_property
    def faults(self) -> list[str | None]:
        """Why each stone, as served now, cannot be understood; null when it can."""
        planted = self.words("fault", words.FAULTS)
        switched = self.affects("null_certificate", self.rows).tolist()
        return [
            fault or ("null_certificate" if hit else None)
            for fault, hit in zip(planted, switched, strict=True)
        ]

    @cached_property
    def without_image(self) -> list[bool]:
        """Stones whose images are withheld by a fault switch."""
        withheld: list[bool] = self.affects("null_image", self.rows).tolist()
        return withheld

    @cached_property
    def without_video(self) -> list[bool]:
        """Stones whose videos are withheld by a fault switch."""
        withheld: list[bool] = self.affects("null_video", self.rows).tolist()
        return withheld

    @cached_property
    def claims(self) -> list[bool | None]:
        """The certificates' own word on whether the stone is lab-grown."""
        wrong = self.affects("labgrown_wrong", self.rows).tolist()
        return [
            (not labgrown) if lies else CLAIMS[code]
            for labgrown, code, lies in zip(
                self.column("lab"), self.column("labgrown_claim"), wrong, strict=True
            )
        ]

    @cached_property
    def _row_bits(self) -> NDArray[np.uint64]:
        return mixed(self.rows, self.inventory.seed + _SALT_LISTING)

    @cached_property
    def _identity_bits(self) -> NDArray[np.uint64]:
        return mixed(self.inventory["identity"][self.rows], self.inventory.seed + _SALT_CERTIFICATE)


def _number(lab: str, digits: int, labgrown: bool, style: str) -> str:
    if lab == "GIA":
        return f"{'6' if labgrown else '2'}{digits:09d}"
    if lab == "IGI" and labgrown:
        return f"LG{digits:09d}" if style == "plain" else f"{digits:09d}"
    if lab == "HRD":
        return f"190{digits:09d}"
    if lab in ("NONE", "STOCKID", "LAB"):
        return f"{'KD' if digits % 2 else 'R-'}{digits:09d}"
    return f"{digits:09d}" if style == "plain" else f"{lab[0]}{digits:09d}"
