"""What the words of a file's name say: the table it holds, and the type of its events."""

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
"""Words that a second file of the same rows has in its name."""
_USUAL_FORM = {"hidden": "hide"}
WHOLE_LOGS = ("event", "interaction", "log")
"""A file with one of these words holds all events."""


def stem(path: Path) -> str:
    """The file's name without the endings of its format: `orders` of `orders.csv.gz`."""
    return _ENDING.sub("", path.name)


def table_of(path: Path) -> Literal["events", "items", "users", "other"] | None:
    """The table that a file's name suggests; None where no word says it."""
    words = {form for word in _words(path) for form in _forms(word)}
    if words & _OTHERS:
        return "other"
    if words & _EVENTS or (words & _ITEMS and words & _USERS):
        return "events"
    return "items" if words & _ITEMS else "users" if words & _USERS else None


def event_word(path: Path) -> str:
    """The word of a file's name that says what its events are; else `interaction`.

    A word that is negative or an exposure comes before others (`order_returns` holds returns), and
    a word of one event type before a general one (`play_history` holds plays). A name that holds a
    word and its opposite (`likes_dislikes`), or "and", says nothing of the single event.
    """
    words = [form for word in _words(path) for form in _forms(word) if form in _EVENTS]
    special = [word for word in words if word not in _GENERAL]
    if {"like", "dislike"} <= set(words) or {"upvote", "downvote"} <= set(words):
        return "interaction"
    if "and" in _words(path) and len(special) > 1:
        return "interaction"
    unliked = [word for word in special if kind_of_word(word).role != "positive"]
    word = next(iter([*unliked, *special, *words]), "interaction")
    return _USUAL_FORM.get(word, word)


def kind_of_word(word: str) -> EventKind:
    """What an event type of this name means."""
    return propose_kinds(None, None, word)[0][word]


def is_copy_of(path: Path, other: Path) -> bool:
    """Whether a name is another's with a word such as `old` or `copy`, or in another format."""
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
    """Whether a name says that the file is a copy, or a part made for tests."""
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
    """The word as it is, and its singular."""
    if word.endswith("ies"):
        return word, f"{word[:-3]}y", word.removesuffix("s")
    return word, word.removesuffix("s"), word.removesuffix("es")
