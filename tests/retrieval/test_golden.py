"""Golden bands: each system's NDCG@10 on a fixed split of the bundled ratings.

A value outside its band is a change of model, metric or split: explain it, then move the band.
Processors round differently. So the number of trees is fixed, since a rule that chooses it turns
rounding into a jump, and one thread computes. One candidate more or less still changes which are
drawn to learn the fusion and the ranker from: their bands are as wide as what other seeds give
(merged 0.135 to 0.150, ranked 0.155 to 0.167).
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
"""What replaces the rules that choose by a figure, and adds exploration as `init` describes it."""

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
def test_quality_lies_in_its_band(evaluation: tm.Evaluation, system: str) -> None:
    low, high = BANDS[system]
    assert low <= evaluation.systems[system]["ndcg@10"].value <= high


@pytest.mark.parametrize("system", [s for s in BANDS if s not in ("popular", "new_items")])
def test_every_system_beats_popularity(evaluation: tm.Evaluation, system: str) -> None:
    systems = evaluation.systems
    assert systems[system]["ndcg@10"].value > systems["popular"]["ndcg@10"].value


def test_the_ranker_beats_the_fusion(evaluation: tm.Evaluation) -> None:
    """By 0.017 to 0.027; 382 requests do not always tell that from chance at 95 %."""
    gain = evaluation.gains["ranked"]["merged"]
    assert gain.value > 0.005
    assert gain.low > -0.005


def test_trying_out_newcomers_costs_little(evaluation: tm.Evaluation) -> None:
    ranked, whole = (evaluation.systems[system]["ndcg@10"] for system in ("ranked", "pipeline"))
    assert 0.95 * ranked.value < whole.value < 1.01 * ranked.value
    assert whole.value != ranked.value


def test_strangers_stand_as_a_slice_and_are_served_personally(evaluation: tm.Evaluation) -> None:
    strangers = evaluation.slices["new users"].systems
    for system in ("item_knn", "ease", "als"):
        assert strangers[system]["ndcg@10"].value > strangers["popular"]["ndcg@10"].value
