"""The inverse for EASE by users equals the inverse by items if there are few users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array, random_array

from tastemaker.progress import Progress
from tastemaker.retrieval.linear.by_users import few_users, inverse_by_users


def pairs(users: int, items: int, density: float, seed: int = 0) -> csr_array:
    random = np.random.default_rng(seed)
    return csr_array(random_array((users, items), density=density, rng=random), dtype=np.float32)


@given(
    st.integers(1, 20), st.integers(1, 40), st.floats(1, 500), st.floats(0, 0.9), st.integers(0, 99)
)
def test_it_equals_the_inverse_by_items(
    users: int, items: int, regularization: float, dropout: float, seed: int
) -> None:
    x = pairs(users, items, 0.3, seed)
    gram = (x.T @ x).toarray().astype(np.float64)
    gram[np.diag_indices(items)] /= 1 - dropout
    expected = np.linalg.inv(gram + regularization * np.eye(items))
    found = inverse_by_users(x, regularization, dropout, Progress())
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6 / regularization)


def test_users_without_entries_change_nothing() -> None:
    x = pairs(10, 60, 0.2)
    more = csr_array((x.data, x.indices, np.r_[x.indptr, [x.indptr[-1]] * 500]), shape=(510, 60))
    one, other = (inverse_by_users(some, 10.0, 0.0, Progress()) for some in (x, more))
    assert np.array_equal(one, other)
    assert few_users(more) is few_users(x)


def test_it_is_used_if_it_takes_fewer_steps() -> None:
    assert few_users(pairs(600, 9_000, 0.01))
    assert not few_users(pairs(3_000, 500, 0.01))
