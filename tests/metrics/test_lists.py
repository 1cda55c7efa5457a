from itertools import product
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.metrics import coverage, gini, intra_list_diversity, novelty
from tastemaker.metrics import lists as module

shown = st.lists(st.integers(0, 20), min_size=1, max_size=12).map(lambda c: np.array(c, float))


@given(shown)
def test_gini_is_half_the_mean_difference_over_the_mean(counts: np.ndarray) -> None:
    differences = sum(abs(a - b) for a, b in product(counts, counts))
    n, total = len(counts), counts.sum()
    expected = differences / (2 * n * total) if total else 0
    assert float(gini(counts)) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 50), st.integers(1, 1000))
def test_items_listed_equally_often_have_a_gini_of_0(n: int, times: int) -> None:
    assert float(gini(np.full(n, float(times)))) == pytest.approx(0, abs=1e-12)


def test_a_single_listed_item_has_a_gini_near_1() -> None:
    counts = np.zeros(100)
    counts[3] = 50
    assert float(gini(counts)) == pytest.approx(0.99)


def test_gini_without_lists_is_0() -> None:
    assert float(gini(np.zeros(5))) == 0


def test_coverage_is_the_share_of_items_shown_at_all() -> None:
    assert float(coverage(np.array([0, 3, 1, 0.0]))) == 0.5
    assert float(coverage(np.zeros(4))) == 0
    assert float(coverage(np.ones(4))) == 1


@given(st.lists(shown.filter(lambda c: len(c) >= 4).map(lambda c: c[:4]), min_size=1, max_size=4))
def test_a_stack_of_counts_is_measured_row_by_row(rows: list[np.ndarray]) -> None:
    stack = np.stack(rows)
    for statistic in (gini, coverage):
        one_by_one = [float(statistic(row)) for row in rows]
        assert statistic(stack).tolist() == pytest.approx(one_by_one)


def lists(*rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    counts = [len(row) for row in rows]
    return np.cumsum([0, *counts]), np.array([i for row in rows for i in row], np.int32)


POPULARITY = np.array([5.0, 2.0, 0.0, 1.0])


def test_novelty_by_hand() -> None:
    total = 8 + 4
    expected = [-(log2(6 / total) + log2(1 / total)) / 2, -log2(3 / total)]
    assert novelty(*lists([0, 2], [1]), POPULARITY).tolist() == pytest.approx(expected)


def test_the_most_popular_items_have_the_smallest_novelty() -> None:
    every = [[a, b] for a, b in product(range(4), range(4)) if a != b]
    found = novelty(*lists(*every), POPULARITY)
    assert sorted(every[int(found.argmin())]) == [0, 1]


def test_an_item_without_users_has_the_highest_finite_novelty() -> None:
    found = novelty(*lists([0], [1], [2], [3]), POPULARITY)
    assert int(found.argmax()) == 2
    assert np.isfinite(found).all()


def test_an_empty_list_has_no_novelty() -> None:
    found = novelty(*lists([], [1], []), POPULARITY)
    assert np.isnan(found).tolist() == [True, False, True]


def same_half(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return ((left < 2) == (right < 2)).astype(np.float32)


def nearness(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (1 - np.abs(left - right) / 10).astype(np.float32)


def test_diversity_by_hand() -> None:
    found = intra_list_diversity(*lists([0, 1], [0, 3], [0, 1, 2], [0, 1, 2, 3]), same_half)
    assert found.tolist() == pytest.approx([0, 1, 2 / 3, 4 / 6])


def test_a_list_below_two_items_has_no_diversity() -> None:
    found = intra_list_diversity(*lists([], [1], [0, 2], [3], []), same_half)
    assert np.isnan(found).tolist() == [True, True, False, True, True]
    assert len(intra_list_diversity(*lists(), same_half)) == 0
    assert np.isnan(intra_list_diversity(*lists([]), same_half)).all()


@given(st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), max_size=5))
def test_diversity_is_the_mean_over_all_pairs(rows: list[list[int]]) -> None:
    found = intra_list_diversity(*lists(*rows), nearness)
    for row, diversity in zip(rows, found.tolist()):
        pairs = [abs(a - b) / 10 for place, a in enumerate(row) for b in row[:place]]
        expected = sum(pairs) / len(pairs) if pairs else np.nan
        assert diversity == pytest.approx(expected, nan_ok=True, abs=1e-6)


def test_the_diversity_of_a_list_does_not_depend_on_other_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [[3, 1, 9], [], [2, 5, 6, 7, 0], [4], [8, 1]]
    together = intra_list_diversity(*lists(*rows), nearness)
    alone = [intra_list_diversity(*lists(row), nearness)[0] for row in rows]
    np.testing.assert_array_equal(together, alone)
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 7)
    np.testing.assert_array_equal(intra_list_diversity(*lists(*rows), nearness), together)
