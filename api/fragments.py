"""Canonical records by row, in mapped files beside the memory, laid out so that an item is one slice of them.

A record stands behind a header that says where its public stretch begins and ends (`schemas.stone`), so that a page is
a join of slices and nothing is searched or decoded. The files only grow: what was written stays where it is until its
segment is released, and therefore a snapshot of the rows' places needs no copy of the records.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.kernels import pages
from schemas.stone import public_borders

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""A segment is closed once the next records do not fit; one record larger than this gets a segment of its own."""

NOWHERE: Final = -1
"""The place of a row without a record."""

_SHIFT: Final = 32
_OFFSET: Final = (1 << _SHIFT) - 1
_HEADER: Final = struct.Struct("<IIII")
assert _HEADER.size == pages.HEADER_BYTES
_MOVED_AT_ONCE: Final = 400
_NAME: Final = "records-{:06}"
_PATTERN: Final = "records-*"
_BEHIND_COST: Final = b',"offer_id":'
_PROVENANCE: Final = np.frombuffer(b',"seq":', np.uint8)

_WRITTEN: Final = "written"
_MOVED: Final = "moved"

Rows = NDArray[np.intp]
Places = NDArray[np.int64]
"""File number and offset of each record, packed in one integer."""
Spans = NDArray[np.int64]
"""Shape (2, records): where each begins and ends."""


@dataclass(frozen=True, slots=True)
class Framed:
    """Canonical records, each behind its header, one behind the other.

    Attributes:
        data: the bytes.
        ends: shape (records + 1,): where the first begins, and where each ends.
    """

    data: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[bytes]:
        """The records without their headers."""
        for begin, end in pairwise(self.ends.tolist()):
            yield self.data[begin + _HEADER.size : end].tobytes()

    def part(self, begin: int, end: int) -> Framed:
        """Some of the records."""
        return Framed(self.data, self.ends[begin : end + 1])

    def beside(self, others: Framed) -> Framed:
        """These records and others behind them."""
        mine, theirs = (part.data[part.ends[0] : part.ends[-1]] for part in (self, others))
        lengths = np.concatenate([np.diff(self.ends), np.diff(others.ends)])
        return Framed(np.concatenate([mine, theirs]), np.concatenate([[0], np.cumsum(lengths)]))


@dataclass(frozen=True, slots=True)
class Compared:
    """Some records beside those that are kept.

    Attributes:
        rows: where those are, -1 for none.
        common: what each has in common with it, as `api.engine.kernels.pages` numbers it: `OTHER`, `PRICED` (all that
            stands before the price) or `SHOWN` (all that a search or an item could show).
        borders: of those that are kept, shape (3, records): where the public stretch begins and ends and the price stands.
    """

    rows: NDArray[np.int64]
    common: NDArray[np.int8]
    borders: NDArray[np.int64]


@dataclass(slots=True)
class _Segment:
    """One file; of its `records` so many are `stale`, counted without looking at them: that would be a page each.

    Of `awaited` ones it is not known yet which rows they are for.
    """

    file: int
    map: mmap.mmap
    path: Path | None
    size: int = 0
    records: int = 0
    stale: int = 0
    awaited: int = 0
    synced: int = 0


class Fragments:
    """The record of each row. One thread owns an instance; another may `write` meanwhile, others read while nobody writes.

    Args:
        folder: where the files are kept, for a snapshot to name them; without one they are temporary and unlinked.
        segment_bytes: size of one file.
    """

    def __init__(self, folder: Path | None = None, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segments: dict[int, _Segment] = {}
        self._places: Places = np.full(1024, NOWHERE, dtype=np.int64)
        # Of the files' mappings, by number; 0 for those that are no more.
        self._addresses: NDArray[np.int64] = np.zeros(64, dtype=np.int64)
        self._sizes: NDArray[np.int64] = np.zeros(64, dtype=np.int64)
        self._moving: tuple[int, Rows] | None = None
        # A snapshot may still need what lies in the folder: nothing there is written over.
        self._next = 1 + max(map(_number_of, folder.glob(_PATTERN)), default=-1) if folder else 0
        # What is written and what is moved go into files of their own, so that neither thread waits for the other.
        self._heads: dict[str, int | None] = {_WRITTEN: None, _MOVED: None}
        self._lock = Lock()
        weakref.finalize(self, _close_all, self._segments)

    @property
    def bytes_kept(self) -> int:
        """Bytes in the files, stale ones too."""
        return sum(segment.size for segment in list(self._segments.values()))

    def put(self, rows: Rows, framed: Framed) -> None:
        """Keep the records of these rows, in the same order; each row once.

        Raises:
            OSError: the disk is full.
        """
        self.place(rows, self.write(framed))

    def write(self, framed: Framed) -> Places:
        """Write records; where they are, to be told to `place`. In any thread, one at a time.

        Raises:
            OSError: the disk is full.
        """
        return self._append(framed, _WRITTEN)

    def place(self, rows: Rows, places: Places) -> None:
        """Let these rows, each named once, have the records written at these places."""
        if len(rows):
            self._reach(int(rows.max()) + 1)
            self._drop(rows)
            self._places[rows] = places
            for number, count in _counted(places):
                self._segments[number].awaited -= count

    def drop(self, rows: Rows) -> None:
        """Forget the records of these rows."""
        self._drop(rows)
        self._places[rows[rows < len(self._places)]] = NOWHERE

    def record(self, row: int) -> bytes:
        """The whole record of a row that has one."""
        return self._framed(row)[_HEADER.size :]

    def compare(self, rows: NDArray[np.int64], data: NDArray[np.uint8], records: Spans) -> Compared:
        """What records have in common with those that are kept of their rows; -1 for a row where none is."""
        compared = Compared(rows, np.empty(len(rows), np.int8), np.empty((3, len(rows)), np.int64))
        kept = (self._places, self._addresses, self._sizes)
        pages.compare(data, records, rows, *kept, _PROVENANCE, compared.common, compared.borders)
        return compared

    def items(self, rows: Iterable[int], *, with_cost: bool = False) -> list[bytes]:
        """The item of each row as JSON without its braces, e.g. `"id":"…",…`."""
        segments, read = self._segments, _HEADER.unpack_from
        found: list[bytes] = []
        for place in self._places[list(rows)].tolist():
            data = segments[place >> _SHIFT].map
            offset = place & _OFFSET
            _, begin, end, _ = read(data, offset)
            offset += _HEADER.size
            item = data[offset + begin : offset + end]
            if with_cost:
                # The cost stands first in a record.
                item = data[offset + 1 : data.find(_BEHIND_COST, offset)] + b"," + item
            found.append(item)
        return found

    def array(self, rows: Sequence[int]) -> memoryview:
        """The items of rows as one JSON array of UTF-8. Raises `KeyError` when a row has none."""
        found = pages.items(np.array(rows, dtype=np.int64), self._places, self._addresses, self._sizes)
        if not len(found):
            raise KeyError(f"no record of one of the rows {list(rows)}")
        text: memoryview = found.data
        return text

    def records(self) -> Iterator[bytes]:
        """Every row's record as it is at this call, whatever is put or moved while they are read."""
        places = self._places[self._places != NOWHERE]
        # What was written stays where it is, and a released segment goes with the last reader of its mapping.
        maps = {number: segment.map for number, segment in self._segments.items()}
        return (_record(maps[place >> _SHIFT], place & _OFFSET) for place in map(int, places))

    def reclaim(self) -> None:
        """Move a few records out of a segment that is mostly stale; a whole one would hold up the event loop."""
        if self._moving is None:
            wasteful = self._wasteful()
            if wasteful is None:
                return
            held = (self._places >> _SHIFT == wasteful) & (self._places != NOWHERE)
            self._moving = wasteful, np.flatnonzero(held)
        segment, rows = self._moving
        step, rest = rows[:_MOVED_AT_ONCE], rows[_MOVED_AT_ONCE:]
        # Since they were listed, some may have been overwritten or dropped.
        here = step[(self._places[step] >> _SHIFT == segment) & (self._places[step] != NOWHERE)]
        if len(here):
            self.place(here, self._append(_joined([self._framed(row) for row in here.tolist()]), _MOVED))
        self._moving = (segment, rest) if len(rest) else None
        if self._moving is None:
            self._release(segment)

    def renumber(self, old_rows: Rows) -> None:
        """Give the rows new numbers: row n is from now on what `old_rows[n]` was."""
        self._reach(int(old_rows.max()) + 1 if len(old_rows) else 0)
        self._places = self._places[old_rows]
        self._moving = None

    def places(self, rows: int) -> Places:
        """Where the records of the first rows are; what a snapshot keeps."""
        self._reach(rows)
        return self._places[:rows]

    def manifest(self) -> dict[str, int]:
        """Name and size of every file that the places refer to."""
        return {s.path.name: s.size for s in self._segments.values() if s.path is not None}

    def sync(self) -> None:
        """Bring the files to the disk. May run in another thread while records are added."""
        for segment in list(self._segments.values()):
            size = segment.size
            if segment.synced < size:
                os.fsync(segment.file)
                segment.synced = size

    def restore(self, places: Places, manifest: Mapping[str, int]) -> None:
        """Take over what a snapshot kept, in place of everything held; other files in the folder are removed.

        Raises:
            OSError: a file is missing or shorter than it was.
        """
        assert self._folder is not None
        for number in list(self._segments):
            self._release(number)
        for name, size in sorted(manifest.items()):
            self._reopen(self._folder / name, size)
        self._places = places.astype(np.int64)
        self._moving = None
        used, counts = np.unique(self._places[self._places != NOWHERE] >> _SHIFT, return_counts=True)
        if not set(used.tolist()) <= set(self._segments):
            raise OSError("the snapshot's places name a file that is not there")
        for number, count in zip(used.tolist(), counts.tolist(), strict=True):
            self._segments[number].records = count
        for number in self._segments.keys() - set(used.tolist()):
            # However many it has, all are stale; the file stays until no snapshot names it.
            self._segments[number].records = self._segments[number].stale = 1
        self._heads = dict.fromkeys(self._heads)
        self.tidy()

    def tidy(self) -> None:
        """Remove files that nothing refers to any more; only once the last snapshot does not need them."""
        if self._folder is not None:
            known = {segment.path for segment in self._segments.values()}
            for path in self._folder.glob(_PATTERN):
                if path not in known:
                    path.unlink(missing_ok=True)

    def touch(self) -> int:
        """Read every page of the files once, so that the first answers need not wait for the disk; bytes read."""
        read = 0
        for segment in list(self._segments.values()):
            # numpy lets other threads run while it adds; a loop over the mapping would not.
            pages = np.frombuffer(segment.map, dtype=np.uint8, count=segment.size)[:: mmap.PAGESIZE]
            int(np.add.reduce(pages, dtype=np.int64))
            read += segment.size
        return read

    def _framed(self, row: int) -> bytes:
        place = int(self._places[row])
        data, offset = self._segments[place >> _SHIFT].map, place & _OFFSET
        length, *_ = _HEADER.unpack_from(data, offset)
        return data[offset : offset + _HEADER.size + length]

    def _append(self, framed: Framed, pen: str) -> Places:
        places = np.empty(len(framed), dtype=np.int64)
        begins, ends = framed.ends[:-1], framed.ends[1:]
        start = 0
        while start < len(framed):
            number = self._heads[pen]
            if number is None:
                first = int(ends[start] - begins[start])
                number = self._heads[pen] = self._open(max(self._segment_bytes, first))
            head = self._segments[number]
            # Where the bytes from the first of these on would begin in the file.
            shift = head.size - int(begins[start])
            stop = start + int(np.searchsorted(ends[start:] + shift, len(head.map), side="right"))
            places[start:stop] = number << _SHIFT | (begins[start:stop] + shift)
            head.awaited += stop - start
            head.records += stop - start
            _write(head, framed.data[begins[start] : framed.ends[stop]])
            start = stop
            if start < len(framed):
                self._heads[pen] = None
        return places

    def _drop(self, rows: Rows) -> None:
        places = self._places[rows[rows < len(self._places)]]
        for number, count in _counted(places[places != NOWHERE]):
            self._segments[number].stale += count

    def _reach(self, rows: int) -> None:
        if rows > len(self._places):
            grown = np.full(max(rows, len(self._places) * 5 // 4), NOWHERE, dtype=np.int64)
            grown[: len(self._places)] = self._places
            self._places = grown

    def _wasteful(self) -> int | None:
        """The file of which most is stale, where that is all of it, or half of all files or more is.

        Half of one alone is no reason: where all records are replaced in their order, its other half is stale soon.
        """
        heads = self._heads.values()
        # In this order: the other thread may have opened it just now, and counts before it closes it.
        closed = [
            (segment.stale / segment.records, number, segment)
            for number, segment in list(self._segments.items())
            if number not in heads and not segment.awaited and segment.records
        ]
        if not closed:
            return None
        stale, records = sum(s.stale for _, _, s in closed), sum(s.records for _, _, s in closed)
        share, number, _ = max(closed, key=lambda entry: entry[0])
        return number if share == 1 or 2 * stale >= records else None

    def _open(self, size: int) -> int:
        with self._lock:
            number = self._next
            self._next += 1
            if self._folder is None:
                with tempfile.TemporaryFile(buffering=0) as file:
                    self._map(number, os.dup(file.fileno()), None, size)
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / _NAME.format(number)
                self._map(number, os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), path, size)
        return number

    def _reopen(self, path: Path, size: int) -> None:
        file = os.open(path, os.O_RDWR)
        held = os.fstat(file).st_size
        if held < size:
            os.close(file)
            raise OSError(f"{path.name} has {held} bytes; its snapshot needs {size}")
        number = _number_of(path)
        self._map(number, file, path, held)
        self._segments[number].size = self._segments[number].synced = size
        self._next = max(self._next, number + 1)

    def _map(self, number: int, file: int, path: Path | None, size: int) -> None:
        os.ftruncate(file, size)
        segment = _Segment(file, mmap.mmap(file, size, prot=mmap.PROT_READ), path)
        self._segments[number] = segment
        if number >= len(self._sizes):
            more = np.zeros(number + 1, dtype=np.int64)
            self._addresses = np.concatenate((self._addresses, more))
            self._sizes = np.concatenate((self._sizes, more))
        self._addresses[number] = np.frombuffer(segment.map, dtype=np.uint8).ctypes.data
        self._sizes[number] = size

    def _release(self, number: int) -> None:
        # The mapping goes with its last reader; the file, if it has a name, when no snapshot needs it (`tidy`).
        with self._lock:
            self._addresses[number] = self._sizes[number] = 0
        os.close(self._segments.pop(number).file)


def frame(data: NDArray[np.uint8], records: Spans, borders: Spans) -> Framed:
    """Canonical records behind their headers; `borders` as `api.values.read` gives them."""
    ends = np.zeros(records.shape[1] + 1, dtype=np.int64)
    np.cumsum(records[1] - records[0] + _HEADER.size, out=ends[1:])
    out = np.empty(int(ends[-1]), dtype=np.uint8)
    pages.frame(data, records, borders, out)
    return Framed(out, ends)


def framed(records: Sequence[bytes]) -> Framed:
    """The same of records as they are.

    Raises:
        ValueError: one has no public stretch, and therefore is no canonical record.
    """
    return _joined([_HEADER.pack(len(record), *public_borders(record), 0) + record for record in records])


def _joined(parts: Sequence[bytes]) -> Framed:
    ends = np.array([0, *accumulate(map(len, parts))], dtype=np.int64)
    return Framed(np.frombuffer(b"".join(parts), np.uint8), ends)


NOTHING: Final = _joined([])


def _record(data: mmap.mmap, offset: int) -> bytes:
    length, *_ = _HEADER.unpack_from(data, offset)
    return data[offset + _HEADER.size : offset + _HEADER.size + length]


def _counted(places: Places) -> list[tuple[int, int]]:
    """How many places are in each file, by its number."""
    numbers, counts = np.unique(places >> _SHIFT, return_counts=True)
    return list(zip(numbers.tolist(), counts.tolist(), strict=True))


def _number_of(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _write(segment: _Segment, data: NDArray[np.uint8]) -> None:
    left = data.data
    while left:
        written = os.pwrite(segment.file, left, segment.size)
        segment.size += written
        left = left[written:]


def _close_all(segments: dict[int, Any]) -> None:
    for segment in segments.values():
        os.close(segment.file)
