"""Which items occur together: the kernel under ItemKNN and EASE, and who spoke for a candidate."""

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tastemaker.data.candidates import Candidates
from tastemaker.data.requests import Requests


@njit(nogil=True, cache=True)
def accumulate_row(  # type: ignore[no-untyped-def]
    item, by_item, by_item_users, by_item_weights, by_user, by_user_items, by_user_weights, row
):
    """Adds row `item` of XᵀX to `row` float32[items].

    X is given twice: by columns (`by_item` offsets, users, weights) and by rows (`by_user`
    offsets, items, weights). The caller has set `row` to zero.
    """
    for entry in range(by_item[item], by_item[item + 1]):
        user, weight = by_item_users[entry], by_item_weights[entry]
        for other in range(by_user[user], by_user[user + 1]):
            row[by_user_items[other]] += weight * by_user_weights[other]


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
