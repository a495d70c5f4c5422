"""Has every kernel compiled before the first query needs it.

Numba compiles a kernel for each combination of types it meets, and `runtime.kernels` keeps the result in the user's cache:
the first start on a machine compiles for some twenty seconds, every later one reads for a fraction of one.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Final

import numpy as np
import structlog

from api.engine.fast_index import FastIndex
from api.folding import fold
from api.fragments import NOTHING, frame, framed
from api.index import Batch, Priced
from api.query import Facets, Query, Range, SortKey
from api.searchable import Searchable
from api.values import NO_STONES, read, read_prices, values_of
from connectors.log.records import Newest, of

log = structlog.stdlib.get_logger(__name__)

_MANY: Final = 40
_SLOW_S: Final = 2.0
_RECORD: Final = b'{"id":"","seq":1}'


def warm() -> None:
    """Compile, or read what was compiled; takes seconds on the first start only, and says so."""
    started = perf_counter()
    log.info("index.compiling")
    index = FastIndex(run=_at_once)
    _read_a_log(index)
    index.apply(_batch(range(_MANY)))
    index.settle()
    for cents in (1, 900):
        index.apply(_batch(range(2), cents))
    some = _batch(range(2))
    rows = np.array([index.row(_id(number)) for number in range(2)])
    index.apply(Batch(NO_STONES, NOTHING, [], {}, Priced(rows, some.stones, some.records)))
    index.apply(_batch(range(_MANY, _MANY + 2)))
    index.apply(Batch(NO_STONES, NOTHING, [_id(1)], {}))
    wanted = Query(
        ranges={"price_cents": Range(1, 2**20), "carat": Range(0.5, 3.0)}, lists={"polish": ("EX",)}
    )
    for descending in (False, True):
        page = index.search(Query(sort=(SortKey("price_cents", descending),), limit=3))
        index.search(Query(sort=(SortKey("price_cents", descending),), limit=3, after=page.last))
    index.fragments.array(index.search(wanted).rows or [0])
    index.search(Query(ranges={"carat": Range(0.5, 3.0)}))
    index.search(Query(sort=(SortKey("shape"), SortKey("carat"))))
    index.search(Query(facets=Facets(("color", "lab_grown"), {"price_cents": (), "carat": ()})))
    # Columns grow wider with what they are given, one type after the other.
    for days in (2, 200, 70_000, 2**40):
        index.apply(_batch(range(1), delivery_days_min=days))
        _look_at_numbers(index, "delivery_days_min")
    index.apply(_batch(range(1), table_percent=57.000001))
    _look_at_numbers(index, "table_percent")
    _look_at_codes(index)
    index.apply(_of(_stone(number, girdle=f"THIN {number}") for number in range(300)))
    _look_at_codes(index)
    took_s = perf_counter() - started
    log.info("index.compiled", seconds=round(took_s, 1), first_start=took_s > _SLOW_S)


def _read_a_log(index: FastIndex) -> None:
    newest, records = Newest(), of((_id(number).encode(), None) for number in range(_MANY))
    fold(records, newest=newest)
    newest.forget(records, 0)
    # As records these say nothing; as keys they are looked for.
    keys = records.keys.take([0], axis=1)
    _, borders, _ = read(records.data, keys, keys)
    read_prices(records.data, keys, keys, borders)
    frame(records.data, keys, borders)
    index.fragments.compare(index.find(records.data, records.keys), records.data, records.keys)


def _look_at_numbers(index: FastIndex, name: str) -> None:
    index.search(Query(ranges={name: Range(1, 3)}, sort=(SortKey(name),)))
    index.search(Query(sort=(SortKey(name),), facets=Facets(numbers={name: (1, 2)})))


def _look_at_codes(index: FastIndex) -> None:
    index.search(
        Query(lists={"girdle": ("THIN",)}, sort=(SortKey("girdle"),), facets=Facets(counts=("girdle",)))
    )


def _at_once(job: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(job())
    return future


def _batch(numbers: range, cents: int = 0, **changes: Any) -> Batch:
    return _of(_stone(number, cents, **changes) for number in numbers)


def _stone(number: int, cents: int = 0, **changes: Any) -> Searchable:
    return Searchable(
        id=_id(number),
        feed="warm",
        shape="ROUND",
        carat=1.0,
        lab_grown=bool(number % 2),
        availability="available",
        price_cents=number + cents,
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
        **{"girdle": "THIN", **changes},
    )


def _of(stones: Iterable[Searchable]) -> Batch:
    some = list(stones)
    return Batch(values_of(some), framed([_RECORD] * len(some)), [], {})


def _id(number: int) -> str:
    digits = f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}"
    return f"warm:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
