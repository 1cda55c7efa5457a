"""Rankers: what scores candidates by their features, and what they answer."""

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

WANTED = "wanted"
"""The objective of a ranker that names none: any positive event with an item not yet seen."""

ScoreKind = Literal["probability", "amount", "order"]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a ranker predicts for each candidate.

    Attributes:
        names: of the k objectives.
        kinds: what each number is: a `probability`, an expected `amount`, or an `order` that
            says which of two is better and nothing else.
        values: float32[total × k].
    """

    names: tuple[str, ...]
    kinds: tuple[ScoreKind, ...]
    values: NDArray[np.float32]

    def combined(self, value: Mapping[str, float]) -> NDArray[np.float32]:
        """One score for each candidate, Σ value × prediction, float32[total].

        Args:
            value: what each objective is worth; empty, the first alone counts.

        Raises:
            SettingError: an objective is unknown, or an `order` would be added to another.
        """
        worth = dict(value) or {self.names[0]: 1.0}
        for name in worth:
            if name not in self.names:
                raise SettingError(
                    f"value: the ranker predicts no '{name}'{did_you_mean(name, self.names)}"
                )
        if len(worth) > 1 and "order" in (self.kinds[self.names.index(n)] for n in worth):
            raise SettingError(
                f"value: {', '.join(worth)}: an objective that only orders cannot be added to "
                'another; use a ranker that predicts probabilities (gbm: loss = "binary")'
            )
        total = np.zeros(len(self.values), np.float32)
        for name, weight in worth.items():
            total += np.float32(weight) * self.values[:, self.names.index(name)]
        return total


class Ranker(Component, ABC):
    """Scores candidates by their features.

    Attributes:
        feature_names: the columns it was fitted on; set by `fit` and by `load`.
    """

    feature_names: tuple[str, ...]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Kinds of event it is to predict; empty, `WANTED` alone: any event that is liked."""
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
            training: candidates of the past.
            options: seed, threads, memory budget, progress.
            validation: candidates of a later time, to stop early and to calibrate by.

        Raises:
            DataError: there is nothing to learn from: no row, or labels of one value only.
        """

    @property
    def kind(self) -> ScoreKind:
        """What its predictions are."""
        return "probability"

    def refit(
        self,
        windows: Sequence[TrainingSet],
        options: FitOptions = FitOptions(),
        *,
        folds: Sequence[Self],
    ) -> Self:
        """Learns from all windows as much as the folds found best on those they left out.

        By default `fit` without a validation.

        Args:
            windows: all that may be learned from, oldest first.
            options: seed, threads, memory budget, progress.
            folds: for each window, a ranker of the same settings that was fitted on the others and
                validated on this one.
        """
        return self.fit(TrainingSet.joined(windows), options)

    @abstractmethod
    def score(self, requests: Requests, candidates: Candidates, features: Features) -> Scores:
        """Predicts every objective for every candidate; the order of candidates stays.

        Raises:
            NotFittedError: `fit` was not called.
            SettingError: the features are not those it was fitted on; names the first difference.
        """

    @abstractmethod
    def save(self, writer: ArtifactWriter) -> None:
        """Writes the fitted state, without any pickle."""

    @abstractmethod
    def load(self, reader: ArtifactReader) -> Self:
        """Takes the fitted state from an artifact, on an instance made with the saved settings."""

    def require_features(self, features: Features) -> None:
        """Refuses features other than those it was fitted on.

        Raises:
            NotFittedError: `fit` was not called.
            SettingError: names the first column that differs.
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
    """Can say what each feature adds to a prediction."""

    def contributions(self, features: Features, objective: str) -> NDArray[np.float32]:
        """What each feature adds, float32[rows × F], in the units the model adds up in."""
        ...
