"""What every index promises, as tests to inherit: exact, or as near to it as it claims."""

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

_ITEMS, _FACTORS, _ASKED = 6_000, 12, 40


class IndexConformance:
    """Inherit and implement `make`; vectors and queries come with the suite."""

    def make(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> VectorIndex:
        """The index under test, of these vectors, for such queries."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def index(cls) -> VectorIndex:
        """The index built once for the whole class."""
        return cls().make(clustered(_ITEMS, 1), clustered(300, 2))

    def test_it_finds_what_it_claims_on_other_queries(self, index: VectorIndex) -> None:
        asked = clustered(200, 3)
        found = index.top_n(asked, nobody(200), 100)
        assert index.size == _ITEMS
        assert 0.9 <= index.recall <= 1
        assert recall(found, asked, nobody(200)) >= index.recall - 0.03
        if index.recall == 1:
            assert recall(found, asked, nobody(200)) == 1

    def test_scores_are_products_added_in_order_and_best_first(self, index: VectorIndex) -> None:
        asked = clustered(_ASKED, 4)
        found = index.top_n(asked, nobody(_ASKED), 50)
        scores = in_order(asked, clustered(_ITEMS, 1))
        assert np.array_equal(found.score, scores[found.rows, found.item])
        assert (found.counts == 50).all()
        for row in range(_ASKED):
            expected = np.lexsort((found[row], -scores[row, found[row]]))
            assert expected.tolist() == list(range(50))

    def test_one_request_is_a_batch_of_one_on_any_threads(self, index: VectorIndex) -> None:
        asked, requests = clustered(_ASKED, 4), picky(_ASKED)
        batch = index.top_n(asked, requests, 30)
        assert_equal(index.top_n(asked, requests, 30, threads=2), batch)
        for row in range(0, _ASKED, 3):
            alone = index.top_n(asked[row : row + 1], requests.take(np.array([row])), 30)
            assert_equal(alone, batch.take(np.array([row])))

    def test_what_is_excluded_never_comes_and_others_do(self, index: VectorIndex) -> None:
        asked = clustered(_ASKED, 4)
        best = index.top_n(asked, nobody(_ASKED), 150)
        requests = replace(nobody(_ASKED), exclude=Ragged(best.offsets, best.item))
        found = index.top_n(asked, requests, 100)
        assert (found.counts == 100).all()
        for row in range(_ASKED):
            assert not set(found[row].tolist()) & set(best[row].tolist())
        assert recall(found, asked, requests) >= index.recall - 0.05

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
    def test_a_filter_costs_no_item(self, index: VectorIndex, share: float) -> None:
        asked = clustered(_ASKED, 4)
        bitmap = np.random.default_rng(5).random(_ITEMS) < share
        requests = replace(nobody(_ASKED), eligible=Masks(bitmap[None], np.zeros(_ASKED, np.int32)))
        found = index.top_n(asked, requests, 100)
        assert (found.counts == min(100, bitmap.sum())).all()
        assert bitmap[found.item].all()
        if share == 0.01:
            assert recall(found, asked, requests) == 1
        assert recall(found, asked, requests) >= index.recall - 0.05

    def test_a_filter_against_the_grain_is_answered_in_full(self, index: VectorIndex) -> None:
        asked = clustered(_ASKED, 4)
        scores = in_order(asked, clustered(_ITEMS, 1))
        worst = np.argsort(scores, axis=1)[:, :2_000]
        bitmaps = np.zeros((_ASKED, _ITEMS), np.bool_)
        np.put_along_axis(bitmaps, worst, True, axis=1)
        requests = replace(nobody(_ASKED), eligible=Masks(bitmaps, np.arange(_ASKED, dtype="i4")))
        found = index.top_n(asked, requests, 100)
        assert (found.counts == 100).all()
        assert bitmaps[found.rows, found.item].all()

    @pytest.mark.parametrize("items", [0, 1, 100])
    def test_what_no_bitmap_speaks_of_is_not_eligible(self, index: VectorIndex, items: int) -> None:
        asked = clustered(2, 4)
        requests = replace(
            nobody(2), eligible=Masks(np.ones((1, items), np.bool_), np.array([0, -1], np.int32))
        )
        found = index.top_n(asked, requests, 20)
        assert found.counts.tolist() == [min(20, items), 20]
        assert (found[0] < items).all()

    def test_only_scores_above_the_bar_come(self, index: VectorIndex) -> None:
        asked = clustered(_ASKED, 4)
        free = index.top_n(asked, nobody(_ASKED), 40)
        bar = float(np.median(free.score))
        found = index.top_n(asked, nobody(_ASKED), 40, min_score=bar)
        assert_equal(found, free.where(free.score > bar))

    def test_equal_vectors_come_in_the_order_of_their_indices(self) -> None:
        vectors = np.repeat(clustered(100, 6), 20, axis=0)
        vectors = vectors[np.random.default_rng(7).permutation(2_000)]
        found = self.make(vectors, clustered(300, 2)).top_n(clustered(20, 4), nobody(20), 90)
        tied = (np.diff(found.score) == 0) & (np.diff(found.rows) == 0)
        assert tied.any()
        assert (np.diff(found.item)[tied] > 0).all()

    @pytest.mark.parametrize("n", [-1, 0, 1, _ITEMS, 10 * _ITEMS])
    def test_any_n_is_answered(self, index: VectorIndex, n: int) -> None:
        found = index.top_n(clustered(3, 4), nobody(3), n)
        assert (found.counts == max(0, min(n, _ITEMS))).all()
        assert len(index.top_n(clustered(3, 4)[:0], nobody(0), n)) == 0

    def test_what_is_no_number_finds_nothing(self, index: VectorIndex) -> None:
        asked = clustered(2, 4).copy()
        asked[0] = np.nan
        assert index.top_n(asked, nobody(2), 5).counts.tolist() == [0, 5]

    @pytest.mark.parametrize("count", [1, 5_000])
    def test_what_is_added_is_found_at_once(
        self, index: VectorIndex, tmp_path: Path, count: int
    ) -> None:
        asked = clustered(_ASKED, 4)
        before = index.top_n(asked, nobody(_ASKED), 10)
        more = clustered(count, 8)
        more[0] = 9 * asked[0]
        larger = index.added(more)
        assert (index.size, larger.size) == (_ITEMS, _ITEMS + count)
        found = larger.top_n(asked, nobody(_ASKED), 10)
        assert found[0][0] == _ITEMS, "an item made for the first request is not its first"
        assert_equal(index.top_n(asked, nobody(_ASKED), 10), before)
        without = replace(nobody(_ASKED), exclude=Ragged.of([[_ITEMS]] * _ASKED))
        assert _ITEMS not in larger.top_n(asked, without, 10).item
        assert_equal(reopened(larger, tmp_path / "added").top_n(asked, without, 10),
                     larger.top_n(asked, without, 10))  # fmt: skip

    def test_a_saved_index_answers_the_same(self, index: VectorIndex, tmp_path: Path) -> None:
        loaded = reopened(index, tmp_path / "index")
        assert type(loaded) is type(index)
        assert (loaded.recall, loaded.size) == (index.recall, index.size)
        asked, requests = clustered(_ASKED, 4), picky(_ASKED)
        assert_equal(loaded.top_n(asked, requests, 30), index.top_n(asked, requests, 30))
        more = loaded.added(clustered(2, 8))
        assert_equal(more.top_n(asked, requests, 30),
                     index.added(clustered(2, 8)).top_n(asked, requests, 30))  # fmt: skip

    def test_building_twice_gives_the_same(self, index: VectorIndex) -> None:
        again = self.make(clustered(_ITEMS, 1), clustered(300, 2))
        asked, requests = clustered(_ASKED, 4), picky(_ASKED)
        assert again.recall == index.recall
        assert_equal(again.top_n(asked, requests, 30), index.top_n(asked, requests, 30))


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


def picky(count: int) -> Requests:
    """Requests that exclude items and are filtered, each in its own way."""
    random = np.random.default_rng(9)
    exclude = [random.integers(-1, _ITEMS + 9, row % 30).tolist() for row in range(count)]
    bitmaps = random.random((3, _ITEMS)) < np.array([[0.6], [0.2], [0.005]])
    row = (np.arange(count) % 4 - 1).astype(np.int32)
    return replace(Requests.of([[]] * count, exclude=exclude), eligible=Masks(bitmaps, row))


def in_order(x: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every product, x₀y₀ + x₁y₁ + … in float32, one factor after the other."""
    scores = np.zeros((len(x), len(vectors)), np.float32)
    for f in range(x.shape[1]):
        scores += x[:, f, None] * vectors[None, :, f]
    return scores


def recall(found: Candidates, x: NDArray[np.float32], requests: Requests) -> float:
    """The share of the best that a sort finds among the suite's items, found in as many places."""
    scores = in_order(x, clustered(_ITEMS, 1))
    hit = wanted = 0
    for row in range(len(found)):
        able = requests.eligible.allows(np.full(_ITEMS, row), np.arange(_ITEMS, dtype=np.int32))
        able[requests.exclude[row]] = False
        order = np.argsort(-np.where(able, scores[row], -np.inf), kind="stable")
        best = order[: min(int(able.sum()), len(found[row]))]
        hit, wanted = hit + len(np.intersect1d(best, found[row])), wanted + len(best)
    return hit / wanted


def reopened(index: VectorIndex, folder: Path) -> VectorIndex:
    """The index, saved and loaded."""
    with create_artifact(folder, "index", {}) as writer:
        index.save(writer)
    return load_index(open_artifact(folder, "index")[0])


def assert_equal(one: Candidates, other: Candidates) -> None:
    """Equal lists, bit for bit."""
    assert np.array_equal(one.offsets, other.offsets)
    assert np.array_equal(one.item, other.item)
    assert np.array_equal(one.score, other.score)
