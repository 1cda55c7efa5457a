"""What a user did, in a word for display: of a purchase bought, of a play played."""

from functools import lru_cache

from tastemaker.data.event_words import kind_of_name, words_of

_DONE = (
    ("bought", "purchase buy bought order transaction checkout sale"),
    ("booked", "booking reservation"),
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
)
_REJECTED = (
    ("returned", "return refund"),
    ("cancelled", "cancel cancellation"),
    ("skipped", "skip"),
    ("hid", "hide hidden block mute"),
    ("reported", "report"),
)


@lru_cache(maxsize=1024)
def verb_of(event_type: str, positive: bool = True) -> str:
    """What the user did by an event of this type, in the past tense, to stand before a title.

    The most telling word of the name decides; a rating is read as what its value says.

    Args:
        event_type: its name.
        positive: whether the event speaks for the item.

    Returns:
        "chose" for a positive event, "disliked" for another, where the name tells nothing more.

    >>> verb_of("purchase"), verb_of("add_to_cart"), verb_of("rating"), verb_of("ev1")
    ('bought', 'wanted to buy', 'liked', 'chose')
    >>> verb_of("song_skip", positive=False), verb_of("rating", positive=False)
    ('skipped', 'disliked')
    """
    words = words_of(event_type)
    if not positive:
        return next((verb for verb, known in _REJECTED if words & set(known.split())), "disliked")
    if kind_of_name(event_type).role != "positive":
        return "chose"
    return next((verb for verb, known in _DONE if words & set(known.split())), "chose")
