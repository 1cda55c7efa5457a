"""Which items occur together: the kernel under ItemKNN and EASE, and who spoke for a candidate."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests


class BothWays(NamedTuple):
    """Interactions X by item and by user, as the kernels read them.

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
        """Takes float32[users × items]."""
        items = users.T.tocsr()
        return cls(
            items.indptr.astype(np.int64),
            items.indices.astype(np.int32),
            items.data,
            users.indptr.astype(np.int64),
            users.indices.astype(np.int32),
            users.data,
        )


@njit(nogil=True, cache=True)
def accumulate_row(item, pairs, last, row):  # type: ignore[no-untyped-def]
    """Adds row `item` of XᵀX, up to column `last`, to `row` float32[items], which is zero."""
    for entry in range(pairs.item_offsets[item], pairs.item_offsets[item + 1]):
        user, weight = pairs.item_users[entry], pairs.item_weights[entry]
        for other in range(pairs.user_offsets[user], pairs.user_offsets[user + 1]):
            column = pairs.user_items[other]
            if column > last:
                break
            row[column] += weight * pairs.user_weights[other]


def strongest_reasons(
    requests: Requests,
    candidates: Candidates,
    n_items: int,
    weights_between: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each candidate the item of the history that adds most to its score.

    Args:
        requests: whose histories speak.
        candidates: what is to be explained.
        n_items: items the model knows.
        weights_between: (history items, candidate items) → weights [history, candidates].

    Returns:
        The item, int32[total], −1 if none speaks for it; and its share of all that speak for it,
        float32[total] in [0, 1].
    """
    reason = np.full(len(candidates.item), -1, np.int32)
    share = np.zeros(len(candidates.item), np.float32)
    liked = requests.history.interactions(n_items)
    for row in range(len(requests)):
        start, stop = candidates.offsets[row], candidates.offsets[row + 1]
        entries = slice(liked.indptr[row], liked.indptr[row + 1])
        history = liked.indices[entries]
        known = np.flatnonzero(candidates.item[start:stop] < n_items)
        if not len(history) or not len(known):
            continue
        items = candidates.item[start:stop][known]
        adds = np.maximum(weights_between(history, items), 0) * liked.data[entries][:, None]
        best = adds.argmax(axis=0)
        most, total = adds[best, np.arange(len(items))], adds.sum(axis=0)
        speaks = most > 0
        reason[start + known[speaks]] = history[best[speaks]]
        share[start + known[speaks]] = most[speaks] / total[speaks]
    return reason, share
