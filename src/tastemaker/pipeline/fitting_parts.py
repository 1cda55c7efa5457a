"""Fitting the components of a recommender within the memory budget."""

from dataclasses import replace

from tastemaker.component import FitOptions, Retriever
from tastemaker.data.dataset import Dataset
from tastemaker.errors import SourceMemoryError, TooManyItemsError
from tastemaker.pipeline.answers import QueryMixin
from tastemaker.pipeline.fitting import (
    LeftOutSource,
    Wiring,
    fit_source,
    left_out_source,
    with_fewer_items,
)
from tastemaker.pipeline.learning import LearningResult, learn
from tastemaker.project import Placement, Training


class FittingMixin(QueryMixin):
    """The part of `Recommender` that fits sources, fusions and rankers."""

    training: Training
    left_out: dict[str, LeftOutSource]
    _configured: Wiring

    def _reduced(
        self, problem: SourceMemoryError, data: Dataset, options: FitOptions, keep_items: bool
    ) -> Dataset:
        """The data for the next attempt: with fewer items, or unchanged after removing a source."""
        name = problem.source
        # fitted sources would occupy the memory in which this source is tried again
        self.retrievers = {n: part.clone() for n, part in self.retrievers.items()}
        fewer = with_fewer_items(name, self.retrievers[name], data, options)
        if fewer is None:
            self._leave_out(problem)
            return data
        if keep_items:
            raise TooManyItemsError(name, problem, fewer.left_out.min_item_users)
        return fewer

    def _leave_out(self, problem: SourceMemoryError) -> None:
        """Removes a source that exceeds the memory budget."""
        if not self.left_out:
            self._configured = Wiring(self.retrievers, self.placements)
        wiring = Wiring(self.retrievers, self.placements).without(problem, self.rerankers)
        source = self.retrievers[problem.source]
        self.left_out[problem.source] = left_out_source(problem, source)
        self.retrievers, self.placements = wiring.retrievers, wiring.placements

    def _fit_components(self, data: Dataset, options: FitOptions) -> None:
        """Learns fusions and rankers, and fits every source.

        Raises:
            SourceMemoryError: a source exceeds the memory budget.
        """
        kept: dict[str, Retriever] = {}
        self.learned, self.fusions = {}, {}
        for name, placement in self.placements.items():
            if placement.ranker is None and not placement.learns_fusion:
                continue
            learned = self._learn(placement, data, options)
            if placement.learns_fusion:
                self.fusions[name] = learned.fusion
            kept |= learned.sources
            if placement.ranker is not None:
                decision = {"enabled": bool(learned.enabled), "refit": learned.refit}
                self.learned[placement.ranker] = {**learned.notes, **decision}
        unfitted = [name for name in self.retrievers if name not in kept]
        for name in options.progress.track(unfitted, "all events: sources", len(unfitted)):
            fit_source(name, self.retrievers[name], data, options)
        self.retrievers |= kept

    def within_budget(self, options: FitOptions) -> FitOptions:
        """The options, with the memory budget of the project if they have none."""
        if options.memory_budget is not None:
            return options
        return replace(options, memory_budget=self.training.memory)

    def _learn(self, placement: Placement, data: Dataset, options: FitOptions) -> LearningResult:
        return learn(
            self.rankers[placement.ranker] if placement.ranker else None,
            data,
            placement,
            {source: self.retrievers[source] for source in placement.retrievers},
            self.training,
            options,
        )
