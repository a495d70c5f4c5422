"""The stock holds the last record of each stone that can be read, from whichever end the log is read."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from connectors.log.records import NO_RECORDS, of
from schemas.stone import Position, decode_stone, encode, position_key
from streams.pricing.engine import bucket
from streams.pricing.shelf import Shelf
from streams.pricing.stock import Stock
from tests.unit.schemas.stones import make_stone

BAD = [
    *(b"", b"<html>", b"{}", b"\xff", encode(make_stone(id="f:another"))),
    # A number that no array holds.
    encode(make_stone()).replace(b'"price_cents":', b'"price_cents":' + 30 * b"9"),
]
POSITION = encode(Position(feed="f", as_of=1, run="r", raw_offset=1, seq=1))

Pair = tuple[bytes, bytes | None]


def pair_of(number: int, stone: int, value: bytes | None) -> Pair:
    if stone == 0:
        return position_key("f"), POSITION if value else None
    # One in three is not plain.
    good = make_stone(id=f"f:{stone}", price_cents=number, shape="ROUND" if number % 3 else "RÓUND")
    return good.id.encode(), encode(good) if value == b"good" else value


def last_of(pairs: list[Pair]) -> dict[str, tuple[int, str]]:
    """Price and shape by stone, by way of an object a record."""
    found: dict[str, tuple[int, str]] = {}
    for key, value in pairs:
        if key == position_key("f"):
            continue
        if value is None:
            found.pop(key.decode(), None)
        elif value not in BAD:
            stone = decode_stone(value)
            found[stone.id] = stone.price_cents, stone.shape
    return found


def told(shelf: Shelf) -> dict[str, tuple[int, Any]]:
    prices, codes = shelf.arrays["price_cents"].tolist(), shelf.arrays["shape"].tolist()
    shapes = [shelf.texts["shape"][code] for code in codes]
    assert shelf.buckets.tolist() == [bucket(stone) for stone in shelf.ids]
    return dict(zip(shelf.ids, zip(prices, shapes, strict=True), strict=True))


LOGS = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from([None, None, *BAD, *[b"good"] * 9])), max_size=60
)


@given(LOGS, st.data())
def test_it_holds_what_each_stones_last_record_says(
    log: list[tuple[int, bytes | None]], data: st.DataObject
) -> None:
    pairs = [pair_of(number, stone, value) for number, (stone, value) in enumerate(log)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=6)))
    pieces = [pairs[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(log)], strict=True)]
    loaded = data.draw(st.integers(0, len(pieces)))
    stock, behind = Stock(), 0
    # Until it is loaded, the pieces come from the last to the first, as `LogTail` brings them.
    for piece in reversed(pieces[:loaded]):
        stock.apply(of(piece), {})
    behind = sum(map(len, pieces[:loaded]))
    stock.apply(NO_RECORDS, {0: behind})
    for piece in pieces[loaded:]:
        behind += len(piece)
        stock.apply(of(piece), {0: behind})
    assert told(stock.shelf()) == last_of(pairs)
    assert len(stock) == len(last_of(pairs))


def test_a_piece_that_comes_twice_while_it_is_loaded_brings_nothing_old_back() -> None:
    stock = Stock()
    newer, older = (
        of([pair_of(3, 1, b"good"), pair_of(4, 2, None)]),
        of([pair_of(number, number, b"good") for number in (1, 2)]),
    )
    # Kafka was away in the middle: what was read of a stretch is read again.
    for piece in (newer, older, newer, older):
        stock.apply(piece, {})
    assert told(stock.shelf()) == {"f:1": (3, "RÓUND")}


def test_what_cannot_be_read_is_told_and_a_position_is_no_stone() -> None:
    stock = Stock()
    with capture_logs() as told_of:
        stock.apply(
            of([pair_of(1, 1, b"good"), (b"f:1", b"{}"), pair_of(2, 0, b"good"), (b"f:2", b"<")]), {0: 4}
        )
    assert [(line["event"], line["stone"]) for line in told_of] == [
        ("stock.record_unreadable", "b'f:1'"),
        ("stock.record_unreadable", "b'f:2'"),
    ]
    assert told(stock.shelf()) == {"f:1": (1, "ROUND")}


def test_a_copy_stays_as_it_was() -> None:
    stock = Stock()
    stock.apply(of([pair_of(1, 1, b"good"), pair_of(2, 2, b"good")]), {0: 2})
    before = stock.shelf()
    stock.apply(of([pair_of(4, 3, b"good"), pair_of(5, 1, None), pair_of(7, 2, b"good")]), {0: 5})
    assert told(before) == {"f:1": (1, "ROUND"), "f:2": (2, "ROUND")}
    assert told(stock.shelf()) == {"f:2": (7, "ROUND"), "f:3": (4, "ROUND")}
    # The row of a stone that is gone is another's then.
    stock.apply(of([pair_of(8, 4, b"good")]), {0: 6})
    assert told(stock.shelf()) == {"f:2": (7, "ROUND"), "f:3": (4, "ROUND"), "f:4": (8, "ROUND")}
