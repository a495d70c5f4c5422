"""Records put together are the encoded stone, whatever the numbers and texts are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import NULL_INT
from schemas.stone import Cause, Content, Stone, decode_stone, encode
from streams.normalise import normalisers
from streams.owner import Decided
from streams.pricing.engine import Margin
from streams.records import repriced, sheet, terms_texts
from streams.transcription.decision import CAUSES
from streams.versions import Sheet, read_version, retired, sheet_of
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED

VERSION = retired(f"{FEED}:1", 5)
MAPPED = normalisers()[FEED]
CONTENT = MAPPED.content(MAPPED.pages.item(msgspec.json.encode(item(1))))
WHOLE = st.integers(0, 2**62)
SECONDS = st.integers(0, 253_402_300_799)
PRICES = st.integers(0, 10**15)
TEXTS = st.text(max_size=20) | st.sampled_from(['","price_cents":1', '"run":'])
MARGINS = st.builds(
    lambda rule, bps, rate: Margin(
        rule, bps, lambda cost: cost,
        b',"currency":"USD","rule":%b' % encode(rule),
        b'%d,"rate_id":%b,"previous_price_cents":' % (bps, encode(rate)),
    ),
    TEXTS, st.integers(-10_000, 10**6), st.none() | TEXTS,
)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {
        "comments": TEXTS,
        "seq": WHOLE,
        "mapper": st.integers(0, 2**31),
        "rules": st.integers(0, 2**31),
        "hash": st.integers(-(2**63), 2**63 - 1),
        "price": PRICES,
        "updated_ms": SECONDS.flatmap(lambda second: st.sampled_from([0, 1, 120, 999]).map(lambda ms: 1000 * second + ms)),
        "raw_offset": WHOLE,
        "first_seen_s": st.just(NULL_INT) | SECONDS,
        "cause": st.sampled_from(list(Cause)),
        "previous": st.just(NULL_INT) | PRICES,
        "terms": st.tuples(MARGINS, st.none() | st.integers(1, 10)),
        "run": st.none() | TEXTS,
    }
)  # fmt: skip


def moment(epoch_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)


def stone(row: dict[str, Any], content: Content) -> Stone:
    margin, rating = row["terms"]
    rate = msgspec.json.decode(b'{"bps":' + margin.terms_json + b"0}")["rate_id"]
    return Stone(
        **msgspec.structs.asdict(content),
        price_cents=row["price"],
        rule=margin.rule,
        rules_version=row["rules"],
        rating=rating,
        first_seen=None if row["first_seen_s"] == NULL_INT else moment(1000 * row["first_seen_s"]),
        updated_at=moment(row["updated_ms"]),
        seq=row["seq"],
        mapper_version=row["mapper"],
        content_hash=f"{row['hash'] & (1 << 64) - 1:016x}",
        cause=row["cause"],
        margin_bps=margin.bps,
        rate_id=rate,
        previous_price_cents=None if row["previous"] == NULL_INT else row["previous"],
        run=row["run"],
        raw_offset=row["raw_offset"],
    )


def put_together(rows: list[dict[str, Any]]) -> tuple[Sheet, list[Stone]]:
    contents = [msgspec.structs.replace(CONTENT, comments=row["comments"]) for row in rows]
    jsons = [encode(content) for content in contents]
    ends = np.cumsum([len(json) for json in jsons])
    numbers = np.array(
        [
            [
                *(row["seq"], row["mapper"], row["rules"], row["hash"], row["price"], row["updated_ms"]),
                *(row["raw_offset"], row["first_seen_s"], row["cause"] is not Cause.SEEN),
            ]
            for row in rows
        ],
        np.int64,
    )
    places = np.arange(len(rows))
    causes = np.array([CAUSES.index(row["cause"]) for row in rows])
    decided = Decided(places, places, causes, numbers, np.array([row["previous"] for row in rows]))
    ids, runs = [CONTENT.id] * len(rows), [row["run"] for row in rows]
    begins, terms = np.array([0, *ends[:-1]]), terms_texts([row["terms"] for row in rows])
    made = sheet(ids, runs, jsons, begins, ends, decided, places, terms)
    return made, [stone(row, content) for row, content in zip(rows, contents, strict=True)]


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_record_is_the_encoded_stone_and_reads_back(rows: list[dict[str, Any]]) -> None:
    made, stones = put_together(rows)
    assert made.bodies() == [encode(whole) for whole in stones]
    assert [*made.versions()] == [read_version(body or b"") for body in made.bodies()]


@given(st.lists(st.tuples(ROWS, ROWS), min_size=1, max_size=4), WHOLE)
def test_what_is_priced_anew_says_the_new_price_and_all_else_as_before(
    pairs: list[tuple[dict[str, Any], dict[str, Any]]], number: int
) -> None:
    known, _ = put_together([row for row, _ in pairs])
    prices = np.array([new["price"] for _, new in pairs])
    terms = terms_texts([new["terms"] for _, new in pairs])
    made = repriced(known, prices, np.arange(len(pairs)), terms, number, 5_001)
    for (row, new), body in zip(pairs, made.bodies(), strict=True):
        says = row | {
            "price": new["price"],
            "terms": new["terms"],
            "rules": number,
            "cause": Cause.REPRICED,
            "previous": row["price"],
            "updated_ms": row["updated_ms"] if new["price"] == row["price"] else 5_001,
        }
        content = msgspec.structs.replace(CONTENT, comments=row["comments"])
        assert decode_stone(body or b"") == stone(says, content)
        assert body == encode(stone(says, content))


def test_what_is_no_record_cannot_be_priced_anew() -> None:
    version = msgspec.structs.replace(VERSION, body=b'{"id":"a"}')
    zero = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="without a price"):
        repriced(sheet_of([version]), zero, zero, terms_texts([]), 2, 0)
