"""The fast index is held to a naive scan: every page, total, cursor and facet of random searches over random changes."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from numba.core.dispatcher import Dispatcher

from api.engine.fast_index import FastIndex
from api.engine.kernels import counting, ids, marks, pages, places, sorting, texts
from api.engine.warming import warm
from api.query import Query, Range, SortKey
from connectors.log import kernels as log
from connectors.log.records import of
from connectors.records import scan
from schemas.errors import Invalid
from schemas.stone import Stone, encode
from tests.unit.api.random_searches import Searches
from tests.unit.api.stock import (
    assert_counted,
    batch_of,
    known_batch_of,
    naive_counted,
    naive_search,
    record_of,
    records_of,
)
from tests.unit.schemas.stones import make_stone

ROUNDS = 12
"""Of each kind of stock; the first few here, the others among the slow tests: 21 000 searches in all."""
QUICK_ROUNDS = 3
BATCHES = 8
SEARCHES = 110


class Jobs:
    """Runs the index's background jobs when told to, so that changes come between their begin and their end."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], Future[Any]]] = []

    def submit(self, job: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        self._waiting.append((job, future))
        return future

    def run(self) -> None:
        for job, future in self._waiting:
            future.set_result(job())
        self._waiting.clear()


def change(searches: Searches, stock: dict[str, Stone], index: FastIndex, at_most: int) -> None:
    """Some stones come, change and go."""
    random = searches.random
    changed = {}
    for _ in range(random.randrange(at_most)):
        stone_id = random.choice([*stock]) if stock and random.random() < 0.5 else searches.stone_id()
        stone = searches.stone(stone_id)
        if stone_id in stock and random.random() < 0.6:
            stone = replace_price(
                stock[stone_id],
                random.randrange(6),
                updated_at=stone.updated_at,
                rating=random.choice((None, 3)),
            )
        changed[stone_id] = stone
    gone = tuple({searches.stone_id() for _ in range(3)} - changed.keys())
    if stock and random.random() < 0.8:
        some = random.sample([*stock], min(len(stock), random.randrange(6)))
        gone = tuple({*gone, *some} - changed.keys())
    batch = (
        batch_of(*changed.values(), removed=gone)
        if random.random() < 0.5
        else known_batch_of(index, *changed.values(), removed=gone)
    )
    for take in index.prepare(batch, random.randrange(1, 1 + at_most)):
        take()
    known = [*stock, *gone]
    keys = of((stone_id.encode(), None) for stone_id in known)
    rows = map(index.row, known)
    assert index.find(keys.data, keys.keys).tolist() == [-1 if row is None else row for row in rows]
    stock |= changed
    for stone_id in gone:
        stock.pop(stone_id, None)


def replace_price(stone: Stone, price_cents: int, **others: Any) -> Stone:
    return msgspec.structs.replace(stone, price_cents=price_cents, **others)


def check(index: FastIndex, stock: list[Stone], query: Query) -> int:
    """Compare every page from this query on; how many there were."""
    pages = 0
    while True:
        page = index.search(query)
        pages += 1
        expected, total = naive_search(stock, query)
        assert page.total == total, query
        assert records_of(index, page) == [encode(stone) for stone in expected], query
        if query.facets is not None:
            assert_counted(page.counted, naive_counted(stock, query))
        if page.last is None or pages == 3:
            return pages
        query = replace(query, after=page.last, offset=0)


@pytest.mark.parametrize("offset", [2, 3, 4, 2**53])
def test_no_more_room_is_made_than_there_are_stones(offset: int) -> None:
    stock = [make_stone(id=f"nivoda-natural:{number}", price_cents=number) for number in range(4)]
    index = FastIndex()
    index.apply(batch_of(*stock))
    check(index, stock, Query(limit=1, offset=offset))


@pytest.mark.slow
@pytest.mark.parametrize("wild", [False, True])
@pytest.mark.parametrize("turn", range(QUICK_ROUNDS))
def test_every_answer_equals_a_naive_scan(turn: int, wild: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_to_a_naive_scan(turn, wild, monkeypatch)


def hold_to_a_naive_scan(turn: int, wild: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small enough that clusters are made anew all the time, and that samples are taken, some of them misleading.
    for name, most in (
        ("fast_index._TAIL_SERVING", 12),
        ("fast_index.FEW_ROWS", 3),
        ("sorting._ROOM", turn % 3),
        ("sorting._ROOM_FOR_EQUALS", turn % 3),
    ):
        monkeypatch.setattr(f"api.engine.{name}", most)
    searches, jobs = Searches(1000 * turn + wild, wild=wild), Jobs()
    index, stock = FastIndex(run=jobs.submit), dict[str, Stone]()
    if turn % 2:
        index.settle()  # From now on only what is new is written.
    for batch in range(BATCHES):
        change(searches, stock, index, 60 if batch < 2 else 25)
        assert len(index) == len(stock)
        present = list(stock.values())
        for number in range(SEARCHES):
            query = searches.query(stock)
            if number % 6 == 0:
                query = replace(query, facets=searches.facets())
            check(index, present, query)
            if searches.random.random() < 0.02:
                jobs.run()
        if batch == BATCHES // 2:
            jobs.run()
            index.settle()


def test_what_was_saved_is_read_back_and_goes_on(tmp_path: Path) -> None:
    for wild, settled in ((False, False), (True, False), (False, True), (True, True)):
        searches = Searches(77 + wild, wild=wild)
        folder, other = tmp_path / f"records-{wild}-{settled}", tmp_path / f"saved-{wild}-{settled}"
        other.mkdir()
        index, stock = FastIndex(folder), dict[str, Stone]()
        for turn in range(4):
            change(searches, stock, index, 50)
            if settled and turn == 1:
                index.settle()
        index.apply(batch_of(demo=7))
        index.save(other)
        again = FastIndex(folder)
        again.load(other, index.fragments.manifest())
        assert again.positions == {"demo": 7}
        assert len(again) == len(stock)
        for _ in range(3):
            for _ in range(60):
                check(again, list(stock.values()), searches.query(stock))
            change(searches, stock, again, 30)
        assert all(record_of(again, stone_id) == encode(stone) for stone_id, stone in stock.items())


def test_an_index_that_was_saved_in_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = FastIndex(tmp_path / "records")
    index.save(tmp_path)
    monkeypatch.setattr("api.engine.saving.FORMAT", 0)
    with pytest.raises(Invalid, match="version"):
        FastIndex(tmp_path / "records").load(tmp_path, {})


def test_warming_compiles_whatever_a_search_needs() -> None:
    """What comes after it finds every combination of types that it meets."""
    warm()
    known = {name: len(kernel.signatures) for name, kernel in kernels().items()}
    for wild in (False, True):
        searches, jobs = Searches(5 + wild, wild=wild), Jobs()
        index, stock = FastIndex(run=jobs.submit), dict[str, Stone]()
        for _ in range(3):
            change(searches, stock, index, 60)
            for number in range(60):
                facets = searches.facets() if number % 4 == 0 else None
                index.search(replace(searches.query(stock), facets=facets))
            jobs.run()
    assert {name: len(kernel.signatures) for name, kernel in kernels().items()} == known


def kernels() -> dict[str, Any]:
    modules = (counting, ids, log, marks, pages, places, scan, sorting, texts)
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher) and not name.startswith("_")
    }


def test_what_was_prepared_before_another_change_is_applied_whole() -> None:
    index = FastIndex()
    index.settle()
    first, second, third = (make_stone(price_cents=cents, carat=cents / 10) for cents in (1, 2, 1))
    index.apply(batch_of(first))
    steps = [step for stone in (second, third) for step in index.prepare(batch_of(stone), 1)]
    for take in steps:
        take()
    assert index.search(Query(ranges={"price_cents": Range(1, 1), "carat": Range(0.1, 0.1)})).total == 1
    # In the first column's units 0.0101 looks like 1.01.
    index.apply(batch_of(make_stone(carat=1.01, length_mm=1.01)))
    index.apply(batch_of(make_stone(carat=1.01, length_mm=0.0101)))
    assert index.search(Query(ranges={"length_mm": Range(0.0, 0.1)})).total == 1


def test_a_batch_cut_into_parts_is_compared_part_by_part() -> None:
    index = FastIndex()
    index.settle()
    stock = [make_stone(id=f"nivoda-natural:{number}", price_cents=number) for number in range(9)]
    index.apply(batch_of(*stock[:6]))
    moved = [replace_price(stone, stone.price_cents + 100) for stone in stock]
    for take in index.prepare(batch_of(*moved), 2):
        take()
    found = index.search(Query(ranges={"price_cents": Range(100, None)}, sort=(SortKey("price_cents"),)))
    assert records_of(index, found) == [encode(stone) for stone in moved]


def test_the_first_new_stone_after_a_start_finds_room(tmp_path: Path) -> None:
    index = FastIndex(tmp_path / "records")
    index.apply(batch_of(*(make_stone(id=f"nivoda-natural:{number}") for number in range(5_000))))
    index.settle()
    (tmp_path / "saved").mkdir()
    index.save(tmp_path / "saved")
    started = FastIndex(tmp_path / "records")
    started.load(tmp_path / "saved", index.fragments.manifest())
    for each in (index, started):
        capacity = each._stock.capacity
        each.apply(batch_of(*(make_stone(id=f"nivoda-natural:new-{number}") for number in range(300))))
        assert (len(each), each._stock.capacity) == (5_300, capacity)


def test_what_would_hold_up_searches_is_copied_where_a_batch_is_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.engine.fast_index._TAIL_SERVING", 100)
    jobs = Jobs()
    index = FastIndex(run=jobs.submit)
    index.settle()
    held: list[Stone] = []
    for number in range(40):
        new = [make_stone(id=f"nivoda-natural:{number}-{place}", price_cents=number) for place in range(90)]
        steps = index.prepare(batch_of(*new), 40)
        capacity, slots, job = index._stock.capacity, len(index._stock._table.slots), index._job
        # Searches go on meanwhile, and see what they saw.
        assert index.search(Query(limit=0)).total == len(held)
        for take in steps:
            take()
        held += new
        found = index.search(Query(sort=(SortKey("price_cents", descending=True),), limit=90))
        assert (found.total, sorted(records_of(index, found))) == (len(held), sorted(map(encode, new)))
        assert (index._stock.capacity, len(index._stock._table.slots)) == (capacity, slots)
        assert index._job in (job, None)
        jobs.run()
    assert index._stock.capacity > 3_600
    assert len(index._stock._table.slots) > 3_600
    assert index._clusters.ordered_end > 3_000
