"""What lists are like: how much of the catalogue they show and how evenly, how varied each is."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import offsets_of, ranges

_PAIRS_AT_ONCE = 1 << 20


def coverage(shown: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of the catalogue that stands in any list.

    Args:
        shown: [..., items], how often each item was listed.
    """
    share: NDArray[np.float64] = (shown > 0).mean(axis=-1, dtype=np.float64)
    return share


def gini(shown: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inequality of how often items are listed: 0 all alike, towards 1 a single item has it all.

    Args:
        shown: [..., items], how often each item was listed; items never listed count.
    """
    ordered = np.sort(shown, axis=-1)
    n = shown.shape[-1]
    total = ordered.sum(axis=-1)
    weighted = ordered @ (2.0 * np.arange(1, n + 1) - n - 1)
    nothing = np.zeros(np.shape(total))
    unequal: NDArray[np.float64] = np.divide(weighted, n * total, out=nothing, where=total > 0)
    return unequal


def novelty(
    offsets: NDArray[np.int64], item: NDArray[np.int32], popularity: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Mean self-information −log₂ p(item) of each list, NaN for an empty one.

    Args:
        offsets: int64[n + 1], of the lists.
        item: int32[total].
        popularity: [items], how many users liked each in training; one is added to each, so
            that an item nobody met has the most.
    """
    share = (popularity + 1.0) / (popularity.sum() + len(popularity))
    information = np.concatenate([[0.0], np.cumsum(-np.log2(share[item]))])
    counts = np.diff(offsets)
    sums = information[offsets[1:]] - information[offsets[:-1]]
    unknown = np.full(len(counts), np.nan)
    mean: NDArray[np.float64] = np.divide(sums, counts, out=unknown, where=counts > 0)
    return mean


def intra_list_diversity(
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    likeness: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Mean of 1 − likeness over the pairs of each list, NaN for a list of fewer than two items.

    Intra-list diversity as Ziegler, McNee, Konstan & Lausen 2005, their similarity turned round.

    Args:
        offsets: int64[n + 1], of the lists.
        items: int32[total].
        likeness: (left, right), each int32[pairs] → float32[pairs], the same either way round.
    """
    counts = np.diff(offsets)
    longest = int(counts.max(initial=0))
    together = max(1, _PAIRS_AT_ONCE // max(1, longest * (longest - 1) // 2))
    sums = np.zeros(len(counts))
    for start in range(0, len(counts), together):
        own = counts[start : start + together]
        listed = items[offsets[start] : offsets[start + len(own)]]
        places = np.arange(len(listed))
        below = np.repeat(offsets_of(own)[1:], own) - places - 1
        left = np.repeat(listed, below)
        right = listed[ranges(places + 1, below)]
        row = np.repeat(np.repeat(np.arange(len(own)), own), below)
        unlike = 1.0 - likeness(left, right).astype(np.float64)
        sums[start : start + len(own)] = np.bincount(row, unlike, len(own))
    pairs = counts * (counts - 1) // 2
    unknown = np.full(len(counts), np.nan)
    mean: NDArray[np.float64] = np.divide(sums, pairs, out=unknown, where=pairs > 0)
    return mean
