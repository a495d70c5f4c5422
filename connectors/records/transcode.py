"""Plain canonical records, as they lie in Kafka, to rows of Postgres' binary `COPY`, compiled to machine code.

Values are copied, or parsed where they are numbers, without a Python object a value, at a third of the price. What is
not plain is left to `connectors.postgres.rows`, which decodes it. Both give the same bytes.
"""

from __future__ import annotations

from typing import Any, Final

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

ID_BEGIN, ID_END, PRICE_BEGIN, HASH_BEGIN, CAUSE = range(5)
"""What is told of a stone's row: where some values begin or end in it, lengths included, and the cause's word."""
MARKS: Final = 5
NO_ROW: Final = -1


@compiled
def _put(out: Any, at: int, value: int, size: int) -> int:
    there = np.uintp(at)
    for place in range(np.uintp(size)):
        out[there + place] = (value >> (8 * (size - 1 - np.int64(place)))) & 0xFF
    return at + size


@compiled
def _copied(data: Any, begin: int, end: int, out: Any, to: int) -> int:
    here, there = np.uintp(begin), np.uintp(to)
    for place in range(np.uintp(end - begin)):
        out[there + place] = data[here + place]
    return to + end - begin


@compiled
def _text(data: Any, at: int, end: int, out: Any, to: int) -> tuple[int, int]:
    """Copy the text whose quote stands before `at`; the places behind it and behind its copy, or -1."""
    behind = past_text(data, at, end)
    if behind < 0:
        return -1, to
    return behind, _copied(data, at, behind - 1, out, to)


@compiled
def gather(data: Any, spans: Any, out: Any) -> None:
    """Copy stretches of some bytes one behind the other; `spans` of shape (2, stretches) say where each begins and ends."""
    to = 0
    for place in range(spans.shape[1]):
        to = _copied(data, spans[0, place], spans[1, place], out, to)


@compiled
def shorten(data: Any, spans: Any, marks: Any, head: Any, out: Any) -> int:
    """Of rows copy a new head, the id, and what stands from the price on; how many bytes that is.

    Args:
        data: where the rows are.
        spans: shape (2, rows): where each begins and ends.
        marks: as `transcode` makes them.
        head: what a row begins with.
        out: with room for them all.
    """
    to = 0
    for place in range(spans.shape[1]):
        begin = spans[0, place]
        to = _copied(head, 0, len(head), out, to)
        to = _copied(data, begin + marks[ID_BEGIN, place], begin + marks[ID_END, place], out, to)
        to = _copied(data, begin + marks[PRICE_BEGIN, place], spans[1, place], out, to)
    return to


@compiled
def transcode(
    data: Any,
    records: Any,
    keys: Any,
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
    tail: Any,
    rows: Any,
    row_spans: Any,
    marks: Any,
    history: Any,
    history_spans: Any,
) -> None:
    """Fill `rows` and `history` with rows; a record that is not plain is left to whoever decodes it, and has none.

    Args:
        data: where the records and their keys lie.
        records: shape (2, records): where each begins, and the place behind it.
        keys: the same of the records' keys.
        offsets: of each record in its partition, the last value of its row but for the tail.
        names: this and the next seven are `connectors.records.plain.LAYOUT`.
        special: the fields id, cause, price, previous price and content hash, and the word of a new stone.
        history_fields: the fields of a price-history row.
        tail: what every row ends with.
        rows: stones' rows, one behind the other.
        row_spans: shape (2, records): where each is; `NO_ROW` where there is none.
        marks: shape (`MARKS`, records).
        history: price-history rows, one behind the other.
        history_spans: shape (2, records): where each is; `NO_ROW` where the record gives none.
    """
    # One long function on purpose: cut into one a value it takes twice as long.
    fields = len(kinds)
    starts = np.empty(fields + 1, np.int64)
    numbers = np.zeros(fields, np.int64)
    as_float = np.empty(1, np.float64)
    as_bits = as_float.view(np.int64)
    identity, cause, price, previous, content_hash, new_word = special
    at_out, at_history = 0, 0
    for record in range(records.shape[1]):
        at, end = records[0, record], records[1, record]
        to, name_begin = _put(rows, at_out, fields + 2, 2), 0
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
                to = _put(rows, to, -1, 4)
            elif kind in (TEXT, WORD):
                if sign != QUOTE:
                    plain = False
                    break
                at, behind = _text(data, at + 1, end, rows, to + 4)
                if at < 0:
                    plain = False
                    break
                _put(rows, to, behind - to - 4, 4)
                if kind == WORD:
                    for word in range(word_ranges[field, 0], word_ranges[field, 1]):
                        word_begin = word_ends[word - 1] if word else 0
                        if word_ends[word] - word_begin == behind - to - 4 and same(
                            rows, to + 4, words, word_begin, word_ends[word]
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
                to = _put(rows, to, 1, 4)
                to = _put(rows, to, sign == T, 1)
                at += length
            elif kind == MOMENT:
                micros, at = moment(data, at) if at + LONGEST_MOMENT <= end and sign == QUOTE else (0, -1)
                if at < 0:
                    plain = False
                    break
                to = _put(rows, to, 8, 4)
                to = _put(rows, to, micros, 8)
            else:
                mantissa, decimals, at, negative = number(data, at, end)
                if (
                    at < 0
                    or (negative and limits[field] != ANY)
                    or (mantissa == 0 and limits[field] == POSITIVE)
                ):
                    plain = False
                    break
                to = _put(rows, to, 8, 4)
                if kind == INTEGER:
                    if decimals >= 0:
                        plain = False
                        break
                    numbers[field] = -mantissa if negative else mantissa
                    to = _put(rows, to, numbers[field], 8)
                else:
                    if mantissa >= EXACT_BELOW or decimals > EXACT_DIGITS:
                        plain = False
                        break
                    as_float[0] = mantissa / POWERS[max(decimals, 0)]
                    if negative:
                        as_float[0] = -as_float[0]
                    to = _put(rows, to, as_bits[0], 8)
        starts[fields] = to
        if plain and (at != end - 1 or data[at] != END):
            plain = False
        row_spans[0, record] = row_spans[1, record] = NO_ROW
        history_spans[0, record] = history_spans[1, record] = NO_ROW
        id_begin, id_end = starts[identity], starts[identity + 1]
        key_begin, key_end = keys[0, record], keys[1, record]
        if (
            plain
            and id_end - id_begin - 4 == key_end - key_begin
            and same(rows, id_begin + 4, data, key_begin, key_end)
        ):
            marks[ID_BEGIN, record] = id_begin - at_out
            marks[ID_END, record] = id_end - at_out
            marks[PRICE_BEGIN, record] = starts[price] - at_out
            marks[HASH_BEGIN, record] = starts[content_hash] - at_out
            marks[CAUSE, record] = numbers[cause]
            to = _put(rows, to, 8, 4)
            to = _put(rows, to, offsets[record], 8)
            to = _copied(tail, 0, len(tail), rows, to)
            row_spans[0, record], row_spans[1, record] = at_out, to
            at_out = to
            # A null previous price is no number, and so not the price either.
            if numbers[cause] == new_word or numbers[price] != numbers[previous]:
                history_spans[0, record] = at_history
                at_history = _put(history, at_history, len(history_fields), 2)
                for field in history_fields:
                    at_history = _copied(rows, starts[field], starts[field + 1], history, at_history)
                history_spans[1, record] = at_history
