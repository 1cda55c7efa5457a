"""Rerankers: components that arrange scored candidates in a list."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tastemaker.component.component import Component
from tastemaker.component.retriever import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Masks, Requests
from tastemaker.inventory import Inventory

PROPENSITY = "propensity"
"""The column, float32, that holds the probability of an item at its place, given those above it.

A reranker that samples at random adds it. A list without the column is deterministic."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """A list for each request, and its cost.

    Attributes:
        candidates: the lists, best first; the scores are those of the previous stage.
        cost: float32[n], predicted value given up: the sum of the best scores for as many places
            less the sum of the scores in the list; never below 0 if nothing was pinned.
        notes: per request, what was done or could not be done, as text.
        short: int64[n], the number of places whose item breaks a rule because no candidate
            satisfies it, although another item of the catalogue could; None if no list has such a
            place.
        suitable: the items that could take such a place; None for any item.
    """

    candidates: Candidates
    cost: NDArray[np.float32]
    notes: tuple[tuple[str, ...], ...]
    short: NDArray[np.int64] | None = None
    suitable: Masks | None = None


class Reranker(Component, ABC):
    """The last stage: reorders, diversifies, caps and pins items. Nothing is fitted.

    Attributes:
        must_run: whether a list must not be shown without it: it is never skipped for time, and if
            it fails, nothing is shown.
        purpose: what it does to a list, in a few words, for people who inspect an answer.
    """

    must_run: ClassVar[bool] = False
    purpose: ClassVar[str] = "reordered"

    def allowed_items(self, inventory: Inventory) -> NDArray[np.bool_] | None:
        """The items that may be shown in any list, bool[items]; None for all items.

        The pipeline calls it before retrieval, so that the sources exclude other items before they
        cut their lists. It is called for every batch: implementations should cache the result as
        long as `inventory.catalogue` is the same object.
        """
        return None

    @abstractmethod
    def rerank(
        self,
        requests: Requests,
        candidates: Candidates,
        n: int,
        inventory: Inventory,
        sources: Mapping[str, Retriever],
    ) -> Reranked:
        """Arranges at least the first n places of each list; does not change its inputs.

        If the candidates are not enough to satisfy the rules, `Reranked.short` says so: the
        pipeline then finds more candidates and calls it again.

        Args:
            requests: n requests; their `exclude` and `eligible` apply to pinned items too.
            candidates: the candidates, best first by score.
            n: the number of places that will be shown; later candidates keep their order.
            inventory: attributes of the items, as of each request's moment.
            sources: name → retriever of the placement; those that compare items provide a space.
        """
