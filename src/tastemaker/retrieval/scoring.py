"""The base class of models that score all the items they were fitted on."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of
from tastemaker.data.requests import Requests
from tastemaker.index import exact_top_n
from tastemaker.index.exact import CHUNK_BYTES, ScoreChunk
from tastemaker.inventory import Inventory
from tastemaker.retrieval.opinions import Opinions


class ScoringRetriever(Retriever):
    """A retriever that returns the items with the highest scores.

    A subclass implements `scores`; this class implements retrieval and scoring of given items.

    Attributes:
        min_score: only items that score higher than this are retrieved.
        averages: whether scores do not grow with the length of the history, so that a dislike
            must count less the more likes there are.
    """

    min_score: ClassVar[float] = 0.0
    averages: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """The number of items it scores; more than `n_fitted` if items were added later."""
        return self.n_fitted

    @abstractmethod
    def scores(self, requests: Requests) -> ScoreChunk:
        """A function that returns float32[chunk, n_items] for a slice of the requests.

        Only events of positive weight count; `Opinions` applies the same function to dislikes. A
        row must be bitwise identical whatever other rows are in the chunk. Called when fitted.
        """

    def likes(self, requests: Requests) -> Requests:
        """The requests with the likes in their histories that count, for use in explanations."""
        return Opinions.of(requests, self._dislike_weight).likes

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items of highest score."""
        self.require_fitted()
        return exact_top_n(
            self._lowered(requests), requests, n, self.n_items, min_score=self.min_score
        )

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, whether or not it would be retrieved.

        NaN if the model has no score for the item.
        """
        self.require_fitted()
        scores = self._lowered(requests)
        known = (items.values >= 0) & (items.values < self.n_items)
        given = np.full(len(items.values), np.nan, np.float32)
        rows = max(1, CHUNK_BYTES // (4 * max(1, self.n_items)))
        for start in range(0, len(requests), rows):
            chunk = slice(start, min(start + rows, len(requests)))
            entries = np.arange(items.offsets[chunk.start], items.offsets[chunk.stop])
            entries = entries[known[entries]]
            row = rows_of(items.offsets)[entries] - start
            given[entries] = scores(chunk)[row, items.values[entries]]
        given[np.isneginf(given)] = np.nan
        return given

    @property
    def _dislike_weight(self) -> float:
        return float(getattr(self.config, "dislike_weight", 0.0))

    def _lowered(self, requests: Requests) -> ScoreChunk:
        """The scores of the likes, reduced by those of the dislikes."""
        opinions = Opinions.of(requests, self._dislike_weight)
        likes = self.scores(opinions.likes)
        if opinions.dislikes is None:
            return likes
        dislikes = self.scores(opinions.dislikes)
        factor = np.full(len(opinions.rows), self._dislike_weight, np.float32)
        if self.averages:
            factor *= opinions.share

        def score(chunk: slice) -> NDArray[np.float32]:
            first, last = np.searchsorted(opinions.rows, (chunk.start, chunk.stop))
            if first == last:
                return likes(chunk)
            some = slice(int(first), int(last))
            scores = np.ascontiguousarray(likes(chunk), np.float32)
            if scores.base is not None:  # never write to a view of the model's arrays
                scores = scores.copy()
            less = np.ascontiguousarray(dislikes(some), np.float32)
            _lower(scores, opinions.rows[some] - chunk.start, factor[some], less)
            return scores

        return score


@kernel
def _lower(scores, rows, factor, less):  # type: ignore[no-untyped-def]
    """Subtracts factor × less from the scores of `rows` where `less` is positive."""
    for place in range(len(rows)):
        row = rows[place]
        for item in range(scores.shape[1]):
            if less[place, item] > 0:
                scores[row, item] -= factor[place] * less[place, item]
