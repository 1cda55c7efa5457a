"""Every kernel against its slow NumPy twin."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Masks, Requests
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.index import exact_top_n, ranked_top_n
from tastemaker.index.exact import _blank_excluded, _take_ranked, _top_n
from tastemaker.index.products import _search
from tastemaker.inventory import Inventory
from tastemaker.retrieval import (
    ALS,
    BSPM,
    EASE,
    SLIM,
    BoughtTogether,
    Complements,
    Content,
    FeatureEASE,
    GraphFilter,
    ItemKNN,
    Popular,
    RP3Beta,
    SequentialRules,
    SessionKNN,
    SparseEASE,
    Swing,
    Trending,
    UserKNN,
)
from tastemaker.retrieval.als import _conjugate_gradient
from tastemaker.retrieval.content import _add_similarities
from tastemaker.retrieval.content_profiles import _profiles
from tastemaker.retrieval.item_item import _add_rows, _stronger_way
from tastemaker.retrieval.linear.bspm import _sharpen
from tastemaker.retrieval.linear.ease import _gram
from tastemaker.retrieval.linear.graph_filter import _blur, _spread
from tastemaker.retrieval.neighbors.sessions import _score
from tastemaker.retrieval.neighbors.user_knn import _add_neighbors, _nearest_users

ONE_THREAD, THREE_THREADS = FitOptions(threads=1), FitOptions(threads=3)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return SyntheticWorld(users=120, items=60, events=2_500, tastes=4, seed=5).dataset()


@pytest.fixture
def requests() -> Requests:
    histories = [[1, 5, 9], [], [0, 2, 2, 2], list(range(0, 60, 3))]
    weights = [[1.0, 6.0, 1.0], [], [1.0, 1.0, -1.0, 6.0], [1.0] * 20]
    return Requests.of(histories, weights=weights)


def lists(found: Candidates) -> list[list[int]]:
    return [found[row].tolist() for row in range(len(found))]


# -- exact search ---------------------------------------------------------------------------------

values = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 1.0, 1.0, 2.0])
n_items = 9
tables = st.integers(1, 5).flatmap(
    lambda rows: st.lists(
        st.lists(values, min_size=n_items, max_size=n_items), min_size=rows, max_size=rows
    )
)


def make_requests(exclude: list[list[int]], bitmaps: list[list[bool]], row: list[int]) -> Requests:
    masks = Masks(np.array(bitmaps, np.bool_).reshape(len(bitmaps), n_items), np.array(row, "i4"))
    return replace(Requests.of([[] for _ in exclude], exclude=exclude), eligible=masks)


@st.composite
def searches(draw: st.DrawFn) -> tuple[NDArray[np.float32], Requests, int]:
    scores = np.array(draw(tables), np.float32)
    some = st.lists(st.integers(-1, n_items + 2), max_size=4)
    exclude = draw(st.lists(some, min_size=len(scores), max_size=len(scores)))
    bitmap = st.lists(st.booleans(), min_size=n_items, max_size=n_items)
    bitmaps = draw(st.lists(bitmap, min_size=1, max_size=2))
    rows = st.integers(-1, len(bitmaps) - 1)
    row = draw(st.lists(rows, min_size=len(scores), max_size=len(scores)))
    return scores, make_requests(exclude, bitmaps, row), draw(st.integers(0, n_items + 3))


def answerable(requests: Requests, row: int) -> list[int]:
    bitmap = requests.eligible.row[row]
    away = set(requests.exclude[row].tolist())
    return [
        item
        for item in range(n_items)
        if item not in away and (bitmap < 0 or requests.eligible.bitmaps[bitmap, item])
    ]


@given(searches(), st.sampled_from([-np.inf, 0.0]), st.sampled_from([1, 80, 1 << 20]))
def test_exact_search_equals_a_sort(
    search: tuple[NDArray[np.float32], Requests, int], min_score: float, chunk_bytes: int
) -> None:
    scores, requests, n = search
    found = exact_top_n(
        lambda chunk: scores[chunk].copy(),
        requests,
        n,
        n_items,
        min_score=min_score,
        chunk_bytes=chunk_bytes,
    )
    for row in range(len(scores)):
        able = [item for item in answerable(requests, row) if scores[row, item] > min_score]
        best = sorted(able, key=lambda item: (-scores[row, item], item))[:n]
        assert found[row].tolist() == best
        start, stop = found.offsets[row : row + 2]
        np.testing.assert_array_equal(found.score[start:stop], scores[row, best])


@given(searches(), st.permutations(range(n_items)), st.integers(1, n_items))
def test_a_ranking_is_read_in_its_order(
    search: tuple[NDArray[np.float32], Requests, int], order: list[int], length: int
) -> None:
    _, requests, n = search
    backwards = np.array(order[::-1], np.int32)
    rankings = [
        (np.array(order[:length], np.int32), np.arange(length, 0, -1, dtype=np.float32)),
        (backwards, np.arange(n_items, 0, -1, dtype=np.float32)),
    ]
    which = np.arange(len(requests)) % 2
    found = ranked_top_n(rankings, which, requests, n)
    for row in range(len(requests)):
        able = answerable(requests, row)
        whole = rankings[which[row]][0].tolist()
        assert found[row].tolist() == [item for item in whole if item in able][:n]


# -- ALS ------------------------------------------------------------------------------------------


def solved(als: ALS, extra: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's least squares, one dense system at a time; `extra` is c − 1."""
    config = als.config
    x = np.zeros((len(extra), y.shape[1]))
    for row, more in enumerate(extra):
        confidence, preference = 1 + more, (more > 0).astype(float)
        weight = config.regularization * confidence.sum() ** config.frequency_scaling
        left = y.T @ (confidence[:, None] * y) + weight * np.eye(y.shape[1])
        if preference.any():
            x[row] = np.linalg.solve(left, y.T @ (confidence * preference))
    return x


def loss(
    als: ALS, extra: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> float:
    config, confidence = als.config, 1 + extra
    error = (confidence * ((extra > 0) - x @ y.T) ** 2).sum()
    for axis, vectors in ((1, x), (0, y)):
        weight = config.regularization * confidence.sum(axis=axis) ** config.frequency_scaling
        error += (weight * (vectors**2).sum(axis=1)).sum()
    return float(error)


SETTINGS = [
    {"factors": 8},
    {"factors": 8, "confidence": "log", "frequency_scaling": 0.0, "regularization": 1.0},
    {"factors": 8, "alpha": 40.0, "frequency_scaling": 1.0, "regularization": 0.01},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_folding_in_solves_the_least_squares(
    settings: dict[str, float], data: Dataset, requests: Requests
) -> None:
    als = ALS(**settings).fit(data)
    liked = requests.history.interactions(als.n_fitted).toarray().astype(np.float64)
    strength = np.log1p(liked) if als.config.confidence == "log" else liked
    expected = solved(als, als.config.alpha * strength, als.item_factors.astype(np.float64))
    np.testing.assert_allclose(als.user_factors(requests), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_converged_sweep_solves_the_least_squares(
    settings: dict[str, float], data: Dataset
) -> None:
    als = ALS(**settings)
    users = als._confidence(data.interactions())
    y = np.random.default_rng(1).normal(0, 0.3, (users.shape[1], 8)).astype(np.float32)
    x = np.zeros((users.shape[0], 8), np.float32)
    expected = solved(als, users.toarray().astype(np.float64), y.astype(np.float64))
    als._solve(users, y, x, 100, threads=2)
    np.testing.assert_allclose(x, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_half_sweep_lowers_the_loss(settings: dict[str, float], data: Dataset) -> None:
    als = ALS(**settings)
    users = als._confidence(data.interactions())
    items, extra = users.T.tocsr(), users.toarray().astype(np.float64)
    x = np.zeros((users.shape[0], 8), np.float32)
    y = np.random.default_rng(1).normal(0, 0.1, (users.shape[1], 8)).astype(np.float32)
    losses = [loss(als, extra, x, y)]
    for _ in range(6):
        als._solve(users, y, x, 3, threads=1)
        losses.append(loss(als, extra, x, y))
        als._solve(items, x, y, 3, threads=1)
        losses.append(loss(als, extra, x, y))
    assert all(later <= before * 1.0001 for before, later in pairwise(losses))
    assert losses[-1] < 0.9 * losses[1]


# -- co-occurrence --------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["log", "binary", "sum"])
def test_the_gram_matrix_equals_that_of_numpy(data: Dataset, reduce: str) -> None:
    users = data.interactions(reduce=reduce)  # type: ignore[arg-type]
    dense = users.toarray()
    np.testing.assert_allclose(_gram(users, 2), np.tril(dense.T @ dense), rtol=1e-5)


def test_ease_equals_its_formula(data: Dataset) -> None:
    ease = EASE(regularization=20.0).fit(data)
    dense = data.interactions(reduce="log").toarray().astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + 20.0 * np.eye(dense.shape[1]))
    expected = np.eye(len(inverse)) - inverse / np.diag(inverse)
    np.testing.assert_allclose(ease.weights, expected, rtol=1e-3, atol=1e-5)


def test_ease_gives_an_item_without_likes_no_weight(data: Dataset) -> None:
    before = EASE(regularization=20.0).fit(data)
    keep = data.events.item != 7
    without = EASE(regularization=20.0).fit(
        Dataset(data.catalogue, data.users, data.events.where(keep), data.kinds)
    )
    assert before.weights[7].any()
    assert not without.weights[7].any()
    assert not without.weights[:, 7].any()
    dense = data.interactions(reduce="log").toarray().astype(np.float64)
    dense[:, 7] = 0
    inverse = np.linalg.inv(dense.T @ dense + 20.0 * np.eye(dense.shape[1]))
    expected = np.eye(len(inverse)) - inverse / np.diag(inverse)
    np.testing.assert_allclose(without.weights, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
@pytest.mark.parametrize("neighbors", [3, 500])
def test_the_neighbours_are_the_nearest_by_cosine(
    data: Dataset, neighbors: int, shrinkage: float
) -> None:
    knn = ItemKNN(neighbors=neighbors, shrinkage=shrinkage).fit(data)
    dense = data.interactions(reduce="log").toarray().astype(np.float64)
    norms = np.linalg.norm(dense, axis=0)
    cosine = dense.T @ dense / np.maximum(np.outer(norms, norms) + shrinkage, 1e-12)
    np.fill_diagonal(cosine, 0)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbors]
    expected = np.zeros_like(cosine)
    np.put_along_axis(expected, near, np.take_along_axis(cosine, near, axis=1), axis=1)
    np.testing.assert_allclose(np.sort(knn.weights.toarray()), np.sort(expected), rtol=1e-4)
    np.testing.assert_allclose(knn.weights.toarray()[expected == 0].max(), 0, atol=1e-6)


def test_a_request_adds_up_its_neighbours(data: Dataset, requests: Requests) -> None:
    knn = ItemKNN(neighbors=10).fit(data)
    liked = requests.history.interactions(knn.n_fitted, reduce="log")
    scores = np.zeros((len(requests), knn.n_fitted), np.float32)
    _add_rows(liked.indptr, liked.indices, liked.data, *knn._rows(), scores)
    np.testing.assert_allclose(scores, (liked @ knn.weights).toarray(), rtol=1e-5)


# -- items compared -------------------------------------------------------------------------------


def pairs(n_items: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    left, right = np.divmod(np.arange(n_items**2), n_items)
    return left.astype(np.int32), right.astype(np.int32)


def test_the_similarity_of_neighbours_is_symmetric(data: Dataset) -> None:
    knn = ItemKNN(neighbors=5).fit(data)
    dense = knn.weights.toarray()
    found = knn.similarity(*pairs(60)).reshape(60, 60)
    assert np.array_equal(found, np.maximum(dense, dense.T))
    assert (dense != dense.T).any()


def test_ease_compares_by_its_weights(data: Dataset) -> None:
    ease = EASE(regularization=20.0).fit(data)
    found = ease.similarity(*pairs(60)).reshape(60, 60)
    assert np.array_equal(found, np.minimum(ease.weights, 1))


@pytest.mark.parametrize("factors", [3, 8, 13])
def test_als_compares_by_cosine(data: Dataset, factors: int) -> None:
    als = ALS(factors=factors).fit(data)
    als.item_factors[4], als.norms[4] = 0, 0
    y = als.item_factors.astype(np.float64)
    unit = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    found = als.similarity(*pairs(60)).reshape(60, 60)
    np.testing.assert_allclose(found, unit @ unit.T, rtol=1e-4, atol=1e-5)
    assert not found[4].any()
    assert np.array_equal(found, found.T)


def test_trending_is_the_sorted_decayed_weight(data: Dataset, requests: Requests) -> None:
    inventory = Inventory.of(data)
    half_life = 7 * 86_400_000_000
    tick = half_life // 32
    weight = inventory.statistics.decayed(data.end // tick * tick, half_life)
    later = replace(requests, time=np.full(len(requests), data.end))
    found = Trending(half_life="7d").fit(data).retrieve(later, 5, inventory)
    for row in range(len(requests)):
        away = requests.exclude[row].tolist()
        order = [i for i in np.argsort(-weight, kind="stable").tolist() if i not in away]
        assert found[row].tolist() == order[:5]


# -- threads, and arrays mapped from disk ---------------------------------------------------------

MODELS: list[Retriever] = [
    ALS(factors=8),
    BoughtTogether(neighbors=10),
    Complements(neighbors=10),
    BSPM(factors=8),
    Content(),
    EASE(),
    FeatureEASE(),
    GraphFilter(factors=8),
    ItemKNN(neighbors=10),
    Popular(),
    RP3Beta(neighbors=10),
    SequentialRules(neighbors=10),
    SessionKNN(neighbors=10),
    Swing(neighbors=10),
    SLIM(),
    SparseEASE(neighbors=10),
    Trending(),
    UserKNN(neighbors=10),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_thread_count_changes_nothing(
    model: Retriever, data: Dataset, requests: Requests
) -> None:
    inventory = Inventory.of(data)
    one = model.fit(data, ONE_THREAD).retrieve(requests, 10, inventory)
    three = model.fit(data, THREE_THREADS).retrieve(requests, 10, inventory)
    assert lists(one) == lists(three)
    np.testing.assert_allclose(one.score, three.score, rtol=1e-5)


def test_a_loaded_model_needs_no_compilation(
    data: Dataset, requests: Requests, tmp_path: Path
) -> None:
    inventory = Inventory.of(data)
    kernels = [
        *(_conjugate_gradient, _search, _top_n, _take_ranked, _blank_excluded),
        *(_nearest_users, _add_neighbors, _score),
        *(_add_rows, _stronger_way, _profiles, _add_similarities, _blur, _spread, _sharpen),
    ]
    fitted = [model.fit(data) for model in MODELS]
    answers = [lists(model.retrieve(requests, 10, inventory)) for model in fitted]
    compiled = [len(kernel.signatures) for kernel in kernels]
    with create_artifact(tmp_path / "v1", "test", {}) as writer:
        for model in fitted:
            model.save(writer.child(model.name))
    reader, _ = open_artifact(tmp_path / "v1", "test")
    loaded = [
        type(model)(**model.config.model_dump()).load(reader.child(model.name)) for model in fitted
    ]
    assert [lists(model.retrieve(requests, 10, inventory)) for model in loaded] == answers
    assert [len(kernel.signatures) for kernel in kernels] == compiled
