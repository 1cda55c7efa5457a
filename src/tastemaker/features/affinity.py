"""Label affinity: how much the user's history shares the item's genres, tags or categories."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.catalogue import TagsColumn
from tastemaker.features.pairs import Pairs

_HALF_LIFE_EVENTS = 10.0
_PRIOR = 1.0


@dataclass(frozen=True, slots=True)
class Affinity:
    """The share of the user's liked (and disliked) weight that has the item's labels.

    The affinity is the mean, over the item's labels, of the share of the weight with that label.
    `recent` halves the weight of an event for every ten later events. `best` takes the best label
    instead of the mean. `known` is the share of the item's labels that the user has liked before.

    Attributes:
        column: a tags or category column of the catalogue.
    """

    column: str

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        shown = self.column
        return {
            f"{shown}_affinity": f"share of the user's likes with its {shown}",
            f"{shown}_affinity_recent": f"share of the user's latest likes with its {shown}",
            f"{shown}_affinity_best": f"share of the user's likes with the best of its {shown}",
            f"{shown}_aversion": f"share of the user's dislikes with its {shown}",
            f"{shown}_known": f"share of its {shown} the user has liked before",
        }

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        column = pairs.inventory.catalogue.columns[self.column]
        assert isinstance(column, TagsColumn)  # noqa: S101 - declared for such columns only
        history = pairs.requests.history
        _affinities(
            *(pairs.row, pairs.item, history.offsets, history.item, history.weight),
            *(column.codes.offsets, column.codes.values, len(column.labels), out),
        )


@kernel
def _affinities(row, item, offsets, past, weight, starts, codes, n_labels, out):  # type: ignore[no-untyped-def]
    """Sums each user's labels once, then reads the sums for the user's candidates."""
    liked = np.zeros(n_labels)
    recent = np.zeros(n_labels)
    disliked = np.zeros(n_labels)
    total_liked, total_recent, total_disliked = 0.0, 0.0, 0.0
    n_items = len(starts) - 1
    added = -1
    for i in range(len(row)):
        if row[i] != added:
            added = row[i]
            liked[:] = 0
            recent[:] = 0
            disliked[:] = 0
            total_liked, total_recent, total_disliked = _PRIOR, _PRIOR, _PRIOR
            fade = 1.0
            for event in range(offsets[added + 1] - 1, offsets[added] - 1, -1):
                other = past[event]
                if not 0 <= other < n_items or weight[event] == 0:
                    continue
                if weight[event] > 0:
                    total_liked += weight[event]
                    total_recent += fade * weight[event]
                else:
                    total_disliked -= weight[event]
                for place in range(starts[other], starts[other + 1]):
                    if weight[event] > 0:
                        liked[codes[place]] += weight[event]
                        recent[codes[place]] += fade * weight[event]
                    else:
                        disliked[codes[place]] -= weight[event]
                fade *= 0.5 ** (1 / _HALF_LIFE_EVENTS)
        first, last = starts[item[i]], starts[item[i] + 1]
        for column in range(5):
            out[i, column] = np.nan
        if first == last:
            continue
        long, short, best, against, known = 0.0, 0.0, 0.0, 0.0, 0
        for place in range(first, last):
            label = codes[place]
            long += liked[label]
            short += recent[label]
            best = max(best, liked[label])
            against += disliked[label]
            known += liked[label] > 0
        labels = last - first
        out[i, 0] = long / (labels * total_liked)
        out[i, 1] = short / (labels * total_recent)
        out[i, 2] = best / total_liked
        out[i, 3] = against / (labels * total_disliked)
        out[i, 4] = known / labels
