"""The stages that a request passes through in one placement.

    allowed items → retrieve → merge → filter → features → rank → fill → rerank → the best n

A pipeline holds no arrays. Evaluation, batch scoring and serving all call `recommend`. A stage
that fails or has no time is skipped; the answer reports which one and why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tastemaker.component import Features, Reranker, Retriever
from tastemaker.data.arguments import whole_number
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Masks, Requests
from tastemaker.filtering import restrict, verify
from tastemaker.giving_way import give_way
from tastemaker.inventory import Inventory
from tastemaker.pipeline.filling import RerankedLists, fill_lists
from tastemaker.pipeline.latency import Deadline, LatencyTracker
from tastemaker.pipeline.merge import merge
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.sources import retrieve_all
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.wiring import check_quotas
from tastemaker.project import Budget

DEFAULT_N = 20
REQUESTS_AT_A_TIME = 256
"""The batch size for many requests. The features of one batch take about 50 MB."""
_SLACK = 1.5
"""The time reserved for the stages after retrieval, as a multiple of its estimate."""
_FEWEST_TO_RANK = 2
"""The fewest candidates that a shortened ranking covers, as a multiple of n."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The components of one placement, ready to answer requests.

    Attributes:
        retrievers: source → a fitted retriever.
        quotas: source → how many candidates it contributes for certain.
        ranking: the ranker with its features; None keeps the order of the fusion.
        rerankers: name → reranker, in the order in which they are applied.
        budget: time limits of the stages, milliseconds; applied only with a deadline.
        model_version: the version of the artifact that holds the components.
        latency: measured costs of the stages; shared by the pipelines of one placement.
        weights: source → its weight in the fusion; None makes them proportional to the quotas.
        capacity: the number of distinct candidates it can hold; at least the sum of the quotas.

    Raises:
        SettingError: there are no quotas, or one names an unknown source or is below 1.
    """

    retrievers: Mapping[str, Retriever]
    quotas: Mapping[str, int]
    ranking: Ranking | None = None
    rerankers: Mapping[str, Reranker] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    model_version: str = ""
    latency: LatencyTracker = field(default_factory=LatencyTracker)
    weights: Mapping[str, float] | None = None
    capacity: int = 0

    def __post_init__(self) -> None:
        check_quotas("pipeline", self.retrievers, self.quotas)

    def plain(self, *, ranking: bool = False) -> "Pipeline":
        """This pipeline without rerankers, and without its ranker unless `ranking` is set."""
        return replace(self, ranking=self.ranking if ranking else None, rerankers={})

    def recommend(
        self,
        requests: Requests,
        n: int,
        *,
        inventory: Inventory,
        trace: bool = False,
        deadline: Deadline | None = None,
    ) -> Recommendations:
        """Recommends min(n, allowed) items for each request, best first.

        An item is allowed if it is eligible, the request does not exclude it, and no reranker
        blocks it. If the sources find too few items, the most liked items follow (`fill_lists`).
        A list is empty only if a reranker that must run fails.

        Args:
            requests: a batch; one request is a batch of one.
            n: the number of items requested.
            inventory: item data; read as of the time of each request.
            trace: whether to keep the candidates of every stage, for the funnel report.
            deadline: when the answer is due; by default there is no limit.

        Raises:
            NotFittedError: a retriever was not fitted.
            SettingError: n is not an integer of at least 0.
        """
        n = whole_number(n, "n", 0)
        tracer, until = Trace(keep=trace), deadline or Deadline()
        restricted = restrict(requests, self.rerankers, inventory)
        allowed = restricted.requests
        for name, problem in restricted.failed.items():
            tracer.fail(f"rerank:{name}", problem)
        found = self.candidates(allowed, n, inventory=inventory, trace=tracer, deadline=until)
        for name, count in restricted.blocked.items():
            tracer.annotate("filter", f"{count} items blocked by '{name}', excluded from retrieval")
        if (found.counts == 0).any() and tracer.has_degraded("retrieve:"):
            tracer.degrade("retrieve", "no candidates for some requests: the most liked are shown")
        give_way()
        ranked, features = self._rank(found, n, allowed, inventory, tracer, until)
        listed = fill_lists(
            ranked,
            n,
            allowed,
            inventory,
            lambda pool: self._rerank(pool, n, allowed, inventory, tracer, until),
            lambda some: self._retrieve_again(some, n, inventory, tracer, until),
            until,
            tracer,
        )
        best = listed.head(n)
        tracer.add("select", listed.counts, best, 0.0)
        return Recommendations(
            requests,
            best,
            inventory,
            self.retrievers,
            self.ranking,
            features,
            tracer,
            self.model_version,
        )

    def candidates(
        self, requests: Requests, n: int, *, inventory: Inventory, trace: Trace, deadline: Deadline
    ) -> Candidates:
        """The candidates of all sources for each request, merged and filtered: the ranker's input.

        Items that rerankers block are removed in `recommend`, not here: a ranker learns from all
        items, so that rules can change without training.
        Each source is asked for enough candidates to replace all other sources. The estimated
        time of the later stages is reserved, up to half of the time left.
        """
        depth = max(n, self.capacity, sum(self.quotas.values()))
        later = ("rank", *(f"rerank:{name}" for name in self.rerankers))
        units = depth * len(requests)
        reserve = _SLACK * sum(self.latency.estimate(stage, units) for stage in later)
        end = deadline.within(self.budget.retrieve).within(
            deadline.left - min(reserve, deadline.left / 2)
        )
        parts = {name: self.retrievers[name] for name in self.quotas}
        found = retrieve_all(
            parts, requests, depth, inventory, deadline=end, latency=self.latency, trace=trace
        )
        n_in = np.sum([candidates.counts for candidates in found.values()], axis=0)
        merged, milliseconds = trace.timed(
            partial(merge, found, self.quotas, max(n, self.capacity), weights=self.weights)
        )
        trace.add("merge", n_in, merged, milliseconds)
        trace.keep_counts(merged, self.quotas)
        (kept, _), milliseconds = trace.timed(
            partial(verify, merged, requests, len(inventory.catalogue))
        )
        trace.add("filter", merged.counts, kept, milliseconds)
        return kept

    def _retrieve_again(
        self, requests: Requests, n: int, inventory: Inventory, trace: Trace, deadline: Deadline
    ) -> Candidates:
        """The candidates of a second retrieval; `trace` gets its new failures."""
        again = Trace()
        found = self.candidates(requests, n, inventory=inventory, trace=again, deadline=deadline)
        trace.degraded += [one for one in again.degraded if not trace.has_degraded(one.stage)]
        return found

    def _rank(
        self,
        found: Candidates,
        n: int,
        requests: Requests,
        inventory: Inventory,
        trace: Trace,
        deadline: Deadline,
    ) -> tuple[Candidates, Features | None]:
        """Ranks by predicted value: all candidates, or as many as there is time for, or none."""
        if self.ranking is None:
            return found, None
        left, size = deadline.within(self.budget.rank).left, len(found.item)
        expected = self.latency.estimate("rank", size)
        if expected > left:
            affordable = int(left / expected * size / len(requests)) if left > 0 else 0
            text = f"estimated {expected:.1f} ms for {size} candidates, {max(left, 0):.1f} ms left"
            if affordable < max(1, _FEWEST_TO_RANK * n):
                self.latency.record_skip("rank")
                trace.degrade("rank", f"{text}: skipped")
                return found, None
            trace.degrade("rank", f"{text}: only the first {affordable} of each list are ranked")
            found = found.head(affordable)
        try:
            ranked, milliseconds = trace.timed(
                partial(self.ranking.rank, found, requests, inventory, self.retrievers, trace)
            )
        except Exception as problem:
            trace.fail("rank", problem)
            return found, None
        self.latency.record("rank", len(found.item), milliseconds)
        return ranked

    def _rerank(
        self,
        ranked: Candidates,
        n: int,
        requests: Requests,
        inventory: Inventory,
        trace: Trace,
        deadline: Deadline,
    ) -> RerankedLists:
        """Applies the rerankers in order; skips a failing one, or shows nothing if it must run."""
        until, listed = deadline.within(self.budget.rerank), ranked
        stages, short = Trace(keep=trace.keep), np.zeros(len(requests), np.int64)
        suitable = Masks.everything(len(requests))
        for name, reranker in self.rerankers.items():
            give_way()
            stage, size, left = f"rerank:{name}", len(listed.item), until.left
            expected = self.latency.estimate(stage, size)
            if expected > left and not reranker.must_run:
                self.latency.record_skip(stage)
                trace.degrade(stage, f"estimated {expected:.1f} ms, {max(left, 0):.1f} ms left")
                continue
            try:
                done, milliseconds = trace.timed(
                    partial(reranker.rerank, requests, listed, n, inventory, self.retrievers)
                )
            except Exception as problem:
                trace.fail(stage, problem)
                if reranker.must_run:
                    nothing = Candidates.none(len(requests))
                    return RerankedLists(nothing, short, suitable, stages.stages, failed=True)
                continue
            self.latency.record(stage, size, milliseconds)
            stages.add(stage, listed.counts, done.candidates, milliseconds, done.notes, done.cost)
            listed = done.candidates
            short = short if done.short is None else np.maximum(short, done.short)
            suitable = suitable if done.suitable is None else suitable.intersect(done.suitable)
        return RerankedLists(listed, short, suitable, stages.stages)
