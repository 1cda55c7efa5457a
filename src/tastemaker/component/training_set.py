"""What rankers learn from: candidates as they stood in the past, and what came of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import offsets_of
from tastemaker.errors import DataError

FUSED = "fused_score"
"""The feature that holds the fusion's score: what an order without a ranker goes by."""


@dataclass(frozen=True, slots=True)
class Features:
    """What is known of each candidate at its request's moment.

    Attributes:
        names: of the F columns.
        values: float32[rows × F]; NaN where a value does not exist.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Candidates as they stood at past moments, and what happened next.

    Attributes:
        offsets: int64[requests + 1], where each request's rows begin.
        user: int32[requests], whose request it is.
        time: int64[requests], microseconds; ascending by slice.
        item: int32[rows].
        features: [rows × F].
        labels: objective → float32[rows]; NaN where nothing is known.
        weight: float32[rows], how much a row counts: a candidate that stands for others left out
            counts for all of them.
        position: int16[rows], where the candidate was shown, from 0; −1 if it was not shown.
        propensity: float32[rows], with which probability it was shown there; NaN if unknown.
        notes: what was left out, and how many.
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
        """Several training sets as one, one after the other, their notes added up.

        Raises:
            DataError: their features differ.
        """
        first = parts[0]
        if any(part.features.names != first.features.names for part in parts):
            raise DataError("training sets have different features: describe all by one FeatureSet")
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
