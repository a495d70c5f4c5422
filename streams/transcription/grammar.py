"""JSON by its grammar to the letter, compiled to machine code: where what stands at a place ends.

The bytes are printable and hold no escape (`is_printable`). Behind them stand a quote, by which a text that is cut off ends,
and `SLACK`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from streams.transcription.words import compiled, quote, word

ABSENT: Final = -1
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST, QUOTE, COMMA, COLON = (ord(sign) for sign in '{}[]",:')
SPACE, MINUS, PLUS, POINT, ZERO, N, _F = (ord(sign) for sign in " -+.0nf")
_NULL_WORD, _TRUE_WORD, _ALSE_WORD = (
    np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"true", b"alse")
)
_FOUR_BYTES: Final = np.uint64(0xFFFFFFFF)
_ONES, _HIGHEST, _SPACES, _ESCAPES = (
    np.uint64(int.from_bytes(8 * sign, "little")) for sign in (b"\1", b"\x80", b" ", b"\\")
)
_UPPER_E, _LOWER_E = (ord(sign) for sign in "Ee")
_DEEPEST: Final = 32
NULL, FALSE_TRUE, WHOLE, DECIMAL, STRING = (1 << bit for bit in range(5))
"""Kinds of JSON values, to be added up."""


@compiled
def behind_spaces(data: Any, at: int) -> int:
    """The place of what follows."""
    while data[at] <= SPACE:
        at += 1
    return at


@compiled
def behind_value(data: Any, size: int, at: int) -> int:
    """Behind the JSON value that begins here; `ABSENT` where there is none, whole and as the grammar has it."""
    # Of the structs and lists around a place: whether it is a list, the innermost lowest.
    lists, depth = 0, 0
    while True:
        sign = data[at]
        if sign == QUOTE:
            at = quote(data, at + 1) + 1
        elif sign in (OPEN, OPEN_LIST):
            depth += 1
            if depth == _DEEPEST:
                return ABSENT
            lists = 2 * lists + (sign == OPEN_LIST)
            at = behind_spaces(data, at + 1)
            if data[at] != (CLOSE_LIST if sign == OPEN_LIST else CLOSE):
                if sign == OPEN:
                    at = behind_key(data, size, at)
                if at == ABSENT:
                    return ABSENT
                continue
            at, lists, depth = at + 1, lists >> 1, depth - 1
        else:
            at, _ = behind_scalar(data, at)
        if at == ABSENT or at > size:
            return ABSENT
        while True:
            if depth == 0:
                return at
            at = behind_spaces(data, at)
            sign, is_list = data[at], lists & 1
            at += 1
            if sign == COMMA:
                at = behind_spaces(data, at)
                if not is_list:
                    at = behind_key(data, size, at)
                if at == ABSENT:
                    return ABSENT
                break
            if sign != (CLOSE_LIST if is_list else CLOSE):
                return ABSENT
            lists, depth = lists >> 1, depth - 1


@compiled
def behind_key(data: Any, size: int, at: int) -> int:
    """Behind the key that stands here, its colon, and spaces; `ABSENT` where there is none."""
    if data[at] != QUOTE:
        return ABSENT
    at = quote(data, at + 1) + 1
    if at > size:
        return ABSENT
    at = behind_spaces(data, at)
    return behind_spaces(data, at + 1) if data[at] == COLON else ABSENT


@compiled
def behind_scalar(data: Any, at: int) -> tuple[int, int]:
    """Behind the number, truth or null that stands here, `ABSENT` where there is none; and its kind."""
    four = word(data, at) & _FOUR_BYTES
    if four == _NULL_WORD:
        return at + 4, NULL
    if four == _TRUE_WORD:
        return at + 4, FALSE_TRUE
    if data[at] == _F and word(data, at + 1) & _FOUR_BYTES == _ALSE_WORD:
        return at + 5, FALSE_TRUE
    kind = WHOLE
    first = at + (data[at] == MINUS)
    at = _behind_digits(data, first)
    if at == first or (data[first] == ZERO and at > first + 1):
        return ABSENT, kind
    if data[at] == POINT:
        first, kind = at + 1, DECIMAL
        at = _behind_digits(data, first)
        if at == first:
            return ABSENT, kind
    if data[at] in (_LOWER_E, _UPPER_E):
        first, kind = at + 1, DECIMAL
        first += data[first] in (MINUS, PLUS)
        at = _behind_digits(data, first)
        if at == first:
            return ABSENT, kind
    return at, kind


@compiled
def _behind_digits(data: Any, at: int) -> int:
    while ZERO <= data[at] <= ZERO + 9:
        at += 1
    return at


@compiled
def is_printable(data: Any, size: int) -> bool:
    """Whether bytes are printable ASCII, and none of them an escape; what lies behind them up to `SLACK` must be so too."""
    strange = np.uint64(0)
    for at in range(0, size, 8):
        eight = word(data, at)
        escapes = eight ^ _ESCAPES
        strange |= (eight - _SPACES) | eight | (eight + _ONES) | ((escapes - _ONES) & ~escapes)
    return bool(strange & _HIGHEST == 0)
