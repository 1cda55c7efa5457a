"""A new retriever in one file: what people who liked your latest item liked next.

Everything a model needs to know is here: settings, `fit`, `scores`, `save`, `load`. Seen items,
exclusion, eligibility, dislikes, ties and top-n are handled by `ScoringRetriever`. Its tests are
three lines, in `test_my_retriever.py`.
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
    """Settings of `NextItem`; one line here is all a setting needs."""

    decay: float = Field(0.5, gt=0, le=1)
    """How much less each step further back in the history counts."""


class NextItem(ScoringRetriever):
    """A first-order Markov chain over liked items.

    P(j | i) = how often j was liked right after i, over all that followed i; a candidate scores
    Σ decayˢ · P(candidate | the item s steps back).

    Attributes:
        follows: float32[items × items], row i: what came right after i.
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
        """How much of what followed the latest liked items was each item."""
        latest = self._latest(requests)

        def score(chunk: slice) -> NDArray[np.float32]:
            dense: NDArray[np.float32] = (latest[chunk] @ self.follows).toarray()
            return dense

        return score

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the counts."""
        writer.sparse("follows", self.follows)

    def load(self, reader: ArtifactReader) -> Self:
        """Maps the counts."""
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
