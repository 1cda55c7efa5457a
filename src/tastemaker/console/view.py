"""What the page shows, as plain data: the server fills it in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["", "liked", "disliked"]


@dataclass(frozen=True, slots=True)
class Card:
    """An item as a person knows it.

    Attributes:
        item_id: the external id.
        title: its name, as people write it.
        labels: what it is, such as its genres.
        state: what this user last said of it; empty, nothing.
        verb: what this user did with it, such as `bought`; empty, nothing.
        detail: a few characters that tell it from its namesakes, such as a year.
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
    """A user of the log, to see the page as.

    Attributes:
        user_id: the external id.
        about: what they mostly choose, in a few words; empty, nothing is known.
    """

    user_id: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """Items to choose from.

    Attributes:
        cards: in the order they stand.
        labels: what the shelf can be narrowed to.
        label: what it is narrowed to; empty, everything.
        query: what was searched for; empty, nothing.
    """

    cards: tuple[Card, ...]
    labels: tuple[str, ...] = ()
    label: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One page: who looks at it, what there is to choose, what is recommended and why.

    Attributes:
        project: the project's name.
        user_id: who looks; events are recorded for this user.
        known: whether this user had events before this visit.
        like_kind: the kind of event that says "I like it".
        like_verb: the same in the past tense, such as `liked` or `bought`.
        dislike_kind: the kind that says "I do not"; None, there is none and no button for it.
        shelf: items to choose from.
        answer: `Recommendations.to_dict(trace=True)`; the trace may be missing.
        cards: item id → card of what is recommended; an id without one is shown by its title.
        latest: what the user did last, newest first.
        users: a few known users to see the page as.
        stage_words: stage → what a source finds or a reranker does, in words.
        chances: whether predictions are probabilities, rather than scores that only order.
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
