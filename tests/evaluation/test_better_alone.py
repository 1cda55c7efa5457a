"""The report lists the sources and stages that are better than the whole pipeline."""

from dataclasses import replace

import pytest

from tastemaker.component import FitOptions
from tastemaker.data.synthetic import SyntheticWorld
from tastemaker.evaluation import Evaluation, evaluate
from tastemaker.metrics import Estimate
from tastemaker.pipeline import Recommender
from tastemaker.project import Placement
from tastemaker.retrieval import EASE, Popular
from tastemaker.split import by_time


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """A pipeline that prefers popularity although the data is personal."""
    synthetic = SyntheticWorld(users=300, items=200, events=9_000, tastes=8, days=30, seed=1)
    home = Placement(retrievers={"popular": 50, "ease": 1})
    wiring = Recommender({"popular": Popular(), "ease": EASE()}, {"home": home})
    split = by_time(synthetic.dataset(), test=0.2, seed=1)
    return evaluate(wiring, split, options=FitOptions(seed=1, threads=1))


def test_a_source_that_is_better_alone_is_reported(evaluation: Evaluation) -> None:
    lines = evaluation.to_dict()["better_alone"]
    assert lines[0].startswith("▼ ease alone is better than the whole pipeline: +0.")
    assert lines[0] in str(evaluation)


def test_a_difference_within_chance_is_reported_as_such(evaluation: Evaluation) -> None:
    gains = {"pipeline": {"ease": Estimate(-0.001, -0.004, 0.002)}}
    lines = replace(evaluation, gains=gains).better_alone()
    assert lines == [
        "ease alone was better than the whole pipeline, but the difference is within chance: "
        "+0.0010 [-0.0020, +0.0040]."
    ]


def test_nothing_is_reported_if_the_pipeline_is_better(evaluation: Evaluation) -> None:
    gains = {"pipeline": {"ease": Estimate(0.01, 0.004, 0.02)}}
    assert replace(evaluation, gains=gains).better_alone() == []


def test_a_stage_that_is_better_is_reported_as_a_stage(evaluation: Evaluation) -> None:
    gains = {"pipeline": {"ranked": Estimate(-0.01, -0.02, -0.001)}}
    line = replace(evaluation, gains=gains).better_alone()[0]
    assert line.startswith(
        "▼ the stage before it (ranked) is better than the whole pipeline: +0.0100"
    )
    assert "alone" not in line
