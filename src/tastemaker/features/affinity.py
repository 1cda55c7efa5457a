"""How much of what the user liked carries the labels of an item: genres, tags, categories."""

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
    """The share of the user's liked (and disliked) weight that carries an item's labels.

    The mean over the item's labels of the share of the weight that carries the label. `recent`
    halves an event's weight with every ten later ones; `best` takes the best label instead of the
    mean; `known` is the share of the item's labels the user has ever liked.

    Attributes:
        column: a tags or category column of the catalogue.
    """

    column: str

    @property
    def columns(self) -> dict[str, str]:
        """Name → meaning."""
        shown = self.column
        return {
            f"{shown}_affinity": f"share of the user's likes with its {shown}",
            f"{shown}_affinity_recent": f"share of the user's latest likes with its {shown}",
            f"{shown}_affinity_best": f"the same for the best of its {shown}",
            f"{shown}_aversion": f"share of the user's dislikes with its {shown}",
            f"{shown}_known": f"share of its {shown} the user has liked before",
        }

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns."""
        column = pairs.inventory.catalogue.columns[self.column]
        assert isinstance(column, TagsColumn)  # noqa: S101 - declared for such columns alone
        history = pairs.requests.history
        _affinities(
            *(pairs.row, pairs.item, history.offsets, history.item, history.weight),
            *(column.codes.offsets, column.codes.values, len(column.labels), out),
        )


@kernel
def _affinities(row, item, offsets, past, weight, starts, codes, n_labels, out):  # type: ignore[no-untyped-def]
    """Adds up each user's labels once, then reads them for the user's candidates."""
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
