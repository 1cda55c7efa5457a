"""The nearest neighbours of each item by co-occurrence: the kernels behind row learners."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.index.heap import best_first, best_of_row, keep
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import RowLearner
from tastemaker.retrieval.neighbors.similarity import Measure

_FEW = 16
"""A row is scanned as a whole if it takes more steps than a sixteenth of the items."""


def nearest_items(
    pairs: Interactions, measure: Measure, *, shrinkage: float, min_common: int, relative: bool
) -> RowLearner:
    """The learner of rows with the items of highest similarity, by the formula of `similarity.py`.

    Args:
        pairs: the interactions to sum; weights by item can differ from weights by user.
        measure: the statistics of the items.
        shrinkage: added to the denominator.
        min_common: the minimum number of common users.
        relative: whether to divide each row by its sum.
    """
    of_items = (measure.centre, measure.added, measure.left, measure.right, measure.size)
    added = np.float32(shrinkage)

    def learn(
        items: NDArray[np.int32],
        near: NDArray[np.int32],
        strength: NDArray[np.float32],
        found: NDArray[np.int64],
    ) -> None:
        _nearest(items, pairs, of_items, added, min_common, relative, near, strength, found)

    return RowLearner(learn, measure.of_items())


@kernel
def _nearest(  # type: ignore[no-untyped-def]
    items, pairs, of_items, shrinkage, min_common, relative, near, strength, found
):
    """Writes the nearest neighbours of each of `items`, nearest first.

    `min_common` is a number of users. If an item shares users with many items, summing without a
    record of the touched items, and scanning all items afterwards, takes a quarter of the time.
    """
    n_items = len(pairs.item_offsets) - 1
    row = np.zeros(n_items, np.float32)
    common = np.zeros(n_items if min_common > 1 else 0, np.int32)
    scores = np.empty(n_items, np.float32)
    touched = np.empty(n_items, np.int32)
    for place in range(len(items)):
        item = items[place]
        users = pairs.item_users[pairs.item_offsets[item] : pairs.item_offsets[item + 1]]
        weights = pairs.item_weights[pairs.item_offsets[item] : pairs.item_offsets[item + 1]]
        steps = 0
        for user in users:
            steps += pairs.user_offsets[user + 1] - pairs.user_offsets[user]
        if min_common > 1:
            _count(users, pairs, common)
        if steps * _FEW > n_items:
            _add_up(users, weights, pairs, row)
            _drop_rare(row, common, min_common)
            row[item] = 0
            _all_similarities(item, row, of_items, shrinkage, scores)
            kept = best_of_row(scores, np.float32(0), near[place], strength[place])
            row[:], common[:] = 0, 0
        else:
            together = _add_up_recording(users, weights, pairs, row, touched)
            for entry in range(together):
                other = touched[entry]
                scores[entry] = _similarity(item, other, row[other], of_items, shrinkage)
                row[other] = 0  # recorded twice if its first sum underflowed
            kept, reached = 0, np.float32(0)
            for entry in range(together):
                other, similarity = touched[entry], scores[entry]
                enough = min_common <= 1 or common[other] >= min_common
                if similarity > 0 and similarity >= reached and other != item and enough:
                    kept = keep(similarity, other, near[place], strength[place], kept)
                    reached = strength[place, 0] if kept == near.shape[1] else reached
            if min_common > 1:
                for other in touched[:together]:
                    common[other] = 0
            best_first(near[place], strength[place], kept)
        if relative:
            divide_by_sum(strength[place, :kept])
        found[place] = kept


@kernel
def _add_up(users, weights, pairs, row):  # type: ignore[no-untyped-def]
    """Adds weight × the row of every user to `row`."""
    columns = pairs.user_items.view(
        np.uint32
    )  # unsigned, as they are never negative: avoids a check
    for entry in range(len(users)):
        user, weight = users[entry], weights[entry]
        beside = columns[pairs.user_offsets[user] : pairs.user_offsets[user + 1]]
        theirs = pairs.user_weights[pairs.user_offsets[user] : pairs.user_offsets[user + 1]]
        for place in range(len(beside)):
            row[beside[place]] += weight * theirs[place]


@kernel
def _add_up_recording(users, weights, pairs, row, touched):  # type: ignore[no-untyped-def]
    """As `_add_up`; also writes the touched items and returns their number."""
    together = 0
    for entry in range(len(users)):
        user, weight = users[entry], weights[entry]
        for beside in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
            other = pairs.user_items[beside]
            if row[other] == 0:
                touched[together] = other
                together += 1
            row[other] += weight * pairs.user_weights[beside]
    return together


@kernel
def _count(users, pairs, common):  # type: ignore[no-untyped-def]
    """Adds 1 to `common` for each item of each user."""
    for user in users:
        for place in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
            common[pairs.user_items[place]] += 1


@kernel
def _drop_rare(row, common, min_common):  # type: ignore[no-untyped-def]
    """Sets the entries of items with fewer than `min_common` common users to 0."""
    for other in range(len(common)):
        row[other] = row[other] if common[other] >= min_common else np.float32(0)


@kernel(error_model="numpy", inline="always")
def _similarity(item, other, together, of_items, shrinkage):  # type: ignore[no-untyped-def]
    """The formula of `similarity.py`; 0 if the items share no users."""
    centre, added, left, right, size = of_items
    over = together - centre[item] * centre[other] - added[item] - added[other]
    under = left[item] * right[other] + shrinkage
    if len(size) > 0:
        under += size[item] + size[other] - together
    return over / under if together > 0 and over > 0 and under > 0 else np.float32(0)


@kernel(error_model="numpy")
def _all_similarities(item, row, of_items, shrinkage, scores):  # type: ignore[no-untyped-def]
    """Writes `_similarity` to every item."""
    for other in range(len(row)):
        scores[other] = _similarity(item, other, row[other], of_items, shrinkage)


@kernel
def divide_by_sum(values):  # type: ignore[no-untyped-def]
    """Divides the values by their sum, added in order."""
    total = np.float32(0)
    for value in values:
        total += value
    for place in range(len(values)):
        values[place] /= total
