"""Similarity of an item to the user's latest likes, as computed by a retriever."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.component import ItemSimilarity
from tastemaker.features.pairs import Pairs

_LATEST = 5


@dataclass(frozen=True, slots=True)
class Similarity:
    """Similarity to the latest liked item, and the largest and the mean for the latest five.

    Attributes:
        source: a retriever that compares items.
    """

    source: str

    @property
    def columns(self) -> dict[str, str]:
        """The meaning of each column, by name."""
        return {
            f"{self.source}_like_last": f"similarity to the latest like ({self.source})",
            f"{self.source}_like_best": f"largest similarity to the latest likes ({self.source})",
            f"{self.source}_like_mean": f"mean similarity to the latest likes ({self.source})",
        }

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns of `out`."""
        source = pairs.sources[self.source]
        assert isinstance(source, ItemSimilarity)  # noqa: S101 - declared for such sources only
        history = pairs.requests.history
        latest = np.full((len(pairs.requests), _LATEST), -1, np.int32)
        _latest_likes(history.offsets, history.item, history.weight, latest)
        left = np.empty(len(pairs.item) * _LATEST, np.int32)
        right = np.empty(len(pairs.item) * _LATEST, np.int32)
        size = _pair_up(pairs.row, pairs.item, latest, left, right)
        _summarize(pairs.row, latest, source.similarity(left[:size], right[:size]), out)


@kernel
def _latest_likes(offsets, item, weight, out):  # type: ignore[no-untyped-def]
    """The latest distinct liked items of each history, latest first."""
    for row in range(len(out)):
        size = 0
        for event in range(offsets[row + 1] - 1, offsets[row] - 1, -1):
            if size == out.shape[1]:
                break
            if weight[event] <= 0 or item[event] < 0:
                continue
            known = False
            for place in range(size):
                known = known or out[row, place] == item[event]
            if not known:
                out[row, size] = item[event]
                size += 1


@kernel
def _pair_up(row, item, latest, left, right):  # type: ignore[no-untyped-def]
    """Pairs each like of a request with all its candidates; returns the number of pairs.

    Pairs with the same left item are adjacent, which is fast for the source.
    """
    size, first = 0, 0
    while first < len(row):
        stop = _end_of_request(row, first)
        for liked in latest[row[first]]:
            if liked < 0:
                break
            left[size : size + stop - first] = liked
            right[size : size + stop - first] = item[first:stop]
            size += stop - first
        first = stop
    return size


@kernel
def _summarize(row, latest, similarity, out):  # type: ignore[no-untyped-def]
    """Writes the last, best and mean similarity over the liked items; NaN if there are none."""
    start, first = 0, 0
    while first < len(row):
        stop = _end_of_request(row, first)
        size = 0
        while size < latest.shape[1] and latest[row[first], size] >= 0:
            size += 1
        for i in range(first, stop):
            out[i, :] = np.nan
            if size == 0:
                continue
            place = start + i - first
            out[i, 0] = similarity[place]
            best, total = similarity[place], 0.0
            for _ in range(size):
                best = max(best, similarity[place])
                total += similarity[place]
                place += stop - first
            out[i, 1] = best
            out[i, 2] = total / size
        start += size * (stop - first)
        first = stop


@kernel
def _end_of_request(row, first):  # type: ignore[no-untyped-def]
    """The position where the pairs of the next request begin."""
    stop = first
    while stop < len(row) and row[stop] == row[first]:
        stop += 1
    return stop
