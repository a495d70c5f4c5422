"""Eight bytes at a time is the same as byte by byte."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streams.transcription import words

FEW_SIGNS = st.lists(st.sampled_from(b'ab"\x00\x21\x23\xa2'), max_size=40).map(bytes)


def padded(data: bytes, slack: bytes = bytes(words.SLACK)) -> NDArray[np.uint8]:
    return np.frombuffer(data + slack, np.uint8)


@given(FEW_SIGNS, st.integers(0, 9))
def test_a_quote_is_found(data: bytes, begin: int) -> None:
    whole = bytes(begin) + data + b'"'
    assert words.quote(padded(whole), begin) == whole.index(b'"', begin)


@given(FEW_SIGNS, FEW_SIGNS, st.integers(0, 9), st.integers(0, 9), st.sampled_from([b"a", b"\xff"]))
def test_stretches_are_equal_whatever_lies_behind(
    one: bytes, other: bytes, at: int, begin: int, behind: bytes
) -> None:
    for second in (one, other[: len(one)].ljust(len(one), b"a"), one[:-1] + b"z"):
        first = padded(bytes(at) + one, behind * words.SLACK)
        found = words.same(first, at, padded(bytes(begin) + second), begin, len(one))
        assert found == (one == second[: len(one)])


@given(FEW_SIGNS, st.integers(0, 9), st.integers(0, 9))
def test_copies_are_whole(data: bytes, begin: int, to: int) -> None:
    out = np.full(to + len(data) + words.SLACK, 1, np.uint8)
    assert words.copy(padded(bytes(begin) + data), begin, begin + len(data), out, to) == to + len(data)
    assert out[: to + len(data)].tobytes() == b"\x01" * to + data


@given(FEW_SIGNS, st.integers(0, 9), st.sampled_from([b"a", b"\xff"]))
def test_a_hash_is_of_the_bytes_alone(data: bytes, begin: int, behind: bytes) -> None:
    plain = words.hash_of(3, padded(data), 0, len(data))
    assert plain == words.hash_of(
        3, padded(bytes(begin) + data, behind * words.SLACK), begin, begin + len(data)
    )
    assert plain != words.hash_of(4, padded(data), 0, len(data))
    assert plain != words.hash_of(3, padded(data + b"\0"), 0, len(data) + 1)
