"""Estimated sizes, and shards that return the same results as one index."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tastemaker.data.requests import Masks, Requests
from tastemaker.index import ProductIndex, ShardedIndex, Sizing
from tastemaker.testing.index import assert_equal


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=5), st.integers(0, 60), st.booleans())
def test_shards_together_answer_as_one_index(sizes: list[int], n: int, tied: bool) -> None:
    random = np.random.default_rng(sum(sizes) + n)
    total = sum(sizes)
    vectors = random.normal(size=(total, 6)).astype(np.float32)
    if tied:
        vectors = np.sign(vectors)
    edges = np.cumsum(sizes)[:-1]
    sharded = ShardedIndex([ProductIndex.of(part) for part in np.split(vectors, edges)])
    exclude = [random.integers(-1, total + 5, 30).tolist() for _ in range(6)]
    bitmaps = random.random((2, max(0, total - 7))) < 0.5
    eligible = Masks(bitmaps, np.array([-1, 0, 1, -1, 0, 1], np.int32))
    requests = replace(Requests.of([[]] * 6, exclude=exclude), eligible=eligible)
    x = np.sign(random.normal(size=(6, 6))).astype(np.float32)
    assert_equal(sharded.top_n(x, requests, n), ProductIndex.of(vectors).top_n(x, requests, n))


def test_sizes_are_reported_with_their_shards() -> None:
    sizing = Sizing(500_000_000, 64, limit=16 * 10**9)
    assert sizing.bytes == 500_000_000 * 64 * 4
    assert sizing.shards == 8
    assert "128.0 GB in 8 shards of at most 16.0 GB" in str(sizing)
    assert Sizing(1_000, 64, limit=256_000).shards == 1
    assert Sizing(1_001, 64, limit=256_000).shards == 2
    assert Sizing(0, 64, limit=256).shards == 1


def test_a_limit_below_one_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one vector"):
        _ = Sizing(10, 64, limit=255).shards


def test_an_index_without_shards_is_refused() -> None:
    with pytest.raises(ValueError, match="'shards'"):
        ShardedIndex([])
