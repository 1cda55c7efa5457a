"""In-place inversion gives the inverse for any size of the blocks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.errors import TastemakerError
from tastemaker.progress import Progress
from tastemaker.retrieval.linear.inverse import invert_in_place


def positive_definite(n: int) -> NDArray[np.float32]:
    x = np.random.default_rng(n).normal(size=(2 * n, n))
    return (x.T @ x + np.eye(n)).astype(np.float32)


@pytest.mark.parametrize(("n", "block"), [(1, 4), (7, 3), (8, 4), (130, 64), (130, 1_000)])
def test_the_lower_triangle_becomes_that_of_the_inverse(n: int, block: int) -> None:
    matrix = positive_definite(n)
    lower = np.tril(matrix)
    invert_in_place(lower, Progress(), "inverse", block)
    expected = np.linalg.inv(matrix.astype(np.float64))
    np.testing.assert_allclose(
        np.tril(lower), np.tril(expected), atol=1e-5 * np.abs(expected).max()
    )


def test_values_above_the_diagonal_are_ignored() -> None:
    clean, dirty = np.tril(positive_definite(20)), np.tril(positive_definite(20))
    dirty[np.triu_indices(20, 1)] = np.nan
    for matrix in (clean, dirty):
        invert_in_place(matrix, Progress(), "inverse", 6)
    assert np.array_equal(np.tril(clean), np.tril(dirty))


@pytest.mark.parametrize("block", [3, 100])
def test_a_matrix_that_is_not_positive_definite_is_refused(block: int) -> None:
    matrix = np.diag(np.array([1, 2, 3, -1, 5, 6], np.float32))
    with pytest.raises(TastemakerError, match="raise 'regularization'"):
        invert_in_place(matrix, Progress(), "inverse", block)
