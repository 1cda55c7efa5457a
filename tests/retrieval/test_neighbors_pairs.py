"""Walks, Swing and UserKNN: each kernel against its slow twin, and its main property."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import SettingError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import ItemKNN, P3Alpha, RP3Beta, Swing, UserKNN
from tastemaker.retrieval.cooccurrence import Interactions
from tastemaker.retrieval.neighbors.nearest import nearest_items
from tastemaker.retrieval.neighbors.similarity import Measure
from tests.retrieval.test_neighbors import FOUR, A, B, C, D, log_of


@pytest.fixture(scope="module")
def data() -> Dataset:
    return SyntheticWorld(users=50, items=40, events=700, tastes=3, repeats=True, seed=3).dataset()


def best_of(expected: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """All but the n highest of each row set to 0."""
    kept = np.zeros_like(expected)
    best = np.argsort(-expected, axis=1, kind="stable")[:, :n]
    np.put_along_axis(kept, best, np.take_along_axis(expected, best, axis=1), axis=1)
    return kept


def test_settings_too_large_for_float32_are_refused() -> None:
    with pytest.raises(SettingError, match="alpha"):
        Swing(alpha=1e40)


# -- walks ----------------------------------------------------------------------------------------


def walked(x: NDArray[np.float64], alpha: float, beta: float) -> NDArray[np.float64]:
    """RP3β by the definition: P_iu^α · P_ui^α / d^β."""
    to_users = (x / np.maximum(x.sum(axis=0), 1e-12)).T ** alpha
    to_items = (x / np.maximum(x.sum(axis=1, keepdims=True), 1e-12)) ** alpha
    found = to_users @ to_items / np.maximum((x > 0).sum(axis=0), 1) ** beta
    np.fill_diagonal(found, 0)
    return np.asarray(found, np.float64)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.7, 0.4), (0.6, 1.0)])
@pytest.mark.parametrize("normalization", ["none", "sum"])
def test_walks_equal_the_matrix_formula(
    data: Dataset, alpha: float, beta: float, normalization: Any
) -> None:
    settings = {"alpha": alpha, "neighbors": 9, "reduce": "sum", "normalization": normalization}
    model = RP3Beta(beta=beta, **settings) if beta else P3Alpha(**settings)
    expected = best_of(walked(data.interactions().toarray().astype(np.float64), alpha, beta), 9)
    if normalization == "sum":
        expected /= np.maximum(expected.sum(axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(model.fit(data).weights.toarray(), expected, rtol=1e-4, atol=1e-7)


def test_a_walk_of_three_steps_matches_the_hand_computation() -> None:
    plain = P3Alpha(alpha=1.0, normalization="none").fit(log_of(FOUR, 4)).weights.toarray()
    # From A to each of its three users with 1/3; from the first to B with 1/2, the second 1/3.
    assert plain[A, B] == pytest.approx(1 / 3 * 1 / 2 + 1 / 3 * 1 / 3)
    assert plain[D, C] == pytest.approx(1 / 2)
    held_back = (
        RP3Beta(alpha=1.0, beta=1.0, normalization="none").fit(log_of(FOUR, 4)).weights.toarray()
    )
    assert held_back[A, B] == pytest.approx(plain[A, B] / 2)


def test_a_neighbour_whose_first_sum_underflows_counts_once() -> None:
    weights = np.zeros((2, 200), np.float32)
    weights[0, :2], weights[1, :2] = 1e-30, 1
    pairs, one = Interactions.of(csr_array(weights)), np.ones(200, np.float32)
    measure = Measure(0 * one, 0 * one, one, one, one[:0])
    learner = nearest_items(pairs, measure, shrinkage=0.0, min_common=1, relative=False)
    near, strength = np.zeros((1, 5), np.int32), np.zeros((1, 5), np.float32)
    found = np.zeros(1, np.int64)
    learner.learn(np.zeros(1, np.int32), near, strength, found)
    assert near[0, : found[0]].tolist() == [1]


def test_a_larger_beta_finds_rarer_items(data: Dataset) -> None:
    users = np.bincount(data.interactions().indices, minlength=len(data.catalogue))
    requests = Requests.of([[i, (i + 7) % 40] for i in range(40)])

    def popularity(beta: float) -> float:
        model = RP3Beta(beta=beta).fit(data)
        return float(users[model.retrieve(requests, 5, Inventory.of(data)).item].mean())

    assert popularity(0.0) > popularity(0.5) > popularity(1.0)


# -- Swing ----------------------------------------------------------------------------------------


def swung(x: NDArray[np.float64], alpha: float, activity: float) -> NDArray[np.float64]:
    """Swing by the definition, over all pairs of users."""
    users, items = x.shape
    weight = (x.sum(axis=1) + 5.0) ** -activity
    found = np.zeros((items, items))
    for u in range(users):
        for v in range(u):
            both = np.flatnonzero(x[u] * x[v])
            found[np.ix_(both, both)] += weight[u] * weight[v] / max(alpha + len(both), 1e-12)
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_swing_is_the_sum_over_pairs_of_users(data: Dataset, alpha: float) -> None:
    model = Swing(alpha=alpha, activity=0.35, neighbors=8, normalization="none").fit(data)
    x = data.interactions(reduce="binary").toarray().astype(np.float64)
    expected, found = swung(x, alpha, 0.35), model.weights.toarray()
    best = np.sort(expected, axis=1)[:, -8:]
    np.testing.assert_allclose(np.sort(found, axis=1)[:, -8:], best, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found[found > 0], expected[found > 0], rtol=1e-4)


def test_swing_respects_its_limits_on_users_and_items(data: Dataset) -> None:
    model = Swing(max_users=4, normalization="none", activity=0.0, alpha=0.0).fit(data)
    pairs = 4 * 3 / 2
    assert 0 < model.weights.max() <= pairs
    few = Swing(max_items=2, normalization="none").fit(data).weights
    assert 0 < few.nnz < Swing(normalization="none").fit(data).weights.nnz


def planted(seed: int) -> tuple[Dataset, NDArray[np.int64]]:
    """Users with items of one group of ten each; a fifth of all clicks are on random items."""
    random = np.random.default_rng(seed)
    within = 1.0 / np.arange(1, 11)
    likes = []
    for _ in range(150):
        own = 10 * random.integers(20) + random.choice(10, 4, False, within / within.sum())
        noise = random.choice(200, random.binomial(4, 0.25), replace=False)
        likes.append(random.permutation(np.unique(np.concatenate([own, noise]))).tolist())
    return log_of(likes, 200), np.arange(200) // 10


@pytest.mark.parametrize("seed", range(5))
def test_swing_keeps_more_true_pairs_than_cosine(seed: int) -> None:
    """On a sparse log, where one accidental click makes two rare items neighbours by cosine."""
    data, group = planted(seed)
    swing = Swing(neighbors=9, normalization="none").fit(data).weights.tocoo()
    cosine = ItemKNN(neighbors=9, shrinkage=0.0).fit(data).weights.tocoo()

    def true_pairs(weights: coo_array, pairs: int) -> int:
        strongest = np.lexsort((weights.col, weights.row, -weights.data))[:pairs]
        return int((group[weights.row[strongest]] == group[weights.col[strongest]]).sum())

    assert true_pairs(swing, swing.nnz) > true_pairs(cosine, swing.nnz)


@pytest.mark.parametrize("seed", range(5))
def test_swing_has_a_higher_share_of_true_pairs_than_cosine(seed: int) -> None:
    data, group = planted(seed)

    def share(model: ItemKNN | Swing) -> float:
        rows, columns = model.fit(data).weights.nonzero()
        return float((group[rows] == group[columns]).mean())

    assert share(Swing(neighbors=9)) > share(ItemKNN(neighbors=9)) + 0.2


# -- users ----------------------------------------------------------------------------------------


def like_users(h: NDArray[Any], x: NDArray[Any], similarity: str) -> NDArray[np.float64]:
    """The similarity of one history to every user, by the textbook formula."""
    users, fans = len(x), (x > 0).sum(axis=0)
    if similarity == "jaccard":
        common = ((x > 0) & (h > 0)).sum(axis=1)
        return np.asarray(common / ((x > 0).sum(axis=1) + (h > 0).sum() - common), np.float64)
    if similarity == "tfidf":
        rarity = np.log(users / np.maximum(fans, 1)) + 1
        x, h = np.log1p(x) * rarity, np.log1p(h) * rarity
    if similarity == "bm25":
        rarity, mean = np.log1p((users - fans + 0.5) / (fans + 0.5)), x.sum(axis=1).mean()

        def grown(y: NDArray[Any]) -> Any:
            longest = 1.2 * (0.25 + 0.75 * y.sum(axis=-1, keepdims=True) / mean)
            return y * 2.2 / (y + longest) * rarity

        return np.asarray(grown(x) @ grown(h), np.float64)
    if similarity == "pearson":
        x, h = x - x.mean(axis=1, keepdims=True), h - h.mean()
    return np.asarray((x @ h) / (np.linalg.norm(x, axis=1) * np.linalg.norm(h)), np.float64)


@pytest.mark.parametrize("similarity", ["cosine", "pearson", "jaccard", "tfidf", "bm25"])
@pytest.mark.parametrize("min_common", [1, 3])
def test_the_nearest_users_equal_those_of_numpy(
    data: Dataset, similarity: Any, min_common: int
) -> None:
    knn = UserKNN(
        neighbors=5, similarity=similarity, min_common=min_common, amplification=1.0, reduce="sum"
    ).fit(data)
    requests = Requests.of([[1, 5, 9, 9, 20], list(range(0, 40, 4))])
    x = data.interactions().toarray().astype(np.float64)
    near, similarities = knn.nearest_users(requests)
    dense = np.zeros((2, x.shape[1]), np.float32)
    for row in range(2):
        h = np.bincount(
            requests.history.item[slice(*requests.history.offsets[row : row + 2])], minlength=40
        )
        expected = like_users(h.astype(np.float64), x, similarity)
        expected[((x > 0) & (h > 0)).sum(axis=1) < min_common] = 0
        expected = np.maximum(expected, 0)
        best = np.sort(expected)[::-1][:5]
        found = similarities[near.offsets[row] : near.offsets[row + 1]]
        np.testing.assert_allclose(found, best[: len(found)], rtol=1e-4)
        np.testing.assert_allclose(found, expected[near[row]], rtol=1e-4)
        assert not best[len(found) :].any()
        dense[row] = found @ x[near[row]]
    np.testing.assert_allclose(knn.scores(requests)(slice(0, 2)), dense, rtol=1e-4)


def test_the_neighbours_of_a_history_have_ids() -> None:
    data = log_of(FOUR, 4)
    near, similarities = (
        UserKNN(neighbors=2, similarity="cosine")
        .fit(data)
        .nearest_users(Requests.of([[A, B], [D]]))
    )
    assert data.users.ids(near[0]) == ["u0000", "u0001"]
    assert data.users.ids(near[1]) == ["u0003"]
    np.testing.assert_allclose(similarities, [1, 2 / np.sqrt(6), 1 / np.sqrt(2)], rtol=1e-6)


def test_amplification_gives_the_nearest_more_weight() -> None:
    log = log_of([[0, 1, 2], [0, 3, 4, 5], [0, 3, 6, 7, 8]], 9)
    requests = Requests.of([[0, 1]])
    plain = (
        UserKNN(amplification=1.0, similarity="cosine").fit(log).scores(requests)(slice(0, 1))[0]
    )
    loud = UserKNN(amplification=4.0, similarity="cosine").fit(log).scores(requests)(slice(0, 1))[0]
    assert plain[3] > plain[2] * 0.8
    assert loud[2] > loud[3]


def test_the_reason_is_the_history_item_with_the_same_users() -> None:
    log = log_of([[0, 1], [0, 1], [2, 3], [2, 3], [0, 3]], 4)
    knn = UserKNN().fit(log)
    requests = Requests.of([[0, 2]])
    found = knn.retrieve(requests, 2, Inventory.of(log))
    reason, _ = knn.explain(requests, found)
    assert dict(zip(found.item.tolist(), reason.tolist())) == {1: 0, 3: 2}


def test_popular_items_do_not_win_on_a_known_block() -> None:
    """A history with C gets the item of the only other user who likes C."""
    found = UserKNN(neighbors=1, similarity="jaccard").fit(log_of(FOUR, 4))
    assert found.retrieve(Requests.of([[C]]), 1, Inventory.of(log_of(FOUR, 4)))[0].tolist() == [D]
