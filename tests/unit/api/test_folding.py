from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest

from api.folding import fold
from api.fragments import frame
from schemas.stone import Cause, Position, Stone, encode, position_key
from tests.unit.schemas.stones import make_stone


@dataclass
class Record:
    _key: bytes | None
    _value: bytes | None
    _offset: int
    _partition: int = 0

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def partition(self) -> int | None:
        return self._partition

    def offset(self) -> int | None:
        return self._offset


STONE = make_stone(id="nivoda-natural:1", price_cents=1)
DEARER = msgspec.structs.replace(STONE, price_cents=2)
SEEN = msgspec.structs.replace(STONE, seq=STONE.seq + 5, cause=Cause.SEEN, run="another")


def of(stone: Stone, offset: int) -> Record:
    return Record(stone.id.encode(), encode(stone), offset)


def content_of(stone: Stone) -> bytes:
    record = encode(stone)
    return record[: record.rindex(b',"seq":')]


def test_the_last_record_of_a_key_is_the_stone() -> None:
    folded = fold([of(STONE, 4), of(DEARER, 7)])
    assert folded.batch.stones.whole("price_cents").tolist() == [2]
    assert folded.batch.records == [frame(encode(DEARER))]
    assert (folded.next_offsets, folded.changed) == ({0: 8}, {0: 7})


@pytest.mark.parametrize(
    "bad", [b"", b"<html>", b"{}", b"\xff", encode(make_stone(id="nivoda-natural:2")), b'{"id":"x","seq":1}']
)
def test_what_cannot_be_read_is_counted_and_the_record_before_it_stays(bad: bytes) -> None:
    folded = fold([of(STONE, 4), Record(STONE.id.encode(), bad, 5), Record(b"\xff\xfe", bad, 6)])
    assert folded.batch.records == [frame(encode(STONE))]
    assert folded.unreadable == 2
    assert (folded.next_offsets, folded.changed) == ({0: 7}, {0: 4})


def test_a_null_retires_and_a_position_is_no_stone() -> None:
    position = Position(feed="nivoda-natural", as_of=99, run="r", raw_offset=1, seq=1)
    folded = fold(
        [
            of(STONE, 1),
            Record(STONE.id.encode(), None, 2),
            Record(position_key("nivoda-natural"), encode(position), 3),
            Record(position_key("other"), None, 9, 4),
        ]
    )
    assert (len(folded.batch.stones), folded.batch.removed) == (0, [STONE.id])
    assert folded.batch.positions == {"nivoda-natural": 99}
    assert folded.next_offsets == {0: 4, 4: 10}


def test_a_record_that_says_nothing_new_is_left_out() -> None:
    def held(ids: Sequence[str]) -> list[bytes | None]:
        return [content_of(STONE) if stone_id == STONE.id else None for stone_id in ids]

    folded = fold([of(SEEN, 3)], held)
    assert (len(folded.batch.stones), folded.changed, folded.next_offsets) == (0, {}, {0: 4})
    assert len(fold([of(DEARER, 3)], held).batch.stones) == 1
    assert len(fold([of(SEEN, 3)], lambda ids: [None] * len(ids)).batch.stones) == 1
    assert fold([Record(STONE.id.encode(), None, 3)], held).batch.removed == [STONE.id]
