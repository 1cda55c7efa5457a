"""The linear family against its formulas, written in dense NumPy."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array, random_array

from tastemaker.component import FitOptions
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import MemoryBudgetError
from tastemaker.inventory import Inventory
from tastemaker.retrieval import BSPM, EASE, SLIM, FeatureEASE, GraphFilter, SparseEASE
from tastemaker.retrieval.linear.gram import SparseGram
from tastemaker.retrieval.linear.slim import _descend
from tastemaker.retrieval.linear.smooth import smoothest
from tastemaker.retrieval.linear.sparse_ease import _solve

Matrix = NDArray[np.float64]
ONE_THREAD = FitOptions(threads=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return SyntheticWorld(users=120, items=60, events=2_500, tastes=4, seed=5).dataset()


@pytest.fixture(scope="module")
def x(data: Dataset) -> Matrix:
    dense: Matrix = data.interactions(reduce="binary").toarray().astype(np.float64)
    return dense


HISTORIES = [[1, 5, 9], [7], [], list(range(0, 60, 3))]
REQUESTS = Requests.of(HISTORIES)


def liked() -> Matrix:
    rows = np.zeros((len(HISTORIES), 60))
    for row, history in enumerate(HISTORIES):
        rows[row, history] = 1
    return rows


def scores_of(model: Any) -> Matrix:
    """Every item's score, by the contract."""
    everything = Ragged.of([np.arange(60, dtype=np.int32)] * len(HISTORIES))
    scores: Matrix = model.score(REQUESTS, everything).reshape(len(HISTORIES), 60)
    return scores


# -- graph filters --------------------------------------------------------------------------------


def normalized(x: Matrix) -> Matrix:
    users, items = x.sum(1, keepdims=True), x.sum(0, keepdims=True)
    rows: Matrix = x / np.sqrt(np.maximum(users, 1)) / np.sqrt(np.maximum(items, 1))
    return rows


def filtered(x: Matrix, factors: int, smoothing: float) -> tuple[Matrix, Matrix]:
    """The results of blurring and of the ideal low-pass filter, with exact vectors."""
    r = normalized(x)
    v = np.linalg.svd(r)[2][:factors].T
    root = np.sqrt(x.sum(0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    return liked() @ r.T @ r, smoothing * (liked() * inverse @ v @ v.T * root)


def test_the_graph_filter_equals_its_formula(data: Dataset, x: Matrix) -> None:
    model = GraphFilter(factors=10, passes=100, smoothing=0.4).fit(data)
    blurred, passed = filtered(x, 10, 0.4)
    np.testing.assert_allclose(scores_of(model), blurred + passed, rtol=1e-3, atol=1e-4)


def test_without_smoothing_no_signals_are_computed(data: Dataset, x: Matrix) -> None:
    model = GraphFilter(smoothing=0.0).fit(data)
    assert not model.blocks.size
    np.testing.assert_allclose(scores_of(model), filtered(x, 10, 0.0)[0], rtol=1e-4, atol=1e-6)


def sharpened(x: Matrix, s: Matrix, time: float, solver: str, steps: int = 1) -> Matrix:
    """The ordinary differential equation ds/dt = −s·P, solved step by step."""
    p = normalized(x).T @ normalized(x)
    h = time / steps
    for _ in range(steps):
        k1 = -s @ p
        if solver == "euler":
            s = s + h * k1
            continue
        k2 = -(s + h / 2 * k1) @ p
        k3 = -(s + h / 2 * k2) @ p
        k4 = -(s + h * k3) @ p
        s = s + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return s


@pytest.mark.parametrize("merge", ["early", "late"])
@pytest.mark.parametrize(("solver", "steps"), [("euler", 1), ("rk4", 1), ("rk4", 3)])
def test_sharpening_solves_its_equation(
    data: Dataset, x: Matrix, solver: str, steps: int, merge: str
) -> None:
    settings = {"factors": 10, "passes": 100, "smoothing": 0.3, "solver": solver, "steps": steps}
    model = BSPM(**settings, merge=merge, sharpening=1.2).fit(data)
    blurred, passed = filtered(x, 10, 0.3)
    early = merge == "early"
    expected = sharpened(x, blurred + early * passed, 1.2, solver, steps) + (not early) * passed
    found = scores_of(model)
    assert np.isnan(found[2]).all(), "an empty history got scores"
    for row in (0, 1, 3):
        np.testing.assert_allclose(found[row], expected[row], rtol=1e-3, atol=1e-4)


def test_many_passes_find_the_strongest_singular_vectors() -> None:
    a = random_array((80, 50), density=0.2, rng=np.random.default_rng(3), format="csr")
    exact = np.linalg.svd(a.toarray())[2][:6].T
    found = smoothest(csr_array(a), 6, 300, ONE_THREAD, "signals")
    np.testing.assert_allclose(found @ found.T, exact @ exact.T, atol=1e-6)


def test_the_number_of_signals_is_limited_by_the_rank() -> None:
    block = np.kron(np.eye(3), np.ones((4, 5)))
    found = smoothest(csr_array(block), 8, 2, ONE_THREAD, "signals")
    assert found.shape == (15, 3)
    np.testing.assert_allclose(found.T @ found, np.eye(3), atol=1e-9)


def test_the_reason_is_the_item_that_shares_most_users(data: Dataset, x: Matrix) -> None:
    model = GraphFilter(factors=10).fit(data)
    p = normalized(x).T @ normalized(x)
    found = model.retrieve(REQUESTS, 5, Inventory.of(data))
    reason, share = model.explain(REQUESTS, found)
    history = HISTORIES[0]
    for place, item in enumerate(found[0]):
        adds = p[history, item]
        assert reason[place] == (history[int(adds.argmax())] if adds.any() else -1)
        np.testing.assert_allclose(share[place], adds.max() / adds.sum(), rtol=1e-4)


# -- SLIM -----------------------------------------------------------------------------------------


def elastic_nets(gram: Matrix, l1: float, l2: float, positive: bool) -> Matrix:
    """Every column's elastic net by proximal gradient steps: ½‖x − Xw‖² + β/2‖w‖² + λ‖w‖₁."""
    weights = np.zeros_like(gram)
    step = 1 / (np.linalg.eigvalsh(gram)[-1] + l2)
    for _ in range(4_000):
        moved = weights - step * (gram @ weights - gram + l2 * weights)
        shrunk = np.maximum(np.abs(moved) - step * l1, 0)
        weights = shrunk * (moved > 0) if positive else shrunk * np.sign(moved)
        np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize(
    ("l1", "l2", "positive"), [(1, 10, True), (0.1, 20, True), (1, 20, False), (8, 10, True)]
)
def test_slim_solves_its_elastic_nets(
    data: Dataset, x: Matrix, l1: float, l2: float, positive: bool
) -> None:
    model = SLIM(l1=l1, l2=l2, positive=positive, tolerance=1e-7, iterations=1_000).fit(data)
    expected = elastic_nets(x.T @ x, l1, l2, positive)
    np.testing.assert_allclose(model.weights.toarray(), expected, atol=1e-4)
    assert model.weights.nnz < 60 * 59
    assert (model.weights.data < 0).any() != positive


def test_slim_respects_the_memory_budget(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.machine.held_bytes", lambda: 0)
    tight = FitOptions(threads=1, memory_budget=16 * 50**2)  # XᵀX fits, 59 × 59 products do not
    with pytest.raises(MemoryBudgetError, match=r"over more than 50 items .* raise 'l1'"):
        SLIM(l1=1e-3, positive=False).fit(data, tight)
    with pytest.raises(MemoryBudgetError, match=r"with 1,\d{3} weights needs .* raise 'l1'"):
        SLIM(l1=1e-3, positive=False, neighbors=20).fit(data, tight)
    assert SLIM(l1=1e-3, positive=False, neighbors=10).fit(data, tight).weights.nnz > 0


def test_slim_can_be_restricted_to_the_nearest_items(data: Dataset, x: Matrix) -> None:
    model = SLIM(l1=0.1, neighbors=7).fit(data)
    gram = x.T @ x
    norm = np.sqrt(np.maximum(np.diag(gram), 1))
    cosine = gram / np.outer(norm, norm)
    np.fill_diagonal(cosine, 0)
    least = np.sort(cosine, axis=0)[-7]
    rows, columns = model.weights.nonzero()
    assert len(rows)
    assert (cosine[rows, columns] >= least[columns] - 1e-6).all()


def test_descent_stops_when_no_weight_changes() -> None:
    inner = np.array([[4.0, 1.0], [1.0, 3.0]])
    weights, rest = np.zeros(2), np.zeros(2)
    _descend(inner, np.array([3.0, 0.5]), weights, rest, 2, 1.0, 1.0, True, 1e-12, 100)
    assert weights.tolist() == [2 / 5, 0]  # (3 − λ) / (4 + β); the other pulls by 0.1 < λ
    np.testing.assert_allclose(rest, [3 - 4 * 0.4, 0.5 - 0.4])


# -- the sparse Gram matrix, SparseEASE -----------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_the_sparse_gram_matrix_is_the_product(data: Dataset, threads: int) -> None:
    users = data.interactions(reduce="log")
    gram = SparseGram.of(users, FitOptions(threads=threads), "it", "less")
    dense = csr_array((gram.values, gram.items, gram.offsets), shape=(60, 60)).toarray()
    assert not dense.diagonal().any()
    np.testing.assert_allclose(
        dense + np.diag(gram.diagonal), (users.T @ users).toarray(), rtol=1e-5
    )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_with_all_neighbours_sparse_ease_equals_ease(data: Dataset, dropout: float) -> None:
    settings = {"regularization": 20.0, "reduce": "log", "dropout": dropout}
    ease = EASE(**settings).fit(data)
    sparse = SparseEASE(**settings, neighbors=1_000).fit(data)
    np.testing.assert_allclose(sparse.weights.toarray(), ease.weights, atol=1e-5)


def test_a_column_is_the_ridge_regression_on_the_neighbours(data: Dataset, x: Matrix) -> None:
    weights = SparseEASE(neighbors=9, regularization=7.0, dropout=0.0).fit(data).weights.toarray()
    gram = x.T @ x
    for item in range(60):
        near = np.flatnonzero(weights[:, item])
        assert len(near) <= 9
        expected = np.linalg.solve(
            gram[np.ix_(near, near)] + 7 * np.eye(len(near)), gram[near, item]
        )
        np.testing.assert_allclose(weights[near, item], expected, rtol=1e-4, atol=1e-6)


def test_the_small_systems_are_solved() -> None:
    random = np.random.default_rng(0)
    some = random.normal(size=(12, 8))
    matrix = some.T @ some + np.eye(8)
    right = random.normal(size=8)
    solved = right.copy()
    _solve(matrix.copy(), solved, 6)
    np.testing.assert_allclose(solved[:6], np.linalg.solve(matrix[:6, :6], right[:6]))


# -- EASE -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_ease_equals_its_formula(data: Dataset, x: Matrix, dropout: float) -> None:
    model = EASE(regularization=15.0, dropout=dropout, reduce="binary").fit(data)
    gram = x.T @ x
    penalty = 15 + dropout / (1 - dropout) * np.diag(gram)
    inverse = np.linalg.inv(gram + np.diag(penalty))
    np.testing.assert_allclose(model.weights, np.eye(60) - inverse / np.diag(inverse), atol=1e-5)


@pytest.mark.parametrize("unliked", [3, 100])
def test_items_without_likes_change_nothing(unliked: int) -> None:
    log = {"user_id": list("aaabbbccc"), "item_id": list("xyzxyzxzz"), "timestamp": range(9)}
    more = {"item_id": [*"xyz", *(f"~{item}" for item in range(unliked))]}
    schema = Schema(kinds={"like": EventKind()})
    alone = Dataset.from_frames(pl.DataFrame(log), schema=schema)
    wide = Dataset.from_frames(pl.DataFrame(log), items=pl.DataFrame(more), schema=schema)
    expected = EASE(regularization=1.0).fit(alone).weights
    found = EASE(regularization=1.0).fit(wide).weights
    np.testing.assert_allclose(found[:3, :3], expected, rtol=1e-6)
    assert not found[3:].any()
    assert not found[:, 3:].any()


def test_the_memory_error_of_ease_suggests_sparse_ease() -> None:
    log = {"user_id": ["a", "b"], "item_id": ["0", "1"], "timestamp": [1, 2]}
    items = pl.DataFrame({"item_id": [str(item) for item in range(200_000)]})
    schema = Schema(kinds={"like": EventKind()})
    dataset = Dataset.from_frames(pl.DataFrame(log), items=items, schema=schema)
    with pytest.raises(MemoryBudgetError, match=r"200,000 items needs .* use SparseEASE"):
        EASE().fit(dataset, FitOptions(memory_budget=16 << 30))


# -- FeatureEASE ----------------------------------------------------------------------------------

TAGGED = Schema(kinds={"like": EventKind()}, item_roles={"genre": ColumnRole(role="category")})


def tagged(n_items: int) -> Dataset:
    """30 users and items in three genres; item i is of the genre i mod 3."""
    random = np.random.default_rng(2)
    pairs = [
        (u, i) for u in range(30) for i in range(12) if random.random() < (0.7, 0.2)[u % 3 != i % 3]
    ]
    log = {
        "user_id": [f"u{u:02}" for u, _ in pairs],
        "item_id": [f"i{i:02}" for _, i in pairs],
        "timestamp": range(len(pairs)),
    }
    items = {
        "item_id": [f"i{i:02}" for i in range(n_items)],
        "genre": [f"g{i % 3}" for i in range(n_items)],
    }
    return Dataset.from_frames(pl.DataFrame(log), items=pl.DataFrame(items), schema=TAGGED)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_new_item_has_the_weights_of_a_fitted_one(dropout: float) -> None:
    settings = {"regularization": 5.0, "feature_weight": 4.0, "dropout": dropout}
    whole, early = tagged(13), tagged(12)
    extended = (
        FeatureEASE(**settings)
        .fit(early)
        .with_items(early.catalogue.extended(["i12"], {"genre": [["g0"]]}))
    )
    assert extended.n_items == 13
    x = np.zeros((30, 13))
    x[:, :12] = early.interactions(reduce="binary").toarray()[:, :12]
    contents = extended._contents().toarray()
    contents = np.vstack([contents, contents[0]])
    gram = x.T @ x + 16 * contents @ contents.T
    dropped = dropout / (1 - dropout) * np.diag(np.diag(gram))
    inverse = np.linalg.inv(gram + dropped + 5 * np.eye(13))
    b = np.eye(13) - inverse / np.diag(inverse)
    np.testing.assert_allclose(extended.added_columns[:, 0], b[:12, 12], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(extended.added_rows[0], b[12, :12], rtol=1e-3, atol=1e-5)
    fitted = FeatureEASE(**settings).fit(whole)
    requests = Requests.of([[0, 3], [12], [12, 5]])
    everything = Ragged.of([np.arange(13, dtype=np.int32)] * 3)
    one = extended.score(requests, everything).reshape(3, 13)
    other = fitted.score(requests, everything).reshape(3, 13)
    np.testing.assert_allclose(one[:, 12], other[:, 12], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-3, atol=1e-5)


def test_a_new_item_is_similar_to_items_of_its_genre() -> None:
    early = tagged(12)
    catalogue = early.catalogue.extended(["i12", "i13"], {"genre": [["g0"], ["g1"]]})
    extended = FeatureEASE(regularization=5.0).fit(early).with_items(catalogue)
    right = np.array([12, 13], np.int32)
    of_first_genre = extended.similarity(np.array([0, 0], np.int32), right)
    of_second_genre = extended.similarity(np.array([1, 1], np.int32), right)
    assert of_first_genre[0] > of_first_genre[1]
    assert of_second_genre[1] > of_second_genre[0]


def test_without_contents_feature_ease_equals_ease(data: Dataset) -> None:
    plain = Dataset(
        type(data.catalogue)(data.catalogue.items, {}), data.users, data.events, data.kinds
    )
    one = FeatureEASE(regularization=20.0).fit(plain)
    other = EASE(regularization=20.0).fit(plain)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)
