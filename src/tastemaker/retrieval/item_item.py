"""The base class of models that consist of one sparse matrix of items × items."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates
from tastemaker.data.events import Reduce
from tastemaker.data.requests import Requests
from tastemaker.errors import ArtifactError
from tastemaker.index import exact_top_n
from tastemaker.index.exact import ScoreChunk
from tastemaker.inventory import Inventory
from tastemaker.retrieval.cooccurrence import strongest_reasons
from tastemaker.retrieval.scoring import ScoringRetriever


class ItemItem(ScoringRetriever):
    """A retriever that scores a candidate by Σ over the history of event weight × item weight.

    A subclass learns `weights` in `fit`; this class implements the rest.

    Attributes:
        weights: float32[items × items]; the row is an item of a history, the column a candidate.
            The diagonal is empty.

    Cost: a request, history × entries of a row.
    """

    weights: csr_array

    def liked(self, requests: Requests) -> csr_array:
        """The weights of each history, float32[requests × n_fitted], by the setting `reduce`.

        Models that weight the events of a history in another way override this method.
        """
        reduce: Reduce = getattr(self.config, "reduce", "binary")
        return requests.history.interactions(self.n_fitted, reduce=reduce)

    def scores(self, requests: Requests) -> ScoreChunk:
        """The scores of all items, summed over the items of each history."""
        liked = self.liked(requests)

        def score(chunk: slice) -> NDArray[np.float32]:
            dense = np.zeros((chunk.stop - chunk.start, self.n_fitted), np.float32)
            offsets = liked.indptr[chunk.start : chunk.stop + 1]
            _add_rows(offsets, liked.indices, liked.data, *self._rows(), dense)
            return dense

        return score

    def similar(self, items: NDArray[np.int32], n: int, inventory: Inventory) -> Candidates:
        """The items with the largest weights in each item's row."""
        self.require_fitted()
        requests = Requests.of([[int(item)] for item in items])

        def score(chunk: slice) -> NDArray[np.float32]:
            known = np.where(items[chunk] < self.n_fitted, items[chunk], -1)
            dense: NDArray[np.float32] = self.weights[np.maximum(known, 0)].toarray()
            dense[known < 0] = 0
            return dense

        return exact_top_n(score, requests, n, self.n_fitted, min_score=self.min_score)

    def explain(
        self, requests: Requests, candidates: Candidates
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The item of the history that supports each candidate most."""
        self.require_fitted()

        def between(history: NDArray[np.int32], found: NDArray[np.int32]) -> NDArray[Any]:
            block = np.zeros((len(history), len(found)), np.float32)
            _between(history, found, *self._rows(), block)
            return block

        return strongest_reasons(self.liked(self.likes(requests)), candidates, between)

    def similarity(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.float32]:
        """The larger of the two weights between the items of each pair, at most 1."""
        self.require_fitted()
        weights = np.zeros(len(left), np.float32)
        _stronger_way(left, right, *self._rows(), weights)
        return weights

    def _rows(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Offsets, items and weights of all rows, in the layout that the kernels use."""
        return self.weights.indptr, self.weights.indices, self.weights.data

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the weights."""
        writer.sparse("weights", self.weights)

    def load(self, reader: ArtifactReader) -> "ItemItem":
        """Memory-maps the weights."""
        self.weights = reader.sparse("weights")
        self.n_fitted = self.weights.shape[0]
        if self.weights.shape[1] != self.n_fitted:
            raise ArtifactError(
                f"the matrix of item weights is not square, its shape is {self.weights.shape}: "
                "train again"
            )
        return self


@kernel
def _add_rows(offsets, items, weights, row_offsets, columns, strength, scores):  # type: ignore[no-untyped-def]
    """Adds the row of every liked item, times its weight in the history, to scores[request]."""
    for request in range(len(scores)):
        for liked in range(offsets[request], offsets[request + 1]):
            item, weight = items[liked], weights[liked]
            for entry in range(row_offsets[item], row_offsets[item + 1]):
                scores[request, columns[entry]] += weight * strength[entry]


@kernel
def _between(history, found, row_offsets, columns, strength, block):  # type: ignore[no-untyped-def]
    """Writes the weight between each history item and each found item; these are distinct."""
    place_of = np.full(len(row_offsets) - 1, -1, np.int32)
    for place in range(len(found)):
        place_of[found[place]] = place
    for row in range(len(history)):
        for entry in range(row_offsets[history[row]], row_offsets[history[row] + 1]):
            if place_of[columns[entry]] >= 0:
                block[row, place_of[columns[entry]]] = strength[entry]


@kernel
def _stronger_way(left, right, row_offsets, columns, strength, out):  # type: ignore[no-untyped-def]
    """Writes the larger of w(left, right) and w(right, left); 0 if an item is unknown."""
    n_items = len(row_offsets) - 1
    for pair in range(len(left)):
        i, j = left[pair], right[pair]
        out[pair] = 0
        if 0 <= i < n_items and 0 <= j < n_items:
            there = _weight_in(columns, strength, row_offsets[i], row_offsets[i + 1], j)
            back = _weight_in(columns, strength, row_offsets[j], row_offsets[j + 1], i)
            out[pair] = min(max(there, back), np.float32(1))


@kernel
def _weight_in(columns, strength, start, stop, item):  # type: ignore[no-untyped-def]
    """The weight of `item` in the row start … stop − 1; 0 if the row does not contain it.

    The loop does not exit early, so that compilers can vectorize it.
    """
    row = columns[start:stop]
    place = np.int32(0)
    for entry in range(len(row)):
        place |= np.int32(row[entry] == item) * np.int32(entry + 1)
    return strength[start + place - 1] if place > 0 else np.float32(0)
