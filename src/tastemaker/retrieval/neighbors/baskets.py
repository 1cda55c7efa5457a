"""Items that are bought together: association rules over baskets."""

from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import ranges
from tastemaker.data.times import parse_duration
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.nearest import nearest_items
from tastemaker.retrieval.neighbors.similarity import Measure
from tastemaker.retrieval.neighbors.visits import visits_of
from tastemaker.retrieval.opinions import DislikeSettings


class BoughtTogetherConfig(DislikeSettings):
    """Settings of `BoughtTogether`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of rules per item."""
    measure: Literal["confidence", "lift", "support"] = "confidence"
    """The measure by which rules are ranked and weighted."""
    min_support: int = Field(2, ge=1)
    """The minimum number of baskets that must contain both items of a rule."""
    session_gap: str | None = "30m"
    """A basket ends after a pause longer than this: a number and s, m, h, d or w. With None, the
    events of one timestamp are a basket. If the data has no absolute times, all events of a user
    are one basket."""
    kinds: tuple[str, ...] = ()
    """The kinds of event that put an item into a basket; by default all positive kinds."""

    @field_validator("session_gap")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value, "session_gap")
        return value


class AssociationRules(NamedTuple):
    """Rules `item` → `leads_to`, strongest first within each item.

    Attributes:
        item: int32[rules].
        leads_to: int32[rules].
        together: int64[rules], the number of baskets that contain both.
        support: float64[rules], the share of all baskets that contain both.
        confidence: float64[rules], the share of the baskets with `item` that contain both.
        lift: float64[rules], confidence over the share of all baskets that contain `leads_to`.
    """

    item: NDArray[np.int32]
    leads_to: NDArray[np.int32]
    together: NDArray[np.int64]
    support: NDArray[np.float64]
    confidence: NDArray[np.float64]
    lift: NDArray[np.float64]


class BoughtTogether(ItemRows):
    """Association rules of one item each (Agrawal, Imieliński & Swami 1993).

    With n(i) the number of baskets that contain i and n the number of all baskets: support
    n(i, j)/n, confidence n(i, j)/n(i), lift n·n(i, j)/(n(i)·n(j)) (Brin, Motwani, Ullman & Tsur
    1997). A candidate scores Σ over the history of the chosen measure.

    Attributes:
        weights: float32[items × items]; row i has the rules i → j with j ≠ i.
        sizes: int64[items], the number of baskets that contain each item.
        baskets: the number of baskets.

    Cost: `fit` takes Σ over baskets of (items)² steps; a request, history × neighbors.

    Example:
        >>> BoughtTogether(measure="lift", min_support=5)
        BoughtTogether(measure='lift', min_support=5)
    """

    name = "bought_together"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    reason_text: ClassVar[str] = "often chosen together with what you have"
    config: BoughtTogetherConfig
    sizes: NDArray[np.int64]
    baskets: int

    def evidence(self, dataset: Dataset) -> csr_array:
        """The items in each basket, float32[baskets × items] of ones."""
        pause = self.config.session_gap
        longest = 0 if pause is None else parse_duration(pause, "session_gap")
        baskets = visits_of(dataset, longest, self.config.kinds)
        return baskets.binary(len(dataset.catalogue))

    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of the strongest rules."""
        n_baskets, n_items = len(pairs.user_offsets) - 1, len(pairs.item_offsets) - 1
        none, one = np.zeros(n_items, np.float32), np.ones(n_items, np.float32)
        size = np.maximum(np.diff(pairs.item_offsets), 1).astype(np.float32)
        left, right = {
            "confidence": (size, one),
            "lift": (size, size / np.float32(max(n_baskets, 1))),
            "support": (one, one * np.float32(max(n_baskets, 1))),
        }[self.config.measure]
        measure = Measure(none, none, left, right, none[:0])
        least = self.config.min_support
        rules = nearest_items(pairs, measure, shrinkage=0.0, min_common=least, relative=False)
        # A later event can merge two baskets without a change in any count: digests detect it.
        return RowLearner(rules.learn, np.vstack([rules.of_items, _basket_digests(pairs)]))

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by finding the rules of every item."""
        super().fit(dataset, options)
        return self._with_counts(dataset)

    def update(self, dataset: Dataset, options: FitOptions = FitOptions()) -> Self:
        """A retriever updated with later events: the affected rules, or all if they depend on n."""
        return super().update(dataset, options)._with_counts(dataset)

    def rules(self, items: NDArray[np.int32]) -> AssociationRules:
        """The rules of given items, with all their measures.

        Args:
            items: int32[n], indices below `n_fitted`.
        """
        self.require_fitted()
        counts = np.diff(self.weights.indptr)[items].astype(np.int64)
        entries = ranges(self.weights.indptr[items].astype(np.int64), counts)
        item, other = np.repeat(items, counts), self.weights.indices[entries]
        size, share = self.sizes[item], self.sizes[other] / max(self.baskets, 1)
        under = {
            "confidence": size,
            "lift": size * share,
            "support": np.full(len(item), self.baskets),
        }[self.config.measure]
        together = np.rint(self.weights.data[entries] * under.astype(np.float64)).astype(np.int64)
        confidence = together / size
        support = together / max(self.baskets, 1)
        return AssociationRules(item, other, together, support, confidence, confidence / share)

    def _with_counts(self, dataset: Dataset) -> Self:
        baskets = self.evidence(dataset)
        self.sizes = np.bincount(baskets.indices, minlength=baskets.shape[1]).astype(np.int64)
        self.baskets = int(baskets.shape[0])
        return self

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the rules and the basket counts."""
        super().save(writer)
        writer.array("sizes", self.sizes)
        writer.json("counted", {"baskets": self.baskets})

    def load(self, reader: ArtifactReader) -> Self:
        """Memory-maps the rules and the basket counts."""
        super().load(reader)
        self.sizes = reader.array("sizes")
        self.baskets = reader.json("counted")["baskets"]
        return self


def _basket_digests(pairs: Interactions) -> NDArray[np.float64]:
    """A 52-bit digest of the baskets that contain each item, by their items, float64[items]."""
    items = np.arange(1, len(pairs.item_offsets), dtype=np.uint64)
    of_basket = _mixed(_sums(_mixed(items)[pairs.user_items], pairs.user_offsets))
    return (_sums(of_basket[pairs.item_users], pairs.item_offsets) >> np.uint64(12)).astype("f8")


def _sums(values: NDArray[np.uint64], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The sum of each row, modulo 2^64."""
    until = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=until[1:])
    total: NDArray[np.uint64] = until[offsets[1:]] - until[offsets[:-1]]
    return total


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
