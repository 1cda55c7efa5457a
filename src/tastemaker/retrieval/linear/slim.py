"""SLIM: a sparse item–item matrix learnt by elastic nets, a regression for each item."""

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
"""Items between two words of progress."""
_BYTES = 16
"""Of a regression, for each pair of active items: their products, and their copy as it grows."""
_WEIGHT_BYTES = 40
"""Of each weight found, beside where it was written: all in one, by column and by row."""
_CURE = "raise 'l1', or lower 'neighbors'"
_JOIN = 64
"""At least so many items may join the active ones at a time."""
_TOO_MANY = -1
"""Stands for the number of weights of a regression that memory did not suffice for."""


class SLIMConfig(DislikeSettings):
    """Settings of `SLIM`."""

    l1: float = Field(1.0, ge=0)
    """λ: the larger, the fewer weights there are."""
    l2: float = Field(1.0, gt=0)
    """β: the larger, the smaller the weights are, and the more evenly spread."""
    positive: bool = True
    """Whether weights below zero are forbidden; with them a model is slower and says more."""
    neighbors: int | None = Field(None, ge=1)
    """Only so many items of highest cosine may get a weight (fsSLIM); by default all may."""
    tolerance: float = Field(1e-4, gt=0)
    """A regression ends when no weight changes by more than this."""
    iterations: int = Field(100, ge=1)
    """Sweeps over a regression's weights, at most."""
    reduce: Reduce = "binary"
    """How repeated events of a pair become one weight."""


class SLIM(ItemItem):
    """Sparse linear method (Ning & Karypis 2011, equation 4).

    Column w of the weights is, for each item x, what minimizes

        ½‖x − Xw‖² + β/2 ‖w‖² + λ‖w‖₁,   w ≥ 0, nothing on the diagonal

    by coordinate descent (Friedman, Hastie & Tibshirani 2010) on XᵀX alone, over the few items
    that have a weight or should get one; it ends when no other item should. Where weights must not
    be negative, an item that stands together with x no more than λ never needs to be looked at.

    Attributes:
        weights: float32[items × items], few of them not zero.

    Cost: `fit`, Σ over users of (items liked)² steps twice, for each item a few times (items that
    get a weight) × (items these stand together with), and 8 bytes for each pair of items that
    stand together; a request, history × weights of an item.

    Raises:
        MemoryBudgetError: from `fit`, when XᵀX would exceed the budget, a regression, or the
            weights.

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
        """Solves a regression for each item."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_items = users.shape[1]
        fix = "leave out items with few events, or take ItemKNN, which keeps neighbours only"
        gram = SparseGram.of(users, options, f"SLIM on {n_items:,} items", fix)
        columns = [np.empty((0, 2))]
        found = np.zeros(n_items, np.int64)
        blocks = range(0, n_items, _AT_A_TIME)
        for first in options.progress.track(blocks, "SLIM: regressions", len(blocks)):
            last = min(first + _AT_A_TIME, n_items)
            # anew each time: the weights found so far are held too
            most = isqrt(options.memory_left // (_BYTES * options.threads))
            columns += self._solved(gram, first, last, found, most, options.threads)
            if (found[first:last] == _TOO_MANY).any():
                raise MemoryBudgetError(
                    f"SLIM on {n_items:,} items: a regression over more than {most:,} items does "
                    f"not fit into the memory budget; {_CURE}"
                )
        count = int(found.sum())
        told = f"SLIM on {n_items:,} items with {count:,} weights"
        options.require_memory(_WEIGHT_BYTES * count, told, _CURE)
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
        """The weights of the columns first … last − 1, [found × (item, weight)], in their order."""
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

    Writes to `found` how many weights each has, and stops at one that has too many active items.
    """
    n_items = len(gram.diagonal)
    entries = np.empty((1_024, 2), np.float64)
    size = 0
    place = np.full(n_items, -1, np.int32)  # where an active item stands among the active ones
    speaks = np.zeros(n_items, np.float64)  # XᵀX's column less what the weights explain of it
    allowed = np.empty(n_items, np.int32)
    for item in range(start, stop):
        count = _may_speak(item, gram, l1, positive, neighbors, allowed)
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
            speaks,
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
def _may_speak(item, gram, l1, positive, neighbors, allowed):  # type: ignore[no-untyped-def]
    """Writes the items that may get a weight for `item`; returns how many."""
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
    item, gram, l1, l2, positive, allowed, tolerance, iterations, most, place, speaks
):
    """The active items of one regression, their weights, and whether these are at most `most`.

    The items that speak most beyond λ join; the weights of all active ones are solved; and so on
    until none should join. Leaves `place` set for the active items.
    """
    size, room = 0, _JOIN
    active = np.empty(room, np.int32)
    weights, rest = np.zeros(room), np.zeros(room)
    target = np.empty(room)
    inner = np.empty((room, room))
    while True:
        for other in allowed:
            speaks[other] = 0
        for entry in range(gram.offsets[item], gram.offsets[item + 1]):
            speaks[gram.items[entry]] = gram.values[entry]
        for known in range(size):
            if weights[known] != 0:
                other = active[known]
                for entry in range(gram.offsets[other], gram.offsets[other + 1]):
                    speaks[gram.items[entry]] -= weights[known] * gram.values[entry]
        joining = _beyond(allowed, speaks, place, l1 + 1e-6 * gram.diagonal[item], positive,
                          max(_JOIN, size))  # fmt: skip
        if len(joining) == 0:
            return active[:size], weights[:size], True
        if size + len(joining) > most:
            return active[:size], weights[:size], False
        while size + len(joining) > room:
            room = min(2 * room, max(most, _JOIN))
            active, target = _longer(active, room), _longer(target, room)
            weights, rest = _longer(weights, room), np.zeros(room)
            wider = np.empty((room, room))
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
def _longer(values, room):  # type: ignore[no-untyped-def]
    """A longer array that begins with `values`; the rest is zero."""
    longer = np.zeros(room, values.dtype)
    longer[: len(values)] = values
    return longer


@kernel
def _beyond(allowed, speaks, place, least, positive, most):  # type: ignore[no-untyped-def]
    """The items that are not active and speak more than `least`: the strongest, ascending."""
    some = np.empty(most, np.int32)
    strength = np.empty(most, np.float32)
    count = 0
    for other in allowed:
        value = speaks[other] if positive else abs(speaks[other])
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
            wanted = 0.0
            if pull > l1:
                wanted = (pull - l1) / (inner[k, k] + l2)
            elif pull < -l1 and not positive:
                wanted = (pull + l1) / (inner[k, k] + l2)
            step = wanted - weights[k]
            if step != 0:
                row = inner[k]
                for other in range(size):
                    rest[other] -= step * row[other]
                weights[k] = wanted
                moved = max(moved, abs(step))
        if moved <= tolerance:
            break
