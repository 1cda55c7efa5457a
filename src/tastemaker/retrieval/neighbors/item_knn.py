"""Item-based nearest neighbours: users who liked this also liked that."""

from typing import ClassVar, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.component import Serves
from tastemaker.config import Settings
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.cooccurrence import BothWays
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.similarity import Similarity, measure_of, weighted


class ItemKNNConfig(Settings):
    """Settings of `ItemKNN`."""

    neighbors: int = Field(100, ge=1)
    """How many neighbours of each item are kept."""
    similarity: Similarity = "cosine"
    """How alike two items are by who liked them."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the denominator: pulls similarities that rest on few users towards zero."""
    min_common: int = Field(1, ge=1)
    """Only items that so many users liked together are neighbours."""
    normalization: Literal["none", "sum"] = "none"
    """`sum`: each item's similarities are divided by their sum, so that items with close
    neighbours speak no louder than others (Deshpande & Karypis 2004)."""
    alpha: float = Field(0.5, ge=0, le=1)
    """Of the asymmetric cosine: 0.5 is the cosine; nearer 1 lets popular items through."""
    k1: float = Field(1.2, gt=0)
    """Of BM25: where repeated events of a pair stop counting."""
    b: float = Field(0.75, ge=0, le=1)
    """Of BM25: how far popular items are held back."""
    reduce: Reduce = "log"
    """How repeated events of a pair become one weight."""


class ItemKNN(ItemRows):
    """Item-based collaborative filtering (Sarwar, Karypis, Konstan & Riedl 2001).

    By default s(i, j) = xᵢ·xⱼ / (‖xᵢ‖‖xⱼ‖ + shrinkage), the cosine; the other measures stand in
    `similarity.py`, the asymmetric one after Aiolli 2013. A candidate scores
    Σ over the history of weight × s.

    Attributes:
        weights: float32[items × items], row i the nearest neighbours of i, never i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> ItemKNN(neighbors=50, similarity="jaccard")
        ItemKNN(neighbors=50, similarity='jaccard')
    """

    name = "item_knn"
    serves: ClassVar = Serves(history="native", similar_items=True)
    config: ItemKNNConfig

    def evidence(self, dataset: Dataset) -> csr_array:
        """The interactions, weighted as the similarity asks."""
        users = dataset.interactions(reduce=self.config.reduce)
        return weighted(users, self.config.similarity, self.config.k1, self.config.b)

    def learner(self, pairs: BothWays) -> RowLearner:
        """The items of highest similarity."""
        config = self.config
        measure = measure_of(pairs, config.similarity, config.alpha)
        of_items = (measure.centre, measure.added, measure.left, measure.right, measure.size)
        shrinkage = np.float32(config.shrinkage)
        relative = config.normalization == "sum"

        def learn(
            items: NDArray[np.int32],
            near: NDArray[np.int32],
            strength: NDArray[np.float32],
            found: NDArray[np.int64],
        ) -> None:
            least = config.min_common if config.min_common > 1 else None
            nearest(items, pairs, of_items, shrinkage, least, relative, near, strength, found)

        return RowLearner(learn, measure.of_items())


@njit(nogil=True, cache=True)
def nearest(  # type: ignore[no-untyped-def]
    items, pairs, of_items, shrinkage, min_common, relative, near, strength, found
):
    """Writes the nearest neighbours of each of `items`, nearest first.

    `min_common` None spares the count of common users.
    """
    centre, added, left, right, size = of_items
    n_items = len(left)
    row = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    common = np.zeros(1 if min_common is None else n_items, np.int32)
    for place in range(len(items)):
        item, together = items[place], 0
        for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
            user, weight = pairs.item_users[entry], pairs.item_weights[entry]
            for beside in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
                other = pairs.user_items[beside]
                if row[other] == 0:
                    touched[together] = other
                    together += 1
                row[other] += weight * pairs.user_weights[beside]
                if min_common is not None:
                    common[other] += 1
        kept = 0
        for other in touched[:together]:
            enough = True
            if min_common is not None:
                enough = common[other] >= min_common
                common[other] = 0
            if other != item and enough:
                over = row[other] - centre[item] * centre[other] - added[item] - added[other]
                under = left[item] * right[other] + shrinkage
                if len(size) > 0:
                    under += size[item] + size[other] - row[other]
                if over > 0 and under > 0:
                    kept = keep(np.float32(over / under), other, near[place], strength[place], kept)
            row[other] = 0
        best_first(near[place], strength[place], kept)
        if relative and kept > 0:
            total = np.float32(0)
            for entry in range(kept):
                total += strength[place, entry]
            for entry in range(kept):
                strength[place, entry] /= total
        found[place] = kept
