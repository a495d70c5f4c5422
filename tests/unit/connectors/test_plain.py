"""The pieces of the kernels that read plain records, each held to the slow and obvious way."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectors.records.plain import moment, past_text, same

BYTES = st.binary(max_size=40)
SIGNS = st.text(alphabet='abc"\\\x1f\x7f é~ ', max_size=40).map(str.encode)


def held(text: bytes) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    return np.frombuffer(text, np.uint8)


def test_every_day_is_known_and_no_other() -> None:
    begin, days = date(1999, 12, 1), 0
    for year in range(2000, 2105):
        for month in range(1, 13):
            for day in range(33):
                text = b'"%04d-%02d-%02dT14:06:34.123000Z"' % (year, month, day)
                found, behind = moment(held(text), 0)
                try:
                    told = datetime(year, month, day, 14, 6, 34, 123_000, UTC)
                except ValueError:
                    assert behind == -1
                else:
                    assert (found, behind) == (
                        (told - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
                        len(text),
                    )
                    days += 1
    assert days == (date(2105, 1, 1) - begin).days - 31


@given(BYTES, BYTES, BYTES, BYTES, st.binary(min_size=1, max_size=3))
def test_bytes_are_the_same_when_they_are(
    before: bytes, text: bytes, others: bytes, behind: bytes, more: bytes
) -> None:
    data, other = held(before + text + behind), held(others + text + more)
    assert same(data, len(before), other, len(others), len(others) + len(text))
    for place in range(len(text)):
        spoilt = bytearray(before + text + behind)
        spoilt[len(before) + place] ^= more[0] or 1
        assert not same(held(bytes(spoilt)), len(before), other, len(others), len(others) + len(text))
    # Whatever would reach beyond the end is another text.
    assert not same(held(before + text), len(before), other, len(others), len(other))


@given(SIGNS, SIGNS, st.integers(0, 3))
def test_a_text_ends_at_its_quote_and_is_plain_or_not(before: bytes, text: bytes, short: int) -> None:
    data, begin = before + text, len(before)
    end = max(begin, len(data) - short)
    found = -1
    for place in range(begin, end):
        if data[place] == ord('"'):
            found = place + 1
        if data[place] == ord('"') or data[place] in b"\\\x7f" or not 32 <= data[place] < 127:
            break
    assert past_text(held(data), begin, end) == found
