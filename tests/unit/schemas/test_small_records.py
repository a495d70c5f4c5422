"""seq, feeds, headers, topics, the vendor's selection and the derived SQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind, fact_key
from schemas.feeds import FEEDS, SLOTS, slot_of, stone_id
from schemas.headers import from_headers, to_headers
from schemas.seq import counter_of, epoch_of, make_seq
from schemas.sql import STONE_COLUMNS
from schemas.stone import Stone
from schemas.topics import CANONICAL, RAW, TOPICS
from schemas.vendor import selection

EPOCHS = st.integers(1, 2**23 - 1)
COUNTERS = st.integers(0, 2**40 - 1)


@given(st.tuples(EPOCHS, COUNTERS), st.tuples(EPOCHS, COUNTERS))
def test_seq_sorts_as_its_pair(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (make_seq(*one) < make_seq(*other)) == (one < other)
    assert (epoch_of(make_seq(*one)), counter_of(make_seq(*one))) == one
    assert make_seq(*one) < 2**63


@pytest.mark.parametrize(("epoch", "counter"), [(0, 1), (2**23, 1), (1, -1), (1, 2**40)])
def test_seq_refuses_what_does_not_fit(epoch: int, counter: int) -> None:
    with pytest.raises(ValueError, match="not in"):
        make_seq(epoch, counter)


def test_every_feed_has_a_slot_of_its_own() -> None:
    slots = [feed.slot for feed in FEEDS.values()]
    assert len(set(slots)) == len(slots)
    assert all(0 <= slot < SLOTS for slot in slots)
    assert slot_of(stone_id("nivoda-labgrown", "abc")) == FEEDS["nivoda-labgrown"].slot


def test_a_feed_is_a_partition_of_both_topics() -> None:
    assert RAW.partitions == CANONICAL.partitions == SLOTS
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert CANONICAL.compacted
    assert not RAW.compacted


def test_a_null_outlives_all_that_could_revive_its_stone() -> None:
    day_ms = 86_400_000
    assert int(CANONICAL.config["delete.retention.ms"]) > 30 * day_ms
    assert int(RAW.config["retention.ms"]) < int(CANONICAL.config["delete.retention.ms"])


@given(
    st.builds(
        FactHeaders,
        kind=st.sampled_from(Kind),
        feed=st.text(),
        epoch=EPOCHS,
        seq=st.integers(0, 2**63 - 1),
        run=st.none() | st.text(),
        partition=st.none() | st.integers(0, 2**63 - 1),
        page=st.none() | st.integers(0, 2**63 - 1),
    )
)
def test_headers_read_back(headers: FactHeaders) -> None:
    assert from_headers(to_headers(headers), FactHeaders) == headers


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("kind", b"page")],
        [("kind", b"\xff")],
        [("kind", b"nonsense"), ("feed", b"f"), ("epoch", b"1"), ("seq", b"1")],
        [("kind", b"page"), ("feed", b"f"), ("epoch", b"1"), ("seq", 30 * b"9")],
        [("kind", b"page"), ("feed", b"f"), ("epoch", b"1"), ("seq", b"1"), ("rows", 12 * b"9")],
    ],
)
def test_bad_headers_are_invalid(headers: list[tuple[str, bytes | None]] | None) -> None:
    with pytest.raises(Invalid) as caught:
        from_headers(headers, FactHeaders)
    assert caught.value.code == "bad_headers"


def test_unknown_headers_are_ignored() -> None:
    letter = DeadLetter(
        topic="t", partition=0, offset=1, stage="decode", error="e", field="f", reason="r", feed="x"
    )
    assert from_headers([*to_headers(letter), ("tracestate", b"a=1")], DeadLetter) == letter


def test_a_fact_key_leaves_out_what_is_missing() -> None:
    assert fact_key("f", "r", 0) == b"f/r/0"
    assert fact_key("f", None, None) == b"f"


def test_the_selection_asks_for_nested_fields() -> None:
    text = selection()
    assert text.startswith("{ id diamond { id certificate { id lab certNumber")
    assert "supplier { id name }" in text
    assert text.endswith("price discount }")


def test_every_stone_field_is_a_column_once() -> None:
    assert tuple(column.name for column in STONE_COLUMNS) == Stone.__struct_fields__
    types = {column.name: (column.sql_type, column.nullable) for column in STONE_COLUMNS}
    assert types["price_cents"] == ("bigint", False)
    assert types["color"] == ("text", True)
    assert types["updated_at"] == ("timestamptz", False)
    assert types["availability"] == ("text", False)
