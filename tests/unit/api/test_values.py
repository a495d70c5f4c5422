"""What a search looks at of a record: machine code and decoding agree, and what is not plain is left to decoding."""

import re
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.searchable import Searchable, decode_searchable
from api.values import PRICED, Values, read, read_prices, values_of
from connectors.log.records import of
from connectors.records.plain import KIND_OF, TEXT, WORD
from connectors.records.scan import text_at
from schemas.stone import Stone, encode, public_borders
from tests.unit.schemas.stones import UNREADABLE, any_stones, make_stone


def read_all(records: list[bytes], keys: list[bytes]) -> tuple[Values, Mapping[int, Exception]]:
    found = of(zip(keys, records, strict=True))
    values, borders, failures = read(found.data, found.values, found.keys)
    for place in set(range(len(records))) - failures.keys():
        assert tuple(borders[:2, place]) == public_borders(records[place])
        assert borders[2, place] in (0, records[place].index(b',"price_cents":'))
    return values, failures


def told(values: Values) -> dict[str, list[object]]:
    """Every attribute's numbers, texts as texts."""
    return {
        name: [text_at(values.data, span) for span in values.whole(name).tolist()]
        if KIND_OF[name] in (TEXT, WORD)
        else values.whole(name).tolist()
        for name in Searchable.__struct_fields__
    }


@given(st.lists(any_stones(), max_size=5))
def test_machine_code_and_decoding_give_the_same(stones: list[Stone]) -> None:
    records = [encode(stone) for stone in stones]
    values, failures = read_all(records, [stone.id.encode() for stone in stones])
    assert not failures
    assert told(values) == told(values_of([decode_searchable(record) for record in records]))


@given(st.lists(any_stones(), max_size=5))
def test_a_field_that_there_was_not_yet_is_null(stones: list[Stone]) -> None:
    records = [re.sub(rb',"\w+":null', b"", encode(stone)) for stone in stones]
    values, failures = read_all(records, [stone.id.encode() for stone in stones])
    assert not failures
    assert told(values) == told(values_of([decode_searchable(encode(stone)) for stone in stones]))


@given(st.lists(any_stones(), max_size=5))
def test_a_price_alone_is_read_as_in_its_record(stones: list[Stone]) -> None:
    found = of((stone.id.encode(), encode(stone)) for stone in stones)
    values, borders, _ = read(found.data, found.values, found.keys)
    known = np.flatnonzero(borders[2])
    spans, keys, ours = (array.take(known, axis=1) for array in (found.values, found.keys, borders))
    ours[1] = 0
    prices, plain = read_prices(found.data, spans, keys, ours)
    assert plain.all()
    assert np.array_equal(ours, borders[:, known])
    for name in PRICED & set(Searchable.__struct_fields__):
        assert np.array_equal(prices.whole(name), values.whole(name)[known])


def test_numbers_are_what_the_record_says() -> None:
    stone = make_stone(carat=1.25, treated=True, rating=None, color="D", table_percent=None)
    values, _ = read_all([encode(stone)], [stone.id.encode()])
    assert values.decimals("carat").tolist() == [1.25]
    assert np.isnan(values.decimals("table_percent")).all()
    assert values.whole("price_cents").tolist() == [stone.price_cents]
    assert values.whole("updated_at").tolist() == [int(stone.updated_at.timestamp() * 1000)]
    assert (values.text("color", 0), values.text("cut", 0)) == ("D", None)


@pytest.mark.parametrize(
    "bad",
    [
        *UNREADABLE,
        encode(make_stone()).replace(b'"lab_grown":false', b'"lab_grown":fals'),
    ],
)
def test_what_cannot_be_read_says_why_and_spoils_no_other(bad: bytes) -> None:
    key, good = make_stone().id.encode(), make_stone(id="nivoda-natural:9", color="E", girdle="é")
    values, failures = read_all([bad, encode(good), bad], [key, good.id.encode(), key])
    assert sorted(failures) == [0, 2]
    assert str(failures[0])
    assert told(values.part(np.array([1]))) == told(values_of([decode_searchable(encode(good))]))
