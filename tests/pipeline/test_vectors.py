"""Vectors of items: for similarity, as features, for diversity, and in artifacts."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tastemaker.component import FitOptions
from tastemaker.data.candidates import Candidates
from tastemaker.data.dataset import Dataset
from tastemaker.data.requests import Requests
from tastemaker.data.schema import ColumnRole, EventKind, Schema
from tastemaker.data.seen import SeenPolicy
from tastemaker.errors import SettingError
from tastemaker.features import FeatureSet, Pairs
from tastemaker.features.vector_similarity import VectorSimilarity
from tastemaker.inventory import Inventory
from tastemaker.pipeline import Pipeline, Recommender
from tastemaker.pipeline.point_in_time import travel
from tastemaker.project import Placement, Training
from tastemaker.reranking import MMR
from tastemaker.retrieval import Content, Popular
from tastemaker.testing import feature_differences

START = datetime(2024, 1, 1, tzinfo=UTC)
CLUSTERS, PER_CLUSTER, DIMENSION = 4, 10, 8
ITEMS = CLUSTERS * PER_CLUSTER


def vectors() -> list[list[float] | None]:
    """Items of a cluster have similar vectors; the last of each cluster has none."""
    drawn = np.random.default_rng(0)
    centres = np.eye(DIMENSION)[:CLUSTERS] * 3
    return [
        None
        if item % PER_CLUSTER == PER_CLUSTER - 1
        else (centres[item // PER_CLUSTER] + 0.3 * drawn.normal(size=DIMENSION)).tolist()
        for item in range(ITEMS)
    ]


def name(item: int) -> str:
    return f"i{item:02}"


@cache
def data(*, labels: bool = False) -> Dataset:
    """Users see items of one cluster, an hour apart."""
    drawn = np.random.default_rng(1)
    rows = []
    for user in range(40):
        taken = drawn.permutation(PER_CLUSTER)[:6] + PER_CLUSTER * (user % CLUSTERS)
        rows += [
            (f"u{user}", name(int(item)), START + timedelta(hours=24 * step + user / 10))
            for step, item in enumerate(taken)
        ]
    events = pl.DataFrame(rows, ["user_id", "item_id", "timestamp"], orient="row")
    items = pl.DataFrame({"item_id": [name(i) for i in range(ITEMS)], "v": vectors()})
    roles = {"v": ColumnRole(role="vector")}
    if labels:
        items = items.with_columns(parity=pl.Series([f"p{i % 2}" for i in range(ITEMS)]))
        roles["parity"] = ColumnRole(role="category")
    schema = Schema(kinds={"view": EventKind()}, default_kind="view", item_roles=roles)
    return Dataset.from_frames(events, items=items, schema=schema)


def cluster(item_id: str) -> int:
    return int(item_id[1:]) // PER_CLUSTER


@cache
def recommender(*, labels: bool = False) -> Recommender:
    made = Recommender(
        {"content": Content(), "popular": Popular()},
        {
            "home": Placement(retrievers={"content": 20}),
            "top": Placement(retrievers={"popular": 9}),
        },
    )
    return made.fit(data(labels=labels), FitOptions(threads=1))


def test_content_finds_similar_items_by_vectors_only() -> None:
    answer = recommender().recommend(history=[name(0), name(1)], n=6)
    assert {cluster(id_) for id_ in answer.item_ids()} == {0}
    _, found = recommender().similar(name(12), n=8)
    similar = recommender().inventory.catalogue.items.ids(found[0])
    assert {cluster(id_) for id_ in similar} == {1}


def test_vectors_and_labels_are_combined_by_weight() -> None:
    left, right = np.array([0, 0], np.int32), np.array([2, 11], np.int32)
    catalogue = data(labels=True)
    by_vector = Content(category_weight=0.1).fit(catalogue).similarity(left, right)
    by_label = Content(vector_weight=0.1).fit(catalogue).similarity(left, right)
    assert by_vector[0] > 0.8 > 0.3 > by_vector[1]
    assert by_label[0] > 0.95
    without = Content(vector_weight=0).fit(catalogue)
    assert without.similarity(left, right).tolist() == [1.0, 0.0]


def test_an_item_without_a_vector_has_no_similarity() -> None:
    content = recommender().retrievers["content"]
    assert isinstance(content, Content)
    none, some = np.full(ITEMS, PER_CLUSTER - 1, np.int32), np.arange(ITEMS, dtype=np.int32)
    assert not content.similarity(none, some).any()


def test_an_added_item_is_found_by_its_vector(tmp_path: Path) -> None:
    recommender().save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1")
    near = [3.0, *([0.0] * (DIMENSION - 1))]
    loaded.add_items(["new", "bare"], {"v": [near, None]})
    shown = loaded.recommend(history=[name(0), name(1)], n=8).item_ids()
    assert "new" in shown
    assert "bare" not in shown
    with pytest.raises(SettingError, match=f"'v' must be a list of {DIMENSION} numbers, got 2"):
        loaded.add_items(["other"], {"v": [[1.0, 2.0]]})


def test_loading_does_not_change_a_version_with_vectors(tmp_path: Path) -> None:
    recommender(labels=True).save(tmp_path / "v1")
    loaded = Recommender.load(tmp_path / "v1").attach(data(labels=True))
    for user in ("u0", "u3", "nobody"):
        before = recommender(labels=True).recommend(user, n=8)
        after = loaded.recommend(user, n=8)
        assert after.candidates.item.tobytes() == before.candidates.item.tobytes()
        assert after.candidates.score.tobytes() == before.candidates.score.tobytes()


# --- features ---


def cosines(history: list[int], weights: list[float], items: list[int]) -> np.ndarray:
    inventory = Inventory.of(data())
    requests = Requests.of([history], weights=[weights])
    found = Candidates.of([(items, np.zeros(len(items)))])
    out = np.empty((len(items), 3), np.float32)
    VectorSimilarity("v").write(Pairs.of(requests, found, inventory, {}), out)
    return out


def test_features_are_cosines_to_liked_and_disliked_items() -> None:
    matrix = np.array([v or [np.nan] * DIMENSION for v in vectors()])
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    items = [2, 12, 22]
    out = cosines([0, 10, 20], [1.0, 2.0, -1.0], items)
    fade = 0.5 ** (1 / 10)
    for column, mean in enumerate(
        [unit[0] + 2 * unit[10], fade**2 * unit[0] + 2 * fade * unit[10], unit[20]]
    ):
        expected = unit[items] @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(out[:, column], expected, rtol=1e-5)


def test_without_vectors_there_are_no_cosines() -> None:
    assert np.isnan(cosines([9], [1.0], [0])).all()
    assert np.isnan(cosines([0], [1.0], [9])).all()
    assert np.isnan(cosines([0], [1.0], [1])[:, 2]).all()


def test_cosines_are_the_same_in_training_and_serving() -> None:
    *_, window = travel(
        data(),
        lambda fitted: Pipeline(fitted, {"popular": 30}),
        {"popular": Popular()},
        Training(slices=2, window=0.2, requests=200, negatives=20),
        SeenPolicy.of(data().kinds),
        options=FitOptions(threads=1),
    )
    features = FeatureSet.of(window.task.inventory, window.sources)
    assert "v_cosine" in features.names
    assert not feature_differences(
        window.training,
        Pipeline(window.sources, {"popular": 30}),
        data(),
        features,
        eligible=window.task.requests.eligible,
    )


# --- diversity ---


def test_mmr_diversifies_a_list_by_vectors() -> None:
    items = [item for item, vector in enumerate(vectors()[:30]) if vector is not None]
    found = Candidates.of([(items, np.linspace(1.0, 0.9, len(items)))])
    varied = MMR(space="v", relevance=0.3).rerank(
        Requests.of([[]]), found, 3, Inventory.of(data()), {}
    )
    assert {int(item) // PER_CLUSTER for item in varied.candidates[0][:3]} == {0, 1, 2}


def test_an_unknown_space_of_mmr_lists_the_vectors() -> None:
    with pytest.raises(SettingError, match="there is no space 'w'; known: v"):
        MMR(space="w").rerank(Requests.of([[]]), Candidates.none(1), 3, Inventory.of(data()), {})
