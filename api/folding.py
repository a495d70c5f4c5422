"""Canonical records folded into what the index applies. Pure: no Kafka, nothing is changed here.

The last record of a key that can be read is the stone, so that the end is the same however the log was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from api.engine.kernels.pages import PRICED, SHOWN
from api.fragments import NOTHING, Compared, frame
from api.index import Batch, Priced
from api.values import NO_STONES, read, read_prices
from connectors.log.kernels import NULL
from connectors.log.records import Newest, Records
from schemas.stone import decode_position, is_position

log = structlog.stdlib.get_logger(__name__)

_COLON: Final = ord(":")

Places = NDArray[np.intp]
NO_PLACES: Final = np.empty(0, dtype=np.intp)

Compare = Callable[[Records, Places], Compared]
"""What some records have in common with those that are held."""


@dataclass(slots=True)
class Folded:
    """Some records' batch, and what else is known of them.

    Attributes:
        batch: what is to be applied.
        unreadable: records that were skipped.
        changed: the offset of the last record that changes what an answer could show, by partition.
    """

    batch: Batch
    unreadable: int = 0
    changed: dict[int, int] = field(default_factory=dict)


def fold(records: Records, compare: Compare | None = None, newest: Newest | None = None) -> Folded:
    """Fold records by key.

    Args:
        records: in log order within each partition.
        compare: with what is held when the batch is prepared: records that show nothing new are left out, and of those
            with a content that is held nothing but the price is read.
        newest: remembers the keys of what was folded; for a log that is gone through from its end to its beginning, piece by
            piece, so that a record is left out if a piece before it had a newer one of its key.
    """
    newest = newest or Newest()
    folded = Folded(Batch(NO_STONES, NOTHING, [], {}))
    waiting = np.flatnonzero(newest.of(records))
    while len(waiting):
        stones, failed = _take_others(records, waiting, folded)
        if compare is not None and len(stones):
            stones = take_known(records, stones, compare(records, stones), folded)
        failed += _take_stones(records, stones, folded)
        waiting = newest.before(records, failed)
    return folded


def _take_others(records: Records, places: Places, folded: Folded) -> tuple[Places, list[int]]:
    """Take positions and nulls; which of the others are versions of stones, and what cannot be read."""
    failed, removed = [], []
    null = records.values[0, places] == NULL
    position = records.key_ends_with(_COLON)[places]
    for place in places[null | position].tolist():
        key, value = records.key(place), records.value(place)
        try:
            if not is_position(key):
                folded.batch.removed.append(key.decode())
                removed.append(place)
            elif value is not None:
                told = decode_position(value)
                folded.batch.positions[told.feed] = told.as_of
        except (msgspec.MsgspecError, ValueError) as error:
            _note_failure(records, place, error, folded)
            failed.append(place)
    _note_changes(records, removed, folded)
    return places[~(null | position)], failed


def take_known(records: Records, places: Places, compared: Compared, folded: Folded) -> Places:
    """Let a batch have the versions of which all but the price is held; which are left, but for those that show nothing new."""
    left: NDArray[np.bool_] = compared.common != SHOWN
    # One that comes after another could not be read is rare, and may be read whole.
    priced = np.flatnonzero(compared.common == PRICED) if folded.batch.priced is None else NO_PLACES
    if len(priced):
        spans, keys = (found.take(places[priced], axis=1) for found in (records.values, records.keys))
        borders = compared.borders.take(priced, axis=1)
        stones, plain = read_prices(records.data, spans, keys, borders)
        if not plain.all():
            good = np.flatnonzero(plain)
            spans, borders = (found.take(good, axis=1) for found in (spans, borders))
            stones, priced = stones.part(good), priced[good]
        left[priced] = False
        framed = frame(records.data, spans, borders)
        folded.batch.priced = Priced(compared.rows[priced], stones, framed)
        _note_changes(records, places[priced], folded)
    return places[left]


def _take_stones(records: Records, places: Places, folded: Folded) -> list[int]:
    """Take versions of stones; those that cannot be read."""
    if not len(places):
        return []
    spans, keys = (found.take(places, axis=1) for found in (records.values, records.keys))
    values, borders, failures = read(records.data, spans, keys)
    failed: list[int] = places[list(failures)].tolist()
    for place, error in failures.items():
        _note_failure(records, int(places[place]), error, folded)
    if failures:
        good = np.delete(np.arange(len(places)), list(failures))
        spans, borders = (found.take(good, axis=1) for found in (spans, borders))
        values, places = values.part(good), places[good]
    batch, more = folded.batch, frame(records.data, spans, borders)
    # What comes beside others came before a record that cannot be read.
    batch.stones = batch.stones.beside(values) if len(batch.stones) else values
    batch.records = batch.records.beside(more) if len(batch.records) else more
    _note_changes(records, places, folded)
    return failed


def _note_changes(records: Records, places: list[int] | Places, folded: Folded) -> None:
    places = np.asarray(places, dtype=np.intp)
    slots, offsets = records.slots[places], records.offsets[places]
    for slot in np.unique(slots).tolist():
        last = int(offsets[slots == slot].max())
        folded.changed[slot] = max(last, folded.changed.get(slot, -1))


def _note_failure(records: Records, place: int, error: Exception, folded: Folded) -> None:
    folded.unreadable += 1
    log.warning("api.record_unreadable", stone=str(records.key(place)), error=str(error))
