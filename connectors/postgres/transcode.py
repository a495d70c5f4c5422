"""Canonical records, as they lie in Kafka, to rows of Postgres' binary `COPY`, compiled to machine code.

A record is written by our own encoder: fields in the record's order, no white space. Its values are copied, or parsed
where they are numbers, without a Python object a value, at a third of the price. Whatever is not as plain as that (an
escape, a character beyond ASCII, a number too long to be exact, another order of fields, any value a field does not
allow) is left to `connectors.postgres.rows`, which decodes it and says what is wrong. Both give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np

from runtime.kernels import njit

TEXT, INTEGER, DECIMAL, FLAG, MOMENT, WORD = range(6)
"""Kinds of values; a word is one of a closed list."""
ANY, NOT_NEGATIVE, POSITIVE = range(3)
"""What a number may be."""

_EXACT_DIGITS: Final = 15
"""So many decimal digits always fit a float's mantissa; a division by a power of ten then rounds once, as it should."""
_EXACT_BELOW: Final = 10**_EXACT_DIGITS
_INTEGER_DIGITS: Final = 18
_POWERS: Final = np.array([10.0**exponent for exponent in range(_EXACT_DIGITS + 1)])
_POSTGRES_EPOCH_DAYS: Final = 10957
_LONGEST_MOMENT: Final = len('"2026-11-25T14:06:34.123000Z"')
_QUOTE, _BACKSLASH, _END, _MINUS, _POINT, _ZERO = (ord(sign) for sign in '"\\}-.0')
_T, _N = (ord(sign) for sign in "tn")
_NULL, _TRUE, _FALSE = (np.frombuffer(word, np.uint8) for word in (b"null", b"true", b"false"))

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _compiled(function: FunctionT) -> FunctionT:
    """To machine code at the first call (seconds), and kept in the user's cache."""
    return cast(FunctionT, njit(cache=True, nogil=True)(function))


@_compiled
def _put(out: Any, at: int, value: int, size: int) -> int:
    for place in range(size):
        out[at + place] = (value >> (8 * (size - 1 - place))) & 0xFF
    return at + size


@_compiled
def _same(data: Any, at: int, other: Any, begin: int, end: int) -> bool:
    if at + end - begin > len(data):
        return False
    for place in range(end - begin):  # noqa: SIM110 - the compiler has no generators
        if data[at + place] != other[begin + place]:
            return False
    return True


@_compiled
def _digits(data: Any, at: int, count: int) -> int:
    """The number in so many digits; -1 where something else stands."""
    number = 0
    for place in range(at, at + count):
        digit = data[place] - _ZERO
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number


@_compiled
def _moment(data: Any, at: int) -> tuple[int, int]:
    """Microseconds since 2000 of `"2026-11-25T14:06:34.123000Z"` and the place behind it; -1 for any other form."""
    year, month, day = _digits(data, at + 1, 4), _digits(data, at + 6, 2), _digits(data, at + 9, 2)
    hour, minute, second = _digits(data, at + 12, 2), _digits(data, at + 15, 2), _digits(data, at + 18, 2)
    if data[at + 5] != 45 or data[at + 8] != 45 or data[at + 11] != 84:
        return 0, -1
    if data[at + 14] != 58 or data[at + 17] != 58:
        return 0, -1
    if year < 2000 or not 1 <= month <= 12 or not 1 <= day <= 28 + (month != 2) * 2:
        # The last days of long months and of Februaries are left to whoever has a calendar.
        return 0, -1
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return 0, -1
    micros, behind = 0, at + 20
    if data[behind] == _POINT:
        micros = _digits(data, behind + 1, 6)
        behind += 7
    if micros < 0 or data[behind] != 90 or data[behind + 1] != _QUOTE:
        return 0, -1
    # Days since 1970 by the proleptic Gregorian calendar, counted in years that begin in March.
    march_year = year - (month <= 2)
    era = march_year // 400
    of_era = march_year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    seconds = (days - _POSTGRES_EPOCH_DAYS) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * 1_000_000 + micros, behind + 2


@_compiled
def _text(data: Any, at: int, end: int, out: Any, to: int) -> tuple[int, int]:
    """Copy the text whose quote stands before `at`; the places behind it and behind its copy, or -1."""
    while at < end:
        sign = data[at]
        if sign == _QUOTE:
            return at + 1, to
        if sign == _BACKSLASH or sign < 32 or sign > 126:
            return -1, to
        out[to] = sign
        at += 1
        to += 1
    return -1, to


@_compiled
def _number(data: Any, at: int, end: int) -> tuple[int, int, int, bool]:
    """Digits as one integer, how many stand behind the point (-1 without one), the place behind, and the sign."""
    negative = data[at] == _MINUS
    if negative:
        at += 1
    begin, mantissa, point = at, 0, -1
    while at < end:
        sign = data[at]
        if sign == _POINT and point < 0 and at > begin:
            point = at
        elif _ZERO <= sign <= _ZERO + 9:
            mantissa = 10 * mantissa + (sign - _ZERO)
        else:
            break
        at += 1
    digits = at - begin - (point >= 0)
    decimals = at - point - 1 if point >= 0 else -1
    leading_zero = data[begin] == _ZERO and digits > 1 and point != begin + 1
    if digits == 0 or digits > _INTEGER_DIGITS or decimals == 0 or leading_zero:
        return 0, 0, -1, negative
    return mantissa, decimals, at, negative


@_compiled
def transcode(
    data: Any,
    ends: Any,
    keys: Any,
    key_ends: Any,
    offsets: Any,
    names: Any,
    name_ends: Any,
    kinds: Any,
    limits: Any,
    nullable: Any,
    words: Any,
    word_ends: Any,
    word_ranges: Any,
    special: Any,
    history_fields: Any,
    out: Any,
    out_ends: Any,
    history: Any,
    history_ends: Any,
) -> None:
    """Fill `out` and `history` with rows; an end of -1 in `out_ends` leaves the record to whoever decodes it.

    Args:
        data: the records, one behind the other, with their `ends`.
        keys: the records' keys, likewise with `key_ends`.
        offsets: of each record in its partition, the row's last value but one.
        names: what stands before each field's value (`,"shape":`), with `name_ends`.
        kinds: of each field; `limits` and `nullable` likewise.
        words: the closed lists' words, with `word_ends`; `word_ranges` are each field's first word and the one behind.
        special: the fields id, cause, price and previous price, and the word of a new stone.
        history_fields: the fields of a price-history row.
        out: rows; `out_ends` is where each ends. The topic's id is still to be added to each.
        history: price-history rows; an end equal to the one before says that the record gives none.
    """
    # One long function on purpose: cut into one a value it takes twice as long.
    fields = len(kinds)
    starts = np.empty(fields + 1, np.int64)
    numbers = np.zeros(fields, np.int64)
    as_float = np.empty(1, np.float64)
    as_bits = as_float.view(np.int64)
    identity, cause, price, previous, new_word = special
    at_out, at_history, begin, key_begin = 0, 0, 0, 0
    for record in range(len(ends)):
        end, key_end = ends[record], key_ends[record]
        at, to, name_begin = begin, _put(out, at_out, fields + 2, 2), 0
        plain = True
        for field in range(fields):
            name_end = name_ends[field]
            # The shortest value and the closing brace must fit as well: nothing is read beyond the record.
            if at + name_end - name_begin + 2 > end or not _same(data, at, names, name_begin, name_end):
                plain = False
                break
            at += name_end - name_begin
            name_begin = name_end
            starts[field] = to
            kind, sign = kinds[field], data[at]
            numbers[field] = -1
            if sign == _N:
                if not nullable[field] or not _same(data, at, _NULL, 0, 4):
                    plain = False
                    break
                at += 4
                to = _put(out, to, -1, 4)
            elif kind in (TEXT, WORD):
                if sign != _QUOTE:
                    plain = False
                    break
                at, behind = _text(data, at + 1, end, out, to + 4)
                if at < 0:
                    plain = False
                    break
                _put(out, to, behind - to - 4, 4)
                if kind == WORD:
                    for word in range(word_ranges[field, 0], word_ranges[field, 1]):
                        word_begin = word_ends[word - 1] if word else 0
                        if word_ends[word] - word_begin == behind - to - 4 and _same(
                            out, to + 4, words, word_begin, word_ends[word]
                        ):
                            numbers[field] = word
                    if numbers[field] < 0:
                        plain = False
                        break
                to = behind
            elif kind == FLAG:
                length = 4 if sign == _T else 5
                if not (_same(data, at, _TRUE, 0, 4) if sign == _T else _same(data, at, _FALSE, 0, 5)):
                    plain = False
                    break
                to = _put(out, to, 1, 4)
                to = _put(out, to, sign == _T, 1)
                at += length
            elif kind == MOMENT:
                micros, at = _moment(data, at) if at + _LONGEST_MOMENT <= end and sign == _QUOTE else (0, -1)
                if at < 0:
                    plain = False
                    break
                to = _put(out, to, 8, 4)
                to = _put(out, to, micros, 8)
            else:
                mantissa, decimals, at, negative = _number(data, at, end)
                if (
                    at < 0
                    or (negative and limits[field] != ANY)
                    or (mantissa == 0 and limits[field] == POSITIVE)
                ):
                    plain = False
                    break
                to = _put(out, to, 8, 4)
                if kind == INTEGER:
                    if decimals >= 0:
                        plain = False
                        break
                    numbers[field] = -mantissa if negative else mantissa
                    to = _put(out, to, numbers[field], 8)
                else:
                    if mantissa >= _EXACT_BELOW or decimals > _EXACT_DIGITS:
                        plain = False
                        break
                    as_float[0] = mantissa / _POWERS[max(decimals, 0)]
                    if negative:
                        as_float[0] = -as_float[0]
                    to = _put(out, to, as_bits[0], 8)
        starts[fields] = to
        if plain and (at != end - 1 or data[at] != _END):
            plain = False
        if plain:
            id_length = starts[identity + 1] - starts[identity] - 4
            plain = id_length == key_end - key_begin and _same(
                out, starts[identity] + 4, keys, key_begin, key_end
            )
        if plain:
            to = _put(out, to, 8, 4)
            at_out = _put(out, to, offsets[record], 8)
            out_ends[record] = at_out
            # A null previous price is no number, and so not the price either.
            if numbers[cause] == new_word or numbers[price] != numbers[previous]:
                at_history = _put(history, at_history, len(history_fields), 2)
                for field in history_fields:
                    for place in range(starts[field], starts[field + 1]):
                        history[at_history] = out[place]
                        at_history += 1
        else:
            out_ends[record] = -1
        history_ends[record] = at_history
        begin, key_begin = end, key_end
