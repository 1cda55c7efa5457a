"""Weights and quotas of sources are learned from the relevant items of past requests."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tastemaker.component import FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.ragged import Ragged, offsets_of
from tastemaker.data.schema import EventKind, Schema
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.metrics import gains_of
from tastemaker.metrics import ndcg as reference
from tastemaker.pipeline import Recommender
from tastemaker.pipeline.fusion import (
    LEAST_WEIGHT,
    Fusion,
    FusionData,
    is_better,
    learn_fusion,
    ndcg,
)
from tastemaker.pipeline.merge import merge
from tastemaker.project import Placement, Training
from tastemaker.retrieval import EASE, Popular, Trending

OPTIONS = FitOptions(seed=1, threads=1)
HOME = Placement(retrievers=("a", "b"), candidates=100)
N_ITEMS = 40


def fusion_data(
    orders: Sequence[Sequence[Sequence[int]]], relevant: Sequence[Sequence[int]]
) -> FusionData:
    """The data of two sources: `orders[source][request]` is a list of items, best first."""
    ranks, hits, counts = [], [], []
    relevant_ranks = []
    for request, relevant_items in enumerate(relevant):
        items = sorted({item for source in orders for item in source[request]})
        counts.append(len(items))
        for item in items:
            hits.append(item in relevant_items)
            ranks.append([_rank(source[request], item) for source in orders])
        relevant_ranks += [
            [_rank(source[request], item) for source in orders] for item in relevant_items
        ]
    return FusionData(
        np.arange(len(relevant), dtype=np.int32),
        offsets_of(np.array(counts)),
        np.array(ranks, np.int16).reshape(-1, len(orders)),
        np.array(hits, np.bool_),
        np.array([len(relevant_items) for relevant_items in relevant]),
        np.array(relevant_ranks, np.int16).reshape(-1, len(orders)),
    )


def split(whole: FusionData) -> list[FusionData]:
    """Three windows."""
    thirds = np.array_split(np.arange(len(whole.user)), 3)
    ranks = np.split(whole.relevant_ranks, np.cumsum(whole.relevant)[[t[-1] for t in thirds[:-1]]])
    return [replace(whole.take(rows), relevant_ranks=own) for rows, own in zip(thirds, ranks)]


def _rank(order: Sequence[int], item: int) -> int:
    return list(order).index(item) if item in order else -1


def random_orders(requests: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.permutation(N_ITEMS).tolist() for _ in range(requests)]


def test_a_perfect_source_gets_all_the_weight() -> None:
    good, noise = random_orders(100, 1), random_orders(100, 2)
    fusion = learn_fusion(split(fusion_data([noise, good], [order[:3] for order in good])), HOME)
    assert fusion.weights == {"a": LEAST_WEIGHT, "b": 1.0}
    assert fusion.notes["best_source"] == "b"
    assert fusion.notes["fused_ndcg"] == fusion.notes["best_source_ndcg"] == pytest.approx(1)


def test_two_complementary_sources_both_get_weight() -> None:
    one = [order[:4] for order in random_orders(200, 3)]
    other = [order[:4] for order in random_orders(200, 4)]
    relevant_items = [[a[0], b[0]] for a, b in zip(one, other)]
    fusion = learn_fusion(split(fusion_data([one, other], relevant_items)), HOME)
    assert min(fusion.weights.values()) > 0.3
    assert fusion.notes["fused_ndcg"] > 1.2 * fusion.notes["best_source_ndcg"]


@pytest.mark.parametrize("windows", [1, 3])
def test_random_sources_get_no_weight(windows: int) -> None:
    """Weights that fit the noise of one window are rejected on another."""
    with_weight = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        good = random_orders(200, 100 * seed)
        relevant_items = [[order[int(random.geometric(0.25) - 1) % N_ITEMS]] for order in good]
        noise = [random_orders(200, 100 * seed + place) for place in range(1, 6)]
        whole = fusion_data([good, *noise], relevant_items)
        home = Placement(retrievers=("a", "b", "c", "d", "e", "f"), candidates=100)
        fusion = learn_fusion(split(whole) if windows == 3 else [whole], home)
        with_weight += max(list(fusion.weights.values())[1:]) > LEAST_WEIGHT
    assert with_weight <= 3


def test_a_second_source_better_by_chance_gets_no_weight() -> None:
    """Improvements within chance are ignored."""
    good = random_orders(100, 5)
    relevant_items = [order[:2] for order in good]
    relevant_items[0] = [good[0][0], good[0][30]]
    lucky = random_orders(100, 6)
    lucky[0] = [good[0][30], *[item for item in lucky[0] if item != good[0][30]]]
    fusion = learn_fusion(split(fusion_data([good, lucky], relevant_items)), HOME)
    assert fusion.weights == {"a": 1.0, "b": LEAST_WEIGHT}


@given(st.integers(0, 1_000))
def test_the_fusion_is_never_worse_than_its_best_source(seed: int) -> None:
    one, other = random_orders(40, seed), random_orders(40, seed + 5_000)
    relevant_items = [[a[0], b[seed % 7]] for a, b in zip(one, other)]
    past = fusion_data([one, other], relevant_items)
    fusion = learn_fusion(split(past), HOME)
    fused = past.ndcg(fusion.scores(past.ranks, ("a", "b"))).mean()
    assert fused >= past.by_source().mean(axis=0).max() - 1e-3


def test_quotas_go_to_the_source_that_finds_more() -> None:
    deep, shallow = random_orders(100, 7), [order[:5] for order in random_orders(100, 8)]
    relevant_items = [order[10:30] for order in deep]
    fusion = learn_fusion(split(fusion_data([deep, shallow], relevant_items)), HOME)
    assert fusion.quotas["a"] >= 30
    assert fusion.candidates == 2 * sum(fusion.quotas.values()) == HOME.candidates


def test_with_too_little_data_quotas_and_weights_are_equal() -> None:
    one = random_orders(5, 9)
    fusion = learn_fusion(split(fusion_data([one, one], [order[:1] for order in one])), HOME)
    assert fusion == Fusion.stated(HOME)
    assert fusion.quotas == {"a": 50, "b": 50}
    assert fusion.weights == {"a": 1.0, "b": 1.0}


def test_stated_weights_are_kept() -> None:
    home = HOME.model_copy(update={"weights": {"a": 1.0, "b": 4.0}})
    one = random_orders(100, 10)
    fusion = learn_fusion(split(fusion_data([one, one], [order[:1] for order in one])), home)
    assert fusion.weights == {"a": 0.25, "b": 1.0}


def test_stated_quotas_give_proportional_weights() -> None:
    home = Placement(retrievers={"a": 20, "b": 5})
    assert not home.learns_fusion
    assert Fusion.stated(home).quotas == {"a": 20, "b": 5}
    assert Fusion.stated(home).weights == {"a": 1.0, "b": 0.25}


def test_scores_equal_those_of_merge() -> None:
    lists = {
        "a": Candidates.of([([3, 1, 4], [3, 2, 1]), ([9], [1])]),
        "b": Candidates.of([([4, 5], [2, 1]), ([2, 9], [2, 1])]),
    }
    fusion = Fusion({"a": 10, "b": 10}, {"a": 1.0, "b": 0.35}, 20)
    merged = merge(lists, fusion.quotas, weights=fusion.weights)
    scores = fusion.scores(merged.source_rank, merged.sources)
    assert scores.tolist() == merged.score.tolist()


@given(
    st.lists(
        st.tuples(st.lists(st.booleans(), max_size=15), st.integers(1, 20)), min_size=1, max_size=5
    )
)
def test_ndcg_equals_that_of_the_metrics(rows: list[tuple[list[bool], int]]) -> None:
    rows = [(hits, max(sum(hits), total)) for hits, total in rows]
    offsets = offsets_of(np.array([len(hits) for hits, _ in rows]))
    hit = np.array([mark for hits, _ in rows for mark in hits], np.bool_)
    figures = ndcg(offsets, -np.arange(len(hit), dtype=float), hit, np.array([t for _, t in rows]))
    lists = Candidates.of([(range(len(hits[:10])), range(len(hits[:10]))) for hits, _ in rows])
    truth = Ragged.of(
        [
            [
                *(place for place, mark in enumerate(hits) if mark),
                *range(100, 100 + total - sum(hits)),
            ]
            for hits, total in rows
        ]
    )
    ours = reference(*gains_of(lists, truth, np.ones(len(truth.values), np.float32), 10))
    assert figures.tolist() == pytest.approx(ours.tolist())


def test_better_means_more_than_a_standard_error() -> None:
    user = np.arange(400)
    base = np.random.default_rng(0).random(400)
    assert is_better(base + 0.01, base, user)
    assert not is_better(base, base, user)
    noise = np.random.default_rng(1).normal(0, 0.5, 400)
    assert not is_better(base + noise - noise.mean() + 0.001, base, user)


def recommender(**placement: Any) -> Recommender:
    home = Placement(retrievers=("ease", "trending", "popular"), candidates=60, **placement)
    return Recommender(
        {"ease": EASE(), "trending": Trending(half_life="2d"), "popular": Popular()},
        {"home": home},
        training=Training(slices=2, window=0.15, requests=500),
    )


def test_learned_quotas_and_weights_are_saved(tmp_path: Path) -> None:
    synthetic = SyntheticWorld(users=200, items=100, events=6_000, tastes=5, days=30, seed=2)
    fitted = recommender().fit(synthetic.dataset(), OPTIONS)
    fusion = fitted.fusions["home"]
    assert fusion.notes["learned"]
    assert fusion.notes["fused_ndcg"] >= fusion.notes["best_source_ndcg"]
    assert fitted.pipeline().capacity == fusion.candidates == 60
    assert fitted.pipeline().weights == fusion.weights
    fitted.save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1").attach(synthetic.dataset())
    assert loaded.fusions == fitted.fusions
    assert loaded.recommend("u1").item_ids() == fitted.recommend("u1").item_ids()


def test_without_times_a_fusion_is_learned_from_held_out_items() -> None:
    synthetic = SyntheticWorld(users=200, items=100, events=6_000, tastes=5, days=30, seed=2)
    log = synthetic.events.drop("timestamp")
    kinds = {"view": EventKind(), "purchase": EventKind(), "dislike": EventKind(role="negative")}
    data = Dataset.from_frames(log, schema=Schema(kinds=kinds, clock="none"))
    home = Placement(retrievers=("ease", "popular"), candidates=40)
    fitted = Recommender({"ease": EASE(), "popular": Popular()}, {"home": home}).fit(data, OPTIONS)
    assert fitted.fusions["home"].notes["learned"]
    assert fitted.fusions["home"].weights["ease"] == 1.0


def test_a_log_too_short_for_windows_learns_no_fusion() -> None:
    synthetic = SyntheticWorld(users=5, items=10, events=12, tastes=2, days=3, seed=2)
    fitted = recommender().fit(synthetic.dataset(), OPTIONS)
    assert fitted.fusions["home"].notes == {"learned": False}
    assert fitted.recommend("u1", n=3).item_ids()
