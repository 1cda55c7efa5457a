"""The sparse Gram matrix XᵀX of items, for SLIM and SparseEASE."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import FitOptions
from tastemaker.data.ragged import offsets_of
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.threads import run_chunks


class SparseGram(NamedTuple):
    """XᵀX by rows, in the layout that the kernels use, with a separate diagonal.

    Attributes:
        offsets: int64[items + 1].
        items: int32[n], in the order of their first occurrence, without the row's own item.
        values: float32[n].
        diagonal: float32[items].
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    diagonal: NDArray[np.float32]

    @classmethod
    def of(cls, users: csr_array, options: FitOptions, purpose: str, fix: str) -> "SparseGram":
        """The Gram matrix of X; a first pass counts the entries to check the memory budget.

        Args:
            users: X, float32[users × items].
            options: threads and memory budget.
            purpose: the task named in errors, such as `SLIM on 10,000 items`.
            fix: what to do if the memory budget is exceeded.

        Raises:
            MemoryBudgetError: the matrix would exceed the budget.

        Cost: Σ over users of (items liked)² steps, twice; 8 bytes for each pair of items.
        """
        pairs = Interactions.of(users)
        n_items = users.shape[1]
        counts = np.zeros(n_items, np.int64)
        cost = pairs.item_offsets
        run_chunks(lambda a, b: _count(a, b, pairs, counts), cost, options.threads)
        offsets = offsets_of(counts)
        options.require_memory(8 * int(offsets[-1]) + 16 * n_items, purpose, fix)
        items = np.empty(offsets[-1], np.int32)
        values = np.empty(offsets[-1], np.float32)
        diagonal = np.zeros(n_items, np.float32)
        gram = cls(offsets, items, values, diagonal)
        run_chunks(lambda a, b: _fill(a, b, pairs, gram), cost, options.threads)
        return gram


@kernel
def _count(start, stop, pairs, counts):  # type: ignore[no-untyped-def]
    """Writes the number of items that share a user with each of start … stop − 1."""
    met = np.full(len(pairs.item_offsets) - 1, -1, np.int32)
    for item in range(start, stop):
        met[item] = item
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user = pairs.item_users[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                other = pairs.user_items[place]
                if met[other] != item:
                    met[other] = item
                    counts[item] += 1


@kernel
def _fill(start, stop, pairs, gram):  # type: ignore[no-untyped-def]
    """Writes the rows start … stop − 1 of XᵀX, items in the order of their first occurrence."""
    n_items = len(pairs.item_offsets) - 1
    met = np.full(n_items, -1, np.int32)
    row = np.zeros(n_items, np.float32)
    for item in range(start, stop):
        size = gram.offsets[item]
        met[item] = item
        row[item] = 0
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user, weight = pairs.item_users[entry], pairs.item_weights[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                other = pairs.user_items[place]
                if met[other] != item:
                    met[other] = item
                    row[other] = 0
                    gram.items[size] = other
                    size += 1
                row[other] += weight * pairs.user_weights[place]
        gram.diagonal[item] = row[item]
        for entry in range(gram.offsets[item], size):
            gram.values[entry] = row[gram.items[entry]]
