"""Rows of `COPY`: machine code and the obvious way agree, and what is not plain is left to the obvious way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres.rows import COPIED, history_row, marks_of, rows_of, stone_row, with_topic
from schemas.stone import Availability, Cause, Stone, encode
from tests.unit.schemas.stones import DEFAULTS, any_stones, make_stone


def rows(stone: Stone, record: bytes | None = None, key: bytes | None = None) -> tuple[Any, Any]:
    (row,), _, (history,) = rows_of([record or encode(stone)], [key or stone.id.encode()], [7])
    return row, history


@given(any_stones(), st.integers(0, 2**62))
def test_both_ways_give_the_same_bytes(stone: Stone, offset: int) -> None:
    (row,), (marks,), (history,) = rows_of([encode(stone)], [stone.id.encode()], [offset])
    if row is not None:
        assert row == stone_row(stone, offset)
        assert marks == marks_of(row, stone.cause)
        assert history == history_row(stone)


@given(st.sampled_from(sorted(DEFAULTS)), st.data())
def test_a_stone_of_the_trade_is_plain_whatever_one_field_holds(name: str, data: st.DataObject) -> None:
    plain: dict[str, st.SearchStrategy[Any]] = {
        "carat": st.decimals("0.001", 100, places=3).map(float),
        "updated_at": st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)),
        "lab_grown": st.booleans(),
        "availability": st.sampled_from(list(Availability)),
        "cause": st.sampled_from(list(Cause)),
    }
    texts = st.from_regex(r"[ !#-\[\]-~]*", fullmatch=True)
    numbers = st.integers(0, 10**18 - 1)
    value = data.draw(plain.get(name, texts if isinstance(DEFAULTS[name], str) else numbers))
    stone = make_stone(**{name: value})
    row, history = rows(stone)
    assert row == stone_row(stone, 7)
    assert history == history_row(stone)


def test_a_record_from_before_a_field_has_a_null_there() -> None:
    stone = make_stone()
    assert encode(stone).count(b":null") > 10
    row, history = rows(stone, re.sub(rb',"\w+":null', b"", encode(stone)))
    assert (row, history) == (stone_row(stone, 7), history_row(stone))


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        encode(make_stone())[:-1],
        encode(make_stone()) + b" ",
        encode(make_stone()).replace(b'"feed"', b'"food"'),
        encode(make_stone()).replace(b'"carat":1.01', b'"carat":01.01'),
        encode(make_stone()).replace(b'"carat":1.01', b'"carat":1.'),
        encode(make_stone()).replace(b'"carat":1.01', b'"carat":0.0'),
        encode(make_stone()).replace(b'"carat":1.01', b'"carat":-'),
        encode(make_stone()).replace(b'"carat":1.01', b'"carat":1.01e3'),
        encode(make_stone()).replace(b'"cost_cents":100000', b'"cost_cents":-1'),
        encode(make_stone()).replace(b'"cost_cents":100000', b'"cost_cents":1.0'),
        encode(make_stone()).replace(b'"cost_cents":100000', b'"cost_cents":null'),
        encode(make_stone()).replace(b'"seq":', b'"seq":999999999999'),
        encode(make_stone()).replace(b'"new"', b'"whim"'),
        encode(make_stone()).replace(b"2026-01-02", b"2026-13-02"),
        encode(make_stone()).replace(b"2026-01-02", b"2026-02-29"),
        encode(make_stone()).replace(b"2026-01-02", b"2100-02-29"),
        encode(make_stone()).replace(b"2026-01-02", b"2026-04-31"),
        encode(make_stone()).replace(b'"lab_grown":false', b'"lab_grown":fals'),
        encode(make_stone()).replace(b'"ROUND"', b'"RO\\u0000D"'),
        encode(make_stone()).replace(b'"ROUND"', b'"RO\x00D"'),
        encode(make_stone()).replace(b'"ROUND"', b'"RO\xffD"'),
    ],
)
def test_what_is_not_plain_has_no_row_and_spoils_no_other(record: bytes) -> None:
    good = make_stone(id="nivoda-natural:2", image_url="https://x.test/a?b=c")
    key = make_stone().id.encode()
    made, _, _ = rows_of([record, encode(good), record], [key, good.id.encode(), key], [1, 2, 3])
    assert made == [None, stone_row(good, 2), None]


@pytest.mark.parametrize(
    "day", ["2026-01-31", "2026-07-31", "2026-08-31", "2026-12-31", "2000-02-29", "2028-02-29"]
)
def test_the_last_day_of_a_month_is_plain(day: str) -> None:
    stone = make_stone(first_seen=datetime.fromisoformat(f"{day}T23:59:59Z"))
    assert rows(stone) == (stone_row(stone, 7), history_row(stone))


def test_a_record_under_another_key_is_not_plain() -> None:
    assert rows(make_stone(), key=b"nivoda-natural:2")[0] is None
    assert rows(make_stone(), key=b"nivoda-natural:11")[0] is None


def test_moments_are_microseconds_and_topics_follow_each_row() -> None:
    at = datetime(2024, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    row, _ = rows(make_stone(updated_at=at))
    micros = (at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert micros.to_bytes(8, "big") in row
    both = with_topic([row, row], b"0123456789abcdef")
    assert both == 2 * (row + b"\0\0\0\x100123456789abcdef")
    assert int.from_bytes(row[:2], "big") == len(COPIED)
