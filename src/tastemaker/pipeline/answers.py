"""The queries of a fitted recommender: recommendations, rankings, similar items, trends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Ranker, Reranker, Retriever, SimilarItems, SupportsNewItems
from tastemaker.data.arguments import id_text, ids_text, moment, whole_number
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.schema import EventKind
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import NotFittedError, ProjectError, UnknownIdError, did_you_mean
from tastemaker.features import FeatureSet
from tastemaker.inventory import Inventory
from tastemaker.pipeline.fusion import Fusion
from tastemaker.pipeline.item_ranking import rank_items
from tastemaker.pipeline.latency import Deadline, LatencyTracker
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.sources import POPULARITY_FALLBACK, popularity_fallback
from tastemaker.project import Placement
from tastemaker.retrieval import Popular, Trending

_SHOWN_IDS = 5
"""The number of unknown ids that an error message lists."""
_LONGEST_ID = 80


class QueryMixin:
    """The part of `Recommender` that answers requests; the rest builds, fits and saves it."""

    retrievers: dict[str, Retriever]
    placements: dict[str, Placement]
    rankers: dict[str, Ranker]
    rerankers: dict[str, Reranker]
    inventory: Inventory
    data: Dataset | None
    kinds: dict[str, EventKind]
    version: str
    learned: dict[str, dict[str, float]]
    fusions: dict[str, Fusion]
    withdrawn: NDArray[np.int32]
    _latencies: dict[str, LatencyTracker]
    _feature_sets: dict[str, tuple[Inventory, FeatureSet]]

    def recommend(
        self,
        user_id: Any = None,
        *,
        history: Any = None,
        n: int = DEFAULT_N,
        placement: str | None = None,
        at: Any = None,
        timeout_ms: float | None = None,
    ) -> Recommendations:
        """Recommends items for one user, known or anonymous.

        Args:
            user_id: the user whose history to use; an unknown user is treated as anonymous. Ids
                are text; an integer 1 or a whole float 1.0, of Python or a frame, is "1".
            history: ids of liked items, oldest first, used instead of the user's own history: a
                list, array or series. Items that a known user has seen or blocked are still
                excluded. Unknown ids are ignored.
            n: the number of items.
            placement: the placement; by default the first.
            at: the moment of the request: a datetime, a date, ISO 8601 text or microseconds; by
                default just after the last event.
            timeout_ms: the deadline, milliseconds; stages without enough time are skipped, and the
                answer reports them. By default the placement's total budget, if it has one.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: the placement does not exist.
            SettingError: an id or the moment cannot be read, or `n` is not an integer of at least
                0.
        """
        request = self._request(user_id, history, placement, at)
        return self.answer(request, n, timeout_ms=timeout_ms)

    def rank(
        self,
        user_id: Any,
        items: Any,
        *,
        history: Any = None,
        placement: str | None = None,
        at: Any = None,
        exclude_seen: bool = False,
    ) -> Recommendations:
        """Ranks given items by relevance to a user.

        The placement's ranker orders the items, with the features and scores that they would have
        in a list. Without a ranker, the fusion of the sources orders them. Rerankers are not
        applied, and items that the user has seen or blocked are ranked like the others.

        Args:
            user_id: the user whose history to use; None for an anonymous user.
            items: ids of the items to rank: a list, array or series; duplicates are ranked once.
            history: ids of liked items, oldest first, as in `recommend`.
            placement: the placement; by default the first.
            at: the moment of the request, as in `recommend`.
            exclude_seen: whether to leave out the items that a list for this user would not show
                because of the user's events.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: the placement does not exist.
            SettingError: an id or the moment cannot be read.
            UnknownIdError: items are not in the catalogue; lists them.
        """
        request = self._request(user_id, history, placement, at)
        return self.rank_for(request, ids_text(items, "items"), exclude_seen=exclude_seen)

    def rank_for(
        self, request: Requests, items: Sequence[str], *, exclude_seen: bool = False
    ) -> Recommendations:
        """Ranks given items for an existing request, such as a server builds from its store.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: the placement does not exist.
            UnknownIdError: items are not in the catalogue; lists them.
        """
        pipeline = self.pipeline(request.placement or None)
        ids = list(dict.fromkeys(items))
        indices = self.inventory.catalogue.items.indices(ids)
        is_unknown = (indices < 0) | np.isin(indices, self.withdrawn)
        unknown = [id_ for id_, missing in zip(ids, is_unknown) if missing]
        if unknown:
            more = f" and {len(unknown) - _SHOWN_IDS:,} more" * (len(unknown) > _SHOWN_IDS)
            shown = ", ".join(f"'{id_[:_LONGEST_ID]}'" for id_ in unknown[:_SHOWN_IDS])
            raise UnknownIdError(f"no item has the id {shown}{more}")
        return rank_items(
            pipeline, request, indices, inventory=self.inventory, exclude_seen=exclude_seen
        )

    def _request(self, user_id: Any, history: Any, placement: str | None, at: Any) -> Requests:
        """The request of one user; see `recommend`."""
        self._require_inventory()
        user = None if user_id is None else id_text(user_id, "'user_id'")
        liked = [] if history is None else ids_text(history, "history")
        time = self._latest() if at is None else moment(at, "at")
        name, _ = self._placement(placement)
        seen = self.seen(name)
        known = -1 if self.data is None or user is None else self.data.users.index(user)
        if self.data is not None and known >= 0:
            requests = self.data.requests(
                np.array([known]), np.array([time]), seen=seen, placement=name
            )
            if history is not None:
                by_history = self._anonymous(liked, time, seen)
                exclude = Ragged.of([np.union1d(by_history.exclude[0], requests.exclude[0])])
                requests = replace(requests, history=by_history.history, exclude=exclude)
        else:
            requests = replace(self._anonymous(liked, time, seen), user_id=(user,))
        return replace(requests, placement=name)

    def answer(
        self,
        requests: Requests,
        n: int,
        *,
        timeout_ms: float | None = None,
        since: float | None = None,
        trace: bool = False,
    ) -> Recommendations:
        """Recommends items for existing requests, such as a server builds from its store.

        Args:
            requests: a batch for one placement, which it names.
            n: the number of items.
            timeout_ms: the deadline, milliseconds; by default the placement's.
            since: when the answer was requested, seconds of `perf_counter`; by default now.
            trace: whether to keep the candidates of every stage.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: the placement does not exist.
        """
        pipeline = self.pipeline(requests.placement or None)
        milliseconds = pipeline.budget.total if timeout_ms is None else timeout_ms
        deadline = Deadline(milliseconds, since=since)
        requests = self._without_withdrawn(requests)
        return pipeline.recommend(
            requests, n, inventory=self.inventory, trace=trace, deadline=deadline
        )

    def recommend_all(
        self,
        *,
        n: int = DEFAULT_N,
        placement: str | None = None,
        at: Any = None,
        prepare: Callable[[Requests], Requests] | None = None,
    ) -> Iterator[Recommendations]:
        """Recommends items for every known user, in batches of `REQUESTS_AT_A_TIME`.

        Args:
            n: the number of items.
            placement: the placement; by default the first.
            at: the moment of the requests, as in `recommend`; by default just after the last event.
            prepare: a function that changes a batch of requests before it is answered.

        Raises:
            NotFittedError: no data is attached.
            SettingError: the moment cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_inventory()
        if self.data is None:
            raise NotFittedError(self)
        name, _ = self._placement(placement)
        seen, pipeline = self.seen(name), self.pipeline(name)
        time = self._latest() if at is None else moment(at, "at")
        for start in range(0, len(self.data.users), REQUESTS_AT_A_TIME):
            users = np.arange(start, min(start + REQUESTS_AT_A_TIME, len(self.data.users)))
            moments = np.full(len(users), time)
            requests = self.data.requests(users, moments, seen=seen, placement=name)
            requests = requests if prepare is None else prepare(requests)
            yield pipeline.recommend(self._without_withdrawn(requests), n, inventory=self.inventory)

    def similar(
        self, item_id: Any, *, n: int = DEFAULT_N, retriever: str | None = None
    ) -> tuple[str, Candidates]:
        """The items most similar to an item, and the name of the source that found them.

        Args:
            item_id: the item; text, an integer or a whole float, of Python or a frame.
            n: the number of items.
            retriever: the source; by default the first one that knows the item and finds similar
                items. Only sources that implement `SupportsNewItems` know an item added later.

        Raises:
            UnknownIdError: the item does not exist.
            ProjectError: the source does not exist or does not support similar items.
            SettingError: the id cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_inventory()
        n = whole_number(n, "n", 0)
        item = id_text(item_id, "'item_id'")
        index = self.inventory.catalogue.items.index(item)
        if index < 0 or index in self.withdrawn:
            raise UnknownIdError(f"no item has the id '{item}'")
        capable = {k: r for k, r in self.retrievers.items() if isinstance(r, SimilarItems)}
        if not capable:
            raise ProjectError("no retriever supports similar items; add item_knn, ease or als")
        if retriever is not None and retriever not in capable:
            raise ProjectError(
                f"no retriever '{retriever}' supports similar items"
                f"{did_you_mean(retriever, capable)}"
            )
        knowing = [name for name in capable if _knows(self.retrievers[name], index)] or [*capable]
        names = knowing if retriever is None else [retriever]
        more = n + len(self.withdrawn)
        found = (
            (k, capable[k].similar(np.array([index], np.int32), more, self.inventory))
            for k in names
        )
        results = ((k, self._shown(one, n)) for k, one in found)
        first = next(results)
        return first if len(first[1].item) else next((r for r in results if len(r[1].item)), first)

    def trending(self, *, n: int = DEFAULT_N, at: Any = None) -> tuple[str, Candidates]:
        """The items that many users liked recently, and the name of the source that found them.

        Args:
            n: the number of items.
            at: the moment: a datetime, a date, ISO 8601 text or microseconds; by default just
                after the last event.

        Raises:
            NotFittedError: neither fitted nor loaded.
            SettingError: the moment cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_inventory()
        n = whole_number(n, "n", 0)
        time = self._latest() if at is None else moment(at, "at")
        anyone = self._without_withdrawn(Requests.of([[]], time=time))
        for retriever_class in (Trending, Popular):
            for name, source in self.retrievers.items():
                if isinstance(source, retriever_class):
                    found = source.retrieve(anyone, n, self.inventory)
                    if len(found.item):
                        return name, found
        return POPULARITY_FALLBACK, popularity_fallback(anyone, n, self.inventory).head(n)

    def seen(self, placement: str | None = None) -> SeenPolicy:
        """The policy that decides which past events exclude an item in a placement.

        Raises:
            ProjectError: the placement does not exist.
        """
        return SeenPolicy.of(self.kinds, self._placement(placement)[1].seen)

    def pipeline(self, placement: str | None = None) -> Pipeline:
        """The pipeline of one placement.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: the placement does not exist.
        """
        self._require_inventory()
        name, settings = self._placement(placement)
        sources = {source: self.retrievers[source] for source in settings.retrievers}
        ranking = None
        if settings.ranker is not None and self._is_enabled(settings.ranker):
            ranking = Ranking(
                self.rankers[settings.ranker],
                self._features(name, sources),
                settings.objective_weights,
            )
        fusion = self.fusions.get(name) or Fusion.stated(settings)
        return Pipeline(
            sources,
            fusion.quotas,
            ranking,
            {name: self.rerankers[name] for name in settings.rerankers},
            settings.budget,
            self.version,
            self._latencies[name],
            fusion.weights,
            fusion.candidates,
        )

    def _features(self, placement: str, sources: Mapping[str, Retriever]) -> FeatureSet:
        """The features of a placement's candidates; built once per inventory."""
        inventory, features = self._feature_sets.get(placement, (None, None))
        if features is None or inventory is not self.inventory:
            features = FeatureSet.of(self.inventory, sources)
            self._feature_sets[placement] = (self.inventory, features)
        return features

    def _is_enabled(self, ranker: str) -> bool:
        """Whether a ranker is used; True for an unfitted one, so that the answer reports it."""
        return bool(self.learned.get(ranker, {}).get("enabled", True))

    def _anonymous(self, liked: Sequence[str], time: int, seen: SeenPolicy) -> Requests:
        """The request of an anonymous user: liked items are events of the first positive type."""
        items = self.inventory.catalogue.items.indices(liked)
        known = items[items >= 0].tolist()
        kind = next((c for c, k in enumerate(self.kinds.values()) if k.role == "positive"), 0)
        repeats = len(seen.window) > 0 and seen.window[kind] == 0
        return Requests.of([known], time=time, exclude=[[] if repeats else known])

    def _latest(self) -> int:
        """The time just after the last event, including events attached after training."""
        return max(self.inventory.watermark, 0 if self.data is None else self.data.end)

    def _placement(self, name: str | None) -> tuple[str, Placement]:
        chosen = next(iter(self.placements)) if name is None else name
        if chosen not in self.placements:
            raise ProjectError(f"no placement '{chosen}'{did_you_mean(chosen, self.placements)}")
        return chosen, self.placements[chosen]

    def _without_withdrawn(self, requests: Requests) -> Requests:
        """The requests, with withdrawn items not eligible."""
        if not len(self.withdrawn):
            return requests
        bitmap = np.ones((1, len(self.inventory.catalogue)), np.bool_)
        bitmap[0, self.withdrawn] = False
        masks = Masks(bitmap, np.zeros(len(requests), np.int32))
        return replace(requests, eligible=requests.eligible.intersect(masks))

    def _shown(self, found: Candidates, n: int) -> Candidates:
        """The first n items that are not withdrawn."""
        if len(self.withdrawn):
            found = found.where(~np.isin(found.item, self.withdrawn))
        return found.head(n)

    def _require_inventory(self) -> None:
        if not hasattr(self, "inventory"):
            raise NotFittedError(self)


def _knows(source: Retriever, item: int) -> bool:
    """Whether a source knows an item, from training or because it supports new items."""
    return item < source.n_fitted or isinstance(source, SupportsNewItems)
