"""The random split of each user's pairs: for comparisons with papers, not for decisions."""

from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.split.by_time import Split
from tastemaker.split.pairs import (
    core,
    draw_per_user,
    eligible_items,
    liked_pairs,
    pairs_task,
    protocol_of,
    without,
)


def holdout(
    data: Dataset,
    *,
    test: float = 0.2,
    validation: float | None = None,
    min_user: int = 0,
    min_item: int = 0,
    seed: int = 0,
) -> Split:
    """Holds out a random share of every user's liked items; all items are ranked.

    This split leaks the future: a user's earlier choices are predicted from later ones, and trends
    from their own outcome. Metrics are higher than in live systems, and models that use time lose
    to models that do not. Use it for comparisons with papers, or if the log has no times.
    Otherwise use `by_time`.

    A pair is a user and an item with a positive event. All events of a held-out pair are removed
    from the training data, so no pair is on both sides. Users with a single pair are in the
    training data and make no request. The order of the log matters only if a later event replaces
    an earlier one.

    Args:
        data: the log; no clock is required.
        test: share of each user's pairs for the test, rounded; at least one pair stays in training.
        validation: share of each user's pairs for tuning; by default the same as `test`.
        min_user: the fewest liked items of a user. Both minimums are applied repeatedly until
            they hold (a k-core).
        min_item: the fewest users who liked an item. Items below are neither fitted nor listed.
        seed: the seed of the random draw.

    Returns:
        A split whose `train` is without validation and test, and `before_test` without test.

    Raises:
        SettingError: a share is not between 0 and 1, the shares add up to 1 or more, or a minimum
            or the seed is not an integer of at least 0.
        DataError: the core is empty, or no user has enough pairs to hold one out.

    Example:
        >>> from tastemaker.data.synthetic import SyntheticWorld
        >>> world = SyntheticWorld(users=40, items=30, events=600, tastes=2, days=9, seed=3)
        >>> split = holdout(world.dataset(), test=0.25, min_item=2)
        >>> len(split.before_test.events) > len(split.train.events)
        True
    """
    inside = core(data, min_user, min_item)
    pairs, n_items = liked_pairs(inside), len(data.catalogue)
    tuning = test if validation is None else validation
    shares = {"test": test, "validation": tuning}
    test_pairs, validation_pairs = draw_per_user(pairs, n_items, shares, seed)
    before_test = without(inside, test_pairs)
    train = without(before_test, validation_pairs)
    seen = SeenPolicy.of(data.kinds)
    eligible = eligible_items(pairs, n_items, min_user, min_item)
    protocol = protocol_of(
        "holdout",
        held_out=f"test {test:g} and validation {tuning:g} of each user's liked items, at random",
        core=f"users with {min_user}, items with {min_item} or more"
        if min_user or min_item
        else "all users and items",
        pairs=len(pairs),
        seed=seed,
    )
    return Split(
        train,
        pairs_task(train, validation_pairs, name="validation", seen=seen, eligible=eligible),
        before_test,
        pairs_task(before_test, test_pairs, name="test", seen=seen, eligible=eligible),
        seen,
        protocol,
    )
