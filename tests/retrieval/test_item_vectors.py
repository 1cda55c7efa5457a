"""Models with one vector per item, on hand-computed vectors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import FitOptions
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.retrieval import Propagation
from tastemaker.retrieval.cosine import _cosines, _products
from tastemaker.retrieval.item_vectors import _means, _weigh_events
from tastemaker.testing.small import small_inventory

VECTORS = np.array([[3, 4], [2, 0], [0, 1], [0, 0], [-1, 0]], np.float32)
USERS = np.array([4, 16, 1, 0, 9])


def model(popularity: float = 0.0, half_life: float | None = None) -> Propagation:
    return Propagation(popularity=popularity, half_life=half_life)._take(
        VECTORS, USERS, FitOptions(threads=1)
    )


def test_vectors_have_length_one_or_zero_if_unknown() -> None:
    fitted = model()
    np.testing.assert_allclose(fitted.vectors, [[0.6, 0.8], [1, 0], [0, 1], [0, 0], [-1, 0]])
    np.testing.assert_allclose(fitted.norms, [1, 1, 1, 0, 1])


def test_a_request_vector_is_the_mean_of_its_likes() -> None:
    requests = Requests.of([[1, 2], [1, 1, 2], [], [3], [-1, 9, 2]])
    expected = [[0.5, 0.5], [2 / 3, 1 / 3], [0, 0], [0, 0], [0, 1]]
    np.testing.assert_allclose(model().request_vectors(requests), expected, rtol=1e-6)


def test_likes_are_weighted_by_the_log_of_their_weight() -> None:
    requests = Requests.of([[1, 2, 4]], weights=[[1.0, 3.0, -1.0]])
    np.testing.assert_allclose(model().request_vectors(requests), [[1 / 3, 2 / 3]], rtol=1e-6)


def test_older_likes_count_less() -> None:
    requests = Requests.of([[1, 4, 2]], weights=[[1.0, -1.0, 1.0]])
    x = model(half_life=1).request_vectors(requests)
    np.testing.assert_allclose(x, [[1 / 3, 2 / 3]], rtol=1e-6)


def test_candidates_are_ranked_by_cosine_and_popularity() -> None:
    requests = replace(Requests.of([[1, 2]]), exclude=Ragged.of([[]]))
    plain = model().retrieve(requests, 5, small_inventory())
    assert plain[0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(plain.score, [0.7, 0.5, 0.5], rtol=1e-6)
    popular = model(popularity=0.5).retrieve(requests, 5, small_inventory())
    assert popular[0].tolist() == [1, 0, 2]
    np.testing.assert_allclose(popular.score, [0.5, 0.35, 0.125], rtol=1e-6)


def test_the_nearest_item_of_the_history_is_the_reason() -> None:
    fitted = model()
    requests = Requests.of([[4, 1, 2]])
    found = fitted.retrieve(requests, 1, small_inventory())
    reason, share = fitted.explain(requests, found)
    assert (found[0].tolist(), reason.tolist()) == ([0], [2])
    assert share[0] == pytest.approx(0.8 / 1.4)


def test_items_are_compared_by_cosine() -> None:
    left, right = np.array([0, 0, 1, 3], np.int32), np.array([1, 2, 4, 3], np.int32)
    np.testing.assert_allclose(model().similarity(left, right), [0.6, 0.8, -1, 0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "approximate"])
def test_every_index_gives_the_scores_it_ranks_by(kind: str) -> None:
    requests = replace(Requests.of([[1, 2]]), exclude=Ragged.of([[]]))
    settings = {"popularity": 0.5, "index": kind}
    fitted = Propagation(**settings)._take(VECTORS, USERS, FitOptions(threads=1))
    found, exact = fitted.retrieve(requests, 5, small_inventory()), model(popularity=0.5)
    assert np.array_equal(found.item, exact.retrieve(requests, 5, small_inventory()).item)
    assert np.array_equal(fitted.score(requests, Ragged(found.offsets, found.item)), found.score)


def test_a_loaded_model_needs_no_compilation(tmp_path: Path) -> None:
    made, requests = model(popularity=0.25, half_life=5), Requests.of([[1, 2]])

    def answers(some: Propagation) -> list[list[float]]:
        found = some.retrieve(requests, 3, small_inventory())
        scores = some.score(requests, Ragged(found.offsets, found.item))
        return [scores.tolist(), some.similarity(found.item, found.item[::-1]).tolist()]

    before, kernels = answers(made), (_weigh_events, _means, _products, _cosines)
    compiled = [len(kernel.signatures) for kernel in kernels]
    with create_artifact(tmp_path / "v1", "test", {}) as writer:
        made.save(writer)
    loaded = made.clone().load(open_artifact(tmp_path / "v1", "test")[0])
    assert answers(loaded) == before
    assert [len(kernel.signatures) for kernel in kernels] == compiled
