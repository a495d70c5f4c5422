"""Plain canonical records to numbers: what a search looks at, without a Python object a value."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.records.plain import (
    ANY,
    DECIMAL,
    END,
    EXACT_BELOW,
    EXACT_DIGITS,
    FALSE,
    FLAG,
    INTEGER,
    LAYOUT,
    LONGEST_MOMENT,
    MOMENT,
    NAMES,
    NULL,
    POSITIVE,
    POSTGRES_EPOCH_DAYS,
    POWERS,
    QUOTE,
    TEXT,
    TRUE,
    WORD,
    N,
    T,
    compiled,
    moment,
    number,
    past_text,
    same,
)

LENGTH_BITS: Final = 28
LENGTH: Final = (1 << LENGTH_BITS) - 1
"""A text is where it begins, shifted by so many bits, and how many bytes it has."""
NO_TEXT: Final = -1
NO_NUMBER: Final = np.iinfo(np.int64).min
NO_FLAG, NOT, YES = range(3)
_IDENTITY: Final = NAMES.index("id")
_NOBODY: Final = -1
"""No field."""
_POSTGRES_EPOCH_MS: Final = POSTGRES_EPOCH_DAYS * 86_400_000


@compiled
def scan(
    data: Any,
    records: Any,
    keys: Any,
    names: Any,
    name_ends: Any,
    kinds: Any,
    limits: Any,
    nullable: Any,
    words: Any,
    word_ends: Any,
    word_ranges: Any,
    first: int,
    begins: Any,
    identity: int,
    price: int,
    provenance: int,
    slots: Any,
    values: Any,
    borders: Any,
    plain: Any,
) -> None:
    """Fill `values`, and say in `plain` which records could be read; what stands of the others means nothing.

    Args:
        data: where the records and their keys lie.
        records: shape (2, records): where each begins, and the place behind it.
        keys: the same of the records' keys.
        names: this and the next seven are `connectors.records.plain.LAYOUT`.
        first: the field to begin with, 0 for whole records.
        begins: where it stands in each.
        identity: the field that must be equal to the record's key; the public stretch begins with it.
        price: the first field that is not content.
        provenance: the field behind the public stretch.
        slots: by field its row in `values`, -1 for a field that nobody looks at.
        values: shape (rows, records): integers as they are, decimals as their bits, moments in milliseconds since 1970,
            flags and texts as the constants above say.
        borders: shape (3, records): where each public stretch begins and ends, and where its price stands, in bytes of its
            record; only of the fields that are read.
        plain: of each record.
    """
    # One long function on purpose: cut into one a value it takes twice as long.
    as_float = np.empty(1, np.float64)
    as_bits = as_float.view(np.int64)
    for record in range(records.shape[1]):
        begin, end = records[0, record], records[1, record]
        key_begin, key_end = keys[0, record], keys[1, record]
        at, name_begin = begins[record], name_ends[first - 1] if first else 0
        fine = True
        for field in range(first, len(kinds)):
            name_end = name_ends[field]
            # The shortest value and the closing brace must fit as well: nothing is read beyond the record.
            fits = at + name_end - name_begin + 2 <= end
            named = fits and same(data, at, names, name_begin, name_end)
            # A field that there was not yet when the record was written is null.
            sign = np.int64(N)
            if named:
                if field == identity:
                    # Behind the comma.
                    borders[0, record] = at + 1 - begin
                elif field == provenance:
                    borders[1, record] = at - begin
                elif field == price:
                    borders[2, record] = at - begin
                at += name_end - name_begin
                sign = np.int64(data[at])
            name_begin = name_end
            kind, value = kinds[field], np.int64(0)
            if sign == N:
                if not nullable[field] or (named and not same(data, at, NULL, 0, 4)):
                    fine = False
                    break
                at += 4 * named
                if kind in (INTEGER, MOMENT):
                    value = np.int64(NO_NUMBER)
                elif kind == DECIMAL:
                    as_float[0] = np.nan
                    value = as_bits[0]
                else:
                    value = np.int64(NO_FLAG if kind == FLAG else NO_TEXT)
            elif kind in (TEXT, WORD):
                start = at + 1
                at = past_text(data, start, end) if sign == QUOTE else -1
                if at < 0:
                    fine = False
                    break
                length = at - 1 - start
                if field == identity and (
                    length != key_end - key_begin or not same(data, start, data, key_begin, key_end)
                ):
                    fine = False
                    break
                if kind == WORD:
                    known = False
                    for word in range(word_ranges[field, 0], word_ranges[field, 1]):
                        word_begin = word_ends[word - 1] if word else 0
                        if word_ends[word] - word_begin == length and same(
                            data, start, words, word_begin, word_ends[word]
                        ):
                            known = True
                    if not known:
                        fine = False
                        break
                value = np.int64(start << LENGTH_BITS | length)
            elif kind == FLAG:
                if not (same(data, at, TRUE, 0, 4) if sign == T else same(data, at, FALSE, 0, 5)):
                    fine = False
                    break
                at += 4 if sign == T else 5
                value = np.int64(YES if sign == T else NOT)
            elif kind == MOMENT:
                micros, at = moment(data, at) if at + LONGEST_MOMENT <= end and sign == QUOTE else (0, -1)
                if at < 0:
                    fine = False
                    break
                value = np.int64(micros // 1000 + _POSTGRES_EPOCH_MS)
            else:
                mantissa, decimals, at, negative = number(data, at, end)
                if (
                    at < 0
                    or (negative and limits[field] != ANY)
                    or (mantissa == 0 and limits[field] == POSITIVE)
                ):
                    fine = False
                    break
                if kind == INTEGER:
                    if decimals >= 0:
                        fine = False
                        break
                    value = np.int64(-mantissa if negative else mantissa)
                else:
                    if mantissa >= EXACT_BELOW or decimals > EXACT_DIGITS:
                        fine = False
                        break
                    as_float[0] = mantissa / POWERS[max(decimals, 0)]
                    if negative:
                        as_float[0] = -as_float[0]
                    value = as_bits[0]
            if slots[field] >= 0:
                values[slots[field], record] = value
        plain[record] = fine and at == end - 1 and data[at] == END


def text_at(data: NDArray[np.uint8], span: int) -> str | None:
    """The text that a span says; what is no UTF-8, as only a key can be, is told by a sign for it."""
    if span == NO_TEXT:
        return None
    begin = span >> LENGTH_BITS
    return data[begin : begin + (span & LENGTH)].tobytes().decode(errors="replace")


def read_fields(
    data: NDArray[np.uint8],
    records: NDArray[np.int64],
    keys: NDArray[np.int64] | None,
    slots: NDArray[np.intp],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Fields of whole records, a row each, as `scan` writes them; and which records are plain.

    Args:
        data: where the records lie.
        records: shape (2, records): where each begins and ends.
        keys: the same of their keys, which must be their ids; without it, nobody looks.
        slots: by field of `NAMES` its row, -1 for a field that nobody looks at.
    """
    count = records.shape[1]
    table, plain = np.empty((slots.max() + 1, count), np.int64), np.empty(count, np.bool_)
    asked = (records, _NOBODY) if keys is None else (keys, _IDENTITY)
    given: tuple[Any, ...] = (
        *(data, records, asked[0], *LAYOUT, 0, records[0], asked[1], _NOBODY, _NOBODY, slots),
        *(table, np.zeros((3, count), np.int64), plain),
    )
    scan(*given)
    return table, plain
