"""SparseEASE: EASE for large catalogues, restricted to the nearest neighbours of each item."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.ragged import offsets_of
from tastemaker.index.heap import keep
from tastemaker.retrieval.item_item import ItemItem
from tastemaker.retrieval.item_rows import packed_rows
from tastemaker.retrieval.linear.gram import SparseGram
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.threads import run_chunks

_AT_A_TIME = 1_000
"""Items between two progress updates."""


class SparseEASEConfig(DislikeSettings):
    """Settings of `SparseEASE`."""

    neighbors: int = Field(100, ge=1, le=4_096)
    """The number of items of highest cosine that can support each item."""
    regularization: float = Field(30.0, gt=0)
    """λ: larger on smaller or noisier data; smaller than for `EASE`, as there are fewer weights."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """p, as in `EASE`: the model is trained as if this share of every history were hidden."""
    reduce: Reduce = "binary"
    """How to combine repeated events of a pair into one weight."""


class SparseEASE(ItemItem):
    """EASE restricted to neighbours (after Steck 2019, Markov random fields).

    Column j of EASE's B is the ridge regression of item j on all other items. Here the regression
    is restricted to the neighbours N of j and solved exactly, with G = XᵀX:

        B_Nj = (G_NN + Λ)⁻¹ G_Nj,   Λ = λI + p/(1 − p)·diag(G_NN)

    With all other items as neighbours, the model is `EASE`. SANSA (Spišák, Bartyzal, Hoskovec,
    Peska & Tůma 2023) serves the same purpose by an incomplete factorization of all of G. On sparse
    data the restriction can be an advantage: the other items add little information and much noise.

    Attributes:
        weights: float32[items × items], `neighbors` in each column.

    Cost: `fit`, Σ over users of (items liked)² steps twice, for each item neighbors³ / 3 and
    neighbors × (items that share a user with one), and 8 bytes for each pair of items that share a
    user; a request, history × weights of an item.

    Raises:
        MemoryBudgetError: from `fit`, if XᵀX would exceed the budget.

    Example:
        >>> SparseEASE(neighbors=200)
        SparseEASE(neighbors=200)
    """

    name = "sparse_ease"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: SparseEASEConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> "SparseEASE":
        """Fits by solving a small regression for each item."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_items = users.shape[1]
        fix = "leave out items with few events, or use ItemKNN, which keeps only neighbours"
        purpose = f"SparseEASE on {n_items:,} items"
        gram = SparseGram.of(users, options, purpose, fix)
        width = min(self.config.neighbors, max(1, n_items - 1))
        options.require_memory(24 * n_items * width, purpose, "lower 'neighbors'")
        near = np.empty((n_items, width), np.int32)
        strength = np.empty((n_items, width), np.float32)
        found = np.zeros(n_items, np.int64)
        penalty = self._penalty(gram.diagonal.astype(np.float64))
        blocks = range(0, n_items, _AT_A_TIME)
        for first in options.progress.track(blocks, "SparseEASE: regressions", len(blocks)):
            last = min(first + _AT_A_TIME, n_items)
            cost = offsets_of(np.minimum(np.diff(gram.offsets[first : last + 1]), width))

            def solve(start: int, stop: int, first: int = first) -> None:
                some = slice(first + start, first + stop)
                items = np.arange(some.start, some.stop)
                rows = (near[some], strength[some], found[some])
                _regressions(items, gram, penalty, *rows)

            run_chunks(solve, cost, options.threads)
        self.weights = _columns(near, strength, found)
        self.n_fitted = n_items
        return self

    def _penalty(self, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
        """Λ, float64[items], from the diagonal of G."""
        dropout = self.config.dropout
        return self.config.regularization + dropout / (1 - dropout) * diagonal


def _columns(
    near: NDArray[np.int32], strength: NDArray[np.float32], found: NDArray[np.int64]
) -> csr_array:
    """The weights by rows, from entries by columns."""
    by_column = packed_rows(near, strength, found, len(near))
    weights: csr_array = by_column.T.tocsr()
    return weights


@kernel
def _regressions(items, gram, penalty, near, strength, found):  # type: ignore[no-untyped-def]
    """Writes the neighbours of each of `items`, ascending, and their weights."""
    width = near.shape[1]
    place = np.full(len(gram.diagonal), -1, np.int32)
    cosines = np.empty(width, np.float32)
    inner = np.empty((width, width))
    right = np.empty(width)
    for row in range(len(items)):
        item, some = items[row], near[row]
        count = _nearest(item, gram, some, cosines)
        some[:count].sort()
        for known in range(count):
            place[some[known]] = known
        inner[:count, :count] = 0
        right[:count] = 0
        for known in range(count):
            other = some[known]
            for entry in range(gram.offsets[other], gram.offsets[other + 1]):
                beside = place[gram.items[entry]]
                if beside >= 0:
                    inner[known, beside] = gram.values[entry]
                elif gram.items[entry] == item:
                    right[known] = gram.values[entry]
            inner[known, known] = gram.diagonal[other] + penalty[other]
        for known in range(count):
            place[some[known]] = -1
        _solve(inner, right, count)
        for known in range(count):
            strength[row, known] = right[known]
        found[row] = count


@kernel
def _nearest(item, gram, near, cosines):  # type: ignore[no-untyped-def]
    """Writes the items of highest cosine, or all others if they fit; returns their number."""
    n_items, count = len(gram.diagonal), 0
    if len(near) >= n_items - 1:
        for other in range(n_items):
            if other != item:
                near[count] = other
                count += 1
        return count
    for entry in range(gram.offsets[item], gram.offsets[item + 1]):
        other = gram.items[entry]
        norms = np.sqrt(gram.diagonal[item] * gram.diagonal[other])
        count = keep(np.float32(gram.values[entry] / norms), other, near, cosines, count)
    return count


@kernel
def _solve(matrix, right, size):  # type: ignore[no-untyped-def]
    """Solves matrix·x = right for the first `size` rows, symmetric and positive definite.

    Uses LDLᵀ, row by row (the upper triangle becomes D and Lᵀ); x is written to `right`.
    """
    for k in range(size):
        pivot = matrix[k]
        for row in range(k + 1, size):
            factor = pivot[row] / pivot[k]
            if factor != 0:
                lower = matrix[row]
                for column in range(row, size):
                    lower[column] -= factor * pivot[column]
                right[row] -= factor * right[k]
    for k in range(size - 1, -1, -1):
        total = right[k]
        for column in range(k + 1, size):
            total -= matrix[k, column] * right[column]
        right[k] = total / matrix[k, k]
