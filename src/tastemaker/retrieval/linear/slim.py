"""SLIM: a sparse item–item matrix learned by one elastic net regression per item."""

from math import isqrt
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import MemoryBudgetError
from tastemaker.index.heap import keep
from tastemaker.retrieval.item_item import ItemItem
from tastemaker.retrieval.linear.gram import SparseGram
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.threads import run_chunks

_AT_A_TIME = 1_000
"""Items between two progress updates."""
_BYTES = 16
"""Bytes of a regression per pair of active items: their products, and a copy while it grows."""
_WEIGHT_BYTES = 40
"""Additional bytes per weight to combine the weights of all columns and transpose them."""
_FIX = "raise 'l1', or lower 'neighbors'"
_JOIN = 64
"""The minimum number of items that can become active at a time."""
_TOO_MANY = -1
"""Marks a regression that exceeded the memory budget, in place of its number of weights."""


class SLIMConfig(DislikeSettings):
    """Settings of `SLIM`."""

    l1: float = Field(1.0, ge=0)
    """λ: larger values give fewer weights."""
    l2: float = Field(1.0, gt=0)
    """β: larger values give smaller and more evenly spread weights."""
    positive: bool = True
    """Whether to forbid negative weights; allowing them is slower, but more expressive."""
    neighbors: int | None = Field(None, ge=1)
    """Restricts weights to this many items of highest cosine (fsSLIM); by default, all items."""
    tolerance: float = Field(1e-4, gt=0)
    """A regression stops when no weight changes by more than this."""
    iterations: int = Field(100, ge=1)
    """Maximum number of sweeps over the weights of a regression."""
    reduce: Reduce = "binary"
    """How to combine repeated events of a pair into one weight."""


class SLIM(ItemItem):
    """Sparse linear method (Ning & Karypis 2011, equation 4).

    For each item x, column w of the weights minimizes

        ½‖x − Xw‖² + β/2 ‖w‖² + λ‖w‖₁,   w ≥ 0, zero on the diagonal

    by coordinate descent (Friedman, Hastie & Tibshirani 2010) on XᵀX, over the active set of items
    that have a weight or should get one. It stops when no other item should become active. If
    weights must not be negative, items whose product with x is at most λ are skipped.

    Attributes:
        weights: float32[items × items], sparse.

    Cost: `fit`, Σ over users of (items liked)² steps twice, for each item a few times (items with a
    weight) × (items that share a user with them), and 8 bytes for each pair of items that share a
    user; a request, history × weights of an item.

    Raises:
        MemoryBudgetError: from `fit`, if XᵀX, a regression, or the weights would exceed the budget.

    Example:
        >>> SLIM(l1=5.0, neighbors=100)
        SLIM(l1=5.0, neighbors=100)
    """

    name = "slim"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: SLIMConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by solving a regression for each item."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_items = users.shape[1]
        fix = "leave out items with few events, or use ItemKNN, which keeps only neighbours"
        gram = SparseGram.of(users, options, f"SLIM on {n_items:,} items", fix)
        columns = [np.empty((0, 2))]
        found = np.zeros(n_items, np.int64)
        blocks = range(0, n_items, _AT_A_TIME)
        for first in options.progress.track(blocks, "SLIM: regressions", len(blocks)):
            last = min(first + _AT_A_TIME, n_items)
            # Computed for each block, since the weights found so far take memory too.
            most = isqrt(options.memory_left // (_BYTES * options.threads))
            columns += self._solved(gram, first, last, found, most, options.threads)
            if (found[first:last] == _TOO_MANY).any():
                raise MemoryBudgetError(
                    f"SLIM on {n_items:,} items: a regression over more than {most:,} items does "
                    f"not fit in the memory budget; {_FIX}"
                )
        count = int(found.sum())
        purpose = f"SLIM on {n_items:,} items with {count:,} weights"
        options.require_memory(_WEIGHT_BYTES * count, purpose, _FIX)
        entries = np.concatenate(columns)
        shape = (n_items, n_items)
        weights = entries[:, 1].astype(np.float32)
        rows = csr_array((weights, entries[:, 0].astype(np.int32), offsets_of(found)), shape)
        self.weights = rows.T.tocsr()
        self.n_fitted = n_items
        return self

    def _solved(
        self,
        gram: SparseGram,
        first: int,
        last: int,
        found: NDArray[np.int64],
        most: int,
        threads: int,
    ) -> list[NDArray[np.float64]]:
        """The weights of columns first … last − 1, [weights × (item, weight)], in their order."""
        config, parts = self.config, dict[int, NDArray[np.float64]]()
        neighbors = config.neighbors or len(found)

        def solve(start: int, stop: int) -> None:
            parts[start] = _columns(
                *(first + start, first + stop, gram, config.l1, config.l2, config.positive),
                *(min(neighbors, len(found)), config.tolerance, config.iterations, most, found),
            )

        run_chunks(solve, gram.offsets[first : last + 1] - gram.offsets[first], threads)
        return [parts[start] for start in sorted(parts)]


@kernel
def _columns(  # type: ignore[no-untyped-def]
    start, stop, gram, l1, l2, positive, neighbors, tolerance, iterations, most, found
):
    """Solves the regressions of items start … stop − 1; returns float64[weights × (item, weight)].

    Writes the number of weights of each item to `found`; stops if one has too many active items.
    """
    n_items = len(gram.diagonal)
    entries = np.empty((1_024, 2), np.float64)
    size = 0
    place = np.full(n_items, -1, np.int32)  # the place of each item in the active set
    residual = np.zeros(
        n_items, np.float64
    )  # the column of XᵀX minus the part that the weights explain
    allowed = np.empty(n_items, np.int32)
    for item in range(start, stop):
        count = _candidates(item, gram, l1, positive, neighbors, allowed)
        active, weights, fits = _regression(
            item,
            gram,
            l1,
            l2,
            positive,
            allowed[:count],
            tolerance,
            iterations,
            most,
            place,
            residual,
        )
        if not fits:
            found[item] = _TOO_MANY
            break
        for entry in range(len(active)):
            place[active[entry]] = -1
            if weights[entry] != 0:
                if size == len(entries):
                    more = np.empty((2 * size, 2), np.float64)
                    more[:size] = entries
                    entries = more
                entries[size, 0], entries[size, 1] = active[entry], weights[entry]
                size += 1
                found[item] += 1
    return entries[:size].copy()


@kernel
def _candidates(item, gram, l1, positive, neighbors, allowed):  # type: ignore[no-untyped-def]
    """Writes the items that can get a weight for `item`; returns their number."""
    n_items, count = len(gram.diagonal), 0
    first, last = gram.offsets[item], gram.offsets[item + 1]
    if neighbors < n_items:
        cosines = np.empty(neighbors, np.float32)
        for entry in range(first, last):
            other = gram.items[entry]
            norms = np.sqrt(gram.diagonal[item] * gram.diagonal[other])
            cosine = np.float32(gram.values[entry] / norms)
            count = keep(cosine, other, allowed[:neighbors], cosines, count)
        return count
    if positive:
        for entry in range(first, last):
            if gram.values[entry] > l1:
                allowed[count] = gram.items[entry]
                count += 1
        return count
    for other in range(n_items):
        if other != item and gram.diagonal[other] > 0:
            allowed[count] = other
            count += 1
    return count


@kernel
def _regression(  # type: ignore[no-untyped-def]
    item, gram, l1, l2, positive, allowed, tolerance, iterations, most, place, residual
):
    """The active items of one regression, their weights, and whether there are at most `most`.

    Repeatedly adds the items whose residual exceeds λ most to the active set and solves for the
    weights of all active items, until no item is added. Leaves `place` set for the active items.
    """
    size, capacity = 0, _JOIN
    active = np.empty(capacity, np.int32)
    weights, rest = np.zeros(capacity), np.zeros(capacity)
    target = np.empty(capacity)
    inner = np.empty((capacity, capacity))
    while True:
        for other in allowed:
            residual[other] = 0
        for entry in range(gram.offsets[item], gram.offsets[item + 1]):
            residual[gram.items[entry]] = gram.values[entry]
        for known in range(size):
            if weights[known] != 0:
                other = active[known]
                for entry in range(gram.offsets[other], gram.offsets[other + 1]):
                    residual[gram.items[entry]] -= weights[known] * gram.values[entry]
        joining = _beyond(allowed, residual, place, l1 + 1e-6 * gram.diagonal[item], positive,
                          max(_JOIN, size))  # fmt: skip
        if len(joining) == 0:
            return active[:size], weights[:size], True
        if size + len(joining) > most:
            return active[:size], weights[:size], False
        while size + len(joining) > capacity:
            capacity = min(2 * capacity, max(most, _JOIN))
            active, target = _longer(active, capacity), _longer(target, capacity)
            weights, rest = _longer(weights, capacity), np.zeros(capacity)
            wider = np.empty((capacity, capacity))
            wider[:size, :size] = inner[:size, :size]
            inner = wider
        for other in joining:
            active[size], weights[size], target[size] = other, 0, 0
            place[other] = size
            size += 1
        for entry in range(gram.offsets[item], gram.offsets[item + 1]):
            if place[gram.items[entry]] >= 0:
                target[place[gram.items[entry]]] = gram.values[entry]
        for known in range(size - len(joining), size):
            other = active[known]
            inner[known, :size] = 0
            inner[:size, known] = 0
            for entry in range(gram.offsets[other], gram.offsets[other + 1]):
                beside = place[gram.items[entry]]
                if beside >= 0:
                    inner[known, beside] = gram.values[entry]
                    inner[beside, known] = gram.values[entry]
            inner[known, known] = gram.diagonal[other]
        _descend(inner, target, weights, rest, size, l1, l2, positive, tolerance, iterations)


@kernel
def _longer(values, capacity):  # type: ignore[no-untyped-def]
    """A longer array that begins with `values`; the rest is zero."""
    longer = np.zeros(capacity, values.dtype)
    longer[: len(values)] = values
    return longer


@kernel
def _beyond(allowed, residual, place, least, positive, most):  # type: ignore[no-untyped-def]
    """The inactive items whose residual exceeds `least`: the strongest `most`, ascending."""
    some = np.empty(most, np.int32)
    strength = np.empty(most, np.float32)
    count = 0
    for other in allowed:
        value = residual[other] if positive else abs(residual[other])
        if place[other] < 0 and value > least:
            count = keep(np.float32(value), other, some, strength, count)
    return np.sort(some[:count])


@kernel
def _descend(  # type: ignore[no-untyped-def]
    inner, target, weights, rest, size, l1, l2, positive, tolerance, iterations
):
    """Coordinate descent on ½wᵀ(XᵀX)w − wᵀXᵀx + β/2‖w‖² + λ‖w‖₁; improves `weights` in place."""
    rest[:size] = target[:size]
    for k in range(size):
        if weights[k] != 0:
            for other in range(size):
                rest[other] -= weights[k] * inner[k, other]
    for _ in range(iterations):
        moved = 0.0
        for k in range(size):
            pull = rest[k] + inner[k, k] * weights[k]
            target_weight = 0.0
            if pull > l1:
                target_weight = (pull - l1) / (inner[k, k] + l2)
            elif pull < -l1 and not positive:
                target_weight = (pull + l1) / (inner[k, k] + l2)
            step = target_weight - weights[k]
            if step != 0:
                row = inner[k]
                for other in range(size):
                    rest[other] -= step * row[other]
                weights[k] = target_weight
                moved = max(moved, abs(step))
        if moved <= tolerance:
            break
