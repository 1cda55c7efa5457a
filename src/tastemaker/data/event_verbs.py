"""The verb shown for an event type: "bought" for a purchase, "played" for a play."""

import re
from functools import lru_cache

from tastemaker.data.event_words import kind_of_name, words_of

_DONE = (
    ("bought", "purchase buy bought order transaction checkout sale"),
    ("preordered", "preorder"),
    ("booked", "booking reservation reserve"),
    ("rented", "rent rental"),
    ("wanted to buy", "cart basket"),
    ("wished for", "wishlist"),
    ("saved", "save bookmark"),
    ("subscribed to", "subscribe subscription"),
    ("followed", "follow"),
    ("liked", "like love favorite favourite fav thumb thumbsup upvote star"),
    ("liked", "rate rating review score"),
    ("shared", "share forward"),
    ("commented on", "comment"),
    ("finished", "complete finish finished"),
    ("played", "play"),
    ("watched", "watch stream"),
    ("listened to", "listen scrobble"),
    ("read", "read"),
    ("downloaded", "download"),
    ("visited", "visit checkin"),
    ("viewed", "view pageview pv detail open"),
    ("clicked", "click"),
    ("tried", "try trial"),
    ("saw", "impression"),
    ("booked", "book"),
)
_LAST = ("viewed", "view pageview"), ("clicked", "click"), ("saw", "impression")
"""Words that decide if the name ends with them: a `purchase_view` is a view."""
_REJECTED = (
    ("returned", "return refund"),
    ("cancelled", "cancel cancellation"),
    ("skipped", "skip"),
    ("hid", "hide hidden block mute"),
    ("reported", "report"),
)


@lru_cache(maxsize=1024)
def verb_of(event_type: str, positive: bool = True) -> str:
    """The verb of an event type in the past tense, to be shown before a title.

    A view, click or impression at the end of the name decides; otherwise the most specific word
    does. For a rating, the verb follows from its value.

    Args:
        event_type: the name of the event type.
        positive: whether the event is positive.

    Returns:
        The verb; for unknown names "chose" if the event is positive, else "disliked".

    >>> verb_of("purchase"), verb_of("add_to_cart"), verb_of("rating"), verb_of("ev1")
    ('bought', 'wanted to buy', 'liked', 'chose')
    >>> verb_of("Booked"), verb_of("purchase_view")
    ('booked', 'viewed')
    >>> verb_of("song_skip", positive=False), verb_of("rating", positive=False)
    ('skipped', 'disliked')
    """
    words = _forms(*words_of(event_type))
    if not positive:
        return _verb(_REJECTED, words) or "disliked"
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", event_type)
    if parts and (last := _verb(_LAST, _forms(parts[-1].lower()))):
        return last
    if kind_of_name(event_type).role != "positive":
        return "chose"
    return _verb(_DONE, words) or "chose"


def _verb(verbs: tuple[tuple[str, str], ...], words: set[str]) -> str | None:
    """The first verb that has one of the words."""
    return next((verb for verb, known in verbs if words & set(known.split())), None)


def _forms(*words: str) -> set[str]:
    """The words with and without endings: book for booked and books, try for tried."""
    endings = (("d", ""), ("ed", ""), ("s", ""), ("ied", "y"), ("ies", "y"))
    return {
        *words,
        *(w[: -len(end)] + stem for w in words for end, stem in endings if w.endswith(end)),
    }
