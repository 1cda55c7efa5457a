"""Graph models: kernels against slow twins, hand-computed results, and data with tastes."""

from itertools import combinations
from zlib import crc32

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.component import FitOptions, Retriever
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.item_similarity import attribute_similarity
from tastemaker.data.ragged import Ragged
from tastemaker.data.requests import Requests
from tastemaker.data.sample import load_sample
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.errors import MemoryBudgetError, SettingError
from tastemaker.evaluation import evaluate
from tastemaker.features import FeatureSet
from tastemaker.features.similarity import Similarity
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.reranking import MMR
from tastemaker.retrieval import CooccurrenceGraph, Item2Vec, ItemKNN, Node2Vec, Propagation
from tastemaker.retrieval.graph import item2vec, node2vec, skip_gram
from tastemaker.retrieval.graph.cooccurrence_graph import capped
from tastemaker.retrieval.graph.item2vec import likes_in_order, thinned
from tastemaker.retrieval.graph.node2vec import Node2VecConfig, walks
from tastemaker.retrieval.graph.propagation import scaled
from tastemaker.retrieval.graph.skip_gram import SkipGram, SkipGramSettings, _AliasTables, _ascend
from tastemaker.retrieval.graph.streams import below, mixed, next_state, uniform
from tastemaker.split import by_time

ONE_THREAD, THREE_THREADS = FitOptions(threads=1), FitOptions(threads=3)


@pytest.fixture(scope="module")
def synthetic() -> SyntheticWorld:
    return SyntheticWorld(users=150, items=60, events=4_000, tastes=4, concentration=0.05, seed=5)


@pytest.fixture(scope="module")
def data(synthetic: SyntheticWorld) -> Dataset:
    return synthetic.dataset()


@pytest.fixture
def always_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (skip_gram, item2vec, node2vec):
        monkeypatch.setattr(module, "WORTH_THREADS", 0)


def log_of(likes: list[list[int]]) -> Dataset:
    rows = [(f"user-{u:03}", f"item-{i:05}") for u, items in enumerate(likes) for i in items]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row")
    return Dataset.from_frames(frame, schema=Schema(kinds={"like": EventKind()}, clock="none"))


def tastes_of(data: Dataset) -> NDArray[np.int64]:
    """The taste of each item, from its id: item `i7` has taste 7 mod 4."""
    ids = data.catalogue.items.ids(range(len(data.catalogue)))
    return np.array([int(id_[1:]) % 4 for id_ in ids])


def share_of_taste(model: Retriever, data: Dataset) -> float:
    """The share of the five most similar items with the same taste; by chance a quarter."""
    taste = tastes_of(data)
    liked = np.flatnonzero(np.bincount(data.events.item) > 5).astype(np.int32)
    found: Candidates = model.similar(liked, 5, Inventory.of(data))  # type: ignore[attr-defined]
    return float((taste[found.item] == taste[liked][found.rows]).mean())


# -- the graph ------------------------------------------------------------------------------------


def test_an_edge_is_the_number_of_users_who_like_both() -> None:
    graph = CooccurrenceGraph(degree_exponent=0, activity_exponent=0).fit(
        log_of([[0, 1, 2], [0, 1], [1, 2, 2], [3]])
    )
    expected = [[0, 2, 1, 0], [2, 0, 2, 0], [1, 2, 0, 0], [0, 0, 0, 0]]
    assert graph.weights.toarray().tolist() == expected


def test_edges_equal_their_formula(data: Dataset) -> None:
    graph = CooccurrenceGraph(
        degree_exponent=0.3, activity_exponent=0.7, min_users=3, max_items=10_000, neighbors=60
    ).fit(data)
    liked = data.interactions(reduce="binary").toarray().astype(np.float64)
    per_user, per_item = liked.sum(axis=1), liked.sum(axis=0)
    weighted = liked / np.maximum(per_user, 1)[:, None] ** 0.7
    expected = (liked.T @ weighted) / np.maximum(np.outer(per_item, per_item), 1) ** 0.3
    expected[liked.T @ liked < 3] = 0
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(graph.weights.toarray(), expected, rtol=1e-4)


def test_a_user_of_ten_thousand_items_is_capped() -> None:
    busy = log_of([list(range(10_000)), [1, 2], [2, 1]])
    counts = {"degree_exponent": 0, "activity_exponent": 0}
    graph = CooccurrenceGraph(max_items=50, neighbors=49, **counts).fit(busy)
    assert graph.weights.nnz <= 50 * 49 + 2
    assert graph.weights[[1], [2]][0] >= 2
    rows = capped(busy, 50)
    assert np.diff(rows.indptr).tolist() == [50, 2, 2]
    places = rows.indices[:50]
    assert 2_000 < places.mean() < 8_000, "the sample of a user is not spread over all items"


def test_the_items_of_smallest_hash_are_sampled() -> None:
    rows = capped(log_of([list(range(0, 300, 3)), list(range(300))]), 7)
    for user, liked in enumerate((range(0, 300, 3), range(300))):
        stream = np.uint64(mixed(np.uint64(crc32(f"user-{user:03}".encode())), 0))
        first = sorted(liked, key=lambda item, s=stream: mixed(s, item))[:7]
        drawn = rows.indices[rows.indptr[user] : rows.indptr[user + 1]]
        assert sorted(drawn.tolist()) == sorted(first)


def test_an_item_with_one_user_replaced_is_learned_again() -> None:
    """Its number of sampled users is unchanged; only the set of users shows the change."""
    everything = list(range(50))  # liked by one user, so that both logs have the same items

    def log(of_busy: list[int], of_other: list[int]) -> Dataset:
        return log_of([of_busy, of_other, everything])

    def drawn(of_busy: list[int]) -> set[int]:
        return set(capped(log(of_busy, [40]), 3).indices[:3].tolist())

    busy = list(range(5))
    more = next([*busy, new] for new in range(5, 30) if new in drawn([*busy, new]))
    (lost,) = drawn(busy) - drawn(more)
    before, after = log(busy, [40]), log(more, [lost, 40])
    graph = CooccurrenceGraph(max_items=3, activity_exponent=0).fit(before)
    updated = graph.update(after)
    assert updated.weights[[40], [lost]][0] > 0
    fitted = CooccurrenceGraph(max_items=3, activity_exponent=0).fit(after)
    assert np.array_equal(updated.weights.toarray(), fitted.weights.toarray())


def test_one_more_like_changes_at_most_one_sampled_item() -> None:
    before = capped(log_of([list(range(0, 400, 2)), list(range(400))]), 20)
    after = capped(log_of([[*range(0, 400, 2), 1], list(range(400))]), 20)
    assert len(set(before.indices[:20]) - set(after.indices[:20])) <= 1
    assert np.array_equal(before.indices[20:], after.indices[20:])


def test_a_graph_too_large_is_refused() -> None:
    with pytest.raises(MemoryBudgetError, match="neighbors"):
        CooccurrenceGraph().fit(log_of([[0, 1]]), FitOptions(memory_budget=1))


# -- skip-gram ------------------------------------------------------------------------------------


def test_streams_are_uniform_and_independent() -> None:
    states = [np.uint64(mixed(np.uint64(3), n)) for n in range(2_000)]
    drawn = np.array([uniform(np.uint64(next_state(state))) for state in states])
    assert abs(drawn.mean() - 0.5) < 0.03
    assert len(np.unique(drawn)) == len(drawn)
    tens = np.bincount([below(np.uint64(next_state(state)), 10) for state in states], minlength=10)
    assert tens.min() > 120
    assert len(tens) == 10


@pytest.mark.parametrize("exponent", [0.75, -0.5])
def test_negatives_are_drawn_by_their_weight(exponent: float) -> None:
    counts = np.array([50, 7, 0, 1, 300, 20, 20, 3, 9, 4, 2, 1, 8, 600, 5, 6, 2, 30])
    draw = _AliasTables.of(counts, exponent)
    assert draw.part[2] == -1
    for part in range(len(draw.offsets) - 1):
        some = slice(draw.offsets[part], draw.offsets[part + 1])
        items, accept, other = draw.items[some], draw.accept[some], draw.other[some]
        assert (draw.part[items] == part).all()
        chance = np.bincount(items, accept, len(counts))
        chance += np.bincount(other, 1 - accept, len(counts))
        expected = counts[items].astype(float) ** exponent
        np.testing.assert_allclose(chance[items] / len(items), expected / expected.sum())
    assert sorted(draw.items.tolist()) == [i for i in range(len(counts)) if i != 2]


@pytest.mark.parametrize("window", [1, 3, 50])
def test_all_pairs_in_the_window_are_sorted_by_parts(window: int) -> None:
    random = np.random.default_rng(4)
    rows = [random.integers(-1, 30, random.integers(0, 12)).tolist() for _ in range(40)]
    sequences = Ragged.of(rows)
    model = SkipGram(np.arange(1, 31), SkipGramSettings(factors=4, window=window), ONE_THREAD)
    seed = np.uint64(9)
    offsets, centres, contexts = model._pairs(sequences, 5, 40, seed, 2)
    expected: list[tuple[int, int]] = []
    for row in range(5, 40):
        state = mixed(seed, row)
        for place, centre in enumerate(rows[row]):
            state = next_state(np.uint64(state))
            reach = 1 + below(np.uint64(state), window)
            near = [p for p in range(len(rows[row])) if 0 < abs(p - place) <= reach]
            pairs = [(centre, rows[row][p]) for p in near]
            expected += [(c, o) for c, o in pairs if min(c, o) >= 0 and c != o]
    assert sorted(zip(centres.tolist(), contexts.tolist())) == sorted(expected)
    part = model._tables.part
    both = part[centres] * 8 + part[contexts]
    assert np.array_equal(np.searchsorted(both, np.arange(65)), offsets)


def test_a_step_follows_the_gradient() -> None:
    random = np.random.default_rng(2)
    v, u = (random.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
    centres, contexts = np.array([0, 1, 0], np.int32), np.array([2, 3, 4], np.int32)
    items = np.array([2, 3, 4, 5], np.int32)
    accept, other = np.array([1.0, 0.5, 1.0, 0.2]), np.array([2, 5, 4, 3], np.int32)
    expected_v, expected_u = v.astype(np.float64), u.astype(np.float64)
    state = seed = np.uint64(77)
    for centre, context in zip(centres, contexts):
        targets = [(int(context), 1.0)]
        for _ in range(3):
            state = np.uint64(next_state(state))
            place = below(state, 4)
            state = np.uint64(next_state(state))
            drawn = items[place] if uniform(state) < accept[place] else other[place]
            targets += [(int(drawn), 0.0)] if drawn not in (centre, context) else []
        step = np.zeros(5)
        for target, label in targets:
            sigmoid = 1 / (1 + np.exp(-expected_v[centre] @ expected_u[target]))
            gain = 0.1 * (label - sigmoid)
            step += gain * expected_u[target]
            expected_u[target] += gain * expected_v[centre]
        expected_v[centre] += step
    _ascend(centres, contexts, v, u, items, accept, other, 3, np.float32(0.1), seed)
    np.testing.assert_allclose(v, expected_v, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(u, expected_u, rtol=1e-5, atol=1e-6)


# -- Item2Vec -------------------------------------------------------------------------------------


def test_histories_are_distinct_likes_in_their_order(data: Dataset) -> None:
    found, events = likes_in_order(data), data.events
    for user in range(0, 150, 10):
        rows = range(events.offsets[user], events.offsets[user + 1])
        liked = [int(events.item[row]) for row in rows if events.weight[row] > 0]
        assert found[user].tolist() == list(dict.fromkeys(liked))


def test_frequent_items_are_subsampled() -> None:
    sequences = Ragged.of([[0, 1, 2]] * 4_000)
    keep = np.array([1.0, 0.25, 1.0])
    in_order = thinned(sequences, keep, False, np.uint64(1), 2)
    assert abs((in_order.values == 1).sum() - 1_000) < 100
    assert all(row.tolist() in ([0, 2], [0, 1, 2]) for row in map(in_order.__getitem__, range(50)))
    shuffled = thinned(sequences, keep, True, np.uint64(1), 2)
    assert np.array_equal(shuffled.counts, in_order.counts)
    firsts = np.bincount(shuffled.values[shuffled.offsets[:-1]], minlength=3)
    assert abs(firsts[0] - firsts[2]) < 200
    assert not thinned(Ragged.of([[1]]), np.ones(3), False, np.uint64(1), 1).values.size


@pytest.mark.parametrize("order", ["set", "time"])
def test_neighbours_by_item2vec_share_a_taste(data: Dataset, order: str) -> None:
    model = Item2Vec(factors=16, epochs=15, order=order, negative_exponent=0.5).fit(data)
    assert share_of_taste(model, data) > 0.7


def test_neighbours_of_a_film_share_genres_above_chance() -> None:
    events, items = load_sample()
    data = Dataset.from_frames(events, items=items)
    model = Item2Vec(factors=32, epochs=4, window=5).fit(data)
    liked = np.bincount(data.events.item[data.events.weight > 0], minlength=model.n_fitted)
    known = np.flatnonzero(liked >= 20).astype(np.int32)
    found = model.similar(known, 10, Inventory.of(data))
    shared = attribute_similarity(data.catalogue, known[found.rows], found.item).mean()
    anyone = np.random.default_rng(0).permutation(found.item)
    by_chance = attribute_similarity(data.catalogue, known[found.rows], anyone).mean()
    assert shared > 1.25 * by_chance


# -- Node2Vec -------------------------------------------------------------------------------------


def two_communities(size: int = 12) -> csr_array:
    """Two cliques with one edge between them."""
    edges = [pair for c in (0, size) for pair in combinations(range(c, c + size), 2)]
    left, right = np.array([*edges, (0, size)]).T
    ones = np.ones(2 * len(left), np.float32)
    both = (np.concatenate([left, right]), np.concatenate([right, left]))
    return csr_array((ones, both), shape=(2 * size, 2 * size))


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0)])
def test_walks_step_with_the_probabilities_of_the_paper(p: float, q: float) -> None:
    """A diamond with a tail: 0–1, 0–2, 1–2, 1–3, 3–4; tests the step after 0 → 1."""
    dense = np.zeros((5, 5), np.float32)
    for one, other, weight in [(0, 1, 1), (0, 2, 2), (1, 2, 3), (1, 3, 1), (3, 4, 1)]:
        dense[one, other] = dense[other, one] = weight
    config = Node2VecConfig(walk_length=3, p=p, q=q)
    starts = np.zeros(40_000, np.int32)
    walked = walks(csr_array(dense), starts, config, np.uint64(8), 2).values.reshape(-1, 3)
    assert (walked[:, 0] == 0).all()
    assert abs((walked[:, 1] == 2).mean() - 2 / 3) < 0.02
    onward = walked[walked[:, 1] == 1, 2]
    weights = np.array([1 / p, 0, 3, 1 / q, 0])
    share = np.bincount(onward, minlength=5) / len(onward)
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.02)


def test_a_learning_rate_that_diverges_is_refused(data: Dataset) -> None:
    with pytest.raises(SettingError, match=r"'learning_rate' 1e\+12 is too high"):
        Item2Vec(factors=4, epochs=1, learning_rate=1e12).fit(data)


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0)])
def test_walks_on_two_communities_separate_them(p: float, q: float) -> None:
    """Each pair of a community is liked by a user; one user likes an item of both."""
    pairs = [list(pair) for c in (0, 12) for pair in combinations(range(c, c + 12), 2)]
    likes = log_of([*pairs, [0, 12]])
    settings = {"factors": 16, "walk_length": 20, "walks": 5, "window": 4, "p": p, "q": q}
    model = Node2Vec(**settings).fit(likes)
    left, right = (side.ravel().astype(np.int32) for side in np.indices((24, 24)))
    similarity = model.similarity(left, right).reshape(24, 24)
    same = (left // 12 == right // 12).reshape(24, 24)
    np.fill_diagonal(similarity, np.nan)
    assert np.nanmin(similarity[:12, :12][1:, 1:]) > np.nanmax(similarity[1:12, 13:])
    assert np.nanmean(similarity[same]) > np.nanmean(similarity[~same]) + 1


def test_an_item_without_an_edge_is_never_found() -> None:
    model = Node2Vec(factors=4, walks=2, walk_length=5).fit(log_of([[0, 1], [0, 1], [2]]))
    assert not model.vectors[2].any()
    assert model.vectors[:2].any(axis=1).all()


# -- propagation ----------------------------------------------------------------------------------


def test_propagation_keeps_the_smoothest_directions(data: Dataset) -> None:
    model = Propagation(factors=3, rounds=12, user_exponent=0.3).fit(data, ONE_THREAD)
    liked = data.interactions(reduce="binary")
    users = np.bincount(liked.indices, minlength=60)
    there = scaled(liked, users, 0.3, 0.5).toarray().astype(np.float64)
    leading = np.linalg.svd(there)[2][:3].T
    unit = leading / np.maximum(np.linalg.norm(leading, axis=1, keepdims=True), 1e-12)
    left, right = (side.ravel().astype(np.int32) for side in np.indices((60, 60)))
    expected = (unit @ unit.T)[left, right] * (users[left] > 0) * (users[right] > 0)
    np.testing.assert_allclose(model.similarity(left, right), expected, atol=2e-3)


def test_likes_are_divided_by_both_degrees() -> None:
    liked = csr_array(np.array([[1, 1, 0], [1, 0, 0]], np.float32))
    found = scaled(liked, np.array([2, 1, 0]), 0.5, 1.0).toarray()
    np.testing.assert_allclose(found, [[0.5 / 2**0.5, 1 / 2**0.5, 0], [0.5, 0, 0]], rtol=1e-6)


def test_neighbours_by_propagation_share_a_taste(data: Dataset) -> None:
    assert share_of_taste(Propagation(factors=4).fit(data), data) > 0.7


def test_neighbours_share_a_taste_with_more_factors_than_items(data: Dataset) -> None:
    """With as many directions as items, all items are orthogonal."""
    assert share_of_taste(Propagation(factors=256).fit(data), data) > 0.7


def test_a_walk_that_would_rarely_continue_is_refused() -> None:
    for setting in ("p", "q"):
        with pytest.raises(SettingError, match=f"'{setting}'"):
            Node2Vec(**{setting: 1e-9})


# -- all of them ----------------------------------------------------------------------------------

MODELS: list[Retriever] = [
    CooccurrenceGraph(max_items=15),
    Item2Vec(factors=8, epochs=2),
    Node2Vec(factors=8, walks=2, walk_length=20),
    Propagation(factors=8),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.usefixtures("always_threads")
def test_results_do_not_depend_on_the_thread_count(model: Retriever, data: Dataset) -> None:
    requests = Requests.of([[1, 5, 9], [0, 2, 30]])
    one = model.fit(data, ONE_THREAD).retrieve(requests, 10, Inventory.of(data))
    three = model.fit(data, THREE_THREADS).retrieve(requests, 10, Inventory.of(data))
    assert np.array_equal(one.item, three.item)
    assert np.array_equal(one.score, three.score)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_similarity_is_usable_as_a_feature_and_by_mmr(model: Retriever, data: Dataset) -> None:
    inventory, requests = Inventory.of(data), Requests.of([[1, 5, 9]])
    model.fit(data)
    found = ItemKNN().fit(data).retrieve(requests, 20, inventory)
    sources = {model.name: model}
    features = FeatureSet([Similarity(model.name)]).build(requests, found, inventory, sources)
    assert np.isfinite(features.values).all()
    assert features.values.std() > 0
    varied = MMR(relevance=0.3, space=model.name).rerank(requests, found, 10, inventory, sources)
    assert varied.candidates[0].tolist() != found[0][:10].tolist()


def test_a_graph_can_be_a_source_of_a_blend(data: Dataset) -> None:
    sources = {"graph": CooccurrenceGraph(neighbors=20), "smooth": Propagation(factors=4)}
    placement = Placement(retrievers=dict.fromkeys(sources, 10))
    recommender = Recommender(sources, {"home": placement})
    funnel = evaluate(recommender, by_time(data, test=0.2)).funnel
    by_source = {row.source: row for row in funnel if row.source}
    assert by_source.keys() == {"graph", "smooth"}
    assert all(0 < row.recall < 1 and row.found > 0 for row in by_source.values())
