"""The arrays of an index in files, and back: one `.npy` a column, and a small document with the dictionaries.

Columns are not read but mapped: a start copies nothing, and a part becomes the process's own memory when it is written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from api.engine.clusters import HELD, Clusters
from api.engine.stock import Stock, with_room
from api.fields import LISTED, PREFIXED
from schemas.columns import Codes
from schemas.errors import Invalid

FORMAT: Final = 3
"""To be raised with every change to what the arrays mean; an index of another format is not read."""

_DOCUMENT: Final = "index.json"
_STARTS: Final = "starts.npy"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What is no array.

    Attributes:
        format: `FORMAT`.
        columns: names of the columns there are.
        used: rows ever used.
        ordered_end: positions in clusters.
        free: rows without a stone.
        texts: dictionaries of the listed attributes.
        feeds: names of the feeds, and whether their ids are UUIDs.
        levels: steps of the ladders.
        grades_fit: see `Encoder`.
        odd_ids: row by id.
        odd_texts: by attribute, text by row.
        positions: of the feeds.
    """

    format: int
    columns: list[str]
    used: int
    ordered_end: int
    free: list[int]
    texts: dict[str, list[str]]
    feeds: list[tuple[str, bool]]
    levels: dict[str, int]
    grades_fit: bool
    odd_ids: dict[str, int]
    odd_texts: dict[str, dict[int, str]]
    positions: dict[str, int]


def save(stock: Stock, clusters: Clusters, positions: dict[str, int], folder: Path) -> None:
    """Write an index into an empty folder. Raises `OSError`."""
    for name, array in _columns(stock):
        np.save(folder / f"{name}.npy", with_room(array[: stock.used]))
    for name, array in clusters.held().items():
        np.save(folder / f"at_{name}.npy", array)
    np.save(folder / _STARTS, clusters.starts)
    ids = stock.encoder.ids
    document = Document(
        format=FORMAT,
        columns=[name for name, _ in _columns(stock)],
        used=stock.used,
        ordered_end=clusters.ordered_end,
        free=stock.free,
        texts={name: _texts(stock.codes(name)) for name in LISTED},
        feeds=list(zip(_texts(ids.feeds), ids.uuids[1:], strict=True)),
        levels=stock.levels,
        grades_fit=stock.encoder.grades_fit,
        odd_ids=stock.odd_ids,
        odd_texts={name: stock.odd[name].by_row for name in PREFIXED},
        positions=positions,
    )
    (folder / _DOCUMENT).write_bytes(msgspec.json.encode(document))


def load(stock: Stock, folder: Path) -> tuple[Clusters, dict[str, int]]:
    """Fill an empty stock; its clusters, and the positions.

    Raises:
        Invalid: it was saved in another format.
        OSError: a file is missing.
        ValueError: a file is damaged.
    """
    document = msgspec.json.decode((folder / _DOCUMENT).read_bytes(), type=Document)
    if document.format != FORMAT or document.columns != [name for name, _ in _columns(stock)]:
        raise Invalid("format", "is of another version", "other_format")
    encoder = stock.encoder
    for name, texts in document.texts.items():
        _fill(encoder.codes[name], texts)
    _fill(encoder.ids.feeds, [name for name, _ in document.feeds])
    encoder.ids.uuids = [False, *(uuid for _, uuid in document.feeds)]
    encoder.levels = dict(document.levels)
    encoder.grades_fit = document.grades_fit
    for name in PREFIXED:
        stock.odd[name].by_row = dict(document.odd_texts[name])
    arrays = {name: _mapped(folder / f"{name}.npy") for name, _ in _columns(stock)}
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1 or min(lengths) < document.used:
        raise ValueError("the columns are not of one length, or shorter than what is used")
    stock.restore(arrays, document.used, document.levels, document.free, document.odd_ids)
    held = {name: _mapped(folder / f"at_{name}.npy") for name in HELD}
    starts = np.load(folder / _STARTS)
    return Clusters.restored(held, starts, document.ordered_end, stock.capacity), document.positions


def _mapped(path: Path) -> NDArray[Any]:
    # As a plain array: kernels look twice at every other kind.
    found: NDArray[Any] = np.load(path, mmap_mode="c").view(np.ndarray)
    return found


def _columns(stock: Stock) -> Iterator[tuple[str, NDArray[Any]]]:
    for columns in (stock.coded, stock.numbers, stock.packed):
        yield from columns.items()
    yield from (("id_feed", stock.id_feed), ("id_high", stock.id_high), ("id_low", stock.id_low))


def _texts(codes: Codes) -> list[str]:
    return [text for text in codes.texts if text is not None]


def _fill(codes: Codes, texts: list[str]) -> None:
    for text in texts:
        codes.add(text)
