"""The road of a request through one placement: retrieve → merge → filter → the best n.

Holds no arrays of its own. Evaluation, batch scoring and serving all call `recommend`.
"""

from collections.abc import Mapping

import numpy as np

from tastemaker.component import Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError, near_miss
from tastemaker.filtering import verify
from tastemaker.pipeline.merge import merge
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.trace import Trace
from tastemaker.world import World


class Pipeline:
    """One placement's wiring.

    Args:
        retrievers: source → a fitted retriever.
        quotas: source → how many candidates it may give.
        model_version: the artifact the retrievers came from.
    """

    def __init__(
        self,
        retrievers: Mapping[str, Retriever],
        quotas: Mapping[str, int],
        model_version: str = "",
    ) -> None:
        self.check("pipeline", retrievers, quotas)
        self.retrievers = dict(retrievers)
        self.quotas = dict(quotas)
        self.model_version = model_version

    @staticmethod
    def check(owner: str, retrievers: Mapping[str, Retriever], quotas: Mapping[str, int]) -> None:
        """Refuses quotas that name an unknown source, give less than one item, or are none.

        Raises:
            SettingError: names the owner, the source and the value.
        """
        if not quotas:
            raise SettingError(f"{owner}: needs at least one retriever")
        for source, quota in quotas.items():
            if source not in retrievers:
                hint = near_miss(source, retrievers)
                raise SettingError(f"{owner}: no retriever is called '{source}'{hint}")
            if quota < 1:
                raise SettingError(
                    f"{owner}: the quota of '{source}' must be at least 1, got {quota}"
                )

    def recommend(self, requests: Requests, n: int, *, world: World) -> Recommendations:
        """At most n items for each request, best first, none of them excluded.

        Args:
            requests: a batch; one request is a batch of one.
            n: how many items are asked for.
            world: what is known of items; read as of each request's moment.

        Raises:
            NotFittedError: a retriever was not fitted.
            SettingError: n is negative.
        """
        if n < 0:
            raise SettingError(f"'n' must not be negative, got {n}")
        trace = Trace()
        found = self._retrieve(requests, max(n, sum(self.quotas.values())), world, trace)
        merged = self._merge(found, n, trace)
        eligible = self._filter(merged, requests, world, trace)
        best = eligible.head(n)
        trace.add("select", eligible.counts, best.counts, 0.0)
        return Recommendations(requests, best, world, self.retrievers, trace, self.model_version)

    def _retrieve(
        self, requests: Requests, n: int, world: World, trace: Trace
    ) -> dict[str, Candidates]:
        """Every source is asked for enough to fill in for all the others."""
        nothing = np.zeros(len(requests), np.int64)
        found = {}
        for name, retriever in self.retrievers.items():
            found[name], milliseconds = trace.timed(
                lambda source=retriever: source.retrieve(requests, n, world)  # type: ignore[misc]
            )
            trace.add(f"retrieve:{name}", nothing, found[name].counts, milliseconds)
        return found

    def _merge(self, found: dict[str, Candidates], n: int, trace: Trace) -> Candidates:
        merged, milliseconds = trace.timed(lambda: merge(found, self.quotas, n))
        n_in = np.sum([candidates.counts for candidates in found.values()], axis=0)
        trace.add("merge", n_in, merged.counts, milliseconds)
        return merged

    def _filter(
        self, merged: Candidates, requests: Requests, world: World, trace: Trace
    ) -> Candidates:
        (kept, _), milliseconds = trace.timed(
            lambda: verify(merged, requests, len(world.catalogue))
        )
        trace.add("filter", merged.counts, kept.counts, milliseconds)
        return kept
