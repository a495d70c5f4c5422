from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.fields import SORTABLE
from api.plain_index import PlainIndex
from api.query import After, Facets, Query, Range, SortKey
from schemas.grades import COLORS
from schemas.stone import Stone, decode_stone, encode
from tests.unit.api.stock import (
    assert_counted,
    batch_of,
    naive_counted,
    naive_search,
    record_of,
    records_of,
    stones,
)
from tests.unit.schemas.stones import make_stone

SORTS = st.lists(st.sampled_from(SORTABLE), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.builds(SortKey, st.just(name), st.booleans()) for name in names))
)
QUERIES = st.builds(
    Query,
    lists=st.fixed_dictionaries(
        {},
        optional={
            "shape": st.lists(st.sampled_from(("ROUND", "OVAL", "PEAR")), min_size=1).map(tuple),
            "color": st.lists(st.sampled_from(COLORS[:3]), min_size=1).map(tuple),
            "certificate_number": st.lists(st.sampled_from(("1", "A-3", "?")), min_size=1).map(tuple),
            "availability": st.just(("available",)),
        },
    ),
    ranges=st.fixed_dictionaries(
        {},
        optional={
            "carat": st.builds(Range, st.none() | st.just(0.5), st.none() | st.just(1.0)),
            "price_cents": st.builds(Range, st.none() | st.integers(0, 2), st.none() | st.integers(2, 5)),
        },
    ),
    flags=st.fixed_dictionaries({}, optional={"lab_grown": st.booleans()}),
    sort=SORTS,
    limit=st.integers(1, 6),
)


@pytest.fixture
def index() -> PlainIndex:
    return PlainIndex()


def ids(records: list[bytes]) -> list[str]:
    return [decode_stone(record).id for record in records]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    batches=st.lists(st.lists(stones(), max_size=12), max_size=4),
    removals=st.lists(st.integers(0, 30), max_size=4),
    query=QUERIES,
)
def test_every_page_of_every_search_equals_a_naive_scan(
    batches: list[list[Stone]], removals: list[int], query: Query
) -> None:
    index, stock = PlainIndex(), dict[str, Stone]()
    for batch in batches:
        last = {stone.id: stone for stone in batch}
        gone = tuple({sorted(stock)[n % len(stock)] for n in removals if stock} - last.keys())
        index.apply(batch_of(*last.values(), removed=gone))
        stock = {stone_id: s for stone_id, s in (stock | last).items() if stone_id not in gone}
    assert len(index) == len(stock)
    seen: list[str] = []
    while True:
        page = index.search(query)
        expected, total = naive_search(list(stock.values()), query)
        assert page.total == total
        assert records_of(index, page) == [encode(stone) for stone in expected]
        seen += ids(records_of(index, page))
        if page.last is None:
            break
        query = replace(query, after=page.last)
    assert len(seen) == len(set(seen)) == total


def test_a_walk_misses_none_that_stayed_while_others_come_and_go(index: PlainIndex) -> None:
    stayed = [make_stone(id=f"nivoda-natural:s{n:03}", price_cents=n // 7) for n in range(200)]
    index.apply(batch_of(*stayed))
    query, seen = Query(limit=9), list[str]()
    for turn in range(1000):
        page = index.search(query)
        seen += ids(records_of(index, page))
        if page.last is None:
            break
        query = Query(limit=9, after=page.last)
        came = make_stone(id=f"nivoda-natural:t{turn}", price_cents=turn % 30)
        index.apply(batch_of(came, removed=(f"nivoda-natural:t{turn - 1}",)))
    assert len(seen) == len(set(seen))
    assert {stone.id for stone in stayed} <= set(seen)


def test_a_cursor_whose_value_no_stone_has_any_more_still_has_its_place(index: PlainIndex) -> None:
    index.apply(batch_of(*(make_stone(id=f"nivoda-natural:{lab}", lab=lab) for lab in ("GIA", "IGI", "SGL"))))
    sort = (SortKey("lab"),)
    page = index.search(Query(sort=sort, after=After(("HRD",), "nivoda-natural:x")))
    assert ids(records_of(index, page)) == ["nivoda-natural:IGI", "nivoda-natural:SGL"]


def test_grades_sort_by_grade_and_unknown_comes_last_in_both_directions(index: PlainIndex) -> None:
    colors = ("FANCY", "E", None, "O-P", "D", "Z", "N")
    index.apply(batch_of(*(make_stone(id=f"nivoda-natural:{color}", color=color) for color in colors)))

    def order(descending: bool) -> list[str | None]:
        page = index.search(Query(sort=(SortKey("color", descending),)))
        return [decode_stone(record).color for record in records_of(index, page)]

    assert order(False) == ["D", "E", "N", "O-P", "Z", "FANCY", None]
    assert order(True) == ["FANCY", "Z", "O-P", "N", "E", "D", None]


def test_sizes_and_positions_follow_what_was_applied(index: PlainIndex) -> None:
    index.apply(batch_of(make_stone(), demo=5))
    index.apply(batch_of(make_stone(price_cents=3), demo=6))
    assert len(index) == 1
    assert index.positions == {"demo": 6}
    index.apply(batch_of(removed=(make_stone().id, "nivoda-natural:unknown")))
    assert len(index) == 0
    assert record_of(index, make_stone().id) is None
    assert index.search(Query()).total == 0


def test_pages_do_not_overlap_when_everything_ties(index: PlainIndex) -> None:
    index.apply(batch_of(*(make_stone(id=f"nivoda-natural:{n:04}") for n in range(500))))
    query, walked = Query(limit=50), list[str]()
    while True:
        page = index.search(query)
        walked += ids(records_of(index, page))
        if page.last is None:
            break
        query = Query(limit=50, after=page.last)
    assert len(walked) == 500
    assert all(one < other for one, other in pairwise(walked))


EVERY_FACET = Facets(
    counts=("shape", "color", "lab_grown", "treated", "girdle"),
    numbers={
        "price_cents": (1, 3),
        "length_mm": (),
        "ratio": (1.06,),
        "updated_at": (),
        "list_discount_bps": (0,),
    },
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(stock=st.lists(stones(), max_size=30), query=QUERIES, exclude_own=st.booleans())
def test_facets_offsets_and_prefixes_equal_a_naive_scan(
    stock: list[Stone], query: Query, exclude_own: bool
) -> None:
    index = PlainIndex()
    last = list({stone.id: stone for stone in stock}.values())
    index.apply(batch_of(*last))
    query = replace(
        query,
        offset=2,
        facets=replace(EVERY_FACET, exclude_own=exclude_own),
        prefixes={"supplier_stock_number": ("A-1", "0")} if exclude_own else {},
    )
    page = index.search(query)
    expected, total = naive_search(last, query)
    assert page.total == total
    assert records_of(index, page) == [encode(stone) for stone in expected]
    assert_counted(page.counted, naive_counted(last, query))
