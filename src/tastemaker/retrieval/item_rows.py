"""Item–item models that learn rows separately: all rows in `fit`, affected rows in `update`."""

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
"""Items between two progress updates."""

LearnRows = Callable[
    [NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]], None
]
"""(items [m], near [m × neighbors], strength [m × neighbors], found [m]) → None: writes the
neighbours of each item, strongest first, their strengths, and their number; releases the GIL."""


@dataclass(frozen=True, slots=True)
class RowLearner:
    """How to learn the rows of a model from the interactions.

    Attributes:
        learn: writes the rows of given items.
        of_items: float[statistics × items], the item statistics on which rows depend in addition to
            the interactions; a row must be learned again if the statistics of one of its items
            change.
    """

    learn: LearnRows
    of_items: NDArray[np.floating]


class _HasNeighbors(Protocol):
    neighbors: int


class ItemRows(ItemItem):
    """An item–item model that learns the strongest neighbours of each item, row by row.

    A subclass provides the training matrix (`evidence`) and the row learner (`learner`). A row can
    depend on the users of its item, on the other items of these users, and on
    `RowLearner.of_items`. An update therefore changes only the rows of items that share a user with
    a changed item.

    Attributes:
        digests: uint64[items], a digest of the training data of each item, to detect changes.
        items: digest of the ids of the items it was fitted on.
    """

    digests: NDArray[np.uint64]
    items: str

    @abstractmethod
    def evidence(self, dataset: Dataset) -> csr_array:
        """The training matrix, float32[users × items], or baskets or sessions × items."""

    @abstractmethod
    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of rows from the training matrix."""

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
        self.weights = self._learned_rows(learner, every, pairs, options)
        self.digests = _digests(pairs, learner)
        self.items = dataset.catalogue.items.digest
        self.n_fitted = n_items
        return self

    def update(self, dataset: Dataset, options: FitOptions = FitOptions()) -> Self:
        """A retriever updated with later events; it learns only the affected rows again.

        Cost: that of `fit` for the items that share a user with a changed item.

        Raises:
            DataError: the catalogue has other items than the one it was fitted on.
        """
        self.require_fitted()
        if dataset.catalogue.items.digest != self.items:
            raise DataError(
                f"{type(self).__name__} was fitted on {self.n_fitted:,} items, and the catalogue "
                f"has {len(dataset.catalogue):,} items that are not the same: call fit instead of "
                "update"
            )
        rows = self.evidence(dataset)
        self._require_memory(rows, options)
        pairs = Interactions.of(rows)
        learner = self.learner(pairs)
        digests = _digests(pairs, learner)
        changed = digests != self.digests
        affected = changed.copy()
        _mark_affected(np.flatnonzero(changed), pairs, affected)
        again = np.flatnonzero(affected).astype(np.int32)
        updated = copy(self)
        updated.weights = _with_rows(
            self.weights, again, self._learned_rows(learner, again, pairs, options)
        )
        updated.digests = digests
        return updated

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the neighbours and the digests that `update` needs."""
        super().save(writer)
        writer.array("digests", self.digests)
        writer.json("items", self.items)

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the neighbours."""
        super().load(reader)
        self.digests = reader.array("digests")
        self.items = reader.json("items")
        return self

    @property
    def _neighbors(self) -> int:
        """The maximum number of neighbours of each item."""
        return cast(_HasNeighbors, self.config).neighbors

    def _require_memory(self, rows: csr_array, options: FitOptions) -> None:
        n_items = rows.shape[1]
        options.require_memory(
            16 * n_items * min(self._neighbors, n_items) + 40 * rows.nnz,
            f"{type(self).__name__} on {n_items:,} items",
            "lower 'neighbors'",
        )

    def _learned_rows(
        self,
        learner: RowLearner,
        items: NDArray[np.int32],
        pairs: Interactions,
        options: FitOptions,
    ) -> csr_array:
        """The learned rows of some items, float32[len(items) × all items]."""
        label = f"{type(self).__name__}: neighbours"
        cost = np.diff(pairs.item_offsets)
        return learned_rows(learner.learn, items, cost, self._neighbors, options, label)


def learned_rows(
    learn: LearnRows,
    items: NDArray[np.int32],
    cost: NDArray[np.int64],
    neighbors: int,
    options: FitOptions,
    label: str,
) -> csr_array:
    """The learned rows of some items, float32[len(items) × all items].

    Args:
        learn: writes the rows.
        items: the items to learn.
        cost: int64[all items], the approximate work for each.
        neighbors: the maximum number of entries in a row.
        options: threads and progress.
        label: the name shown with the progress.
    """
    n_items = len(cost)
    k = min(neighbors, max(1, n_items - 1))
    near = np.empty((len(items), k), np.int32)
    strength = np.empty((len(items), k), np.float32)
    found = np.zeros(len(items), np.int64)
    work = offsets_of(cost[items])
    blocks = range(0, len(items), _AT_A_TIME)
    for first in options.progress.track(blocks, label, len(blocks)):
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
    """A matrix of the first found[row] neighbours of each row, float32[rows × n_items]."""
    kept = np.arange(near.shape[1]) < found[:, None]
    offsets = offsets_of(found)
    if offsets[-1] <= np.iinfo(np.int32).max:  # otherwise SciPy widens the neighbours too
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
    """FNV-1a digests, by words, of each item's weights in user order and of its statistics."""
    digests = np.empty(len(pairs.item_offsets) - 1, np.uint64)
    statistics = np.ascontiguousarray(learner.of_items.T, np.float64).view(np.uint64)
    _digest_columns(pairs.item_offsets, pairs.item_weights.view(np.uint32), statistics, digests)
    return digests


@kernel
def _digest_columns(offsets, weights, statistics, digests):  # type: ignore[no-untyped-def]
    """Writes the digest of each column's bits and of its row of `statistics`."""
    prime = np.uint64(0x100000001B3)
    for item in range(len(digests)):
        digest = np.uint64(0xCBF29CE484222325)
        for entry in range(offsets[item], offsets[item + 1]):
            digest = (digest ^ np.uint64(weights[entry])) * prime
        for column in range(statistics.shape[1]):
            digest = (digest ^ statistics[item, column]) * prime
            digest ^= digest >> np.uint64(29)
        digests[item] = digest


@kernel
def _mark_affected(changed, pairs, affected):  # type: ignore[no-untyped-def]
    """Marks every item that shares a user with a changed item."""
    for item in changed:
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user = pairs.item_users[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                affected[pairs.user_items[place]] = True
