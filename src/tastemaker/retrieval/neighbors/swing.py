"""Swing: relates items through pairs of users who have little else in common."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import offsets_of
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import ItemRows, RowLearner
from tastemaker.retrieval.neighbors.nearest import divide_by_sum
from tastemaker.retrieval.opinions import DislikeSettings


class SwingConfig(DislikeSettings):
    """Settings of `Swing`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of substitutes per item."""
    alpha: float = Field(1.0, ge=0, le=1e6)
    """Added to the number of items a pair of users shares; larger values make pairs count more
    equally."""
    activity: float = Field(0.35, ge=0, le=2)
    """Exponent that reduces the weight of active users: (items + 5)^−activity."""
    max_users: int = Field(200, ge=2)
    """Maximum number of users of an item to pair; if there are more, an even sample is used."""
    max_items: int = Field(300, ge=2)
    """Maximum number of items of a user to read; if there are more, an even sample is used."""
    normalization: Literal["none", "sum"] = "sum"
    """`sum`: the weights kept for each item are divided by their sum."""


class Swing(ItemRows):
    """Substitutes by the Swing algorithm (Yang, Zhu, Zhao, Wang, Zhou, Ma & Zhu 2020, §3.1).

    A single click can be accidental. Two users who both clicked i and j are stronger evidence, and
    the fewer other items they share, the stronger:

        s(i, j) = Σ over pairs of users {u, v} who clicked both of  w_u w_v / (α + |I_u ∩ I_v|)

    with w_u = (|I_u| + 5)^−activity. For an item with more than `max_users` users, and for a user
    with more than `max_items` items, an even sample (every k-th) is used, the same in every fit.

    Attributes:
        weights: float32[items × items]; row i has the substitutes of i, without i itself.

    Cost: `fit` takes Σ over items of min(users, max_users)² × (items of a user) / 2 steps; a
    request, history × neighbors.

    Example:
        >>> Swing(alpha=5.0)
        Swing(alpha=5.0)
    """

    name = "swing"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    config: SwingConfig

    def evidence(self, dataset: Dataset) -> csr_array:
        """The distinct clicks, float32[users × items] of ones."""
        return dataset.interactions(reduce="binary")

    def learner(self, pairs: Interactions) -> RowLearner:
        """The learner of the items supported by most pairs of users."""
        config = self.config
        size = np.diff(pairs.user_offsets)
        counted = _capped(pairs, config.max_items)
        weight = np.power(size + 5.0, -config.activity).astype(np.float32)
        relative = config.normalization == "sum"

        def learn(
            items: NDArray[np.int32],
            near: NDArray[np.int32],
            strength: NDArray[np.float32],
            found: NDArray[np.int64],
        ) -> None:
            _swing(
                *(items, counted, weight, np.float32(config.alpha), config.max_users),
                *(relative, near, strength, found),
            )

        return RowLearner(learn, np.zeros((0, len(pairs.item_offsets) - 1)))


def _capped(pairs: Interactions, most: int) -> Interactions:
    """The interactions with an even sample of the items of users with more than `most`."""
    size = np.diff(pairs.user_offsets)
    if not len(size) or size.max() <= most:
        return pairs
    counted = np.minimum(size, most)
    offsets = offsets_of(counted)
    entry = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counted)
    stretch = np.repeat(size, counted), np.repeat(counted, counted)
    items = pairs.user_items[
        np.repeat(pairs.user_offsets[:-1], counted) + entry * stretch[0] // stretch[1]
    ]
    return pairs._replace(user_offsets=offsets, user_items=items)


@kernel(error_model="numpy")
def _swing(  # type: ignore[no-untyped-def]
    items, pairs, weight, alpha, max_users, relative, near, strength, found
):
    """Writes the strongest substitutes of each of `items`, strongest first.

    The common items of two users are found by marking those of one and reading those of the other.
    """
    n_items = len(pairs.item_offsets) - 1
    columns = pairs.user_items.view(
        np.uint32
    )  # unsigned, as they are never negative: avoids a check
    row = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.uint32)
    marked = np.full(n_items, -1, np.int64)
    shared = np.empty(n_items + 1, np.uint32)
    mark = 0
    for place in range(len(items)):
        item, together = items[place], 0
        users = pairs.item_users[pairs.item_offsets[item] : pairs.item_offsets[item + 1]]
        counted = min(len(users), max_users)
        for one in range(counted):
            u = users[one * len(users) // counted]
            for j in columns[pairs.user_offsets[u] : pairs.user_offsets[u + 1]]:
                marked[j] = mark
            for other in range(one):
                v = users[other * len(users) // counted]
                common = 0
                for j in columns[pairs.user_offsets[v] : pairs.user_offsets[v + 1]]:
                    shared[common] = j
                    common += int(marked[j] == mark)
                added = weight[u] * weight[v] / (alpha + np.float32(common))
                for j in shared[:common]:
                    if row[j] == 0:
                        touched[together] = j
                        together += 1
                    row[j] += added
            mark += 1
        kept = 0
        for j in touched[:together]:
            if j != item:
                kept = keep(row[j], np.int32(j), near[place], strength[place], kept)
            row[j] = 0
        best_first(near[place], strength[place], kept)
        if relative:
            divide_by_sum(strength[place, :kept])
        found[place] = kept
