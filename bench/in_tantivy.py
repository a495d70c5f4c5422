"""The same searches in tantivy, in memory and in one thread.

It sorts by one field and breaks ties as it likes, so that each order is a field of its own: the stones' places in it. They
are worked out beforehand, which a stock that changes could not do; the comparison is kind to it.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import tantivy
from numpy.typing import NDArray

from api.query import Query, SortKey
from bench.sql_search import NUMBERS, TEXTS, Answer, Columns

_HEAP_BYTES: Final = 1_000_000_000
_FLOATS: Final = ("carat", "depth_percent")
_CODE_OF_UNKNOWN: Final = 1
"""Codes are -1 for unknown; those of tantivy are 0 and up."""


def in_tantivy(columns: Columns, queries: list[Query]) -> list[Answer]:
    """Answers of tantivy."""
    sorts = list(dict.fromkeys(query.sort for query in queries))
    places = [_places(columns, sort) for sort in sorts]
    rank_at = [np.empty_like(columns.ranks) for _ in sorts]
    for place, ranks in zip(places, rank_at, strict=True):
        ranks[place] = columns.ranks
    index = _filled(columns, places)
    searcher = index.searcher()
    answers = []
    for query in queries:
        order = sorts.index(query.sort)
        started = time.perf_counter()
        found = searcher.search(
            _wanted(index.schema, columns, query),
            limit=query.limit,
            offset=query.offset,
            order_by_field=f"place_{order}",
            order=tantivy.Order.Asc,
        )
        ranks = rank_at[order][[place for place, _ in found.hits]].tolist()
        answers.append(Answer(ranks, int(found.count), (time.perf_counter() - started) * 1000))
    return answers


def _places(columns: Columns, sort: tuple[SortKey, ...]) -> NDArray[np.int64]:
    """Each stone's place in an order."""
    keys = [-columns.arrays[k.name] if k.descending else columns.arrays[k.name] for k in sort]
    order = np.lexsort((columns.ranks, *reversed(keys)))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def _filled(columns: Columns, places: list[NDArray[np.int64]]) -> Any:
    schema = tantivy.SchemaBuilder()
    for name in (*TEXTS, "lab_grown"):
        schema.add_unsigned_field(name, indexed=True, fast=True)
    for name in NUMBERS:
        add = schema.add_float_field if name in _FLOATS else schema.add_integer_field
        add(name, indexed=False, fast=True)
    for order in range(len(places)):
        schema.add_unsigned_field(f"place_{order}", fast=True)
    built = schema.build()
    index = tantivy.Index(built)
    writer = index.writer(heap_size=_HEAP_BYTES, num_threads=1)
    values = {name: columns.arrays[name] + _CODE_OF_UNKNOWN for name in TEXTS}
    values["lab_grown"] = columns.arrays["lab_grown"].astype(np.int64)
    values |= {name: columns.arrays[name] for name in NUMBERS}
    values |= {f"place_{order}": place for order, place in enumerate(places)}
    lists = [values[name][columns.layout].tolist() for name in values]
    for row in zip(*lists, strict=True):
        writer.add_document(tantivy.Document.from_dict(dict(zip(values, row, strict=True)), built))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def _wanted(schema: Any, columns: Columns, query: Query) -> Any:
    parts = []
    for name, values in query.lists.items():
        codes = [columns.code(name, value) + _CODE_OF_UNKNOWN for value in values]
        parts.append(tantivy.Query.term_set_query(schema, name, codes))
    parts += [
        tantivy.Query.term_query(schema, name, int(truth), "basic") for name, truth in query.flags.items()
    ]
    for name, wanted in query.ranges.items():
        kind = tantivy.FieldType.Float if name in _FLOATS else tantivy.FieldType.Integer
        # An unknown depth is -1.
        low = 0.0 if wanted.low is None and name == "depth_percent" else wanted.low
        parts.append(tantivy.Query.range_query(schema, name, kind, low, wanted.high))
    return tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in parts])
