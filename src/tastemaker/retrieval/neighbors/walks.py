"""Random walks of three steps over the graph of users and items: P3α and RP3β."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.component import Capabilities
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.nearest import nearest_items
from tastemaker.retrieval.neighbors.similarity import Measure
from tastemaker.retrieval.opinions import DislikeSettings


class P3AlphaConfig(DislikeSettings):
    """Settings of `P3Alpha`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of target items per item."""
    alpha: float = Field(0.8, gt=0, le=4)
    """Exponent of the probability of each step; values below 1 make probabilities more even."""
    normalization: Literal["none", "sum"] = "sum"
    """`sum`: the weights kept for each item are divided by their sum."""
    reduce: Reduce = "binary"
    """How to combine repeated events of a pair into one weight."""


class P3Alpha(ItemRows):
    """The target items of walks user → item → user → item (Cooper, Lee, Radzik & Siantos 2014).

    With p(u→j) = x_uj / Σ x_u and p(i→u) = x_ui / Σ x_i, the weight between two items is
    w(i, j) = Σ over users of p(i→u)^α · p(u→j)^α. A candidate scores Σ over the history of
    weight × w.

    Attributes:
        weights: float32[items × items]; row i has the targets of walks from i, without i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> P3Alpha(alpha=1.2)
        P3Alpha(alpha=1.2)
    """

    name = "p3_alpha"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: P3AlphaConfig

    def evidence(self, dataset: Dataset) -> csr_array:
        """The interactions, float32[users × items]."""
        return dataset.interactions(reduce=self.config.reduce)

    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of the items where most walks end."""
        n_items = len(pairs.item_offsets) - 1
        none, one = np.zeros(n_items, np.float32), np.ones(n_items, np.float32)
        divisor = self._divisor(np.diff(pairs.item_offsets))
        measure = Measure(none, none, one, divisor, none[:0])
        steps = pairs._replace(
            item_weights=_step(pairs.item_offsets, pairs.item_weights, self.config.alpha),
            user_weights=_step(pairs.user_offsets, pairs.user_weights, self.config.alpha),
        )
        relative = self.config.normalization == "sum"
        return nearest_items(steps, measure, shrinkage=0.0, min_common=1, relative=relative)

    def _divisor(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """The divisor of the walks that end in each item, float32[items]."""
        return np.ones(len(users), np.float32)


class RP3BetaConfig(P3AlphaConfig):
    """Settings of `RP3Beta`."""

    beta: float = Field(0.4, ge=0, le=2)
    """How much popular items are dampened; 0 does not dampen them."""


class RP3Beta(P3Alpha):
    """P3α with dampened popular items (Paudel, Christoffel, Newell & Bernstein 2017).

    The weight w(i, j) of P3α is divided by (users of j)^β before the best items are kept.

    Attributes:
        weights: float32[items × items]; row i has the targets of walks from i, without i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> RP3Beta(beta=0.6)
        RP3Beta(beta=0.6)
    """

    name = "rp3_beta"
    config: RP3BetaConfig

    def _divisor(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        beta = self.config.beta
        return np.power(np.maximum(users, 1), beta).astype(np.float32)


def _step(
    offsets: NDArray[np.int64], weights: NDArray[np.float32], alpha: float
) -> NDArray[np.float32]:
    """(weight / sum of its row)^α."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = np.bincount(row, weights, len(offsets) - 1)
    return np.power(weights / total[row], alpha).astype(np.float32)
