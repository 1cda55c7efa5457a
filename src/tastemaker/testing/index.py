"""Conformance tests for vector indexes, exact or approximate with a declared recall."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Masks, Requests
from tastemaker.index import VectorIndex, load_index

_ITEMS, _FACTORS, _QUERIES = 6_000, 12, 40


class IndexConformance:
    """Inherit this class and implement `make`; the suite provides vectors and queries."""

    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        """The index under test, built from `vectors` and tuned for queries like `queries`."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def index(cls) -> VectorIndex:
        """The index built once for the whole class."""
        return cls().make(clustered(_ITEMS, 1), clustered(300, 2))

    def test_recall_on_new_queries_is_as_declared(self, index: VectorIndex) -> None:
        queries = clustered(200, 3)
        found = index.top_n(queries, nobody(200), 100)
        assert index.size == _ITEMS
        assert 0.9 <= index.recall <= 1
        assert recall(found, queries, nobody(200)) >= index.recall - 0.03
        if index.recall == 1:
            assert recall(found, queries, nobody(200)) == 1

    def test_scores_are_float32_inner_products_best_first(self, index: VectorIndex) -> None:
        queries = clustered(_QUERIES, 4)
        found = index.top_n(queries, nobody(_QUERIES), 50)
        scores = in_order(queries, clustered(_ITEMS, 1))
        assert np.array_equal(found.score, scores[found.rows, found.item])
        assert (found.counts == 50).all()
        for row in range(_QUERIES):
            expected = np.lexsort((found[row], -scores[row, found[row]]))
            assert expected.tolist() == list(range(50))

    def test_results_do_not_depend_on_batch_size_or_threads(self, index: VectorIndex) -> None:
        queries, requests = clustered(_QUERIES, 4), filtered_requests(_QUERIES)
        batch = index.top_n(queries, requests, 30)
        assert_equal(index.top_n(queries, requests, 30, threads=2), batch)
        for row in range(0, _QUERIES, 3):
            alone = index.top_n(queries[row : row + 1], requests.take(np.array([row])), 30)
            assert_equal(alone, batch.take(np.array([row])))

    def test_excluded_items_are_replaced_by_the_next_best(self, index: VectorIndex) -> None:
        queries = clustered(_QUERIES, 4)
        best = index.top_n(queries, nobody(_QUERIES), 150)
        requests = replace(nobody(_QUERIES), exclude=Ragged(best.offsets, best.item))
        found = index.top_n(queries, requests, 100)
        assert (found.counts == 100).all()
        for row in range(_QUERIES):
            assert not set(found[row].tolist()) & set(best[row].tolist())
        assert recall(found, queries, requests) >= index.recall - 0.05

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
    def test_a_filter_keeps_lists_full_and_recall_high(
        self, index: VectorIndex, share: float
    ) -> None:
        queries = clustered(_QUERIES, 4)
        bitmap = np.random.default_rng(5).random(_ITEMS) < share
        requests = replace(
            nobody(_QUERIES), eligible=Masks(bitmap[None], np.zeros(_QUERIES, np.int32))
        )
        found = index.top_n(queries, requests, 100)
        assert (found.counts == min(100, bitmap.sum())).all()
        assert bitmap[found.item].all()
        if share == 0.01:
            assert recall(found, queries, requests) == 1
        assert recall(found, queries, requests) >= index.recall - 0.05

    def test_a_filter_that_keeps_the_worst_items_fills_every_list(self, index: VectorIndex) -> None:
        queries = clustered(_QUERIES, 4)
        scores = in_order(queries, clustered(_ITEMS, 1))
        worst = np.argsort(scores, axis=1)[:, :2_000]
        bitmaps = np.zeros((_QUERIES, _ITEMS), np.bool_)
        np.put_along_axis(bitmaps, worst, True, axis=1)
        requests = replace(
            nobody(_QUERIES), eligible=Masks(bitmaps, np.arange(_QUERIES, dtype="i4"))
        )
        found = index.top_n(queries, requests, 100)
        assert (found.counts == 100).all()
        assert bitmaps[found.rows, found.item].all()

    @pytest.mark.parametrize("items", [0, 1, 100])
    def test_items_beyond_the_bitmap_are_not_eligible(self, index: VectorIndex, items: int) -> None:
        queries = clustered(2, 4)
        requests = replace(
            nobody(2), eligible=Masks(np.ones((1, items), np.bool_), np.array([0, -1], np.int32))
        )
        found = index.top_n(queries, requests, 20)
        assert found.counts.tolist() == [min(20, items), 20]
        assert (found[0] < items).all()

    def test_only_scores_above_the_minimum_are_returned(self, index: VectorIndex) -> None:
        queries = clustered(_QUERIES, 4)
        free = index.top_n(queries, nobody(_QUERIES), 40)
        minimum = float(np.median(free.score))
        found = index.top_n(queries, nobody(_QUERIES), 40, min_score=minimum)
        assert_equal(found, free.where(free.score > minimum))

    def test_equal_scores_are_ordered_by_item_index(self) -> None:
        vectors = np.repeat(clustered(100, 6), 20, axis=0)
        vectors = vectors[np.random.default_rng(7).permutation(2_000)]
        found = self.make(vectors, clustered(300, 2)).top_n(clustered(20, 4), nobody(20), 90)
        tied = (np.diff(found.score) == 0) & (np.diff(found.rows) == 0)
        assert tied.any()
        assert (np.diff(found.item)[tied] > 0).all()

    @pytest.mark.parametrize("n", [-1, 0, 1, _ITEMS, 10 * _ITEMS])
    def test_every_n_is_accepted(self, index: VectorIndex, n: int) -> None:
        found = index.top_n(clustered(3, 4), nobody(3), n)
        assert (found.counts == max(0, min(n, _ITEMS))).all()
        assert len(index.top_n(clustered(3, 4)[:0], nobody(0), n)) == 0

    def test_a_query_with_nan_finds_nothing(self, index: VectorIndex) -> None:
        queries = clustered(2, 4).copy()
        queries[0] = np.nan
        assert index.top_n(queries, nobody(2), 5).counts.tolist() == [0, 5]

    @pytest.mark.parametrize("count", [1, 5_000])
    def test_added_items_are_found_immediately(
        self, index: VectorIndex, tmp_path: Path, count: int
    ) -> None:
        queries = clustered(_QUERIES, 4)
        before = index.top_n(queries, nobody(_QUERIES), 10)
        more = clustered(count, 8)
        more[0] = 9 * queries[0]
        larger = index.added(more)
        assert (index.size, larger.size) == (_ITEMS, _ITEMS + count)
        found = larger.top_n(queries, nobody(_QUERIES), 10)
        assert found[0][0] == _ITEMS, "the item added for the first query is not its first result"
        assert_equal(index.top_n(queries, nobody(_QUERIES), 10), before)
        without = replace(nobody(_QUERIES), exclude=Ragged.of([[_ITEMS]] * _QUERIES))
        assert _ITEMS not in larger.top_n(queries, without, 10).item
        assert_equal(reopened(larger, tmp_path / "added").top_n(queries, without, 10),
                     larger.top_n(queries, without, 10))  # fmt: skip

    def test_a_loaded_index_gives_the_same_results(
        self, index: VectorIndex, tmp_path: Path
    ) -> None:
        loaded = reopened(index, tmp_path / "index")
        assert type(loaded) is type(index)
        assert (loaded.recall, loaded.size) == (index.recall, index.size)
        queries, requests = clustered(_QUERIES, 4), filtered_requests(_QUERIES)
        assert_equal(loaded.top_n(queries, requests, 30), index.top_n(queries, requests, 30))
        more = loaded.added(clustered(2, 8))
        assert_equal(more.top_n(queries, requests, 30),
                     index.added(clustered(2, 8)).top_n(queries, requests, 30))  # fmt: skip

    def test_building_twice_gives_the_same_index(self, index: VectorIndex) -> None:
        again = self.make(clustered(_ITEMS, 1), clustered(300, 2))
        queries, requests = clustered(_QUERIES, 4), filtered_requests(_QUERIES)
        assert again.recall == index.recall
        assert_equal(again.top_n(queries, requests, 30), index.top_n(queries, requests, 30))


def clustered(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors around 30 centres, of different lengths, float32[count × 12]."""
    return _clustered(count, seed).copy()


@cache
def _clustered(count: int, seed: int) -> NDArray[np.float32]:
    centres = np.random.default_rng(0).normal(size=(30, _FACTORS))
    random = np.random.default_rng(seed)
    near = centres[random.integers(0, 30, count)] + 0.4 * random.normal(size=(count, _FACTORS))
    return (near * np.exp(0.2 * random.normal(size=(count, 1)))).astype(np.float32)


def nobody(count: int) -> Requests:
    """Requests that exclude nothing."""
    return Requests.of([[]] * count)


def filtered_requests(count: int) -> Requests:
    """Requests that each exclude other items and have other filters."""
    random = np.random.default_rng(9)
    exclude = [random.integers(-1, _ITEMS + 9, row % 30).tolist() for row in range(count)]
    bitmaps = random.random((3, _ITEMS)) < np.array([[0.6], [0.2], [0.005]])
    row = (np.arange(count) % 4 - 1).astype(np.int32)
    return replace(Requests.of([[]] * count, exclude=exclude), eligible=Masks(bitmaps, row))


def in_order(x: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """All inner products x₀y₀ + x₁y₁ + … in float32, added factor by factor."""
    scores = np.zeros((len(x), len(vectors)), np.float32)
    for f in range(x.shape[1]):
        scores += x[:, f, None] * vectors[None, :, f]
    return scores


def recall(found: Candidates, x: NDArray[np.float32], requests: Requests) -> float:
    """The share of the true best items of the suite that `found` contains at equal length."""
    scores = in_order(x, clustered(_ITEMS, 1))
    hits = relevant = 0
    for row in range(len(found)):
        allowed = requests.eligible.allows(np.full(_ITEMS, row), np.arange(_ITEMS, dtype=np.int32))
        allowed[requests.exclude[row]] = False
        order = np.argsort(-np.where(allowed, scores[row], -np.inf), kind="stable")
        best = order[: min(int(allowed.sum()), len(found[row]))]
        hits += len(np.intersect1d(best, found[row]))
        relevant += len(best)
    return hits / relevant


def reopened(index: VectorIndex, folder: Path) -> VectorIndex:
    """The index after saving and loading."""
    with create_artifact(folder, "index", {}) as writer:
        index.save(writer)
    return load_index(open_artifact(folder, "index")[0])


def assert_equal(one: Candidates, other: Candidates) -> None:
    """Asserts that two sets of lists are equal bit for bit."""
    assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(one.item, other.item)
    assert np.array_equal(one.score, other.score)
