"""Interactions in both orientations, and the history items that best explain a candidate."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.candidates import Candidates
from tastemaker.giving_way import give_way

_PAIRS = 20_000
"""Weights between history and candidates looked up at a time: about a millisecond."""


class Interactions(NamedTuple):
    """Interactions X by item and by user, in the layout that the kernels use.

    Attributes:
        item_offsets: int64[items + 1].
        item_users: int32[n].
        item_weights: float32[n].
        user_offsets: int64[users + 1].
        user_items: int32[n], ascending within a user.
        user_weights: float32[n].
    """

    item_offsets: NDArray[np.int64]
    item_users: NDArray[np.int32]
    item_weights: NDArray[np.float32]
    user_offsets: NDArray[np.int64]
    user_items: NDArray[np.int32]
    user_weights: NDArray[np.float32]

    @classmethod
    def of(cls, users: csr_array) -> Self:
        """The interactions in a matrix float32[users × items]."""
        items = users.T.tocsr()
        return cls(
            items.indptr.astype(np.int64),
            items.indices.astype(np.int32),
            items.data,
            users.indptr.astype(np.int64),
            users.indices.astype(np.int32),
            users.data,
        )


def strongest_reasons(
    liked: csr_array,
    candidates: Candidates,
    weights_between: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each candidate, the item of the history that adds most to its score.

    Args:
        liked: the histories as the model scores them, float32[requests × known items].
        candidates: the candidates to explain.
        weights_between: (history items, candidate items) → weights [history, candidates].

    Returns:
        The item, int32[total], −1 if no item supports the candidate; and the share of the total
        support that it contributes, float32[total] in [0, 1].
    """
    reason = np.full(len(candidates.item), -1, np.int32)
    share = np.zeros(len(candidates.item), np.float32)
    for row in range(len(candidates)):
        start, stop = candidates.offsets[row], candidates.offsets[row + 1]
        entries = slice(liked.indptr[row], liked.indptr[row + 1])
        history = liked.indices[entries]
        known = np.flatnonzero(candidates.item[start:stop] < liked.shape[1])
        if not len(history) or not len(known):
            continue
        for some in np.array_split(known, -(-len(known) * len(history) // _PAIRS)):
            give_way()
            items = candidates.item[start:stop][some]
            adds = np.maximum(weights_between(history, items), 0) * liked.data[entries][:, None]
            best = adds.argmax(axis=0)
            most, total = adds[best, np.arange(len(items))], adds.sum(axis=0)
            supported = most > 0
            reason[start + some[supported]] = history[best[supported]]
            share[start + some[supported]] = most[supported] / total[supported]
    return reason, share
