"""ItemKNN: measures by hand and against NumPy, settings, and updates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import DataError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import ItemKNN
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.item_rows import RowLearner
from tastemaker.retrieval.neighbors.similarity import Similarity

MEASURES = get_args(Similarity)
A, B, C, D = range(4)


def log_of(baskets: Sequence[Sequence[int]], items: int) -> Dataset:
    """User u likes the items of row u, in that order; indices are those given."""
    rows = [
        (f"u{u:04}", f"i{i:04}", t) for u, likes in enumerate(baskets) for t, i in enumerate(likes)
    ]
    events = pl.DataFrame(
        rows, {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}, orient="row"
    )
    known = pl.DataFrame({"item_id": [f"i{i:04}" for i in range(items)]})
    return Dataset.from_frames(events, items=known, schema=Schema(kinds={"like": EventKind()}))


FOUR = [[A, B], [A, B, C], [A], [C, D]]

# -- by hand --------------------------------------------------------------------------------------

# Pearson of A = (1, 1, 1, 0) and B = (1, 1, 0, 0): (2 − 3·2/4) / √(3 − 9/4)√(2 − 4/4).
# Adjusted cosine: the users' means are ½, ¾, ¼, ½; A = (½, ¼, ¾, −½), B = (½, ¼, −¼, −½).
# BM25 with k1 = 1, b = 0: every weight is its user's rarity, ln(1 + 2.5/2.5) and ln(1 + 1.5/3.5).
# TF-IDF: a user of n of the four items counts ln(4/n) + 1.
A1, A2, A3 = np.log(4 / 2) + 1, np.log(4 / 3) + 1, np.log(4 / 1) + 1
BY_HAND: list[tuple[str, dict[str, float], int, int, float]] = [
    ("cosine", {}, A, B, 2 / np.sqrt(6)),
    ("cosine", {"shrinkage": 3.0}, A, C, 1 / (np.sqrt(6) + 3)),
    ("jaccard", {}, A, B, 2 / 3),
    ("jaccard", {}, A, C, 1 / 4),
    ("pearson", {}, A, B, 0.5 / np.sqrt(0.75)),
    ("pearson", {}, C, D, 0.5 / np.sqrt(0.75)),
    ("pearson", {}, A, C, 0.0),
    ("adjusted_cosine", {}, A, B, 0.375 / np.sqrt(1.125 * 0.625)),
    ("asymmetric", {"alpha": 1.0}, A, B, 2 / 3),
    ("asymmetric", {"alpha": 1.0}, B, A, 1.0),
    ("tfidf", {}, A, B, (A1**2 + A2**2) / np.sqrt((A1**2 + A2**2 + A3**2) * (A1**2 + A2**2))),
    ("bm25", {"k1": 1.0, "b": 0.0}, A, B, np.log(2) ** 2 + np.log(10 / 7) ** 2),
]  # fmt: skip


@pytest.mark.parametrize(("similarity", "settings", "one", "other", "expected"), BY_HAND)
def test_a_similarity_matches_the_hand_computation(
    similarity: Any, settings: dict[str, Any], one: int, other: int, expected: float
) -> None:
    knn = ItemKNN(**{"similarity": similarity, "shrinkage": 0.0, **settings})
    weights = knn.fit(log_of(FOUR, 4)).weights.toarray()
    assert weights[one, other] == pytest.approx(expected, rel=1e-5)
    assert not weights.diagonal().any()


# -- against NumPy --------------------------------------------------------------------------------


def similarities(x: NDArray[np.float64], similarity: str, h: float) -> NDArray[np.float64]:
    """The similarity of all pairs by the textbook formula; x is already weighted."""
    common = x.T @ x
    size = (x > 0).sum(axis=0)
    if similarity == "bm25":
        under = np.ones_like(common)
    elif similarity == "jaccard":
        under = size[:, None] + size - common
    elif similarity == "asymmetric":
        under = np.outer(size**0.3, size**0.7)
    else:
        if similarity == "pearson":
            x = x - x.mean(axis=0)
        if similarity == "adjusted_cosine":
            x = x - x.mean(axis=1, keepdims=True)
        under = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(x, axis=0))
    found = np.where(common > 0, (x.T @ x) / np.maximum(under + h, 1e-12), 0)
    np.fill_diagonal(found, 0)
    return np.maximum(found, 0)


def dense_log() -> Dataset:
    return SyntheticWorld(users=60, items=40, events=900, tastes=3, repeats=True, seed=2).dataset()


def sparse_log() -> Dataset:
    random = np.random.default_rng(4)
    return log_of([random.choice(300, 3, replace=False).tolist() for _ in range(250)], 300)


@pytest.mark.parametrize("log", [dense_log, sparse_log])
@pytest.mark.parametrize("similarity", MEASURES)
@pytest.mark.parametrize("min_common", [1, 2])
def test_the_neighbours_equal_those_of_numpy(log: Any, similarity: Any, min_common: int) -> None:
    data = log()
    settings = {"similarity": similarity, "shrinkage": 1.5, "min_common": min_common, "alpha": 0.3}
    knn = ItemKNN(neighbors=7, **settings).fit(data)
    x = knn.evidence(data).toarray().astype(np.float64)
    expected = similarities(x, similarity, 1.5)
    expected[(x > 0).astype(int).T @ (x > 0) < min_common] = 0
    best = np.sort(expected, axis=1)[:, -7:]
    found = np.sort(knn.weights.toarray(), axis=1)[:, -7:]
    np.testing.assert_allclose(found, best, rtol=1e-4, atol=2e-6)
    rows, columns = knn.weights.nonzero()
    np.testing.assert_allclose(
        knn.weights.toarray()[rows, columns], expected[rows, columns], rtol=1e-4, atol=2e-6
    )


# -- settings -------------------------------------------------------------------------------------


def test_neighbours_have_at_least_min_common_users() -> None:
    one = ItemKNN(min_common=1).fit(log_of(FOUR, 4)).weights.toarray()
    two = ItemKNN(min_common=2).fit(log_of(FOUR, 4)).weights.toarray()
    assert (one > 0).sum() == 8
    assert {tuple(pair) for pair in np.argwhere(two > 0)} == {(A, B), (B, A)}


def test_normalization_returns_fewer_popular_items() -> None:
    close, loose = [[0, 1, 2, 3]] * 20, [[4, 5], [4, 6], [4], [5], [6], [5], [6]]
    data = log_of([*close, *loose], 7)

    def popular_share(normalization: Any) -> float:
        knn = ItemKNN(normalization=normalization, shrinkage=0.0).fit(data)
        found = knn.retrieve(Requests.of([[0, 4]]), 3, Inventory.of(data))[0]
        return float(np.isin(found, [1, 2, 3]).mean())

    assert popular_share("none") == 1.0
    assert popular_share("sum") == pytest.approx(1 / 3)


def test_normalized_similarities_add_up_to_one() -> None:
    weights = ItemKNN(normalization="sum", neighbors=3).fit(dense_log()).weights
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)


# -- updates --------------------------------------------------------------------------------------


class Counting(ItemKNN):
    """Records which rows were learned."""

    learned: list[int]

    def learner(self, pairs: Interactions) -> RowLearner:
        plain = super().learner(pairs)
        self.learned = []

        def learn(items: NDArray[np.int32], near: Any, strength: Any, found: Any) -> None:
            self.learned.extend(items.tolist())
            plain.learn(items, near, strength, found)

        return replace(plain, learn=learn)


def test_an_update_learns_only_the_affected_rows() -> None:
    before = log_of([*FOUR, [4, 5], [4, 5, 6], [6, 7]], 8)
    later = log_of([*FOUR, [4, 5], [4, 5, 6], [6, 7, 5]], 8)
    options = FitOptions(threads=1)
    knn = Counting(shrinkage=0.0)
    updated = knn.fit(before, options).update(later, options)
    assert sorted(updated.learned) == [4, 5, 6, 7]
    refitted = Counting(shrinkage=0.0).fit(later, options)
    assert np.array_equal(updated.weights.toarray(), refitted.weights.toarray())
    assert knn.weights[6].toarray().ravel()[5] < refitted.weights[6].toarray().ravel()[5]


def test_an_update_without_new_events_learns_nothing() -> None:
    knn = Counting().fit(log_of(FOUR, 4), FitOptions(threads=1))
    assert knn.update(log_of(FOUR, 4), FitOptions(threads=1)).learned == []


def test_an_update_with_other_items_suggests_fit() -> None:
    with pytest.raises(DataError, match="call fit instead of update"):
        ItemKNN().fit(log_of(FOUR, 4)).update(log_of(FOUR, 5))


def test_an_unknown_user_gets_the_neighbours_of_the_history() -> None:
    data = log_of(FOUR, 4)
    knn = ItemKNN(similarity="jaccard", shrinkage=0.0).fit(data)
    found = knn.retrieve(Requests.of([[B]]), 2, Inventory.of(data))
    assert found[0].tolist() == [A, C]
    np.testing.assert_allclose(found.score, [2 / 3, 1 / 3], rtol=1e-6)


def test_an_update_with_as_many_other_items_is_refused() -> None:
    def likes(items: str) -> Dataset:
        return Dataset.from_frames(
            pl.DataFrame({"user_id": list("aabbc"), "item_id": list(items)}),
            schema=Schema(kinds={"like": EventKind()}, clock="none"),
        )

    fitted = ItemKNN().fit(likes("xyyzx"))
    with pytest.raises(DataError, match="not the same: call fit"):
        fitted.update(likes("uvvwu"))
