"""User–item pairs as sets: what the splits without a clock are made of."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import Task
from tastemaker.data.arguments import whole_number
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of, ranges, sorted_distinct
from tastemaker.data.requests import Masks
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import DataError, SettingError
from tastemaker.inventory import Inventory

Pairs = NDArray[np.int64]
"""Sorted distinct codes, user × items + item."""

CAUTION = (
    "the split leaks the future: pairs are held out whatever their time, so models are fitted on "
    "what came later. A figure to compare with published ones or between models, not a forecast "
    "for a live system; use by_time for that where the log has times"
)


def codes_of(data: Dataset) -> NDArray[np.int64]:
    """The pair of every event as one number, int64[events]."""
    return data.events.user.astype(np.int64) * len(data.catalogue) + data.events.item


def liked_pairs(data: Dataset) -> Pairs:
    """The distinct pairs with a positive event that counts at the end of the data."""
    return sorted_distinct(codes_of(data)[data.events.weight > 0])


def without(data: Dataset, pairs: Pairs) -> Dataset:
    """The data without any event of these pairs, so that nothing of them is left on this side."""
    return data.where(~among(codes_of(data), pairs))


def core(data: Dataset, min_user: int, min_item: int) -> Dataset:
    """The largest part in which every user liked `min_user` items and every item has `min_item`
    users who liked it.

    Users and items below are left out in turn, with all their events, until none is.

    Args:
        data: the log.
        min_user: distinct liked items of each user.
        min_item: distinct users who liked each item.

    Raises:
        SettingError: a minimum is not an integer, or negative.
        DataError: nothing is left.
    """
    min_user = whole_number(min_user, "min_user", 0)
    min_item = whole_number(min_item, "min_item", 0)
    n_users, n_items = len(data.users), len(data.catalogue)
    user, item = np.divmod(liked_pairs(data), max(n_items, 1))
    users, items = np.ones(n_users, np.bool_), np.ones(n_items, np.bool_)
    while True:
        users &= np.bincount(user, minlength=n_users) >= min_user
        items &= np.bincount(item, minlength=n_items) >= min_item
        inside = users[user] & items[item]
        if inside.all():
            break
        user, item = user[inside], item[inside]
    if not len(user):
        if not (min_user or min_item):
            raise DataError("no user likes an item; pass data with positive events")
        raise DataError(
            f"no pair is left of users with {min_user} and items with {min_item}; lower 'min_user' "
            "or 'min_item'"
        )
    return data.where(users[data.events.user] & items[data.events.item])


def drawn_per_user(
    pairs: Pairs, n_items: int, shares: Mapping[str, float], seed: int
) -> list[Pairs]:
    """For each share, so much of every user's pairs, drawn without replacement.

    A user's count is rounded, halves up; the first share is served first, and a pair always stays
    behind. What is drawn depends on the set of pairs and the seed, not on the order of the log.

    Args:
        pairs: to draw from.
        n_items: of the catalogue the codes are made with.
        shares: name → share of each user's pairs, together below 1.
        seed: of the draw.

    Raises:
        SettingError: a share is not between 0 and 1, or together they leave nothing.
    """
    require_shares(shares)
    user = pairs // max(n_items, 1)
    shuffled = pairs[np.lexsort((draws(seed).random(len(pairs)), user))]
    counts = np.unique(user, return_counts=True)[1]
    starts, left = offsets_of(counts)[:-1], counts - 1
    drawn = []
    for share in shares.values():
        taken = np.minimum(np.floor(share * counts + 0.5).astype(np.int64), left)
        drawn.append(np.sort(shuffled[ranges(starts, taken)]))
        starts, left = starts + taken, left - taken
    return drawn


def require_shares(shares: Mapping[str, Any]) -> None:
    """Refuses shares that cannot be held out together.

    Raises:
        SettingError: a share is not between 0 and 1, or together they leave nothing.
    """
    for name, share in shares.items():
        if not (isinstance(share, Real) and 0 < float(share) < 1):
            raise SettingError(f"'{name}' must be a share between 0 and 1, got {share!r}")
    if sum(shares.values()) >= 1:
        told = " + ".join(f"'{name}'" for name in shares)
        raise SettingError(f"{told} must be below 1, got {sum(shares.values()):g}")


def draws(seed: int) -> np.random.Generator:
    """What a seed draws.

    Raises:
        SettingError: it is not an integer, or negative.
    """
    return np.random.default_rng(whole_number(seed, "seed", 0))


def listed(pairs: Pairs, n_items: int, min_user: int, min_item: int) -> NDArray[np.bool_] | None:
    """Which items may be listed, bool[items]: those of the core; None, where none was asked for."""
    if not (min_user or min_item):
        return None
    inside: NDArray[np.bool_] = np.bincount(pairs % n_items, minlength=n_items) > 0
    return inside


def pairs_task(
    heard: Dataset,
    wanted: Pairs,
    *,
    name: str,
    seen: SeenPolicy,
    fitted: Dataset | None = None,
    eligible: NDArray[np.bool_] | None = None,
) -> Task:
    """One request a user: everything heard of the user is history, what is held out is truth.

    All requests stand just after the last event. Histories are not capped: papers' are not.

    Args:
        heard: what the histories are made of.
        wanted: the pairs held out.
        name: what a message calls them.
        seen: which events of the history keep an item away.
        fitted: what models are fitted on and the world knows; by default what was heard.
        eligible: bool[items], which may be listed; by default all.

    Raises:
        DataError: no user with a history is left with anything wanted.
    """
    known, n_items = heard if fitted is None else fitted, len(heard.catalogue)
    users = np.unique(wanted // max(n_items, 1)).astype(np.int32)
    lengths = np.diff(heard.events.offsets)
    strangers = users[lengths[users] == 0]
    users = users[lengths[users] > 0]
    moments = np.full(len(users), max(heard.end, known.end), np.int64)
    longest = int(lengths.max(initial=0))
    asked = heard.requests(users, moments, seen=seen, cap=max(longest, 1))
    away = np.repeat(users, asked.exclude.counts) * np.int64(n_items) + asked.exclude.values
    fresh = wanted[~among(wanted, away) & ~np.isin(wanted // max(n_items, 1), strangers)]
    offsets = np.searchsorted(fresh, np.append(users, len(heard.users)) * np.int64(n_items))
    truth = Ragged(offsets.astype(np.int64), (fresh % max(n_items, 1)).astype(np.int32))
    answerable = np.flatnonzero(truth.counts)
    if not len(answerable):
        raise DataError(
            f"no user with a history likes a new item in {name}; each user needs one liked item to "
            "learn from and another held out: add events, or hold out a larger share"
        )
    if eligible is not None and not eligible.all():
        masks = Masks(eligible[None, :], np.zeros(len(asked), np.int32))
        asked = replace(asked, eligible=masks)
    truth, users = truth.take(answerable), users[answerable]
    is_known = np.diff(known.events.offsets) > 0
    has_events = np.bincount(known.events.item, minlength=n_items) > 0
    notes = {
        "users": len(users),
        "requests": len(users),
        "requests_without_truth_left_out": len(asked) - len(users),
        "users_without_history_left_out": len(strangers),
        "wanted": len(truth.values),
        "wanted_but_seen_left_out": int(among(wanted, away).sum()),
        "wanted_new_items": int((~has_events[truth.values]).sum()),
        "requests_of_new_users": int((~is_known[users]).sum()),
    }
    return Task(
        asked.take(answerable),
        truth,
        np.ones(len(truth.values), np.float32),
        users,
        is_known[users],
        Inventory.of(known),
        notes,
    )


def protocol_of(name: str, **told: str | int) -> dict[str, str | int]:
    """What every split of pairs tells of itself, and what this one adds."""
    return {
        "split": name,
        "ranking": "all items, none sampled",
        "seen": "everything in the history is left out of lists and truth",
        "request_moments": "one a user, just after the last event",
        "validation_from": "the pairs of train",
        "validation_until": "the pairs of validation",
        "test_from": "the pairs of train with validation",
        "test_until": "the pairs of test",
        "caution": CAUTION,
        **told,
    }


def among(codes: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each code is one of the pairs, which are sorted."""
    if not len(pairs):
        return np.zeros(len(codes), np.bool_)
    place = np.minimum(np.searchsorted(pairs, codes), len(pairs) - 1)
    found: NDArray[np.bool_] = pairs[place] == codes
    return found
