import pytest

from connectors.postgres.fold import MAX_KEY_BYTES, Retired, fold
from connectors.postgres.rows import history_row, stone_row
from schemas.stone import Cause, Position, encode, position_key
from tests.unit.connectors_postgres.messages import Record, record
from tests.unit.schemas.stones import make_stone


@pytest.mark.parametrize("comments", ["plain", "naïve ⬧"])
def test_a_version_has_its_row_and_its_history(comments: str) -> None:
    stone = make_stone(comments=comments, previous_price_cents=5)
    batch = fold([record(stone, 7)])
    (version,) = batch.versions
    assert (version.stone_id, version.offset, version.row) == (stone.id, 7, stone_row(stone, 7))
    assert batch.history == [history_row(stone)]


def test_the_last_record_of_a_key_is_the_stone() -> None:
    first, second = make_stone(price_cents=1), make_stone(price_cents=2)
    batch = fold([record(first, 1), record(second, 2)])
    assert [v.row for v in batch.versions] == [stone_row(second, 2)]
    assert batch.next_offsets == {0: 3}
    assert batch.records == 2


def test_a_null_after_a_version_retires_and_a_version_after_a_null_revives() -> None:
    stone = make_stone()
    key = stone.id.encode()
    gone = fold([record(stone, 1), Record(key, None, 2, at_ms=5)])
    assert gone.versions == []
    assert gone.retired == [Retired(stone.id, 2, 5)]
    back = fold([Record(key, None, 2), record(stone, 3)])
    assert [v.offset for v in back.versions] == [3]
    assert back.retired == []


@pytest.mark.parametrize(
    ("cause", "price", "previous", "follows"),
    [
        (Cause.NEW, 100, None, True),
        (Cause.NEW, 100, 100, True),
        (Cause.CHANGED, 100, 90, True),
        (Cause.REPRICED, 100, 90, True),
        (Cause.REPRICED, 100, 100, False),
        (Cause.SEEN, 100, 100, False),
        (Cause.REMAPPED, 100, 100, False),
    ],
)
def test_history_follows_exactly_a_new_stone_or_a_changed_price(
    cause: Cause, price: int, previous: int | None, follows: bool
) -> None:
    stone = make_stone(cause=cause, price_cents=price, previous_price_cents=previous)
    assert bool(fold([record(stone, 1)]).history) is follows


def test_history_keeps_every_version_of_a_batch() -> None:
    versions = [
        make_stone(cause=Cause.NEW, price_cents=1, seq=1),
        make_stone(cause=Cause.CHANGED, price_cents=2, previous_price_cents=1, seq=2),
        make_stone(cause=Cause.CHANGED, price_cents=3, previous_price_cents=2, seq=3),
    ]
    batch = fold([record(stone, offset) for offset, stone in enumerate(versions)])
    assert batch.history == [history_row(stone) for stone in versions]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (Cause.NEW, False),
        (Cause.CHANGED, False),
        (Cause.SEEN, False),
        (Cause.REPRICED, True),
        (Cause.REMAPPED, True),
    ],
)
def test_a_batch_knows_work_that_its_owner_paces(cause: Cause, expected: bool) -> None:
    stones = [make_stone(id=f"nivoda-natural:{n}", cause=cause) for n in range(3)]
    assert fold([record(stone, offset) for offset, stone in enumerate(stones)]).background is expected


def test_the_last_position_of_a_feed_counts() -> None:
    positions = [Position(feed="demo", as_of=n, run="r", raw_offset=n, seq=n) for n in (1, 2)]
    batch = fold([Record(position_key("demo"), encode(p), n) for n, p in enumerate(positions)])
    assert batch.positions == [(positions[1], 1)]
    assert batch.versions == []


STONE = make_stone()
KEY = STONE.id.encode()


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (Record(KEY, b"<html>", 1), "not_a_stone"),
        (Record(KEY, b"{}", 1), "not_a_stone"),
        (Record(KEY, b"", 1), "not_a_stone"),
        (Record(b"nivoda-natural:2", encode(STONE), 1), "key_differs"),
        (Record(None, encode(STONE), 1), "no_key"),
        (Record(b"\xff\xfe", None, 1), "bad_key"),
        (Record(b"x" * (MAX_KEY_BYTES + 1), None, 1), "bad_key"),
        (Record(b"demo:", b"{}", 1), "not_a_position"),
        (Record(KEY, encode(make_stone(comments="a\0b")), 1), "nul_character"),
        (Record(KEY, encode(make_stone(cost_cents=2**63)), 1), "not_a_stone"),
        (Record(KEY, encode(STONE).replace(b'"new"', b'"whim"'), 1), "not_a_stone"),
    ],
)
def test_what_postgres_would_refuse_is_refused_alone(bad: Record, code: str) -> None:
    good = make_stone(id="nivoda-natural:good")
    batch = fold([bad, record(good, 2)])
    assert [(one.message, one.cause.code) for one in batch.refused] == [(bad, code)]
    assert [v.stone_id for v in batch.versions] == [good.id]
    assert batch.next_offsets == {0: 3}


def test_partitions_move_on_their_own() -> None:
    other = make_stone(id="nivoda-labgrown:1")
    batch = fold([record(STONE, 10), record(other, 3, partition_=1)])
    assert batch.next_offsets == {0: 11, 1: 4}
