"""What a fitted recommender answers: lists for users and histories, similar items, trends."""

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
from tastemaker.pipeline.given import rank_given
from tastemaker.pipeline.latency import Deadline, LatencyTracker
from tastemaker.pipeline.pipeline import DEFAULT_N, REQUESTS_AT_A_TIME, Pipeline
from tastemaker.pipeline.ranking import Ranking
from tastemaker.pipeline.recommendations import Recommendations
from tastemaker.pipeline.sources import POPULARITY_FALLBACK, popularity_fallback
from tastemaker.project import Placement
from tastemaker.retrieval import Popular, Trending

_NAMED = 5
"""So many unknown ids are named."""
_LONGEST_NAME = 80


class Answers:
    """The part of `Recommender` that answers; the rest makes, fits, extends and saves it."""

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
    _watches: dict[str, LatencyTracker]
    _declared: dict[str, tuple[Inventory, FeatureSet]]

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
        """A list for one user, known or not.

        Args:
            user_id: whose history to use; an unknown user is answered like an anonymous one. Ids
                are text; an integer 1 or a whole float 1.0, of Python or a frame, is "1".
            history: ids of liked items, oldest first, used for taste instead of a known history:
                a list, array or series. What a known user has seen or blocked is still excluded.
                Unknown ids are left out.
            n: how many items.
            placement: the placement; by default the first.
            at: the moment of the request: a datetime, a date, ISO 8601 text or microseconds; by
                default just after the last event.
            timeout_ms: the deadline, milliseconds; stages that do not fit are left out, and the
                answer says so. By default the placement's total budget, if it has one.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: there is no such placement.
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
        """Given items in the order of relevance to a user.

        By the placement's ranker, with the features and the scores that the items have in a list;
        where there is no ranker, by the fusion of its sources. Rerankers are not applied, and
        items that the user has seen or blocked are ranked like the others.

        Args:
            user_id: whose history to use; None for an anonymous user.
            items: ids of the items to rank: a list, array or series; one that occurs twice is
                ranked once.
            history: ids of liked items, oldest first, as in `recommend`.
            placement: the placement; by default the first.
            at: the moment of the request, as in `recommend`.
            exclude_seen: whether items are left out that a list for this user would not show
                because of what the user did with them.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: there is no such placement.
            SettingError: an id or the moment cannot be read.
            UnknownIdError: items are not in the catalogue; names them.
        """
        request = self._request(user_id, history, placement, at)
        return self.rank_for(request, ids_text(items, "items"), exclude_seen=exclude_seen)

    def rank_for(
        self, request: Requests, items: Sequence[str], *, exclude_seen: bool = False
    ) -> Recommendations:
        """`rank` for a request that exists already, such as a server makes from its store.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: there is no such placement.
            UnknownIdError: items are not in the catalogue; names them.
        """
        pipeline = self.pipeline(request.placement or None)
        ids = list(dict.fromkeys(items))
        indices = self.inventory.catalogue.items.indices(ids)
        gone = (indices < 0) | np.isin(indices, self.withdrawn)
        unknown = [id_ for id_, is_gone in zip(ids, gone) if is_gone]
        if unknown:
            more = f" and {len(unknown) - _NAMED:,} more" * (len(unknown) > _NAMED)
            named = ", ".join(f"'{id_[:_LONGEST_NAME]}'" for id_ in unknown[:_NAMED])
            raise UnknownIdError(f"no item has the id {named}{more}")
        return rank_given(
            pipeline, request, indices, inventory=self.inventory, exclude_seen=exclude_seen
        )

    def _request(self, user_id: Any, history: Any, placement: str | None, at: Any) -> Requests:
        """One user's request, as `recommend` describes."""
        self._require_world()
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
                away = Ragged.of([np.union1d(by_history.exclude[0], requests.exclude[0])])
                requests = replace(requests, history=by_history.history, exclude=away)
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
        """Lists for requests that exist already, such as a server makes from its store.

        Args:
            requests: a batch for one placement, named in it.
            n: how many items.
            timeout_ms: the deadline, milliseconds; by default the placement's.
            since: when the answer was requested, seconds of `perf_counter`; by default now.
            trace: whether every stage's candidates are kept.

        Raises:
            NotFittedError: neither fitted nor loaded.
            ProjectError: there is no such placement.
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
        """A list for every known user, a few thousand at a time.

        Args:
            n: how many items.
            placement: the placement; by default the first.
            at: the moment of the requests, as in `recommend`; by default just after the last event.
            prepare: changes a batch of requests before it is answered.

        Raises:
            NotFittedError: no data is attached.
            SettingError: the moment cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_world()
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
        """The items most similar to one, and the name of the source that found them.

        Args:
            item_id: the item; text, an integer or a whole float, of Python or a frame.
            n: how many.
            retriever: the source; by default the first that knows the item and finds any similar
                ones. An item added after the fit is known to sources that `SupportsNewItems`.

        Raises:
            UnknownIdError: there is no such item.
            ProjectError: the source does not exist or cannot answer.
            SettingError: the id cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_world()
        n = whole_number(n, "n", 0)
        item = id_text(item_id, "'item_id'")
        index = self.inventory.catalogue.items.index(item)
        if index < 0 or index in self.withdrawn:
            raise UnknownIdError(f"no item has the id '{item}'")
        able = {k: r for k, r in self.retrievers.items() if isinstance(r, SimilarItems)}
        if not able:
            raise ProjectError(
                "none of the retrievers can name similar items; add item_knn, ease or als"
            )
        if retriever is not None and retriever not in able:
            raise ProjectError(
                f"no retriever '{retriever}' can name similar items{did_you_mean(retriever, able)}"
            )
        knowing = [name for name in able if _knows(self.retrievers[name], index)] or [*able]
        names = knowing if retriever is None else [retriever]
        more = n + len(self.withdrawn)
        found = (
            (k, able[k].similar(np.array([index], np.int32), more, self.inventory)) for k in names
        )
        answers = ((k, self._shown(one, n)) for k, one in found)
        first = next(answers)
        return first if len(first[1].item) else next((a for a in answers if len(a[1].item)), first)

    def trending(self, *, n: int = DEFAULT_N, at: Any = None) -> tuple[str, Candidates]:
        """What many users liked recently, the same for everyone, and the source that found it.

        Args:
            n: how many.
            at: the moment: a datetime, a date, ISO 8601 text or microseconds; by default just
                after the last event.

        Raises:
            NotFittedError: neither fitted nor loaded.
            SettingError: the moment cannot be read, or `n` is not an integer of at least 0.
        """
        self._require_world()
        n = whole_number(n, "n", 0)
        time = self._latest() if at is None else moment(at, "at")
        anyone = self._without_withdrawn(Requests.of([[]], time=time))
        for wanted in (Trending, Popular):
            for name, source in self.retrievers.items():
                if isinstance(source, wanted):
                    found = source.retrieve(anyone, n, self.inventory)
                    if len(found.item):
                        return name, found
        return POPULARITY_FALLBACK, popularity_fallback(anyone, n, self.inventory).head(n)

    def seen(self, placement: str | None = None) -> SeenPolicy:
        """Which past events exclude an item in a placement.

        Raises:
            ProjectError: there is no such placement.
        """
        return SeenPolicy.of(self.kinds, self._placement(placement)[1].seen)

    def pipeline(self, placement: str | None = None) -> Pipeline:
        """The pipeline of one placement.

        Raises:
            ProjectError: there is no such placement.
        """
        self._require_world()
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
            self._watches[name],
            fusion.weights,
            fusion.candidates,
        )

    def _features(self, placement: str, sources: Mapping[str, Retriever]) -> FeatureSet:
        """What a placement's candidates are described by; declared once for a world."""
        inventory, declared = self._declared.get(placement, (None, None))
        if declared is None or inventory is not self.inventory:
            declared = FeatureSet.of(self.inventory, sources)
            self._declared[placement] = (self.inventory, declared)
        return declared

    def _is_enabled(self, ranker: str) -> bool:
        """Whether a ranker is used; one that was never fitted is, so that the answer reports it."""
        return bool(self.learned.get(ranker, {}).get("enabled", True))

    def _anonymous(self, liked: Sequence[str], time: int, seen: SeenPolicy) -> Requests:
        """An anonymous user's request: the liked items as events of the first positive kind."""
        items = self.inventory.catalogue.items.indices(liked)
        known = items[items >= 0].tolist()
        kind = next((c for c, k in enumerate(self.kinds.values()) if k.role == "positive"), 0)
        repeats = len(seen.window) > 0 and seen.window[kind] == 0
        return Requests.of([known], time=time, exclude=[[] if repeats else known])

    def _latest(self) -> int:
        """Just after the last event, also of data that continues after the training."""
        return max(self.inventory.watermark, 0 if self.data is None else self.data.end)

    def _placement(self, name: str | None) -> tuple[str, Placement]:
        chosen = next(iter(self.placements)) if name is None else name
        if chosen not in self.placements:
            raise ProjectError(f"no placement '{chosen}'{did_you_mean(chosen, self.placements)}")
        return chosen, self.placements[chosen]

    def _without_withdrawn(self, requests: Requests) -> Requests:
        """The requests, with withdrawn items no longer eligible."""
        if not len(self.withdrawn):
            return requests
        bitmap = np.ones((1, len(self.inventory.catalogue)), np.bool_)
        bitmap[0, self.withdrawn] = False
        masks = Masks(bitmap, np.zeros(len(requests), np.int32))
        return replace(requests, eligible=requests.eligible.intersect(masks))

    def _shown(self, found: Candidates, n: int) -> Candidates:
        """The first n that are not withdrawn."""
        if len(self.withdrawn):
            found = found.where(~np.isin(found.item, self.withdrawn))
        return found.head(n)

    def _require_world(self) -> None:
        if not hasattr(self, "inventory"):
            raise NotFittedError(self)


def _knows(source: Retriever, item: int) -> bool:
    """Whether a source has learned of an item: when it was fitted, or as it was extended."""
    return item < source.n_fitted or isinstance(source, SupportsNewItems)
