"""How good each list is: one value per request from the gains at its positions.

All take `gains` float32[n × k], the worth of the item at each position (0 where it was not
wanted, or the list was shorter), and `truth` float32[n × widest], the worth of everything wanted,
best first, padded with 0. Every request must want something.
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
    """Lays out what was found and what was wanted, for the metrics below.

    Args:
        candidates: n lists, best first; an item may stand in a list once.
        truth: the distinct items each request wanted, never none.
        gain: float32[total], aligned with `truth.values`.
        k: positions to look at.

    Returns:
        `gains` float32[n × k] and `truth` float32[n × widest].

    Raises:
        ValueError: a request wants nothing; leave such requests out and count them.
    """
    n = len(truth)
    if n and truth.counts.min() == 0:
        raise ValueError("a request wants nothing: leave such requests out and count them")
    highest = max(candidates.item.max(initial=0), truth.values.max(initial=0)) + 1
    wanted = rows_of(truth.offsets) * np.int64(highest) + truth.values
    order = np.argsort(wanted)
    listed = candidates.rows * np.int64(highest) + candidates.item
    place = np.minimum(np.searchsorted(wanted[order], listed), max(len(wanted) - 1, 0))
    hit = wanted[order][place] == listed if len(wanted) else np.zeros(len(listed), np.bool_)
    inside = hit & (candidates.ranks < k)
    gains = np.zeros((n, k), np.float32)
    gains[candidates.rows[inside], candidates.ranks[inside]] = gain[order][place[inside]]
    ideal = np.zeros((n, int(truth.counts.max(initial=0))), np.float32)
    best = np.lexsort((-gain, rows_of(truth.offsets)))
    position = np.arange(len(wanted)) - np.repeat(truth.offsets[:-1], truth.counts)
    ideal[rows_of(truth.offsets), position] = gain[best]
    return gains, ideal


def precision(gains: Matrix, truth: Matrix) -> Values:
    """Share of the k positions that hold a wanted item; a shorter list still divides by k."""
    share: Values = _hits(gains) / gains.shape[1]
    return share


def recall(gains: Matrix, truth: Matrix) -> Values:
    """Share of the wanted items that were found: divides by |T|."""
    return _hits(gains) / _hits(truth)


def recall_min(gains: Matrix, truth: Matrix) -> Values:
    """Share of what k positions could have held: divides by min(k, |T|)."""
    return np.asarray(_hits(gains) / np.minimum(gains.shape[1], _hits(truth)), np.float64)


def hit_rate(gains: Matrix, truth: Matrix) -> Values:
    """1 if any wanted item is in the list."""
    return np.minimum(_hits(gains), 1.0)


def reciprocal_rank(gains: Matrix, truth: Matrix) -> Values:
    """1 / the rank of the first wanted item, 0 if there is none."""
    hits = gains > 0
    first = 1.0 / (hits.argmax(axis=1) + 1.0)
    return np.asarray(np.where(hits.any(axis=1), first, 0.0), np.float64)


def average_precision(gains: Matrix, truth: Matrix) -> Values:
    """Mean of the precision at each wanted item's position, divided by min(k, |T|)."""
    hits = gains > 0
    at_hit = np.cumsum(hits, axis=1) / np.arange(1, gains.shape[1] + 1)
    total: Values = (at_hit * hits).sum(axis=1)
    return total / np.minimum(gains.shape[1], _hits(truth))


def ndcg(gains: Matrix, truth: Matrix) -> Values:
    """Discounted cumulative gain over that of the ideal list (Järvelin & Kekäläinen 2002).

    Gain 2^worth − 1, discount log₂(1 + rank); the ideal list holds the best k of everything
    wanted, found or not.
    """
    return _dcg(gains) / _dcg(truth[:, : gains.shape[1]])


def _dcg(gains: Matrix) -> Values:
    discounts = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    total: Values = (np.exp2(gains.astype(np.float64)) - 1.0) @ discounts
    return total


def _hits(gains: Matrix) -> Values:
    """How many are worth something, per row."""
    counts: Values = (gains > 0).sum(axis=1, dtype=np.float64)
    return counts
