from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from api.engine.fast_index import FastIndex
from api.engine.kernels.pages import PRICED
from api.folding import Folded, fold
from api.fragments import Compared
from api.plain_index import PlainIndex
from connectors.log.records import Newest, Records, of
from schemas.stone import Cause, Position, Stone, encode, position_key
from tests.unit.schemas.stones import make_stone

STONE = make_stone(id="nivoda-natural:1", price_cents=1)
DEARER = msgspec.structs.replace(STONE, price_cents=2)
SEEN = msgspec.structs.replace(STONE, seq=STONE.seq + 5, cause=Cause.SEEN, run="another")
BAD = [b"", b"<html>", b"{}", b"\xff", encode(make_stone(id="nivoda-natural:2")), b'{"id":"x","seq":1}']

Pair = tuple[bytes, bytes | None]


def pair(stone: Stone) -> Pair:
    return stone.id.encode(), encode(stone)


def records_in(folded: Folded) -> list[bytes]:
    return list(folded.batch.records)


def test_the_last_record_of_a_key_is_the_stone() -> None:
    folded = fold(of([pair(STONE), pair(DEARER)], slot=3, first=6))
    assert folded.batch.stones.whole("price_cents").tolist() == [2]
    assert records_in(folded) == [encode(DEARER)]
    assert folded.changed == {3: 7}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_read_is_counted_and_the_record_before_it_stays(bad: bytes) -> None:
    folded = fold(of([pair(STONE), (STONE.id.encode(), bad), (b"\xff\xfe", bad)], first=4))
    assert records_in(folded) == [encode(STONE)]
    assert (folded.unreadable, folded.changed) == (2, {0: 4})


def test_a_null_retires_and_a_position_is_no_stone() -> None:
    position = Position(feed="nivoda-natural", as_of=99, run="r", raw_offset=1, seq=1)
    folded = fold(
        of(
            [
                pair(STONE),
                (STONE.id.encode(), None),
                (position_key("nivoda-natural"), encode(position)),
                (position_key("other"), None),
            ]
        )
    )
    assert (len(folded.batch.stones), folded.batch.removed) == (0, [STONE.id])
    assert folded.batch.positions == {"nivoda-natural": 99}


@pytest.mark.parametrize("kind", [PlainIndex, FastIndex])
def test_a_record_that_says_nothing_new_is_left_out(kind: type[PlainIndex | FastIndex]) -> None:
    index = kind()

    def compare(records: Records, places: NDArray[np.intp]) -> Compared:
        rows = index.find(records.data, records.keys[:, places])
        return index.fragments.compare(rows, records.data, records.values[:, places])

    strange: Sequence[Pair] = [
        (b"", b"x"),
        (b"\xff:1", b""),
        (b"new:1", b"{}"),
        (b"nivoda-natural:\xff", b""),
        # Of another stone, with a number that no array holds.
        (
            (SEEN.id + "1").encode(),
            encode(SEEN)
            .replace(SEEN.id.encode(), (SEEN.id + "1").encode())
            .replace(b'"price_cents":', b'"price_cents":' + 30 * b"9"),
        ),
    ]
    assert fold(of([pair(SEEN), *strange]), compare).batch.stones.whole("price_cents").tolist() == [1]
    index.apply(fold(of([pair(STONE)])).batch)
    folded = fold(of([pair(SEEN), *strange]), compare)
    assert (len(folded.batch.stones), folded.changed, folded.unreadable) == (0, {}, len(strange))
    dearer = fold(of([pair(DEARER)]), compare).batch
    assert (len(dearer.stones), len(dearer.priced or ())) == (0, 1)
    assert fold(of([(STONE.id.encode(), None)]), compare).batch.removed == [STONE.id]
    # A price that cannot be read is not taken, and neither is one beside another content.
    broken = encode(DEARER).removesuffix(b"}")
    folded = fold(of([(STONE.id.encode(), broken)]), compare)
    assert (len(folded.batch.stones), len(folded.batch.priced or ()), folded.unreadable) == (0, 0, 1)
    heavier = fold(of([pair(msgspec.structs.replace(DEARER, carat=9.0))]), compare).batch
    assert (len(heavier.stones), heavier.priced) == (1, None)
    # A content that goes on behind what is kept is another one.
    longer = encode(STONE).replace(b',"seq":', b',"sequel":1,"seq":')
    assert compare(of([(STONE.id.encode(), longer)]), np.array([0])).common.tolist() == [PRICED]


@given(
    st.lists(st.tuples(st.integers(3, 9), st.sampled_from([None, *BAD, *[b"good"] * 9])), max_size=60),
    st.data(),
)
def test_the_log_read_from_its_end_gives_what_it_gives_read_from_its_beginning(
    log: list[tuple[int, bytes | None]], data: st.DataObject
) -> None:
    pairs: list[Pair] = []
    for number, (stone, value) in enumerate(log):
        good = make_stone(id=f"nivoda-natural:{stone}", price_cents=number)
        pairs.append((good.id.encode(), encode(good) if value == b"good" else value))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=6)))
    pieces = [pairs[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    forwards, backwards, newest = PlainIndex(), PlainIndex(), Newest()
    for piece in pieces:
        forwards.apply(fold(of(piece)).batch)
    for piece in reversed(pieces):
        backwards.apply(fold(of(piece), newest=newest).batch)
    # What one says of a stone that was read before a null in another piece must not come back.
    assert held(backwards) == held(forwards) == last_of(pairs)


def held(index: PlainIndex) -> dict[str, bytes]:
    found = {}
    for number in range(10):
        row = index.row(f"nivoda-natural:{number}")
        if row is not None:
            found[f"nivoda-natural:{number}"] = index.fragments.record(row)
    assert len(found) == len(index)
    return found


def last_of(pairs: list[Pair]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in pairs:
        if value is None:
            found.pop(key.decode(), None)
        elif value not in BAD:
            found[key.decode()] = value
    return found
