"""A synthetic log of short, strong trends and users with few events, such as film tweets.

Most choices go to recent items, whose popularity halves within days of their release. Other
preferences are hard to learn, because most users have two or three events.
"""

from pathlib import Path

import numpy as np
import polars as pl

_DAY = 86_400
_START = 1_356_998_400  # 2013-01-01
_STEPS_PER_DAY = 4


def write_trend_world(
    target: Path,
    *,
    users: int = 16_000,
    items: int = 10_000,
    events: int = 100_000,
    days: int = 300,
    genres: int = 12,
    half_life: float = 12.0,
    trend: float = 0.65,
    seed: int = 11,
) -> None:
    """Writes events.csv (user_id, item_id, rating, timestamp) and items.csv (title, genres).

    Args:
        target: the folder.
        users: how many users; their events follow Zipf's law, most have one to three.
        items: how many items; a third are released while the world lasts.
        events: how many events.
        days: how long it lasts.
        genres: how many genres; each item has one or two, each user prefers three.
        half_life: days in which an item's heat halves after its release.
        trend: the share of choices that go to hot items; the others go to the back catalogue.
        seed: equal seeds give equal worlds.
    """
    rng = np.random.default_rng(seed)
    genre = rng.integers(0, genres, (items, 2))
    size = rng.permutation(items)[:items].astype(np.float64) + 1
    size = (size**-0.9) / (size**-0.9).sum()
    release = np.where(rng.random(items) < 1 / 3, rng.uniform(0, days, items), -1.0)
    favored = np.stack([rng.permutation(genres)[:3] for _ in range(users)])
    likes = np.zeros((users, genres))
    np.put_along_axis(likes, favored, 1.0, axis=1)
    activity = (np.arange(1, users + 1) ** -0.75)[rng.permutation(users)]
    user = rng.choice(users, events, p=activity / activity.sum())
    time = np.sort(rng.uniform(0, days, events))
    hot = rng.random(events) < trend
    item = np.empty(events, np.int64)
    old = np.flatnonzero(release < 0)
    step = (time * _STEPS_PER_DAY).astype(np.int64)
    for moment in np.unique(step):
        rows = np.flatnonzero(step == moment)
        age = moment / _STEPS_PER_DAY - release
        alive = np.flatnonzero((release >= 0) & (age >= 0))
        heat = size[alive] * 0.5 ** (age[alive] / half_life)
        for among, weight, chosen in (
            (alive, heat, rows[hot[rows]]),
            (old, size[old], rows[~hot[rows]]),
        ):
            if not len(among) or not len(chosen):
                among, weight = old, size[old]
            fits = likes[user[chosen]][:, genre[among]].sum(axis=2)
            item[chosen] = _drawn(rng, among, weight * (0.5 + fits))
    taste = likes[user[:, None], genre[item]].sum(axis=1)
    rating = np.clip(np.rint(6.5 + 1.2 * taste + 1.2 * rng.standard_normal(events)), 1, 10)
    log = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in user],
            "item_id": [f"i{i}" for i in item],
            "rating": rating.astype(np.int64),
            "timestamp": (_START + time * _DAY).astype(np.int64),
        }
    )
    log.unique(["user_id", "item_id"], keep="first", maintain_order=True).write_csv(
        target / "events.csv"
    )
    pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(items)],
            "title": [f"Film {i}" for i in range(items)],
            "genres": ["|".join(f"genre{g}" for g in sorted(set(pair))) for pair in genre.tolist()],
        }
    ).write_csv(target / "items.csv")


def _drawn(rng: np.random.Generator, among: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One item per row of weights, drawn in proportion to them."""
    cumulated = np.cumsum(weight, axis=1)
    targets = rng.random(len(weight)) * cumulated[:, -1]
    return np.asarray(among[(cumulated < targets[:, None]).sum(axis=1)])
