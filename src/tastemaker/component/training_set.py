"""Training data of rankers: candidates of past requests, with features and labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import offsets_of
from tastemaker.errors import DataError

FUSED = "fused_score"
"""The feature that holds the score of the fusion, which decides the order without a ranker."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of each candidate as of the moment of its request.

    Attributes:
        names: the names of the F columns.
        values: float32[rows × F]; NaN if a value does not exist.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Candidates at past moments, labelled by the events that followed.

    Attributes:
        offsets: int64[requests + 1], where the rows of each request begin.
        user: int32[requests], the user of each request.
        time: int64[requests], microseconds; ascending within each window.
        item: int32[rows], the candidates.
        features: [rows × F].
        labels: objective → float32[rows]; NaN if unknown.
        weight: float32[rows], the weight of each row: a sampled candidate represents those that
            were left out.
        position: int16[rows], where the candidate was shown, from 0; −1 if it was not shown.
        propensity: float32[rows], the probability with which it was shown there; NaN if unknown.
        notes: name → count of what was kept and left out.
    """

    offsets: NDArray[np.int64]
    user: NDArray[np.int32]
    time: NDArray[np.int64]
    item: NDArray[np.int32]
    features: Features
    labels: dict[str, NDArray[np.float32]]
    weight: NDArray[np.float32]
    position: NDArray[np.int16]
    propensity: NDArray[np.float32]
    notes: dict[str, int]

    def __len__(self) -> int:
        return len(self.item)

    @classmethod
    def joined(cls, parts: "Sequence[TrainingSet]") -> "TrainingSet":
        """The concatenation of several training sets, with the sums of their notes.

        Raises:
            DataError: their features differ.
        """
        first = parts[0]
        if any(part.features.names != first.features.names for part in parts):
            raise DataError(
                "training sets have different features: build all of them with one FeatureSet"
            )
        values = np.concatenate([part.features.values for part in parts])
        labels = {name: np.concatenate([p.labels[name] for p in parts]) for name in first.labels}
        return cls(
            offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
            user=np.concatenate([part.user for part in parts]),
            time=np.concatenate([part.time for part in parts]),
            item=np.concatenate([part.item for part in parts]),
            features=Features(first.features.names, values),
            labels=labels,
            weight=np.concatenate([part.weight for part in parts]),
            position=np.concatenate([part.position for part in parts]),
            propensity=np.concatenate([part.propensity for part in parts]),
            notes={name: sum(part.notes[name] for part in parts) for name in first.notes},
        )
