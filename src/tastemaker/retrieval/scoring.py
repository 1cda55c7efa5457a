"""Models that score every item they were fitted on: what follows from that, once for all."""

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
    """A retriever whose answer is the best of the scores of all its items.

    A model gives `scores`; finding the best, and scoring given items, follow.

    Attributes:
        min_score: only items that score higher are found.
        averages: whether a long history scores no higher than a short one, so that one dislike
            must count for less the more likes there are.
    """

    min_score: ClassVar[float] = 0.0
    averages: ClassVar[bool] = False

    @property
    def n_items(self) -> int:
        """How many items it scores; more than `n_fitted` where some were taken up later."""
        return self.n_fitted

    @abstractmethod
    def scores(self, requests: Requests) -> ScoreChunk:
        """What gives float32[chunk, n_items] for a slice of the requests; fitted.

        Only events of positive weight count: `Opinions` applies the same to dislikes. Each row
        must have the same bits whatever else stands in the chunk.
        """

    def likes(self, requests: Requests) -> Requests:
        """The requests with the likes of their histories that count, for reasons."""
        return Opinions.of(requests, self._dislike_weight).likes

    def retrieve(self, requests: Requests, n: int, inventory: Inventory) -> Candidates:
        """The items of highest score."""
        self.require_fitted()
        return exact_top_n(
            self._lowered(requests), requests, n, self.n_items, min_score=self.min_score
        )

    def score(self, requests: Requests, items: Ragged) -> NDArray[np.float32]:
        """The score of each item for its request, whether or not it would be found.

        NaN where nothing can be said.
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
        """The scores of the likes, less those of the dislikes."""
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
            if scores.base is not None:  # a view of the model's own arrays
                scores = scores.copy()
            less = np.ascontiguousarray(dislikes(some), np.float32)
            _lower(scores, opinions.rows[some] - chunk.start, factor[some], less)
            return scores

        return score


@kernel
def _lower(scores, rows, factor, less):  # type: ignore[no-untyped-def]
    """Takes factor × less from the scores of some rows, wherever less is above 0."""
    for place in range(len(rows)):
        row = rows[place]
        for item in range(scores.shape[1]):
            if less[place, item] > 0:
                scores[row, item] -= factor[place] * less[place, item]
