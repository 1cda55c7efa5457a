"""Item-based nearest neighbours: users who liked this also liked that."""

from typing import ClassVar, Literal

from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.component import Capabilities
from tastemaker.data.dataset import Dataset
from tastemaker.data.events import Reduce
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.nearest import nearest_items
from tastemaker.retrieval.neighbors.similarity import Similarity, measure_of, weighted
from tastemaker.retrieval.opinions import DislikeSettings


class ItemKNNConfig(DislikeSettings):
    """Settings of `ItemKNN`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of neighbours per item."""
    similarity: Similarity = "cosine"
    """The measure of similarity between the users of two items."""
    shrinkage: float = Field(10.0, ge=0)
    """Added to the denominator: shrinks similarities based on few users towards zero."""
    min_common: int = Field(1, ge=1)
    """The minimum number of common users for two items to be neighbours."""
    normalization: Literal["none", "sum"] = "none"
    """`sum`: each item's similarities are divided by their sum, so that items with close
    neighbours do not dominate the score (Deshpande & Karypis 2004)."""
    alpha: float = Field(0.5, ge=0, le=1)
    """For the asymmetric cosine: 0.5 is the cosine; values closer to 1 favour popular items."""
    k1: float = Field(1.2, gt=0)
    """For BM25: larger values let repeated events of a pair count more before they saturate."""
    b: float = Field(0.75, ge=0, le=1)
    """For BM25: how much popular items are dampened."""
    reduce: Reduce = "log"
    """How to combine repeated events of a pair into one weight."""


class ItemKNN(ItemRows):
    """Item-based collaborative filtering (Sarwar, Karypis, Konstan & Riedl 2001).

    By default s(i, j) = xᵢ·xⱼ / (‖xᵢ‖‖xⱼ‖ + shrinkage), the cosine. The other measures are defined
    in `similarity.py`; the asymmetric cosine is that of Aiolli 2013. A candidate scores
    Σ over the history of weight × s.

    Attributes:
        weights: float32[items × items]; row i has the nearest neighbours of i, without i itself.

    Cost: `fit` takes Σ over users of (items liked)² steps; a request, history × neighbors.

    Example:
        >>> ItemKNN(neighbors=50, similarity="jaccard")
        ItemKNN(neighbors=50, similarity='jaccard')
    """

    name = "item_knn"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    reason_text: ClassVar[str] = "often chosen together with what you chose"
    config: ItemKNNConfig

    def evidence(self, dataset: Dataset) -> csr_array:
        """The interactions, weighted for the similarity."""
        users = dataset.interactions(reduce=self.config.reduce)
        return weighted(users, self.config.similarity, self.config.k1, self.config.b)

    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of the items of highest similarity."""
        config = self.config
        measure = measure_of(pairs, config.similarity, config.alpha)
        return nearest_items(
            pairs,
            measure,
            shrinkage=config.shrinkage,
            min_common=config.min_common,
            relative=config.normalization == "sum",
        )
