"""Whole records as bytes, in files beside the memory: appended, read by place, reclaimed segment by segment.

The files are a cache of the canonical topic and hold nothing of their own: they are unlinked as soon as they are open,
so that no crash leaves them behind. The page cache keeps what is read often.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SEGMENT_BYTES: Final = 64 * 1024 * 1024
SEGMENT_SHIFT: Final = 32
"""A place shifted right by this is its segment."""

_MOST_AT_ONCE: Final = os.sysconf("SC_IOV_MAX")


@dataclass(slots=True)
class _Segment:
    file: int
    size: int = 0
    stale: int = 0


class BodyStore:
    """Bytes by place. A place is segment number and offset, packed in one integer.

    Args:
        folder: where the files are; it must exist. The system's temporary folder without one.
        segment_bytes: a segment is closed once it is larger.
    """

    def __init__(self, folder: Path | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: dict[int, _Segment] = {}
        self._next = 0
        weakref.finalize(self, _close_all, self._segments)
        self._head = self._open()

    @property
    def size(self) -> int:
        """Bytes on disk, stale ones too."""
        return sum(segment.size for segment in self._segments.values())

    def append(self, bodies: list[bytes], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep bodies of these lengths, each by itself or several in one; their places, in order.

        Raises:
            OSError: the disk is full.
        """
        if self._segments[self._head].size > self._segment_bytes:
            self._head = self._open()
        head, ends = self._segments[self._head], np.cumsum(lengths)
        places: NDArray[np.int64] = (self._head << SEGMENT_SHIFT) + head.size + ends - lengths
        for begin in range(0, len(bodies), _MOST_AT_ONCE):
            lot = bodies[begin : begin + _MOST_AT_ONCE]
            written = os.pwritev(head.file, lot, head.size)
            head.size += written
            if written < sum(map(len, lot)):
                # Only a full disk, which the next attempt tells, or a signal.
                self._append_rest(head, memoryview(b"".join(lot))[written:])
        return places

    @staticmethod
    def _append_rest(head: _Segment, rest: memoryview) -> None:
        while rest:
            written = os.pwrite(head.file, rest, head.size)
            head.size += written
            rest = rest[written:]

    def read(self, place: int, length: int) -> bytes:
        """The bytes kept at a place."""
        segment = self._segments[place >> SEGMENT_SHIFT]
        return os.pread(segment.file, length, place & ((1 << SEGMENT_SHIFT) - 1))

    def read_all(self, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
        """The bytes kept at many places, one behind the other in order; neighbours are read in one piece."""
        if not len(places):
            return b""
        begins = np.flatnonzero(np.r_[True, places[1:] != places[:-1] + lengths[:-1]])
        sizes = np.add.reduceat(lengths, begins)
        pieces = zip(places[begins].tolist(), sizes.tolist(), strict=True)
        return b"".join([self.read(place, size) for place, size in pieces])

    def drop(self, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Say that what is kept there is not needed any more."""
        of = places >> SEGMENT_SHIFT
        for number in np.unique(of).tolist():
            self._segments[number].stale += int(lengths[of == number].sum())

    def wasteful(self) -> int | None:
        """The closed segment of which most is stale, where that is all of it, or more than half of all of them is.

        Half of one alone is no reason: where all bodies are replaced in their order, its other half is stale soon.
        """
        closed = [segment for number, segment in self._segments.items() if number != self._head]
        if not closed:
            return None
        most = max(closed, key=lambda segment: segment.stale / segment.size)
        stale, size = sum(segment.stale for segment in closed), sum(segment.size for segment in closed)
        if most.stale < most.size and 2 * stale <= size:
            return None
        return next(number for number, segment in self._segments.items() if segment is most)

    def release(self, segment: int) -> None:
        """Give a segment's space back; nothing in it may be read any more."""
        os.close(self._segments.pop(segment).file)

    def _open(self) -> int:
        number = self._next
        self._next += 1
        with tempfile.TemporaryFile(dir=self._folder, buffering=0) as file:
            self._segments[number] = _Segment(os.dup(file.fileno()))
        return number


def _close_all(segments: dict[int, _Segment]) -> None:
    for segment in segments.values():
        os.close(segment.file)
