"""A custom retriever in one file: items that users liked right after your latest items.

The file contains everything a model needs: settings, `fit`, `scores`, `save` and `load`. Seen
items, exclusion, eligibility, dislikes, ties and top-n are handled by `ScoringRetriever`. The tests
are in `test_my_retriever.py`.
"""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import coo_array, csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.index.exact import ScoreChunk
from tastemaker.retrieval.opinions import DislikeSettings
from tastemaker.retrieval.scoring import ScoringRetriever


class NextItemConfig(DislikeSettings):
    """Settings of `NextItem`; each setting is one field."""

    decay: float = Field(0.5, gt=0, le=1)
    """The factor by which the weight decreases for each step back in the history."""


class NextItem(ScoringRetriever):
    """A first-order Markov chain over liked items.

    P(j | i) is the share of j among the items liked right after i. The score of a candidate is
    Σ decayˢ · P(candidate | the item s steps back).

    Attributes:
        follows: float32[items × items], row i: the distribution of items after item i.
    """

    name = "next_item"
    capabilities: ClassVar = Capabilities(history="native")
    config: NextItemConfig
    follows: csr_array

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Counts successors; events are sorted by user and time."""
        liked = dataset.events.where(dataset.events.weight > 0)
        same_user = liked.user[1:] == liked.user[:-1]
        before, after = liked.item[:-1][same_user], liked.item[1:][same_user]
        n_items = len(dataset.catalogue)
        ones = np.ones(len(before), np.float32)
        counts = coo_array((ones, (before, after)), shape=(n_items, n_items)).tocsr()
        totals = np.maximum(counts.sum(axis=1), 1)
        counts.data /= np.repeat(totals, np.diff(counts.indptr)).astype(np.float32)
        self.follows = counts
        self.n_fitted = n_items
        return self

    def scores(self, requests: Requests) -> ScoreChunk:
        """The score of each item: its decayed share among the successors of the liked items."""
        latest = self._latest(requests)

        def score(chunk: slice) -> NDArray[np.float32]:
            dense: NDArray[np.float32] = (latest[chunk] @ self.follows).toarray()
            return dense

        return score

    def save(self, writer: ArtifactWriter) -> None:
        """Saves the counts."""
        writer.sparse("follows", self.follows)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps the counts from disk."""
        self.follows = reader.sparse("follows")
        self.n_fitted = self.follows.shape[0]
        return self

    def _latest(self, requests: Requests) -> csr_array:
        """Each history as a row of decayed weights, float32[n × items]."""
        history = requests.history
        usable = (history.item >= 0) & (history.item < self.n_fitted) & (history.weight > 0)
        rows = np.repeat(np.arange(len(requests)), history.counts)[usable]
        steps_back = np.bincount(rows, minlength=len(requests)).cumsum()[rows] - 1
        steps_back = steps_back - np.arange(len(rows))
        weight = self.config.decay ** steps_back.astype(np.float32)
        shape = (len(requests), self.n_fitted)
        return coo_array((weight, (rows, history.item[usable])), shape=shape).tocsr()
