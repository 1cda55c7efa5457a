"""Similarity measures between the columns of interactions, for ItemKNN, in one formula.

With Σ over all users, absent interactions as zeros, and h the shrinkage, each measure is

    s(i, j) = (xᵢ·xⱼ − cᵢcⱼ − aᵢ − aⱼ) / (lᵢrⱼ + [Jaccard: dᵢ + dⱼ − xᵢ·xⱼ] + h)

| measure | x | c | a | l, r |
|---|---|---|---|---|
| cosine | weights | 0 | 0 | ‖x‖ |
| Pearson | weights | Σx/√users | 0 | ‖x − mean(x)‖ |
| adjusted cosine | weights | 0 | m·x − m·m/2 | ‖x − m‖, m the mean of each user |
| Jaccard | 0 or 1 | 0 | 0 | 0; d = users |
| asymmetric | 0 or 1 | 0 | 0 | d^α, d^(1−α) |
| TF-IDF | log weights, larger for short histories | 0 | 0 | ‖x‖ |
| BM25 | saturating weights, larger for short histories | 0 | 0 | 1 |
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from tastemaker.retrieval.cooccurrence import Interactions

Similarity = Literal[
    "cosine", "adjusted_cosine", "pearson", "jaccard", "asymmetric", "tfidf", "bm25"
]
BINARY: tuple[Similarity, ...] = ("jaccard", "asymmetric")


@dataclass(frozen=True, slots=True)
class Measure:
    """The item statistics that a similarity needs, float32[items] each.

    Attributes:
        centre: c of the formula above.
        added: a.
        left: l.
        right: r.
        size: d, the number of users of each item; of length 0 except for Jaccard.
    """

    centre: NDArray[np.float32]
    added: NDArray[np.float32]
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    size: NDArray[np.float32]

    def of_items(self) -> NDArray[np.float32]:
        """All statistics, float32[statistics × items]."""
        rows = [self.centre, self.added, self.left, self.right]
        return np.stack([*rows, self.size] if len(self.size) else rows)


def weighted(users: csr_array, similarity: Similarity, k1: float, b: float) -> csr_array:
    """The interactions weighted for a similarity, float32[users × items].

    An item is a document whose terms are users, and d is the number of items that a user likes.
    TF-IDF is ln(1 + x)·(ln(items/d) + 1); BM25 (Robertson & Walker 1994) is
    x(k₁ + 1)/(x + k₁(1 − b + b·l/l̄))·ln(1 + (items − d + ½)/(d + ½)), where l is the total weight
    of an item and l̄ its mean.

    Args:
        users: float32[users × items], positive.
        similarity: the measure.
        k1: the saturation of repeated interactions.
        b: how much popular items are dampened, 0 to 1.
    """
    if similarity in BINARY:
        return csr_array((np.ones_like(users.data), users.indices, users.indptr), users.shape)
    if similarity == "tfidf":
        per_user = np.diff(users.indptr)
        rarity = np.log(users.shape[1] / np.maximum(per_user, 1)) + 1
        data = np.log1p(users.data) * np.repeat(rarity, per_user)
    elif similarity == "bm25":
        length = np.bincount(users.indices, users.data, users.shape[1])
        longest = k1 * (1 - b + b * length / max(length.mean(), 1e-12))
        per_user = np.diff(users.indptr)
        rarity = np.log1p((users.shape[1] - per_user + 0.5) / (per_user + 0.5))
        grown = users.data * (k1 + 1) / (users.data + longest[users.indices])
        data = grown * np.repeat(rarity, per_user)
    else:
        return users
    return csr_array((data.astype(np.float32), users.indices, users.indptr), users.shape)


def measure_of(pairs: Interactions, similarity: Similarity, alpha: float) -> Measure:
    """The item statistics for a similarity.

    Args:
        pairs: the interactions weighted by `weighted`.
        similarity: the measure.
        alpha: the exponent of the asymmetric cosine.
    """
    n_users, n_items = len(pairs.user_offsets) - 1, len(pairs.item_offsets) - 1
    none, one = np.zeros(n_items, np.float32), np.ones(n_items, np.float32)
    item, weight = pairs.user_items, pairs.user_weights.astype(np.float64)
    if similarity in BINARY:
        size = np.bincount(item, minlength=n_items)
        if similarity == "jaccard":
            return Measure(none, none, none, none, size.astype(np.float32))
        left, right = (np.power(size, p).astype(np.float32) for p in (alpha, 1 - alpha))
        return Measure(none, none, left, right, none[:0])
    if similarity == "bm25":
        return Measure(none, none, one, one, none[:0])
    squares = np.bincount(item, weight**2, n_items)
    if similarity == "pearson":
        total = np.bincount(item, weight, n_items)
        spread = _root(squares - total**2 / max(n_users, 1))
        centre = (total / np.sqrt(max(n_users, 1))).astype(np.float32)
        return Measure(centre, none, spread, spread, none[:0])
    if similarity == "adjusted_cosine":
        per_user = np.diff(pairs.user_offsets)
        user = np.repeat(np.arange(n_users), per_user)
        mean = np.bincount(user, weight, n_users) / max(n_items, 1)
        along, all_means = np.bincount(item, weight * mean[user], n_items), (mean * mean).sum()
        spread = _root(squares - 2 * along + all_means)
        added = (along - all_means / 2).astype(np.float32)
        return Measure(none, added, spread, spread, none[:0])
    norm = _root(squares)
    return Measure(none, none, norm, norm, none[:0])


def _root(squares: ArrayLike) -> NDArray[np.float32]:
    roots: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0))
    return roots.astype(np.float32)
