"""Metrics of lists: coverage, inequality, novelty and diversity."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.ragged import offsets_of, ranges

_PAIRS_AT_ONCE = 1 << 20


def coverage(shown: NDArray[np.floating]) -> NDArray[np.float64]:
    """The share of the catalogue that is in at least one list.

    Args:
        shown: [..., items], how often each item is listed.
    """
    share: NDArray[np.float64] = (shown > 0).mean(axis=-1, dtype=np.float64)
    return share


def gini(shown: NDArray[np.floating]) -> NDArray[np.float64]:
    """The Gini coefficient of how often items are listed.

    0 means that all items are listed equally often; close to 1, a single item has all places.

    Args:
        shown: [..., items], how often each item is listed, including items with 0.
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
    """The mean self-information −log₂ p(item) of each list, NaN for an empty list.

    Args:
        offsets: int64[n + 1], where each list begins.
        item: int32[total], the listed items.
        popularity: [items], how many users liked each item in training. One is added to each
            count, so that an item without users has the highest finite value.
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
    similarity: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """The mean of 1 − similarity over the pairs of each list, NaN below two items.

    The complement of the intra-list similarity of Ziegler, McNee, Konstan & Lausen 2005.

    Args:
        offsets: int64[n + 1], where each list begins.
        items: int32[total], the listed items.
        similarity: a symmetric function (left, right), each int32[pairs] → float32[pairs].
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
        dissimilarity = 1.0 - similarity(left, right).astype(np.float64)
        sums[start : start + len(own)] = np.bincount(row, dissimilarity, len(own))
    pairs = counts * (counts - 1) // 2
    unknown = np.full(len(counts), np.nan)
    mean: NDArray[np.float64] = np.divide(sums, pairs, out=unknown, where=pairs > 0)
    return mean
