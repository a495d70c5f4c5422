"""Random stones, changes and searches, with few different values, so that ties, misses and empty answers are common."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from api.fields import FIELDS, FLAGS, LISTED, NUMBERS, PREFIXED, Kind
from api.query import Facets, Query, Range, SortKey
from schemas.grades import CLARITIES, COLORS, FANCY_INTENSITIES, FLUORESCENCES, QUALITIES
from schemas.stone import Availability, Stone
from tests.unit.api.stock import value_of
from tests.unit.schemas.stones import make_stone

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_FEEDS = ("nivoda-natural", "nivoda-labgrown", "nivoda", "demo")
_SORTABLE = tuple(name for name, field in FIELDS.items() if field.sortable)


class Searches:
    """Draws stones and searches, each run of it from one seed.

    Args:
        seed: of everything that is drawn.
        wild: whether ids, weights, prices and texts may be such as no vendor would send.
    """

    def __init__(self, seed: int, *, wild: bool = False) -> None:
        self.random = Random(seed)
        self._wild = wild

    def stone_id(self) -> str:
        """An id: a UUID, or in the feed `demo` a short text; anything at all when wild."""
        feed = self.random.choice(_FEEDS)
        if self._wild and self.random.random() < 0.3:
            return f"{feed}:{self._text('ab0-é', 0, 4)}{self._text('0ab', 0, 30)}"
        if feed == "demo":
            return f"demo:{self._text('ab0-', 1, 5)}"
        # Most differ early, as real ones do; some only in their last digits.
        number = self.random.randrange(300)
        digits = f"{number if number < 20 else number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
        return f"{feed}:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def stone(self, stone_id: str) -> Stone:
        """Any stone with this id."""
        pick, maybe = self.random.choice, self._maybe
        carats = (0.3, 0.5, 1.0, 1.01, 2.5, 7.123) if self._wild else (0.3, 0.5, 1.0, 1.01, 2.5)
        prices = (0, 1, 2, 3, 4, 5, 127, 128, 300)
        return make_stone(
            id=stone_id,
            feed=stone_id.partition(":")[0],
            shape=pick(("ROUND", "ROUND", "OVAL", "ROSE", "KITE")),
            carat=pick((*carats, 1.00001, 3000.0) if self._wild and self.random.random() < 0.05 else carats),
            color=maybe((*COLORS[:4], "N", "O-P", "FANCY", *(("ODD",) if self._wild else ()))),
            clarity=maybe((*CLARITIES[:4], *CLARITIES[-3:])),
            cut=maybe(QUALITIES),
            polish=maybe(QUALITIES[:5]),
            symmetry=maybe(QUALITIES[:3]),
            fluorescence=maybe(FLUORESCENCES),
            fluorescence_color=maybe(("BLUE", "YELLOW")),
            lab=maybe(("GIA", "IGI", "HRD", "SGL")),
            certificate_number=self._number(),
            lab_grown=pick((True, False)),
            lab_grown_type=maybe(("CVD", "HPHT")),
            treated=maybe((True, False)),
            fancy_intensity=maybe(FANCY_INTENSITIES[:3]),
            price_cents=2**31 + pick(prices) if self._wild and self.random.random() < 0.02 else pick(prices),
            cost_cents=pick(prices),
            list_discount_bps=maybe((-3000, -1, 0, 5)),
            length_mm=maybe((4.0, 4.25, 4.2501, 12.5)),
            width_mm=maybe((4.0, 4.3)),
            table_percent=maybe((57.0, 57.5, 400.0) if self._wild else (57.0, 57.5)),
            girdle=maybe(("THIN", "Thin - Thick")),
            milky=maybe(("none", "light")),
            image_url=maybe(("https://images.example/1",)),
            delivery_days_max=maybe((1, 5, 200)),
            supplier_name=maybe(("A", "B", "é")),
            supplier_stock_number=self._number(),
            rating=maybe((1, 2, 10)),
            availability=pick(tuple(Availability)),
            first_seen=maybe(_SEEN if self._wild else _SEEN[:3]),
            updated_at=_BEGIN + timedelta(milliseconds=self.random.randrange(4)),
        )

    def query(self, stock: dict[str, Stone]) -> Query:
        """A search of up to four filters, for values that stones have and for others."""
        stones = [*stock.values()] or [self.stone(self.stone_id())]
        lists: dict[str, tuple[str, ...]] = {}
        ranges: dict[str, Range] = {}
        flags: dict[str, bool] = {}
        prefixes: dict[str, tuple[str, ...]] = {}
        filterable = (*LISTED, *FLAGS, *NUMBERS, *PREFIXED, *_OFTEN)
        for name in self.random.sample(filterable, self.random.choice((0, 1, 1, 2, 2, 3, 4))):
            values = [
                value_of(self.random.choice(stones), name) for _ in range(self.random.choice((1, 2, 3)))
            ]
            known = [value for value in values if value is not None]
            kind = FIELDS[name].kind
            if kind is Kind.FLAG:
                flags[name] = self.random.random() < 0.5
            elif kind in (Kind.LIST, Kind.EXACT) and known:
                if name in PREFIXED and self.random.random() < 0.5:
                    prefixes[name] = tuple(text[: self.random.randrange(5)] for text in known)
                else:
                    lists[name] = tuple(dict.fromkeys((*known, *(("NEVER",) * (self.random.random() < 0.2)))))
            elif known:
                low, high = min(known), max(known)
                if self.random.random() < 0.2:
                    low, high = low + 0.00003 if isinstance(low, float) else low, high
                ends = self.random.choice(((low, high), (low, None), (None, high), (low + 1, high)))
                ranges[name] = Range(*ends)
        if self.random.random() < 0.05:
            lists["id"] = (
                *tuple(self.random.choice(stones).id for _ in range(5)),
                "demo:never",
                "who:x",
                "x",
            )
        return Query(
            lists=lists,
            ranges=ranges,
            flags=flags,
            prefixes=prefixes,
            sort=self.sort(),
            limit=self.random.choice((0, 1, 3, 3, 8, 24)),
            offset=self.random.choice((0, 0, 0, 1, 5)),
        )

    def sort(self) -> tuple[SortKey, ...]:
        """One to three sorting keys; the price alone half the time."""
        if self.random.random() < 0.5:
            return (SortKey("price_cents", self.random.random() < 0.3),)
        names = self.random.sample(_SORTABLE, self.random.choice((1, 1, 2, 3)))
        return tuple(SortKey(name, self.random.random() < 0.5) for name in names)

    def facets(self) -> Facets:
        """A few attributes to count."""
        return Facets(
            counts=tuple(self.random.sample((*LISTED, *FLAGS, "color", "cut", "clarity"), 4)[:4]),
            numbers={
                name: self.random.choice(((), (1,), (0, 2, 4.25), (-5, 3, 128, 3_000_000_000, 1e12)))
                for name in self.random.sample((*NUMBERS, "price_cents"), 3)
            },
            exclude_own=self.random.random() < 0.5,
        )

    def _maybe(self, values: tuple[Any, ...]) -> Any:
        return None if self.random.random() < 0.15 else self.random.choice(values)

    def _number(self) -> str | None:
        texts: tuple[str | None, ...] = (None, "1", "12", "A-3", "LG123456789", "0123456789AB")
        if self._wild:
            texts += ("", "0123456789ABC", "0123456789ABD", "a-3", "A/3", "é", "1\0", "A 3")
        return self.random.choice(texts)

    def _text(self, characters: str, least: int, most: int) -> str:
        return "".join(self.random.choices(characters, k=self.random.randint(least, most)))


_SEEN = tuple(_BEGIN + timedelta(seconds=seconds) for seconds in (0, 1, 2, 0.001, 4e9))
_OFTEN = ("shape", "carat", "price_cents", "color")
