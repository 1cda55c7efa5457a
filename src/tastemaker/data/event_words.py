"""The meaning of event type names, by their words: `remove_from_cart`, `ThumbsDown`, `unlike`."""

import re

from tastemaker.data.schema import EventKind


def _vocabulary(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STEMS = _vocabulary("like love favorite favourite follow save bookmark subscribe star")
_UNDO = _vocabulary("remove delete undo undone")
_RETURN = _vocabulary("return refund cancel cancellation chargeback")
_NOT_RETURNS = _vocabulary("visit visitor user customer")
_NEGATIVE = _vocabulary(
    "dislike hate skip downvote block hide hidden ignore reject dismiss mute negative complaint "
    "complain bounce thumbsdown"
)
_NEGATIVE_ALONE = _vocabulary("report down pass")
_NEGATIVE_PAIRS = ({"thumb", "down"}, {"not", "interested"}, {"swipe", "left"})
_EXPOSURE = _vocabulary("impression exposure shown displayed display recommended served")
_PURCHASE = _vocabulary("purchase buy bought order transaction checkout sale booking")
_CART = _vocabulary("cart basket wishlist")
_THUMBS_UP = _vocabulary("like love thumbsup upvote")
_THUMBS_DOWN = _vocabulary("dislike hate thumbsdown downvote")
_WEIGHTS = (
    (_PURCHASE | _vocabulary("subscribe subscription"), 6.0),
    (_CART | _vocabulary("save bookmark"), 3.0),
    (_STEMS | _THUMBS_UP | _vocabulary("share forward comment complete fav"), 2.0),
)
_PLAIN = _vocabulary(
    "view click play listen watch visit open read detail pageview pv rate rating review event "
    "interaction history download stream start select checkin log action activity feedback search"
)
_LITTLE = _vocabulary("add to from the item my a in of removed deleted")
_AMOUNTS = _PURCHASE | _CART | _vocabulary("play listen watch view click stream visit")
_RATED = _vocabulary("rate rating review score star")
_SHORTENED = (
    _STEMS | _NEGATIVE | _NEGATIVE_ALONE | _RETURN | _UNDO | _PURCHASE | _CART | _PLAIN | _RATED
) | _vocabulary("thumb impression exposure share complete upvote")
"""Words that also count with an ending such as -ed or -s."""


def kind_of_name(name: str) -> EventKind:
    """The event type that a name suggests; positive with weight 1 for an unknown name."""
    words = words_of(name)
    if _undoes(words):
        return EventKind(role="neutral")
    if _is_return(words) or _is_negative(words):
        return EventKind(role="negative")
    if words & _EXPOSURE:
        return EventKind(role="exposure")
    return EventKind(weight=next((weight for known, weight in _WEIGHTS if words & known), 1.0))


def is_known(name: str) -> bool:
    """Whether the name contains a known word."""
    words = words_of(name)
    known = _PLAIN.union(_EXPOSURE, *(vocabulary for vocabulary, _ in _WEIGHTS))
    undone = _undoes(words) or _is_return(words) or _is_negative(words)
    return bool(undone) or bool(words & known) or _is_thumbs_up(words)


def replaced_by(name: str, names: list[str]) -> tuple[str, ...]:
    """The event types that a type of this name undoes, as an unlike undoes a like."""
    words, others = words_of(name), {other: words_of(other) for other in names if other != name}
    undone = _undoes(words)
    if undone:
        found = [o for o, other in others.items() if undone & other and not _undoes(other)]
    elif _is_return(words):
        found = [o for o, other in others.items() if other & _PURCHASE and not _is_return(other)]
    elif words & _PURCHASE:  # bought again after a return
        found = [o for o, other in others.items() if _is_return(other)]
    elif _is_thumbs_down(words):
        found = [o for o, other in others.items() if _is_thumbs_up(other)]
    elif _is_thumbs_up(words):
        found = [o for o, other in others.items() if _is_thumbs_down(other)]
    else:
        found = []
    return tuple(found)


def value_is_amount(name: str) -> bool:
    """Whether the value of such events is an amount (a count, a duration) rather than a rating."""
    words = words_of(name)
    return bool(words & _AMOUNTS) and not words & _RATED


def words_of(name: str) -> set[str]:
    """The words of a name in lower case, with and without endings such as -ed or -s."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = set(re.findall(r"[a-z]+", parts))
    endings = [(word, end) for word in words for end in ("d", "ed", "s") if word.endswith(end)]
    shorter = {word[: -len(end)] for word, end in endings}
    doubled = {word[:-1] for word in shorter if len(word) > 2 and word[-1] == word[-2]}
    return words | ((shorter | doubled) & _SHORTENED)


def _undoes(words: set[str]) -> set[str]:
    """The words of the action that is undone; empty if the words do not undo one."""
    stems = {word[2:] for word in words if word.startswith("un")}
    stems |= {stem[:-1] for stem in stems if stem.endswith("d")}
    if stems & _STEMS:
        return stems & _STEMS
    return words - _UNDO - _LITTLE if words & _UNDO else set()


def _is_return(words: set[str]) -> bool:
    return bool(words & _RETURN) and not words & _NOT_RETURNS


def _is_negative(words: set[str]) -> bool:
    if words & {"ad", "ads"}:
        return False
    whole = words <= _NEGATIVE_ALONE | {f"{word}ed" for word in _NEGATIVE_ALONE}
    return whole or bool(words & _NEGATIVE) or any(pair <= words for pair in _NEGATIVE_PAIRS)


def _is_thumbs_down(words: set[str]) -> bool:
    down = bool(words & _THUMBS_DOWN) or {"thumb", "down"} <= words
    return down and not _undoes(words)


def _is_thumbs_up(words: set[str]) -> bool:
    up = bool(words & _THUMBS_UP) or {"thumb", "up"} <= words
    return up and not _undoes(words)
