from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.fragments import Fragments, framed
from schemas.stone import Stone, encode, public_part
from tests.unit.schemas.stones import make_stone

SMALL = 10_000


def rows(*numbers: int) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    return np.array(numbers, dtype=np.intp)


def stone(number: int, price_cents: int = 0) -> Stone:
    return make_stone(id=f"nivoda-natural:{number}", price_cents=price_cents, comments='a "quote", ,"seq":1')


def held(fragments: Fragments, numbers: range) -> list[bytes]:
    return [fragments.record(number) for number in numbers]


def test_an_item_is_the_public_stretch_and_the_cost_stands_before_it() -> None:
    fragments, record = Fragments(), encode(stone(1))
    fragments.put(rows(7), framed([record]))
    assert fragments.record(7) == record
    (item,) = fragments.items([7])
    assert b"{" + item + b"}" == public_part(record)
    (bought,) = fragments.items([7], with_cost=True)
    assert bought == b'"cost_cents":%d,%b' % (stone(1).cost_cents, item)


def test_a_page_is_its_items_joined_and_a_row_without_a_record_is_refused() -> None:
    fragments = Fragments(segment_bytes=SMALL)
    records = {number: encode(stone(number)) for number in range(20)}
    fragments.put(rows(*records), framed([*records.values()]))
    for numbers in ([], [3], [19, 0, 7, 7], list(range(20))):
        expected = b"[" + b",".join(public_part(records[number]) for number in numbers) + b"]"
        assert fragments.array(numbers).tobytes() == expected
    fragments.drop(rows(7))
    for missing in (-1, 7, 20, 10**9):
        with pytest.raises(KeyError):
            fragments.array([3, missing])


@pytest.mark.parametrize("record", [b"{}", b"<html>", b'{"id":"x"}', b'{"seq":1,"id":"x"}'])
def test_what_is_no_canonical_record_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match="not found"):
        framed([record])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3_000)), min_size=1, max_size=60))
def test_the_last_record_of_each_row_is_found_whatever_was_reclaimed(puts: list[tuple[int, int]]) -> None:
    fragments, last = Fragments(segment_bytes=4_000), dict[int, bytes]()
    for row, size in puts:
        last[row] = encode(make_stone(id=f"nivoda-natural:{row}", comments="x" * size))
        fragments.put(rows(row), framed([last[row]]))
        fragments.reclaim()
    assert {row: fragments.record(row) for row in last} == last
    assert fragments.array([*last]).tobytes() == b"[" + b",".join(map(public_part, last.values())) + b"]"


def test_stale_space_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.fragments._MOVED_AT_ONCE", 3)
    fragments = Fragments(segment_bytes=SMALL)
    for version in range(60):
        fragments.put(rows(*range(20)), framed([encode(stone(n, version)) for n in range(20)]))
        for _ in range(8):
            fragments.reclaim()
    assert fragments.bytes_kept < 120_000
    assert held(fragments, range(20)) == [encode(stone(n, 59)) for n in range(20)]


def test_records_that_are_replaced_in_their_order_are_not_moved() -> None:
    fragments = Fragments(segment_bytes=SMALL)
    for version in range(4):
        for number in range(40):
            fragments.put(rows(number), framed([encode(stone(number, version))]))
            fragments.reclaim()
    assert fragments._heads["moved"] is None
    assert fragments.bytes_kept < 3 * 40 * len(encode(stone(0))) + 2 * SMALL


def test_what_is_written_waits_for_its_rows_in_a_file_that_stays() -> None:
    fragments = Fragments(segment_bytes=SMALL)
    some = framed([encode(stone(n)) for n in range(20)])
    fragments.put(rows(*range(20)), some)
    places = fragments.write(framed([encode(stone(n, 1)) for n in range(20)]))
    # Its files are full and closed, and all that anybody has placed in them is stale.
    fragments.put(rows(*range(20)), some)
    for _ in range(200):
        fragments.reclaim()
    fragments.place(rows(*range(20)), places)
    assert held(fragments, range(20)) == [encode(stone(n, 1)) for n in range(20)]


def test_one_thread_writes_while_another_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.fragments._MOVED_AT_ONCE", 1)
    fragments = Fragments(segment_bytes=SMALL)
    numbers = range(40)
    fragments.put(rows(*numbers), framed([encode(stone(n)) for n in numbers]))
    with ThreadPoolExecutor(1) as other:
        for version in range(1, 60):
            writing = other.submit(fragments.write, framed([encode(stone(n, version)) for n in numbers]))
            while not writing.done():
                fragments.reclaim()
            assert held(fragments, numbers) == [encode(stone(n, version - 1)) for n in numbers]
            fragments.place(rows(*numbers), writing.result())
    assert held(fragments, numbers) == [encode(stone(n, 59)) for n in numbers]
    for _ in range(500):
        fragments.reclaim()
    assert fragments.bytes_kept < 200_000


def test_what_a_snapshot_names_is_found_by_another_process(tmp_path: Path) -> None:
    first = Fragments(tmp_path, SMALL)
    first.put(rows(*range(30)), framed([encode(stone(n)) for n in range(30)]))
    first.drop(rows(3))
    places, manifest = first.places(30).copy(), first.manifest()
    first.sync()
    # What is written later is not in the snapshot and must not disturb it.
    first.put(rows(*range(30)), framed([encode(stone(n, 99)) for n in range(30)]))

    second = Fragments(tmp_path, SMALL)
    second.restore(places, manifest)
    assert held(second, range(3)) == [encode(stone(n)) for n in range(3)]
    assert second.record(29) == encode(stone(29))
    assert second.touch() >= sum(manifest.values())
    second.put(rows(3), framed([encode(stone(3, 7))]))
    assert second.record(3) == encode(stone(3, 7))
    assert second.record(4) == encode(stone(4))


def test_a_file_that_is_shorter_than_its_snapshot_says_is_refused(tmp_path: Path) -> None:
    fragments = Fragments(tmp_path, SMALL)
    fragments.put(rows(0), framed([encode(stone(0))]))
    (name,) = fragments.manifest()
    with pytest.raises(OSError, match="its snapshot needs"):
        Fragments(tmp_path, SMALL).restore(fragments.places(1), {name: SMALL + 1})


def test_rows_can_be_renumbered() -> None:
    fragments = Fragments()
    fragments.put(rows(0, 1, 2), framed([encode(stone(n)) for n in range(3)]))
    fragments.renumber(rows(2, 0, 1))
    assert held(fragments, range(3)) == [encode(stone(n)) for n in (2, 0, 1)]
