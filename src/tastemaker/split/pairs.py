"""Sets of user–item pairs, the basis of the splits that do not use times."""

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
    "the split leaks the future: pairs are held out regardless of their time, so models are fitted "
    "on later events. Use the result to compare models or published results, not to predict a live "
    "system; for that, use by_time if the log has times"
)


def codes_of(data: Dataset) -> NDArray[np.int64]:
    """The pair of each event as one number, int64[events]."""
    return data.events.user.astype(np.int64) * len(data.catalogue) + data.events.item


def liked_pairs(data: Dataset) -> Pairs:
    """The distinct pairs with a positive event that counts at the end of the data."""
    return sorted_distinct(codes_of(data)[data.events.weight > 0])


def without(data: Dataset, pairs: Pairs) -> Dataset:
    """The data without all events of some pairs."""
    return data.where(~contained(codes_of(data), pairs))


def core(data: Dataset, min_user: int, min_item: int) -> Dataset:
    """The largest part in which users and items have the minimum numbers of likes.

    Users and items below the minimum are removed in turn, with all their events, until none is
    left.

    Args:
        data: the log.
        min_user: the fewest distinct liked items of a user.
        min_item: the fewest distinct users who liked an item.

    Raises:
        SettingError: a minimum is not an integer or is negative.
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


def draw_per_user(
    pairs: Pairs, n_items: int, shares: Mapping[str, float], seed: int
) -> list[Pairs]:
    """Random pairs of every user for each share, drawn without replacement.

    The number of pairs of a user is rounded half up. Earlier shares have priority, and one pair of
    each user is never drawn. The draw depends on the set of pairs and the seed, not on the order
    of the log.

    Args:
        pairs: the pairs to draw from.
        n_items: the number of items in the catalogue of the codes.
        shares: name → share of each user's pairs, together below 1.
        seed: the seed of the draw.

    Raises:
        SettingError: a share is not between 0 and 1, or the shares add up to 1 or more.
    """
    require_shares(shares)
    user = pairs // max(n_items, 1)
    shuffled = pairs[np.lexsort((generator_of(seed).random(len(pairs)), user))]
    counts = np.unique(user, return_counts=True)[1]
    starts, left = offsets_of(counts)[:-1], counts - 1
    drawn = []
    for share in shares.values():
        taken = np.minimum(np.floor(share * counts + 0.5).astype(np.int64), left)
        drawn.append(np.sort(shuffled[ranges(starts, taken)]))
        starts, left = starts + taken, left - taken
    return drawn


def require_shares(shares: Mapping[str, Any]) -> None:
    """Rejects shares that cannot be held out together.

    Raises:
        SettingError: a share is not between 0 and 1, or the shares add up to 1 or more.
    """
    for name, share in shares.items():
        if not (isinstance(share, Real) and 0 < float(share) < 1):
            raise SettingError(f"'{name}' must be a share between 0 and 1, got {share!r}")
    if sum(shares.values()) >= 1:
        names = " + ".join(f"'{name}'" for name in shares)
        raise SettingError(f"{names} must be below 1, got {sum(shares.values()):g}")


def generator_of(seed: int) -> np.random.Generator:
    """The random generator of a seed.

    Raises:
        SettingError: the seed is not an integer or is negative.
    """
    return np.random.default_rng(whole_number(seed, "seed", 0))


def eligible_items(
    pairs: Pairs, n_items: int, min_user: int, min_item: int
) -> NDArray[np.bool_] | None:
    """The items of the core, bool[items]; None if there is no minimum."""
    if not (min_user or min_item):
        return None
    inside: NDArray[np.bool_] = np.bincount(pairs % n_items, minlength=n_items) > 0
    return inside


def pairs_task(
    histories: Dataset,
    relevant: Pairs,
    *,
    name: str,
    seen: SeenPolicy,
    fitted: Dataset | None = None,
    eligible: NDArray[np.bool_] | None = None,
) -> Task:
    """One request per user, whose relevant items are the held-out pairs.

    All requests are just after the last event. As in papers, histories have no maximum length.

    Args:
        histories: the data that the histories are taken from.
        relevant: the held-out pairs.
        name: the name of the task in messages.
        seen: which events of the history exclude an item.
        fitted: the data that models and inventory use; by default `histories`.
        eligible: bool[items], the items that can be listed; by default all.

    Raises:
        DataError: no user with a history has a relevant item.
    """
    known, n_items = histories if fitted is None else fitted, len(histories.catalogue)
    users = np.unique(relevant // max(n_items, 1)).astype(np.int32)
    lengths = np.diff(histories.events.offsets)
    without_history = users[lengths[users] == 0]
    users = users[lengths[users] > 0]
    moments = np.full(len(users), max(histories.end, known.end), np.int64)
    longest = int(lengths.max(initial=0))
    requests = histories.requests(users, moments, seen=seen, cap=max(longest, 1))
    excluded = (
        np.repeat(users, requests.exclude.counts) * np.int64(n_items) + requests.exclude.values
    )
    unseen = relevant[
        ~contained(relevant, excluded) & ~np.isin(relevant // max(n_items, 1), without_history)
    ]
    offsets = np.searchsorted(unseen, np.append(users, len(histories.users)) * np.int64(n_items))
    truth = Ragged(offsets.astype(np.int64), (unseen % max(n_items, 1)).astype(np.int32))
    answerable = np.flatnonzero(truth.counts)
    if not len(answerable):
        raise DataError(
            f"no user with a history likes a new item in {name}; each user needs one liked item to "
            "learn from and another held out: add events, or hold out a larger share"
        )
    if eligible is not None and not eligible.all():
        masks = Masks(eligible[None, :], np.zeros(len(requests), np.int32))
        requests = replace(requests, eligible=masks)
    truth, users = truth.take(answerable), users[answerable]
    is_known = np.diff(known.events.offsets) > 0
    has_events = np.bincount(known.events.item, minlength=n_items) > 0
    notes = {
        "users": len(users),
        "requests": len(users),
        "requests_without_truth_left_out": len(requests) - len(users),
        "users_without_history_left_out": len(without_history),
        "relevant": len(truth.values),
        "relevant_but_seen": int(contained(relevant, excluded).sum()),
        "relevant_new_items": int((~has_events[truth.values]).sum()),
        "requests_of_new_users": int((~is_known[users]).sum()),
    }
    return Task(
        requests.take(answerable),
        truth,
        np.ones(len(truth.values), np.float32),
        users,
        is_known[users],
        Inventory.of(known),
        notes,
    )


def protocol_of(name: str, **entries: str | int) -> dict[str, str | int]:
    """The protocol of a split of pairs: the common entries and the given ones."""
    return {
        "split": name,
        "ranking": "all items, none sampled",
        "seen": "items of the history are excluded from lists and relevant items",
        "request_moments": "one per user, just after the last event",
        "validation_from": "the pairs of train",
        "validation_until": "the pairs of validation",
        "test_from": "the pairs of train with validation",
        "test_until": "the pairs of test",
        "caution": CAUTION,
        **entries,
    }


def contained(codes: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether `pairs`, which are sorted, contain each code, bool[codes]."""
    if not len(pairs):
        return np.zeros(len(codes), np.bool_)
    place = np.minimum(np.searchsorted(pairs, codes), len(pairs) - 1)
    found: NDArray[np.bool_] = pairs[place] == codes
    return found
