"""A batch of facts against what is known: versions, outcomes, dead letters, re-pricing, retirement."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.headers import from_headers
from schemas.receipt import Outcome
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.seq import make_seq
from schemas.stone import Availability, Cause, Content, Position, Stone, content_hash, decode_stone, encode
from streams.outbox import Outbox
from streams.worker import RawRecord
from tests.unit.streams.items import item
from tests.unit.streams.records import (
    FEED,
    STONE,
    Log,
    book,
    outcomes_of,
    raw_complete,
    raw_page,
    raw_retire,
    raw_withdraw,
    receipts_of,
    rules,
    stone,
)

C, U, S, D, X = Outcome.CANONICAL, Outcome.UNCHANGED, Outcome.SUPERSEDED, Outcome.DUPLICATE, Outcome.DEAD


def test_a_new_stone_is_written_whole() -> None:
    log = Log()
    out = log.take(raw_page(item(1), item(2), seq=5))
    written = stone(log)
    assert outcomes_of(out) == [[C, C]]
    assert (written.cause, written.seq, written.rules_version) == (Cause.NEW, make_seq(1, 5), 1)
    assert (written.price_cents, written.rule, written.margin_bps) == (614_635, "base:natural", 4_000)
    assert (written.previous_price_cents, written.run, written.raw_offset) == (None, "run-1", 5)
    assert written.updated_at.timestamp() == 1.0


def test_a_record_is_byte_for_byte_the_encoded_stone() -> None:
    log = Log()
    odd = item(2, diamond__certificate__comments='a "quoted" ,"price_cents":1 — é\n', diamond__supplier=None)
    log.take(raw_page(item(1), odd, seq=5, run=None))
    log.now_ms = 1_234_567_890_123
    log.take(raw_page(item(1, price=1), odd, seq=6, run='an "odd" run'))
    log.reprice(rules(2, natural_bps=9_000))
    assert len(log.entries) == 6
    for version in log.entries:
        assert version.body is not None
        whole = decode_stone(version.body)
        assert encode(whole) == version.body
        content = Content(**{name: getattr(whole, name) for name in Content.__struct_fields__})
        assert whole.content_hash == content_hash(encode(content))


def test_a_stone_that_a_new_rule_set_leaves_as_it_is_is_not_written() -> None:
    log = Log()
    log.take(raw_page(item(1), item(2, price=1), seq=5))
    # Another margin, and yet the same cent of the cheap one.
    assert log.reprice(rules(2, natural_bps=4_500)) == [log.entries[1].id]
    assert log.entries[-1].id == STONE
    assert len(log.reprice(rules(3, natural_bps=4_500))) == 2


def test_a_newer_fact_with_equal_content_is_seen_and_keeps_its_time() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    log.now_ms = 9_000
    out = log.take(raw_page(item(1), seq=6, run="run-2"))
    assert outcomes_of(out) == [[U]]
    written = stone(log)
    assert (written.cause, written.seq, written.run) == (Cause.SEEN, make_seq(1, 6), "run-2")
    assert written.updated_at.timestamp() == 1.0
    assert written.previous_price_cents == written.price_cents


def test_a_changed_stone_names_its_former_price() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    log.now_ms = 9_000
    out = log.take(raw_page(item(1, price=100), seq=6, run="run-2"))
    written = stone(log)
    assert outcomes_of(out) == [[C]]
    assert (written.cause, written.price_cents, written.previous_price_cents) == (Cause.CHANGED, 140, 614_635)
    assert written.updated_at.timestamp() == 9.0


def test_an_older_fact_is_superseded_also_within_a_batch() -> None:
    log = Log()
    out = log.take(raw_page(item(1, price=100), seq=6), raw_page(item(1), seq=5, run="run-0"))
    assert outcomes_of(out) == [[C], [S]]
    assert outcomes_of(log.take(raw_page(item(1), seq=4, run="run-0"))) == [[S]]
    assert stone(log).price_cents == 140


def test_replay_is_silent_and_its_outcomes_are_the_same() -> None:
    log = Log()
    pages = [
        raw_page(item(1), item(2), item(1), seq=5),
        raw_page(item(2), item(3, price=None), item(4), seq=6, number=1),
        raw_page(item(4), seq=7, run="run-2", number=0),
    ]
    first = log.take(*pages)
    assert outcomes_of(first) == [[C, C, D], [D, X, C], [U]]
    assert not any(receipt.replayed for receipt in receipts_of(first))
    written = len(log.entries)
    log.receipted = {5, 6, 7}
    again = log.take(*pages)
    assert len(log.entries) == written
    assert len(again.dead) == 1
    assert all(receipt.replayed for receipt in receipts_of(again))
    # A page processed again before its receipt was written: each distinct stone of the run still counts once.
    run_1 = [outcome for outcomes in outcomes_of(again)[:2] for outcome in outcomes]
    assert run_1.count(X) == 1
    assert outcomes_of(again)[2] == [U]


def test_an_item_too_large_for_a_record_has_a_receipt_and_no_second_letter_and_is_not_for_sale() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    named_only = {"diamond": {"id": item(1)["diamond"]["id"]}}
    out = log.take(raw_page(named_only, seq=6, too_large=b"1"))
    assert outcomes_of(out) == [[X]]
    assert receipts_of(out)[0].stones == (item(1)["diamond"]["id"],)
    assert out.dead == []
    assert stone(log).availability is Availability.UNAVAILABLE


def test_the_same_stone_twice_under_one_grant_keeps_the_first() -> None:
    log = Log()
    page = raw_page(item(1), item(1, price=7), seq=5)
    for _ in range(3):
        log.take(page)
    assert len(log.entries) == 1
    assert stone(log).cost_cents == item(1)["price"]


def test_every_item_has_one_outcome_and_one_receipt_names_it() -> None:
    log = Log()
    out = log.take(raw_page(item(1), None, item(2, diamond__certificate=None), {"diamond": {}}, seq=5))
    (receipt,) = receipts_of(out)
    assert receipt.outcomes == (C, X, X, X)
    assert receipt.stones == (item(1)["diamond"]["id"], None, item(2)["diamond"]["id"], None)
    assert out.outcomes == {(FEED, C): 1, (FEED, X): 3}
    assert len(out.dead) == 3


def letter_headers(out: Outbox, place: int = 0) -> DeadLetter:
    headers = out.dead[place].headers
    assert headers is not None
    return from_headers([(name, value) for name, value in headers], DeadLetter)


def test_a_dead_letter_carries_the_original_bytes_and_the_cause() -> None:
    log = Log()
    bad = item(2, diamond__certificate__shape="BLOB")
    out = log.take(raw_page(item(1), bad, seq=5))
    letter, cause = out.dead[0], letter_headers(out)
    assert json.loads(letter.value) == bad
    assert letter.key.decode() == cause.stone == f"{FEED}:{bad['diamond']['id']}"
    assert (cause.topic, cause.partition, cause.offset, cause.index) == ("diamonds.raw", 0, 5, 1)
    assert (cause.stage, cause.error, cause.field) == (
        "normalise",
        "unknown_shape",
        "diamond.certificate.shape",
    )
    assert (cause.seq, cause.run, cause.took_ms, cause.size) == (make_seq(1, 5), "run-1", None, None)


def test_a_refused_item_holds_nothing_that_only_the_collector_frees() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    gc.collect()
    gc.disable()
    try:
        out = log.take(raw_page(item(1), item(2, diamond__certificate__shape="CIRCLE"), seq=6, run="run-2"))
        assert outcomes_of(out) == [[U, X]]
        del out
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_letter_too_large_is_cut_and_says_so() -> None:
    log = Log()
    out = log.take(raw_page(item(1, diamond__certificate__comments="x" * 2_000_000), seq=5))
    cause = letter_headers(out)
    assert cause.error == "too_long"
    assert len(out.dead[0].value) == MAX_PAYLOAD_BYTES
    assert cause.size is not None
    assert cause.size > 2_000_000
    assert cause.sha256


def test_a_known_stone_that_is_no_longer_understood_becomes_unavailable() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    out = log.take(raw_page(item(1, price=None), seq=6, run="run-2"))
    written = stone(log)
    assert outcomes_of(out) == [[X]]
    assert (written.availability, written.cause) == (Availability.UNAVAILABLE, Cause.NOT_UNDERSTOOD)
    assert (written.seq, written.cost_cents) == (make_seq(1, 6), item(1)["price"])
    assert outcomes_of(log.take(raw_page(item(1, price=None), seq=4, run="run-0"))) == [[X]]
    assert stone(log) == written
    log.take(raw_page(item(1), seq=7, run="run-3"))
    assert (stone(log).availability, stone(log).cause) == (Availability.AVAILABLE, Cause.CHANGED)


@pytest.mark.parametrize(
    "record",
    [
        raw_page(seq=5, value=b"<html>Forbidden</html>", rows=b"50"),
        raw_page(seq=5, value=b""),
        raw_page(seq=5, value=b'{"data":{"x":' + b"[" * 200_000),
        raw_page(item(1), seq=5, kind=b"nonsense"),
        raw_page(item(1), seq=5, seq_=b"1", epoch=b"many"),
        raw_page(item(1), seq=5, feed=b"nivoda-labgrown"),
        raw_page(item(1), seq=5, feed=b"\xff\xfe"),
        RawRecord(0, 5, b"key", b"value", [], 0),
        RawRecord(7, 5, b"", b"", [], 0),
        raw_page(seq=5, value=b"{}", kind=b"complete"),
        raw_page(seq=5, value=b"[", kind=b"retire"),
    ],
)
def test_no_record_stops_the_worker(record: RawRecord) -> None:
    log = Log()
    out = log.take(record)
    assert [letter.value for letter in out.dead] == [record.value]
    assert log.entries == []


def test_a_page_of_html_has_a_receipt_for_all_its_rows() -> None:
    out = Log().take(raw_page(seq=5, value=b"<html>", rows=b"3"))
    assert outcomes_of(out) == [[X, X, X]]


def test_plans_leases_and_empty_pages_write_nothing() -> None:
    log = Log()
    for kind in (b"plan", b"lease", b"split", b"empty"):
        out = log.take(raw_page(seq=5, value=b"{}", kind=kind))
        assert (out.stones, out.dead, out.receipts, out.positions) == ([], [], [], [])


def test_a_slow_stone_is_a_dead_letter_and_its_neighbors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    log = Log(clock=lambda: seconds)
    margin = log.book.margin

    def slow_for_one(content: Content, age: int | None) -> Any:
        nonlocal seconds
        seconds += 1.5 if content.id == STONE else 0.001
        return margin(content, age)

    log.book.margin, log.book.reads = slow_for_one, log.book.reads | {"id"}
    out = log.take(raw_page(item(1), item(2), seq=5))
    cause = letter_headers(out)
    assert outcomes_of(out) == [[X, C]]
    assert (cause.stage, cause.error, cause.took_ms) == ("price", "too_slow", 1_500)


def test_a_pause_is_not_a_slow_stone() -> None:
    # One long gap on the clock (a page fault storm, a signal), not repeated when the stones are timed alone.
    ticks: Iterator[float] = iter([0.0, 7.0, *(8.0 + step / 1000 for step in range(100))])
    log = Log(clock=lambda: next(ticks))
    assert outcomes_of(log.take(raw_page(item(1), item(2), seq=5))) == [[C, C]]


def test_a_mistake_of_ours_in_one_stone_is_its_dead_letter() -> None:
    log = Log()
    margin = log.book.margin

    def broken_for_one(content: Content, age: int | None) -> Any:
        if content.id == STONE:
            raise ZeroDivisionError
        return margin(content, age)

    log.book.margin, log.book.reads = broken_for_one, log.book.reads | {"id"}
    out = log.take(raw_page(item(1), item(2), seq=5))
    assert outcomes_of(out) == [[X, C]]
    assert letter_headers(out).error == "unexpected"


def test_fresh_facts_carry_the_new_rules_even_where_nothing_else_changed() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    log.book = book(2)
    out = log.take(raw_page(item(1), seq=6, run="run-2"))
    written = stone(log)
    assert outcomes_of(out) == [[C]]
    assert (written.cause, written.rules_version) == (Cause.REPRICED, 2)
    assert written.previous_price_cents == written.price_cents


def test_repricing_changes_rule_and_price_and_nothing_else() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5))
    before = stone(log)
    log.now_ms = 7_000
    log.reprice(rules(2, natural_bps=5_000))
    after = stone(log)
    changed = {name for name in Stone.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    assert changed == {
        "price_cents",
        "rules_version",
        "updated_at",
        "cause",
        "margin_bps",
        "previous_price_cents",
    }
    assert (after.price_cents, after.previous_price_cents) == (658_538, 614_635)
    assert log.reprice(rules(2, natural_bps=5_000)) == [STONE]


@pytest.mark.parametrize("natural_bps", [5_000, 4_000], ids=["another price", "the same price"])
def test_a_repriced_record_is_what_encoding_the_stone_gives(natural_bps: int) -> None:
    names = ("price_cents", "updated_at", "seq", "cause", "run", "margin_bps")
    posing = "".join(f',"{name}":"1' for name in names)
    log = Log()
    log.take(raw_page(item(1, diamond__supplier__name=posing), seq=5, run=posing))
    log.now_ms = 7_123
    content = RuleSet.model_validate({"base": {"natural_bps": natural_bps}, "ratings": {"base": 5}})
    log.reprice(PublishedRuleSet(number=2, published_at=0, actor="a", reason="r", content=content))
    written = stone(log)
    assert (written.cause, written.supplier_name, written.run) == (Cause.REPRICED, posing, posing)
    assert log.entries[-1].body == encode(written)


def test_an_older_rule_number_never_overwrites_a_newer_one() -> None:
    log = Log()
    log.book = book(2)
    page = raw_page(item(1), seq=5)
    log.take(page)
    log.book = book(1)
    log.take(page)
    assert stone(log).rules_version == 2
    assert len(log.entries) == 1


def test_a_newer_mapper_makes_a_replay_write() -> None:
    log, newer = Log(mapper=1), Log(mapper=2)
    page = raw_page(item(1), seq=5)
    log.take(page)
    for version in log.entries:
        newer.append(version)
    newer.take(page)
    newer.take(page)
    assert [decode_stone(version.body or b"").cause for version in newer.entries] == [
        Cause.NEW,
        Cause.REMAPPED,
    ]


def test_retirement_takes_what_no_run_has_seen_and_any_later_grant_revives_it() -> None:
    log = Log()
    log.take(raw_page(item(1), item(2), item(3), seq=5))
    out = log.take(raw_page(item(2), seq=8, run="run-2"), raw_retire(9, below=8))
    gone = {version.id for _, version in out.versions() if version.body is None}
    assert gone == {f"{FEED}:{item(number)['diamond']['id']}" for number in (1, 3)}
    assert all(version.seq == make_seq(1, 8) for _, version in out.versions() if version.body is None)
    assert outcomes_of(log.take(raw_page(item(1), seq=7, run="run-0"))) == [[S]]
    assert log.last()[STONE] is None
    assert outcomes_of(log.take(raw_page(item(1), seq=9, run="run-3"))) == [[C]]
    assert (stone(log).cause, stone(log).previous_price_cents) == (Cause.NEW, None)


def test_a_completed_run_moves_the_position_and_never_back() -> None:
    log = Log()
    out = log.take(raw_page(item(1), seq=5), raw_complete(6, watermark=777))
    (letter,) = out.positions
    position = msgspec.json.decode(letter.value, type=Position)
    assert (letter.key, letter.headers) == (b"nivoda-natural:", [("kind", b"position")])
    assert (position.as_of, position.run, position.raw_offset) == (777, "run-1", 6)
    log.memory.positions[FEED] = position
    assert log.take(raw_complete(6, watermark=777)).positions == []
    assert log.take(raw_complete(4, watermark=555)).positions == []


def test_a_withdrawn_stone_is_not_sold_until_a_later_fact_brings_it() -> None:
    log = Log()
    log.take(raw_page(item(1), item(2), seq=5))
    before = stone(log)
    log.take(raw_withdraw(6, item(1)["diamond"]["id"]))
    withdrawn = stone(log)
    assert (withdrawn.availability, withdrawn.seq) == (Availability.UNAVAILABLE, make_seq(1, 6))
    assert withdrawn.price_cents == before.price_cents
    assert stone(log, f"{FEED}:{item(2)['diamond']['id']}").availability is Availability.AVAILABLE
    log.take(raw_page(item(1), seq=4))
    assert stone(log).availability is Availability.UNAVAILABLE, "an older page says nothing of it"
    log.take(raw_page(item(1), seq=7, run=None))
    assert stone(log).availability is Availability.AVAILABLE


def test_nothing_happens_to_a_stone_that_is_not_in_stock_when_it_is_withdrawn() -> None:
    log = Log()
    assert not log.take(raw_withdraw(1, "unheard of")).stones
    log.take(raw_page(item(1), seq=2), raw_retire(3, below=3))
    assert not log.take(raw_withdraw(4, item(1)["diamond"]["id"])).stones


def test_a_withdrawal_sees_what_its_own_batch_brought() -> None:
    log = Log()
    log.take(raw_page(item(1), seq=5), raw_withdraw(6, item(1)["diamond"]["id"]))
    assert stone(log).availability is Availability.UNAVAILABLE
