"""From stones to arrays: what of a batch can be worked out before the index's owner is bothered with it.

An `Encoder` holds the dictionaries and the widths that columns have by now. It is used by one thread, which need not
be the owner's; what it gives is applied in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine import texts
from api.engine.ids import IdForms, Packed, part_of
from api.engine.limits import GREATEST
from api.engine.numbers import fit
from api.engine.signature import FRONT, REAR, Bits
from api.fields import FIELDS, FLAGS, LISTED, NUMBERS, PREFIXED, Kind
from api.values import PRICED, Values, rows_of
from connectors.records.dictionary import Dictionary
from connectors.records.scan import NO_TEXT
from schemas.columns import Codes

CODED: Final = (*LISTED, *FLAGS)
"""Attributes held as codes of their values, 0 for unknown."""

TRUTHS: Final = (None, False, True)
"""What the codes of a flag stand for."""

_CODE_TYPES: Final = (np.uint8, np.int32)
_LISTED_ROWS: Final = rows_of(LISTED)
_TOLD_BY: Final = {"has_image": "image_url", "has_video": "video_url"}
_PRICE: Final = "price_cents"
_CARAT: Final = "carat"
_PER_CARAT: Final = "price_per_carat_cents"
_DERIVED: Final = (_PER_CARAT, "ratio")
_PRICED: Final = tuple(name for name in NUMBERS if name in PRICED)
# Of what is no content nothing else is looked at.
assert PRICED & FIELDS.keys() == set(_PRICED)
assert all(FIELDS[name].kind is not Kind.DECIMAL for name in _PRICED)
_NEAR: Final = 1e-6
_GREAT: Final = 1e9
CARAT_UNITS: Final = 10_000
"""Units of a carat in `Encoded.carat`."""

GRADES: Final = (("color", 6), ("clarity", 4), ("cut", 3))
"""Attributes in `Encoded.grades`, the first in the lowest bits, and how many bits each has."""


@dataclass(frozen=True, slots=True)
class News:
    """How stones differ from what a stock held when it was asked; see `Stock.compare`.

    Attributes:
        state: the stock's state then.
        rows: of the stones, -1 for those that were not held.
        places: by column the places of what is new there; a column without news is left out.
    """

    state: int
    rows: NDArray[np.int32]
    places: dict[str, NDArray[np.int64]]

    def part(self, begin: int, end: int, number: int) -> News:
        """Of some of the stones, that are put after `number` other parts."""
        places = {}
        for name, of_all in self.places.items():
            low, high = begin, end
            if len(of_all) < len(self.rows):
                low, high = np.searchsorted(of_all, (begin, end)).tolist()
            if low < high:
                places[name] = of_all[low:high] - begin
        return News(self.state + number, self.rows[begin:end], places)


@dataclass(slots=True)
class Encoded:
    """Stones as arrays, in the order they were given.

    Attributes:
        ids: their ids; None where only prices are told, of stones that are held.
        coded: codes of listed attributes and flags.
        numbers: numeric attributes as their columns hold them.
        levels: the step of each numeric attribute's ladder.
        packed: certificate and stock numbers.
        odd: those that are odd, by place.
        standing: what stands in the clusters, by name.
        news: what of all that the stock does not hold yet; None where nobody looked.
    """

    ids: Packed | None
    coded: dict[str, NDArray[Any]]
    numbers: dict[str, NDArray[Any]]
    levels: dict[str, int]
    packed: dict[str, NDArray[np.uint64]]
    odd: dict[str, dict[int, str]]
    standing: dict[str, NDArray[Any]]
    news: News | None = None

    def part(self, begin: int, end: int, number: int) -> Encoded:
        """Some of the stones, as views; the stock takes them after `number` other parts."""

        def cut(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            return {name: array[begin:end] for name, array in arrays.items()}

        return Encoded(
            ids=self.ids and self.ids.part(begin, end),
            coded=cut(self.coded),
            numbers=cut(self.numbers),
            levels=self.levels,
            packed=cut(self.packed),
            odd={name: part_of(odd, begin, end) for name, odd in self.odd.items()},
            standing=cut(self.standing),
            news=self.news and self.news.part(begin, end, number),
        )


class Encoder:
    """Makes arrays of stones.

    Attributes:
        codes: dictionaries of the listed attributes; the values known beforehand have the first codes, in order.
        ids: the forms of ids.
        levels: the step of the ladder that each numeric attribute has reached.
        grades_fit: whether all grades so far have a number in `Encoded.grades`.
    """

    def __init__(self) -> None:
        self.codes = {name: _known_codes(name) for name in LISTED}
        self._dictionary = Dictionary(list(self.codes.values()))
        self.ids = IdForms()
        self.levels = dict.fromkeys(NUMBERS, 0)
        self.grades_fit = True
        self._bits: dict[str, NDArray[np.uint32]] = {}

    def encode(self, stones: Values) -> Encoded:
        """The arrays of some stones."""
        coded = self._code(stones)
        numbers: dict[str, NDArray[Any]] = {
            name: stones.decimals(name) if FIELDS[name].kind is Kind.DECIMAL else stones.whole(name)
            for name in NUMBERS
            if name not in _DERIVED
        }
        numbers[_PER_CARAT] = _per_carat(numbers[_PRICE], numbers[_CARAT])
        numbers["ratio"] = _ratios(numbers["length_mm"], numbers["width_mm"])
        packed, odd = {}, {}
        for name in PREFIXED:
            packed[name], odd[name] = texts.pack_spans(stones.data, stones.whole(name))
        stored = {name: self._fit(name, values) for name, values in numbers.items()}
        return Encoded(
            ids=self.ids.pack_spans(stones.data, stones.whole("id")),
            coded=coded,
            numbers=stored,
            levels=dict(self.levels),
            packed=packed,
            odd=odd,
            standing={
                "front": self._half(coded, FRONT),
                "rear": self._half(coded, REAR),
                _PRICE: _cluster_prices(numbers[_PRICE]),
                _CARAT: _cluster_weights(numbers[_CARAT]),
                "grades": self._grades(coded),
            },
        )

    def encode_prices(self, stones: Values, carats: NDArray[np.float64]) -> Encoded:
        """The arrays of what is no content of some stones that weigh so much."""
        numbers = {name: stones.whole(name) for name in _PRICED}
        numbers[_PER_CARAT] = _per_carat(numbers[_PRICE], carats)
        stored = {name: self._fit(name, values) for name, values in numbers.items()}
        standing = {_PRICE: _cluster_prices(numbers[_PRICE])}
        return Encoded(None, {}, stored, dict(self.levels), {}, {}, standing)

    def _code(self, stones: Values) -> dict[str, NDArray[Any]]:
        found = self._dictionary.add(stones.data, stones.table, _LISTED_ROWS)
        coded = {
            name: codes.astype(code_type(len(self.codes[name])))
            for name, codes in zip(LISTED, found, strict=True)
        }
        for name in FLAGS:
            if name in _TOLD_BY:
                # Code 1 is false, code 2 true.
                coded[name] = np.where(stones.whole(_TOLD_BY[name]) == NO_TEXT, 1, 2).astype(np.uint8)
            else:
                coded[name] = stones.whole(name).astype(np.uint8)
        return coded

    def _fit(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        stored, self.levels[name] = fit(name, values, self.levels[name])
        return stored

    def _half(self, coded: dict[str, NDArray[Any]], half: Any) -> NDArray[np.uint32]:
        word = np.zeros(len(coded["shape"]), dtype=np.uint32)
        for name, bits in half.items():
            word |= self._table(name, bits)[coded[name]]
        return word

    def _table(self, name: str, bits: Bits) -> NDArray[np.uint32]:
        texts_of: Sequence[Any] = TRUTHS if name in FLAGS else self.codes[name].texts
        table = self._bits.get(name)
        if table is None or len(table) != len(texts_of):
            table = self._bits[name] = np.array(list(map(bits.of, texts_of)), dtype=np.uint32)
        return table

    def _grades(self, coded: dict[str, NDArray[Any]]) -> NDArray[np.uint16]:
        combined = np.zeros(len(coded["shape"]), dtype=np.uint16)
        offset = 0
        for name, width in GRADES:
            codes = coded[name]
            if len(self.codes[name]) > 1 << width:
                self.grades_fit = False
                codes = np.minimum(codes, (1 << width) - 1)
            combined |= codes.astype(np.uint16) << np.uint16(offset)
            offset += width
        return combined


def code_type(size: int) -> Any:
    """The narrowest type for the codes of a dictionary of this size."""
    return next(kind for kind in _CODE_TYPES if size - 1 <= np.iinfo(kind).max)


def _known_codes(name: str) -> Codes:
    codes = Codes()
    for value in FIELDS[name].values:
        codes.add(value)
    return codes


def _ratios(lengths: NDArray[np.float64], widths: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        ratios = np.where((lengths != 0) & (widths != 0), lengths / widths, np.nan)
        hundredths = ratios * 100
        rounded: NDArray[np.float64] = np.rint(hundredths) / 100
        # The product is not exact: where that could matter, Python rounds the number as it stands.
        near_half = np.abs(hundredths - np.floor(hundredths) - 0.5) < _NEAR
        doubtful = near_half | (np.abs(hundredths) > _GREAT)
    for place in np.flatnonzero(doubtful).tolist():
        rounded[place] = round(float(ratios[place]), 2)
    return rounded


def _per_carat(prices: NDArray[np.int64], carats: NDArray[np.float64]) -> NDArray[np.int64]:
    thousandths = np.maximum(1, np.rint(carats * 1000).astype(np.int64))
    per_carat: NDArray[np.int64] = (2000 * prices + thousandths) // (2 * thousandths)
    return per_carat


def _cluster_prices(prices: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.minimum(prices, GREATEST).astype(np.int32)


def _cluster_weights(carats: NDArray[np.float64]) -> NDArray[np.int32]:
    """Carats in ten-thousandths, rounded down."""
    scaled = np.floor(carats * CARAT_UNITS + 1e-6)
    return np.minimum(scaled, GREATEST).astype(np.int32)
