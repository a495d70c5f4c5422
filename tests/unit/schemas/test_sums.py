from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from schemas.stone import Availability, Stone, encode
from schemas.sums import Sums, decode_summed, sums_of, term
from tests.unit.schemas.stones import make_stone


def stock(many: int) -> list[Stone]:
    return [make_stone(id=f"nivoda-natural:{number:04x}", price_cents=number) for number in range(many)]


def sums(stones: list[Stone]) -> Sums:
    return sums_of(decode_summed(encode(stone)) for stone in stones).get("nivoda-natural", Sums())


def test_the_order_does_not_matter() -> None:
    stones = stock(500)
    mixed = random.Random(1).sample(stones, len(stones))
    assert sums(stones).by_ending == sums(mixed).by_ending
    assert sums(stones).whole.stones == 500
    assert len(sums(stones).by_ending) == 256


def test_what_was_counted_out_was_never_there() -> None:
    stones = stock(300)
    held = sums(stones)
    for stone in stones[100:]:
        held.remove(stone.id, term(decode_summed(encode(stone))))
    assert held.by_ending == sums(stones[:100]).by_ending


@pytest.mark.parametrize(
    "change",
    [
        {"price_cents": 1},
        {"cost_cents": 1},
        {"availability": Availability.ON_HOLD},
        {"updated_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(milliseconds=1)},
    ],
)
def test_one_field_of_one_stone_shows_under_its_ending(change: dict[str, object]) -> None:
    stones = stock(400)
    other = [*stones]
    other[0x13] = make_stone(id=stones[0x13].id, **({"price_cents": 0x13} | change))
    assert sums(stones).apart(sums(other)) == {"13"}
    assert sums(stones).apart(sums(stones[1:])) == {"00"}


def test_a_version_that_says_nothing_new_changes_no_sum() -> None:
    seen = make_stone(seq=(1 << 40) + 9, run="another", raw_offset=77)
    assert term(decode_summed(encode(seen))) == term(decode_summed(encode(make_stone())))
