"""Rerankers: what makes a list of scored candidates, rather than a sort of them."""

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
"""The column, float32, that says how probable an item was at its place, given those above it.

A reranker that draws at random adds it. Without the column a list is as it is for certain."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """A list for each request, and what it cost.

    Attributes:
        candidates: the lists, best first; a candidate's score is what the stage before gave it.
        cost: float32[n], predicted value given up: the sum of the best scores for as many places
            less the sum of the scores in the list; never below 0 where nothing was pinned.
        notes: per request, what was done or could not be done, in words.
        short: int64[n], places whose item breaks a rule because no candidate could take them
            without, though another item of the catalogue could; None where no list has such a
            place.
        suitable: the items that could take such a place; None, any item.
    """

    candidates: Candidates
    cost: NDArray[np.float32]
    notes: tuple[tuple[str, ...], ...]
    short: NDArray[np.int64] | None = None
    suitable: Masks | None = None


class Reranker(Component, ABC):
    """Reorders, spaces, caps and pins: the last stage. Nothing is fitted.

    Attributes:
        must_run: whether a list must not be shown without it: it is never left out for time, and
            where it fails, nothing is shown.
        purpose: what it does to a list, in a few words for people who look at an answer.
    """

    must_run: ClassVar[bool] = False
    purpose: ClassVar[str] = "reordered"

    def allowed_items(self, inventory: Inventory) -> NDArray[np.bool_] | None:
        """The items that may be shown at all, whatever the list: bool[items], None for every one.

        The pipeline calls it before retrieval, so that the sources leave out what is not allowed
        before they cut their lists. It is called for every batch: the answer should be kept for
        as long as `inventory.catalogue` is the same object.
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
        """At least the first n places of each list; changes no input.

        Where a list cannot be made as wanted from these candidates, `Reranked.short` says so: the
        pipeline then looks for more and calls again.

        Args:
            requests: n requests; their `exclude` and `eligible` hold for pinned items too.
            candidates: best first by score.
            n: how many places will be shown; what comes after them stays in its order.
            inventory: attributes of the items, as of each request's moment.
            sources: the placement's retrievers, by name; those that compare items lend a space.
        """
