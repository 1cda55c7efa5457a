"""Bitwise tests of sums over chosen rows, and of the items that are kept."""

import numpy as np
import pytest

from tastemaker.index.chosen import best_of_chosen, row_products
from tastemaker.testing.index import in_order


@pytest.mark.parametrize("factors", [1, 5, 64])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 27])
def test_sums_are_added_in_the_order_of_the_factors(factors: int, count: int) -> None:
    random = np.random.default_rng(1)
    vectors = random.normal(size=(50, factors)).astype(np.float32)
    x = random.normal(size=(1, factors)).astype(np.float32)
    rows = random.permutation(50)[:count]
    scores = np.empty(count, np.float32)
    row_products(x[0], vectors, rows, scores)
    assert np.array_equal(scores, in_order(x, vectors)[0, rows])


def test_the_best_eligible_items_are_kept() -> None:
    vectors = np.array([[5], [4], [4], [3], [9], [2], [8], [1]], np.float32)
    chosen = np.array([3, 2, -1, 1, 0, 4], np.int64)
    bitmap = np.array([1, 1, 1, 1, 0, 1, 1], np.bool_)  # not 4, and not 7, which is beyond its end
    items, best = np.empty(3, np.int32), np.empty(3, np.float32)
    arguments = (
        np.ones(1, np.float32),
        vectors,
        chosen,
        6,
        np.array([-1, 0, 99], np.int32),
        bitmap,
    )
    allowed, kept = best_of_chosen(*arguments, np.float32(-np.inf), items, best)
    assert (allowed, kept) == (4, 3)
    assert (items.tolist(), best.tolist()) == ([6, 1, 2], [8, 4, 4])
    assert best_of_chosen(*arguments, np.float32(4), items, best) == (4, 1)
    everything = (*arguments[:5], np.empty(0, np.bool_))
    assert best_of_chosen(*everything, np.float32(-np.inf), items, best) == (6, 3)
    assert items.tolist() == [4, 6, 1]
