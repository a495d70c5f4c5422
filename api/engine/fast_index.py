"""The search index that serves: `api.index.Index` over clusters, signatures and compiled kernels.

A search makes a plan, marks the candidates that match, which counts them, and takes the first of them. The plain index
(`api.plain_index`) gives the same answers, a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine import saving
from api.engine.clusters import Clusters
from api.engine.encoding import Encoded
from api.engine.facets import Counter, Matching
from api.engine.kernels import marks
from api.engine.plan import FEW_ROWS, Plan, Planner, rows_condition
from api.engine.signature import CLUSTER, CLUSTER_BITS, CLUSTERS
from api.engine.sorting import Sorter
from api.engine.stock import Stock
from api.fragments import Fragments, Places, Spans
from api.index import Batch, Page, Priced, parts
from api.query import After, Query
from api.values import Data
from connectors.records.scan import LENGTH_BITS

_TAIL_SERVING: Final = 4_096
"""A tail longer than this has the clusters made anew."""
_TAIL_SHARE: Final = 4
"""While stones are loaded, so does a tail of one part in so many."""
_ROWS_IN_ORDER: Final = 0.8
"""The share of rows that follow their neighbour's at which new numbers are not worth their while."""
_NO_CLUSTERS: Final = np.zeros(0, dtype=np.int64)
_NO_SPANS: Final = np.zeros((1, 2), dtype=np.int64)
_CLUSTER_BITS: Final = np.array(CLUSTER_BITS, dtype=np.int64)
_MOST_SPANS: Final = max(CLUSTERS + 1, FEW_ROWS)

Run = Callable[[Callable[[], Any]], "Future[Any]"]


class FastIndex:
    """`api.index.Index`, fast.

    Args:
        folder: where the records' files are; the system's temporary folder without one.
        run: runs a job that touches nothing live; a thread of its own without one.
    """

    def __init__(self, folder: Path | None = None, run: Run | None = None) -> None:
        self._begin(Stock())
        self._clusters = Clusters()
        self._fragments = Fragments(folder)
        self._positions: dict[str, int] = {}
        self._run: Run = run or ThreadPoolExecutor(1, "clustering").submit
        self._job: Future[Any] | None = None
        self._settled = False
        # Room for what a search finds before it has its page.
        self._reserve(0)
        self._spans: NDArray[np.int64] = np.empty((_MOST_SPANS, 2), dtype=np.int64)
        self._in_clusters: NDArray[np.int64] = np.empty(CLUSTERS, dtype=np.int64)
        self._counts: NDArray[np.int64] = np.empty(_MOST_SPANS, dtype=np.int64)

    def __len__(self) -> int:
        """Stones held, available or not."""
        return len(self._stock)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, without the records."""
        return self._stock.nbytes + self._clusters.nbytes + self._mask.nbytes

    @property
    def positions(self) -> Mapping[str, int]:
        """Per feed the last position, epoch ms by the vendor's clock."""
        return self._positions

    @property
    def fragments(self) -> Fragments:
        """The canonical record and the item of each row."""
        return self._fragments

    def row(self, stone_id: str) -> int | None:
        """Where a stone is in `fragments`, or None if there is none."""
        return self._stock.row(stone_id)

    def values(self, name: str) -> Sequence[str]:
        """The values that stones ever had of a listed attribute."""
        return [text for text in self._stock.codes(name).texts if text is not None]

    def find(self, data: Data, ids: Spans) -> NDArray[np.int64]:
        """Where stones are in `fragments`, -1 for those that are not held; in the thread that prepares."""
        spans = ids[0] << LENGTH_BITS | (ids[1] - ids[0])
        return self._stock.find(self._stock.encoder.ids.pack_known(data, spans)).astype(np.int64)

    def prepare(self, batch: Batch, at_once: int) -> list[Callable[[], None]]:
        """Encode a batch, in any thread (one at a time); call the results in the owner's thread, in order."""
        # All stones in one go: what it costs beside the stones would else be paid for each part.
        encoded = self._stock.encoder.encode(batch.stones) if len(batch.stones) else None
        if encoded is not None and self._settled:
            # Most of what comes is a new price; the owner shall not be held up by fifty columns that stay.
            encoded.news = self._stock.compare(encoded)
            # Copying all columns or the clusters would hold it up as well.
            self._stock.make_room(int(np.count_nonzero(encoded.news.rows < 0)))
            self._begin_job(_TAIL_SERVING)
        priced = self._encode_prices(batch.priced) if batch.priced else None
        # Written here: the owner shall not wait for the disk.
        places = self._fragments.write(batch.records)
        if batch.priced:
            places = np.concatenate([places, self._fragments.write(batch.priced.records)])
        steps: list[Callable[[], None]] = []
        begin, stones = 0, len(batch.stones)
        for number, part in enumerate(parts(batch, at_once)):
            end = begin + len(part.stones) + len(part.priced or ())
            mine = None
            if encoded and len(part.stones):
                mine = encoded.part(begin, end, number)
            elif priced and part.priced:
                mine = priced.part(begin - stones, end - stones, number)
            steps.append(self._step(part, mine, places[begin:end]))
            begin = end
        return steps

    def _encode_prices(self, priced: Priced) -> Encoded:
        encoded = self._stock.encoder.encode_prices(priced.stones, self._stock.weights(priced.rows))
        encoded.news = self._stock.compare(encoded, priced.rows.astype(np.int32))
        return encoded

    def _step(self, batch: Batch, encoded: Encoded | None, places: Places) -> Callable[[], None]:
        removed = self._stock.encoder.ids.pack(batch.removed) if batch.removed else None

        def take() -> None:
            if encoded is not None:
                self._put(encoded, places)
            if removed is not None:
                rows = self._stock.remove(removed)
                self._clusters.leave(rows)
                self._fragments.drop(rows.astype(np.intp))
            self._positions.update(batch.positions)
            self._fragments.reclaim()
            self._mend(max(_TAIL_SERVING, self._clusters.ordered_end // _TAIL_SHARE))

        return take

    def apply(self, batch: Batch) -> None:
        """Take over a batch; the next search sees all of it. Raises `OSError` when the disk is full."""
        for take in self.prepare(batch, max(1, len(batch.stones))):
            take()

    def search(self, query: Query) -> Page:
        """One page, the exact total, and facets."""
        self._mend(_TAIL_SERVING)
        asked: list[tuple[Plan, Matching, int]] = []

        def match(leave_out: str = "") -> Matching:
            plan = self._planner.plan(query, leave_out)
            asked[:] = [(plan, *self._match(plan))]
            return asked[0][1]

        counted = None
        if query.facets is None:
            match()
        else:
            counted = self._counter.count(query, query.facets, self._clusters, match)
        [(plan, matching, total)] = asked
        if query.limit == 0 or total <= query.offset:
            return Page([], total, None, counted)
        end = query.offset + query.limit
        # No more than there are: room is made for as many as are asked for.
        rows = self._sorter.first(query, plan, self._clusters, matching, total, min(end + 1, total))
        chosen = rows[query.offset : end]
        last: After | None = self._sorter.end_of(query, chosen[-1]) if len(rows) > end else None
        return Page(chosen, total, last, counted)

    def save(self, folder: Path) -> None:
        """Write everything but the records into files in an empty folder, for `load`. Raises `OSError`."""
        saving.save(self._stock, self._clusters, self._positions, folder)
        np.save(folder / "places.npy", self._fragments.places(self._stock.used))

    def load(self, folder: Path, records: Mapping[str, int]) -> None:
        """Fill an empty index with what was saved.

        Raises:
            Invalid: it was saved by another version.
            OSError: a file is missing.
            ValueError: a file is damaged.
        """
        stock = Stock()
        clusters, positions = saving.load(stock, folder)
        self._fragments.restore(np.load(folder / "places.npy"), records)
        self._begin(stock)
        self._clusters, self._positions = clusters, dict(positions)

    def settle(self) -> None:
        """Have everything in its best place, in this thread: for a stock that was just loaded. Takes up to a second.

        Rows get new numbers, in the order of positions, so that what is looked at together lies together.
        """
        self._finish_job()
        if self._clusters.tail > _TAIL_SERVING or not self._clusters.ordered_end:
            self._take_clusters(self._clusters.begin_clustering().run())
        clusters = self._clusters
        if clusters.order_of_rows() < _ROWS_IN_ORDER:
            self._take_clusters(self._clusters.begin_clustering().run())
            clusters = self._clusters
            rows = clusters.row_at[: clusters.end].copy()
            self._stock.renumber(rows)
            self._fragments.renumber(rows.astype(np.intp))
            clusters.renumber()
        self._stock.make_room(1)
        self._settled = True

    def _begin(self, stock: Stock) -> None:
        self._stock = stock
        self._planner, self._sorter, self._counter = Planner(stock), Sorter(stock), Counter(stock)

    def _put(self, encoded: Encoded, places: Places) -> None:
        rows = self._stock.put(encoded)
        if encoded.ids is None:
            self._clusters.reprice(rows, encoded.standing["price_cents"])
        else:
            self._clusters.settle(rows, encoded)
        self._fragments.place(rows.astype(np.intp), places)

    def _match(self, plan: Plan) -> tuple[Matching, int]:
        """Mark the candidates that match, in the room there is for one search at a time; how many."""
        clusters = self._clusters
        if clusters.end > self._candidates:
            self._reserve(clusters.end + clusters.end // 4)
        mask, words, counts = self._mask, self._words, self._counts
        arrays, prices = (clusters.front, clusters.rear, clusters.price), (plan.low, plan.high)
        alone = plan.nothing or (plan.rows is not None and len(plan.rows) <= FEW_ROWS)
        if alone:
            spans, in_clusters = self._spans_of(plan), _NO_CLUSTERS
            total = marks.scan(
                *(*arrays, spans, plan.no_front, plan.no_rear, plan.no_rear, *prices, mask, counts)
            )
        else:
            found, total = marks.mark(
                *(clusters.starts, _CLUSTER_BITS, clusters.carat, clusters.ordered_end, clusters.end),
                *(*arrays, plan.no_front, plan.no_rear, CLUSTER, plan.carat_low, plan.carat_high, *prices),
                *(mask, self._spans, self._in_clusters, counts),
            )
            spans, in_clusters = self._spans[:found], self._in_clusters[: found - 1]
        if total:
            total = self._look_at_rows(plan, alone, spans, total)
        return Matching(spans, mask, words, counts, in_clusters), total

    def _look_at_rows(self, plan: Plan, alone: bool, spans: NDArray[np.int64], total: int) -> int:
        """Unmark what neither clusters nor signatures could tell; how many are left."""
        clusters, mask, words = self._clusters, self._mask, self._words
        again = False
        if plan.weighed and (alone or clusters.tail):
            first = 0 if alone else len(spans) - 1
            bounds = (plan.carat_low, plan.carat_high)
            marks.keep_positions(spans, first, mask, words, clusters.carat, *bounds)
            again = True
        for column, allowed in self._codes(plan):
            marks.keep_codes(spans, mask, words, clusters.row_at, column, allowed)
            again = True
        for column, low, high in plan.numbers:
            marks.keep_within(spans, mask, words, clusters.row_at, column, low, high)
            again = True
        if again:
            total = marks.count_marked(spans, mask, self._counts)
        return total

    def _spans_of(self, plan: Plan) -> NDArray[np.int64]:
        """Where the only rows that can match are, one by one."""
        if plan.nothing or plan.rows is None:
            return _NO_SPANS
        found = self._clusters.position_of[plan.rows]
        positions = np.sort(found[found >= 0]).astype(np.int64)
        return np.stack([positions, positions + 1], axis=1) if len(positions) else _NO_SPANS

    def _codes(self, plan: Plan) -> list[tuple[NDArray[Any], NDArray[np.uint8]]]:
        if plan.rows is not None and len(plan.rows) > FEW_ROWS:
            return [rows_condition(plan.rows, self._stock.capacity), *plan.codes]
        return plan.codes

    def _reserve(self, candidates: int) -> None:
        # Spans begin at a multiple of eight.
        self._candidates = candidates
        self._mask: NDArray[np.uint8] = np.zeros((candidates + 8 * _MOST_SPANS + 7) & ~7, dtype=np.uint8)
        self._words: NDArray[np.uint64] = self._mask.view(np.uint64)

    # A job on copies, at most one at a time. It is begun where nothing is applied: by the owner while stones are loaded,
    # then by whoever prepares. The owner takes its result over.

    def _mend(self, tail: int) -> None:
        if self._job is None:
            if not self._settled:
                self._begin_job(tail)
        elif self._job.done():
            self._finish_job()

    def _begin_job(self, tail: int) -> None:
        if self._job is None and self._clusters.tail > tail:
            self._job = self._run(self._clusters.begin_clustering().run)

    def _finish_job(self) -> None:
        if self._job is not None:
            self._take_clusters(self._job.result())
            # Only now another one may be begun, on these.
            self._job = None

    def _take_clusters(self, made: Clusters) -> None:
        self._clusters = self._clusters.end_clustering(made)
