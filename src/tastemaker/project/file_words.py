"""Guesses from the words in a file name: the table it holds, and its event type."""

import re
from pathlib import Path
from typing import Literal

from tastemaker.data.propose_kinds import propose_kinds
from tastemaker.data.schema import EventKind

_ENDING = re.compile(r"(?:\.(?:csv|tsv|dat|data|jsonl|ndjson|json|parquet|pq|txt|gz))+$", re.I)
_GENERAL = {
    "event", "interaction", "log", "history", "action", "activity", "behavior", "behaviour",
    "feedback",
}  # fmt: skip
"""Words of a log that may hold events of any type."""
_EVENTS = _GENERAL | {
    "rating", "score", "star", "vote", "upvote", "downvote", "review", "comment",
    "click", "view", "visit", "watch", "play", "listen", "stream", "scrobble", "download",
    "transaction", "order", "purchase", "sale", "checkout", "cart", "basket", "wishlist",
    "like", "favorite", "favourite", "bookmark", "share", "checkin",
    "booking", "reservation", "rental", "loan", "subscription", "enrollment", "enrolment",
    "dislike", "unlike", "unfollow", "skip", "hide", "hidden", "block", "return", "refund",
    "cancel", "cancellation", "cancelation", "unsubscribe", "uninstall", "impression", "exposure",
}  # fmt: skip
_ITEMS = {
    "item", "movie", "film", "product", "article", "video", "book", "song", "track", "artist",
    "game", "catalog", "catalogue", "news", "recipe", "business", "info", "metadata", "meta",
}  # fmt: skip
_USERS = {"user", "customer", "visitor", "member", "client", "reader"}
_OTHERS = {"readme", "source", "license", "licence", "notes", "friend", "trust", "follower", "link"}
_COPIES = {
    "old", "backup", "bak", "copy", "sample", "subset", "small", "mini", "tiny", "demo",
    "train", "valid", "validation", "val", "dev", "test",
}  # fmt: skip
"""Words in the name of a second file with the same rows."""
_USUAL_FORM = {"hidden": "hide"}
WHOLE_LOGS = ("event", "interaction", "log")
"""A file with one of these words holds all events."""


def stem(path: Path) -> str:
    """The file name without its format extensions: `orders` for `orders.csv.gz`."""
    return _ENDING.sub("", path.name)


def table_of(path: Path) -> Literal["events", "items", "users", "other"] | None:
    """The table that a file name suggests; None if no word suggests one."""
    words = {form for word in _words(path) for form in _forms(word)}
    if words & _OTHERS:
        return "other"
    if words & _EVENTS or (words & _ITEMS and words & _USERS):
        return "events"
    return "items" if words & _ITEMS else "users" if words & _USERS else None


def event_word(path: Path) -> str:
    """The word of a file name that describes its events; otherwise `interaction`.

    Negative words and exposures take precedence (`order_returns` holds returns), and specific words
    over general ones (`play_history` holds plays). A name with a word and its opposite
    (`likes_dislikes`), or with "and", does not describe single events.
    """
    words = [form for word in _words(path) for form in _forms(word) if form in _EVENTS]
    special = [word for word in words if word not in _GENERAL]
    if {"like", "dislike"} <= set(words) or {"upvote", "downvote"} <= set(words):
        return "interaction"
    if "and" in _words(path) and len(special) > 1:
        return "interaction"
    not_positive = [word for word in special if kind_of_word(word).role != "positive"]
    word = next(iter([*not_positive, *special, *words]), "interaction")
    return _USUAL_FORM.get(word, word)


def kind_of_word(word: str) -> EventKind:
    """The proposed meaning of an event type with this name."""
    return propose_kinds(None, None, word)[0][word]


def is_copy_of(path: Path, other: Path) -> bool:
    """Whether a name is another name plus a word such as `old`, or in another format."""
    if path == other:
        return False
    if stem(path) == stem(other):
        return _plainness(other) < _plainness(path)
    mark = re.compile(r"\(\d+\)$")  # a browser's second download
    if mark.sub("", stem(path)).strip() == stem(other):
        return True
    mine, theirs = _words(path), _words(other)
    added = [word for word in mine if word not in _COPIES]
    return mine != theirs and added == theirs and _numbers(other) <= _numbers(path)


def is_partial_copy(path: Path) -> bool:
    """Whether a name marks the file as a copy, or as a subset for tests."""
    return bool(set(_words(path)) & (_COPIES - {"train"}))


def plainest(paths: list[Path]) -> Path:
    """The file with the shortest name."""
    return min(paths, key=_plainness)


def _plainness(path: Path) -> tuple[int, int, str]:
    return len(stem(path)), len(path.name), path.name


def _numbers(path: Path) -> set[str]:
    return set(re.findall(r"\d+", stem(path)))


def _words(path: Path) -> list[str]:
    parted = re.sub(r"([a-z])([A-Z])", r"\1_\2", stem(path)).lower()
    return [word for word in re.split(r"[^a-z]+", parted) if word]


def _forms(word: str) -> tuple[str, ...]:
    """The word and its possible singular forms."""
    if word.endswith("ies"):
        return word, f"{word[:-3]}y", word.removesuffix("s")
    return word, word.removesuffix("s"), word.removesuffix("es")
