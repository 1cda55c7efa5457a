"""Ranking metrics: one value per request from the gains at the positions of its list.

All functions take `gains` float32[n × k], the gain of the item at each position (0 if it is not
relevant, or the list is shorter), and `truth` float32[n × widest], the gains of all relevant items,
best first, padded with 0. Every request must have at least one relevant item.
"""

import numpy as np
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.ragged import Ragged, rows_of

Matrix = NDArray[np.float32]
Values = NDArray[np.float64]


def gains_of(
    candidates: Candidates, truth: Ragged, gain: NDArray[np.float32], k: int
) -> tuple[Matrix, Matrix]:
    """The gains of the listed items and of the relevant items, as input of the metrics.

    Args:
        candidates: n lists of distinct items, best first.
        truth: the distinct relevant items of each request, at least one.
        gain: float32[total], aligned with `truth.values`.
        k: the number of positions to evaluate.

    Returns:
        `gains` float32[n × k] and `truth` float32[n × widest].

    Raises:
        ValueError: a request has no relevant item.
    """
    n = len(truth)
    if n and truth.counts.min() == 0:
        raise ValueError(
            "a request has no relevant item: leave such requests out and report their number"
        )
    highest = max(candidates.item.max(initial=0), truth.values.max(initial=0)) + 1
    relevant = rows_of(truth.offsets) * np.int64(highest) + truth.values
    order = np.argsort(relevant)
    listed = candidates.rows * np.int64(highest) + candidates.item
    place = np.minimum(np.searchsorted(relevant[order], listed), max(len(relevant) - 1, 0))
    hit = relevant[order][place] == listed if len(relevant) else np.zeros(len(listed), np.bool_)
    inside = hit & (candidates.ranks < k)
    gains = np.zeros((n, k), np.float32)
    gains[candidates.rows[inside], candidates.ranks[inside]] = gain[order][place[inside]]
    ideal = np.zeros((n, int(truth.counts.max(initial=0))), np.float32)
    best = np.lexsort((-gain, rows_of(truth.offsets)))
    position = np.arange(len(relevant)) - np.repeat(truth.offsets[:-1], truth.counts)
    ideal[rows_of(truth.offsets), position] = gain[best]
    return gains, ideal


def precision(gains: Matrix, truth: Matrix) -> Values:
    """The share of the k positions with a relevant item; shorter lists are divided by k too."""
    share: Values = _hits(gains) / gains.shape[1]
    return share


def recall(gains: Matrix, truth: Matrix) -> Values:
    """The share of the relevant items that are in the list: hits divided by |T|."""
    return _hits(gains) / _hits(truth)


def recall_min(gains: Matrix, truth: Matrix) -> Values:
    """The share of the relevant items that fit k positions: hits divided by min(k, |T|)."""
    return np.asarray(_hits(gains) / np.minimum(gains.shape[1], _hits(truth)), np.float64)


def hit_rate(gains: Matrix, truth: Matrix) -> Values:
    """1 if the list has a relevant item, otherwise 0."""
    return np.minimum(_hits(gains), 1.0)


def reciprocal_rank(gains: Matrix, truth: Matrix) -> Values:
    """1 / the rank of the first relevant item, 0 if there is none."""
    hits = gains > 0
    first = 1.0 / (hits.argmax(axis=1) + 1.0)
    return np.asarray(np.where(hits.any(axis=1), first, 0.0), np.float64)


def average_precision(gains: Matrix, truth: Matrix) -> Values:
    """The sum of the precision at each relevant item's position, divided by min(k, |T|)."""
    hits = gains > 0
    at_hit = np.cumsum(hits, axis=1) / np.arange(1, gains.shape[1] + 1)
    total: Values = (at_hit * hits).sum(axis=1)
    return total / np.minimum(gains.shape[1], _hits(truth))


def ndcg(gains: Matrix, truth: Matrix) -> Values:
    """The discounted cumulative gain divided by that of the ideal list.

    As Järvelin & Kekäläinen 2002 with the gain 2^g − 1 and the discount log₂(1 + rank). The ideal
    list contains the k best relevant items, whether they were found or not.
    """
    return _dcg(gains) / _dcg(truth[:, : gains.shape[1]])


def _dcg(gains: Matrix) -> Values:
    discounts = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    total: Values = (np.exp2(gains.astype(np.float64)) - 1.0) @ discounts
    return total


def _hits(gains: Matrix) -> Values:
    """The number of relevant items per row."""
    counts: Values = (gains > 0).sum(axis=1, dtype=np.float64)
    return counts
