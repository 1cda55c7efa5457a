"""The road of a request through one placement.

    retrieve → merge → filter → features → rank → rerank → the best n

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
from tastemaker.data.requests import Requests
from tastemaker.filtering import verify
from tastemaker.pipeline.merge import merge
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.sources import ask, most_liked
from tastemaker.pipeline.trace import Trace
from tastemaker.pipeline.watch import Deadline, Watch
from tastemaker.pipeline.wiring import check_quotas
from tastemaker.project import Budget
from tastemaker.world import World

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
        quotas: source → how many candidates it may give.
        ranking: the ranker with its features; None, the fusion's order stands.
        rerankers: name → reranker, in the order they are applied.
        budget: milliseconds of the stages, held where a deadline is set.
        model_version: the artifact the parts came from.
        watch: what stages have cost so far; shared by pipelines of one placement.

    Raises:
        SettingError: a quota names an unknown source, is below 1, or there is none.
    """

    retrievers: Mapping[str, Retriever]
    quotas: Mapping[str, int]
    ranking: Ranking | None = None
    rerankers: Mapping[str, Reranker] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    model_version: str = ""
    watch: Watch = field(default_factory=Watch)

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
        world: World,
        trace: bool = False,
        deadline: Deadline | None = None,
    ) -> Recommendations:
        """At most n items for each request, best first, none of them excluded.

        Args:
            requests: a batch; one request is a batch of one.
            n: how many items are asked for.
            world: what is known of items; read as of each request's moment.
            trace: whether every stage's candidates are kept, for the funnel report.
            deadline: when the answer is wanted; by default whenever it is ready.

        Raises:
            NotFittedError: a retriever was not fitted.
            SettingError: n is not an integer of at least 0.
        """
        n = whole_number(n, "n", 0)
        road, until = Trace(keep=trace), deadline or Deadline()
        found = self.candidates(requests, n, world=world, trace=road, deadline=until)
        ranked, features = self._rank(found, n, requests, world, road, until)
        listed = self._rerank(ranked, n, requests, world, road, until)
        best = listed.head(n)
        road.add("select", listed.counts, best, 0.0)
        return Recommendations(
            requests, best, world, self.retrievers, self.ranking, features, road, self.model_version
        )

    def candidates(
        self, requests: Requests, n: int, *, world: World, trace: Trace, deadline: Deadline
    ) -> Candidates:
        """What the sources found for each request, merged and filtered: the ranker's input.

        Every source is asked for enough to fill in for all the others. What the later stages will
        probably take is kept for them, up to half of the time.
        """
        depth = max(n, sum(self.quotas.values()))
        later = ("rank", *(f"rerank:{name}" for name in self.rerankers))
        reserve = _SLACK * sum(self.watch.estimate(stage, depth * len(requests)) for stage in later)
        until = deadline.within(self.budget.retrieve).within(
            deadline.left - min(reserve, deadline.left / 2)
        )
        sources = {name: self.retrievers[name] for name in self.quotas}
        found = ask(sources, requests, depth, world, deadline=until, watch=self.watch, trace=trace)
        n_in = np.sum([candidates.counts for candidates in found.values()], axis=0)
        quotas = dict(self.quotas)
        if trace.degraded and (n_in == 0).any():
            stand_in, milliseconds = trace.timed(partial(most_liked, requests, depth, world))
            found["most_liked"] = stand_in.where((n_in == 0)[stand_in.rows])
            quotas["most_liked"] = 1
            n_in += found["most_liked"].counts
            trace.add("retrieve:most_liked", None, found["most_liked"], milliseconds)
            trace.degrade("retrieve", "where nothing was found, the items most liked stand in")
        merged, milliseconds = trace.timed(partial(merge, found, quotas, n))
        trace.add("merge", n_in, merged, milliseconds)
        trace.keep_counts(merged, quotas)
        (kept, _), milliseconds = trace.timed(
            partial(verify, merged, requests, len(world.catalogue))
        )
        trace.add("filter", merged.counts, kept, milliseconds)
        return kept

    def _rank(
        self,
        found: Candidates,
        n: int,
        requests: Requests,
        world: World,
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
                partial(self.ranking.rank, found, requests, world, self.retrievers, trace)
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
        world: World,
        trace: Trace,
        deadline: Deadline,
    ) -> Candidates:
        """One reranker after the other; one that fails or has no time is left out.

        Without one that must run nothing is shown.
        """
        until, listed = deadline.within(self.budget.rerank), ranked
        for name, reranker in self.rerankers.items():
            stage, size, left = f"rerank:{name}", len(listed.item), until.left
            expected = self.watch.estimate(stage, size)
            if expected > left and not reranker.must_run:
                self.watch.leave_out(stage)
                trace.degrade(stage, f"estimated {expected:.1f} ms, {max(left, 0):.1f} ms left")
                continue
            try:
                done, milliseconds = trace.timed(
                    partial(reranker.rerank, requests, listed, n, world, self.retrievers)
                )
            except Exception as problem:
                trace.fail(stage, problem)
                if reranker.must_run:
                    return Candidates.none(len(requests))
                continue
            self.watch.record(stage, size, milliseconds)
            trace.add(stage, listed.counts, done.candidates, milliseconds, done.notes, done.cost)
            listed = done.candidates
        return listed
