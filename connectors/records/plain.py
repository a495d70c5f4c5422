"""What a plain canonical record is: our own encoder's, fields in the record's order, no white space.

Kernels that read such records share these pieces. Whatever is not as plain as that (an escape, a character beyond
ASCII, a number too long to be exact, another order of fields, any value a field does not allow) is left to whoever
decodes it and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from connectors.records.words import trailing_zeros, word
from runtime.kernels import njit
from schemas.stone import Stone

TEXT, INTEGER, DECIMAL, FLAG, MOMENT, WORD = range(6)
"""Kinds of values; a word is one of a closed list."""
ANY, NOT_NEGATIVE, POSITIVE = range(3)
"""What a number may be."""

EXACT_DIGITS: Final = 15
"""So many decimal digits always fit a float's mantissa; a division by a power of ten then rounds once, as it should."""
EXACT_BELOW: Final = 10**EXACT_DIGITS
POWERS: Final = np.array([10.0**exponent for exponent in range(EXACT_DIGITS + 1)])
POSTGRES_EPOCH_DAYS: Final = 10957
LONGEST_MOMENT: Final = len('"2026-11-25T14:06:34.123000Z"')
QUOTE, BACKSLASH, END, MINUS, POINT, ZERO = (ord(sign) for sign in '"\\}-.0')
T, N = (ord(sign) for sign in "tn")
NULL, TRUE, FALSE = (np.frombuffer(word, np.uint8) for word in (b"null", b"true", b"false"))
_INTEGER_DIGITS: Final = 18
WORD_BYTES: Final = 8
_ONES: Final = np.uint64(0x0101010101010101)
_HIGHEST: Final = np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _DELETES, _BLANKS = (_ONES * np.uint64(sign) for sign in (QUOTE, BACKSLASH, 127, 32))

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def compiled(function: FunctionT) -> FunctionT:
    """To machine code at the first call (seconds), and kept in the user's cache."""
    return cast(FunctionT, njit(cache=True, nogil=True)(function))


@compiled
def same(data: Any, at: int, other: Any, begin: int, end: int) -> bool:
    """Whether the bytes from `at` are those of `other` in [begin, end)."""
    length = end - begin
    if at + length > len(data):
        return False
    if length >= WORD_BYTES:
        for place in range(0, length - WORD_BYTES, WORD_BYTES):
            if word(data, at + place) != word(other, begin + place):
                return False
        return bool(word(data, at + length - WORD_BYTES) == word(other, end - WORD_BYTES))
    # Places without a sign, here and where texts are read: one that may be negative is looked at before each byte.
    here, there = np.uintp(at), np.uintp(begin)
    for place in range(np.uintp(length)):  # noqa: SIM110 - the compiler has no generators
        if data[here + place] != other[there + place]:
            return False
    return True


@compiled
def past_text(data: Any, at: int, end: int) -> int:
    """The place behind the text whose opening quote stands before `at`; -1 where it is not plain or does not end."""
    while at + WORD_BYTES <= end:
        # Of eight bytes the first that is a quote, a backslash, no printable character or none of ASCII: where its
        # highest bit is set here. Bytes behind it may be marked wrongly.
        eight = word(data, at)
        quote, backslash, last = eight ^ _QUOTES, eight ^ _BACKSLASHES, eight ^ _DELETES
        found = (
            eight
            | ((quote - _ONES) & ~quote)
            | ((backslash - _ONES) & ~backslash)
            | ((last - _ONES) & ~last)
            | ((eight - _BLANKS) & ~eight)
        ) & _HIGHEST
        if found:
            before: Any = np.int64(trailing_zeros(found))
            at += before // WORD_BYTES
            return at + 1 if data[np.uintp(at)] == QUOTE else -1
        at += WORD_BYTES
    while at < end:
        sign = data[np.uintp(at)]
        if sign == QUOTE:
            return at + 1
        if sign == BACKSLASH or sign < 32 or sign > 126:
            return -1
        at += 1
    return -1


@compiled
def _digits(data: Any, at: int, count: int) -> int:
    """The number in so many digits; -1 where something else stands."""
    value = 0
    for place in range(at, at + count):
        digit = data[place] - ZERO
        if digit < 0 or digit > 9:
            return -1
        value = 10 * value + digit
    return value


@compiled
def moment(data: Any, at: int) -> tuple[int, int]:
    """Microseconds since 2000 of `"2026-11-25T14:06:34.123000Z"` and the place behind it; -1 for any other form."""
    year, month, day = _digits(data, at + 1, 4), _digits(data, at + 6, 2), _digits(data, at + 9, 2)
    hour, minute, second = _digits(data, at + 12, 2), _digits(data, at + 15, 2), _digits(data, at + 18, 2)
    if data[at + 5] != 45 or data[at + 8] != 45 or data[at + 11] != 84:
        return 0, -1
    if data[at + 14] != 58 or data[at + 17] != 58:
        return 0, -1
    if year < 2000 or not 1 <= month <= 12:
        return 0, -1
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    # August is as long as July.
    if not 1 <= day <= (28 + leap if month == 2 else 30 + (month + month // 8) % 2):
        return 0, -1
    if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60):
        return 0, -1
    micros, behind = 0, at + 20
    if data[behind] == POINT:
        micros = _digits(data, behind + 1, 6)
        behind += 7
    if micros < 0 or data[behind] != 90 or data[behind + 1] != QUOTE:
        return 0, -1
    # Days since 1970 by the proleptic Gregorian calendar, counted in years that begin in March.
    march_year = year - (month <= 2)
    era = march_year // 400
    of_era = march_year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    days = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
    seconds = (days - POSTGRES_EPOCH_DAYS) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * 1_000_000 + micros, behind + 2


@compiled
def number(data: Any, at: int, end: int) -> tuple[int, int, int, bool]:
    """Digits as one integer, how many stand behind the point (-1 without one), the place behind, and the sign."""
    negative = data[at] == MINUS
    if negative:
        at += 1
    begin, mantissa, point = at, 0, -1
    while at < end:
        sign = data[at]
        if sign == POINT and point < 0 and at > begin:
            point = at
        elif ZERO <= sign <= ZERO + 9:
            mantissa = 10 * mantissa + (sign - ZERO)
        else:
            break
        at += 1
    digits = at - begin - (point >= 0)
    decimals = at - point - 1 if point >= 0 else -1
    leading_zero = data[begin] == ZERO and digits > 1 and point != begin + 1
    if digits == 0 or digits > _INTEGER_DIGITS or decimals == 0 or leading_zero:
        return 0, 0, -1, negative
    return mantissa, decimals, at, negative


def joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The parts one behind the other, and where each ends."""
    return np.frombuffer(b"".join(parts), np.uint8), np.fromiter(
        map(len, parts), np.int64, len(parts)
    ).cumsum()


class _Field(NamedTuple):
    """What the kernels are told of a field."""

    kind: int
    limit: int
    nullable: bool
    words: tuple[str, ...] = ()


_KINDS: Final[dict[type, int]] = {
    inspect.StrType: TEXT,
    inspect.IntType: INTEGER,
    inspect.FloatType: DECIMAL,
    inspect.BoolType: FLAG,
    inspect.DateTimeType: MOMENT,
    inspect.EnumType: WORD,
}


def _field(kind: inspect.Type) -> _Field:
    """From msgspec's description of a field's type.

    Raises:
        TypeError: the field is limited in a way that the kernels do not look at.
    """
    if isinstance(kind, inspect.Metadata):
        return _field(kind.type)
    if isinstance(kind, inspect.UnionType):
        (one,) = (_field(option) for option in kind.types if not isinstance(option, inspect.NoneType))
        return one._replace(nullable=True)
    limits = {
        name: getattr(kind, name)
        for name in kind.__struct_fields__
        if name not in ("cls", "tz") and getattr(kind, name) is not None
    }
    known = {"": ANY, "ge": NOT_NEGATIVE, "gt": POSITIVE}
    if any(limits.values()) or len(limits) > 1 or type(kind) not in _KINDS:
        raise TypeError(f"no kernel reads {kind}")
    words = tuple(word.value for word in kind.cls) if isinstance(kind, inspect.EnumType) else ()
    return _Field(_KINDS[type(kind)], known["".join(limits)], False, words)


(_DESCRIBED,) = inspect.multi_type_info([Stone])
assert isinstance(_DESCRIBED, inspect.StructType)
_FIELDS: Final = [_field(field.type) for field in _DESCRIBED.fields]
# A field that is missing may be taken for null.
assert all(
    field.default is None for field, told in zip(_DESCRIBED.fields, _FIELDS, strict=True) if told.nullable
)
_WORDS: Final = [(place, word) for place, field in enumerate(_FIELDS) for word in field.words]

NAMES: Final = tuple(field.encode_name for field in _DESCRIBED.fields)
"""The record's fields, in its order."""

KIND_OF: Final = {name: field.kind for name, field in zip(NAMES, _FIELDS, strict=True)}
"""What each field holds."""


def word_number(name: str, word: str) -> int:
    """The number of a field's word in `LAYOUT`."""
    return _WORDS.index((NAMES.index(name), word))


def _layout() -> tuple[NDArray[Any], ...]:
    behind = list(accumulate(len(field.words) for field in _FIELDS))
    ranges = [(end - len(field.words), end) for field, end in zip(_FIELDS, behind, strict=True)]
    return (
        *joined([f'{"," if place else "{"}"{name}":'.encode() for place, name in enumerate(NAMES)]),
        *(np.array([field.kind for field in _FIELDS]), np.array([field.limit for field in _FIELDS])),
        np.array([field.nullable for field in _FIELDS]),
        *joined([word.encode() for _, word in _WORDS]),
        np.array(ranges),
    )


LAYOUT: Final = _layout()
"""The arguments by which a kernel knows the record.

What stands before each field's value (`,"shape":`) and where each of these ends; the fields' kinds, limits and whether
they may be null; the closed lists' words and where each ends; each field's first word and the one behind its last.
"""
