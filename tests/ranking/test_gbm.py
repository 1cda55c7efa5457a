import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from tastemaker.artifact import create_artifact, open_artifact
from tastemaker.component import Features, FitOptions, TrainingSet
from tastemaker.data.ragged import offsets_of
from tastemaker.errors import DataError, MemoryBudgetError, SettingError
from tastemaker.progress import Progress
from tastemaker.ranking import GBM, gbm
from tastemaker.ranking.boosting import LibraryTrees
from tastemaker.ranking.calibration import platt
from tastemaker.ranking.model_text import UnknownModelError
from tastemaker.ranking.rows import Rows
from tastemaker.ranking.trees import Trees
from tastemaker.testing.ranker import scores, take_requests

T = TypeVar("T")
OPTIONS = FitOptions(seed=3, threads=2)
NAMES = ("rank", "age", "price", "noise", "other")


def slices(
    requests: int, seed: int, *, rate: float = 0.0, width: int = 5, per_request: int = 20
) -> TrainingSet:
    """Candidates liked with a known probability; `rate` shifts its log-odds."""
    random = np.random.default_rng(seed)
    rows = requests * per_request
    values = random.normal(size=(rows, width)).astype(np.float32)
    logit = values[:, 0] + 0.7 * values[:, 1] * values[:, 2] - 2 + rate
    liked = (random.random(rows) < expit(logit)).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    return TrainingSet(
        offsets_of(np.full(requests, per_request)),
        np.arange(requests, dtype=np.int32),
        np.arange(requests, dtype=np.int64),
        np.arange(rows, dtype=np.int32) % 300,
        Features(NAMES[:width] if width <= 5 else tuple(map(str, range(width))), values),
        {"liked": liked},
        np.ones(rows, np.float32),
        np.full(rows, -1, np.int16),
        np.full(rows, np.nan, np.float32),
        {},
    )


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return slices(400, seed=1)


@pytest.fixture(scope="module")
def later() -> TrainingSet:
    return slices(300, seed=2)


def mean_ratio(ranker: GBM, data: TrainingSet) -> float:
    """The weighted mean prediction divided by the weighted mean label."""
    weight = data.weight.astype(np.float64)
    predicted = np.average(scores(ranker, data).values[:, 0], weights=weight)
    return float(predicted / np.average(data.labels["liked"], weights=weight))


def folds_of(*windows: TrainingSet) -> list[GBM]:
    """For each of two windows, a model trained on the other window."""
    first, second = windows
    return [
        GBM().fit(second, OPTIONS, validation=first),
        GBM().fit(first, OPTIONS, validation=second),
    ]


def refitted(*windows: TrainingSet) -> GBM:
    """A model refitted on both windows."""
    return GBM().refit(windows, OPTIONS, folds=folds_of(*windows))


# -- calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_the_mean_prediction_is_close_to_the_observed_mean(
    training: TrainingSet, rate: float, refit: bool
) -> None:
    """Also if events become more or less frequent after training."""
    later, fresh = slices(600, seed=4, rate=rate), slices(3_000, seed=5, rate=rate)
    fitted = GBM().fit(training, OPTIONS, validation=later)
    if refit:
        fitted = refitted(training, later)
    assert mean_ratio(fitted, later) == pytest.approx(1, abs=0.05)
    assert mean_ratio(fitted, fresh) == pytest.approx(1, abs=0.08)


def test_calibration_uses_weights(training: TrainingSet) -> None:
    """Nine of ten negative candidates are removed; each of the others has the weight 10."""

    def thinned(whole: TrainingSet, seed: int) -> TrainingSet:
        negative = whole.labels["liked"] == 0
        kept = ~negative | (np.random.default_rng(seed).random(len(whole)) < 0.1)
        label = np.where(kept, whole.labels["liked"], np.nan).astype(np.float32)
        weight = np.where(negative, 10, 1).astype(np.float32)
        return replace(whole, labels={"liked": label}, weight=weight)

    later, fresh = slices(600, seed=4), slices(3_000, seed=5)
    sets = thinned(training, 1), thinned(later, 2)
    fitted = refitted(*sets)
    assert mean_ratio(fitted, fresh) == pytest.approx(1, abs=0.1)


def test_platt_recovers_the_coefficients_of_the_labels() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(3, 2, 200_000)
    liked = random.random(len(raw)) < expit(0.5 * raw - 4)
    found = platt(raw, liked, np.ones(len(raw)))
    assert found == pytest.approx((0.5, -4), abs=0.06)
    assert expit(found[0] * raw + found[1]).mean() == pytest.approx(liked.mean(), rel=0.001)


def test_platt_counts_weights_like_copies() -> None:
    random = np.random.default_rng(1)
    raw, liked = random.normal(size=500), random.random(500) < 0.3
    weight = random.integers(1, 5, 500)
    copies = np.repeat(raw, weight), np.repeat(liked, weight), np.ones(weight.sum())
    assert platt(raw, liked, weight.astype(float)) == pytest.approx(platt(*copies), rel=1e-4)


@pytest.mark.parametrize("raw", [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [2.0] * 4])
def test_platt_keeps_the_order_and_stays_finite(raw: list[float]) -> None:
    slope, level = platt(np.array(raw), np.array([False, False, True, True]), np.ones(4))
    assert 0 < slope < 100
    assert abs(level) < 100


def test_without_validation_the_raw_score_is_the_log_odds(training: TrainingSet) -> None:
    fitted = GBM(trees=60).fit(training, OPTIONS)
    assert fitted.calibration == ((1.0, 0.0),)
    assert mean_ratio(fitted, training) == pytest.approx(1, abs=0.05)


# -- early stopping -------------------------------------------------------------------------------


def test_growing_ends_soon_after_the_best_tree(training: TrainingSet, later: TrainingSet) -> None:
    few = GBM(learning_rate=0.5, early_stopping=10)
    few.fit(training, OPTIONS, validation=later)
    assert grown(few) < 60
    assert grown(GBM(learning_rate=0.5).fit(training, OPTIONS)) == 300
    never = GBM(learning_rate=0.5, early_stopping=0, trees=80)
    assert grown(never.fit(training, OPTIONS, validation=later)) == 80


def test_refitting_grows_as_many_trees_as_the_folds_kept(
    training: TrainingSet, later: TrainingSet
) -> None:
    folds = folds_of(training, later)
    again = GBM().refit((training, later), OPTIONS, folds=folds)
    assert grown(again) == round(np.mean([grown(fold) for fold in folds]))
    assert again.models != folds[-1].models


def test_early_stopping_without_choices_uses_log_loss(training: TrainingSet) -> None:
    """With one candidate per request, there is nothing to order, but events to predict."""
    single = slices(1_500, seed=6, per_request=1)
    fitted = GBM(learning_rate=0.3).fit(training, OPTIONS, validation=single)
    assert 1 < grown(fitted) < 200
    ordering = GBM(loss="lambdarank", trees=20).fit(training, OPTIONS, validation=single)
    assert grown(ordering) == 20


def test_an_empty_validation_set_equals_none(training: TrainingSet, later: TrainingSet) -> None:
    nothing = take_requests(later, np.empty(0, np.int64))
    fitted = GBM(trees=20).fit(training, OPTIONS, validation=nothing)
    assert fitted.models == GBM(trees=20).fit(training, OPTIONS).models


def grown(ranker: GBM) -> int:
    return len(Trees.read(ranker.models[0]))


# -- objectives -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_labels(training: TrainingSet) -> TrainingSet:
    """`buy` is known for half of the requests."""
    buy = np.asarray(training.features.values[:, 3] > 0.5, np.float32)
    buy[len(buy) // 2 :] = np.nan
    return replace(training, labels={"view": training.labels["liked"], "buy": buy})


def test_every_label_is_predicted_unless_objectives_are_named(two_labels: TrainingSet) -> None:
    every = scores(GBM(trees=20).fit(two_labels, OPTIONS), two_labels)
    assert every.names == ("view", "buy")
    assert every.kinds == ("probability", "probability")
    one = scores(GBM(trees=20, objectives=["buy"]).fit(two_labels, OPTIONS), two_labels)
    assert one.names == ("buy",)
    assert np.array_equal(one.values[:, 0], every.values[:, 1])


def test_an_unknown_objective_is_reported_with_a_suggestion(two_labels: TrainingSet) -> None:
    with pytest.raises(DataError, match=r"no label 'veiw'; did you mean 'view'\?"):
        GBM(objectives=["veiw"]).fit(two_labels, OPTIONS)


def test_a_duplicate_objective_is_rejected() -> None:
    with pytest.raises(SettingError, match="'objectives' names 'view' twice"):
        GBM(objectives=["view", "buy", "view"])


def test_contributions_require_a_known_objective(two_labels: TrainingSet) -> None:
    fitted = GBM(trees=20).fit(two_labels, OPTIONS)
    added = fitted.contributions(two_labels.features, "buy")
    assert np.abs(added).mean(axis=0).argmax() == NAMES.index("noise")
    with pytest.raises(SettingError, match=r"does not predict 'by'; did you mean 'buy'\?"):
        fitted.contributions(two_labels.features, "by")


def test_contributions_are_log_odds(training: TrainingSet, later: TrainingSet) -> None:
    fitted = GBM().fit(training, OPTIONS, validation=later)
    predicted = scores(fitted, later).values[:, 0].astype(np.float64)
    added = fitted.contributions(later.features, "liked").astype(np.float64)
    base = np.log(predicted / (1 - predicted)) - added.sum(axis=1)
    np.testing.assert_allclose(base, base[0], atol=1e-4)


def test_importance_is_highest_for_used_features(two_labels: TrainingSet) -> None:
    shares = GBM(trees=20).fit(two_labels, OPTIONS).importance()
    assert tuple(shares) == NAMES
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["noise"] > shares["other"]


# -- lambdarank -----------------------------------------------------------------------------------


def test_lambdarank_only_orders(training: TrainingSet, later: TrainingSet) -> None:
    fitted = GBM(loss="lambdarank").fit(training, OPTIONS, validation=later)
    found = scores(fitted, later)
    assert found.kinds == ("order",)
    assert fitted.calibration == ((1.0, 0.0),)
    assert found.values.min() < 0


def test_missing_labels_are_removed_from_the_groups(training: TrainingSet) -> None:
    gaps = training.labels["liked"].copy()
    gaps[:20] = np.nan
    gaps[25:31] = np.nan
    rows = Rows.of(replace(training, labels={"liked": gaps}), "liked", graded=True)
    assert rows.counts[:3].tolist() == [14, 20, 20]
    assert rows.counts.sum() == len(rows) == len(training) - 26
    without = Rows.of(
        replace(training, weight=np.isfinite(gaps) * np.float32(2)), "liked", graded=True
    )
    assert np.array_equal(without.counts, rows.counts)


def test_grades_order_candidates_and_must_be_whole(training: TrainingSet) -> None:
    grade = np.clip(np.round(np.nan_to_num(training.features.values[:, 0])) + 1, 0, 3)
    graded = replace(training, labels={"liked": grade.astype(np.float32)})
    fitted = GBM(loss="lambdarank", trees=40).fit(graded, OPTIONS)
    found = scores(fitted, graded).values[:, 0]
    means = [found[grade == value].mean() for value in range(4)]
    assert means == sorted(means)
    half = replace(training, labels={"liked": (grade / 2).astype(np.float32)})
    with pytest.raises(DataError, match=r"'liked' has 0\.5: grade it"):
        GBM(loss="lambdarank").fit(half, OPTIONS)


def test_lambdarank_requires_requests_with_a_choice() -> None:
    single = slices(300, seed=6, per_request=1)
    with pytest.raises(DataError, match="no request has candidates with two labels"):
        GBM(loss="lambdarank").fit(single, OPTIONS)
    GBM(trees=5).fit(single, OPTIONS)


# -- errors, memory, determinism ------------------------------------------------------------------


def test_errors_state_the_reason_and_the_fix(training: TrainingSet, later: TrainingSet) -> None:
    same = replace(training, labels={"liked": np.zeros(len(training), np.float32)})
    with pytest.raises(DataError, match=r"all 8,000 rows have the label 0; take more or longer"):
        GBM().fit(same, OPTIONS)
    with pytest.raises(DataError, match="no row has a label; take more"):
        GBM().fit(take_requests(training, np.empty(0, np.int64)), OPTIONS)
    with pytest.raises(DataError, match="has no label: nothing to learn"):
        GBM().fit(replace(training, labels={}), OPTIONS)
    renamed = Features(("a", *NAMES[1:]), later.features.values)
    with pytest.raises(DataError, match="different features"):
        GBM().fit(training, OPTIONS, validation=replace(later, features=renamed))


def test_work_beyond_the_memory_budget_is_rejected(training: TrainingSet) -> None:
    with pytest.raises(MemoryBudgetError, match=r"GBM on 8,000 rows of 5 features needs about"):
        GBM().fit(training, replace(OPTIONS, memory_budget=1_000))


@pytest.mark.parametrize("loss", ["binary", "lambdarank"])
def test_training_with_threads_is_deterministic(loss: str) -> None:
    large, later = slices(500, seed=1, width=25), slices(60, seed=2, width=25)
    models = {
        GBM(loss=loss, trees=3).fit(large, OPTIONS, validation=later).models for _ in range(2)
    }
    assert len(models) == 1


def test_the_seed_changes_the_model(training: TrainingSet) -> None:
    one, two = (GBM(trees=5).fit(training, replace(OPTIONS, seed=s)).models for s in (1, 2))
    assert one != two


class RecordedProgress(Progress):
    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []

    def track(self, steps: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        for step in steps:
            self.steps.append((label, total))
            yield step


def test_growing_reports_progress_and_prints_nothing(
    training: TrainingSet, capfd: pytest.CaptureFixture[str]
) -> None:
    recorded = RecordedProgress()
    GBM(trees=7, min_rows=100_000).fit(training, replace(OPTIONS, progress=recorded))
    GBM(trees=7).fit(training, replace(OPTIONS, progress=recorded))
    assert ("GBM: trees", 7) in recorded.steps
    assert capfd.readouterr() == ("", "")


# -- serving --------------------------------------------------------------------------------------


def test_lightgbm_scores_models_that_trees_does_not_support(
    training: TrainingSet,
    later: TrainingSet,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ours = GBM(trees=30).fit(training, OPTIONS, validation=later)

    def refuse(text: str) -> NDArray[np.float64]:
        raise UnknownModelError("an unknown field")

    monkeypatch.setattr(gbm.Trees, "read", refuse)
    theirs = GBM(trees=30).fit(training, OPTIONS, validation=later)
    assert isinstance(theirs._trees[0], LibraryTrees)
    assert theirs.models == ours.models
    assert theirs.calibration == ours.calibration
    assert np.array_equal(scores(theirs, later).values, scores(ours, later).values)
    assert theirs.importance() == pytest.approx(ours.importance(), rel=1e-3)
    added = theirs.contributions(later.features, "liked")
    known = ours.contributions(later.features, "liked")
    np.testing.assert_allclose(added.sum(axis=1), known.sum(axis=1), atol=1e-4)
    nothing = take_requests(later, np.empty(0, np.int64))
    assert scores(theirs, nothing).values.shape == (0, 1)
    assert theirs.contributions(nothing.features, "liked").shape == (0, 5)
    assert capfd.readouterr() == ("", "")


def test_serving_needs_no_lightgbm(
    training: TrainingSet, later: TrainingSet, tmp_path: Path
) -> None:
    with create_artifact(tmp_path / "ranker", "ranker", {}) as writer:
        GBM(trees=10).fit(training, OPTIONS, validation=later).save(writer)
    code = f"""
import sys
from pathlib import Path
import numpy as np
from tastemaker.artifact import open_artifact
from tastemaker.component import Features
from tastemaker.ranking import GBM
ranker = GBM(trees=10).load(open_artifact(Path({str(tmp_path / "ranker")!r}), "ranker")[0])
features = Features(ranker.feature_names, np.zeros((3, 5), np.float32))
assert len(ranker.score(None, None, features).values) == 3
ranker.contributions(features, "liked"), ranker.importance()
sys.exit("lightgbm" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_model_is_saved_as_text(training: TrainingSet, tmp_path: Path) -> None:
    fitted = GBM(trees=3).fit(training, OPTIONS)
    with create_artifact(tmp_path / "ranker", "ranker", {}) as writer:
        fitted.save(writer)
    reader, _ = open_artifact(tmp_path / "ranker", "ranker")
    assert reader.text("model_0") == fitted.models[0]
    assert fitted.models[0].startswith("tree\nversion=v4\n")
    assert fitted.models[0].endswith("end of trees\n")
