"""Item-based nearest neighbours: users who liked this also liked that."""

from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import FitOptions, Retriever, Serves, Task
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.data.ragged import offsets_of
from tastemaker.data.requests import Requests
from tastemaker.index import exact_top_n
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.cooccurrence import BothWays, strongest_reasons
from tastemaker.threads import run_chunks
from tastemaker.world import World


class ItemKNNConfig(Settings):
    """Settings of `ItemKNN`."""

    neighbors: int = Field(100, ge=1)
    """How many neighbours of each item are kept."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the denominator: pulls similarities that rest on few users towards zero."""
    reduce: Reduce = "log"
    """How repeated events of a pair become one weight."""


class ItemKNN(Retriever):
    """Cosine item-based collaborative filtering (Sarwar, Karypis, Konstan & Riedl 2001).

    s(i, j) = xᵢ·xⱼ / (‖xᵢ‖‖xⱼ‖ + shrinkage); a candidate scores Σ over the history of weight × s.

    Attributes:
        similarity: float32[items × items], row i the nearest neighbours of i, never i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> ItemKNN(neighbors=50)
        ItemKNN(neighbors=50)
    """

    name = "item_knn"
    serves: ClassVar = Serves(history="native", similar_items=True)
    config: ItemKNNConfig
    similarity: csr_array

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Finds the neighbours of every item."""
        users = dataset.interactions(reduce=self.config.reduce)
        n_items = users.shape[1]
        k = min(self.config.neighbors, max(1, n_items - 1))
        options.require_memory(
            8 * n_items * k + 40 * users.nnz, f"ItemKNN on {n_items:,} items", "lower 'neighbors'"
        )
        pairs = BothWays.of(users)
        norms = np.sqrt(users.multiply(users).sum(axis=0)).astype(np.float32)
        near = np.empty((n_items, k), np.int32)
        similarity = np.empty((n_items, k), np.float32)
        found = np.zeros(n_items, np.int64)
        shrinkage = np.float32(self.config.shrinkage)

        def nearest(start: int, stop: int, first: int) -> None:
            rows = (first + start, first + stop)
            _nearest(*rows, pairs, norms, shrinkage, near, similarity, found)

        for first, last in options.progress.track(_blocks(n_items), "ItemKNN: neighbours"):
            offsets = pairs.item_offsets[first : last + 1]
            run_chunks(partial(nearest, first=first), offsets, options.threads)
        kept = np.arange(k) < found[:, None]
        offsets = offsets_of(found)
        if offsets[-1] <= np.iinfo(np.int32).max:  # else SciPy would widen the neighbours too
            offsets = offsets.astype(np.int32)
        self.similarity = csr_array(
            (similarity[kept], near[kept], offsets), shape=(n_items, n_items)
        )
        self.n_fitted = n_items
        return self

    def retrieve(self, requests: Requests, n: int, world: World) -> Candidates:
        """The items nearest to those in the history."""
        self.require_fitted()
        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)

        def score(chunk: slice) -> NDArray[np.float32]:
            dense = np.zeros((chunk.stop - chunk.start, self.n_fitted), np.float32)
            offsets = liked.indptr[chunk.start : chunk.stop + 1]
            _add_neighbors(offsets, liked.indices, liked.data, *self._neighbors(), dense)
            return dense

        return exact_top_n(score, requests, n, self.n_fitted, above=0.0)

    def similar(self, items: NDArray[np.int32], n: int, world: World) -> Candidates:
        """The nearest neighbours of each item."""
        self.require_fitted()
        asked = Requests.of([[int(item)] for item in items])

        def score(chunk: slice) -> NDArray[np.float32]:
            known = np.where(items[chunk] < self.n_fitted, items[chunk], -1)
            dense = self.similarity[np.maximum(known, 0)].toarray()
            dense[known < 0] = 0
            return dense

        return exact_top_n(score, asked, n, self.n_fitted, above=0.0)

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history nearest to each candidate."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            block = np.zeros((len(history), len(found)), np.float32)
            _between(history, found, *self._neighbors(), block)
            return block

        liked = requests.history.interactions(self.n_fitted, reduce=self.config.reduce)
        return strongest_reasons(liked, candidates, between)

    def compare(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The kept similarity of each pair, whichever of the two keeps it."""
        self.require_fitted()
        similarity = np.zeros(len(left), np.float32)
        _kept_similarity(left, right, *self._neighbors(), similarity)
        return similarity

    def _neighbors(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Offsets, items and similarities of every item's neighbours, as the kernels read them."""
        return self.similarity.indptr, self.similarity.indices, self.similarity.data

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the neighbours."""
        writer.sparse("similarity", self.similarity)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps the neighbours."""
        self.similarity = reader.sparse("similarity")
        self.n_fitted = self.similarity.shape[0]
        return self


def _blocks(n_items: int, size: int = 2_000) -> list[tuple[int, int]]:
    """Ranges of items, so that progress can be told between them."""
    return [(start, min(start + size, n_items)) for start in range(0, n_items, size)]


@njit(nogil=True, cache=True)
def _nearest(start, stop, pairs, norms, shrinkage, near, similarity, found):  # type: ignore[no-untyped-def]
    """Writes the nearest neighbours of items start … stop − 1, nearest first."""
    row = np.zeros(len(norms), np.float32)
    touched = np.empty(len(norms), np.int32)
    for item in range(start, stop):
        together = 0
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user, weight = pairs.item_users[entry], pairs.item_weights[entry]
            for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                other = pairs.user_items[place]
                if row[other] == 0:
                    touched[together] = other
                    together += 1
                row[other] += weight * pairs.user_weights[place]
        size = 0
        for other in touched[:together]:
            if other != item:
                score = row[other] / (norms[item] * norms[other] + shrinkage)
                size = keep(score, other, near[item], similarity[item], size)
            row[other] = 0
        best_first(near[item], similarity[item], size)
        found[item] = size


@njit(nogil=True, cache=True)
def _add_neighbors(  # type: ignore[no-untyped-def]
    offsets, items, weights, near_offsets, near, similarity, scores
):
    """Adds to scores[row] the similarities of every liked item's neighbours, times its weight."""
    for row in range(len(scores)):
        for liked in range(offsets[row], offsets[row + 1]):
            item, weight = items[liked], weights[liked]
            for entry in range(near_offsets[item], near_offsets[item + 1]):
                scores[row, near[entry]] += weight * similarity[entry]


@njit(nogil=True, cache=True)
def _between(history, found, offsets, near, similarity, block):  # type: ignore[no-untyped-def]
    """Writes how near each found item (distinct) is among the neighbours of each history item."""
    column = np.full(len(offsets) - 1, -1, np.int32)
    for place in range(len(found)):
        column[found[place]] = place
    for row in range(len(history)):
        for entry in range(offsets[history[row]], offsets[history[row] + 1]):
            if column[near[entry]] >= 0:
                block[row, column[near[entry]]] = similarity[entry]


@njit(nogil=True, cache=True)
def _kept_similarity(left, right, offsets, near, similarity, out):  # type: ignore[no-untyped-def]
    """Writes the larger of s(left, right) and s(right, left); 0 where an item is unknown."""
    n_items = len(offsets) - 1
    for pair in range(len(left)):
        i, j = left[pair], right[pair]
        out[pair] = 0
        if 0 <= i < n_items and 0 <= j < n_items:
            there = _similarity_in(near, similarity, offsets[i], offsets[i + 1], j)
            back = _similarity_in(near, similarity, offsets[j], offsets[j + 1], i)
            out[pair] = min(max(there, back), np.float32(1))


@njit(nogil=True, cache=True)
def _similarity_in(near, similarity, start, stop, item):  # type: ignore[no-untyped-def]
    """The similarity of `item` among the neighbours start … stop − 1, 0 if it is none of them.

    Without leaving early: a row is compared in a few instructions.
    """
    row = near[start:stop]
    place = np.int32(0)
    for entry in range(len(row)):
        place |= np.int32(row[entry] == item) * np.int32(entry + 1)
    return similarity[start + place - 1] if place > 0 else np.float32(0)
