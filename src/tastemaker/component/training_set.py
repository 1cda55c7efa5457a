"""What rankers learn from: candidates as they stood in the past, and what came of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
