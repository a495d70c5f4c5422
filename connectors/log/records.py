"""Records as they lie in their batches: where keys and values are is found in machine code, and nothing is copied."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

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
_CONTROL: Final = 32
_DECODERS: Final = {1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode}
_FIRST_SLOTS: Final = 1024
_ROOM: Final = 64

Spans = NDArray[np.int64]
"""Shape (2, records): where each begins and ends; twice `NULL` for a null."""


class Batch(NamedTuple):
    """One batch of a partition, still compressed.

    Attributes:
        slot: the partition.
        base: the first offset.
        behind: the offset behind the last one, whether compaction left that record or not.
        size: how many records it has.
        compression: its number, 0 for none.
        payload: the records.
    """

    slot: int
    base: int
    behind: int
    size: int
    compression: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one topic, in log order within each partition.

    Attributes:
        data: where all that follows lies.
        slots: the partition of each.
        offsets: its place there.
        keys: where they are.
        values: the same.
        headers: where the number of each one's headers is.
    """

    data: NDArray[np.uint8]
    slots: NDArray[np.int16]
    offsets: NDArray[np.int64]
    keys: Spans
    values: Spans
    headers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets)

    def key(self, place: int) -> bytes:
        """One key; none is as good as an empty one."""
        return self.data[max(0, self.keys[0, place]) : max(0, self.keys[1, place])].tobytes()

    def value(self, place: int) -> bytes | None:
        """One value; None is a null."""
        begin, end = self.values[:, place].tolist()
        return None if begin == NULL else self.data[begin:end].tobytes()

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
        base, length, _, form, _, attributes, distance, *_, count = _HEAD.unpack_from(data, at)
        end = at + _BEHIND_LENGTH + length
        if form != _FORMAT:
            raise Fatal(f"partition {slot} holds a batch of format {form} at offset {base}")
        if end > len(data):
            break
        shown = 0 if attributes & _CONTROL else count
        payload = data[at + _HEAD.size : end]
        found.append(Batch(slot, base, base + distance + 1, shown, attributes & _COMPRESSION, payload))
        at = end
    return found


def read(some: Sequence[Batch], low: dict[int, int], behind: dict[int, int] | None = None) -> Records:
    """The records of batches whose offsets are in [low, behind) of their partition.

    Raises:
        Fatal: a batch is damaged.
    """
    pieces = [
        _DECODERS[batch.compression](batch.payload) if batch.compression else batch.payload for batch in some
    ]
    data = np.frombuffer(b"".join(pieces), np.uint8)
    room = sum(batch.size for batch in some)
    slots, offsets = np.empty(room, np.int16), np.empty(room, np.int64)
    keys, values = np.empty((2, room), np.int64), np.empty((2, room), np.int64)
    headers = np.empty(room, np.int64)
    begin = found = 0
    for batch, piece in zip(some, pieces, strict=True):
        end = begin + len(piece)
        limits = low[batch.slot], (behind or {}).get(batch.slot, batch.behind)
        more = kernels.split(
            *(data, begin, end, batch.size, batch.base, *limits, offsets, keys, values, headers, found)
        )
        if more < 0:
            raise Fatal(f"partition {batch.slot} holds a damaged batch at offset {batch.base}")
        slots[found : found + more] = batch.slot
        begin, found = end, found + more
    return Records(
        *(data, slots[:found], offsets[:found]),
        *(np.ascontiguousarray(keys[:, :found]), np.ascontiguousarray(values[:, :found]), headers[:found]),
    )


def of(records: Iterable[tuple[bytes | None, bytes | None]], slot: int = 0, first: int = 0) -> Records:
    """Keys and values as records of a partition, from the offset `first` on."""
    pairs = list(records)
    room = sum(len(part or b"") + _ROOM for pair in pairs for part in pair)
    builder = DefaultRecordBatchBuilder(_FORMAT, 0, 0, -1, -1, -1, max(1, room))
    for offset, (key, value) in enumerate(pairs):
        builder.append(offset, 0, key, value, [])
    (batch,) = batches(slot, bytes(builder.build()))
    return read([batch._replace(base=first, behind=first + len(pairs))], {slot: first})


NO_RECORDS: Final = read([], {})


class Newest:
    """Tells the newest records of their keys, where the log is gone through from its end to its beginning.

    Of a key so many bits are kept that two that share them never meet: 128.
    """

    def __init__(self) -> None:
        self._table: NDArray[np.uint64] = np.zeros((_FIRST_SLOTS, 2), np.uint64)
        self._taken = 0

    def of(self, records: Records) -> NDArray[np.bool_]:
        """Which of these records are the last of their keys, and have keys that no call before this one met."""
        self._reach(self._taken + len(records))
        newest = np.empty(len(records), np.bool_)
        self._taken += kernels.enter_newest(records.data, records.keys, self._table, newest)
        return newest

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
