"""Fits the sources of a recommender. If a source exceeds the memory budget, leaves out undescribed
items first, and then the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.component import FitOptions, Reranker, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.data.narrowing import UndescribedItems
from tastemaker.errors import MemoryBudgetError, SourceMemoryError
from tastemaker.pipeline.saving import component_settings
from tastemaker.project import Placement


@dataclass(frozen=True, slots=True)
class LeftOutSource:
    """A source that was not fitted.

    Attributes:
        reason: why it was not fitted, and how to fix it.
        component: the type and settings of the component, as in an artifact's manifest.
    """

    reason: str
    component: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For an artifact's manifest."""
        return {"reason": self.reason, "component": self.component}


@dataclass(frozen=True, slots=True)
class Wiring:
    """The sources of a recommender and the placements that use them.

    Attributes:
        retrievers: name → source.
        placements: name → placement.
    """

    retrievers: dict[str, Retriever]
    placements: dict[str, Placement]

    def without(self, problem: SourceMemoryError, rerankers: Mapping[str, Reranker]) -> "Wiring":
        """The wiring without a source that exceeds the memory budget.

        Raises:
            MemoryBudgetError: the recommender or a placement would have no source left, or a
                reranker of a placement uses the source.
        """
        name = problem.source
        retrievers = {n: part for n, part in self.retrievers.items() if n != name}
        placements = {n: _without(p, name) for n, p in self.placements.items()}
        empty = [n for n, placement in placements.items() if not placement.retrievers]
        users = [
            reranker
            for placement in self.placements.values()
            for reranker in placement.rerankers
            if name in rerankers[reranker].config.model_dump().values()
        ]
        if not retrievers or empty:
            raise MemoryBudgetError(str(problem), problem.reason) from None
        if users:
            raise MemoryBudgetError(
                f"{problem}; it cannot be left out, because the reranker '{users[0]}' uses it",
                problem.reason,
            ) from None
        return Wiring(retrievers, placements)


def _without(placement: Placement, source: str) -> Placement:
    """The placement without a source."""
    if source not in placement.retrievers:
        return placement
    left: dict[str, int] | tuple[str, ...]
    if isinstance(placement.retrievers, dict):
        left = {name: quota for name, quota in placement.retrievers.items() if name != source}
    else:
        left = tuple(name for name in placement.retrievers if name != source)
    weights = {n: weight for n, weight in (placement.weights or {}).items() if n != source}
    return placement.model_copy(update={"retrievers": left, "weights": weights or None})


def fit_source(name: str, source: Retriever, data: Dataset, options: FitOptions) -> Retriever:
    """Fits a source in place and returns it.

    Raises:
        SourceMemoryError: it exceeds the memory budget.
    """
    try:
        return source.fit(data, options)
    except MemoryBudgetError as problem:
        error = SourceMemoryError(name, problem)
    raise error  # outside `except`, so that its context does not keep the arrays of the source


def with_fewer_items(
    name: str, source: Retriever, data: Dataset, options: FitOptions
) -> Dataset | None:
    """The data without enough undescribed items for a source to fit into the memory budget.

    Items of few users are left out first: those of fewer than 2, 4, 8, … users.

    Args:
        name: the name of the source.
        source: the source; clones of it are fitted.
        data: the data with which it exceeds the memory budget.
        options: the options, with the memory budget.

    Returns:
        The data; None if the source exceeds the budget even without all undescribed items.

    Cost: one fit. The failing fits before it stop once the source has estimated its memory.
    """
    undescribed = UndescribedItems(data)
    for enough in undescribed.thresholds():
        fewer = undescribed.without(enough, name)
        try:
            source.clone().fit(fewer, options)
        except MemoryBudgetError:
            continue
        return fewer
    return None


def left_out_source(problem: SourceMemoryError, source: Retriever) -> LeftOutSource:
    """The record of a source that was left out."""
    settings = component_settings({problem.source: source})
    return LeftOutSource(problem.reason, settings[problem.source])


def without_left_out(wiring: Wiring, left_out: Mapping[str, LeftOutSource]) -> Wiring:
    """The current sources without those that training had to leave out.

    A source whose type or settings have changed since is kept: the next training may fit it.
    """
    current = component_settings(wiring.retrievers)
    unchanged = [name for name, one in left_out.items() if current.get(name) == one.component]
    placements = wiring.placements
    for name in unchanged:
        placements = {n: _without(placement, name) for n, placement in placements.items()}
    kept = {n: part for n, part in wiring.retrievers.items() if n not in unchanged}
    return Wiring(kept, placements)
