"""Canonical records, put together from the encoded content and the price, byte for byte as `encode(Stone(...))`.

The content is encoded once, for its hash and for the record; encoding the whole stone again would cost as much as
everything else that is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.stone import Content
from streams.owner import Decided
from streams.pricing.engine import Margin
from streams.transcription.decision import CAUSES, CHANGED, PRICE, REPRICED, RULES, UPDATED
from streams.transcription.record import MOST_OF_NUMBERS, Texts, find_prices, put_together, texts
from streams.transcription.words import SLACK
from streams.versions import Sheet

Terms = tuple[Margin, int | None]
"""Margin and rating."""

_CAUSES: Final = texts([b'","cause":"%b","margin_bps":' % cause.value.encode() for cause in CAUSES])
_decode_content: Final = msgspec.json.Decoder(Content).decode


def terms_texts(terms: Iterable[Terms]) -> Texts:
    """What terms say in a record: three texts each, between price, rule number, first moment and previous price."""
    parts = []
    for margin, rating in terms:
        parts += [
            b'%b,"rules_version":' % margin.sale_json,
            b',"rating":%b,"first_seen":' % msgspec.json.encode(rating),
            margin.terms_json,
        ]
    return texts(parts)


def sheet(
    ids: Sequence[str],
    runs: Sequence[str | None],
    contents: Sequence[bytes],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    decided: Decided,
    terms: NDArray[np.int64],
    named_terms: Texts,
) -> Sheet:
    """Versions of stones, with the records that are put together of all this.

    Args:
        ids: the stones'; likewise `runs`.
        contents: hold, one behind the other, their encoded contents, each from its place in `begins` to that in `ends`.
        decided: what is written of them.
        terms: a place in `named_terms` for each.
    """
    data = np.frombuffer(b"".join([*contents, bytes(SLACK)]), np.uint8)
    return _put_together(
        *(ids, runs, data, begins, ends - 1, decided.numbers, decided.previous, decided.causes),
        *(terms, named_terms),
    )


def repriced(
    known: Sheet,
    prices: NDArray[np.int64],
    terms: NDArray[np.int64],
    named_terms: Texts,
    number: int,
    now_ms: int,
) -> Sheet:
    """Versions in stock under a newer rule set: everything but rule and price stays as it is.

    Args:
        known: the versions as they are.
        prices: what the rule set gives; likewise `terms`, places in `named_terms`.
        number: the rule set's.
        now_ms: milliseconds since 1970.

    Raises:
        ValueError: a record is no canonical one.
    """
    data = np.frombuffer(known.records + bytes(SLACK), np.uint8)
    begins = np.concatenate([[0], known.ends[:-1]])
    content_ends = np.empty_like(begins)
    find_prices(data, begins, known.ends, content_ends)
    if (content_ends <= begins).any():
        raise ValueError("a record without a price")
    numbers, previous = known.numbers.copy(), known.numbers[:, PRICE].copy()
    numbers[prices != previous, UPDATED] = now_ms
    numbers[:, PRICE], numbers[:, RULES], numbers[:, CHANGED] = prices, number, 1
    causes = np.full(len(prices), REPRICED)
    return _put_together(
        *(known.ids, known.runs, data, begins, content_ends, numbers, previous, causes),
        *(terms, named_terms),
    )


def _put_together(
    ids: Sequence[str],
    runs: Sequence[str | None],
    data: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    numbers: NDArray[np.int64],
    previous: NDArray[np.int64],
    causes: NDArray[np.int64],
    terms: NDArray[np.int64],
    named_terms: Texts,
) -> Sheet:
    names = [*dict.fromkeys(runs)]
    run_texts = texts([msgspec.json.encode(run) for run in names])
    run_of = np.zeros(len(ids), np.int64)
    if len(names) > 1:
        run_of[:] = [names.index(run) for run in runs]
    most = MOST_OF_NUMBERS + _CAUSES.longest + 3 * named_terms.longest + run_texts.longest
    out = np.empty(int((ends - begins).sum()) + len(ids) * most + SLACK, np.uint8)
    out_ends = np.empty(len(ids), np.int64)
    put_together(
        *(data, begins, ends, numbers, previous, causes, terms, run_of),
        *(_CAUSES, named_terms, run_texts, out, out_ends),
    )
    return Sheet(ids, numbers, runs, out[: out_ends[-1]].tobytes(), out_ends)


def content_of(record: bytes | memoryview) -> Content:
    """The content in a canonical record.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decode_content(record)
