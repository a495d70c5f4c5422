"""Plain canonical records, as they lie in Kafka, to rows of Postgres' binary `COPY`, compiled to machine code.

Values are copied, or parsed where they are numbers, without a Python object a value, at a third of the price. What is
not plain is left to `connectors.postgres.rows`, which decodes it. Both give the same bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from connectors.records.plain import (
    ANY,
    END,
    EXACT_BELOW,
    EXACT_DIGITS,
    FALSE,
    FLAG,
    INTEGER,
    LONGEST_MOMENT,
    MOMENT,
    NULL,
    POSITIVE,
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


@compiled
def _put(out: Any, at: int, value: int, size: int) -> int:
    for place in range(size):
        out[at + place] = (value >> (8 * (size - 1 - place))) & 0xFF
    return at + size


@compiled
def _text(data: Any, at: int, end: int, out: Any, to: int) -> tuple[int, int]:
    """Copy the text whose quote stands before `at`; the places behind it and behind its copy, or -1."""
    behind = past_text(data, at, end)
    if behind < 0:
        return -1, to
    here, there = np.uintp(at), np.uintp(to)
    length = behind - 1 - at
    for place in range(np.uintp(length)):
        out[there + place] = data[here + place]
    return behind, to + length


@compiled
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
    marks: Any,
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
        special: the fields id, cause, price, previous price and content hash, and the word of a new stone.
        history_fields: the fields of a price-history row.
        out: rows; `out_ends` is where each ends. The topic's id is still to be added to each.
        marks: of each row, where the price's value begins and where the content's hash does, and the cause's word.
        history: price-history rows; an end equal to the one before says that the record gives none.
    """
    # One long function on purpose: cut into one a value it takes twice as long.
    fields = len(kinds)
    starts = np.empty(fields + 1, np.int64)
    numbers = np.zeros(fields, np.int64)
    as_float = np.empty(1, np.float64)
    as_bits = as_float.view(np.int64)
    identity, cause, price, previous, content_hash, new_word = special
    at_out, at_history, begin, key_begin = 0, 0, 0, 0
    for record in range(len(ends)):
        end, key_end = ends[record], key_ends[record]
        at, to, name_begin = begin, _put(out, at_out, fields + 2, 2), 0
        plain = True
        for field in range(fields):
            name_end = name_ends[field]
            # The shortest value and the closing brace must fit as well: nothing is read beyond the record.
            fits = at + name_end - name_begin + 2 <= end
            named = fits and same(data, at, names, name_begin, name_end)
            # A field that there was not yet when the record was written is null.
            sign = np.int64(N)
            if named:
                at += name_end - name_begin
                sign = np.int64(data[at])
            name_begin = name_end
            starts[field] = to
            kind = kinds[field]
            numbers[field] = -1
            if sign == N:
                if not nullable[field] or (named and not same(data, at, NULL, 0, 4)):
                    plain = False
                    break
                at += 4 * named
                to = _put(out, to, -1, 4)
            elif kind in (TEXT, WORD):
                if sign != QUOTE:
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
                        if word_ends[word] - word_begin == behind - to - 4 and same(
                            out, to + 4, words, word_begin, word_ends[word]
                        ):
                            numbers[field] = word
                    if numbers[field] < 0:
                        plain = False
                        break
                to = behind
            elif kind == FLAG:
                length = 4 if sign == T else 5
                if not (same(data, at, TRUE, 0, 4) if sign == T else same(data, at, FALSE, 0, 5)):
                    plain = False
                    break
                to = _put(out, to, 1, 4)
                to = _put(out, to, sign == T, 1)
                at += length
            elif kind == MOMENT:
                micros, at = moment(data, at) if at + LONGEST_MOMENT <= end and sign == QUOTE else (0, -1)
                if at < 0:
                    plain = False
                    break
                to = _put(out, to, 8, 4)
                to = _put(out, to, micros, 8)
            else:
                mantissa, decimals, at, negative = number(data, at, end)
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
                    if mantissa >= EXACT_BELOW or decimals > EXACT_DIGITS:
                        plain = False
                        break
                    as_float[0] = mantissa / POWERS[max(decimals, 0)]
                    if negative:
                        as_float[0] = -as_float[0]
                    to = _put(out, to, as_bits[0], 8)
        starts[fields] = to
        if plain and (at != end - 1 or data[at] != END):
            plain = False
        if plain:
            id_length = starts[identity + 1] - starts[identity] - 4
            plain = id_length == key_end - key_begin and same(
                out, starts[identity] + 4, keys, key_begin, key_end
            )
        if plain:
            marks[record, 0] = starts[price] - at_out
            marks[record, 1] = starts[content_hash] - at_out
            marks[record, 2] = numbers[cause]
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
