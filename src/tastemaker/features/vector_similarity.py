"""Cosine of an item's vector to the vectors of the items the user liked and disliked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import VectorColumn
from tastemaker.features.pairs import Pairs

_HALF_LIFE_EVENTS = 10.0


@dataclass(frozen=True, slots=True)
class VectorSimilarity:
    """Cosines between an item's vector and weighted means of the history's vectors.

    Vectors are normalized to length 1 and weighted by their event. `recent` halves the weight for
    every ten later events. NaN if the item or the history has no vector.

    Attributes:
        column: a vector column of the catalogue.
    """

    column: str

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        shown = self.column
        return {
            f"{shown}_cosine": f"cosine of {shown} to the mean of the user's likes",
            f"{shown}_cosine_recent": f"cosine of {shown} to the mean of the user's latest likes",
            f"{shown}_cosine_disliked": f"cosine of {shown} to the mean of the user's dislikes",
        }

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        column = pairs.inventory.catalogue.columns[self.column]
        assert isinstance(column, VectorColumn)  # noqa: S101 - declared for such columns only
        history = pairs.requests.history
        _cosines(
            *(pairs.row, pairs.item, history.offsets, history.item, history.weight),
            *(column.values, out),
        )


@kernel
def _cosines(row, item, offsets, past, weight, vectors, out):  # type: ignore[no-untyped-def]
    """Sums each user's vectors once, from the latest event on, then compares the candidates."""
    n_items, dimension = vectors.shape
    means = np.zeros((3, dimension))
    lengths = np.zeros(3)
    added = -1
    for i in range(len(row)):
        if row[i] != added:
            added = row[i]
            means[:, :] = 0
            fade = 1.0
            for event in range(offsets[added + 1] - 1, offsets[added] - 1, -1):
                other = past[event]
                if not 0 <= other < n_items or weight[event] == 0:
                    continue
                length = _length(vectors[other])
                if length > 0:
                    strength = abs(weight[event]) / length
                    for d in range(dimension):
                        if weight[event] > 0:
                            means[0, d] += strength * vectors[other, d]
                            means[1, d] += fade * strength * vectors[other, d]
                        else:
                            means[2, d] += strength * vectors[other, d]
                fade *= 0.5 ** (1 / _HALF_LIFE_EVENTS)
            for mean in range(3):
                lengths[mean] = _length(means[mean])
        own = _length(vectors[item[i]])
        for mean in range(3):
            out[i, mean] = np.nan
            if own > 0 and lengths[mean] > 0:
                total = 0.0
                for d in range(dimension):
                    total += means[mean, d] * vectors[item[i], d]
                out[i, mean] = total / (lengths[mean] * own)


@kernel
def _length(vector):  # type: ignore[no-untyped-def]
    """The length of a vector; 0 for a missing one."""
    total = 0.0
    for d in range(len(vector)):
        if np.isnan(vector[d]):
            return 0.0
        total += np.float64(vector[d]) * np.float64(vector[d])
    return np.sqrt(total)
