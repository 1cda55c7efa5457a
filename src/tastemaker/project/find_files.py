"""Which files of a folder hold the events, the items and the users, by their names."""

import re
from pathlib import Path

from tastemaker.errors import DataError

_TABLE_ENDINGS = (".csv", ".tsv", ".dat", ".data", ".jsonl", ".ndjson", ".json")
_PARQUET_ENDINGS = (".parquet", ".pq")
_ENDINGS = (*_TABLE_ENDINGS, *(f"{ending}.gz" for ending in _TABLE_ENDINGS), *_PARQUET_ENDINGS)
_TEXT_ENDINGS = (".txt", ".txt.gz")
"""Only files that are named like a table are tables."""
_EVENTS = {
    "event", "rating", "interaction", "log", "click", "transaction", "order", "view", "purchase",
    "play", "listen", "history", "review", "watch", "cart", "behavior", "behaviour", "action",
    "activity", "feedback", "like", "visit", "impression", "sale", "checkin",
}  # fmt: skip
_ITEMS = {
    "item", "movie", "film", "product", "article", "video", "book", "song", "track", "artist",
    "game", "catalog", "catalogue", "news", "recipe", "business", "info", "metadata", "meta",
}  # fmt: skip
_USERS = {"user", "customer", "visitor", "member", "client", "reader"}
_OTHERS = {"readme", "source", "license", "licence", "notes", "friend", "trust", "follower", "link"}


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """The files in a folder that look like events, items and users, by the words of their names.

    Several event files are taken together where each has an event word of its own (`purchase`,
    `play`), or where their names differ by digits alone (`events_2023`, `events_2024`).

    Raises:
        DataError: none looks like an event log.
    """
    files = sorted(path for path in folder.iterdir() if _is_table(path))
    found: dict[str, list[Path]] = {}
    events = [path for path in files if _part(path) == "events"]
    if events:
        found["events"] = _chosen(events)
    for table in ("items", "users"):
        named = [path for path in files if _part(path) == table]
        if named:
            found[table] = [min(named, key=_plainness)]
    if "events" not in found:
        unknown = [path for path in files if _part(path) is None]
        if len(files) == 1 and unknown and files[0].name.lower().endswith(_ENDINGS):
            return {"events": files}
        shown = ", ".join(path.name for path in files) or "no table (CSV, JSON lines, Parquet)"
        raise DataError(f"which file holds the events? found {shown}; say --events FILE")
    return found


def event_word(path: Path) -> str:
    """The word of a file's name that says what its events are, such as `purchase`."""
    words = _words(path)
    return next((word for word in words if word in _EVENTS), "interaction")


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith(_TEXT_ENDINGS):
        return _part(path) is not None
    return name.endswith(_ENDINGS) and path.is_file()


def _words(path: Path) -> list[str]:
    stem = re.sub(r"([a-z])([A-Z])", r"\1_\2", path.name.split(".")[0]).lower()
    words = [word for word in re.split(r"[^a-z]+", stem) if word]
    return [*words, *(word.removesuffix("s") for word in words)]


def _part(path: Path) -> str | None:
    """`events`, `items`, `users`, `other`; None where no word says it."""
    words = set(_words(path))
    if words & _OTHERS:
        return "other"
    if words & _EVENTS or (words & _ITEMS and words & _USERS):
        return "events"
    return "items" if words & _ITEMS else "users" if words & _USERS else None


def _plainness(path: Path) -> tuple[int, str]:
    return len(path.name.split(".")[0]), path.name


def _chosen(events: list[Path]) -> list[Path]:
    """Of several event files, those that are parts of one log."""
    parts = {re.sub(r"\d+", "#", path.name) for path in events}
    if len(parts) == 1 and "#" in parts.pop():
        return events
    words: dict[str, Path] = {}
    for path in sorted(events, key=_plainness):
        words.setdefault(event_word(path), path)
    kinds = [path for word, path in words.items() if word not in ("event", "interaction", "log")]
    whole = [path for word, path in words.items() if word in ("event", "interaction", "log")]
    return sorted(whole[:1] or kinds)
