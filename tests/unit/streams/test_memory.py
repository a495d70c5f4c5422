"""The owner's memory: offsets, lower versions, nulls, and that the order of arrival does not matter."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.log.records import Records, batch_of, of, read
from schemas.columns import NULL_INT
from schemas.seq import make_seq
from streams import bodies
from streams import memory as memory_module
from streams.bodies import BodyStore
from streams.memory import Memory
from streams.outbox import Outbox
from streams.transcription.decision import LENGTH
from streams.versions import Version, read_version, retired
from tests.unit.streams.items import item
from tests.unit.streams.records import FEED, Log, observe, raw_page, rules

IDS = [f"{FEED}:{item(number)['diamond']['id']}" for number in range(1, 6)]


def versions(count: int = 6) -> list[Version]:
    """Version after version of stone 1, each with another price."""
    log = Log()
    for seq in range(1, count + 1):
        log.take(raw_page(item(1, price=100 * seq), seq=seq, run=f"run-{seq}"))
    return log.entries


VERSIONS = versions()


def records(*entries: tuple[int, Version]) -> Records:
    """Versions as they lie in the log, at offsets that follow each other."""
    pairs = [(version.id.encode(), version.body) for _, version in entries]
    headers: dict[int, list[tuple[str, bytes | None]]] = {
        place: [("seq", b"%d" % version.seq)]
        for place, (_, version) in enumerate(entries)
        if version.body is None
    }
    return read([batch_of(pairs, first=entries[0][0], headers=headers)], {0: 0})


def test_what_was_observed_is_known_whole() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[0]))
    assert memory.latest(IDS[0]) == VERSIONS[0]
    assert memory.body(IDS[0]) == VERSIONS[0].body
    known = memory.known([None, "nobody", IDS[0]])
    assert (known[:2] == NULL_INT).all()
    assert known[2].tolist() == memory.known_of(VERSIONS[0])
    assert memory.latest("nobody") is None


def test_only_stones_in_stock_are_counted() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[0]))
    assert len(memory) == 1
    observe(memory, (1, retired(IDS[0], make_seq(9, 1))))
    assert len(memory) == 0


def test_a_record_reads_back_as_the_version_that_wrote_it() -> None:
    assert [read_version(version.body or b"") for version in VERSIONS] == VERSIONS


def test_an_offset_not_above_the_stones_is_ignored() -> None:
    memory = Memory()
    observe(memory, (5, VERSIONS[0]))
    for offset in (5, 4):
        observe(memory, (offset, VERSIONS[1]))
    assert memory.latest(IDS[0]) == VERSIONS[0]
    observe(memory, (6, VERSIONS[1]))
    assert memory.latest(IDS[0]) == VERSIONS[1]


def test_a_later_offset_with_a_lower_version_is_repaired_until_the_log_is_right() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[3]))
    observe(memory, (1, VERSIONS[1]))
    assert memory.latest(IDS[0]) == VERSIONS[3]
    assert memory.repairs == {IDS[0]}
    observe(memory, (2, VERSIONS[2]))
    assert memory.repairs == {IDS[0]}
    observe(memory, (3, VERSIONS[3]))
    assert memory.repairs == set()
    observe(memory, (4, VERSIONS[3]))
    assert memory.repairs == set()


def test_a_null_keeps_lower_facts_away_and_lets_higher_ones_in() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[2]))
    observe(memory, (1, retired(IDS[0], make_seq(1, 4))))
    assert memory.known([IDS[0]])[0, LENGTH] < 0
    assert memory.body(IDS[0]) is None
    observe(memory, (2, VERSIONS[2]))
    assert memory.body(IDS[0]) is None
    assert memory.repairs == {IDS[0]}
    observe(memory, (3, VERSIONS[4]))
    assert memory.body(IDS[0]) == VERSIONS[4].body
    assert memory.repairs == set()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, len(VERSIONS) - 1), min_size=1, max_size=12),
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.data(),
)
def test_tail_and_reports_in_any_interleaving_give_the_same(
    log: list[int], cuts: list[int], data: st.DataObject
) -> None:
    """The tail in batches of any size, and delivery reports of any records anywhere between: one result."""
    entries = [(offset, VERSIONS[number]) for offset, number in enumerate(log)]
    plain = Memory()
    for entry in entries:
        observe(plain, entry)
    mixed, place = Memory(), 0
    for cut in cuts:
        # A report never overtakes the record before it: it is of the next record at most.
        reported = data.draw(st.integers(0, min(place, len(entries) - 1)))
        observe(mixed, entries[reported])
        batch = entries[place : place + cut]
        if batch:
            mixed.apply(records(*batch))
        place += cut
    mixed.apply(records(*entries))
    assert mixed.latest(IDS[0]) == plain.latest(IDS[0])
    assert mixed.repairs == plain.repairs


def test_own_records_in_flight_are_taken_in_by_their_reports() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[0]))
    memory.expect({IDS[0]: VERSIONS[3]}.get)
    memory.apply(records((1, VERSIONS[3])))
    assert memory.latest(IDS[0]) == VERSIONS[0]
    observe(memory, (1, VERSIONS[3]))
    memory.expect(None)
    assert memory.latest(IDS[0]) == VERSIONS[3]


def test_other_stones_are_taken_in_while_ours_are_in_flight() -> None:
    memory = Memory()
    memory.expect({IDS[0]: VERSIONS[3]}.get)
    others = [
        msgspec.structs.replace(VERSIONS[0], id=stone, body=(VERSIONS[0].body or b"").replace(*names))
        for stone in IDS[1:3]
        for names in [(IDS[0].encode(), stone.encode())]
    ]
    memory.apply(records((1, others[0]), (2, VERSIONS[3]), (3, others[1])))
    assert [memory.latest(stone) for stone in IDS[:3]] == [None, *others]
    memory.apply(records((4, VERSIONS[1])))
    assert memory.latest(IDS[0]) == VERSIONS[3]
    assert memory.repairs == {IDS[0]}


def test_an_older_record_behind_our_own_in_flight_is_repaired() -> None:
    memory = Memory()
    memory.expect({IDS[0]: VERSIONS[3]}.get)
    memory.apply(records((1, VERSIONS[3])))
    memory.apply(records((2, VERSIONS[1])))
    observe(memory, (1, VERSIONS[3]))
    memory.expect(None)
    assert memory.latest(IDS[0]) == VERSIONS[3]
    assert memory.repairs == {IDS[0]}


def test_garbage_in_the_log_is_overwritten_where_the_stone_is_known() -> None:
    memory = Memory()
    observe(memory, (0, VERSIONS[0]))
    name = IDS[0].encode()
    garbage: list[tuple[bytes, bytes | None]] = [
        *((name, value) for value in (b"garbage", b'{"id": "another"}')),
        (IDS[1].encode(), VERSIONS[0].body),
        (name, (VERSIONS[0].body or b"").replace(b'"raw_offset":', b'"raw_offset":' + 30 * b"9")),
        *((key, b"garbage") for key in (b"\xff", b"", b"nivoda-natural:")),
        (name, None),
    ]
    for offset, record in enumerate(garbage, start=1):
        memory.apply(of([record], first=offset))
    assert memory.latest(IDS[0]) == VERSIONS[0]
    assert memory.repairs == {IDS[0]}


def test_background_repairs_first_and_prices_in_lots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.background.LOT", 2)
    log = Log()
    log.take(raw_page(*(item(number) for number in range(1, 6)), seq=5))
    older = versions(1)[0]
    log.append(msgspec.structs.replace(older, id=IDS[0]))
    assert log.memory.repairs == {IDS[0]}
    newer = rules(2, natural_bps=1)
    log.tried.read(newer, [FEED], 100)
    assert log.background.left(FEED, 2) == 5
    log.tried.look(newer)
    other, sizes, left = Outbox(), [], []
    assert not log.background.fill(["nivoda-labgrown"], 2_000, other)
    while True:
        out = Outbox()
        if not log.background.fill([FEED], 2_000, out):
            break
        left.append(log.background.left(FEED, 2))
        log.deliver(out)
        sizes.append(len([*out.versions()]))
    assert log.memory.repairs == set()
    # Of those in the last lot it is told until they are delivered; the repaired stone is not among the columns any more.
    assert left == [3, 1, 2]
    assert log.background.left(FEED, 2) == 1
    # The repaired stone, which must be tried again, and another one; then the other lots.
    assert sizes == [2, 2, 1]
    assert log.reprice(newer) == [stone for stone in IDS if stone != IDS[0]]
    assert {stone.rules_version for stone in log.last().values() if stone} == {2}


@pytest.mark.parametrize("at_once", [1, 2_000])
def test_bodies_are_reclaimed_segment_by_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(memory_module, "_MOVED_AT_ONCE", at_once)
    memory = Memory(tmp_path)
    memory._bodies = BodyStore(tmp_path, segment_bytes=4_000)
    log = Log()
    log.take(raw_page(item(1), item(2), seq=1))
    observe(memory, *enumerate(log.entries))
    for round_ in range(2, 200):
        # Nearly always the first: the second is in the way, moves on, and has at times just come anew.
        entry = log.entries[round_ % 17 == 0]
        observe(memory, (round_, msgspec.structs.replace(entry, seq=make_seq(1, round_))))
    assert memory._bodies.size < 20_000
    assert memory.body(IDS[0]) == log.entries[0].body
    assert memory.body(IDS[1]) == log.entries[1].body
    assert list(tmp_path.iterdir()) == []


def appended(store: BodyStore, *kept: bytes) -> list[int]:
    places: list[int] = store.append(list(kept), np.array([len(body) for body in kept])).tolist()
    return places


def drop(store: BodyStore, places: list[int]) -> None:
    """Bodies of 100 bytes each."""
    store.drop(np.array(places), np.full(len(places), 100))


def test_bodies_that_are_replaced_in_their_order_are_not_moved(tmp_path: Path) -> None:
    store, body = BodyStore(tmp_path, segment_bytes=900), bytes(100)
    places = [place for _ in range(30) for place in appended(store, body)]
    wasted = []
    for place in places[:20]:
        appended(store, body)
        drop(store, [place])
        if (segment := store.wasteful()) is not None:
            wasted.append((place, segment))
            store.release(segment)
    assert wasted == [(places[9], 0), (places[19], 1)]


def test_the_segment_of_which_most_is_stale_is_reclaimed_once_half_of_all_is(tmp_path: Path) -> None:
    store, body = BodyStore(tmp_path, segment_bytes=900), bytes(100)
    places = [place for _ in range(31) for place in appended(store, body)]
    assert store.wasteful() is None
    # Of three closed segments of ten bodies each, and one that is open: 4, 9 and 2 of ten.
    drop(store, places[:4] + places[10:19] + places[20:22] + places[30:])
    assert store.wasteful() is None
    drop(store, places[22:23])
    assert store.wasteful() == 1


@pytest.mark.parametrize("at_most", [1, 7, 10_000])
def test_bodies_are_whole_however_few_bytes_a_write_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    write = os.pwrite
    monkeypatch.setattr(bodies, "_MOST_AT_ONCE", 3)
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:at_most], at))
    monkeypatch.setattr(os, "pwritev", lambda file, lot, at: os.pwrite(file, b"".join(lot), at))
    kept = [bytes([65 + number]) * (5 * number) for number in range(8)]
    store = BodyStore(tmp_path)
    for _ in range(2):
        places = appended(store, *kept)
        assert [store.read(place, len(body)) for place, body in zip(places, kept, strict=True)] == kept
    assert store.size == 2 * sum(map(len, kept))


def test_rows_are_found_by_feed(tmp_path: Path) -> None:
    log = Log()
    log.take(raw_page(item(1), item(2), seq=5))
    assert len(log.memory.rows_below_rules(FEED, 2)) == 2
    assert len(log.memory.rows_below_rules(FEED, 1)) == 0
    assert log.memory.rows_below_rules("nivoda-labgrown", 2).dtype == np.int64
    assert sorted(log.memory.ids_below_seq(FEED, make_seq(1, 6))) == sorted(IDS[:2])
