"""Items as a vendor's page holds them to contents as they stand in canonical records, compiled to machine code.

It knows no vocabulary and reads no numbers but one: what a value's bytes become was learned from the mapping's own parsers
(`learned`), and a value whose bytes were not met before is handed back to be learned. Only texts that are unique to a
stone are judged here, and taken as they are or not at all. An item that holds anything out of the ordinary is left to
`streams.normalise`, which says what is wrong. Both ways give the same bytes.

A page must be plain (`streams.normalise.is_plain`). Its JSON is read by the grammar to the letter: so the items are found on
the way, and one that is not to the letter is no item.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.transcription.grammar import (
    ABSENT,
    CLOSE,
    CLOSE_LIST,
    COMMA,
    MINUS,
    OPEN,
    OPEN_LIST,
    POINT,
    QUOTE,
    SPACE,
    STRING,
    ZERO,
    N,
    behind_key,
    behind_scalar,
    behind_spaces,
    behind_value,
)
from streams.transcription.words import SLACK, compiled, copy, hash_of, quote, same

CONSTANT, LEARNED, TEXT, ADDRESS, INTEGER = range(5)
"""How a field is read: the same for every stone; by what was learned; as it is where its form allows it."""
WAITING, DONE, LEFT = range(3)
"""What became of an item: to be tried again, once its values are learned; written; left to the plain way."""

_NEW_LINE: Final = ord("\n")
_HTTPS: Final = np.frombuffer(b"https://" + bytes(SLACK), np.uint8)
_HTTPS_LENGTH: Final = len(b"https://")
_SHORTEST_TEXT: Final = 5
"""Shorter texts may be a word for nothing: those are learned."""
_DIGITS: Final = 15
_DEEPEST: Final = 8
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


class Plan(NamedTuple):
    """A mapping's table and its vendor's item, as arrays.

    Attributes:
        keys: the keys of every struct inside an item, quotes and colon included, one behind the other, with their `key_ends`.
        key_ranges: first key of each struct, and the one behind its last; struct 0 is the item itself.
        key_struct: the struct that is a key's value, or `ABSENT`.
        key_kinds: the kinds of values a key may have.
        key_needed: whether an item without it is left.
        heads: what stands before each field's value in a content, with `head_ends`.
        kinds: how each field is read; `limits` are its lowest and highest number, or longest text.
        decimals: how many a learned field that is a decimal number keeps, `ABSENT` for any other; its limits are in
            units of the last one, and such a number need not be learned.
        sources: each field's first source and the one behind its last; a source is the key in `source_keys`.
        constants: the values, heads included, of constant fields, with `constant_ends` by field.
        price: the field whose number is handed out; `identity` the field that is the stone's id.
        prefix: what the stone's id begins with here, `prefix_length` bytes.
    """

    keys: Bytes
    key_ends: Places
    key_ranges: Places
    key_struct: Places
    key_kinds: Places
    key_needed: NDArray[np.bool_]
    heads: Bytes
    head_ends: Places
    kinds: Places
    limits: Places
    decimals: Places
    sources: Places
    source_keys: Places
    constants: Bytes
    constant_ends: Places
    price: int
    identity: int
    prefix: Bytes
    prefix_length: int


class Table(NamedTuple):
    """What was learned: a hash table from source and value to what a content says, its head included.

    Attributes:
        slots: number of the entry, or `ABSENT`; a power of two of them.
        hashes: of each entry, likewise `sources`, and `is_null`: whether the next source is to be asked.
        values: the vendor's bytes, with `value_ends`; `texts` and `text_ends` what they become.
        nulls: the entry of no value, by source, or `ABSENT`.
    """

    slots: Places
    hashes: NDArray[np.uint64]
    sources: Places
    is_null: NDArray[np.bool_]
    values: Bytes
    value_ends: Places
    texts: Bytes
    text_ends: Places
    nulls: Places


class Given(NamedTuple):
    """What came of the items of a page, for one call to fill.

    Attributes:
        states: of each item; only those that wait are looked at.
        items: where each begins and ends.
        contents: the contents of the items that are done; `spans` is where each begins and ends.
        ids: the stones' ids, a line for each item that waited, empty where it is not done: a plain page has no line break
            within a value.
        prices: the number in the price's field.
        columns: the column of `entries` for each field, or `ABSENT` where nobody asks.
        entries: which entry gave a learned field; a row an item.
        asked: source, first and last place of values that are to be learned.
        counts: how many those are, how much of `ids` is used, and how much of `contents`: what is there stays.
    """

    states: Places
    items: Places
    contents: Bytes
    spans: Places
    ids: Bytes
    prices: Places
    columns: Places
    entries: NDArray[np.int32]
    asked: Places
    counts: Places


@compiled
def _find(
    slots: Any,
    hashes: Any,
    sources: Any,
    values: Any,
    value_ends: Any,
    source: int,
    data: Any,
    begin: int,
    end: int,
) -> int:
    """The entry of a value, or `ABSENT`."""
    found = hash_of(source, data, begin, end)
    mask = np.uint64(len(slots) - 1)
    slot = found & mask
    while True:
        entry = slots[slot]
        if entry < 0:
            return ABSENT
        if hashes[entry] == found and sources[entry] == source:
            value_begin = value_ends[entry - 1] if entry else 0
            if value_ends[entry] - value_begin == end - begin and same(
                data, begin, values, value_begin, end - begin
            ):
                return int(entry)
        slot = (slot + np.uint64(1)) & mask


@compiled
def enter(table: Any, first: int, behind: int) -> None:
    """Let entries of a `Table` that were written be found."""
    slots, hashes, sources, values, value_ends = table[0], table[1], table[2], table[4], table[5]
    mask = np.uint64(len(slots) - 1)
    for entry in range(first, behind):
        if table.nulls[sources[entry]] == entry:
            continue
        found = hash_of(sources[entry], values, value_ends[entry - 1] if entry else 0, value_ends[entry])
        hashes[entry] = found
        slot = found & mask
        while slots[slot] != ABSENT:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = entry


@compiled
def _key(data: Any, at: int, keys: Any, key_ends: Any, likely: int, first: int, behind: int) -> int:
    """The key that stands here, among those of a struct, or `ABSENT`; the likely one is looked at first."""
    key = likely
    length = quote(data, at + 1) + 1 - at
    for _ in range(behind - first):
        begin = key_ends[key - 1] if key else 0
        # All but the colon: there may be spaces before it.
        if key_ends[key] - 1 - begin == length and same(data, at, keys, begin, length):
            return key
        key = key + 1 if key + 1 < behind else first
    return ABSENT


@compiled
def _read(
    data: Any, size: int, at: int, plan: Any, begins: Any, ends: Any, structs: Any, last: Any
) -> tuple[int, bool]:
    """Note where the value of each key stands, `ABSENT` where there is none.

    `structs` and `last` are room for as many numbers as structs may lie within each other.

    Returns:
        The place behind the item, `ABSENT` where it is no struct as JSON's grammar has it; whether it is to be left.
    """
    keys, key_ends, key_ranges = plan.keys, plan.key_ends, plan.key_ranges
    key_struct, key_kinds, key_needed = plan.key_struct, plan.key_kinds, plan.key_needed
    begins[:] = ABSENT
    depth, structs[0], key, left = 0, 0, -1, False
    if data[at] != OPEN:
        return ABSENT, True
    at = behind_spaces(data, at + 1)
    is_empty = data[at] == CLOSE
    while True:
        if not is_empty:
            # Keys come in the order in which they were asked for, and mostly as they stand in the plan.
            first, behind = key_ranges[structs[depth], 0], key_ranges[structs[depth], 1]
            likely = key + 1 if first <= key + 1 < behind else first
            begin = key_ends[likely - 1] if likely else 0
            if likely < behind and same(data, at, keys, begin, key_ends[likely] - begin):
                key = likely
                at = behind_spaces(data, at + key_ends[likely] - begin)
            else:
                key_at = at
                at = behind_key(data, size, at)
                if at == ABSENT:
                    return ABSENT, True
                key = _key(data, key_at, keys, key_ends, likely, first, behind)
            if key == ABSENT:
                key = likely - 1
                at = behind_value(data, size, at)
                if at == ABSENT:
                    return ABSENT, True
            else:
                left |= begins[key] != ABSENT
                begins[key] = ends[key] = at
                sign, kind = data[at], STRING
                if sign == OPEN and key_struct[key] != ABSENT:
                    last[depth] = key
                    depth += 1
                    if depth == _DEEPEST:
                        return ABSENT, True
                    structs[depth] = key_struct[key]
                    at = behind_spaces(data, at + 1)
                    key, is_empty = -1, data[at] == CLOSE
                    continue
                if sign == QUOTE:
                    at = quote(data, at + 1) + 1
                elif sign in (OPEN, OPEN_LIST):
                    at, kind = behind_value(data, size, at), 0
                else:
                    at, kind = behind_scalar(data, at)
                if at == ABSENT or at > size:
                    return ABSENT, True
                left |= kind & key_kinds[key] == 0
                ends[key] = at
            at = behind_spaces(data, at)
            if data[at] == COMMA:
                at = behind_spaces(data, at + 1)
                continue
        if data[at] != CLOSE:
            return ABSENT, True
        at += 1
        depth -= 1
        if depth < 0:
            break
        # Behind a struct stands what may stand behind a value, and that is looked at here again.
        key, is_empty = last[depth], False
        at = behind_spaces(data, at)
        if data[at] == COMMA:
            at = behind_spaces(data, at + 1)
        else:
            is_empty = True
    for needed in range(len(begins)):
        if key_needed[needed] and (begins[needed] == ABSENT or data[begins[needed]] == N):
            left = True
    return at, left


@compiled
def _fits(data: Any, begin: int, end: int, kind: int, low: int, high: int) -> bool:
    """Whether a value that is not null stands in a content as it stands here."""
    if kind == INTEGER:
        number, place = 0, begin + (data[begin] == MINUS)
        if data[begin] == QUOTE or end - place > _DIGITS or (data[place] == ZERO and place > begin):
            return False
        for at in range(place, end):
            if not ZERO <= data[at] <= ZERO + 9:
                return False
            number = 10 * number + (data[at] - ZERO)
        return bool(low <= (-number if place > begin else number) <= high)
    length = end - begin - 2
    if data[begin] != QUOTE or length > high or data[begin + 1] == SPACE or data[end - 2] == SPACE:
        return False
    if kind == ADDRESS:
        return length >= _HTTPS_LENGTH and same(data, begin + 1, _HTTPS, 0, _HTTPS_LENGTH)
    return length >= _SHORTEST_TEXT


@compiled
def _decimal(data: Any, begin: int, end: int, decimals: int, low: int, high: int, out: Any, to: int) -> int:
    """Write a number, perhaps in quotes, as a content says it; the place behind it, or `ABSENT` where it may be another.

    That is one in plain digits from `low` to `high`, with no more decimals than are kept but zeros.
    """
    if data[begin] == QUOTE:
        begin, end = begin + 1, end - 1
    point = begin
    while point < end and data[point] != POINT:
        point += 1
    while end > point + 2 and data[end - 1] == ZERO:
        end -= 1
    kept = end - point - 1 if point < end else 0
    leading_zero = data[begin] == ZERO and point > begin + 1
    if (
        point == begin
        or end == point + 1
        or kept > decimals
        or end - begin > _DIGITS - decimals
        or leading_zero
    ):
        return ABSENT
    number = 0
    for at in range(begin, end):
        if at == point:
            continue
        if not ZERO <= data[at] <= ZERO + 9:
            return ABSENT
        number = 10 * number + (data[at] - ZERO)
    for _ in range(decimals - kept):
        number *= 10
    if not low <= number <= high:
        return ABSENT
    to = copy(data, begin, end, out, to)
    if kept == 0:
        out[to], out[to + 1] = POINT, ZERO
        to += 2
    return to


@compiled
def transcribe(data: Any, size: int, at: int, count: int, plan: Any, table: Any, given: Any) -> int:
    """Fill `given` for the items that wait.

    Args:
        data: the items, `size` bytes and then a quote and `SLACK`; `given.items` says where each stands.
        at: where the items are still to be found: there a list begins that holds nothing else; `ABSENT` otherwise.
        count: how many items there are, where they need not be found.
        plan: a `Plan`.
        table: a `Table`.
        given: a `Given`, its arrays as long as there are items, its contents long enough.

    Returns:
        How many items there are; `ABSENT` where they were not found, or are too many.
    """
    fields = len(plan.kinds)
    begins = np.empty(len(plan.key_kinds), np.int64)
    ends = np.empty(len(plan.key_kinds), np.int64)
    structs, last = np.empty(_DEEPEST, np.int64), np.empty(_DEEPEST, np.int64)
    slots, hashes, sources, values, value_ends = table[0], table[1], table[2], table[4], table[5]
    is_null, texts, text_ends, nulls = table.is_null, table.texts, table.text_ends, table.nulls
    kinds, limits, source_keys, field_sources = plan.kinds, plan.limits, plan.source_keys, plan.sources
    decimals = plan.decimals
    constants, constant_ends, heads, head_ends = (
        plan.constants,
        plan.constant_ends,
        plan.heads,
        plan.head_ends,
    )
    prefix, prefix_length = plan.prefix, plan.prefix_length
    columns, entries, spans = given.columns, given.entries, given.spans
    out, ids, to, to_id, asked = given.contents, given.ids, given.counts[2], 0, 0
    item, found = -1, at != ABSENT
    while True:
        item += 1
        if found:
            at = behind_spaces(data, at + 1)
            if item == len(given.states):
                return ABSENT
            given.items[item, 0] = at
        elif item == count:
            break
        elif given.states[item] != WAITING:
            continue
        begin_out, begin_id, state = to, to_id, DONE
        behind_item, left = _read(data, size, given.items[item, 0], plan, begins, ends, structs, last)
        if left:
            state = LEFT
        if found:
            if behind_item == ABSENT:
                return ABSENT
            given.items[item, 1] = behind_item
            at = behind_spaces(data, behind_item)
            if data[at] == CLOSE_LIST:
                count, found = item + 1, False
            elif data[at] != COMMA:
                return ABSENT
        for field in range(fields):
            if state == LEFT:
                break
            kind = kinds[field]
            if kind == CONSTANT:
                begin = constant_ends[field - 1] if field else 0
                to = copy(constants, begin, constant_ends[field], out, to)
                continue
            entry, written = ABSENT, False
            for source in range(field_sources[field, 0], field_sources[field, 1]):
                key = source_keys[source]
                begin, end = begins[key], ends[key]
                absent = begin == ABSENT or data[begin] == N
                if (
                    kind != LEARNED
                    and not absent
                    and _fits(data, begin, end, kind, limits[field, 0], limits[field, 1])
                ):
                    head = head_ends[field - 1] if field else 0
                    to = copy(heads, head, head_ends[field], out, to)
                    if field == plan.identity:
                        out[to] = QUOTE
                        begin_text = to + 1
                        to = copy(prefix, 0, prefix_length, out, begin_text)
                        to = copy(data, begin + 1, end, out, to)
                        to_id = copy(out, begin_text, to - 1, ids, to_id)
                    else:
                        if field == plan.price:
                            number = 0
                            for place in range(begin, end):
                                number = 10 * number + (data[place] - ZERO)
                            given.prices[item] = number
                        to = copy(data, begin, end, out, to)
                    written = True
                    break
                if field in (plan.identity, plan.price):
                    state, written = LEFT, True
                    break
                if decimals[field] != ABSENT and not absent and columns[field] == ABSENT:
                    head = head_ends[field - 1] if field else 0
                    behind = copy(heads, head, head_ends[field], out, to)
                    behind = _decimal(
                        *(data, begin, end, decimals[field], limits[field, 0], limits[field, 1]),
                        *(out, behind),
                    )
                    if behind != ABSENT:
                        to, written = behind, True
                        break
                entry = nulls[source]
                if not absent:
                    entry = _find(slots, hashes, sources, values, value_ends, source, data, begin, end)
                if entry == ABSENT:
                    state = WAITING
                    if asked < len(given.asked):
                        given.asked[asked, 0] = source
                        given.asked[asked, 1] = ABSENT if absent else begin
                        given.asked[asked, 2] = ABSENT if absent else end
                        given.asked[asked, 3] = item
                        asked += 1
                    written = True
                    break
                if not is_null[entry]:
                    break
            if written:
                continue
            if columns[field] != ABSENT:
                entries[item, columns[field]] = entry
            text = text_ends[entry - 1] if entry else 0
            to = copy(texts, text, text_ends[entry], out, to)
        if state == DONE:
            out[to] = CLOSE
            to += 1
        else:
            to, to_id = begin_out, begin_id
        ids[to_id] = _NEW_LINE
        to_id += 1
        spans[item, 0], spans[item, 1] = begin_out, to
        given.states[item] = state
    given.counts[0], given.counts[1], given.counts[2] = asked, to_id, to
    return count
