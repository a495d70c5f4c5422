"""Canonical records put together, byte for byte as `encode(Stone(...))`, compiled: content, numbers, and texts by code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT
from streams.transcription.decision import (
    FIRST_SEEN,
    HASH,
    MAPPER,
    PRICE,
    RAW_OFFSET,
    RULES,
    SEQ,
    UPDATED,
)
from streams.transcription.words import SLACK, compiled, copy, same

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


class Texts(NamedTuple):
    """Texts one behind the other, with the place behind each, and the bytes of the longest."""

    data: Bytes
    ends: Places
    longest: int


def texts(parts: Sequence[bytes]) -> Texts:
    """Texts for a kernel."""
    lengths = [len(part) for part in parts]
    joined = np.frombuffer(b"".join([*parts, bytes(SLACK)]), np.uint8)
    return Texts(joined, np.cumsum(lengths, dtype=np.int64), max(lengths, default=0))


_PRICE, _SEQ, _MAPPER, _HASH, _RUN, _RAW_OFFSET, _UPDATED, _NULL = range(8)
_FIXED: Final = (
    *(b',"price_cents":', b',"seq":', b',"mapper_version":', b',"content_hash":"', b',"run":'),
    *(b',"raw_offset":', b',"updated_at":', b"null"),
)
_WORDS, _WORD_ENDS, _ = texts([*_FIXED])
MOST_OF_NUMBERS: Final = sum(map(len, _FIXED)) + 8 * 20 + 2 * 32 + 16
"""Bytes of a record, at most, that are neither content nor texts by code."""
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_ZERO, _MINUS, _POINT, _QUOTE, _CLOSE, _COLON, _T, _Z = (ord(sign) for sign in '0-."}:TZ')
_DAY_S: Final = 86_400
# The calendar repeats itself every 400 years, counted here from the first of March of the year 0.
_ERA_DAYS, _TO_1970 = 146_097, 719_468


@compiled
def _text(data: Any, ends: Any, number: int, out: Any, to: int) -> int:
    return copy(data, ends[number - 1] if number else 0, ends[number], out, to)


@compiled
def _digits(number: int, count: int, out: Any, to: int) -> int:
    """A number with so many digits."""
    for place in range(to + count - 1, to - 1, -1):
        out[place] = _ZERO + number % 10
        number //= 10
    return to + count


@compiled
def _number(number: int, out: Any, to: int) -> int:
    if number < 0:
        out[to] = _MINUS
        number, to = -number, to + 1
    count, rest = 1, number // 10
    while rest:
        count, rest = count + 1, rest // 10
    return _digits(number, count, out, to)


@compiled
def _moment(seconds: int, ms: int, out: Any, to: int) -> int:
    """A moment, since 1970, UTC, quotes included."""
    days, second = seconds // _DAY_S + _TO_1970, seconds % _DAY_S
    era, day = days // _ERA_DAYS, days % _ERA_DAYS
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    out[to] = _QUOTE
    to = _digits(400 * era + year + (month > 9), 4, out, to + 1)
    out[to] = _MINUS
    to = _digits(month - 9 if month > 9 else month + 3, 2, out, to + 1)
    out[to] = _MINUS
    to = _digits(day + 1, 2, out, to + 1)
    out[to] = _T
    to = _digits(second // 3600, 2, out, to + 1)
    out[to] = _COLON
    to = _digits(second // 60 % 60, 2, out, to + 1)
    out[to] = _COLON
    to = _digits(second % 60, 2, out, to + 1)
    if ms:
        out[to] = _POINT
        to = _digits(1000 * ms, 6, out, to + 1)
    out[to], out[to + 1] = _Z, _QUOTE
    return to + 2


@compiled
def put_together(
    data: Any,
    begins: Any,
    ends: Any,
    numbers: Any,
    previous: Any,
    causes: Any,
    terms: Any,
    runs: Any,
    cause_texts: Any,
    terms_texts: Any,
    run_texts: Any,
    out: Any,
    out_ends: Any,
) -> None:
    """Write records one behind the other.

    Args:
        data: holds the contents, each from its place in `begins` to that in `ends`, without the closing brace.
        numbers: a row of `NUMBERS` a stone.
        previous: the former prices, or `NULL_INT`.
        causes, terms, runs: codes of the texts that follow, which are `Texts`.
        terms_texts: three for each code; see `streams.records`.
        out: long enough; `out_ends` is where each record ends.
    """
    words, word_ends = _WORDS, _WORD_ENDS
    to = 0
    for stone in range(len(begins)):
        own, code = numbers[stone], 3 * terms[stone]
        to = copy(data, begins[stone], ends[stone], out, to)
        to = _text(words, word_ends, _PRICE, out, to)
        to = _number(own[PRICE], out, to)
        to = _text(terms_texts.data, terms_texts.ends, code, out, to)
        to = _number(own[RULES], out, to)
        to = _text(terms_texts.data, terms_texts.ends, code + 1, out, to)
        if own[FIRST_SEEN] == NULL_INT:
            to = _text(words, word_ends, _NULL, out, to)
        else:
            to = _moment(own[FIRST_SEEN], 0, out, to)
        to = _text(words, word_ends, _UPDATED, out, to)
        to = _moment(own[UPDATED] // 1000, own[UPDATED] % 1000, out, to)
        to = _text(words, word_ends, _SEQ, out, to)
        to = _number(own[SEQ], out, to)
        to = _text(words, word_ends, _MAPPER, out, to)
        to = _number(own[MAPPER], out, to)
        to = _text(words, word_ends, _HASH, out, to)
        for place in range(16):
            out[to + place] = _HEX[(own[HASH] >> (60 - 4 * place)) & 15]
        to = _text(cause_texts.data, cause_texts.ends, causes[stone], out, to + 16)
        to = _text(terms_texts.data, terms_texts.ends, code + 2, out, to)
        if previous[stone] == NULL_INT:
            to = _text(words, word_ends, _NULL, out, to)
        else:
            to = _number(previous[stone], out, to)
        to = _text(words, word_ends, _RUN, out, to)
        to = _text(run_texts.data, run_texts.ends, runs[stone], out, to)
        to = _text(words, word_ends, _RAW_OFFSET, out, to)
        to = _number(own[RAW_OFFSET], out, to)
        out[to] = _CLOSE
        to += 1
        out_ends[stone] = to


@compiled
def find_prices(data: Any, begins: Any, ends: Any, places: Any) -> None:
    """Where the price stands in each of some records; the record's beginning in what is none.

    A quote within a JSON string is always escaped, so no name can be found within a value.
    """
    length = _WORD_ENDS[_PRICE]
    for record in range(len(begins)):
        at = ends[record] - length
        while at > begins[record] and not (data[at] == _WORDS[0] and same(data, at, _WORDS, 0, length)):
            at -= 1
        places[record] = at
