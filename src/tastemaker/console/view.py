"""The content of the page, as plain data from the server."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["", "liked", "disliked"]


@dataclass(frozen=True, slots=True)
class Card:
    """An item, as shown to people.

    Attributes:
        item_id: the external id.
        title: its title.
        labels: its labels, such as genres.
        state: the latest feedback of this user; empty if there is none.
        verb: the latest action of this user, such as `bought`; empty if there is none.
        detail: a short text that distinguishes items with the same title, such as a year.
    """

    item_id: str
    title: str
    labels: tuple[str, ...] = ()
    state: State = ""
    detail: str = ""
    verb: str = ""

    @property
    def name(self) -> str:
        """Title and detail in one line.

        >>> Card("1214", "Alien", detail="1979").name
        'Alien (1979)'
        """
        return f"{self.title} ({self.detail})" if self.detail else self.title


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A user of the event log, for whom the page can be viewed.

    Attributes:
        user_id: the external id.
        about: what they mostly choose, in a few words; empty if unknown.
    """

    user_id: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Items to choose from.

    Attributes:
        cards: the items, in order.
        labels: the labels to filter by.
        label: the selected label; empty for all items.
        query: the search text; empty for none.
    """

    cards: tuple[Card, ...]
    labels: tuple[str, ...] = ()
    label: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One page: the user, the items to choose from, the recommendations and their reasons.

    Attributes:
        project: the project's name.
        user_id: the user; events are recorded for this user.
        known: whether this user had events before this visit.
        like_kind: the event type of the like button.
        like_verb: its verb in the past tense, such as `liked` or `bought`.
        dislike_kind: the event type of the dislike button; None if there is no such button.
        shelf: items to choose from.
        answer: `Recommendations.to_dict(trace=True)`; the trace may be missing.
        cards: item id → card of a recommended item; an item without a card shows its title.
        latest: the latest items that the user acted on, newest first.
        users: a few known users for whom the page can be viewed.
        stage_words: stage → description of a source or reranker.
        chances: whether predictions are probabilities; otherwise they are scores that only order.
    """

    project: str
    user_id: str
    known: bool
    like_kind: str
    dislike_kind: str | None
    shelf: Shelf
    answer: Mapping[str, Any]
    cards: Mapping[str, Card]
    latest: tuple[Card, ...] = ()
    users: tuple[KnownUser, ...] = ()
    like_verb: str = "liked"
    stage_words: Mapping[str, str] = field(default_factory=dict)
    chances: bool = False
