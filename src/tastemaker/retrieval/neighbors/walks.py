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
    """How many items each leads to are kept."""
    alpha: float = Field(0.8, gt=0, le=4)
    """Exponent of each step's probability: below 1 evens them out."""
    normalization: Literal["none", "sum"] = "sum"
    """`sum`: what is kept of each item's walks is divided by its sum."""
    reduce: Reduce = "binary"
    """How repeated events of a pair become one weight."""


class P3Alpha(ItemRows):
    """Where a walk user → item → user → item ends (Cooper, Lee, Radzik & Siantos 2014).

    With p(u→j) = x_uj / Σ x_u and p(i→u) = x_ui / Σ x_i, an item of a history leads to another by
    w(i, j) = Σ over users of p(i→u)^α · p(u→j)^α; a candidate scores Σ over the history of
    weight × w.

    Attributes:
        weights: float32[items × items], row i where walks from i lead, never to i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> P3Alpha(alpha=1.2)
        P3Alpha(alpha=1.2)
    """

    name = "p3_alpha"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: P3AlphaConfig

    def evidence(self, dataset: Dataset) -> csr_array:
        """The interactions."""
        return dataset.interactions(reduce=self.config.reduce)

    def learner(self, pairs: Interactions) -> RowLearner:
        """The items where most walks end."""
        n_items = len(pairs.item_offsets) - 1
        none, one = np.zeros(n_items, np.float32), np.ones(n_items, np.float32)
        held_back = self._held_back(np.diff(pairs.item_offsets))
        measure = Measure(none, none, one, held_back, none[:0])
        steps = pairs._replace(
            item_weights=_step(pairs.item_offsets, pairs.item_weights, self.config.alpha),
            user_weights=_step(pairs.user_offsets, pairs.user_weights, self.config.alpha),
        )
        relative = self.config.normalization == "sum"
        return nearest_items(steps, measure, shrinkage=0.0, min_common=1, relative=relative)

    def _held_back(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the walks that end in each item are divided by, float32[items]."""
        return np.ones(len(users), np.float32)


class RP3BetaConfig(P3AlphaConfig):
    """Settings of `RP3Beta`."""

    beta: float = Field(0.4, ge=0, le=2)
    """How far popular items are held back: 0 not at all."""


class RP3Beta(P3Alpha):
    """P3α that holds popular items back (Paudel, Christoffel, Newell & Bernstein 2017).

    w(i, j) of P3α divided by (users of j)^β, before the best are kept.

    Attributes:
        weights: float32[items × items], row i where walks from i lead, never to i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> RP3Beta(beta=0.6)
        RP3Beta(beta=0.6)
    """

    name = "rp3_beta"
    config: RP3BetaConfig

    def _held_back(self, users: NDArray[np.int64]) -> NDArray[np.float32]:
        beta = self.config.beta
        return np.power(np.maximum(users, 1), beta).astype(np.float32)


def _step(
    offsets: NDArray[np.int64], weights: NDArray[np.float32], alpha: float
) -> NDArray[np.float32]:
    """(weight / sum of its row)^α."""
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    total = np.bincount(row, weights, len(offsets) - 1)
    return np.power(weights / total[row], alpha).astype(np.float32)
