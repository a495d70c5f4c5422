"""`DiamondQuery`, compiled: which feed, which slice of price per carat, and a test for everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import vocabulary as words
from .columns import CERTIFICATE_IMAGE, IMAGE, V360, VIDEO
from .hashing import identity_of_digits
from .inventory import Inventory, Rows

Test = Callable[[Inventory, Rows], NDArray[np.bool_]]

_CODED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "shapes": ("shape", words.SHAPES),
    "color": ("color", words.COLORS),
    "clarity": ("clarity", words.CLARITIES),
    "cut": ("cut", words.QUALITIES),
    "polish": ("polish", words.QUALITIES),
    "symmetry": ("symmetry", words.QUALITIES),
    "certificate_lab": ("laboratory", words.LABS),
    "availability": ("availability", words.AVAILABILITIES),
    "flouresence": ("fluorescence", words.FLUORESCENCES),
    "labgrown_type": ("labgrown_type", words.LABGROWN_TYPES),
    "fancyColor": ("fancy_color", words.FANCY_COLORS),
    "fancyIntensity": ("fancy_intensity", words.FANCY_INTENSITIES),
    "fancyOvertone": ("fancy_overtone", words.FANCY_OVERTONES),
}
_MEASURED: Final = {
    "sizes": ("carat_x100", 100),
    "table_percentage": ("table_x10", 10),
    "depth_percentage": ("depth_percentage_x10", 10),
    "length_mm": ("length_x100", 100),
    "width_mm": ("width_x100", 100),
    "depth_mm": ("depth_x100", 100),
}
_RANGES: Final = ("dollar_per_carat", "dollar_value", *_MEASURED)
_IMAGES: Final = np.uint8(IMAGE | CERTIFICATE_IMAGE)


@dataclass(frozen=True)
class MoneyRules:
    """How the vendor reads money ranges; which of these holds for a real account is unknown until probed."""

    cents: bool = False
    """Bounds are dollars × 100 instead of whole dollars."""
    exact: bool = False
    """Compare to the cent, so that a stone of 199.50 is in neither [100, 199] nor [200, 299]."""

    def bounds(self, bounds: Mapping[str, int]) -> tuple[float, float, bool]:
        """A range in dollars: low, high, and whether high itself belongs to it."""
        unit = 100 if self.cents else 1
        if self.exact:
            return bounds["from"] / unit, bounds["to"] / unit, True
        return bounds["from"] / unit, (bounds["to"] + 1) / unit, False


@dataclass(frozen=True)
class Query:
    """A compiled `DiamondQuery`."""

    key: str
    feeds: tuple[bool, ...]
    per_carat: tuple[float, float, bool] = (0.0, float("inf"), True)
    tests: tuple[Test, ...] = field(default=())
    inverted: bool = False

    @property
    def is_only_price_per_carat(self) -> bool:
        """Whether the feed and a slice of price per carat say it all."""
        return not self.tests


def compile_query(query: Mapping[str, Any] | None, money: MoneyRules, omitted_means_both: bool) -> Query:
    """Compile a coerced `DiamondQuery`.

    Raises:
        ValueError: for a time that is not ISO 8601.
    """
    asked = {name: value for name, value in (query or {}).items() if value is not None}
    per_carat = asked.get("dollar_per_carat")
    tests = [test for name, value in asked.items() if (test := _test(name, value, money, asked)) is not None]
    return Query(
        key=json.dumps([asked, money.cents, money.exact, omitted_means_both], sort_keys=True),
        feeds=_feeds(asked.get("labgrown"), omitted_means_both),
        per_carat=money.bounds(per_carat) if per_carat else (0.0, float("inf"), True),
        tests=tuple(tests),
        inverted=any(_inverted(asked[name]) for name in _RANGES if name in asked),
    )


def _feeds(labgrown: bool | None, omitted_means_both: bool) -> tuple[bool, ...]:
    if labgrown is None:
        return (False, True) if omitted_means_both else (False,)
    return (labgrown,)


def _inverted(value: Any) -> bool:
    ranges = value if isinstance(value, list) else [value]
    return any(bounds["from"] > bounds["to"] for bounds in ranges)


def _test(name: str, value: Any, money: MoneyRules, asked: Mapping[str, Any]) -> Test | None:
    """The test for one field; nothing for fields that are accepted and have no effect here."""
    if name in _CODED:
        column, vocabulary = _CODED[name]
        return _one_of(column, vocabulary, value) if value else None
    if name in _MEASURED:
        column, scale = _MEASURED[name]
        return _in_ranges(column, scale, value if isinstance(value, list) else [value])
    if name == "dollar_value":
        return _worth(*money.bounds(value))
    if name in ("has_image", "has_v360"):
        return _linked(asked) if value else None
    special = _SPECIAL.get(name)
    return special(value) if special else None


def _one_of(column: str, vocabulary: Sequence[str], wanted: Sequence[str]) -> Test:
    allowed = np.zeros(256, dtype=np.bool_)
    names = {_plain(word) for word in wanted}
    allowed[[code for code, word in enumerate(vocabulary) if _plain(word) in names]] = True
    return lambda inventory, rows: allowed[inventory[column][rows]]


def _plain(word: str) -> str:
    return word.upper().replace("_", " ").replace("-", " ").replace("GREY", "GRAY")


def _in_ranges(column: str, scale: int, ranges: Sequence[Mapping[str, float]]) -> Test:
    # Rounded, so that 1.15 × 100 = 114.99999999999999 does not lose the stones of 1.15.
    scaled = [(round(bounds["from"] * scale, 6), round(bounds["to"] * scale, 6)) for bounds in ranges]

    def test(inventory: Inventory, rows: Rows) -> NDArray[np.bool_]:
        values = inventory[column][rows]
        inside = np.zeros(len(rows), dtype=np.bool_)
        for low, high in scaled:
            inside |= (values >= low) & (values <= high)
        return inside

    return test


def _worth(low: float, high: float, high_included: bool) -> Test:
    def test(inventory: Inventory, rows: Rows) -> NDArray[np.bool_]:
        dollars = inventory["price_cents"][rows] / 100
        return (dollars >= low) & ((dollars <= high) if high_included else (dollars < high))

    return test


def _linked(asked: Mapping[str, Any]) -> Test:
    """`has_image` and `has_v360` together mean one or the other, as the vendor's own schema text says."""
    bits = (_IMAGES if asked.get("has_image") else np.uint8(0)) | np.uint8(
        V360 if asked.get("has_v360") else 0
    )
    return lambda inventory, rows: (inventory["media"][rows] & bits) != 0


def _without_fair_and_poor(wanted: bool) -> Test | None:
    refused = np.array(words.codes(words.QUALITIES, words.FAIR_POOR), dtype=np.uint8)
    return (lambda inventory, rows: ~np.isin(inventory["cut"][rows], refused)) if wanted else None


def _without_memo(wanted: bool) -> Test | None:
    memo = np.array(words.codes(words.AVAILABILITIES, ("MEMO", "ON_MEMO")), dtype=np.uint8)
    return (lambda inventory, rows: ~np.isin(inventory["availability"][rows], memo)) if wanted else None


def _with_video(wanted: bool) -> Test | None:
    bits = np.uint8(VIDEO | V360)
    return (lambda inventory, rows: (inventory["media"][rows] & bits) != 0) if wanted else None


def _updated(window: Mapping[str, str | None]) -> Test:
    low, high = _epoch_ms(window.get("from")), _epoch_ms(window.get("to"))

    def test(inventory: Inventory, rows: Rows) -> NDArray[np.bool_]:
        updated = inventory["updated_ms"][rows]
        after = updated >= low if low is not None else np.ones(len(rows), dtype=np.bool_)
        return after & (updated <= high) if high is not None else after

    return test


def _epoch_ms(text: str | None) -> int | None:
    """Raises ValueError for a time that is not ISO 8601."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)


def _by_id(ids: Sequence[str]) -> Test:
    def test(inventory: Inventory, rows: Rows) -> NDArray[np.bool_]:
        found = [row for identifier in ids if (row := inventory.row_of(identifier)) is not None]
        return np.isin(rows, np.array(found, dtype=np.int64))

    return test


def _by_certificate(numbers: Sequence[str]) -> Test:
    identities = [found for number in numbers if (found := identity_of_digits(number)) is not None]
    wanted = np.array(identities, dtype=np.int64)
    return lambda inventory, rows: np.isin(inventory["identity"][rows], wanted)


_SPECIAL: Final[dict[str, Callable[[Any], Test | None]]] = {
    "excludeFairPoorCuts": _without_fair_and_poor,
    "hide_memo": _without_memo,
    "has_video": _with_video,
    "updated": _updated,
    "ids": _by_id,
    "certificate_numbers": _by_certificate,
}
