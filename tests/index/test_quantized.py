"""Search through 8-bit codes: the same lists as the exact index, and a valid bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.data.requests import Requests
from tastemaker.index import ProductIndex, QuantizedIndex
from tastemaker.index.quantized import _ITEM_LEVELS, _REQUEST_LEVELS, _levels, bound_scores
from tastemaker.testing.index import assert_equal, in_order


def made(n: int, factors: int, seed: int, spread: float) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    lengths = np.exp(spread * random.normal(size=(n, 1)))
    return (random.normal(size=(n, factors)) * lengths).astype(np.float32)


@settings(max_examples=40)
@given(
    st.integers(0, 1_000),
    st.sampled_from([1, 5, 64]),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.sampled_from([-np.inf, 0.0]),
    st.sampled_from([1e-8, 1.0, 1e8]),
)
def test_the_lists_equal_those_of_the_exact_index(
    seed: int, factors: int, spread: float, min_score: float, unit: float
) -> None:
    vectors = made(2_500, factors, seed, spread) * np.float32(unit)
    vectors[seed % 2_500] = 0
    x = made(3, factors, seed + 1, 1.0)
    x[2, 0] *= 1e4  # one factor outweighs the others, which get few levels
    requests = Requests.of([[]] * 3, exclude=[[], [1, 2, -1, 9_999], list(range(2_000))])
    exact = ProductIndex.of(vectors).top_n(x, requests, 40, min_score=min_score)
    assert_equal(QuantizedIndex.of(vectors).top_n(x, requests, 40, min_score=min_score), exact)


@pytest.mark.parametrize("factors", [1, 3, 64, 2_048])
def test_the_bound_equals_its_slow_twin_and_holds(factors: int) -> None:
    vectors, x = made(300, factors, 1, 1.0), made(1, factors, 2, 1.0)
    q, s = _levels(vectors, _ITEM_LEVELS)
    p, t = _levels(x, _REQUEST_LEVELS)
    error = np.linalg.norm(vectors - q * s[:, None], axis=1)
    length = np.linalg.norm(vectors, axis=1)
    weights = np.linalg.norm(p * t[:, None]), np.linalg.norm(x - p * t[:, None])
    slow = s * t * (q @ p[0]) + weights[0] * error + weights[1] * length
    bounds = np.empty(300, np.float32)
    bound_scores(
        *(p[0].astype(np.int16), t[0], np.float32(weights[0]), np.float32(weights[1])),
        *(q.astype(np.int8), s, error, length, bounds),
    )
    np.testing.assert_allclose(bounds, slow, rtol=1e-5, atol=1e-5 * slow.max())
    slack = 1e-5 * np.linalg.norm(x) * length
    assert (in_order(x, vectors)[0] <= bounds + slack).all()
    assert np.median(bounds - in_order(x, vectors)[0]) < 0.1 * np.median(np.abs(x).sum() * length)


def test_only_items_within_reach_are_read_in_full() -> None:
    vectors = made(5_000, 16, 3, 0.0)
    index, x = QuantizedIndex.of(vectors), made(1, 16, 4, 0.0)
    before = index.top_n(x, Requests.of([[]]), 10)
    scores = in_order(x, vectors)[0]
    index.vectors[scores < 0] = np.nan
    assert_equal(index.top_n(x, Requests.of([[]]), 10), before)
