"""The trace of an answer: its stages, and the sources and features of every item."""

import json
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tastemaker.component import RELEVANT, FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.pipeline import Recommendations, Recommender
from tastemaker.pipeline.ranking import FEATURE_ROW
from tastemaker.pipeline.recommendations import STRONGEST
from tastemaker.project import Placement, Training
from tastemaker.ranking import GBM
from tastemaker.reranking import MMR, Rules
from tastemaker.retrieval import Content, ItemKNN, Popular
from tastemaker.testing.small import anonymous_request, small_dataset

N = 6
STAGES = [
    "retrieve:knn",
    "retrieve:popular",
    "merge",
    "filter",
    "features",
    "rank",
    "rerank:diverse",
    "rerank:rules",
    "select",
]


def unfound() -> int:
    """The least popular item of the catalogue, which neither source finds."""
    data = small_dataset()
    liked = np.bincount(data.events.item, minlength=len(data.catalogue))
    return int(liked.argmin())


PINNED = small_dataset().catalogue.items.id(unfound())


@cache
def fitted() -> Recommender:
    placement = Placement(
        retrievers={"knn": 12, "popular": 8},
        ranker="main",
        rerankers=("diverse", "rules"),
    )
    rules = Rules(pinned=[{"item_id": PINNED, "position": 2}, {"item_id": "?", "position": 1}])
    return Recommender(
        {"knn": ItemKNN(neighbors=5), "popular": Popular(), "content": Content()},
        {"home": placement},
        {"main": GBM(trees=12, min_rows=5)},
        {"diverse": MMR(relevance=0.7), "rules": rules},
        Training(slices=2, window=0.15, requests=400, require_improvement=False),
    ).fit(small_dataset(), FitOptions(seed=1, threads=2))


def requests() -> Requests:
    return Requests.of([[3, 5, 8], [20, 21], [7]], time=small_dataset().end, exclude=[[]] * 3)


@cache
def answer() -> Recommendations:
    inventory = fitted().inventory
    return fitted().pipeline().recommend(requests(), N, inventory=inventory, trace=True)


def payload(row: int = 0) -> dict[str, Any]:
    shown: dict[str, Any] = answer().to_dict(row, trace=True)
    return shown


def pinned_entry(row: int = 0) -> int:
    return [item["item_id"] for item in payload(row)["trace"]["items"]].index(PINNED)


def stage(name: str) -> Candidates:
    kept = {s.name: s.candidates for s in answer().trace.stages}[name]
    assert kept is not None
    return kept


# --- stages ---


def test_stages_are_in_the_order_of_the_pipeline() -> None:
    assert [stage["name"] for stage in payload()["trace"]["stages"]] == STAGES


@pytest.mark.parametrize("row", range(3))
def test_every_stage_has_its_counts_and_its_time(row: int) -> None:
    stages = payload(row)["trace"]["stages"]
    assert all(stage["ms"] >= 0 for stage in stages)
    knn, popular, *later = stages
    assert knn["in"] == popular["in"] == 0
    assert knn["out"] + popular["out"] == later[0]["in"]
    for before, after in pairwise(later):
        assert after["in"] == before["out"], (before["name"], after["name"])
    assert later[-1]["out"] == len(payload(row)["items"]) == N
    counts = {stage["name"]: stage["out"] for stage in stages}
    assert counts["rank"] == counts["features"] == counts["filter"]
    assert counts["rerank:rules"] == counts["rank"] + 1, "the pinned item was not found"


def test_only_the_stages_of_rerankers_have_a_cost() -> None:
    costs = {stage["name"]: stage.get("cost") for stage in payload()["trace"]["stages"]}
    assert {name for name, cost in costs.items() if cost is not None} == {
        "rerank:diverse",
        "rerank:rules",
    }
    assert costs["rerank:diverse"] >= 0
    assert costs["rerank:rules"] > 0, "a pin costs predicted value"


def test_the_stage_of_a_reranker_has_its_notes() -> None:
    notes = {stage["name"]: stage.get("notes") for stage in payload()["trace"]["stages"]}
    assert notes["rerank:rules"] == [
        "'?' not pinned at 1: no such item",
        f"'{PINNED}' pinned at 2",
    ]
    assert notes["merge"] is None


def test_the_stages_of_a_request_are_independent_of_the_batch() -> None:
    for row in range(3):
        alone = (
            fitted()
            .pipeline()
            .recommend(requests().take(np.array([row])), N, inventory=fitted().inventory)
        )
        for one, other in zip(
            alone.to_dict(0, trace=True)["trace"]["stages"], payload(row)["trace"]["stages"]
        ):
            assert {**one, "ms": 0} == {**other, "ms": 0}


def test_candidates_of_stages_are_kept_only_on_request() -> None:
    inventory = fitted().inventory
    plain = fitted().pipeline().recommend(requests(), N, inventory=inventory)
    assert all(stage.candidates is None for stage in plain.trace.stages)
    assert all(stage.candidates is not None for stage in answer().trace.stages)


# --- items ---


@pytest.mark.parametrize("row", range(3))
def test_every_item_has_its_rank_and_score_in_each_source(row: int) -> None:
    found = {name: stage(f"retrieve:{name}") for name in ("knn", "popular")}
    ids = fitted().inventory.catalogue.items
    for item in payload(row)["trace"]["items"]:
        index = ids.index(item["item_id"])
        for name, candidates in found.items():
            places = np.flatnonzero(candidates[row] == index)
            assert (name in item["sources"]) == (len(places) > 0)
            if len(places):
                score = candidates.score[candidates.offsets[row] + places[0]]
                assert item["sources"][name] == {"rank": places[0] + 1, "score": float(score)}


def test_the_prediction_of_an_item_is_its_score() -> None:
    shown = payload()
    for place, (item, traced) in enumerate(zip(shown["items"], shown["trace"]["items"])):
        assert list(traced["predicted"]) == [RELEVANT]
        if place != pinned_entry():
            assert traced["predicted"][RELEVANT] == pytest.approx(item["score"])
            assert 0 < traced["predicted"][RELEVANT] < 1


@pytest.mark.parametrize("row", range(3))
def test_the_strongest_features_of_an_item_come_first(row: int) -> None:
    ranking, features = answer().ranking, answer().features
    assert ranking is not None
    assert features is not None
    assert isinstance(ranking.ranker, GBM)
    adds = ranking.ranker.contributions(features, RELEVANT)
    shown = answer().candidates.take(np.array([row]))
    for entry, item in enumerate(payload(row)["trace"]["items"]):
        feature_row = shown.columns[FEATURE_ROW][entry]
        if feature_row < 0:
            continue
        weights = [abs(feature["weight"]) for feature in item["features"]]
        assert 1 <= len(weights) <= STRONGEST
        assert weights == sorted(weights, reverse=True)
        assert weights[0] == pytest.approx(abs(adds[feature_row]).max(), abs=1e-4)
        for feature in item["features"]:
            column = features.names.index(feature["feature"])
            value = features.values[feature_row, column]
            assert feature["weight"] == pytest.approx(adds[feature_row, column], abs=1e-4)
            assert feature["value"] == (float(value) if np.isfinite(value) else None)
            assert feature["text"] == ranking.features.meanings[feature["feature"]]


def test_features_follow_their_item() -> None:
    """The list was reordered twice after its features were computed."""
    for row in range(3):
        shown = answer().candidates.take(np.array([row]))
        ranked = stage("rank").take(np.array([row]))
        row_of = dict(zip(ranked.item.tolist(), ranked.columns[FEATURE_ROW].tolist()))
        for entry, item in enumerate(shown.item.tolist()):
            assert shown.columns[FEATURE_ROW][entry] == row_of.get(item, -1)


def test_a_pinned_item_that_was_not_found_has_no_explanation() -> None:
    for row in range(3):
        assert pinned_entry(row) == 1
        item = payload(row)["trace"]["items"][1]
        assert item == {
            "item_id": PINNED,
            "sources": {},
            "predicted": {RELEVANT: None},
            "features": [],
        }
        assert payload(row)["items"][1]["reasons"] == []


def test_a_trace_can_be_written_as_json() -> None:
    for row in range(3):
        assert json.loads(json.dumps(payload(row), allow_nan=False))["items"]


def test_without_a_ranker_there_are_no_predictions() -> None:
    plain = fitted().pipeline().plain()
    shown = plain.recommend(anonymous_request([3, 5]), N, inventory=fitted().inventory).to_dict(
        0, trace=True
    )
    assert all(item.keys() == {"item_id", "sources"} for item in shown["trace"]["items"])
    names = [stage["name"] for stage in shown["trace"]["stages"]]
    assert names == [name for name in STAGES if name not in STAGES[4:8]]


def test_a_pipeline_without_rerankers_ends_with_the_ranking() -> None:
    ranked = fitted().pipeline().plain(ranking=True)
    found = ranked.recommend(anonymous_request([3, 5]), N, inventory=fitted().inventory)
    scores = found.candidates.score
    assert (np.diff(scores) <= 0).all()
    assert [s.name for s in found.trace.stages] == [*STAGES[:6], "select"]
