"""A stock of stones for benchmarks of the search: the simulator's inventory, normalised, as columns and as stones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import starmap
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.fragments import frame
from api.index import Batch
from api.searchable import Searchable
from api.values import values_of
from connectors.simulator import vocabulary as words
from connectors.simulator.generate import generate

NATURAL_SHARE: Final = 438 / 1342
"""As the vendor's real stock has it."""

CHUNK: Final = 20_000

_SHAPES: Final = {"CUSHION B": "CUSHION BRILLIANT", "ASCHER": "ASSCHER", "HALF MOON": "HALFMOON"}
_QUALITIES: Final = {"EIGHTX": "8X", "GD": "G", "FR": "F", "PR": "P"}
_FLUORESCENCES: Final = {
    "NON": "NONE",
    "VSL": "VERY_SLIGHT",
    "SLT": "SLIGHT",
    "FNT": "FAINT",
    "MED": "MEDIUM",
    "STG": "STRONG",
    "STN": "STRONG",
    "VST": "VERY_STRONG",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEEDS: Final = ("nivoda-natural", "nivoda-labgrown")


@dataclass(frozen=True, slots=True)
class Stock:
    """Columns of equal length.

    Attributes:
        ids: the stones' ids.
        texts: listed attributes as texts, None for unknown.
        carat, ratio_length, ratio_width: decimals as they stand in records.
        lab_grown: truth.
        price_cents: integer US cents.
        updated_ms: epoch milliseconds.
    """

    ids: list[str]
    texts: dict[str, NDArray[Any]]
    carat: NDArray[np.float64]
    length_mm: NDArray[np.float64]
    width_mm: NDArray[np.float64]
    lab_grown: NDArray[np.bool_]
    price_cents: NDArray[np.int64]
    updated_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def make_stock(stones: int, seed: int) -> Stock:
    """So many stones, the feeds' mixed as they would come."""
    rng = np.random.default_rng(seed)
    natural = round(stones * NATURAL_SHARE)
    parts = [
        generate(natural, False, 0, np.random.default_rng(seed)),
        generate(stones - natural, True, natural, np.random.default_rng(seed + 1)),
    ]
    mixed = rng.permutation(stones)
    columns = {name: np.concatenate([part[name] for part in parts])[mixed] for name in parts[0]}
    qualities = _spelled(words.QUALITIES, _QUALITIES)
    colors = [f"{c[0]}-{c[1]}" if len(c) == 2 else c for c in words.COLORS]
    vocabularies = {
        "shape": _spelled(words.SHAPES, _SHAPES),
        "color": colors,
        "clarity": words.CLARITIES,
        "cut": qualities,
        "polish": qualities,
        "symmetry": qualities,
        "fluorescence": _spelled(words.FLUORESCENCES, _FLUORESCENCES),
    }
    texts = {name: _texts(vocabulary, columns[name]) for name, vocabulary in vocabularies.items()}
    labs = ["OTHER" if name == "NONE" else name for name in words.LABS]
    texts["lab"] = _texts(labs, columns["laboratory"])
    available = rng.random(stones) < 0.96
    texts["availability"] = np.where(available, "available", "on_hold").astype(object)
    bits = rng.integers(0, 2**64, (stones, 2), dtype=np.uint64).tolist()
    return Stock(
        ids=[_id(_FEEDS[lab], *pair) for lab, pair in zip(columns["lab"].tolist(), bits, strict=True)],
        texts=texts,
        carat=columns["carat_x100"] / 100,
        length_mm=columns["length_x100"] / 100,
        width_mm=columns["width_x100"] / 100,
        lab_grown=columns["lab"],
        price_cents=columns["price_cents"].astype(np.int64),
        updated_ms=columns["updated_ms"],
    )


def batches(stock: Stock, rows: NDArray[Any] | None = None, chunk: int = CHUNK) -> Iterator[Batch]:
    """The stones of some rows, all without it, in batches. Their records are as short as a record can be."""
    every = np.arange(len(stock)) if rows is None else rows
    for start in range(0, len(every), chunk):
        part = every[start : start + chunk]
        stones = list(starmap(_stone, _fields(stock, part)))
        records = [frame(b'{"id":"%b","seq":1}' % stone.id.encode()) for stone in stones]
        yield Batch(values_of(stones), records, [], {})


def _fields(stock: Stock, rows: NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    ids = [stock.ids[row] for row in rows.tolist()]
    texts = [stock.texts[name][rows].tolist() for name in _TEXTS]
    numbers = (
        stock.carat,
        stock.lab_grown,
        stock.price_cents,
        stock.updated_ms,
        stock.length_mm,
        stock.width_mm,
    )
    return zip(ids, *texts, *(column[rows].tolist() for column in numbers), strict=True)


_TEXTS: Final = (
    *("shape", "color", "clarity", "cut", "polish", "symmetry", "fluorescence", "lab", "availability"),
)


def _stone(
    stone_id: str,
    shape: str,
    color: str | None,
    clarity: str | None,
    cut: str | None,
    polish: str | None,
    symmetry: str | None,
    fluorescence: str | None,
    lab: str | None,
    availability: str,
    carat: float,
    lab_grown: bool,
    price_cents: int,
    updated_ms: int,
    length_mm: float,
    width_mm: float,
) -> Searchable:
    return Searchable(
        id=stone_id,
        feed=_FEEDS[lab_grown],
        shape=shape,
        carat=carat,
        lab_grown=lab_grown,
        availability=availability,
        price_cents=price_cents,
        updated_at=_EPOCH + timedelta(milliseconds=updated_ms),
        cost_cents=price_cents * 7 // 10,
        color=color,
        clarity=clarity,
        cut=cut,
        polish=polish,
        symmetry=symmetry,
        fluorescence=fluorescence,
        lab=lab,
        certificate_number=str(int(stone_id[-10:], 16))[:10],
        length_mm=length_mm or None,
        width_mm=width_mm or None,
    )


def _spelled(vocabulary: tuple[str, ...], ours: dict[str, str]) -> list[str]:
    return [ours.get(word, word) for word in vocabulary]


def _texts(vocabulary: Any, codes: NDArray[Any]) -> NDArray[Any]:
    table = np.array([*vocabulary, *[None] * (256 - len(vocabulary))], dtype=object)
    found: NDArray[Any] = table[codes]
    return found


def _id(feed: str, high: int, low: int) -> str:
    digits = f"{high:016x}{low:016x}"
    return f"{feed}:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
