"""Splits that hold out whole users or whole items, which models are not fitted on."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import sorted_distinct
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import DataError
from tastemaker.split.by_time import Split
from tastemaker.split.pairs import (
    Pairs,
    codes_of,
    core,
    draw_per_user,
    eligible_items,
    generator_of,
    liked_pairs,
    pairs_task,
    protocol_of,
    require_shares,
    without,
)


def new_users(
    data: Dataset,
    *,
    test: float = 0.1,
    validation: float | None = None,
    relevant: float = 0.2,
    min_user: int = 0,
    min_item: int = 0,
    seed: int = 0,
) -> Split:
    """Holds out whole users and predicts a part of their history: strong generalization.

    The protocol of Liang, Krishnan, Hoffman & Jebara 2018. For validation and test, models are
    fitted on the other users. Most liked items of a held-out user are the history, the others are
    the relevant items. Like `holdout`, this split leaks the future. Items that only held-out users
    liked can be listed and relevant; they are counted as new.

    Args:
        data: the log; no clock is required.
        test: share of the users held out.
        validation: share of the users held out for tuning; by default the same as `test`.
        relevant: share of a held-out user's liked items that is relevant, rounded; at least one
            item stays in the history.
        min_user: as in `holdout`.
        min_item: as in `holdout`.
        seed: the seed of the random draw.

    Returns:
        A split whose `train` and `before_test` are the same.

    Raises:
        SettingError: a share is not between 0 and 1, the shares add up to 1 or more, or a minimum
            or the seed is not an integer of at least 0.
        DataError: too few users or pairs.

    Example:
        >>> from tastemaker.data.synthetic import SyntheticWorld
        >>> world = SyntheticWorld(users=40, items=30, events=600, tastes=2, days=9, seed=3)
        >>> bool(new_users(world.dataset(), test=0.25).test.known_user.any())
        False
    """
    inside, n_items = core(data, min_user, min_item), len(data.catalogue)
    pairs = liked_pairs(inside)
    tuning = test if validation is None else validation
    held_out = _draw(np.unique(pairs // n_items), {"test": test, "validation": tuning}, seed)
    is_held_out = np.isin(inside.events.user, np.concatenate(list(held_out.values())))
    train = inside.where(~is_held_out)
    (truth,) = draw_per_user(pairs, n_items, {"relevant": relevant}, seed)
    histories, seen = without(inside, truth), SeenPolicy.of(data.kinds)
    eligible = eligible_items(pairs, n_items, min_user, min_item)
    tasks = {
        name: pairs_task(
            histories,
            truth[np.isin(truth // n_items, users)],
            name=name,
            seen=seen,
            fitted=train,
            eligible=eligible,
        )
        for name, users in held_out.items()
    }
    protocol = protocol_of(
        "new_users",
        held_out=f"{test:g} of the users for test and {tuning:g} for validation, whole; "
        f"{relevant:g} of their liked items is relevant, the rest is history; fitted on the other "
        "users",
        core=f"users with {min_user}, items with {min_item} or more",
        validation_from="most pairs of the held-out users",
        validation_until="the other pairs of these users",
        test_from="most pairs of the held-out users",
        test_until="the other pairs of these users",
        seed=seed,
    )
    return Split(train, tasks["validation"], train, tasks["test"], seen, protocol)


def new_items(
    data: Dataset,
    *,
    test: float = 0.1,
    validation: float | None = None,
    min_user: int = 0,
    min_item: int = 0,
    seed: int = 0,
) -> Split:
    """Holds out whole items: the relevant items have no events in the training data.

    All items are ranked, with and without events, so a model must score both on one scale. Models
    that know items only by their events find nothing. Like `holdout`, this split leaks the future.

    Args:
        data: the log; no clock is required.
        test: share of the liked items held out.
        validation: share of the liked items held out for tuning; by default the same as `test`.
        min_user: as in `holdout`.
        min_item: as in `holdout`.
        seed: the seed of the random draw.

    Returns:
        A split whose `train` is without the validation and test items, and `before_test` without
        the test items.

    Raises:
        SettingError: a share is not between 0 and 1, the shares add up to 1 or more, or a minimum
            or the seed is not an integer of at least 0.
        DataError: too few items.

    Example:
        >>> from tastemaker.data.synthetic import SyntheticWorld
        >>> world = SyntheticWorld(users=40, items=30, events=600, tastes=2, days=9, seed=3)
        >>> notes = new_items(world.dataset()).test.notes
        >>> notes["relevant_new_items"] == notes["relevant"]
        True
    """
    inside, n_items = core(data, min_user, min_item), len(data.catalogue)
    pairs = liked_pairs(inside)
    tuning = test if validation is None else validation
    drawn = _draw(np.unique(pairs % n_items), {"test": test, "validation": tuning}, seed)
    seen = SeenPolicy.of(data.kinds)
    eligible = eligible_items(pairs, n_items, min_user, min_item)
    known, tasks = {}, {}
    for name in ("test", "validation"):
        inside = without(inside, _of_items(inside, drawn[name]))
        relevant = pairs[np.isin(pairs % n_items, drawn[name])]
        known[name] = inside
        tasks[name] = pairs_task(inside, relevant, name=name, seen=seen, eligible=eligible)
    protocol = protocol_of(
        "new_items",
        held_out=f"{test:g} of the items for test and {tuning:g} for validation, whole",
        core=f"users with {min_user}, items with {min_item} or more",
        seed=seed,
    )
    return Split(
        known["validation"], tasks["validation"], known["test"], tasks["test"], seen, protocol
    )


def _of_items(data: Dataset, items: NDArray[np.int64]) -> Pairs:
    """The pairs of all events with some items."""
    return sorted_distinct(codes_of(data)[np.isin(data.events.item, items)])


def _draw(
    members: NDArray[np.int64], shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """The drawn members by name of the share, without replacement."""
    require_shares(shares)
    shuffled = generator_of(seed).permutation(members)
    drawn, start = {}, 0
    for name, share in shares.items():
        count = round(share * len(members))
        drawn[name] = np.sort(shuffled[start : start + count])
        start += count
    if start == len(members) or any(not len(part) for part in drawn.values()):
        raise DataError(
            f"{len(members)} are too few to hold out "
            + " and ".join(f"{share:g} for {name}" for name, share in shares.items())
            + "; choose other shares, or add events"
        )
    return drawn
