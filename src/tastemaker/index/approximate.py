"""Approximate search: faiss reads only the cells near a request's vector; we compute the scores.

The number of cells to read is tuned at build time against exact search. Requires the extra `ann`.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError, LibraryError
from tastemaker.index.chosen import best_of_chosen
from tastemaker.index.exact import packed
from tastemaker.index.products import ProductIndex
from tastemaker.index.vector_index import VectorIndex
from tastemaker.threads import blas_threads, run_chunks, sleeping_openmp

RECALL_AT = 100
"""Length of the lists on which recall is measured."""
LENGTHS = (RECALL_AT, 300, 1_000, 3_000)
"""List lengths to tune for. A filter that keeps one item in ten needs ten times the depth."""
_SAMPLE = 128
"""Number of queries for tuning; as many again are used for measuring."""
_FEWER = 32
"""The same for lists longer than 100, whose recall varies less."""
_TAIL = 4_096
"""Up to this many added items are scored one by one before they are assigned to cells."""
_READING = 8
"""Exact search of one item costs about as much as rejecting this many filtered items in a cell."""
_EVERYTHING = np.empty(0, np.bool_)


class ApproximateIndex(VectorIndex):
    """An inverted file (Jégou, Douze & Schmid 2011, §III.C, without its codes) over full vectors.

    k-means assigns the vectors to about 2·√items cells. A search reads the `breadth` cells whose
    centres have the largest inner product with the request, and rescores the items faiss found.
    `breadth` is the smallest value that reaches the requested recall of the exact best 100; one
    half of the queries is used for tuning, the other for measuring. If items tie at the end of a
    list, any of them can be found; those found are in the order of their indices.

    With a filter that keeps a tenth of the items, the best 100 eligible items are about as deep as
    the best 1,000 of all items, so the breadth is tuned for all list lengths in `LENGTHS`. Excluded
    items in a list increase its length. If fewer than n items are found, the search is widened.
    If it would read more than an exact search among the eligible items, the exact search is used,
    so results for a selective filter are complete and exact. The recall holds for filters that are
    independent of the vectors; for others it can be lower.

    faiss's graphs (HNSW) are not offered: built on several threads they differ from run to run, and
    on one thread a million items take minutes. ScaNN is not offered: its search takes no filter.

    Attributes:
        vectors: float32[items × factors].
        cells: uint8[bytes], the inverted file as serialized by faiss, without pickle. It is
            searched in place; arrays loaded from an artifact are mapped and shared by processes.
        breadth: int[lengths], the number of cells to read for each list length in `LENGTHS`.
        in_cells: the number of items in the cells; items added later are all scored.

    Cost: 8 × items × factors bytes; building, about items × √items × factors × 5 steps; a request,
    items × factors × breadth / cells. Adding copies the vectors, and every 4,096 items the cells.

    Raises:
        LibraryError: from `of` and `load`, if faiss cannot be loaded.
        ArtifactError: from `load`, if vectors and cells do not match.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
        >>> index = ApproximateIndex.of(vectors, recall=0.8)
        >>> index.recall >= 0.8
        True
    """

    kind: ClassVar = "approximate"

    def __init__(
        self,
        vectors: NDArray[np.float32],
        cells: NDArray[np.uint8],
        breadth: Sequence[int],
        recall: float,
    ) -> None:
        self.vectors = vectors
        self.cells = cells
        self.breadth = tuple(breadth)
        self.recall = recall
        self._faiss = _faiss()
        # A view: the bytes must stay alive, and nothing can be added to this index.
        self._reader = self._faiss.ZeroCopyIOReader(self._faiss.swig_ptr(cells), len(cells))
        self._index = self._faiss.read_index(self._reader)
        self.in_cells: int = self._index.ntotal
        self.n_cells: int = self._index.nlist

    @classmethod
    def of(
        cls,
        vectors: NDArray[np.float32],
        *,
        queries: NDArray[np.float32] | None = None,
        recall: float = 0.95,
        cells: int | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> Self:
        """An index of float32[items × factors], tuned to reach `recall`.

        Args:
            vectors: the item vectors.
            queries: float32[any × factors], typical request vectors; defaults to the item vectors.
            recall: the share of the exact best 100 to find.
            cells: the number of cells; defaults to about 2·√items, with at least 39 items in each.
            seed: seed of the initial centres and of the sampled queries.
            threads: number of threads to use.
        """
        vectors = np.ascontiguousarray(vectors, np.float32)
        n_items, factors = vectors.shape
        if not vectors.size:  # faiss would abort the process
            raise ValueError(
                "'vectors' must have at least one item and one factor, "
                f"got an array of shape {vectors.shape}"
            )
        requested = cells or round(2 * n_items**0.5)
        faiss = _faiss()
        centres = faiss.IndexFlatIP(factors)
        n_cells = max(1, min(requested, n_items // 39))
        index = faiss.IndexIVFFlat(centres, factors, n_cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed % 2**31
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = 128
        with blas_threads(threads):
            faiss.omp_set_num_threads(threads)
            finite = _finite(vectors)
            index.train(finite)
            index.add(finite)
            faiss.omp_set_num_threads(1)
        built = cls(vectors, faiss.serialize_index(index), [1], 0.0)
        del index
        built._tune(_sample(vectors if queries is None else queries, seed), recall, threads)
        return built

    @property
    def size(self) -> int:
        """The number of items in the index."""
        return len(self.vectors)

    def top_n(
        self,
        x: NDArray[np.float32],
        requests: Requests,
        n: int,
        *,
        min_score: float = -np.inf,
        threads: int = 1,
    ) -> Candidates:
        """The n eligible items of largest inner product, at the measured recall."""
        total, n = len(requests), max(0, min(n, self.size))
        if n == 0 or total == 0:
            return Candidates.none(total)
        x = np.ascontiguousarray(x, np.float32)
        items = np.empty((total, n), np.int32)
        scores = np.empty((total, n), np.float32)
        found = np.zeros(total, np.int64)

        def search(start: int, stop: int) -> None:
            self._faiss.omp_set_num_threads(1)
            filters: dict[int, _Filter] = {}
            for row in range(start, stop):
                which = int(requests.eligible.row[row])
                if which not in filters:
                    bitmap = requests.eligible.bitmaps[which] if which >= 0 else None
                    filters[which] = _Filter(self._faiss, self.size, self.in_cells, bitmap)
                if not np.isfinite(x[row]).all():
                    continue  # no score is comparable to NaN
                excluded = np.sort(requests.exclude[row])
                found[row] = self._search(
                    x[row], excluded, filters[which], min_score, items[row], scores[row]
                )

        run_chunks(search, np.arange(total + 1), threads)
        return packed(items, scores, found)

    def added(self, vectors: NDArray[np.float32]) -> Self:
        """A new index that scores the added items one by one, or assigns many of them to cells."""
        together = np.concatenate([self.vectors, vectors])
        cells = self.cells
        if len(together) - self.in_cells > _TAIL:
            index = self._faiss.deserialize_index(self.cells)
            index.add(_finite(together[self.in_cells :]))
            cells = self._faiss.serialize_index(index)
        return type(self)(together, cells, self.breadth, self.recall)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the vectors, the cells, and the tuned breadths."""
        about = {"kind": self.kind, "breadth": list(self.breadth), "recall": self.recall}
        writer.json("about", about)
        writer.array("vectors", self.vectors)
        writer.array("cells", self.cells)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the vectors and the cells."""
        about = reader.json("about")
        vectors = reader.array("vectors", np.float32, (None, None))
        cells = reader.array("cells", np.uint8, (None,))
        index = cls(vectors, cells, about["breadth"], about["recall"])
        if index.in_cells > len(vectors) or index._index.d != vectors.shape[1]:
            raise ArtifactError("the cells and the vectors of an index do not match: train again")
        return index

    def _search(
        self,
        x: NDArray[np.float32],
        excluded: NDArray[np.int32],
        filter_: "_Filter",
        min_score: float,
        items: NDArray[np.int32],
        scores: NDArray[np.float32],
    ) -> int:
        """Fills one request's list; returns its length."""
        some = min(len(items) + len(excluded), filter_.count)
        depth = self.size / max(1, filter_.count)
        breadth = self._breadth(len(items) * depth)
        while not self._exact_is_cheaper(breadth, filter_.count):
            chosen = self._in_cells(x, some, breadth, filter_)
            away = np.count_nonzero(np.isin(chosen, excluded)) if len(excluded) else 0
            wider = self._breadth((len(items) + away) * depth)
            if wider > breadth:
                breadth = wider
                continue
            allowed, found = best_of_chosen(
                *(x, self.vectors, chosen, self.in_cells, excluded, filter_.bitmap),
                *(np.float32(min_score), items, scores),
            )
            if allowed >= len(items):
                return int(found)
            breadth *= 2
        chosen = filter_.items()
        _, found = best_of_chosen(
            *(x, self.vectors, chosen, self.size, excluded, filter_.bitmap),
            *(np.float32(min_score), items, scores),
        )
        return int(found)

    def _breadth(self, depth: float) -> int:
        """The number of cells to read for the best `depth` items at the requested recall."""
        if depth <= RECALL_AT:
            return self.breadth[0]
        deepest = LENGTHS[len(self.breadth) - 1]
        beyond = max(1.0, depth / deepest)
        return int(np.ceil(np.interp(depth, LENGTHS[: len(self.breadth)], self.breadth) * beyond))

    def _exact_is_cheaper(self, breadth: int, eligible: int) -> bool:
        """Whether scoring all eligible items costs less than reading `breadth` cells."""
        if breadth >= self.n_cells:
            return breadth > 1
        return _READING * eligible * self.n_cells <= breadth * self.size

    def _in_cells(
        self, x: NDArray[np.float32], n: int, breadth: int, filter_: "_Filter"
    ) -> NDArray[np.int64]:
        """The n best items of the nearest cells by faiss; −1 in the places beyond the last."""
        settings = self._faiss.SearchParametersIVF(nprobe=breadth)
        if filter_.selector is not None:
            settings.sel = filter_.selector
        _, chosen = self._index.search(x[None], n, params=settings)
        first: NDArray[np.int64] = chosen[0]
        return first

    def _tune(self, queries: NDArray[np.float32], recall: float, threads: int) -> None:
        """Sets the smallest breadths at which both halves of the queries reach `recall`."""
        lengths = [n for n in LENGTHS if n <= self.size // 4] or [min(RECALL_AT, self.size)]
        nothing = Requests.of([[]] * len(queries))
        index = ProductIndex.of(self.vectors)
        exact = index.top_n(queries, nothing, lengths[-1], threads=threads)
        everything = _Filter(self._faiss, self.size, self.in_cells, None)
        half = (len(queries) + 1) // 2

        def measured(breadth: int, n: int, rows: range) -> float:
            shares = [
                np.isin(self._in_cells(queries[row], n, breadth, everything), exact[row][:n]).sum()
                / max(1, min(n, len(exact[row])))
                for row in rows
            ]
            return float(np.mean(shares)) if shares else 1.0

        found: list[int] = []
        for n in lengths:
            few = half if n == lengths[0] else min(half, _FEWER)
            tuning, holding = range(few), range(half, min(half + few, len(queries)))
            low = found[-1] - 1 if found else 0
            high = low + 1
            while high < self.n_cells and measured(high, n, tuning) < recall:
                low, high = high, min(2 * high, self.n_cells)
            while high - low > 1:
                middle = (low + high) // 2
                if measured(middle, n, tuning) < recall:
                    low = middle
                else:
                    high = middle
            while high < self.n_cells and measured(high, n, holding) < recall:
                high = min(high + max(1, high // 8), self.n_cells)
            found.append(high)
        self.breadth = tuple(found)
        self.recall = measured(found[0], lengths[0], range(half, len(queries)))


class _Filter:
    """The eligible items, in the formats of faiss and of our kernel.

    Attributes:
        bitmap: bool[any]; empty if all items are eligible.
        count: the number of eligible items.
        selector: the faiss selector; None if all items are eligible.
    """

    def __init__(
        self, faiss: Any, size: int, in_cells: int, bitmap: NDArray[np.bool_] | None
    ) -> None:
        self.size = size
        self.bitmap, self.count, self.selector = _EVERYTHING, size, None
        if bitmap is not None:
            self.bitmap = np.zeros(1, np.bool_) if len(bitmap) == 0 else bitmap[:size]
            self.count = int(np.count_nonzero(self.bitmap))
            # One spare bit, so that every item has a bit in the array.
            bits = np.zeros(in_cells // 8 + 1, np.uint8)
            packed_bits = np.packbits(self.bitmap[:in_cells], bitorder="little")
            bits[: len(packed_bits)] = packed_bits
            self.selector = faiss.IDSelectorBitmap(bits)

    def items(self) -> NDArray[np.int64]:
        """The eligible items, int64[count]."""
        return np.arange(self.size) if self.selector is None else np.flatnonzero(self.bitmap)


def _sample(queries: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """A random sample of the queries; zero vectors are skipped, as all items would tie."""
    random = np.random.default_rng(seed)
    drawn = queries[random.permutation(len(queries))[: 8 * _SAMPLE]]
    able = np.isfinite(drawn).all(axis=1) & drawn.any(axis=1)
    return np.ascontiguousarray(drawn[able][: 2 * _SAMPLE], np.float32)


def _finite(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors, with those that are not finite set to zero, since faiss rejects them."""
    is_finite = np.isfinite(vectors).all(axis=1, keepdims=True)
    finite: NDArray[np.float32] = vectors if is_finite.all() else np.where(is_finite, vectors, 0)
    return np.ascontiguousarray(finite, np.float32)


def _faiss() -> Any:
    """The faiss module, imported on first use."""
    try:
        with sleeping_openmp():
            return import_module("faiss")
    except ImportError as problem:
        raise LibraryError("faiss", problem, "pip install 'tastemaker[ann]'") from None
