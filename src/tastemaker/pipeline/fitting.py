"""Fits the sources of a recommender, and leaves out what does not fit into the memory: first items
that nobody described, then a source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tastemaker.component import FitOptions, Reranker, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.data.narrowing import UndescribedItems
from tastemaker.errors import MemoryBudgetError, SourceMemoryError
from tastemaker.pipeline.saving import described
from tastemaker.project import Placement


@dataclass(frozen=True, slots=True)
class LeftOutSource:
    """A source that was not fitted.

    Attributes:
        reason: why, and what to do.
        component: which component it is, with its settings, as in an artifact's manifest.
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
        """The same without a source that does not fit into the memory.

        Raises:
            MemoryBudgetError: nothing would be left of the sources, or of those of a placement; or
                a reranker of a placement needs the source.
        """
        name = problem.source
        retrievers = {n: part for n, part in self.retrievers.items() if n != name}
        placements = {n: _without(p, name) for n, p in self.placements.items()}
        empty = [n for n, placement in placements.items() if not placement.retrievers]
        needing = [
            reranker
            for placement in self.placements.values()
            for reranker in placement.rerankers
            if name in rerankers[reranker].config.model_dump().values()
        ]
        if not retrievers or empty:
            raise MemoryBudgetError(str(problem), problem.reason) from None
        if needing:
            raise MemoryBudgetError(
                f"{problem}; it cannot be left out, as the reranker '{needing[0]}' uses it",
                problem.reason,
            ) from None
        return Wiring(retrievers, placements)


def _without(placement: Placement, source: str) -> Placement:
    """A placement that does not use a source."""
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
        SourceMemoryError: it does not fit into the memory budget.
    """
    try:
        return source.fit(data, options)
    except MemoryBudgetError as problem:
        refused = SourceMemoryError(name, problem)
    raise refused  # here, so that it does not keep what the source held


def with_fewer_items(
    name: str, source: Retriever, data: Dataset, options: FitOptions
) -> Dataset | None:
    """The data without as many undescribed items as a source needs to fit into the memory budget.

    Items of few users are left out first: those of fewer than 2, 4, 8, … users.

    Args:
        name: the source's name.
        source: a clone of it is fitted until it fits.
        data: what it did not fit into the memory budget with.
        options: with the memory budget.

    Returns:
        The data; None where the source does not fit without any undescribed item either.

    Cost: of all fits but the last, what a source does until it has estimated its memory.
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
    """What is kept of a source that was left out."""
    return LeftOutSource(problem.reason, described({problem.source: source})[problem.source])


def without_left_out(wiring: Wiring, left_out: Mapping[str, LeftOutSource]) -> Wiring:
    """Today's sources without those that a training had to leave out.

    A source whose component or settings have changed since stays: the next training may fit it.
    """
    today = described(wiring.retrievers)
    gone = [name for name, one in left_out.items() if today.get(name) == one.component]
    placements = wiring.placements
    for name in gone:
        placements = {n: _without(placement, name) for n, placement in placements.items()}
    kept = {n: part for n, part in wiring.retrievers.items() if n not in gone}
    return Wiring(kept, placements)
