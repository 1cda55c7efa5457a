"""The split into likes and dislikes, and the effect of dislikes on scores."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tastemaker.component import FitOptions
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.retrieval import ALS, EASE, ItemKNN, Propagation, UserKNN
from tastemaker.retrieval.connected import ConnectedItems
from tastemaker.retrieval.opinions import Opinions
from tastemaker.testing.small import OPTIONS, small_dataset, small_inventory

N_ITEMS = 40

weights = st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.0])
events = st.lists(st.tuples(st.integers(-1, 5), weights), max_size=12)


def requests_of(rows: list[list[tuple[int, float]]]) -> Requests:
    items = [[item for item, _ in row] for row in rows]
    weights = [[weight for _, weight in row] for row in rows]
    return Requests.of(items, weights=weights, exclude=[[]] * len(rows))


def resolved(row: list[tuple[int, float]]) -> list[float]:
    """The slow twin: for each item, keeps only the sign with the larger total."""
    signed = []
    for item, weight in row:
        against = any(w < 0 for i, w in row if i == item)
        total = sum(w for i, w in row if i == item)
        sign = 1 if total > 0 or not against else -1
        signed.append(weight if weight * sign > 0 else 0.0)
    return signed


@given(st.lists(events, min_size=1, max_size=4))
def test_the_larger_total_decides_the_sign_of_an_item(rows: list[list[tuple[int, float]]]) -> None:
    requests = requests_of(rows)
    opinions = Opinions.of(requests, 0.5)
    if (requests.history.weight < 0).any():
        likes = [max(weight, 0) for row in rows for weight in resolved(row)]
        assert opinions.likes.history.weight.tolist() == likes
    with_dislikes = [any(w < 0 and i >= 0 for (i, _), w in zip(row, resolved(row))) for row in rows]
    assert opinions.rows.tolist() == np.flatnonzero(with_dislikes).tolist()
    if opinions.dislikes is not None:
        of_rows = [max(-w, 0) for row in opinions.rows for w in resolved(rows[row])]
        assert opinions.dislikes.history.weight.tolist() == of_rows


def test_a_viewed_and_disliked_item_is_not_a_like() -> None:
    opinions = Opinions.of(requests_of([[(4, 1.0), (4, -1.0), (7, 1.0)]]), 0.5)
    assert opinions.likes.history.weight.tolist() == [0, 0, 1]
    assert opinions.dislikes is not None
    assert opinions.dislikes.history.weight.tolist() == [0, 1, 0]


def test_one_skip_does_not_outweigh_many_plays() -> None:
    opinions = Opinions.of(requests_of([[(4, 1.0), (4, 1.0), (4, -1.0)]]), 0.5)
    assert opinions.likes.history.weight.tolist() == [1, 1, 0]
    assert opinions.dislikes is None


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_without_a_dislike_requests_stay_as_they_are(weight: float) -> None:
    requests = requests_of([[(1, 1.0), (2, 0.0)], [(3, 2.0)]])
    assert Opinions.of(requests, weight).likes is requests


def test_the_share_is_of_dislikes_among_likes_at_most_one() -> None:
    rows = [[(1, 1.0), (2, 1.0), (3, -1.0)], [(4, 1.0)], [(5, -1.0)]]
    opinions = Opinions.of(requests_of(rows), 0.5)
    assert opinions.rows.tolist() == [0, 2]
    assert opinions.share.tolist() == [0.5, 1]


def test_dislikes_subtract_the_score_of_likes() -> None:
    fitted = ItemKNN(dislike_weight=0.4, shrinkage=0.0).fit(small_dataset(), OPTIONS)
    every = Ragged.of([range(fitted.n_fitted)])
    both = fitted.score(requests_of([[(3, 1.0), (5, 1.0), (8, -1.0), (9, -1.0)]]), every)
    likes = fitted.score(requests_of([[(3, 1.0), (5, 1.0)]]), every)
    dislikes = fitted.score(requests_of([[(8, 1.0), (9, 1.0)]]), every)
    np.testing.assert_allclose(both, likes - np.float32(0.4) * dislikes, rtol=1e-5, atol=1e-7)


def test_dislikes_with_negative_weights_raise_no_score() -> None:
    fitted = EASE(regularization=20.0, dislike_weight=1.0).fit(small_dataset(), OPTIONS)
    assert (fitted.weights[8] < 0).any()
    every = Ragged.of([range(fitted.n_fitted)])
    likes = fitted.score(requests_of([[(3, 1.0)]]), every)
    both = fitted.score(requests_of([[(3, 1.0), (8, -1.0)]]), every)
    assert (both <= likes).all()


def test_a_dislike_counts_less_among_many_likes() -> None:
    fitted = UserKNN(neighbors=20).fit(small_dataset(), OPTIONS)
    few, many = [(3, 1.0)], [(item, 1.0) for item in range(20)]
    every = Ragged.of([range(fitted.n_fitted)])
    loss = []
    for likes in (few, many):
        before = fitted.score(requests_of([likes]), every)
        loss.append((before - fitted.score(requests_of([[*likes, (30, -1.0)]]), every)).max())
    assert loss[1] < 0.1 * loss[0]


@pytest.mark.parametrize("model", [ALS(factors=16), Propagation(factors=8), EASE()])
def test_with_weight_zero_only_the_item_is_left_out(model: ALS | Propagation | EASE) -> None:
    settings = {**model.config.model_dump(), "dislike_weight": 0.0}
    fitted = type(model)(**settings).fit(small_dataset(), OPTIONS)
    likes = replace(Requests.of([[3, 5]]), exclude=Ragged.of([[3, 5, 8]]))
    both = Requests.of([[3, 5, 8]], weights=[[1.0, 1.0, -1.0]])
    one, other = (fitted.retrieve(requests, 50, small_inventory()) for requests in (likes, both))
    assert one.item.tolist() == other.item.tolist()
    assert one.score.tolist() == other.score.tolist()


# -- models of vectors ----------------------------------------------------------------------------


def fitted_vectors(seed: int, *, groups: int, dislike_weight: float) -> Propagation:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(N_ITEMS, 4)).astype(np.float32)
    groups_of = random.integers(-1, groups, N_ITEMS).astype(np.int32)
    connected = ConnectedItems(groups_of) if groups > 1 else ConnectedItems.whole(N_ITEMS)
    users = random.integers(1, 20, N_ITEMS)
    model = Propagation(dislike_weight=dislike_weight)
    return model._take(vectors, users, FitOptions(threads=1), connected)


def some_requests(seed: int) -> Requests:
    random = np.random.default_rng(seed)
    rows = [
        [(int(item), float(random.choice([-1.0, -1.0, 1.0, 1.0, 2.0]))) for item in some]
        for some in (
            random.choice(N_ITEMS, random.integers(0, 9), replace=False) for _ in range(15)
        )
    ]
    return requests_of(rows)


@pytest.mark.parametrize("n", [0, 1, 3, 10, N_ITEMS, 1_000])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_lowered_lists_equal_those_of_all_scores(seed: int, groups: int, n: int) -> None:
    fitted = fitted_vectors(seed, groups=groups, dislike_weight=0.8)
    requests = some_requests(seed + 100)
    every = Ragged.of([range(N_ITEMS)] * len(requests))
    scores = fitted.score(requests, every).reshape(len(requests), N_ITEMS)
    found = fitted.retrieve(requests, n, small_inventory())
    for row in range(len(requests)):
        expected = best(scores[row], n)
        assert found[row].tolist() == expected
        stretch = slice(found.offsets[row], found.offsets[row + 1])
        assert found.score[stretch].tolist() == scores[row, expected].tolist()


def best(scores: NDArray[np.float32], n: int) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    return order[scores[order] > 0][:n].tolist()


def test_lowered_lists_do_not_depend_on_the_batch() -> None:
    fitted = fitted_vectors(1, groups=3, dislike_weight=0.8)
    requests = some_requests(7)
    batch = fitted.retrieve(requests, 5, small_inventory())
    for row in range(len(requests)):
        alone = fitted.retrieve(requests.take(np.array([row])), 5, small_inventory())
        assert np.array_equal(alone.item, batch[row])
        assert np.array_equal(alone.score, batch.take(np.array([row])).score)
