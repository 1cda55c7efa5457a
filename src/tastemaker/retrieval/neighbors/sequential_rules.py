"""Sequential rules: items that are liked a few steps after an item."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.sparse import csr_array

from tastemaker.compilation import kernel
from tastemaker.component import Capabilities, FitOptions, Task
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.times import parse_duration
from tastemaker.errors import ClockError
from tastemaker.index.heap import best_first, keep
from tastemaker.retrieval.item_item import ItemItem
from tastemaker.retrieval.item_rows import learned_rows
from tastemaker.retrieval.neighbors.visits import visits_of
from tastemaker.retrieval.opinions import DislikeSettings


class SequentialRulesConfig(DislikeSettings):
    """Settings of `SequentialRules`."""

    neighbors: int = Field(100, ge=1)
    """Maximum number of rules per item."""
    steps: int = Field(10, ge=1, le=1_000)
    """Number of later items to which each item leads."""
    decay: float = Field(0.8, ge=0, le=1)
    """The weight of an item of the history relative to the next later one; with 0, only the last
    item counts."""
    session_gap: str | None = None
    """No rule crosses a pause longer than this: a number and s, m, h, d or w; None: no limit. If
    times are only an order, there are no pauses."""

    @field_validator("session_gap")
    @classmethod
    def _is_duration(cls, value: str | None) -> str | None:
        if value is not None:
            parse_duration(value, "session_gap")
        return value


class SequentialRules(ItemItem):
    """Sequential rules (Ludewig & Jannach 2018, §2.2).

    w(i, j) is the sum of 1/distance over all places where j follows i by at most `steps`, divided
    by the number of occurrences of i. A candidate scores Σ over the history of
    decay^(number of later items) × w.

    Attributes:
        weights: float32[items × items]; row i has the items liked after i, without i itself.

    Cost: `fit` takes events × steps; a request, history × neighbors.

    Raises:
        ClockError: from `fit`, if the data has no order of events.

    Example:
        >>> SequentialRules(steps=5)
        SequentialRules(steps=5)
    """

    name = "sequential_rules"
    capabilities: ClassVar = Capabilities(history="native", similar_items=True)
    requires_timestamps: ClassVar = "ordinal"
    reason_text: ClassVar[str] = "often comes next"
    config: SequentialRulesConfig

    def fit(
        self,
        dataset: Dataset,
        options: FitOptions = FitOptions(),
        *,
        validation: Task | None = None,
    ) -> Self:
        """Fits by counting which items follow each item."""
        if dataset.clock == "none":
            raise ClockError(
                "SequentialRules needs the order of the events, and this data's clock is 'none'; "
                "map a timestamp column under [data.columns.events]"
            )
        pause = self.config.session_gap
        visits = visits_of(dataset, None if pause is None else parse_duration(pause, "session_gap"))
        n_items, neighbors = len(dataset.catalogue), self.config.neighbors
        options.require_memory(
            16 * n_items * min(neighbors, n_items) + 24 * len(visits.item),
            f"SequentialRules on {n_items:,} items",
            "lower 'neighbors'",
        )
        last = visits.ends()
        place, offsets = visits.places(n_items)

        def learn(
            items: NDArray[np.int32],
            near: NDArray[np.int32],
            strength: NDArray[np.float32],
            found: NDArray[np.int64],
        ) -> None:
            steps = self.config.steps
            _rules(items, offsets, place, visits.item, last, steps, near, strength, found)

        every = np.arange(n_items, dtype=np.int32)
        label = "SequentialRules: rules"
        self.weights = learned_rows(learn, every, np.diff(offsets), neighbors, options, label)
        self.n_fitted = n_items
        return self

    def liked(self, requests: Requests) -> csr_array:
        """The likes of each history, weighted by recency, float32[requests × n_fitted].

        An item that occurs several times counts at its last place.
        """
        history = requests.history
        usable = (history.weight > 0) & (history.item >= 0) & (history.item < self.n_fitted)
        row = np.repeat(np.arange(len(history)), history.counts)[usable]
        item = history.item[usable]
        offsets = np.searchsorted(row, np.arange(len(history) + 1))
        since = offsets[row + 1] - 1 - np.arange(len(row))
        order = np.lexsort((since, item, row))
        first = np.ones(len(order), np.bool_)
        first[1:] = (np.diff(row[order]) != 0) | (np.diff(item[order]) != 0)
        kept = order[first]
        weight = np.power(np.float64(self.config.decay), since[kept]).astype(np.float32)
        kept, weight = kept[weight > 0], weight[weight > 0]
        return csr_array(
            (weight, item[kept], np.searchsorted(row[kept], np.arange(len(history) + 1))),
            shape=(len(history), self.n_fitted),
        )


@kernel
def _rules(items, offsets, place, item, last, steps, near, strength, found):  # type: ignore[no-untyped-def]
    """Writes the strongest rules of each of `items`, strongest first."""
    n_items = len(offsets) - 1
    row = np.zeros(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    for at in range(len(items)):
        one, together = items[at], 0
        for entry in range(offsets[one], offsets[one + 1]):
            here = place[entry]
            for later in range(here + 1, min(here + 1 + steps, last[here])):
                other = item[later]
                if row[other] == 0:
                    touched[together] = other
                    together += 1
                row[other] += np.float32(1) / np.float32(later - here)
        kept = 0
        for other in touched[:together]:
            if other != one:
                often = np.float32(offsets[one + 1] - offsets[one])
                kept = keep(row[other] / often, other, near[at], strength[at], kept)
            row[other] = 0
        best_first(near[at], strength[at], kept)
        found[at] = kept
