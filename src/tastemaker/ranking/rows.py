"""The training rows of one objective: the rows of a training set with a known label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.component import FUSED, Features, TrainingSet
from tastemaker.data.ragged import rows_of
from tastemaker.errors import DataError, did_you_mean

_HIGHEST_GRADE = 30


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with a weight above 0 and a known label, request by request.

    Attributes:
        values: float32[rows × F], the features.
        label: float32[rows], 0 or 1, or a grade.
        weight: float32[rows], above 0.
        counts: int64[requests], the rows of each request, at least 1.
        fused: float64[rows], the fused score; 0 if the features do not contain it.
    """

    values: NDArray[np.float32]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]
    counts: NDArray[np.int64]
    fused: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(cls, training: TrainingSet, objective: str, *, graded: bool) -> "Rows":
        """The rows of one objective.

        Args:
            training: the training set.
            objective: the name of the label.
            graded: whether to keep grades; otherwise values above 0 become 1.

        Raises:
            DataError: the label does not exist, or a grade is invalid.
        """
        if objective not in training.labels:
            hint = did_you_mean(objective, training.labels)
            raise DataError(f"the training set has no label '{objective}'{hint}")
        label = training.labels[objective]
        known = ~np.isnan(label) & (training.weight > 0)
        label = label[known]
        if graded:
            _require_grades(label, objective)
        else:
            label = (label > 0).astype(np.float32)
        counts = np.bincount(rows_of(training.offsets)[known], minlength=1)
        values = training.features.values
        return cls(
            np.ascontiguousarray(values if known.all() else values[known], np.float32),
            label,
            training.weight[known],
            counts[counts > 0],
            fused_scores(training.features)[known],
        )

    def require_choice(self, objective: str, *, within_requests: bool) -> None:
        """Rejects rows without anything to learn.

        Args:
            objective: the name of the label, for the message.
            within_requests: whether only the order within requests is learned.

        Raises:
            DataError: there are no rows, all labels are equal, or (with `within_requests`) no
                request has two different labels.
        """
        fix = "take more or longer slices, or candidates from more sources"
        if not len(self):
            raise DataError(f"nothing to learn for '{objective}': no row has a label; {fix}")
        if self.label.min() == self.label.max():
            raise DataError(
                f"nothing to learn for '{objective}': all {len(self):,} rows have the label "
                f"{self.label[0]:g}; {fix}"
            )
        if within_requests and not self.choices():
            raise DataError(
                f"nothing to order for '{objective}': no request has candidates with two labels; "
                f'{fix}, or use loss = "binary"'
            )

    def choices(self) -> int:
        """The number of requests whose rows have different labels."""
        if not len(self):
            return 0
        begin = np.cumsum(self.counts) - self.counts
        lowest = np.minimum.reduceat(self.label, begin)
        return int((np.maximum.reduceat(self.label, begin) > lowest).sum())


def fused_scores(features: Features) -> NDArray[np.float64]:
    """The fused score of each row, float64[rows]; 0 if the features do not contain it."""
    if FUSED not in features.names:
        return np.zeros(len(features))
    return features.values[:, features.names.index(FUSED)].astype(np.float64)


def _require_grades(label: NDArray[np.float32], objective: str) -> None:
    invalid = (label < 0) | (label > _HIGHEST_GRADE) | (label != np.floor(label))
    if invalid.any():
        raise DataError(
            f"lambdarank orders by grades, whole numbers from 0 to {_HIGHEST_GRADE}; "
            f"'{objective}' has {label[invalid][0]:g}: grade it, or use loss = \"binary\""
        )
