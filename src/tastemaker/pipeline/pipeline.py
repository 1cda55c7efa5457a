"""The road of a request through one placement.

    allowed items → retrieve → merge → filter → features → rank → fill → rerank → the best n

Holds no arrays of its own. Evaluation, batch scoring and serving all call `recommend`. Whatever
fails, or has no time, is left out; the answer says what and why.
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
from tastemaker.pipeline.filling import Listed, filled
from tastemaker.pipeline.latency import Deadline, LatencyTracker
from tastemaker.pipeline.merge import merge
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.sources import ask
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.wiring import check_quotas
from tastemaker.project import Budget

DEFAULT_N = 20
REQUESTS_AT_A_TIME = 256
"""How many walk the road together where many ask: their features take about 50 MB."""
_SLACK = 1.5
"""How much more time than estimated is kept for the stages after retrieval."""
_FEWEST_TO_RANK = 2
"""A shortened ranking covers at least so many times the items asked for."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One placement's wiring.

    Attributes:
        retrievers: source → a fitted retriever.
        quotas: source → how many candidates it gives for certain.
        ranking: the ranker with its features; None, the fusion's order stands.
        rerankers: name → reranker, in the order they are applied.
        budget: milliseconds of the stages, held where a deadline is set.
        model_version: the artifact the parts came from.
        watch: what stages have cost so far; shared by pipelines of one placement.
        weights: source → its weight in the fusion; None, in proportion to the quotas.
        capacity: the number of distinct candidates it can hold; at least the sum of the quotas.

    Raises:
        SettingError: a quota names an unknown source, is below 1, or there is none.
    """

    retrievers: Mapping[str, Retriever]
    quotas: Mapping[str, int]
    ranking: Ranking | None = None
    rerankers: Mapping[str, Reranker] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    model_version: str = ""
    watch: LatencyTracker = field(default_factory=LatencyTracker)
    weights: Mapping[str, float] | None = None
    capacity: int = 0

    def __post_init__(self) -> None:
        check_quotas("pipeline", self.retrievers, self.quotas)

    def plain(self, *, ranking: bool = False) -> "Pipeline":
        """This road without rerankers, and without its ranker unless `ranking`."""
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
        """min(n, allowed) items for each request, best first.

        An item is allowed if the request does not exclude it, is eligible for it, and no reranker
        blocks it; only where a reranker that must run fails, a list is empty. Where the sources
        find too little, the items most liked follow what they found (`filled`).

        Args:
            requests: a batch; one request is a batch of one.
            n: how many items are asked for.
            inventory: what is known of items; read as of each request's moment.
            trace: whether every stage's candidates are kept, for the funnel report.
            deadline: when the answer is wanted; by default whenever it is ready.

        Raises:
            NotFittedError: a retriever was not fitted.
            SettingError: n is not an integer of at least 0.
        """
        n = whole_number(n, "n", 0)
        road, until = Trace(keep=trace), deadline or Deadline()
        restricted = restrict(requests, self.rerankers, inventory)
        allowed = restricted.requests
        for name, problem in restricted.failed.items():
            road.fail(f"rerank:{name}", problem)
        found = self.candidates(allowed, n, inventory=inventory, trace=road, deadline=until)
        for name, count in restricted.blocked.items():
            road.annotate("filter", f"{count} items blocked by '{name}', left out by every source")
        if (found.counts == 0).any() and road.has_degraded("retrieve:"):
            road.degrade("retrieve", "where nothing was found, the items most liked stand in")
        give_way()
        ranked, features = self._rank(found, n, allowed, inventory, road, until)
        listed = filled(
            ranked,
            n,
            allowed,
            inventory,
            lambda pool: self._rerank(pool, n, allowed, inventory, road, until),
            lambda some: self._found_again(some, n, inventory, road, until),
            until,
            road,
        )
        best = listed.head(n)
        road.add("select", listed.counts, best, 0.0)
        return Recommendations(
            requests,
            best,
            inventory,
            self.retrievers,
            self.ranking,
            features,
            road,
            self.model_version,
        )

    def candidates(
        self, requests: Requests, n: int, *, inventory: Inventory, trace: Trace, deadline: Deadline
    ) -> Candidates:
        """What the sources found for each request, merged and filtered: the ranker's input.

        What rerankers block is not considered here but in `recommend`: a ranker learns from all
        items, so that rules can change without training.
        Every source is asked for enough to fill in for all the others. What the later stages will
        probably take is kept for them, up to half of the time.
        """
        depth = max(n, self.capacity, sum(self.quotas.values()))
        later = ("rank", *(f"rerank:{name}" for name in self.rerankers))
        reserve = _SLACK * sum(self.watch.estimate(stage, depth * len(requests)) for stage in later)
        end = deadline.within(self.budget.retrieve).within(
            deadline.left - min(reserve, deadline.left / 2)
        )
        parts = {name: self.retrievers[name] for name in self.quotas}
        found = ask(parts, requests, depth, inventory, deadline=end, watch=self.watch, trace=trace)
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

    def _found_again(
        self, requests: Requests, n: int, inventory: Inventory, trace: Trace, deadline: Deadline
    ) -> Candidates:
        """What the sources find when asked once more; `trace` gets what was left out then."""
        again = Trace()
        found = self.candidates(requests, n, inventory=inventory, trace=again, deadline=deadline)
        trace.degraded += [lost for lost in again.degraded if not trace.has_degraded(lost.stage)]
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
        """By predicted value: all of them, or as many as there is time for, or none."""
        if self.ranking is None:
            return found, None
        left, size = deadline.within(self.budget.rank).left, len(found.item)
        expected = self.watch.estimate("rank", size)
        if expected > left:
            affordable = int(left / expected * size / len(requests)) if left > 0 else 0
            told = f"estimated {expected:.1f} ms for {size} candidates, {max(left, 0):.1f} ms left"
            if affordable < max(1, _FEWEST_TO_RANK * n):
                self.watch.leave_out("rank")
                trace.degrade("rank", f"{told}: left out")
                return found, None
            trace.degrade("rank", f"{told}: the first {affordable} of each list are ranked")
            found = found.head(affordable)
        try:
            ranked, milliseconds = trace.timed(
                partial(self.ranking.rank, found, requests, inventory, self.retrievers, trace)
            )
        except Exception as problem:
            trace.fail("rank", problem)
            return found, None
        self.watch.record("rank", len(found.item), milliseconds)
        return ranked

    def _rerank(
        self,
        ranked: Candidates,
        n: int,
        requests: Requests,
        inventory: Inventory,
        trace: Trace,
        deadline: Deadline,
    ) -> Listed:
        """One reranker after the other; one that fails or has no time is left out.

        Without one that must run nothing is shown.
        """
        until, listed = deadline.within(self.budget.rerank), ranked
        stages, short = Trace(keep=trace.keep), np.zeros(len(requests), np.int64)
        suitable = Masks.everything(len(requests))
        for name, reranker in self.rerankers.items():
            give_way()
            stage, size, left = f"rerank:{name}", len(listed.item), until.left
            expected = self.watch.estimate(stage, size)
            if expected > left and not reranker.must_run:
                self.watch.leave_out(stage)
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
                    return Listed(nothing, short, suitable, stages.stages, failed=True)
                continue
            self.watch.record(stage, size, milliseconds)
            stages.add(stage, listed.counts, done.candidates, milliseconds, done.notes, done.cost)
            listed = done.candidates
            short = short if done.short is None else np.maximum(short, done.short)
            suitable = suitable if done.suitable is None else suitable.intersect(done.suitable)
        return Listed(listed, short, suitable, stages.stages)
