"""The console's view of one user: a shelf of items, and the user's recommendations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.console import Card, KnownUser, Shelf, View
from tastemaker.data.catalogue import Catalogue, NumberColumn, TagsColumn
from tastemaker.data.event_verbs import verb_of
from tastemaker.data.past import Past
from tastemaker.data.schema import EventKind
from tastemaker.data.titles import NO_MATCH, display_title, search_text
from tastemaker.retrieval import Popular
from tastemaker.serving.model_snapshot import ModelSnapshot
from tastemaker.serving.recommendation_request import RecommendationRequest
from tastemaker.serving.service import Service
from tastemaker.serving.user_requests import Prepared

SHOWN_ON_SHELF = 30
RECOMMENDED = 12
LATEST = 12
USERS = 3
_DETAIL = "year"
_LABELS = 24
_LONGEST_POSITION = 10


@dataclass(frozen=True, slots=True)
class Acts:
    """The event types that the console's buttons record.

    Attributes:
        like: the event type of a like.
        like_value: the value of a like, if the event type is a rating; otherwise None.
        dislike: the event type of a dislike; None if there is none.
    """

    like: str
    like_value: float | None
    dislike: str | None

    @classmethod
    def of(cls, kinds: dict[str, EventKind]) -> "Acts":
        """Prefers a positive type without a value, and a like. Takes the first negative type."""
        liked = [name for name, kind in kinds.items() if kind.role == "positive"] or list(kinds)
        plain = [name for name in liked if kinds[name].positive_threshold is None] or liked
        like = next((name for name in plain if verb_of(name) == "liked"), plain[0])
        disliked = [name for name, kind in kinds.items() if kind.role == "negative"]
        return cls(like, kinds[like].positive_threshold, disliked[0] if disliked else None)


def page_request(user_id: str) -> RecommendationRequest:
    """The recommendation request for a user's page."""
    return RecommendationRequest(user_id, n=RECOMMENDED, explain=True)


def view_of(
    service: Service, request: RecommendationRequest, prepared: Prepared, label: str, query: str
) -> View:
    """The content of one page.

    Args:
        service: the service that answers.
        request: the parameters of the request; see `page_request`.
        prepared: the prepared request.
        label: the label that filters the shelf; empty for all items.
        query: the search text for titles; empty for no search.
    """
    answer, user_id = service.recommend(request, prepared), str(request.user_id)
    snapshot, acts = prepared.snapshot, Acts.of(service.project.file.events)

    def past_of(user: str) -> Past:
        return snapshot.past(service.requests.newest(user, snapshot))

    past = past_of(user_id)
    moment = service.moment(snapshot)
    shelves = _Shelves(snapshot, past, moment)
    ranking = snapshot.recommender.pipeline().ranking
    catalogue = snapshot.recommender.inventory.catalogue
    listed = catalogue.items.indices([item["item_id"] for item in answer["items"]])
    cards = {card.item_id: card for card in shelves.cards(listed[listed >= 0])}
    latest = [int(item) for item in past.item[::-1] if item >= 0 and shelves.is_rated(int(item))]
    return View(
        project=service.project.folder.resolve().name,
        user_id=user_id,
        known=service.is_trained_on(user_id),
        like_kind=acts.like,
        dislike_kind=acts.dislike,
        shelf=shelves.shelf(label, query.strip()),
        answer=answer,
        cards=cards,
        latest=tuple(shelves.cards(np.array(list(dict.fromkeys(latest))[:LATEST], np.int32))),
        users=tuple(
            KnownUser(
                user,
                _Shelves(
                    snapshot, snapshot.past(service.requests.newest(user, snapshot)), moment
                ).about(),
            )
            for user in service.store.users(USERS)
        ),
        like_verb=verb_of(acts.like),
        stage_words=_stage_words(snapshot),
        chances=ranking is not None and ranking.ranker.kind == "probability",
    )


def _stage_words(snapshot: ModelSnapshot) -> dict[str, str]:
    """Stage → a description of what its source finds or its reranker does."""
    sources, rerankers = snapshot.recommender.retrievers, snapshot.recommender.rerankers
    return {
        **{f"retrieve:{name}": source.reason_text for name, source in sources.items()},
        **{f"rerank:{name}": reranker.purpose for name, reranker in rerankers.items()},
        "retrieve:popularity_fallback": Popular.reason_text,
    }


class _Shelves:
    """Builds item cards and shelves for a user with a `Past`."""

    def __init__(self, snapshot: ModelSnapshot, past: Past, moment: int) -> None:
        recommender = snapshot.recommender
        self._inventory = recommender.inventory
        self._moment = moment
        self._catalogue: Catalogue = recommender.inventory.catalogue
        weight = past.weight(recommender.kinds)
        kinds = list(recommender.kinds)
        strongest = np.argsort(np.abs(weight), kind="stable")
        self._weights = {int(i): float(w) for i, w in zip(past.item, weight) if w}
        self._verbs = {
            int(past.item[event]): verb_of(kinds[past.kind[event]], bool(weight[event] > 0))
            for event in strongest
            if weight[event] and (weight[event] > 0) == (self._weights[int(past.item[event])] > 0)
        }
        labelled = [
            column for column in self._catalogue.columns.values() if isinstance(column, TagsColumn)
        ]
        self._labels = labelled[0] if labelled else None

    def is_rated(self, item: int) -> bool:
        """Whether the user likes or dislikes the item at present."""
        return item in self._weights

    def shelf(self, label: str, query: str) -> Shelf:
        """The most popular items with the label and a title that matches the query.

        Titles that start with the query come first, then titles with a word that starts with it,
        then titles with the query inside a word. Ties are ordered by popularity.
        """
        rows = np.arange(len(self._catalogue), dtype=np.int32)
        names: tuple[str, ...] = ()
        if self._labels is not None:
            names = self._frequent_labels()
            if label:
                code = self._labels.labels.index(label)
                rows = self._labels.rows_by_label[code] if code >= 0 else rows[:0]
        match = np.zeros(len(rows), np.int8)
        if pattern := search_text(query):
            match = self._catalogue.title_search.ranks(pattern)[rows]
            rows, match = rows[match < NO_MATCH], match[match < NO_MATCH]
        liked = self._inventory.statistics.of_every_item(self._moment)[rows]
        best = rows[np.lexsort((-liked, match))[:SHOWN_ON_SHELF]]
        return Shelf(tuple(self.cards(best)), names, label, query)

    def cards(self, items: NDArray[np.int32]) -> list[Card]:
        """The cards of items."""
        return [self._card(int(item)) for item in items]

    def _card(self, item: int) -> Card:
        id_ = self._catalogue.items.id(item)
        labels: tuple[str, ...] = ()
        if self._labels is not None:
            labels = tuple(self._labels.labels.ids(self._labels.codes[item]))
        weight = self._weights.get(item, 0.0)
        detail = ""
        column = self._catalogue.columns.get(_DETAIL)
        if isinstance(column, NumberColumn) and np.isfinite(column.values[item]):
            detail = f"{column.values[item]:.0f}"
        return Card(
            id_,
            display_title(self._catalogue.title(item) or id_),
            labels,
            "liked" if weight > 0 else "disliked" if weight < 0 else "",
            detail,
            self._verbs.get(item, ""),
        )

    def about(self) -> str:
        """The label that the user likes most; the number of liked items if items have no labels."""
        liked = [item for item, weight in self._weights.items() if weight > 0 and item >= 0]
        if self._labels is None or not liked:
            return f"{len(liked):,} items" if liked else ""
        codes = np.concatenate([self._labels.codes[item] for item in liked])
        often = np.bincount(codes, minlength=len(self._labels.labels))
        if not often.any():
            return f"{len(liked):,} items"
        return f"mostly {self._labels.labels.id(int(often.argmax()))}"

    def _frequent_labels(self) -> tuple[str, ...]:
        """The most frequent labels, in alphabetical order."""
        assert self._labels is not None  # noqa: S101 - checked by the caller
        counts = np.bincount(self._labels.codes.values, minlength=len(self._labels.labels))
        often = np.argsort(-counts, kind="stable")[:_LABELS]
        return tuple(sorted(self._labels.labels.ids(often)))


def act(service: Service, fields: dict[str, Any], caller: str = "") -> list[dict[str, Any]]:
    """Records the event of a console button. The event is on disk when the call returns.

    Args:
        service: the service that stores the event.
        fields: the fields of the event.
        caller: the client that pressed the button.

    Returns:
        The rejected event with the reason; empty if the event was accepted.
    """
    acts = Acts.of(service.project.file.events)
    event_fields = {name: value for name, value in fields.items() if value != ""}
    if event_fields.get("event_type") == acts.like and acts.like_value is not None:
        event_fields["value"] = acts.like_value
    position = str(event_fields.get("position", ""))
    if position.isascii() and position.isdecimal() and len(position) < _LONGEST_POSITION:
        event_fields["position"] = int(position)
    posted_events = service.add_events([event_fields], caller)
    posted_events.written.result()
    return posted_events.rejected
