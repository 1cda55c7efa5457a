"""Golden bands of the models that the demo does not propose, each alone on the same split.

A value outside its band means that a model, a metric or the split changed: find the cause, then
move the band.
"""

from functools import cache

import pytest

from tastemaker import retrieval
from tastemaker.cli.demo import prepare
from tastemaker.component import FitOptions, Retriever
from tastemaker.evaluation.measure import PER_REQUEST, per_request
from tastemaker.retrieval import (
    BSPM,
    SLIM,
    BoughtTogether,
    CooccurrenceGraph,
    FeatureEASE,
    GraphFilter,
    Item2Vec,
    Node2Vec,
    P3Alpha,
    Popular,
    Propagation,
    RP3Beta,
    SequentialRules,
    SessionKNN,
    SparseEASE,
    Swing,
    UserKNN,
)
from tastemaker.split import Split

BANDS: dict[str, tuple[Retriever, float, float]] = {
    "bought_together": (BoughtTogether(), 0.110, 0.116),
    "bspm": (BSPM(), 0.113, 0.120),
    "cooccurrence_graph": (CooccurrenceGraph(), 0.118, 0.125),
    "feature_ease": (FeatureEASE(), 0.126, 0.133),
    "graph_filter": (GraphFilter(), 0.122, 0.129),
    "item2vec": (Item2Vec(), 0.126, 0.136),
    "node2vec": (Node2Vec(factors=32, walks=3, walk_length=40, window=5), 0.112, 0.123),
    "p3_alpha": (P3Alpha(), 0.109, 0.116),
    "propagation": (Propagation(), 0.118, 0.125),
    "rp3_beta": (RP3Beta(), 0.119, 0.126),
    "sequential_rules": (SequentialRules(), 0.101, 0.108),
    "session_knn": (SessionKNN(), 0.119, 0.127),
    "slim": (SLIM(), 0.133, 0.141),
    "sparse_ease": (SparseEASE(), 0.146, 0.154),
    "swing": (Swing(), 0.112, 0.119),
    "user_knn": (UserKNN(), 0.118, 0.125),
}
ELSEWHERE = {"als", "content", "ease", "item_knn", "new_items", "popular", "trending"}
"""Models of the demo; their bands are in `test_golden.py`."""
WITHOUT_GROUND = {"complements"}
"""Models that need categories, which the bundled ratings do not have."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    project = prepare(tmp_path_factory.mktemp("golden"))
    return project.split(project.read(), next(iter(project.file.placements.values())))


@pytest.fixture(scope="module")
def popularity(split: Split) -> float:
    return ndcg(Popular(), split)


def ndcg(model: Retriever, split: Split) -> float:
    fitted = model.clone().fit(split.before_test, FitOptions(threads=1))
    lists = fitted.retrieve(split.test.requests, 10, split.test.inventory)
    return float(per_request(lists, split.test, 10)[:, list(PER_REQUEST).index("ndcg")].mean())


@cache
def names() -> set[str]:
    return {getattr(retrieval, name).name for name in retrieval.__all__}


def test_every_model_has_a_band() -> None:
    assert names() == set(BANDS) | ELSEWHERE | WITHOUT_GROUND


@pytest.mark.parametrize("name", BANDS)
def test_quality_is_in_its_band_and_beats_popularity(
    name: str, split: Split, popularity: float
) -> None:
    model, low, high = BANDS[name]
    found = ndcg(model, split)
    assert low <= found <= high
    assert found > popularity
