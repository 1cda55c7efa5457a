"""Users or items held out whole: what a model makes of those it was not fitted on."""

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
    drawn_per_user,
    draws,
    liked_pairs,
    listed,
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
    wanted: float = 0.2,
    min_user: int = 0,
    min_item: int = 0,
    seed: int = 0,
) -> Split:
    """Holds out users whole and asks for them by a part of their history: strong generalization.

    The protocol of Liang, Krishnan, Hoffman & Jebara 2018: models are fitted on the other users,
    for both figures; each user held out comes with most of the liked items as history, and the
    rest is wanted. Like `holdout`, it leaks the future. Items that only users held out have liked
    are listed and wanted all the same, and counted as new.

    Args:
        data: the log; needs no clock.
        test: share of the users held out.
        validation: share of the users held out to tune on; by default as `test`.
        wanted: share of such a user's liked items that is truth, rounded; at least one stays.
        min_user: as in `holdout`, and
        min_item: as in `holdout`.
        seed: of the draw.

    Returns:
        A split whose `train` and `before_test` are the same.

    Raises:
        SettingError: a share is not between 0 and 1, they leave nothing, or a minimum or the seed
            is not an integer of at least 0.
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
    asked = _drawn(np.unique(pairs // n_items), {"test": test, "validation": tuning}, seed)
    away = np.isin(inside.events.user, np.concatenate(list(asked.values())))
    train = inside.where(~away)
    (truth,) = drawn_per_user(pairs, n_items, {"wanted": wanted}, seed)
    heard, seen = without(inside, truth), SeenPolicy.of(data.kinds)
    eligible = listed(pairs, n_items, min_user, min_item)
    tasks = {
        name: pairs_task(
            heard,
            truth[np.isin(truth // n_items, users)],
            name=name,
            seen=seen,
            fitted=train,
            eligible=eligible,
        )
        for name, users in asked.items()
    }
    told = protocol_of(
        "new_users",
        held_out=f"{test:g} of the users for test and {tuning:g} for validation, whole; {wanted:g} "
        "of each one's liked items is wanted, the rest is history; fitted on the others",
        core=f"users with {min_user}, items with {min_item} or more",
        validation_from="most pairs of users held out",
        validation_until="the rest of these",
        test_from="most pairs of users held out",
        test_until="the rest of these",
        seed=seed,
    )
    return Split(train, tasks["validation"], train, tasks["test"], seen, told)


def new_items(
    data: Dataset,
    *,
    test: float = 0.1,
    validation: float | None = None,
    min_user: int = 0,
    min_item: int = 0,
    seed: int = 0,
) -> Split:
    """Holds out items whole: users are to be led to items without a single event.

    Every item is ranked, those with events among them, so a model has to judge both on one scale.
    What finds nothing here knows items by their events alone. Like `holdout`, it leaks the future.

    Args:
        data: the log; needs no clock.
        test: share of the liked items held out.
        validation: share of them held out to tune on; by default as `test`.
        min_user: as in `holdout`, and
        min_item: as in `holdout`.
        seed: of the draw.

    Returns:
        A split whose `train` lacks the items of both windows, and whose `before_test` lacks those
        of the test alone.

    Raises:
        SettingError: a share is not between 0 and 1, they leave nothing, or a minimum or the seed
            is not an integer of at least 0.
        DataError: too few items.

    Example:
        >>> from tastemaker.data.synthetic import SyntheticWorld
        >>> world = SyntheticWorld(users=40, items=30, events=600, tastes=2, days=9, seed=3)
        >>> notes = new_items(world.dataset()).test.notes
        >>> notes["wanted_new_items"] == notes["wanted"]
        True
    """
    inside, n_items = core(data, min_user, min_item), len(data.catalogue)
    pairs = liked_pairs(inside)
    tuning = test if validation is None else validation
    drawn = _drawn(np.unique(pairs % n_items), {"test": test, "validation": tuning}, seed)
    seen = SeenPolicy.of(data.kinds)
    eligible = listed(pairs, n_items, min_user, min_item)
    known, tasks = {}, {}
    for name in ("test", "validation"):
        inside = without(inside, _of_items(inside, drawn[name]))
        wanted = pairs[np.isin(pairs % n_items, drawn[name])]
        known[name] = inside
        tasks[name] = pairs_task(inside, wanted, name=name, seen=seen, eligible=eligible)
    told = protocol_of(
        "new_items",
        held_out=f"{test:g} of the items for test and {tuning:g} for validation, whole",
        core=f"users with {min_user}, items with {min_item} or more",
        seed=seed,
    )
    return Split(known["validation"], tasks["validation"], known["test"], tasks["test"], seen, told)


def _of_items(data: Dataset, items: NDArray[np.int64]) -> Pairs:
    """The pairs of all events with these items."""
    return sorted_distinct(codes_of(data)[np.isin(data.events.item, items)])


def _drawn(
    members: NDArray[np.int64], shares: dict[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    """Name → so large a share of the members, drawn without replacement."""
    require_shares(shares)
    shuffled = draws(seed).permutation(members)
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
