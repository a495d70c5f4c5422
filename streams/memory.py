"""What an owner knows of every stone: its version as columns, its record as bytes beside them.

Delivery reports and the tail of `diamonds.canonical` enter through one function, `Memory.observe`, which ignores any
offset not above the stone's. A later offset that carries a lower version (a paused process that woke up) does not
replace what is known; the stone is noted in `repairs`, and its owner appends what is known again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from threading import RLock
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from connectors.log.records import Records
from schemas.columns import NULL_CODE, NULL_INT, Columns
from schemas.errors import Invalid
from schemas.headers import from_headers
from schemas.stone import Bigint, Position, decode_position
from streams.bodies import SEGMENT_SHIFT, BodyStore
from streams.pages import UNREADABLE
from streams.transcription.decision import KNOWN, NUMBERS, RUN, SEQ
from streams.versions import Sheet, Version, read_version, retired, sheet_of, version_of
from streams.written import plain_versions

_BELOW_ALL: Final = -1
_COLON: Final = ord(":")

log = structlog.stdlib.get_logger(__name__)


class _NullHeaders(msgspec.Struct):
    seq: Bigint


class Held(NamedTuple):
    """Some stones in stock, an array each.

    Attributes:
        rows: of the memory.
        offsets: of their records.
        hashes: of their contents.
        records: their records, one behind the other.
        ends: where each of those ends.
    """

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    hashes: NDArray[np.int64]
    records: bytes
    ends: NDArray[np.int64]


_COLUMNS: Final = ("seq", "mapper_version", "rules_version", "price_cents", "raw_offset", "run", "feed")
_MOVED_AT_ONCE: Final = 2_000
_EXTRA: Final = ("hash", "updated_ms", "first_seen_s", "changed", "offset", "place", "length", "looked")
_TOLD: Final = (
    *("seq", "mapper_version", "rules_version", "hash", "price_cents", "updated_ms", "raw_offset"),
    *("first_seen_s", "changed"),
)
"""The columns that a version's `NUMBERS` go into, and (`_KNOWN`) those of `KNOWN`."""
_KNOWN: Final = (*_TOLD, "run", "length")


class Memory:
    """Every stone of the canonical topic, for whoever owns its feed now or next. Safe from any thread.

    Attributes:
        repairs: stones whose last record in the log is lower than what is known.
        positions: the last position of each feed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.repairs: set[str] = set()
        self.positions: dict[str, Position] = {}
        self._columns = Columns(_COLUMNS, _EXTRA)
        self._bodies = BodyStore(folder)
        self._leaving: tuple[int, NDArray[np.intp]] | None = None
        self._in_flight: Callable[[str], Version | None] = _nothing
        self._early: list[tuple[int, Version]] = []
        self._lock = RLock()

    def __len__(self) -> int:
        """Stones in stock: what was retired is known too."""
        with self._lock:
            return int(np.count_nonzero(self._columns["length"] > 0))

    def run_code(self, run: str | None) -> int:
        """The number that stands for a run's name in `known`."""
        with self._lock:
            return self._columns.codes["run"].add(run)

    def known(self, ids: Sequence[str | None]) -> NDArray[np.int64]:
        """What is known of each stone, a row of `KNOWN` in order; one of nulls for one that is not known, and for null."""
        with self._lock:
            rows = np.fromiter(map(self._columns.rows.get, ids, repeat(-1)), np.int64, len(ids))  # type: ignore[arg-type]
            known = np.empty((len(rows), len(KNOWN)), np.int64)
            found, arrays = rows >= 0, self._columns.arrays
            # A row that is none is the last one here: what it says is written over.
            for place, name in enumerate(_KNOWN) if found.any() else ():
                known[:, place] = arrays[name][rows]
            known[~found] = NULL_INT
            return known

    def known_of(self, version: Version) -> list[int]:
        """What would be known with this version: a row of `KNOWN`."""
        length = -1 if version.body is None else len(version.body)
        return [*(getattr(version, name) for name in NUMBERS), self.run_code(version.run), length]

    def body(self, stone_id: str) -> bytes | None:
        """The stone's whole record; null for one that is unknown or retired."""
        with self._lock:
            row = self._columns.rows.get(stone_id)
            return None if row is None else self._body(row)

    def latest(self, stone_id: str) -> Version | None:
        """The version that is known, whole."""
        with self._lock:
            known = self.known([stone_id])[0].tolist()
            if known[SEQ] == NULL_INT:
                return None
            run = self._columns.codes["run"].texts[known[RUN]]
            return version_of(stone_id, known[: len(NUMBERS)], run, self.body(stone_id))

    def pending_repairs(self, limit: int) -> list[str]:
        """At most `limit` of the stones whose last record in the log is lower than what is known."""
        with self._lock:
            return list(islice(self.repairs, limit))

    def rows_below_rules(self, feed: str, number: int) -> NDArray[np.int64]:
        """Rows of a feed's stones priced under a lower number that nobody has found to stay as they are under this one.

        For `versions`, and soon.
        """
        with self._lock:
            rows = self._rows_where(feed, "rules_version", number)
            below: NDArray[np.int64] = rows[self._columns["looked"][rows] < number]
            return below

    def rows_newer_than(self, feeds: Collection[str], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of stones in stock whose offset is above the one given for the row, or for which none is given."""
        with self._lock:
            known = self._columns["offset"]
            read = np.full(len(known), -1, dtype=np.int64)
            read[: min(len(offsets), len(known))] = offsets[: len(known)]
            codes = [code for feed in feeds if (code := self._columns.codes["feed"].find(feed)) is not None]
            in_stock = np.isin(self._columns["feed"], codes) & (self._columns["length"] > 0)
            return np.flatnonzero(in_stock & (known > read))

    def records(self, rows: NDArray[np.int64]) -> Held:
        """What is known of those in stock of these rows."""
        with self._lock:
            arrays = self._columns.arrays
            held = rows[arrays["length"][rows] > 0]
            lengths = arrays["length"][held]
            records = self._bodies.read_all(arrays["place"][held], lengths)
            return Held(held, arrays["offset"][held], arrays["hash"][held], records, np.cumsum(lengths))

    def standing(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Offset, rule number, content hash and the second they were first seen in these rows."""
        with self._lock:
            offset, rules, content_hash, first_seen_s = (
                self._columns.arrays[name][rows]
                for name in ("offset", "rules_version", "hash", "first_seen_s")
            )
            return offset, rules, content_hash, first_seen_s

    def still(
        self, ids: Sequence[str], rows: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.intp], Sheet]:
        """Of these stones, in these rows, the places of those whose version is still that of this offset, and those versions."""
        with self._lock:
            arrays, runs = self._columns.arrays, self._columns.codes["run"].texts
            there = np.flatnonzero((arrays["offset"][rows] == offsets) & (arrays["length"][rows] > 0))
            held = rows[there]
            lengths = arrays["length"][held]
            return there, Sheet(
                [ids[place] for place in there.tolist()],
                np.stack([arrays[name][held] for name in _TOLD], axis=1),
                [runs[code] for code in arrays["run"][held].tolist()],
                self._bodies.read_all(arrays["place"][held], lengths),
                np.cumsum(lengths),
            )

    def leave_as_they_are(self, rows: NDArray[np.int64], offsets: NDArray[np.int64], number: int) -> int:
        """Note that these versions say the same under this rule set; how many are still the last known of their stone."""
        with self._lock:
            still = rows[self._columns.arrays["offset"][rows] == offsets]
            self._columns.arrays["looked"][still] = number
            return len(still)

    def ids_below_seq(self, feed: str, seq: int) -> list[str]:
        """A feed's stones in stock whose last fact was granted before this."""
        with self._lock:
            rows = self._rows_where(feed, "seq", seq)
            return [version.id for version in self.versions(rows)]

    def versions(self, rows: NDArray[np.int64]) -> list[Version]:
        """The versions in these rows, whole; without those that have been retired."""
        with self._lock:
            bodies = map(self._body, rows.tolist())
            return [read_version(body) for body in bodies if body is not None]

    def _rows_where(self, feed: str, column: str, below: int) -> NDArray[np.int64]:
        with self._lock:
            code = self._columns.codes["feed"].find(feed)
            if code is None:
                return np.empty(0, dtype=np.int64)
            in_stock = (self._columns["feed"] == code) & (self._columns["length"] > 0)
            return np.flatnonzero(in_stock & (self._columns[column] < below))

    def expect(self, in_flight: Callable[[str], Version | None] | None) -> None:
        """Say how to ask for what this process has sent of a stone and not yet seen delivered: the tail need not take it in.

        Called with nothing once the delivery reports are in.
        """
        with self._lock:
            self._in_flight = in_flight or _nothing
            # What is not in flight any more has been remembered.
            self._early = [entry for entry in self._early if self._in_flight(entry[1].id) == entry[1]]

    def apply(self, records: Records, _reached: Mapping[int, int] | None = None) -> None:
        """The tail's entrance: records of the topic, those of a partition in log order."""
        with self._lock:
            ids = [key.decode(errors="replace") for key in records.all_keys()]
            fresh, positions = self._fresh(records, ids), records.key_ends_with(_COLON)
            for place in fresh[positions[fresh]].tolist():
                self._take_position(records, place)
            fresh = fresh[~positions[fresh]]
            if self._in_flight is not _nothing:
                ours = np.array(
                    [self._in_flight(ids[place]) is not None for place in fresh.tolist()], np.bool_
                )
                self._take_in_ours(self._read_all(records, ids, fresh[ours]))
                fresh = fresh[~ours]
            for turn in _turns([ids[place] for place in fresh.tolist()]):
                places = fresh[turn]
                sheet, plain = plain_versions(records, ids, places)
                others = self._read_all(records, ids, places[~plain])
                offsets = [*records.offsets[places[plain]].tolist(), *(offset for offset, _ in others)]
                self.observe(
                    np.array(offsets, np.int64), [sheet, sheet_of([version for _, version in others])]
                )

    def _take_in_ours(self, entries: list[tuple[int, Version]]) -> None:
        """Take in records of stones of which we have sent some ourselves that were not reported yet."""
        if all(version == self._in_flight(version.id) for _, version in entries):
            # Our own records, seen before their delivery reports: those bring the same, and soon.
            self._early += entries
            return
        # Somebody else's records are among them: each must meet what stands before it in the log.
        entries = self._early + entries
        self._early.clear()
        for turn in _turns([version.id for _, version in entries]):
            some = [entries[place] for place in turn.tolist()]
            offsets = np.array([offset for offset, _ in some], np.int64)
            self.observe(offsets, [sheet_of([version for _, version in some])])

    def _fresh(self, records: Records, ids: Sequence[str]) -> NDArray[np.intp]:
        """Places of the records that lie above what is known of their stones."""
        rows = np.fromiter(map(self._columns.rows.get, ids, repeat(-1)), np.int64, len(ids))
        known = np.where(rows >= 0, self._columns.arrays["offset"][rows], -1)
        return np.flatnonzero(records.offsets > known)

    def _take_position(self, records: Records, place: int) -> None:
        value = records.value(place)
        try:
            if value is not None:
                position = decode_position(value)
                self.positions[position.feed] = position
        except UNREADABLE:
            log.exception("memory.position_unreadable", offset=int(records.offsets[place]))

    def _read_all(
        self, records: Records, ids: Sequence[str], places: NDArray[np.intp]
    ) -> list[tuple[int, Version]]:
        """Offsets and versions of records, one by one."""
        read = [
            (int(records.offsets[place]), self._read(records, ids[place], place)) for place in places.tolist()
        ]
        return [(offset, version) for offset, version in read if version is not None]

    def _read(self, records: Records, key: str, place: int) -> Version | None:
        value = records.value(place)
        mine = self._in_flight(key)
        if mine is not None and mine.body == value and value is not None:
            return mine
        try:
            if value is None:
                return retired(key, from_headers(records.headers_of(place), _NullHeaders).seq)
            version = read_version(value)
            if version.id != key:
                raise Invalid("id", "must be the record's key", "bad_record")
            return version
        except Invalid as error:
            offset = int(records.offsets[place])
            log.error("memory.record_unreadable", stone=key, offset=offset, error=str(error))
            # Nobody's version of a stone we know: lower than any, so that the owner appends what it knows again.
            return retired(key, _BELOW_ALL) if key in self._columns.rows else None

    def observe(self, offsets: NDArray[np.int64], sheets: Sequence[Sheet]) -> None:
        """Take in records, one sheet after the other, with their offsets: the one function by which anything is remembered."""
        ids = [*chain.from_iterable(sheet.ids for sheet in sheets)]
        if len(sheets) > 1 and len(set(ids)) < len(ids):
            # A later record of a stone must meet the earlier one's effect.
            for own, sheet in zip(np.split(offsets, _ends(sheets)[:-1]), sheets, strict=True):
                self.observe(own, [sheet])
            return
        numbers = np.concatenate([sheet.numbers for sheet in sheets])
        with self._lock:
            # A stone that was never seen gets a row of nulls, which any offset and any version is above.
            rows = self._columns.take_rows(ids)
            above = offsets > self._columns.arrays["offset"][rows]
            lower = self._lower(rows, numbers)
            taken = above & ~lower
            if taken.all():
                self._take(ids, numbers, sheets, rows)
            else:
                kept = [sheet.only(own) for own, sheet in _split(taken, sheets)]
                left = [stone for stone, is_taken in zip(ids, taken.tolist(), strict=True) if is_taken]
                self._take(left, numbers[taken], kept, rows[taken])
            self._columns.arrays["offset"][rows[above]] = offsets[above]
            for place in np.flatnonzero(above).tolist() if self.repairs or lower.any() else ():
                (self.repairs.add if lower[place] else self.repairs.discard)(ids[place])

    def _lower(self, rows: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which versions are lower than what their rows hold."""
        seq, mapper, rules = numbers[:, :3].T
        arrays = self._columns.arrays
        known_seq, known_mapper = arrays["seq"][rows], arrays["mapper_version"][rows]
        lower_rules = (mapper == known_mapper) & (rules < arrays["rules_version"][rows])
        lower: NDArray[np.bool_] = (seq < known_seq) | (
            (seq == known_seq) & ((mapper < known_mapper) | lower_rules)
        )
        return lower

    def _take(
        self,
        ids: Sequence[str],
        numbers: NDArray[np.int64],
        sheets: Sequence[Sheet],
        rows: NDArray[np.int64],
    ) -> None:
        if not len(rows):
            return
        arrays, codes = self._columns.arrays, self._columns.codes
        held = rows[arrays["length"][rows] > 0]
        self._bodies.drop(arrays["place"][held], arrays["length"][held])
        lengths = np.concatenate([sheet.lengths() for sheet in sheets])
        arrays["place"][rows] = self._bodies.append([sheet.records for sheet in sheets], lengths)
        arrays["length"][rows] = np.where(lengths == 0, -1, lengths)
        for name, column in zip(_TOLD, numbers.T, strict=True):
            arrays[name][rows] = column
        arrays["looked"][rows] = NULL_INT
        runs = [*chain.from_iterable(sheet.runs for sheet in sheets)]
        arrays["run"][rows] = codes["run"].add_all(runs)
        new = np.flatnonzero(arrays["feed"][rows] == NULL_CODE)
        feeds = [ids[place].partition(":")[0] for place in new.tolist()]
        arrays["feed"][rows[new]] = codes["feed"].add_all(feeds)
        self._reclaim()

    def _reclaim(self) -> None:
        """Move what lives out of a wasteful segment, some at a time: nobody waits long for the lock, and a whole
        segment is never in memory at once, which would stay with the process."""
        if self._leaving is None:
            segment = self._bodies.wasteful()
            if segment is None:
                return
            self._leaving = segment, self._kept_in(segment, np.arange(len(self._columns.live)))
        segment, rows = self._leaving
        # Meanwhile a stone may have got a new body, or have gone.
        moved = self._kept_in(segment, rows[:_MOVED_AT_ONCE])
        if len(moved):
            arrays = self._columns.arrays
            lengths = arrays["length"][moved]
            bodies = self._bodies.read_all(arrays["place"][moved], lengths)
            arrays["place"][moved] = self._bodies.append([bodies], lengths)
        if len(rows) > _MOVED_AT_ONCE:
            self._leaving = segment, rows[_MOVED_AT_ONCE:]
        else:
            self._leaving = None
            self._bodies.release(segment)

    def _kept_in(self, segment: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of some rows whose body is in a segment."""
        length, place = (self._columns.arrays[name][rows] for name in ("length", "place"))
        kept: NDArray[np.intp] = rows[
            self._columns.live[rows] & (length > 0) & (place >> SEGMENT_SHIFT == segment)
        ]
        return kept

    def _body(self, row: int) -> bytes | None:
        length = int(self._columns.arrays["length"][row])
        return self._bodies.read(int(self._columns.arrays["place"][row]), length) if length > 0 else None


def _nothing(_stone: str) -> None:
    return None


def _turns(stones: Sequence[str]) -> Iterator[NDArray[np.intp]]:
    """Places so that each turn has a stone once at most, and its later ones meet the effect of its earlier ones."""
    if len(set(stones)) == len(stones):
        yield np.arange(len(stones))
        return
    counts = Counter[str]()
    turns = np.empty(len(stones), np.intp)
    for place, stone in enumerate(stones):
        turns[place] = counts[stone]
        counts[stone] += 1
    for turn in range(max(counts.values())):
        yield np.flatnonzero(turns == turn)


def _ends(sheets: Sequence[Sheet]) -> NDArray[np.int64]:
    return np.cumsum([len(sheet.ids) for sheet in sheets], dtype=np.int64)


def _split(taken: NDArray[np.bool_], sheets: Sequence[Sheet]) -> Iterator[tuple[NDArray[np.intp], Sheet]]:
    """Which places of each sheet are taken."""
    return zip(map(np.flatnonzero, np.split(taken, _ends(sheets)[:-1])), sheets, strict=True)
