"""The best of a long row against a sort: ties, infinities and NaN."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.index.heap import _reached_by, any_reaches, best_of_row

KINDS = ["random", "few values", "sparse", "negative", "broken", "ascending", "all equal"]


def row_of(kind: str, n: int) -> NDArray[np.float32]:
    random = np.random.default_rng(n)
    row = random.normal(size=n)
    if kind == "few values":
        row = random.integers(-3, 4, n).astype(np.float64)
    if kind == "sparse":
        row[random.random(n) < 0.97] = 0
    if kind == "negative":
        row = -np.abs(row) - 1
    if kind == "broken":
        row[random.random(n) < 0.3] = np.nan
        row[random.random(n) < 0.3] = -np.nan
        row[random.random(n) < 0.3] = -np.inf
        row[random.random(n) < 0.01] = np.inf
        row[:128] = np.nan
    if kind == "ascending":
        row.sort()
    if kind == "all equal":
        row[:] = 1
    return row.astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 63, 64, 6_400, 10_007])
@pytest.mark.parametrize("n", [0, 1, 20, 64, 100, 150])
@pytest.mark.parametrize("min_score", [-np.inf, 0.0])
def test_the_best_of_a_row_equal_a_sort(kind: str, length: int, n: int, min_score: float) -> None:
    row = row_of(kind, length)
    items, best = np.empty(n, np.int32), np.empty(n, np.float32)
    size = best_of_row(row, np.float32(min_score), items, best)
    able = np.flatnonzero(row > min_score)
    expected = able[np.argsort(-row[able], kind="stable")][:n]
    assert items[:size].tolist() == expected.tolist()
    assert np.array_equal(best[:size], row[expected])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 64, 150])
def test_enough_scores_reach_the_bound(kind: str, n: int) -> None:
    row = row_of(kind, 10_007)
    highest = [
        np.max(part, initial=-np.inf, where=part == part) for part in row[:9_984].reshape(-1, 64)
    ]
    assert _reached_by(row, n) == np.sort(highest)[-n]


def test_a_block_is_skipped_only_if_no_score_reaches() -> None:
    scores = np.full(130, -1, np.float32)
    assert not any_reaches(scores, 0, np.float32(0))
    assert any_reaches(scores, 128, np.float32(0))  # scores near the end are tested one by one
    scores[70] = 0
    assert any_reaches(scores, 64, np.float32(0))
    assert not any_reaches(scores, 0, np.float32(0))
    scores[:64] = np.nan
    assert not any_reaches(scores, 0, np.float32(-np.inf))
