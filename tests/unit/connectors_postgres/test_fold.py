from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.fold import MAX_KEY_BYTES, Batch, Retired
from connectors.postgres.rows import history_row, marks_of, stone_row
from schemas.stone import Cause, Position, Stone, decode_position, decode_stone, encode, position_key
from tests.unit.connectors_postgres.messages import TOPIC_ID, Record, fold, record
from tests.unit.schemas.stones import make_stone


def rows(batch: Batch) -> list[bytes]:
    return [batch.versions.rows.row(place) for place in range(len(batch.versions))]


def history(batch: Batch) -> list[bytes]:
    return [batch.history.row(place) for place in range(len(batch.history))]


def row(stone: Stone, offset: int) -> bytes:
    return stone_row(stone, offset, TOPIC_ID)


@pytest.mark.parametrize("comments", ["plain", "naïve ⬧"])
def test_a_version_has_its_row_and_its_history(comments: str) -> None:
    stone = make_stone(comments=comments, previous_price_cents=5)
    batch = fold([record(stone, 7)])
    assert (batch.versions.ids(), batch.versions.offsets.tolist()) == ([stone.id], [7])
    assert rows(batch) == [row(stone, 7)]
    assert history(batch) == [history_row(stone)]


def test_the_last_record_of_a_key_is_the_stone() -> None:
    first, second = make_stone(price_cents=1), make_stone(price_cents=2)
    batch = fold([record(first, 1), record(second, 2)])
    assert rows(batch) == [row(second, 2)]
    assert batch.records == 2


def test_a_null_after_a_version_retires_and_a_version_after_a_null_revives() -> None:
    stone = make_stone()
    key = stone.id.encode()
    gone = fold([record(stone, 1), Record(key, None, 2, at_ms=5)])
    assert rows(gone) == []
    assert gone.retired == [Retired(stone.id, 2, 5)]
    back = fold([Record(key, None, 2), record(stone, 3)])
    assert back.versions.offsets.tolist() == [3]
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
    assert bool(history(fold([record(stone, 1)]))) is follows


def test_history_keeps_every_version_of_a_batch() -> None:
    versions = [
        make_stone(cause=Cause.NEW, price_cents=1, seq=1),
        make_stone(cause=Cause.CHANGED, price_cents=2, previous_price_cents=1, seq=2),
        make_stone(cause=Cause.CHANGED, price_cents=3, previous_price_cents=2, seq=3),
    ]
    batch = fold([record(stone, offset) for offset, stone in enumerate(versions)])
    assert history(batch) == [history_row(stone) for stone in versions]


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
    assert rows(batch) == []


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
    assert [(one.key, one.value, one.offset, one.cause.code) for one in batch.refused] == [
        (bad.key, bad.value, 1, code)
    ]
    assert batch.versions.ids() == [good.id]
    assert history(batch) == [history_row(good)]


def test_a_version_before_one_that_cannot_be_read_is_the_stone() -> None:
    batch = fold([record(STONE, 1), Record(KEY, b"{}", 2), record(make_stone(id="nivoda-natural:2"), 3)])
    assert batch.versions.offsets.tolist() == [1, 3]
    assert [one.offset for one in batch.refused] == [2]


KEYS = st.sampled_from([b"nivoda-natural:1", b"nivoda-natural:2", b"nivoda-natural:x", b"demo:", b"", None])
STONES = st.builds(
    make_stone,
    id=st.sampled_from(["nivoda-natural:1", "nivoda-natural:2"]),
    cause=st.sampled_from([Cause.NEW, Cause.CHANGED, Cause.REPRICED]),
    comments=st.sampled_from(["plain", "naïve ⬧", "a\0b"]),
    price_cents=st.integers(0, 3),
    previous_price_cents=st.none() | st.integers(0, 3),
)
POSITIONS = st.builds(Position, feed=st.just("demo"), as_of=st.integers(1, 9), run=st.just("r"), raw_offset=st.just(1),
                      seq=st.just(1))  # fmt: skip
VALUES = st.one_of(STONES.map(encode), POSITIONS.map(encode), st.none(), st.just(b"{}"))
RECORDS = st.lists(st.tuples(KEYS, VALUES) | STONES.map(lambda s: (s.id.encode(), encode(s))), max_size=30)


def folded_one_by_one(records: Sequence[Record]) -> tuple[dict[bytes, Record], list[bytes], list[int]]:
    """The last usable record of each key, the history, and the offsets of what is refused: the obvious way."""
    last: dict[bytes, Record] = {}
    changes, refused = [], []
    for one in records:
        key = one.key or b""
        try:
            if key.endswith(b":"):
                if one.value is None:
                    continue
                decode_position(one.value)
            elif one.value is not None:
                stone = decode_stone(one.value)
                if stone.id.encode() != key or b"\\u0000" in one.value:
                    raise ValueError(key)
                changes += [made] if (made := history_row(stone)) is not None else []
            elif not key:
                raise ValueError(key)
        except ValueError:
            refused.append(one.offset)
            continue
        last.pop(key, None)
        last[key] = one
    return last, changes, refused


@given(RECORDS)
def test_folding_by_arrays_is_the_obvious_folding(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    records = [Record(key, value, 3 * place) for place, (key, value) in enumerate(pairs)]
    last, changes, refused = folded_one_by_one(records)
    batch = fold(records)
    stones = {key: one for key, one in last.items() if not key.endswith(b":") and one.value is not None}
    decoded = {key: decode_stone(one.value or b"") for key, one in stones.items()}
    assert rows(batch) == [row(decoded[key], one.offset) for key, one in stones.items()]
    assert batch.versions.marks.T.tolist() == [
        marks_of(made, decoded[key].cause) for key, made in zip(stones, rows(batch), strict=True)
    ]
    assert [(gone.stone_id.encode(), gone.offset) for gone in batch.retired] == [
        (key, one.offset) for key, one in last.items() if not key.endswith(b":") and one.value is None
    ]
    assert [(encode(position), offset) for position, offset in batch.positions] == [
        (one.value, one.offset) for key, one in last.items() if key.endswith(b":")
    ]
    assert history(batch) == changes
    assert sorted(one.offset for one in batch.refused) == refused
