"""Proposes retrievers, ranker, rerankers and split for a data set, for `init`."""

from collections.abc import Mapping, Sequence

import numpy as np

from tastemaker.data.catalogue import TagsColumn, VectorColumn
from tastemaker.data.dataset import Dataset
from tastemaker.data.times import parse_duration
from tastemaker.project.toml_text import comment_text, toml_key, toml_list
from tastemaker.statistics import ItemStatistics

_EASE_ITEMS = 20_000
TEST_SHARE = 0.1
_HOLDOUT_SHARE = 0.2
_FEW_EVENTS, _SHARE_OF_FEW = 50, 0.3
_RANKER_LIKES = 5_000
_RANKER_USERS = 100
_FEWEST_EVENTS = 20
"""Minimum number of events for a comparison of half-lives."""
_REPEATS = 0.2
"""Share of repeated events from which seen items may be shown again."""
_RANKER = [
    "",
    "[rankers.main]",
    'type = "gbm"',
    'loss = "lambdarank"  # optimizes the order; "binary" predicts probabilities',
    "",
    "[training]",
    f"window = {TEST_SHARE}  # the ranker learns from the last 3 windows of this length",
]
_RERANKERS = [
    '# rerankers = ["diverse"]  # with [rerankers.diverse] type = "mmr": more diverse lists',
]
_EXPLORE = [
    '# rerankers = ["fresh"]  # with [rerankers.fresh] type = "explore", and',
    '# [retrievers.new_items] type = "new_items" in retrievers: occasionally shows a new item, to',
    "# collect events for it; the cost was about 2 % of NDCG@10 in a measurement",
]
_HALF_LIVES = ("1h", "6h", "1d", "2d", "7d", "30d", "90d", "365d")


def source_lines(data: Dataset | None, clock: str) -> list[str]:
    """Returns TOML lines with retrievers, ranker, rerankers and one placement.

    Args:
        data: the data; None if it cannot be read yet.
        clock: the meaning of its times.
    """
    if data is None:
        names = ["ease", "item_knn", "als", "popular"]
        return [*_retriever_lines(names, {}), "", "[placements.home]", _sources(names)]
    names = ["ease", "item_knn", "als", "trending", "popular"]
    settings = {}
    if clock == "absolute":
        settings["trending"] = f'half_life = "{_half_life(data)}"'
    else:
        names.remove("trending")
    if len(data.catalogue) > _EASE_ITEMS:
        names[0] = "sparse_ease"
    columns = data.catalogue.columns.values()
    if any(isinstance(column, TagsColumn | VectorColumn) for column in columns):
        names.append("content")
    ranks = _can_learn_to_rank(data)
    return [
        *_retriever_lines(names, settings),
        *(_RANKER if ranks else []),
        "",
        "[placements.home]",
        "# the quota and the weight of each source are learned from past events",
        _sources(names),
        *(['ranker = "main"'] if ranks else []),
        *_RERANKERS,
        *(_EXPLORE if ranks else []),
        *_seen_lines(data),
    ]


def _retriever_lines(names: Sequence[str], settings: Mapping[str, str]) -> list[str]:
    """A section for each source."""
    lines = []
    for name in names:
        lines += ["", f"[retrievers.{name}]", f'type = "{name}"']
        lines += [settings[name]] if name in settings else []
    return lines


def _sources(names: Sequence[str]) -> str:
    return f"retrievers = {toml_list(names)}"


def _seen_lines(data: Dataset) -> list[str]:
    """The `seen` policy: items may repeat if users often repeat events."""
    repeats = repeated_events(data)
    allowed = {name: (n, of) for name, (n, of) in repeats.items() if n >= _REPEATS * of}
    if not allowed:
        return ['# seen = { view = "allow", purchase = "exclude for 90d" }  # default: exclude']
    counts = ", ".join(
        f"{n:,} of {of:,} {comment_text(name)} events" for name, (n, of) in allowed.items()
    )
    rules = ", ".join(f'{toml_key(name)} = "allow"' for name in allowed)
    return [
        f"# {counts} repeat an earlier one of the same user and item, so seen items may",
        '# be shown again; "exclude" removes them from lists and from the relevant items',
        f"seen = {{ {rules} }}",
    ]


def repeated_events(data: Dataset) -> dict[str, tuple[int, int]]:
    """Positive event type → number of repeats of an earlier user-item pair, and of all events.

    Ratings are left out, because a later rating replaces an earlier one.
    """
    log, found = data.events, {}
    for code, (name, kind) in enumerate(data.kinds.items()):
        if kind.role != "positive" or kind.positive_threshold is not None:
            continue
        rows = np.flatnonzero((log.kind == code) & (log.weight > 0))
        pairs = log.user[rows].astype(np.int64) * len(data.catalogue) + log.item[rows]
        if len(rows):
            found[name] = (len(rows) - len(np.unique(pairs)), len(rows))
    return found


def _can_learn_to_rank(data: Dataset) -> bool:
    """Whether the data has absolute times and enough events to train a ranker."""
    likes = int((data.events.weight > 0).sum())
    return data.clock == "absolute" and likes >= _RANKER_LIKES and len(data.users) >= _RANKER_USERS


def _half_life(data: Dataset) -> str:
    """The half-life whose popularity ranking best predicts the next liked items.

    The measure is the mean of 1 / log₂(1 + rank) of the next liked items in the ranking at that
    time. The last fifth of the events is left out, because the proposed split evaluates on it.
    """
    if len(data.events) < _FEWEST_EVENTS:
        return _HALF_LIVES[-1]
    time = np.sort(data.events.time)
    log = data.before(int(time[round((1 - 2 * TEST_SHARE) * len(time))])).events
    liked = np.flatnonzero(log.weight > 0)
    liked = liked[np.argsort(log.time[liked], kind="stable")]
    if not len(liked):
        return _HALF_LIVES[-1]
    time, item = log.time[liked], log.item[liked]
    places = np.unique(np.linspace(0.5, 0.96, 20) * len(liked)).astype(np.int64)
    ahead = max(1, len(liked) // 50)
    statistics = ItemStatistics.of(log, len(data.catalogue), data.kinds)

    def predicted(text: str) -> float:
        half_life = parse_duration(text, "half_life")
        total = 0.0
        for place in places:
            weight = statistics.decayed(int(time[place]), half_life)
            rank = np.empty(len(weight))
            rank[np.argsort(-weight, kind="stable")] = np.arange(len(weight))
            total += float((1 / np.log2(2 + rank[item[place : place + ahead]])).mean())
        return total

    found = {text: predicted(text) for text in _HALF_LIVES}
    return max(found, key=lambda text: found[text])


def split_lines(data: Dataset | None, clock: str) -> list[str]:
    """TOML lines with the split for evaluation."""
    if clock != "absolute" or (data is not None and len(np.unique(data.events.time)) == 1):
        return [
            "",
            "[split]  # without times, a random share of each user's items is held out",
            'type = "holdout"',
            f"test = {_HOLDOUT_SHARE}",
        ]
    if data is not None and len(data.events) < _FEW_EVENTS:
        return [
            "",
            "[split]",
            f"test = {_SHARE_OF_FEW}  # the share of the last events; large, because there are few",
        ]
    return [
        "",
        "[split]",
        f'test = {TEST_SHARE}  # the last tenth of the events, or a duration such as "30d"',
    ]
