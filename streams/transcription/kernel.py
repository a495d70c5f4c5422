"""Items as a vendor's page holds them to contents as they stand in canonical records, compiled to machine code.

It knows no words and reads no numbers but one: what a value's bytes become was learned from the mapping's own parsers
(`learned`), and a value whose bytes were not met before is handed back to be learned. Only texts that are unique to a
stone are judged here, and taken as they are or not at all. An item that holds anything out of the ordinary is left to
`streams.normalise`, which says what is wrong. Both ways give the same bytes.

A page must be plain JSON (`streams.normalise.is_plain`) that was found valid: nothing is read beyond a value's end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar, cast

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from runtime.kernels import njit

CONSTANT, LEARNED, TEXT, ADDRESS, INTEGER = range(5)
"""How a field is read: the same for every stone; by what was learned; as it is where its form allows it."""
NULL, FALSE_TRUE, WHOLE, DECIMAL, STRING = (1 << bit for bit in range(5))
"""Kinds of JSON values, to be added up."""
WAITING, DONE, LEFT = range(3)
"""What became of an item: to be tried (again, once its values are learned); written; left to the plain way."""

ABSENT: Final = -1
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST, _QUOTE, _COMMA, _COLON = (ord(sign) for sign in '{}[]",:')
_SPACE, _MINUS, _POINT, _ZERO, _N, _T, _F = (ord(sign) for sign in " -.0ntf")
_UPPER_E, _LOWER_E = (ord(sign) for sign in "Ee")
_HTTPS: Final = np.frombuffer(b"https://", np.uint8)
_SHORTEST_TEXT: Final = 5
"""Shorter texts may be a word for nothing: those are learned."""
_DIGITS: Final = 15
_DEEPEST: Final = 8
_FNV_BASIS: Final = np.uint64(0xCBF29CE484222325)
_FNV_PRIME: Final = np.uint64(0x100000001B3)

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


class Plan(NamedTuple):
    """A mapping's table and its vendor's item, as arrays.

    Attributes:
        keys: the keys of every struct inside an item, one behind the other, with their `key_ends`.
        key_ranges: first key of each struct, and the one behind its last; struct 0 is the item itself.
        key_struct: the struct that is a key's value, or `ABSENT`.
        key_kinds: the kinds of values a key may have.
        key_needed: whether an item without it is left.
        heads: what stands before each field's value in a content, with `head_ends`.
        kinds: how each field is read; `limits` are its lowest and highest number, or longest text.
        sources: each field's first source and the one behind its last; a source is the key in `source_keys`.
        constants: the values, heads included, of constant fields, with `constant_ends` by field.
        price: the field whose number is handed out; `identity` the field that is the stone's id.
        prefix: what the stone's id begins with here.
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
    sources: Places
    source_keys: Places
    constants: Bytes
    constant_ends: Places
    price: int
    identity: int
    prefix: Bytes


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
        states: of each item; only those that are waiting are looked at.
        contents: the contents of the items that are done, in any order; `spans` is where each begins and ends.
        ids: where each stone's id begins and ends within `contents`.
        prices: the number in the price's field.
        entries: which entry gave each learned field, `ABSENT` for the others; a row an item.
        asked: source, first and last place of values that are to be learned.
        counts: how many those are, and how much of `contents` is used.
    """

    states: Places
    contents: Bytes
    spans: Places
    ids: Places
    prices: Places
    entries: NDArray[np.int32]
    asked: Places
    counts: Places


def _compiled(function: FunctionT) -> FunctionT:
    """To machine code at the first call (seconds), and kept in the user's cache."""
    return cast(FunctionT, njit(cache=True, nogil=True)(function))


def hash_of(source: int, value: bytes) -> int:
    """The hash under which a value of a source is found (FNV-1a, 64 bits)."""
    found = int(_FNV_BASIS) ^ source
    for sign in value:
        found = ((found ^ sign) * int(_FNV_PRIME)) % (1 << 64)
    return found


@intrinsic  # type: ignore[untyped-decorator]
def _move(typing: Any, out: Any, to: Any, source: Any, begin: Any, count: Any) -> Any:
    """`memcpy`: a loop over bytes takes several times as long, for the compiler cannot know that they do not overlap."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to_array = context.make_array(signature.args[0])(context, builder, arguments[0])
        from_array = context.make_array(signature.args[2])(context, builder, arguments[2])
        behind, before = (
            builder.gep(array.data, [place])
            for array, place in ((to_array, arguments[1]), (from_array, arguments[3]))
        )
        cgutils.raw_memcpy(builder, behind, before, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.int64, source, types.int64, types.int64), build


@_compiled
def _copy(source: Any, begin: int, end: int, out: Any, to: int) -> int:
    _move(out, to, source, begin, end - begin)
    return to + end - begin


@_compiled
def _same(data: Any, at: int, other: Any, begin: int, end: int) -> bool:
    for place in range(end - begin):  # noqa: SIM110 - the compiler has no generators
        if data[at + place] != other[begin + place]:
            return False
    return True


@_compiled
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
    found = _FNV_BASIS ^ np.uint64(source)
    for place in range(begin, end):
        found = (found ^ np.uint64(data[place])) * _FNV_PRIME
    mask = np.uint64(len(slots) - 1)
    slot = found & mask
    while True:
        entry = slots[slot]
        if entry < 0:
            return ABSENT
        if hashes[entry] == found and sources[entry] == source:
            value_begin = value_ends[entry - 1] if entry else 0
            if value_ends[entry] - value_begin == end - begin and _same(
                data, begin, values, value_begin, value_begin + end - begin
            ):
                return int(entry)
        slot = (slot + np.uint64(1)) & mask


@_compiled
def _value_end(data: Any, at: int) -> int:
    """Behind the value that begins here, whatever it is."""
    depth = 0
    while True:
        sign = data[at]
        if sign == _QUOTE:
            at += 1
            while data[at] != _QUOTE:
                at += 1
        elif sign in (_OPEN, _OPEN_LIST):
            depth += 1
        elif sign in (_CLOSE, _CLOSE_LIST):
            depth -= 1
        elif depth == 0:
            while data[at] not in (_COMMA, _CLOSE, _CLOSE_LIST) and data[at] > _SPACE:
                at += 1
            return at
        at += 1
        if depth == 0:
            return at


@_compiled
def _kind(data: Any, begin: int, end: int) -> int:
    sign = data[begin]
    if sign == _QUOTE:
        return STRING
    if sign == _N:
        return NULL
    if sign in (_T, _F):
        return FALSE_TRUE
    for place in range(begin, end):
        if data[place] in (_POINT, _LOWER_E, _UPPER_E):
            return DECIMAL
    return WHOLE


@_compiled
def _read(data: Any, at: int, plan: Any, begins: Any, ends: Any) -> bool:
    """Note where the value of each key stands, `ABSENT` where there is none; false for an item that is to be left."""
    begins[:] = ABSENT
    if data[at] != _OPEN:
        return False
    structs = np.empty(_DEEPEST, np.int64)
    depth, structs[0], key = 0, 0, -1
    at += 1
    while True:
        sign = data[at]
        if sign <= _SPACE or sign == _COMMA:
            at += 1
            continue
        if sign == _CLOSE:
            at += 1
            depth -= 1
            if depth < 0:
                break
            continue
        name, at = at + 1, at + 1
        while data[at] != _QUOTE:
            at += 1
        name_end, at = at, at + 1
        while data[at] <= _SPACE or data[at] == _COLON:
            at += 1
        # Keys come in the order in which they were asked for.
        first, behind = plan.key_ranges[structs[depth], 0], plan.key_ranges[structs[depth], 1]
        key = key + 1 if first <= key + 1 < behind else first
        for _ in range(behind - first):
            key_begin = plan.key_ends[key - 1] if key else 0
            if plan.key_ends[key] - key_begin == name_end - name and _same(
                data, name, plan.keys, key_begin, plan.key_ends[key]
            ):
                break
            key = key + 1 if key + 1 < behind else first
        else:
            at = _value_end(data, at)
            continue
        if begins[key] != ABSENT:
            return False
        begins[key] = at
        if plan.key_struct[key] != ABSENT and data[at] == _OPEN:
            depth += 1
            if depth == _DEEPEST:
                return False
            structs[depth] = plan.key_struct[key]
            ends[key] = at
            at += 1
            key = -1
            continue
        ends[key] = _value_end(data, at)
        if not _kind(data, at, ends[key]) & plan.key_kinds[key] or data[at] in (_OPEN, _OPEN_LIST):
            return False
        at = ends[key]
    for needed in range(len(begins)):
        if plan.key_needed[needed] and (begins[needed] == ABSENT or data[begins[needed]] == _N):
            return False
    return True


@_compiled
def _fits(data: Any, begin: int, end: int, kind: int, low: int, high: int) -> bool:
    """Whether a value that is not null stands in a content as it stands here."""
    if kind == INTEGER:
        number, place = 0, begin + (data[begin] == _MINUS)
        if data[begin] == _QUOTE or end - place > _DIGITS or (data[place] == _ZERO and place > begin):
            return False
        for at in range(place, end):
            if not _ZERO <= data[at] <= _ZERO + 9:
                return False
            number = 10 * number + (data[at] - _ZERO)
        return bool(low <= (-number if place > begin else number) <= high)
    length = end - begin - 2
    if data[begin] != _QUOTE or length > high or data[begin + 1] == _SPACE or data[end - 2] == _SPACE:
        return False
    if kind == ADDRESS:
        return length >= len(_HTTPS) and _same(data, begin + 1, _HTTPS, 0, len(_HTTPS))
    return length >= _SHORTEST_TEXT


@_compiled
def transcribe(data: Any, item_ends: Any, plan: Any, table: Any, given: Any) -> None:
    """Fill `given` for the items that are waiting.

    Args:
        data: the items, one behind the other, with `item_ends`.
        plan: a `Plan`.
        table: a `Table`.
        given: a `Given`, its arrays as long as there are items, its contents long enough.
    """
    fields = len(plan.kinds)
    begins = np.empty(len(plan.key_kinds), np.int64)
    ends = np.empty(len(plan.key_kinds), np.int64)
    slots, hashes, sources, values, value_ends = table[0], table[1], table[2], table[4], table[5]
    out, to, asked = given.contents, given.counts[1], 0
    for item in range(len(item_ends)):
        if given.states[item] != WAITING:
            continue
        begin_out, state = to, DONE
        if not _read(data, item_ends[item - 1] if item else 0, plan, begins, ends):
            state = LEFT
        for field in range(fields):
            if state == LEFT:
                break
            given.entries[item, field] = ABSENT
            kind = plan.kinds[field]
            if kind == CONSTANT:
                begin = plan.constant_ends[field - 1] if field else 0
                to = _copy(plan.constants, begin, plan.constant_ends[field], out, to)
                continue
            entry, written = ABSENT, False
            for source in range(plan.sources[field, 0], plan.sources[field, 1]):
                key = plan.source_keys[source]
                begin, end = begins[key], ends[key]
                is_null = begin == ABSENT or data[begin] == _N
                if (
                    kind != LEARNED
                    and not is_null
                    and _fits(data, begin, end, kind, plan.limits[field, 0], plan.limits[field, 1])
                ):
                    head = plan.head_ends[field - 1] if field else 0
                    to = _copy(plan.heads, head, plan.head_ends[field], out, to)
                    if field == plan.identity:
                        out[to] = _QUOTE
                        given.ids[item, 0] = to + 1
                        to = _copy(plan.prefix, 0, len(plan.prefix), out, to + 1)
                        to = _copy(data, begin + 1, end, out, to)
                        given.ids[item, 1] = to - 1
                    else:
                        if field == plan.price:
                            number = 0
                            for place in range(begin, end):
                                number = 10 * number + (data[place] - _ZERO)
                            given.prices[item] = number
                        to = _copy(data, begin, end, out, to)
                    written = True
                    break
                if field in (plan.identity, plan.price):
                    state, written = LEFT, True
                    break
                entry = table.nulls[source]
                if not is_null:
                    entry = _find(slots, hashes, sources, values, value_ends, source, data, begin, end)
                if entry == ABSENT:
                    state = WAITING
                    if asked < len(given.asked):
                        given.asked[asked, 0] = source
                        given.asked[asked, 1] = ABSENT if is_null else begin
                        given.asked[asked, 2] = ABSENT if is_null else end
                        given.asked[asked, 3] = item
                        asked += 1
                    written = True
                    break
                if not table.is_null[entry]:
                    break
            if written:
                continue
            given.entries[item, field] = entry
            text = table.text_ends[entry - 1] if entry else 0
            to = _copy(table.texts, text, table.text_ends[entry], out, to)
        if state == DONE:
            out[to] = _CLOSE
            to += 1
        else:
            to = begin_out
        given.states[item] = state
        given.spans[item, 0], given.spans[item, 1] = begin_out, to
    given.counts[0], given.counts[1] = asked, to
