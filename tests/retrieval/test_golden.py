"""Golden bands: each system's NDCG@10 on a fixed split of the bundled ratings.

A value outside its band means that a model, a metric or the split changed: find the cause, then
move the band. Rounding differs between processors. Therefore the number of trees is fixed, since
early stopping would amplify rounding differences, and one thread is used. One candidate more or
less still changes the training sample of the fusion and the ranker, so their bands cover the values
of other seeds (merged 0.135 to 0.150, ranked 0.155 to 0.167).
"""

from pathlib import Path

import pytest

import tastemaker as tm
from tastemaker.cli.demo import prepare
from tastemaker.component import FitOptions
from tastemaker.project import load_project
from tastemaker.split import Split

BANDS = {
    "popular": (0.094, 0.098),
    "trending": (0.114, 0.120),
    "item_knn": (0.116, 0.122),
    "ease": (0.127, 0.132),
    "als": (0.121, 0.131),
    "content": (0.137, 0.144),
    "new_items": (0.003, 0.008),
    "merged": (0.129, 0.155),
    "ranked": (0.150, 0.179),
    "pipeline": (0.147, 0.176),
}
FIXED = {
    'type = "gbm"\n': 'type = "gbm"\ntrees = 100\nearly_stopping = 0\n',
    "[training]\n": "[training]\nrequire_improvement = false\n",
    "[placements.home]\n": '[retrievers.new_items]\ntype = "new_items"\n\n[rerankers.fresh]\n'
    'type = "explore"\n\n[placements.home]\nrerankers = ["fresh"]\n',
    '"popular", "content"]\n': '"popular", "content", "new_items"]\n',
}
"""Replaces the rules that depend on a metric, and adds exploration as `init` describes it."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("golden")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def split(folder: Path) -> Split:
    path = prepare(folder).path
    text = path.read_text(encoding="utf-8")
    for proposed, fixed in FIXED.items():
        assert text.count(proposed) == 1
        text = text.replace(proposed, fixed)
    path.write_text(text, encoding="utf-8")
    project = load_project(path)
    placement = next(iter(project.file.placements.values()))
    return project.split(project.read(), placement)


@pytest.fixture(scope="module")
def evaluation(folder: Path, split: Split) -> tm.Evaluation:
    recommender = tm.Recommender.from_project(folder / "tastemaker.toml")
    return tm.evaluate(recommender, split, options=FitOptions(threads=1))


def test_every_system_has_a_band(evaluation: tm.Evaluation) -> None:
    assert set(evaluation.systems) == set(BANDS)


@pytest.mark.parametrize("system", BANDS)
def test_quality_is_in_its_band(evaluation: tm.Evaluation, system: str) -> None:
    low, high = BANDS[system]
    assert low <= evaluation.systems[system]["ndcg@10"].value <= high


@pytest.mark.parametrize("system", [s for s in BANDS if s not in ("popular", "new_items")])
def test_every_system_beats_popularity(evaluation: tm.Evaluation, system: str) -> None:
    systems = evaluation.systems
    assert systems[system]["ndcg@10"].value > systems["popular"]["ndcg@10"].value


def test_the_ranker_beats_the_fusion(evaluation: tm.Evaluation) -> None:
    """By 0.017 to 0.027, which is not always significant at 95 % with 382 requests."""
    gain = evaluation.gains["ranked"]["merged"]
    assert gain.value > 0.005
    assert gain.low > -0.005


def test_exploring_new_items_costs_little(evaluation: tm.Evaluation) -> None:
    ranked, whole = (evaluation.systems[system]["ndcg@10"] for system in ("ranked", "pipeline"))
    assert 0.95 * ranked.value < whole.value < 1.01 * ranked.value
    assert whole.value != ranked.value


def test_new_users_are_a_slice_and_get_personal_results(evaluation: tm.Evaluation) -> None:
    new_users = evaluation.slices["new users"].systems
    for system in ("item_knn", "ease", "als"):
        assert new_users[system]["ndcg@10"].value > new_users["popular"]["ndcg@10"].value
