"""Search by inner product against a sort, and bitwise tests of its sums."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Masks, Requests
from tastemaker.index import ProductIndex
from tastemaker.index.products import products


def in_order(x: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The slow twin: x₀y₀ + x₁y₁ + … in float32, one factor at a time."""
    scores = np.zeros((len(x), len(vectors)), np.float32)
    for f in range(x.shape[1]):
        scores += x[:, f, None] * vectors[None, :, f]
    return scores


def made(n: int, factors: int, seed: int, spread: float = 1.0) -> NDArray[np.float32]:
    """Vectors with log-normal lengths."""
    random = np.random.default_rng(seed)
    lengths = np.exp(spread * random.normal(size=(n, 1)))
    return (random.normal(size=(n, factors)) * lengths).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8, 13])
@pytest.mark.parametrize("factors", [8, 64, 72])
def test_sums_are_added_in_the_order_of_the_factors(rows: int, factors: int) -> None:
    x, vectors = made(rows, factors, 1), made(1_024, factors, 2)
    scores = np.empty((rows, 1_024), np.float32)
    products(x, np.ascontiguousarray(vectors.T), scores)
    assert np.array_equal(scores, in_order(x, vectors))


@pytest.mark.parametrize("factors", [1, 7, 16, 50])
@pytest.mark.parametrize("n_items", [1, 60, 1_024, 3_000])
@pytest.mark.parametrize("min_score", [-np.inf, 0.0])
def test_a_search_equals_a_sort(factors: int, n_items: int, min_score: float) -> None:
    x, vectors = made(11, factors, 3), made(n_items, factors, 4)
    random = np.random.default_rng(5)
    exclude = [random.integers(-1, n_items + 2, 20).tolist() for _ in range(11)]
    bitmaps = random.random((2, n_items)) < 0.5
    row = (np.arange(11) % 3 - 1).astype(np.int32)
    requests = replace(Requests.of([[]] * 11, exclude=exclude), eligible=Masks(bitmaps, row))
    found = ProductIndex.of(vectors).top_n(x, requests, 25, min_score=min_score)
    scores = in_order(x, vectors)
    for place in range(11):
        able = np.array(
            [
                item not in exclude[place] and (row[place] < 0 or bool(bitmaps[row[place], item]))
                for item in range(n_items)
            ]
        )
        able &= scores[place] > min_score
        order = [i for i in np.argsort(-scores[place], kind="stable").tolist() if able[i]][:25]
        assert found[place].tolist() == order
        start, stop = found.offsets[place : place + 2]
        assert np.array_equal(found.score[start:stop], scores[place, order])


@settings(max_examples=30)
@given(st.integers(0, 1_000), st.integers(1, 20), st.sampled_from([0.0, 3.0]))
def test_scores_do_not_depend_on_the_batch(seed: int, rows: int, spread: float) -> None:
    x, index = made(rows, 24, seed), ProductIndex.of(made(2_500, 24, seed + 1, spread))
    together = index.top_n(x, Requests.of([[]] * rows), 30, min_score=0.0)
    for row in range(rows):
        alone = index.top_n(x[row : row + 1], Requests.of([[]]), 30, min_score=0.0)
        assert same(alone, together.take(np.array([row])))


def test_equal_vectors_come_in_the_order_of_their_indices() -> None:
    vectors = np.repeat(made(40, 8, 6), 50, axis=0)[np.random.default_rng(7).permutation(2_000)]
    x = made(3, 8, 8)
    found = ProductIndex.of(vectors).top_n(x, Requests.of([[]] * 3), 120)
    tied = (np.diff(found.score) == 0) & (np.diff(found.rows) == 0)
    assert tied.any()
    assert (np.diff(found.item)[tied] > 0).all()


def test_short_vectors_are_not_read() -> None:
    vectors = made(5_000, 8, 9, spread=0.0)
    vectors[2_000:] *= np.float32(1e-6)
    index = ProductIndex.of(vectors)
    before = index.top_n(made(5, 8, 10), Requests.of([[]] * 5), 20)
    index.blocks[2:] = np.nan
    assert same(index.top_n(made(5, 8, 10), Requests.of([[]] * 5), 20), before)


def test_a_vector_that_is_not_finite_finds_nothing() -> None:
    x = made(2, 8, 11)
    x[0] = np.nan
    found = ProductIndex.of(made(100, 8, 12)).top_n(x, Requests.of([[], []]), 5)
    assert found.counts.tolist() == [0, 5]


@pytest.mark.parametrize("n", [-1, 0])
def test_an_empty_search_finds_nothing(n: int) -> None:
    index = ProductIndex.of(made(10, 4, 13))
    assert index.top_n(made(2, 4, 14), Requests.of([[], []]), n).counts.tolist() == [0, 0]
    assert len(index.top_n(made(0, 4, 14), Requests.of([]), 5)) == 0
    assert len(ProductIndex.of(made(0, 4, 15)).top_n(made(1, 4, 14), Requests.of([[]]), 5)) == 1


def test_a_saved_index_finds_the_same(tmp_path: Path) -> None:
    index = ProductIndex.of(made(1_500, 12, 16))
    with create_artifact(tmp_path / "index", "test", {}) as writer:
        index.save(writer)
    loaded = ProductIndex.load(open_artifact(tmp_path / "index", "test")[0])
    arguments = (made(3, 12, 17), Requests.of([[]] * 3), 10)
    assert same(loaded.top_n(*arguments), index.top_n(*arguments))


def same(one: Candidates, other: Candidates) -> bool:
    return np.array_equal(one.item, other.item) and np.array_equal(one.score, other.score)
