"""How like an item is to what the user liked last, in a retriever's own space."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tastemaker.component import ComparesItems
from tastemaker.features.pairs import Pairs

_LATEST = 5


@dataclass(frozen=True, slots=True)
class Likeness:
    """Likeness to the latest liked item, and the largest and mean to the latest five.

    Attributes:
        source: a retriever that compares items.
    """

    source: str

    @property
    def columns(self) -> dict[str, str]:
        """Name → meaning."""
        return {
            f"{self.source}_like_last": f"likeness to the latest like ({self.source})",
            f"{self.source}_like_best": f"largest likeness to the latest likes ({self.source})",
            f"{self.source}_like_mean": f"mean likeness to the latest likes ({self.source})",
        }

    def write(self, pairs: Pairs, out: NDArray[np.float32]) -> None:
        """Fills the columns."""
        source = pairs.sources[self.source]
        assert isinstance(source, ComparesItems)  # noqa: S101 - declared for such sources alone
        history = pairs.requests.history
        latest = np.full((len(pairs.requests), _LATEST), -1, np.int32)
        _latest_likes(history.offsets, history.item, history.weight, latest)
        left = latest[pairs.row].ravel()
        right = np.repeat(pairs.item, _LATEST)
        likeness = source.compare(left, right).reshape(-1, _LATEST)
        _summarize(likeness, left.reshape(-1, _LATEST), out)


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def _summarize(likeness, left, out):  # type: ignore[no-untyped-def]
    """Last, best and mean over the liked items there are; NaN without any."""
    for i in range(len(likeness)):
        out[i, 0] = np.nan
        out[i, 1] = np.nan
        out[i, 2] = np.nan
        best, total, size = 0.0, 0.0, 0
        for place in range(likeness.shape[1]):
            if left[i, place] < 0:
                break
            best = max(best, likeness[i, place]) if size else likeness[i, place]
            total += likeness[i, place]
            size += 1
        if size:
            out[i, 0] = likeness[i, 0]
            out[i, 1] = best
            out[i, 2] = total / size
