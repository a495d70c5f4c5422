"""Versions of stones as they lie in the canonical log, read in machine code. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectors.log.kernels import NULL
from connectors.log.records import Records
from connectors.records.plain import NAMES
from connectors.records.scan import LENGTH, LENGTH_BITS, NO_TEXT, read_fields
from schemas.columns import NULL_INT
from schemas.stone import Cause
from streams.transcription.decision import NUMBERS
from streams.versions import HASH_TYPE, Sheet

_READ: Final = (
    *("seq", "mapper_version", "rules_version", "content_hash", "price_cents", "updated_at", "raw_offset"),
    *("first_seen", "cause", "run"),
)
"""The fields that a version is made of; in the place of `NUMBERS` those that these are made from."""
_HASH, _FIRST_SEEN, _CAUSE, _RUN = map(_READ.index, ("content_hash", "first_seen", "cause", "run"))
_SLOTS: Final = np.array([_READ.index(name) if name in _READ else -1 for name in NAMES])
_DIGITS: Final = 16
_SEEN: Final = Cause.SEEN.value.encode()
_NO_DIGIT: Final = 255


def _digit_values() -> NDArray[np.uint8]:
    values = np.full(256, _NO_DIGIT, np.uint8)
    for digits in (b"0123456789abcdef", b"0123456789ABCDEF"):
        values[list(digits)] = np.arange(16)
    return values


_DIGIT_VALUES: Final = _digit_values()


def plain_versions(
    records: Records, ids: Sequence[str], places: NDArray[np.intp]
) -> tuple[Sheet, NDArray[np.bool_]]:
    """Those of some records that are plain (`connectors.records.plain`) as a sheet, and which of the places they are.

    Args:
        records: of the canonical topic.
        ids: the stone of each.
        places: which of them; all of different stones.
    """
    plain = records.values[0, places] != NULL
    table, told = _scanned(records, places[plain])
    plain[plain] = told
    digits = _digits(records, table[_HASH])
    hashed = (digits != _NO_DIGIT).all(axis=1)
    plain[plain] = hashed
    places, table = places[plain], table[:, hashed]
    begins, ends = records.values.take(places, axis=1)
    data = records.data.data
    bodies = [data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    sheet = Sheet(
        [ids[place] for place in places.tolist()],
        _numbers(records, table, digits[hashed]),
        _runs(records, table[_RUN]),
        b"".join(bodies),
        np.cumsum(ends - begins),
    )
    return sheet, plain


def _scanned(records: Records, places: NDArray[np.intp]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What stands in the fields `_READ` of the records that are plain, a row a field; and which they are."""
    keys, values = records.keys.take(places, axis=1), records.values.take(places, axis=1)
    table, plain = read_fields(records.data, values, keys, _SLOTS)
    plain &= table[_HASH] & LENGTH == _DIGITS
    return table[:, plain], plain


def _numbers(records: Records, table: NDArray[np.int64], digits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """`NUMBERS` of plain records, with the digits of their hashes."""
    numbers = np.ascontiguousarray(table[: len(NUMBERS)].T)
    hashes = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
    numbers[:, _HASH] = hashes.view(HASH_TYPE)[:, 0]
    seen_ms = table[_FIRST_SEEN]
    numbers[:, _FIRST_SEEN] = np.where(seen_ms == NULL_INT, NULL_INT, seen_ms // 1000)
    numbers[:, _CAUSE] = ~_is(records, table[_CAUSE], _SEEN)
    return numbers


def _digits(records: Records, spans: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Values of the hexadecimal digits in texts of sixteen, a row a text."""
    values: NDArray[np.uint8] = _DIGIT_VALUES[
        records.data[(spans >> LENGTH_BITS)[:, None] + np.arange(_DIGITS)]
    ]
    return values


def _is(records: Records, spans: NDArray[np.int64], text: bytes) -> NDArray[np.bool_]:
    """Which of some texts are this one."""
    same: NDArray[np.bool_] = spans & LENGTH == len(text)
    begins = spans[same] >> LENGTH_BITS
    same[same] = (records.data[begins[:, None] + np.arange(len(text))] == np.frombuffer(text, np.uint8)).all(
        axis=1
    )
    return same


def _runs(records: Records, spans: NDArray[np.int64]) -> list[str | None]:
    """The texts that these spans say."""
    data, known = records.data.data, dict[bytes, str]()
    found: list[str | None] = []
    for span in spans.tolist():
        if span == NO_TEXT:
            found.append(None)
            continue
        begin = span >> LENGTH_BITS
        text = bytes(data[begin : begin + (span & LENGTH)])
        found.append(known.get(text) or known.setdefault(text, text.decode()))
    return found
