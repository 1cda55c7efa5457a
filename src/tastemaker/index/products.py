"""Exact search by inner product, with bitwise identical scores for one request and for a batch.

The order of additions in a BLAS matrix product depends on the number of rows. Here every score is
x₀y₀ + x₁y₁ + … in float32, each product rounded and added in that order, so that a request gets
the same answer alone, in a batch, and in training data generated from batches.
"""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError
from tastemaker.index.exact import packed
from tastemaker.index.heap import any_reaches, best_first, keep
from tastemaker.index.vector_index import VectorIndex
from tastemaker.threads import run_chunks

_WIDTH = 1_024
"""Items in a block: with 64 factors a quarter of a megabyte, which fits in a core's cache."""
_STEP = 8
"""Factors added at a time; vectors are padded with zeros to a multiple of it."""
_SHARE = 8
"""Requests that are scored together for each block read."""


class ProductIndex(VectorIndex):
    """Vectors laid out for the exact top-n by inner product.

    Items are grouped in blocks, the longest vectors first. No score exceeds ‖x‖·‖y‖
    (Cauchy–Schwarz), so a search ends at the first block whose longest vector cannot improve the
    current list.

    Attributes:
        blocks: float32[blocks × padded factors × `_WIDTH`], zero where there is no item.
        order: int32[items], the item in each place.
        longest: float32[blocks], the length of each block's first vector.

    Cost: 4 × items × factors bytes; a search, at most items × factors steps, a tenth of that if
    lengths vary as much as those of ALS; adding items rebuilds the layout.

    Example:
        >>> index = ProductIndex.of(np.eye(3, dtype=np.float32))
        >>> x = np.array([[0.1, 0.9, 0.5]], np.float32)
        >>> index.top_n(x, Requests.of([[]]), 2)[0].tolist()
        [1, 2]
    """

    kind: ClassVar = "exact"
    recall = 1.0

    def __init__(
        self,
        blocks: NDArray[np.float32],
        order: NDArray[np.int32],
        longest: NDArray[np.float32],
    ) -> None:
        self.blocks = blocks
        self.order = order
        self.longest = longest

    @classmethod
    def of(cls, vectors: NDArray[np.float32]) -> Self:
        """An index of float32[items × factors]."""
        n_items, factors = vectors.shape
        lengths = np.linalg.norm(vectors, axis=1)
        order = np.argsort(-lengths, kind="stable").astype(np.int32)
        count = -(-n_items // _WIDTH)
        blocks = np.zeros((count, -(-factors // _STEP) * _STEP, _WIDTH), np.float32)
        for block in range(count):
            items = order[block * _WIDTH : (block + 1) * _WIDTH]
            blocks[block, :factors, : len(items)] = vectors[items].T
        return cls(blocks, order, lengths[order[::_WIDTH]].astype(np.float32))

    @property
    def size(self) -> int:
        """The number of items in the index."""
        return len(self.order)

    def top_n(
        self,
        x: NDArray[np.float32],
        requests: Requests,
        n: int,
        *,
        min_score: float = -np.inf,
        threads: int = 1,
    ) -> Candidates:
        """The n eligible items of largest inner product, exactly."""
        total, n = len(requests), max(0, min(n, len(self.order)))
        if n == 0 or total == 0:
            return Candidates.none(total)
        padded = np.zeros((total, self.blocks.shape[1]), np.float32)
        padded[:, : x.shape[1]] = x
        padded[~np.isfinite(padded).all(axis=1)] = np.nan  # no score is comparable to NaN
        # Rounding can raise a score above ‖x‖·‖y‖ by less than this.
        reach = np.linalg.norm(padded, axis=1) * (1 + 4e-7 * padded.shape[1])
        items = np.empty((total, n), np.int32)
        scores = np.empty((total, n), np.float32)
        found = np.zeros(total, np.int64)
        exclude, eligible = requests.exclude, requests.eligible

        def search(first: int, last: int) -> None:
            rows = slice(first * _SHARE, min(last * _SHARE, total))
            _search(
                *(padded[rows], reach[rows], self.blocks, self.order, self.longest),
                *(exclude.offsets[rows.start : rows.stop + 1], exclude.values),
                *(eligible.bitmaps, eligible.row[rows]),
                *(np.float32(min_score), items[rows], scores[rows], found[rows]),
            )

        run_chunks(search, np.arange(-(-total // _SHARE) + 1), threads)
        return packed(items, scores, found)

    def added(self, vectors: NDArray[np.float32]) -> Self:
        """A new index of the current vectors and the given ones."""
        filled = np.zeros((self.size + len(vectors), self.blocks.shape[1]), np.float32)
        for block, laid_out in enumerate(self.blocks):
            items = self.order[block * _WIDTH : (block + 1) * _WIDTH]
            filled[items] = laid_out[:, : len(items)].T
        filled[self.size :, : vectors.shape[1]] = vectors
        return self.of(filled)

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the arrays."""
        writer.array("blocks", self.blocks)
        writer.array("order", self.order)
        writer.array("longest", self.longest)

    @classmethod
    def load(cls, reader: ArtifactReader) -> Self:
        """Memory-maps the arrays."""
        order = reader.array("order", np.int32, (None,))
        count = -(-len(order) // _WIDTH)
        blocks = reader.array("blocks", np.float32, (count, None, _WIDTH))
        if len(np.unique(order)) != len(order) or blocks.shape[1] % _STEP:
            raise ArtifactError("an index does not hold every item exactly once: train again")
        reader.array("order", below=len(order))
        return cls(blocks, order, reader.array("longest", np.float32, (count,)))


@kernel
def _search(  # type: ignore[no-untyped-def]
    x, reach, blocks, order, longest, offsets, excluded, bitmaps, bitmap_row, min_score,
    items, best, found,
):  # fmt: skip
    """Fills `items`, `best` and `found`; eight requests at a time share the blocks read.

    Bit r of marks[item] is set if the item is excluded for the r-th of the eight requests.
    """
    marks = np.zeros(len(order), np.uint8)
    scores = np.empty((_SHARE, blocks.shape[2]), np.float32)
    for first in range(0, len(x), _SHARE):
        rows = min(_SHARE, len(x) - first)
        for r in range(rows):
            _mark(marks, np.uint8(1 << r), excluded, offsets[first + r], offsets[first + r + 1])
        for block in range(len(blocks)):
            if not _within_reach(longest[block], reach, first, rows, min_score, best, found):
                break
            products(x[first : first + rows], blocks[block], scores)
            start = block * blocks.shape[2]
            for r in range(rows):
                row = first + r
                found[row] = _offer(
                    scores[r], order[start : start + blocks.shape[2]], marks, np.uint8(1 << r),
                    bitmaps, bitmap_row[row], min_score, items[row], best[row], found[row],
                )  # fmt: skip
        for r in range(rows):
            best_first(items[first + r], best[first + r], found[first + r])
        for entry in range(offsets[first], offsets[first + rows]):
            if 0 <= excluded[entry] < len(marks):
                marks[excluded[entry]] = 0


@kernel
def _mark(marks, bit, excluded, start, stop):  # type: ignore[no-untyped-def]
    """Sets the bit in the marks of every excluded item."""
    for entry in range(start, stop):
        if 0 <= excluded[entry] < len(marks):
            marks[excluded[entry]] |= bit


@kernel
def _within_reach(longest, reach, first, rows, min_score, best, found):  # type: ignore[no-untyped-def]
    """Whether a vector of length `longest` could enter the list of any of the requests."""
    for row in range(first, first + rows):
        bound = reach[row] * longest
        if found[row] == best.shape[1]:
            if bound >= best[row, 0]:
                return True
        elif bound > min_score:
            return True
    return False


@kernel
def _offer(  # type: ignore[no-untyped-def]
    scores, order, marks, bit, bitmaps, bitmap, min_score, items, best, size
):
    """Offers a block's items to the heap of one request; returns the heap's new size."""
    for first in range(0, len(order), 64):
        if not any_reaches(scores, first, best[0] if size == len(best) else min_score):
            continue
        for place in range(first, min(first + 64, len(order))):
            score, item = scores[place], order[place]
            if (
                not score > min_score
                or (size == len(best) and score < best[0])
                or marks[item] & bit
            ):
                continue
            if bitmap < 0 or (item < bitmaps.shape[1] and bitmaps[bitmap, item]):
                size = keep(score, item, items, best, size)
    return size


@kernel
def products(x, block, scores):  # type: ignore[no-untyped-def]
    """Writes Σ x[row, f]·block[f, item] to scores[row, item], added in the order of f.

    Four rows at a time share each read. The sums of a row do not depend on the other rows.
    """
    row = 0
    while row + 4 <= len(x):
        _four_rows(x[row : row + 4], block, scores[row], scores[row + 1], scores[row + 2],
                   scores[row + 3])  # fmt: skip
        row += 4
    for single in range(row, len(x)):
        _one_row(x[single], block, scores[single])


@kernel
def _four_rows(x, block, s0, s1, s2, s3):  # type: ignore[no-untyped-def]
    """`products` for four rows, four factors at a time."""
    s0[:], s1[:], s2[:], s3[:] = 0, 0, 0, 0
    for f in range(0, len(block), 4):
        y0, y1, y2, y3 = block[f], block[f + 1], block[f + 2], block[f + 3]
        a0, a1, a2, a3 = x[0, f], x[0, f + 1], x[0, f + 2], x[0, f + 3]
        b0, b1, b2, b3 = x[1, f], x[1, f + 1], x[1, f + 2], x[1, f + 3]
        c0, c1, c2, c3 = x[2, f], x[2, f + 1], x[2, f + 2], x[2, f + 3]
        d0, d1, d2, d3 = x[3, f], x[3, f + 1], x[3, f + 2], x[3, f + 3]
        for i in range(block.shape[1]):
            p, q, r, t = y0[i], y1[i], y2[i], y3[i]
            s0[i] = (((s0[i] + a0 * p) + a1 * q) + a2 * r) + a3 * t
            s1[i] = (((s1[i] + b0 * p) + b1 * q) + b2 * r) + b3 * t
            s2[i] = (((s2[i] + c0 * p) + c1 * q) + c2 * r) + c3 * t
            s3[i] = (((s3[i] + d0 * p) + d1 * q) + d2 * r) + d3 * t


@kernel
def _one_row(x, block, s):  # type: ignore[no-untyped-def]
    """`products` for one row, eight factors at a time."""
    s[:] = 0
    for f in range(0, len(block), 8):
        y0, y1, y2, y3 = block[f], block[f + 1], block[f + 2], block[f + 3]
        y4, y5, y6, y7 = block[f + 4], block[f + 5], block[f + 6], block[f + 7]
        x0, x1, x2, x3 = x[f], x[f + 1], x[f + 2], x[f + 3]
        x4, x5, x6, x7 = x[f + 4], x[f + 5], x[f + 6], x[f + 7]
        for i in range(block.shape[1]):
            sum4 = (((s[i] + x0 * y0[i]) + x1 * y1[i]) + x2 * y2[i]) + x3 * y3[i]
            s[i] = (((sum4 + x4 * y4[i]) + x5 * y5[i]) + x6 * y6[i]) + x7 * y7[i]
