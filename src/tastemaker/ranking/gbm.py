"""Gradient-boosted trees: one model per objective, calibrated, scored by kernels of our own."""

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

WorkQueue = tuple[float, float]


class GBMConfig(Settings):
    """Settings of `GBM`."""

    objectives: tuple[str, ...] = ()
    """Kinds of event to predict; empty: every label that the training set has."""
    loss: Literal["binary", "lambdarank"] = "binary"
    """binary: the probability of each objective; lambdarank: only which candidate is better."""
    trees: int = Field(300, ge=1, le=10_000)
    """How many at most."""
    leaves: int = Field(15, ge=2, le=1_024)
    """Leaves of a tree, at most."""
    learning_rate: float = Field(0.05, gt=0, le=1)
    """How much of its correction each tree may apply."""
    min_rows: int = Field(50, ge=1)
    """Rows in a leaf, at least."""
    feature_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the features drawn for each tree."""
    row_fraction: float = Field(0.8, gt=0, le=1)
    """Share of the rows drawn for each tree."""
    l2: float = Field(1.0, ge=0)
    """λ on the leaves' values."""
    early_stopping: int = Field(50, ge=0)
    """Trees without a better figure on the validation after which growing ends; 0: never."""
    standard_errors: float = Field(1.0, ge=0)
    """The fewest trees are kept whose NDCG is worse than the best by less than so many standard
    errors of the difference (after Breiman et al. 1984): the first trees learn what lasts; 0: as
    many as were best."""
    start_from_fusion: bool = True
    """Whether the trees add to the fusion's score, so that they only learn what it lacks."""

    @field_validator("objectives")
    @classmethod
    def _distinct(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        twice = [name for name, count in Counter(objectives).items() if count > 1]
        if twice:
            raise ValueError(f"names '{twice[0]}' twice")
        return objectives


class GBM(Ranker):
    """Gradient-boosted decision trees (Friedman 2001) grown by LightGBM (Ke et al. 2017).

    One model per objective. The trees add to the fusion's score (the feature `FUSED`), so that none
    of them means the fusion's order. Their number is the least whose NDCG@10 on the validation (the
    mean of ten trees' figures) is within a standard error of the best, or that of the least log
    loss where too few of its requests hold a choice. With the loss `binary` the raw score then
    becomes a probability (Platt 1999), fitted on the validation by the model that has not learned
    from it; with `lambdarank` (Burges 2010) the scores only order. A label that is NaN is left out;
    a row's weight counts in growing and calibrating.

    Attributes:
        predicts: the objectives, in the order of the scores.
        models: LightGBM's text of each objective's trees.
        starts: a and b of each objective: the raw score is a · fused + b + what the trees add.
        calibration: a and b of each objective: probability = sigmoid(a · raw + b).

    Cost: `fit`, trees × rows × features steps and 1 byte per value beside the training set (5 with
    `refit`); a request, candidates × trees × leaves comparisons, of which a processor does several
    a nanosecond.

    Example:
        >>> GBM(objectives=["view", "purchase"], trees=200)
        GBM(objectives=('view', 'purchase'), trees=200)
    """

    name = "gbm"
    config: GBMConfig
    predicts: tuple[str, ...]
    models: tuple[str, ...]
    starts: tuple[WorkQueue, ...]
    calibration: tuple[WorkQueue, ...]

    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        """Grows the trees of each objective, and calibrates them."""
        later = validation if validation is not None and len(validation) else None
        if later is not None and later.features.names != training.features.names:
            differing = sorted({*later.features.names} ^ {*training.features.names})
            raise DataError(
                f"training and validation have different features ({', '.join(differing)}): "
                "describe both by one FeatureSet"
            )
        self._require_memory(training, later, options)
        objectives = self.objectives or tuple(training.labels)
        if not objectives:
            raise DataError("the training set has no label: nothing to learn")
        fitted = [self._fit_one(name, training, later, options) for name in objectives]
        self.predicts = objectives
        self.feature_names = training.features.names
        self._take(*zip(*fitted))
        return self

    def refit(
        self,
        windows: Sequence[TrainingSet],
        options: FitOptions = FitOptions(),
        *,
        folds: Sequence[Self],
    ) -> Self:
        """Grows as many trees as the folds kept on average; calibration follows the latest."""
        training, latest = TrainingSet.joined(windows), folds[-1]
        latest.require_features(training.features)
        self._require_memory(training, None, options)
        places = range(len(latest.predicts))
        self.predicts, self.feature_names = latest.predicts, training.features.names
        fitted = [self._grown_again(place, windows, folds, options) for place in places]
        self._take(*zip(*fitted))
        return self

    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        """The probability of every objective, or an order."""
        self.require_features(features)
        values = np.empty((len(features), len(self.predicts)), np.float32)
        fused = fused_scores(features)
        for place, (trees, (a, b)) in enumerate(zip(self._trees, self.calibration)):
            raw = _raw(trees, self.starts[place], features.values, fused)
            values[:, place] = expit(a * raw + b) if self.config.loss == "binary" else raw
        return Scores(self.predicts, (self.kind,) * len(self.predicts), values)

    @property
    def kind(self) -> ScoreKind:
        """Probabilities with the loss `binary`, otherwise an order."""
        return "probability" if self.config.loss == "binary" else "order"

    def contributions(self, features: Features, objective: str) -> NDArray[np.float32]:
        """What each feature adds, in the units of the raw score: on the paths of the trees, and
        the fusion's score as what they start from.

        For `binary` these are log-odds, and a row's sum is its log-odds less those expected of a
        candidate of the training set that no source found.

        Raises:
            SettingError: the ranker does not predict `objective`, or the features are others.
        """
        self.require_features(features)
        if objective not in self.predicts:
            hint = did_you_mean(objective, self.predicts)
            raise SettingError(f"{self!r} predicts no '{objective}'{hint}")
        place = self.predicts.index(objective)
        slope, _ = self.calibration[place]
        added = self._trees[place].contributions(features.values)
        if FUSED in self.feature_names:
            added[:, self.feature_names.index(FUSED)] += self.starts[place][0] * fused_scores(
                features
            )
        return (slope * added).astype(np.float32)

    def importance(self) -> dict[str, float]:
        """Each feature's share of what the splits gained, averaged over the objectives."""
        self.require("feature_names")
        gains = np.array([trees.gain for trees in self._trees])
        shares = (gains / np.maximum(gains.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
        return dict(zip(self.feature_names, shares.tolist()))

    def save(self, writer: ArtifactWriter) -> None:
        """Writes the trees as text, and the calibration."""
        self.require("feature_names")
        for place, text in enumerate(self.models):
            writer.text(f"model_{place}", text)
        writer.json("objectives", list(self.predicts))
        writer.json("starts", [list(pair) for pair in self.starts])
        writer.json("calibration", [list(pair) for pair in self.calibration])
        writer.json("feature_names", list(self.feature_names))

    def load(self, reader: ArtifactReader) -> Self:
        """Reads the trees."""
        self.predicts = tuple(reader.json("objectives"))
        self.feature_names = tuple(reader.json("feature_names"))
        texts = tuple(reader.text(f"model_{place}") for place in range(len(self.predicts)))
        starts, lines = reader.json("starts"), reader.json("calibration")
        self._take(texts, tuple((a, b) for a, b in starts), tuple((a, b) for a, b in lines))
        return self

    def _fit_one(
        self, objective: str, training: TrainingSet, later: TrainingSet | None, options: FitOptions
    ) -> tuple[str, WorkQueue, WorkQueue]:
        """The text model of one objective, what it starts from, and its calibration."""
        from tastemaker.ranking.boosting import grow  # costs a second that serving need not pay

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

    def _grown_again(
        self,
        place: int,
        windows: Sequence[TrainingSet],
        folds: Sequence["GBM"],
        options: FitOptions,
    ) -> tuple[str, WorkQueue, WorkQueue]:
        """One objective's model from all windows, what it starts from, and its calibration."""
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
        return text, start, _levelled(pair, first - refitted, weight)

    def _start(self, rows: Rows) -> WorkQueue:
        """What the trees add to: the fusion's score, for `binary` as log-odds."""
        if not (self.config.start_from_fusion and rows.fused.any()):
            return 0.0, 0.0
        if self.config.loss == "lambdarank":
            return 1.0, 0.0
        return platt(rows.fused, rows.label > 0, rows.weight.astype(np.float64))

    def _parameters(self) -> dict[str, Any]:
        """The settings by LightGBM's names.

        Rows are drawn, not requests: `bagging_by_query` depends on the timing of its threads.
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
        """LightGBM keeps a byte per value; a copy of the values is made where rows are chosen."""
        rows = len(training) + (len(later) if later is not None else 0)
        columns = len(training.features.names)
        options.require_memory(
            rows * (5 * columns + 50),
            f"GBM on {rows:,} rows of {columns} features",
            "take fewer slices or candidates",
        )

    def _take(
        self,
        models: tuple[str, ...],
        starts: tuple[WorkQueue, ...],
        calibration: tuple[WorkQueue, ...],
    ) -> None:
        self.models, self.starts, self.calibration = models, starts, calibration
        self._trees = tuple(_trees(text) for text in models)


def _trees(text: str) -> "Trees | LibraryTrees":
    """The trees in the form that scores fastest."""
    try:
        return Trees.read(text)
    except UnknownModelError:
        from tastemaker.ranking.boosting import LibraryTrees

        return LibraryTrees(text)


def _raw(
    trees: "Trees | LibraryTrees",
    start: WorkQueue,
    values: NDArray[np.float32],
    fused: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What the trees add to what they start from."""
    slope, level = start
    return slope * fused + level + trees.raw(values)


def _calibrated(trees: "Trees | LibraryTrees", start: WorkQueue, rows: Rows) -> WorkQueue:
    """Platt's a and b by rows the trees have not seen; as they are, where these tell nothing."""
    relevant = rows.label > 0
    if relevant.all() or not relevant.any():
        return 1.0, 0.0
    raw = _raw(trees, start, rows.values, rows.fused)
    return platt(raw, relevant, rows.weight.astype(np.float64))


def _levelled(
    pair: WorkQueue, moved: NDArray[np.float64], weight: NDArray[np.float64]
) -> WorkQueue:
    """The calibration of the latest fold for trees that learned from the latest window as well.

    These have taken up part of what b corrects, the latest window's own rate of events; so b moves
    by as much as the mean of a · raw did, and is not counted twice. Trees remember what they have
    learned from: on the earlier windows the fold remembers more, on the latest only the refitted
    ones do. With the latest window at half its weight the two errors about cancel.

    Args:
        pair: the fold's a and b.
        moved: float64[rows], the fold's raw scores less those of the refitted trees.
        weight: float64[rows], what each row counts for.
    """
    slope, level = pair
    return slope, level + slope * float(np.average(moved, weights=weight))
