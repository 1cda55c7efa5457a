"""The random split of each user's pairs: for comparison with papers, not for decisions."""

from tastemaker.data.dataset import Dataset
from tastemaker.data.seen import SeenPolicy
from tastemaker.split.by_time import Split
from tastemaker.split.pairs import (
    core,
    drawn_per_user,
    liked_pairs,
    listed,
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

    This leaks the future: a user's earlier choices are predicted from later ones, and trends from
    their own outcome. Figures are higher than live systems reach, and models that follow time lose
    to those that do not. Use it to compare with papers, or where the log has no times; otherwise
    decide by `by_time`.

    A pair is a user and an item with a positive event. All events of a pair held out are taken out
    of the training data, so no pair is on both sides. Users with a single pair are trained on and
    not asked. The order of the log matters only where a later event replaces an earlier one.

    Args:
        data: the log; needs no clock.
        test: share of each user's pairs, rounded; at least one pair always stays for training.
        validation: share of each user's pairs for tuning, in the same way; by default as `test`.
        min_user: only users who liked at least so many items, and
        min_item: only items liked by at least so many users, repeated until both hold (a k-core).
            Items outside are neither fitted nor listed.
        seed: of the draw.

    Returns:
        A split whose `train` lacks validation and test, and whose `before_test` lacks test alone.

    Raises:
        SettingError: a share is not between 0 and 1, they leave nothing, or a minimum or the seed
            is not an integer of at least 0.
        DataError: nothing is left of the core, or no user has enough pairs to hold one out.

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
    tested, tuned = drawn_per_user(pairs, n_items, shares, seed)
    before_test = without(inside, tested)
    train = without(before_test, tuned)
    seen = SeenPolicy.of(data.kinds)
    eligible = listed(pairs, n_items, min_user, min_item)
    told = protocol_of(
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
        pairs_task(train, tuned, name="validation", seen=seen, eligible=eligible),
        before_test,
        pairs_task(before_test, tested, name="test", seen=seen, eligible=eligible),
        seen,
        told,
    )
