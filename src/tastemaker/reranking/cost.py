"""What a list costs: the predicted value that was given up for it."""

import numpy as np
from numpy.typing import NDArray

from tastemaker.compilation import kernel
from tastemaker.data.candidates import Candidates


def given_up(before: Candidates, after: Candidates, n: int) -> NDArray[np.float32]:
    """The best scores for as many places, less the scores in the list; float32[requests].

    Against the best scores rather than the first ones: after several rerankers, the last one's
    cost is that of the whole list. Places that `before` could not have filled do not count.

    Args:
        before: what there was to choose from.
        after: the lists made of it.
        n: how many places are shown.

    Returns:
        Never below 0; exactly 0 where the first n are the best ones.
    """
    cost = np.empty(len(before), np.float32)
    _given_up(before.offsets, before.score, after.offsets, after.score, max(0, n), cost)
    return cost


@kernel
def _given_up(offsets, score, shown_offsets, shown_score, n, cost):  # type: ignore[no-untyped-def]
    """Adds up differences place by place, in float64: equal orders give exactly 0."""
    for row in range(len(cost)):
        best = np.sort(score[offsets[row] : offsets[row + 1]])
        first = shown_offsets[row]
        places = min(n, len(best), shown_offsets[row + 1] - first)
        shown = np.sort(shown_score[first : first + places])
        total = 0.0
        for place in range(1, places + 1):
            total += np.float64(best[-place]) - np.float64(shown[-place])
        cost[row] = max(total, 0.0)
