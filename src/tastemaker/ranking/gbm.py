"""Gradient-boosted trees: one calibrated model per objective, scored by Numba kernels."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy.special import expit

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component import FUSED, Features, FitOptions, Ranker, ScoreKind, Scores, TrainingSet
from tastemaker.config import Settings
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import DataError, SettingError, did_you_mean
from tastemaker.ranking.calibration import platt
from tastemaker.ranking.model_text import UnknownModelError
from tastemaker.ranking.rows import Rows, fused_scores
from tastemaker.ranking.trees import Trees

if TYPE_CHECKING:
    from tastemaker.ranking.boosting import LibraryTrees

Coefficients = tuple[float, float]
"""The slope a and the level b of a linear function."""


class GBMConfig(Settings):
    """Settings of `GBM`."""

    objectives: tuple[str, ...] = ()
    """Event types to predict; empty: all labels of the training set."""
    loss: Literal["binary", "lambdarank"] = "binary"
    """binary: the probability of each objective; lambdarank: only the order of candidates."""
    trees: int = Field(300, ge=1, le=10_000)
    """The most trees of a model."""
    leaves: int = Field(15, ge=2, le=1_024)
    """The most leaves of a tree."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """The share of its correction that each tree applies."""
    min_rows: int = Field(50, ge=1)
    """The fewest rows of a leaf."""
    feature_fraction: float = Field(0.8, gt=0, le=1)
    """The share of the features drawn for each tree."""
    row_fraction: float = Field(0.8, gt=0, le=1)
    """The share of the rows drawn for each tree."""
    l2: float = Field(1.0, ge=0)
    """L2 regularization λ of the leaf values."""
    early_stopping: int = Field(50, ge=0)
    """Growing ends after this number of trees without a better validation metric; 0: never."""
    standard_errors: float = Field(1.0, ge=0)
    """The model keeps the fewest trees whose NDCG is worse than the best by less than this number
    of standard errors of the difference (after Breiman et al. 1984), because the first trees
    learn lasting patterns; 0: as many trees as are best."""
    start_from_fusion: bool = True
    """Whether the trees add to the fused score, so that they only learn its errors."""

    @field_validator("objectives")
    @classmethod
    def _distinct(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(objectives).items() if count > 1]
        if twice:
            raise ValueError(f"names '{twice[0]}' twice")
        return objectives


class GBM(Ranker):
    """Gradient-boosted decision trees (Friedman 2001), trained by LightGBM (Ke et al. 2017).

    One model per objective. The trees add to the fused score (the feature `FUSED`), so that a model
    without trees keeps the fused order. The model keeps the fewest trees whose validation NDCG@10
    (the mean over ten trees) is within a standard error of the best. If too few validation requests
    have a choice, it keeps the trees with the least log loss. With the loss `binary`, the raw score
    is calibrated to a probability (Platt 1999) on the validation set, which the model has not
    learned from. With `lambdarank` (Burges 2010), the scores only order candidates. NaN labels are
    ignored; row weights count in training and calibration.

    Attributes:
        predicts: the objectives, in the order of the scores.
        models: LightGBM's text of each objective's trees.
        starts: a and b of each objective: the raw score is a · fused + b + the sum of the trees.
        calibration: a and b of each objective: probability = sigmoid(a · raw + b).

    Cost: `fit`, trees × rows × features steps and 1 byte per value in addition to the training set
    (5 with `refit`); a request, candidates × trees × leaves comparisons, several per nanosecond.

    Example:
        >>> GBM(objectives=["view", "purchase"], trees=200)
        GBM(objectives=('view', 'purchase'), trees=200)
    """

    name = "gbm"
    config: GBMConfig
    predicts: tuple[str, ...]
    models: tuple[str, ...]
    starts: tuple[Coefficients, ...]
    calibration: tuple[Coefficients, ...]

    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        """Trains and calibrates the trees of each objective."""
        later = validation if validation is not None and len(validation) else None
        if later is not None and later.features.names != training.features.names:
            differing = sorted({*later.features.names} ^ {*training.features.names})
            raise DataError(
                f"training and validation have different features ({', '.join(differing)}): "
                "build both with the same FeatureSet"
            )
        self._require_memory(training, later, options)
        objectives = self.objectives or tuple(training.labels)
        if not objectives:
            raise DataError("the training set has no label: nothing to learn")
        fitted = [self._fit_one(name, training, later, options) for name in objectives]
        self.predicts = objectives
        self.feature_names = training.features.names
        self._set_models(*zip(*fitted))
        return self

    def refit(
        self,
        windows: Sequence[TrainingSet],
        options: FitOptions = FitOptions(),
        *,
        folds: Sequence[Self],
    ) -> Self:
        """Trains as many trees as the folds kept on average, with the latest calibration."""
        training, latest = TrainingSet.joined(windows), folds[-1]
        latest.require_features(training.features)
        self._require_memory(training, None, options)
        places = range(len(latest.predicts))
        self.predicts, self.feature_names = latest.predicts, training.features.names
        fitted = [self._refit_one(place, windows, folds, options) for place in places]
        self._set_models(*zip(*fitted))
        return self

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        """The scores of each objective: probabilities, or values that only order."""
        self.require_features(features)
        values = np.empty((len(features), len(self.predicts)), np.float32)
        fused = fused_scores(features)
        for place, (trees, (a, b)) in enumerate(zip(self._trees, self.calibration)):
            raw = _raw(trees, self.starts[place], features.values, fused)
            values[:, place] = expit(a * raw + b) if self.config.loss == "binary" else raw
        return Scores(self.predicts, (self.kind,) * len(self.predicts), values)

    @property
    def kind(self) -> ScoreKind:
        """`probability` with the loss `binary`, otherwise `order`."""
        return "probability" if self.config.loss == "binary" else "order"

    def contributions(self, features: Features, objective: str) -> NDArray[np.float32]:
        """The contribution of each feature to the raw score, including the fused score.

        For `binary`, contributions are log-odds. The sum of a row is its log-odds minus the
        expected log-odds of a training candidate that no source found.

        Raises:
            SettingError: the ranker does not predict `objective`, or the features differ.
        """
        self.require_features(features)
        if objective not in self.predicts:
            hint = did_you_mean(objective, self.predicts)
            raise SettingError(f"{self!r} does not predict '{objective}'{hint}")
        place = self.predicts.index(objective)
        slope, _ = self.calibration[place]
        added = self._trees[place].contributions(features.values)
        if FUSED in self.feature_names:
            added[:, self.feature_names.index(FUSED)] += self.starts[place][0] * fused_scores(
                features
            )
        return (slope * added).astype(np.float32)

    def importance(self) -> dict[str, float]:
        """Each feature's share of the gain of all splits, averaged over the objectives."""
        self.require("feature_names")
        gains = np.array([trees.gain for trees in self._trees])
        shares = (gains / np.maximum(gains.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
        return dict(zip(self.feature_names, shares.tolist()))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the trees as text, with starts and calibration."""
        self.require("feature_names")
        for place, text in enumerate(self.models):
            writer.text(f"model_{place}", text)
        writer.json("objectives", list(self.predicts))
        writer.json("starts", [list(pair) for pair in self.starts])
        writer.json("calibration", [list(pair) for pair in self.calibration])
        writer.json("feature_names", list(self.feature_names))

    def load(self, reader: ArtifactReader) -> Self:
        """Reads the trees, starts and calibration."""
        self.predicts = tuple(reader.json("objectives"))
        self.feature_names = tuple(reader.json("feature_names"))
        texts = tuple(reader.text(f"model_{place}") for place in range(len(self.predicts)))
        starts, pairs = reader.json("starts"), reader.json("calibration")
        self._set_models(texts, tuple((a, b) for a, b in starts), tuple((a, b) for a, b in pairs))
        return self

    def _fit_one(
        self, objective: str, training: TrainingSet, later: TrainingSet | None, options: FitOptions
    ) -> tuple[str, Coefficients, Coefficients]:
        """The text model of one objective, its start and its calibration."""
        from tastemaker.ranking.boosting import grow  # takes a second, which serving avoids

        ranks = self.config.loss == "lambdarank"
        rows = Rows.of(training, objective, graded=ranks)
        rows.require_choice(objective, within_requests=ranks)
        after = Rows.of(later, objective, graded=ranks) if later is not None else None
        start = self._start(rows)
        text = grow(
            rows,
            self._parameters(),
            self.config.trees,
            options,
            start=start,
            later=after if self.config.early_stopping else None,
            patience=self.config.early_stopping,
            standard_errors=self.config.standard_errors,
        )
        if after is None or ranks:
            return text, start, (1.0, 0.0)
        return text, start, _calibrated(_trees(text), start, after)

    def _refit_one(
        self,
        place: int,
        windows: Sequence[TrainingSet],
        folds: Sequence["GBM"],
        options: FitOptions,
    ) -> tuple[str, Coefficients, Coefficients]:
        """The model of one objective from all windows, its start and its calibration."""
        from tastemaker.ranking.boosting import grow

        graded, objective = self.config.loss == "lambdarank", self.predicts[place]
        rows = Rows.of(TrainingSet.joined(windows), objective, graded=graded)
        start = self._start(rows)
        trees = round(float(np.mean([len(fold._trees[place]) for fold in folds])))
        text = grow(rows, self._parameters(), trees, options, start=start)
        if graded:
            return text, start, (1.0, 0.0)
        first = _raw(folds[-1]._trees[place], folds[-1].starts[place], rows.values, rows.fused)
        refitted = _raw(_trees(text), start, rows.values, rows.fused)
        earlier = len(rows) - len(Rows.of(windows[-1], objective, graded=graded))
        weight = np.where(np.arange(len(rows)) < earlier, rows.weight, rows.weight / 2)
        pair = folds[-1].calibration[place]
        return text, start, _shift_calibration(pair, first - refitted, weight)

    def _start(self, rows: Rows) -> Coefficients:
        """The start that the trees add to: the fused score, for `binary` as log-odds."""
        if not (self.config.start_from_fusion and rows.fused.any()):
            return 0.0, 0.0
        if self.config.loss == "lambdarank":
            return 1.0, 0.0
        return platt(rows.fused, rows.label > 0, rows.weight.astype(np.float64))

    def _parameters(self) -> dict[str, Any]:
        """The settings by LightGBM's names.

        Bagging draws rows instead of requests, because
        `bagging_by_query` depends on the timing of its threads.
        """
        config = self.config
        return {
            "objective": config.loss,
            "num_leaves": config.leaves,
            "learning_rate": config.learning_rate,
            "min_data_in_leaf": config.min_rows,
            "feature_fraction": config.feature_fraction,
            "bagging_fraction": config.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": config.l2,
        }

    def _require_memory(
        self, training: TrainingSet, later: TrainingSet | None, options: FitOptions
    ) -> None:
        """LightGBM keeps a byte per value; choosing rows copies the values."""
        rows = len(training) + (len(later) if later is not None else 0)
        columns = len(training.features.names)
        options.require_memory(
            rows * (5 * columns + 50),
            f"GBM on {rows:,} rows of {columns} features",
            "take fewer slices or candidates",
        )

    def _set_models(
        self,
        models: tuple[str, ...],
        starts: tuple[Coefficients, ...],
        calibration: tuple[Coefficients, ...],
    ) -> None:
        self.models, self.starts, self.calibration = models, starts, calibration
        self._trees = tuple(_trees(text) for text in models)


def _trees(text: str) -> "Trees | LibraryTrees":
    """The trees in the fastest form that supports them."""
    try:
        return Trees.read(text)
    except UnknownModelError:
        from tastemaker.ranking.boosting import LibraryTrees

        return LibraryTrees(text)


def _raw(
    trees: "Trees | LibraryTrees",
    start: Coefficients,
    values: NDArray[np.float32],
    fused: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The raw score: the start plus the sum of the trees."""
    slope, level = start
    return slope * fused + level + trees.raw(values)


def _calibrated(trees: "Trees | LibraryTrees", start: Coefficients, rows: Rows) -> Coefficients:
    """Platt's a and b from rows that the trees have not seen; (1, 0) if all labels are equal."""
    relevant = rows.label > 0
    if relevant.all() or not relevant.any():
        return 1.0, 0.0
    raw = _raw(trees, start, rows.values, rows.fused)
    return platt(raw, relevant, rows.weight.astype(np.float64))


def _shift_calibration(
    pair: Coefficients, moved: NDArray[np.float64], weight: NDArray[np.float64]
) -> Coefficients:
    """The calibration of the latest fold for trees that also learned from the latest window.

    b corrects for the event rate of the latest window. The refitted trees already learned part of
    this rate, so b moves by the change of the mean of a · raw. Trees fit their own training rows
    too well: the fold on the earlier windows, the refitted trees also on the latest window. With
    the latest window at half its weight, the two errors approximately cancel.

    Args:
        pair: a and b of the fold.
        moved: float64[rows], the raw scores of the fold minus those of the refitted trees.
        weight: float64[rows], the weight of each row.
    """
    slope, level = pair
    return slope, level + slope * float(np.average(moved, weights=weight))
