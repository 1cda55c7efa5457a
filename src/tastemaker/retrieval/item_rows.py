"""Item–item models whose rows are learnt one by one: all of them in `fit`, a few in `update`."""

from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.component import FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import DataError
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_item import ItemItem
from tastemaker.threads import run_chunks

_AT_A_TIME = 2_000
"""Items between two words of progress."""

LearnRows = Callable[
    [NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]], None
]
"""(items [m], near [m × neighbors], strength [m × neighbors], found [m]) → None: writes for each
item its neighbours, strongest first, how strong they are, and how many; releases the GIL."""


@dataclass(frozen=True, slots=True)
class RowLearner:
    """How the rows of a model follow from the interactions.

    Attributes:
        learn: writes the rows of given items.
        of_items: float[figures × items], on which rows depend beside the interactions; a row has
            to be learnt anew where one of its items has other figures.
    """

    learn: LearnRows
    of_items: NDArray[np.floating]


class _HasNeighbors(Protocol):
    neighbors: int


class ItemRows(ItemItem):
    """An item–item model that keeps the strongest neighbours of each item, row by row.

    A model says what it learns from (`evidence`) and how a row follows (`learner`). A row may
    depend on the users of its item, on what else these liked, and on `RowLearner.of_items`;
    therefore only rows of items that stand beside a changed one change.

    Attributes:
        digests: uint64[items], of what was known of each item; tells which have changed.
        items: digest of the items it was fitted on, by their ids.
    """

    digests: NDArray[np.uint64]
    items: str

    @abstractmethod
    def evidence(self, dataset: Dataset) -> csr_array:
        """What is learnt from, float32[users × items], or baskets or sessions × items."""

    @abstractmethod
    def learner(self, pairs: Interactions) -> RowLearner:
        """How rows follow from the evidence."""

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Finds the neighbours of every item."""
        rows = self.evidence(dataset)
        n_items = rows.shape[1]
        self._require_memory(rows, options)
        pairs = Interactions.of(rows)
        learner = self.learner(pairs)
        every = np.arange(n_items, dtype=np.int32)
        self.weights = self._learnt(learner, every, pairs, options)
        self.digests = _digests(pairs, learner)
        self.items = dataset.catalogue.items.digest
        self.n_fitted = n_items
        return self

    def update(self, dataset: Dataset, options: FitOptions = FitOptions()) -> Self:
        """The same with later events: only the rows beside changed items are learnt anew.

        Cost: as `fit`, for the items that stand together with one that has changed.
        """
        self.require_fitted()
        if dataset.catalogue.items.digest != self.items:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.n_fitted:,} items, the events are of "
                f"{len(dataset.catalogue):,} items that are not the same: call fit for new items"
            )
        rows = self.evidence(dataset)
        self._require_memory(rows, options)
        pairs = Interactions.of(rows)
        learner = self.learner(pairs)
        digests = _digests(pairs, learner)
        changed = digests != self.digests
        beside = changed.copy()
        _mark_beside(np.flatnonzero(changed), pairs, beside)
        again = np.flatnonzero(beside).astype(np.int32)
        later = copy(self)
        later.weights = _with_rows(
            self.weights, again, self._learnt(learner, again, pairs, options)
        )
        later.digests = digests
        return later

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the neighbours, and what tells which of them an update changes."""
        super().save(writer)
        writer.array("digests", self.digests)
        writer.json("items", self.items)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps the neighbours."""
        super().load(reader)
        self.digests = reader.array("digests")
        self.items = reader.json("items")
        return self

    @property
    def _neighbors(self) -> int:
        """The most that are kept of each item."""
        return cast(_HasNeighbors, self.config).neighbors

    def _require_memory(self, rows: csr_array, options: FitOptions) -> None:
        n_items = rows.shape[1]
        options.require_memory(
            16 * n_items * min(self._neighbors, n_items) + 40 * rows.nnz,
            f"{type(self).__name__} on {n_items:,} items",
            "lower 'neighbors'",
        )

    def _learnt(
        self,
        learner: RowLearner,
        items: NDArray[np.int32],
        pairs: Interactions,
        options: FitOptions,
    ) -> csr_array:
        """The rows of some items, float32[len(items) × items]."""
        told = f"{type(self).__name__}: neighbours"
        cost = np.diff(pairs.item_offsets)
        return learnt_rows(learner.learn, items, cost, self._neighbors, options, told)


def learnt_rows(
    learn: LearnRows,
    items: NDArray[np.int32],
    cost: NDArray[np.int64],
    neighbors: int,
    options: FitOptions,
    told: str,
) -> csr_array:
    """The rows of some items, float32[len(items) × items].

    Args:
        learn: writes them.
        items: which.
        cost: int64[items], how much work each of all items is about.
        neighbors: how many entries a row has at most.
        options: threads and progress.
        told: what the progress is called.
    """
    n_items = len(cost)
    k = min(neighbors, max(1, n_items - 1))
    near = np.empty((len(items), k), np.int32)
    strength = np.empty((len(items), k), np.float32)
    found = np.zeros(len(items), np.int64)
    work = offsets_of(cost[items])
    blocks = range(0, len(items), _AT_A_TIME)
    for first in options.progress.track(blocks, told, len(blocks)):
        last = min(first + _AT_A_TIME, len(items))

        def some(start: int, stop: int, first: int = first) -> None:
            rows = slice(first + start, first + stop)
            learn(items[rows], near[rows], strength[rows], found[rows])

        run_chunks(some, work[first : last + 1] - work[first], options.threads)
    return packed_rows(near, strength, found, n_items)


def packed_rows(
    near: NDArray[np.int32],
    strength: NDArray[np.float32],
    found: NDArray[np.int64],
    n_items: int,
) -> csr_array:
    """The first found[row] neighbours of each row, float32[rows × n_items]."""
    kept = np.arange(near.shape[1]) < found[:, None]
    offsets = offsets_of(found)
    if offsets[-1] <= np.iinfo(np.int32).max:  # else SciPy would widen the neighbours too
        offsets = offsets.astype(np.int32)
    return csr_array((strength[kept], near[kept], offsets), shape=(len(near), n_items))


def _with_rows(weights: csr_array, items: NDArray[np.int32], rows: csr_array) -> csr_array:
    """`weights` with the rows of `items` replaced by `rows`."""
    counts = np.diff(weights.indptr).astype(np.int64)
    counts[items] = np.diff(rows.indptr)
    offsets = offsets_of(counts)
    columns = np.empty(offsets[-1], np.int32)
    strength = np.empty(offsets[-1], np.float32)
    place = np.full(len(counts), -1, np.int64)
    place[items] = np.arange(len(items))
    for row in range(len(counts)):
        source, at = (weights, row) if place[row] < 0 else (rows, place[row])
        entries = slice(source.indptr[at], source.indptr[at + 1])
        columns[offsets[row] : offsets[row + 1]] = source.indices[entries]
        strength[offsets[row] : offsets[row + 1]] = source.data[entries]
    if offsets[-1] <= np.iinfo(np.int32).max:
        offsets = offsets.astype(np.int32)
    return csr_array((strength, columns, offsets), shape=weights.shape)


def _digests(pairs: Interactions, learner: RowLearner) -> NDArray[np.uint64]:
    """Of each item's weights, in the order of the users, and of its figures: FNV-1a, by words."""
    digests = np.empty(len(pairs.item_offsets) - 1, np.uint64)
    figures = np.ascontiguousarray(learner.of_items.T, np.float64).view(np.uint64)
    _digest_columns(pairs.item_offsets, pairs.item_weights.view(np.uint32), figures, digests)
    return digests


@kernel
def _digest_columns(offsets, weights, figures, digests):  # type: ignore[no-untyped-def]
    """Writes the digest of each column's bits and of its row of `figures`."""
    prime = np.uint64(0x100000001B3)
    for item in range(len(digests)):
        digest = np.uint64(0xCBF29CE484222325)
        for entry in range(offsets[item], offsets[item + 1]):
            digest = (digest ^ np.uint64(weights[entry])) * prime
        for figure in range(figures.shape[1]):
            digest = (digest ^ figures[item, figure]) * prime
            digest ^= digest >> np.uint64(29)
        digests[item] = digest


@kernel
def _mark_beside(changed, pairs, beside):  # type: ignore[no-untyped-def]
    """Marks every item that some user has beside a changed one."""
    for item in changed:
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user = pairs.item_users[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                beside[pairs.user_items[place]] = True
