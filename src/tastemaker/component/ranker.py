"""Rankers: components that score candidates by their features."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tastemaker.artifact import ArtifactReader, ArtifactWriter
from tastemaker.component.component import Component, FitOptions
from tastemaker.component.training_set import Features, TrainingSet
from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests
from tastemaker.errors import SettingError, did_you_mean

RELEVANT = "relevant"
"""The default objective of a ranker: any positive event with an item not yet seen."""

ScoreKind = Literal["probability", "amount", "order"]


@dataclass(frozen=True, slots=True)
class Scores:
    """The predictions of a ranker for each candidate.

    Attributes:
        names: the names of the k objectives.
        kinds: the kind of each prediction: a `probability`, an expected `amount`, or an `order`
            that only says which of two candidates is better.
        values: float32[total × k], the predictions.
    """

    names: tuple[str, ...]
    kinds: tuple[ScoreKind, ...]
    values: NDArray[np.float32]

    def combined(self, value: Mapping[str, float]) -> NDArray[np.float32]:
        """One score per candidate, Σ value × prediction, float32[total].

        Args:
            value: objective → its weight; if empty, only the first objective counts.

        Raises:
            SettingError: an objective is unknown, or an `order` would be added to another.
        """
        weights = dict(value) or {self.names[0]: 1.0}
        for name in weights:
            if name not in self.names:
                raise SettingError(
                    f"objective_weights: the ranker does not predict '{name}'"
                    f"{did_you_mean(name, self.names)}"
                )
        if len(weights) > 1 and "order" in (self.kinds[self.names.index(n)] for n in weights):
            raise SettingError(
                f"objective_weights: {', '.join(weights)}: an objective that only predicts an "
                "order cannot be "
                "added to another; use a ranker that predicts probabilities "
                '(gbm: loss = "binary")'
            )
        total = np.zeros(len(self.values), np.float32)
        for name, weight in weights.items():
            total += np.float32(weight) * self.values[:, self.names.index(name)]
        return total


class Ranker(Component, ABC):
    """Scores candidates by their features.

    Attributes:
        feature_names: the names of the features it was fitted on; set by `fit` and `load`.
    """

    feature_names: tuple[str, ...]

    @property
    def objectives(self) -> tuple[str, ...]:
        """The event types to predict; if empty, only `RELEVANT`: any positive event."""
        return tuple(getattr(self.config, "objectives", ()))

    @abstractmethod
    def fit(
        self,
        training: TrainingSet,
        options: FitOptions = FitOptions(),
        *,
        validation: TrainingSet | None = None,
    ) -> Self:
        """Learns to predict the labels.

        Args:
            training: candidates of past requests.
            options: seed, threads, memory budget, progress.
            validation: candidates of later requests, for early stopping and calibration.

        Raises:
            DataError: there are no rows, or all labels are equal.
        """

    @property
    def kind(self) -> ScoreKind:
        """The kind of its predictions."""
        return "probability"

    def refit(
        self,
        windows: Sequence[TrainingSet],
        options: FitOptions = FitOptions(),
        *,
        folds: Sequence[Self],
    ) -> Self:
        """Learns from all windows, for as long as was best for the folds on their held-out windows.

        The default implementation calls `fit` without validation data.

        Args:
            windows: all training data, oldest first.
            options: seed, threads, memory budget, progress.
            folds: for each window, a ranker with the same settings that was fitted on the other
                windows and validated on this one.
        """
        return self.fit(TrainingSet.joined(windows), options)

    @abstractmethod
    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        """Predicts every objective for every candidate; keeps the order of the candidates.

        Raises:
            NotFittedError: `fit` was not called.
            SettingError: the features are not those it was fitted on; names the first difference.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes the fitted state, without pickle."""

    @abstractmethod
    def load(self, reader: ArtifactReader) -> Self:
        """Reads the fitted state from an artifact into an instance with the saved settings."""

    def require_features(self, features: Features) -> None:
        """Raises if the features are not those it was fitted on.

        Raises:
            NotFittedError: `fit` was not called.
            SettingError: the features differ; names the first difference.
        """
        self.require("feature_names")
        if features.names != self.feature_names:
            missing = [n for n in self.feature_names if n not in features.names]
            extra = [n for n in features.names if n not in self.feature_names]
            first = f"'{missing[0]}' is missing" if missing else f"'{extra[0]}' is new"
            if not missing and not extra:
                first = "their order differs"
            raise SettingError(f"{self!r} was fitted on other features: {first}; train again")


@runtime_checkable
class Contributes(Protocol):
    """A ranker that can compute the contribution of each feature to a prediction."""

    def contributions(self, features: Features, objective: str) -> NDArray[np.float32]:
        """The contribution of each feature, float32[rows × F], in the model's additive units."""
        ...
