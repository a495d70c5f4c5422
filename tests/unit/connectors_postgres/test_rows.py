"""Rows of `COPY`: machine code and the obvious way agree, and what is not plain is left to the obvious way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.log.records import of
from connectors.postgres.rows import (
    COPIED,
    PRICED,
    Made,
    Rows,
    hash_value,
    history_row,
    marks_of,
    months_of,
    rows_of,
    stone_row,
)
from schemas.stone import Availability, Cause, Stone, encode
from tests.unit.connectors_postgres.messages import TOPIC_ID
from tests.unit.schemas.stones import DEFAULTS, any_stones, make_stone


def made_of(*records: tuple[bytes, bytes], first: int = 7) -> Made:
    return rows_of(of(records, first=first), TOPIC_ID)


def taken(rows: Rows) -> list[bytes | None]:
    return [rows.row(place) or None for place in range(len(rows))]


def rows(stone: Stone, record: bytes | None = None, key: bytes | None = None) -> tuple[Any, Any]:
    made = made_of((key or stone.id.encode(), record or encode(stone)))
    return taken(made.versions.rows)[0], taken(made.history)[0]


def row_of(stone: Stone, offset: int = 7) -> bytes:
    return stone_row(stone, offset, TOPIC_ID)


@given(any_stones(), st.integers(0, 2**62))
def test_both_ways_give_the_same_bytes(stone: Stone, offset: int) -> None:
    made = made_of((stone.id.encode(), encode(stone)), first=offset)
    (row,), (history,) = taken(made.versions.rows), taken(made.history)
    if row is not None:
        assert row == row_of(stone, offset)
        assert made.versions.marks[:, 0].tolist() == marks_of(row, stone.cause)
        assert history == history_row(stone)


@given(st.lists(st.tuples(any_stones(), st.booleans()), min_size=1, max_size=9))
def test_rows_lie_one_behind_the_other_wherever_each_was_put(told: list[tuple[Stone, bool]]) -> None:
    stones = [stone for stone, _ in told]
    made = made_of(*((stone.id.encode(), encode(stone) if plain else b"") for stone, plain in told))
    for place, row in enumerate(taken(made.versions.rows)):
        if row is None:
            made.put(place, stones[place], TOPIC_ID)
    versions = made.versions
    assert bytes(versions.rows.joined()) == b"".join(row_of(s, n) for n, s in enumerate(stones, 7))
    assert versions.ids() == [stone.id for stone in stones]
    assert [
        told == hash_value(s.content_hash) for told, s in zip(versions.hash_values(), stones, strict=True)
    ] == [len(stone.content_hash.encode()) == 16 for stone in stones]
    shown = np.array([place for place, row in enumerate(taken(made.history)) if row])
    history = made.history.part(shown.astype(np.intp))
    changes = [row for stone in stones if (row := history_row(stone)) is not None]
    assert bytes(history.joined()) == b"".join(changes)
    assert months_of(history) == {
        stone.updated_at.astimezone(UTC).date().replace(day=1) for stone in stones if history_row(stone)
    }


def test_what_tells_no_content_is_the_id_and_what_stands_from_the_price_on() -> None:
    stones = [make_stone(id=f"nivoda-natural:{n}", price_cents=n) for n in (5, 5_000)]
    versions = made_of(*((stone.id.encode(), encode(stone)) for stone in stones)).versions
    expected = b""
    for place, stone in enumerate(stones):
        row = versions.rows.row(place)
        id_, price = (
            n.to_bytes(4, "big") + text for n, text in ((len(stone.id), stone.id.encode()), (8, b""))
        )
        at = row.index(price + stone.price_cents.to_bytes(8, "big"))
        expected += len(PRICED).to_bytes(2, "big") + id_ + row[at:]
    assert bytes(versions.priced()) == expected


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
    assert row == row_of(stone)
    assert history == history_row(stone)


def test_a_record_from_before_a_field_has_a_null_there() -> None:
    stone = make_stone()
    assert encode(stone).count(b":null") > 10
    row, history = rows(stone, re.sub(rb',"\w+":null', b"", encode(stone)))
    assert (row, history) == (row_of(stone), history_row(stone))


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
    made = made_of((key, record), (good.id.encode(), encode(good)), (key, record), first=1)
    assert taken(made.versions.rows) == [None, row_of(good, 2), None]
    assert taken(made.history) == [None, history_row(good), None]


@pytest.mark.parametrize(
    "day", ["2026-01-31", "2026-07-31", "2026-08-31", "2026-12-31", "2000-02-29", "2028-02-29"]
)
def test_the_last_day_of_a_month_is_plain(day: str) -> None:
    stone = make_stone(first_seen=datetime.fromisoformat(f"{day}T23:59:59Z"))
    assert rows(stone) == (row_of(stone), history_row(stone))


def test_a_record_under_another_key_is_not_plain() -> None:
    assert rows(make_stone(), key=b"nivoda-natural:2")[0] is None
    assert rows(make_stone(), key=b"nivoda-natural:11")[0] is None


def test_moments_are_microseconds_and_a_row_ends_with_its_topic() -> None:
    at = datetime(2024, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)
    row, _ = rows(make_stone(updated_at=at))
    micros = (at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert micros.to_bytes(8, "big") in row
    assert row.endswith(b"\0\0\0\x08" + (7).to_bytes(8, "big") + b"\0\0\0\x10" + TOPIC_ID.bytes)
    assert int.from_bytes(row[:2], "big") == len(COPIED)
