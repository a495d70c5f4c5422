"""Batches of the log read in machine code, held to the client's own reader."""

import random

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from connectors.log.records import Newest, Records, Room, batch_of, batches, of, read
from schemas.errors import Fatal

PARTS = st.none() | st.binary(max_size=200)
HEADERS = st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3)
RECORDS = st.lists(st.tuples(PARTS, PARTS, HEADERS), min_size=1, max_size=20)


def built(
    records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: int
) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for number, (key, value, headers) in enumerate(records):
        builder.append(number, 1_700_000_000_000 + 7 * number, key, value, headers)
    return bytes(builder.build())


@given(RECORDS, st.sampled_from([0, 1, 2, 3, 4]))
def test_records_are_what_the_client_reads(
    records: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]], codec: int
) -> None:
    fetched = built(records, codec) + built(records[:1], 0)
    expected = []
    batch = MemoryRecords(fetched)
    while (more := batch.next_batch()) is not None:
        expected += [(r.offset, r.timestamp, r.key or b"", r.value, list(r.headers)) for r in more]
    # A fetch's last batch is often cut off.
    found = batches(5, fetched + fetched[:65])
    assert [(one.slot, one.base, one.behind) for one in found] == [(5, 0, len(records)), (5, 0, 1)]
    got = read(found, {5: 0})
    assert [
        (int(got.offsets[n]), int(got.times[n]), got.key(n), got.value(n), got.headers_of(n))
        for n in range(len(got))
    ] == expected
    assert list(got.all_headers()) == [headers for *_, headers in expected if headers]
    assert got.key_ends_with(0).tolist() == [key.endswith(b"\0") for _, _, key, *_ in expected]
    assert set(got.slots.tolist()) == {5}


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_batch_that_compresses_very_well_is_read_between_others(codec: int) -> None:
    values = [b"few", bytes(300_000), b"more"]
    found = [one for value in values for one in batches(0, built([(b"key", value, [])], codec))]
    got = read(found, {0: 0})
    assert [got.value(place) for place in range(3)] == values
    assert got.times.tolist() == [1_700_000_000_000] * 3


def test_records_that_the_broker_dates_are_all_of_the_last_time() -> None:
    torn = bytearray(built([(b"%d" % n, b"", []) for n in range(3)], 0))
    torn[22] |= 8
    assert read(batches(0, bytes(torn)), {0: 0}).times.tolist() == [1_700_000_000_014] * 3


def test_only_the_offsets_asked_for_are_read() -> None:
    found = batches(0, built([(b"%d" % n, b"", []) for n in range(9)], 3))
    assert read(found, {0: 3}, {0: 7}).offsets.tolist() == [3, 4, 5, 6]
    assert len(read([], {})) == 0


def test_a_damaged_batch_is_refused_and_nothing_beyond_it_is_read() -> None:
    good = built([(b"key", b"value", [("name", b"x")])] * 20, 0)
    chance, refused = random.Random(7), 0
    for _ in range(3_000):
        torn = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            torn[chance.randrange(61, len(torn))] = chance.choice(
                [0, 1, 127, 128, 255, chance.randrange(256)]
            )
        try:
            got = read(batches(0, bytes(torn)), {0: 0})
        except Fatal:
            refused += 1
        else:
            assert (got.keys <= len(got.data)).all()
            assert (got.values <= len(got.data)).all()
    assert refused > 300
    with pytest.raises(Fatal, match="format"):
        batches(0, good[:16] + b"\1" + good[17:])


@given(st.lists(st.integers(0, 2_000), max_size=3_000), st.integers(1, 700))
def test_the_newest_of_each_key_is_told_once(keys: list[int], length: int) -> None:
    newest, told = Newest(), dict[int, int]()
    for behind in range(len(keys), 0, -length):
        begin = max(0, behind - length)
        records = of((b"%d" % key, None) for key in keys[begin:behind])
        for place in np.flatnonzero(newest.of(records)).tolist():
            assert keys[begin + place] not in told
            told[keys[begin + place]] = begin + place
    assert told == {key: place for place, key in enumerate(keys)}


def test_what_is_forgotten_is_new_again() -> None:
    newest, records = Newest(), of((b"%d" % n, None) for n in range(5_000))
    assert newest.of(records).all()
    newest.forget(records, 17)
    assert newest.of(records).nonzero()[0].tolist() == [17]
    assert not newest.of(records).any()


def test_what_was_read_into_a_room_stays_while_it_is_held_and_no_longer() -> None:
    room, values = Room(), [bytes([65 + number]) * 9 for number in range(5)]

    def reading(value: bytes) -> Records:
        return read([batch_of([(b"k", value)])], {0: 0}, room=room)

    held = [reading(value) for value in values]
    assert [records.value(0) for records in held] == values
    lent = {records.data.ctypes.data for records in held[-2:]}
    held.clear()
    assert reading(b"A").data.ctypes.data in lent
