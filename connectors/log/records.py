"""Records as they lie in their batches: where keys and values are is found in machine code, and nothing is copied."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import getrefcount
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cramjam
import numpy as np
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from numpy.typing import NDArray

from connectors.log import kernels
from connectors.log.kernels import NULL
from schemas.errors import Fatal

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
"""Base offset, length of what follows, leader's epoch, format, checksum, attributes, last offset's distance, two times, producer,
its epoch, sequence, and the number of records."""
_FORMAT: Final = 2
_BEHIND_LENGTH: Final = 12
_COMPRESSION: Final = 7
_APPENDED: Final = 8
_CONTROL: Final = 32
_DECODERS: Final = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
_INTO: Final = {3: cramjam.lz4.decompress_into, 4: cramjam.zstd.decompress_into}
_RATIO: Final = 16
"""So much larger than compressed a batch is thought to be at most; what it does not need of that costs nothing."""
_FIRST_SLOTS: Final = 32
_ROOM: Final = 64
_LENT: Final = 2
"""One is worked on while the next one is read."""
_UNUSED: Final = 2
"""References to what nobody else holds: the list's, and that of the call that counts them."""

Spans = NDArray[np.int64]
"""Shape (2, records): where each begins and ends; twice `NULL` for a null."""


class Batch(NamedTuple):
    """One batch of a partition, still compressed.

    Attributes:
        slot: the partition.
        base: the first offset.
        behind: the offset behind the last one, whether compaction left that record or not.
        size: how many records it has.
        at_ms: when the first of them was written, milliseconds since 1970; each says how long after that it was.
        appended: whether the broker wrote them, all at `at_ms`.
        compression: its number, 0 for none.
        payload: the records.
    """

    slot: int
    base: int
    behind: int
    size: int
    at_ms: int
    appended: bool
    compression: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one topic, in log order within each partition.

    Attributes:
        data: where all that follows lies.
        slots: the partition of each.
        offsets: its place there.
        times: when it was written, milliseconds since 1970.
        keys: where they are.
        values: the same.
        headers: where the number of each one's headers is.
    """

    data: NDArray[np.uint8]
    slots: NDArray[np.int16]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64]
    keys: Spans
    values: Spans
    headers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def key(self, place: int) -> bytes:
        """One key; none is as good as an empty one."""
        return self.data[max(0, self.keys[0, place]) : max(0, self.keys[1, place])].tobytes()

    def all_keys(self) -> list[bytes]:
        """All keys, in order."""
        data = self.data.data
        return [bytes(data[max(0, begin) : max(0, end)]) for begin, end in self.keys.T.tolist()]

    def value(self, place: int) -> bytes | None:
        """One value; None is a null."""
        begin, end = self.values[:, place].tolist()
        return None if begin == NULL else self.data[begin:end].tobytes()

    def key_ends_with(self, sign: int) -> NDArray[np.bool_]:
        """Of each record whether its key's last byte is this one."""
        begins, ends = self.keys
        found: NDArray[np.bool_] = ends > begins
        found[found] = self.data[ends[found] - 1] == sign
        return found

    def all_headers(self) -> Iterator[list[tuple[str, bytes | None]]]:
        """The headers of each record that has any."""
        return map(self.headers_of, np.flatnonzero(self.data[self.headers]).tolist())

    def headers_of(self, place: int) -> list[tuple[str, bytes | None]]:
        """One record's headers."""
        data = self.data.data
        count, at = _number(data, int(self.headers[place]))
        found = []
        for _ in range(count):
            name, at = _bytes(data, at)
            value, at = _bytes(data, at)
            found.append(((name or b"").decode(), value))
        return found


def _number(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
        shift += 7


def _bytes(data: memoryview, at: int) -> tuple[bytes | None, int]:
    length, at = _number(data, at)
    return (None, at) if length < 0 else (bytes(data[at : at + length]), at + length)


def batches(slot: int, fetched: bytes) -> list[Batch]:
    """The whole batches of what a fetch gave of a partition; its last one is often cut off.

    Raises:
        Fatal: a batch is of a form that no broker has written since 2017.
    """
    found, data, at = list[Batch](), memoryview(fetched), 0
    while at + _HEAD.size <= len(data):
        base, length, _, form, _, attributes, distance, first_ms, last_ms, *_, count = _HEAD.unpack_from(
            data, at
        )
        end = at + _BEHIND_LENGTH + length
        if form != _FORMAT:
            raise Fatal(f"partition {slot} holds a batch of format {form} at offset {base}")
        if end > len(data):
            break
        shown = 0 if attributes & _CONTROL else count
        appended = bool(attributes & _APPENDED)
        times = last_ms if appended else first_ms, appended
        payload = data[at + _HEAD.size : end]
        found.append(
            Batch(slot, base, base + distance + 1, shown, *times, attributes & _COMPRESSION, payload)
        )
        at = end
    return found


class Room:
    """Memory to read batches into, the same again once nobody holds what was read: what the system gives it clears first."""

    def __init__(self) -> None:
        self._lent: list[NDArray[np.uint8]] = []

    def of(self, size: int) -> NDArray[np.uint8]:
        """So many bytes or more, with anything in them."""
        for place in range(len(self._lent)):
            if getrefcount(self._lent[place]) == _UNUSED and len(self._lent[place]) >= size:
                return self._lent[place]
        self._lent = [*self._lent[-_LENT + 1 :], np.empty(1 << (size - 1).bit_length(), np.uint8)]
        return self._lent[-1]


def read(
    some: Sequence[Batch],
    low: dict[int, int],
    behind: dict[int, int] | None = None,
    room: Room | None = None,
) -> Records:
    """The records of batches whose offsets are in [low, behind) of their partition.

    Args:
        some: the batches.
        low: by partition.
        behind: by partition, none where there is no such limit.
        room: to read them into; memory of their own without one.

    Raises:
        Fatal: a batch is damaged.
    """
    data, ends = _decompressed(some, room or Room())
    count = sum(batch.size for batch in some)
    slots, offsets, times = np.empty(count, np.int16), np.empty(count, np.int64), np.empty(count, np.int64)
    keys, values = np.empty((2, count), np.int64), np.empty((2, count), np.int64)
    headers = np.empty(count, np.int64)
    begin = found = 0
    for batch, end in zip(some, ends, strict=True):
        limits = low[batch.slot], (behind or {}).get(batch.slot, batch.behind)
        told = batch.size, batch.base, batch.at_ms, batch.appended
        more = kernels.split(
            *(data, begin, end, *told, *limits, offsets, times, keys, values, headers, found)
        )
        if more < 0:
            raise Fatal(f"partition {batch.slot} holds a damaged batch at offset {batch.base}")
        slots[found : found + more] = batch.slot
        begin, found = end, found + more
    return Records(
        *(data, slots[:found], offsets[:found], times[:found]),
        *(np.ascontiguousarray(keys[:, :found]), np.ascontiguousarray(values[:, :found]), headers[:found]),
    )


def _decompressed(some: Sequence[Batch], room: Room) -> tuple[NDArray[np.uint8], list[int]]:
    """The payloads, one behind the other, and where each ends."""
    size = sum(len(batch.payload) * (_RATIO if batch.compression else 1) for batch in some)
    data, at, ends = room.of(size), 0, list[int]()
    for batch in some:
        try:
            at += _INTO[batch.compression](batch.payload, data.data[at:])
        except (KeyError, cramjam.DecompressionError):
            payload = _DECODERS[batch.compression](batch.payload) if batch.compression else batch.payload
            if at + len(payload) > len(data):
                data = np.concatenate([data[:at], np.empty(len(payload) + size, np.uint8)])
            data[at : at + len(payload)] = np.frombuffer(payload, np.uint8)
            at += len(payload)
        ends.append(at)
    # Kernels are compiled once for all bytes, and those of a `bytes` may not be written either.
    data = data[:at]
    data.flags.writeable = False
    return data, ends


def batch_of(
    records: Iterable[tuple[bytes | None, bytes | None]],
    slot: int = 0,
    first: int = 0,
    at_ms: int = 0,
    headers: Mapping[int, list[tuple[str, bytes | None]]] = MappingProxyType({}),
) -> Batch:
    """Keys and values as a batch of a partition, from the offset `first` on, all written at the same time.

    Args:
        records: key and value of each.
        slot, first, at_ms: of all.
        headers: by a record's place in the batch.
    """
    pairs = list(records)
    room = sum(len(part or b"") + _ROOM for pair in pairs for part in pair)
    room += sum(len(name) + len(value or b"") + _ROOM for own in headers.values() for name, value in own)
    builder = DefaultRecordBatchBuilder(_FORMAT, 0, 0, -1, -1, -1, max(1, room))
    for offset, (key, value) in enumerate(pairs):
        builder.append(offset, at_ms, key, value, headers.get(offset, []))
    (batch,) = batches(slot, bytes(builder.build()))
    return batch._replace(base=first, behind=first + len(pairs))


def of(records: Iterable[tuple[bytes | None, bytes | None]], slot: int = 0, first: int = 0) -> Records:
    """Keys and values as records of a partition, from the offset `first` on."""
    return read([batch_of(records, slot, first)], {slot: first})


NO_RECORDS: Final = read([], {})


class Newest:
    """Tells the newest records of their keys, where the log is gone through from its end to its beginning.

    Of a key so many bits are kept that two that share them never meet: 128.
    """

    def __init__(self) -> None:
        self._table: NDArray[np.uint64] = np.zeros((_FIRST_SLOTS, 2), np.uint64)
        self._taken = 0

    def of(self, records: Records, places: NDArray[np.intp] | None = None) -> NDArray[np.bool_]:
        """Which of these records, or of those at some places, are the last of their keys, and have keys that no call before met."""
        keys = records.keys if places is None else records.keys.take(places, axis=1)
        self._reach(self._taken + keys.shape[1])
        newest = np.empty(keys.shape[1], np.bool_)
        self._taken += kernels.enter_newest(records.data, keys, self._table, newest)
        return newest

    def before(self, records: Records, failed: Iterable[int]) -> NDArray[np.intp]:
        """The record of the same key before each of these, which cannot be read; where there is none, an older piece of the log may have it."""
        found = []
        for place in failed:
            key = records.key(place)
            before = next((other for other in range(place - 1, -1, -1) if records.key(other) == key), None)
            if before is None:
                self.forget(records, place)
            else:
                found.append(before)
        return np.array(found, dtype=np.intp)

    def forget(self, records: Records, place: int) -> None:
        """Take it that the key of this record was never met."""
        begin, end = records.keys[:, place].tolist()
        kernels.forget(records.data, begin, end, self._table)

    def _reach(self, keys: int) -> None:
        slots = len(self._table)
        while 3 * keys > 2 * slots:
            slots *= 2
        if slots > len(self._table):
            table: Any = np.zeros((slots, 2), np.uint64)
            kernels.enter_again(self._table, table)
            self._table = table
