"""What the console shows one user: a shelf to choose from, and their recommendations."""

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
    """Which kinds of event the console's buttons record.

    Attributes:
        like: the kind of a like.
        like_value: the value such an event needs, where the kind is a rating.
        dislike: the kind of a dislike; None where there is none.
    """

    like: str
    like_value: float | None
    dislike: str | None

    @classmethod
    def of(cls, kinds: dict[str, EventKind]) -> "Acts":
        """A plain positive kind rather than a rating, a like before others; the first negative."""
        liked = [name for name, kind in kinds.items() if kind.role == "positive"] or list(kinds)
        plain = [name for name in liked if kinds[name].positive_threshold is None] or liked
        like = next((name for name in plain if verb_of(name) == "liked"), plain[0])
        disliked = [name for name, kind in kinds.items() if kind.role == "negative"]
        return cls(like, kinds[like].positive_threshold, disliked[0] if disliked else None)


def question_of(user_id: str) -> RecommendationRequest:
    """The question whose answer a user's page shows."""
    return RecommendationRequest(user_id, n=RECOMMENDED, explain=True)


def view_of(
    service: Service, asked: RecommendationRequest, prepared: Prepared, label: str, query: str
) -> View:
    """Everything one page shows.

    Args:
        service: that answers.
        asked: the question; see `question_of`.
        prepared: what was read for it.
        label: what the shelf is narrowed to; empty, everything.
        query: what is searched for; empty, nothing.
    """
    answer, user_id = service.recommend(asked, prepared), str(asked.user_id)
    live, acts = prepared.live, Acts.of(service.project.file.events)

    def past_of(user: str) -> Past:
        return live.past(service.requests.newest(user, live))

    past = past_of(user_id)
    moment = service.moment(live)
    shelves = _Shelves(live, past, moment)
    ranking = live.recommender.pipeline().ranking
    catalogue = live.recommender.inventory.catalogue
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
                user, _Shelves(live, live.past(service.requests.newest(user, live)), moment).about()
            )
            for user in service.store.users(USERS)
        ),
        like_verb=verb_of(acts.like),
        stage_words=_stage_words(live),
        chances=ranking is not None and ranking.ranker.kind == "probability",
    )


def _stage_words(live: ModelSnapshot) -> dict[str, str]:
    """Stage → what a source finds or a reranker does, in words."""
    sources, rerankers = live.recommender.retrievers, live.recommender.rerankers
    return {
        **{f"retrieve:{name}": source.reason_text for name, source in sources.items()},
        **{f"rerank:{name}": reranker.purpose for name, reranker in rerankers.items()},
        "retrieve:popularity_fallback": Popular.reason_text,
    }


class _Shelves:
    """Items as cards, for a user with a past."""

    def __init__(self, live: ModelSnapshot, past: Past, moment: int) -> None:
        recommender = live.recommender
        self._inventory = recommender.inventory
        self._moment = moment
        self._catalogue: Catalogue = recommender.inventory.catalogue
        weight = past.weight(recommender.kinds)
        kinds = list(recommender.kinds)
        strongest = np.argsort(np.abs(weight), kind="stable")
        self._said = {int(i): float(w) for i, w in zip(past.item, weight) if w}
        self._verbs = {
            int(past.item[event]): verb_of(kinds[past.kind[event]], bool(weight[event] > 0))
            for event in strongest
            if weight[event] and (weight[event] > 0) == (self._said[int(past.item[event])] > 0)
        }
        labelled = [
            column for column in self._catalogue.columns.values() if isinstance(column, TagsColumn)
        ]
        self._labels = labelled[0] if labelled else None

    def is_rated(self, item: int) -> bool:
        """Whether the user likes or dislikes the item at present."""
        return item in self._said

    def shelf(self, label: str, query: str) -> Shelf:
        """The items most liked, among those with a label and a title that matches the query.

        Titles that begin with the query come first, then those with a word that does, last those
        with the query inside a word; among equals the most liked first.
        """
        wanted = np.arange(len(self._catalogue), dtype=np.int32)
        names: tuple[str, ...] = ()
        if self._labels is not None:
            names = self._often()
            if label:
                code = self._labels.labels.index(label)
                wanted = self._labels.rows_by_label[code] if code >= 0 else wanted[:0]
        match = np.zeros(len(wanted), np.int8)
        if sought := search_text(query):
            match = self._catalogue.title_search.ranks(sought)[wanted]
            wanted, match = wanted[match < NO_MATCH], match[match < NO_MATCH]
        liked = self._inventory.statistics.of_every_item(self._moment)[wanted]
        best = wanted[np.lexsort((-liked, match))[:SHOWN_ON_SHELF]]
        return Shelf(tuple(self.cards(best)), names, label, query)

    def cards(self, items: NDArray[np.int32]) -> list[Card]:
        """Items as a person knows them."""
        return [self._card(int(item)) for item in items]

    def _card(self, item: int) -> Card:
        id_ = self._catalogue.items.id(item)
        labels: tuple[str, ...] = ()
        if self._labels is not None:
            labels = tuple(self._labels.labels.ids(self._labels.codes[item]))
        said = self._said.get(item, 0.0)
        detail = ""
        column = self._catalogue.columns.get(_DETAIL)
        if isinstance(column, NumberColumn) and np.isfinite(column.values[item]):
            detail = f"{column.values[item]:.0f}"
        return Card(
            id_,
            display_title(self._catalogue.title(item) or id_),
            labels,
            "liked" if said > 0 else "disliked" if said < 0 else "",
            detail,
            self._verbs.get(item, ""),
        )

    def about(self) -> str:
        """What the user mostly likes, by label; by number of items where items have no labels."""
        liked = [item for item, weight in self._said.items() if weight > 0 and item >= 0]
        if self._labels is None or not liked:
            return f"{len(liked):,} items" if liked else ""
        codes = np.concatenate([self._labels.codes[item] for item in liked])
        often = np.bincount(codes, minlength=len(self._labels.labels))
        if not often.any():
            return f"{len(liked):,} items"
        return f"mostly {self._labels.labels.id(int(often.argmax()))}"

    def _often(self) -> tuple[str, ...]:
        """The labels most items have, in the order of the alphabet."""
        assert self._labels is not None  # noqa: S101 - checked by the caller
        counts = np.bincount(self._labels.codes.values, minlength=len(self._labels.labels))
        often = np.argsort(-counts, kind="stable")[:_LABELS]
        return tuple(sorted(self._labels.labels.ids(often)))


def act(service: Service, fields: dict[str, Any], caller: str = "") -> list[dict[str, Any]]:
    """Takes in what a button says; when it returns, it is on disk.

    Args:
        service: takes it in.
        fields: of the event.
        caller: the client who pressed it.

    Returns:
        Why it was rejected; empty if it was not.
    """
    acts = Acts.of(service.project.file.events)
    event_fields = {name: value for name, value in fields.items() if value != ""}
    if event_fields.get("event_type") == acts.like and acts.like_value is not None:
        event_fields["value"] = acts.like_value
    position = str(event_fields.get("position", ""))
    if position.isascii() and position.isdecimal() and len(position) < _LONGEST_POSITION:
        event_fields["position"] = int(position)
    taken = service.add_events([event_fields], caller)
    taken.written.result()
    return taken.rejected
